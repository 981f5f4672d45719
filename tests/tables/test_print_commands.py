"""`--print_commands`: a command for each run, as an array of jobs trains them, and the table of these runs."""

import shlex

import pytest

from igan_tf.commands import tables, train
from igan_tf.experiments.configs import SemiSupervisedConfig
from igan_tf.tables.published import TABLES
from tests import processes

RUN_FLAGS = ["--batch_size=400", "--initialization_examples=50", "--nosupervised_baseline"]


@pytest.mark.parametrize("table", TABLES)
def test_each_command_stands_for_a_run_of_the_table(table, tmp_path, capsys):
    # One row has no use for it: in a flag file that is no error.
    flags = {"inception_score": ["--reference_size=7"], "ablation_small": ["--label_smoothing=0.2"]}.get(table, [])
    tables.run([f"--table={table}", f"--output_dir={tmp_path}/a table", "--print_commands", "--", *flags])
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    folders, configs = [], []
    for command in commands:
        assert command[:2] == ["igan-tf", "train"]
        line = train.command_line()
        line.parse(command[2:])
        folders.append(line.flag_values["run_dir"].value)
        configs.append(train.config_of(line))
    assert len(set(folders)) == len(set(configs)) == len(commands) > 5
    assert all(folder.startswith(f"{tmp_path}/a table/") for folder in folders)
    assert all(isinstance(config, SemiSupervisedConfig) for config in configs)
    if table == "mnist":
        cells = {(config.labels, config.seed_data, config.seed) for config in configs}
        assert cells == {(labels, subset, 1) for labels in (20, 50, 100, 200) for subset in range(1, 11)}
    if table == "inception_score":
        assert {config.reference_size for config in configs} == {7}
    if table == "ablation_small":
        # The row that leaves it out does so still.
        assert [config.label_smoothing for config in configs].count(0) == len(configs) / 6
        assert {config.label_smoothing for config in configs} == {0, 0.2}


def test_the_table_finds_the_run_that_a_command_trained(tmp_path, capsys):
    own = ["--table=digits", "--labels=20", "--subsets=1", "--epochs=1", f"--output_dir={tmp_path}/table"]
    tables.run([*own, "--print_commands", "--", *RUN_FLAGS])
    (command,) = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert not list((tmp_path / "table").glob("*/"))
    done = processes.run("igan_tf.main", command[2:], tmp_path)
    assert done.returncode == 0, done.stderr
    made = processes.run("igan_tf.tables", [*own, "--", *RUN_FLAGS], tmp_path)
    assert made.returncode == 0 and ": started" not in made.stdout and "1 of 1 run done" in made.stdout, made.stderr
