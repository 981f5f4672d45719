"""The Slurm scripts of docs/cluster, with stand-ins for srun, scontrol and the training."""

import json
import os
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parent.parent / "docs/cluster"
STAND_INS = {
    "scontrol": 'if [ "$1" = show ]; then printf "node7\\nnode9\\n"; else echo "$@" >>requeued; fi',
    "srun": 'while [ $# -gt 0 ] && [ "$1" != bash ]; do echo "$1" >>srun_options; shift; done\n'
    'for rank in 0 1; do SLURM_PROCID=$rank "$@" || end=$?; done\nexit ${end:-0}',
    "igan-tf": 'printf "%s\\n" "$TF_CONFIG" >>configs; printf "%s\\n" "$@" >arguments; exit $STATUS',
}


def submit(folder, script, *arguments, status, restarts=0, **more):
    for name, body in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    variables = {"PATH": f"{folder}:{os.environ['PATH']}", "STATUS": str(status), "SLURM_RESTART_COUNT": str(restarts)}
    variables["SLURM_CPUS_PER_TASK"] = "7"
    command = ["bash", CLUSTER / script, *arguments]
    return subprocess.run(command, cwd=folder, env=variables | more, check=False).returncode


def submit_imagenet(folder, status, restarts=0):
    variables = {"SLURM_JOB_ID": "40007", "SLURM_JOB_NODELIST": "node[7,9]"}
    variables |= {"RECORDS": "/shared/the records", "RUN_DIR": "/shared/imagenet"}
    return submit(folder, "imagenet.slurm", status=status, restarts=restarts, **variables)


def test_every_node_gets_its_own_tf_config(tmp_path):
    assert submit_imagenet(tmp_path, status=0) == 0
    configs = [json.loads(line) for line in (tmp_path / "configs").read_text().splitlines()]
    workers = ["node7:20007", "node9:20007"]
    expected = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in (0, 1)]
    assert configs == expected
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments == [
        "train",
        "--flagfile=imagenet128",
        "--data_dir=/shared/the records",
        "--run_dir=/shared/imagenet",
    ]
    assert not (tmp_path / "requeued").exists()
    assert "--cpus-per-task=7" in (tmp_path / "srun_options").read_text().splitlines()


@pytest.mark.parametrize("status, restarts, requeued", [(143, 0, True), (1, 49, True), (1, 50, False)])
def test_a_job_that_has_not_finished_goes_back_into_the_queue(tmp_path, status, restarts, requeued):
    assert submit_imagenet(tmp_path, status, restarts) == status
    assert (tmp_path / "requeued").exists() == requeued


@pytest.mark.parametrize("status", [0, 143])
def test_each_job_of_an_array_runs_its_line(tmp_path, status):
    (tmp_path / "commands").write_text("igan-tf train --run_dir=a\nigan-tf train '--run_dir=b c'\n")
    variables = {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2"}
    assert submit(tmp_path, "array.slurm", "commands", status=status, **variables) == status
    assert (tmp_path / "arguments").read_text().splitlines() == ["train", "--run_dir=b c"]
    assert (tmp_path / "srun_options").read_text() == "--cpus-per-task=7\n"
    requeued = tmp_path / "requeued"
    assert requeued.read_text() == "requeue 5_2\n" if status else not requeued.exists()


@pytest.mark.skipif(metadata.version("tensorflow") != "2.21.0", reason="the page speaks of TensorFlow 2.21.0")
def test_the_versions_are_those_of_tensorflows_metadata():
    text = (CLUSTER / "README.md").read_text(encoding="utf-8")
    bounds = [each for each in metadata.requires("tensorflow") if 'extra == "and-cuda"' in each]
    assert bounds
    for bound in bounds:
        assert bound.partition(">=")[2].partition(";")[0].partition(",")[0].strip() in text, bound
