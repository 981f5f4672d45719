"""The paper's tables from grids of training runs: `python -m igan_tf.tables --table=mnist`."""
