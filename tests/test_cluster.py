"""The Slurm script of docs/cluster, with stand-ins for srun, scontrol and the training."""

import json
import os
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parent.parent / "docs/cluster"
STAND_INS = {
    "scontrol": 'if [ "$1" = show ]; then printf "node7\\nnode9\\n"; else echo "$@" >>requeued; fi',
    "srun": 'shift; for rank in 0 1; do SLURM_PROCID=$rank "$@" || failed=$?; done; exit ${failed:-0}',
    "igan-tf": 'printf "%s\\n" "$TF_CONFIG" >>configs; printf "%s\\n" "$@" >arguments; exit $STATUS',
}


def submit(folder, status, restarts=0):
    for name, body in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "40007",
        "SLURM_JOB_NODELIST": "node[7,9]",
        "SLURM_RESTART_COUNT": str(restarts),
        "RECORDS": "/shared/the records",
        "RUN_DIR": "/shared/imagenet",
        "STATUS": str(status),
    }
    return subprocess.run(["bash", CLUSTER / "imagenet.slurm"], cwd=folder, env=environment, check=False).returncode


def test_every_node_gets_its_own_tf_config(tmp_path):
    assert submit(tmp_path, status=0) == 0
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


@pytest.mark.parametrize("status, restarts, requeued", [(143, 0, True), (1, 49, True), (1, 50, False)])
def test_a_job_that_has_not_finished_goes_back_into_the_queue(tmp_path, status, restarts, requeued):
    assert submit(tmp_path, status, restarts) == status
    assert (tmp_path / "requeued").exists() == requeued


@pytest.mark.skipif(metadata.version("tensorflow") != "2.21.0", reason="the page speaks of TensorFlow 2.21.0")
def test_the_versions_are_those_of_tensorflows_metadata():
    text = (CLUSTER / "README.md").read_text(encoding="utf-8")
    bounds = [each for each in metadata.requires("tensorflow") if 'extra == "and-cuda"' in each]
    assert bounds
    for bound in bounds:
        assert bound.partition(">=")[2].partition(";")[0].partition(",")[0].strip() in text, bound
