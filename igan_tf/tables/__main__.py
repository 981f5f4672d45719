"""`python -m igan_tf.tables`: the paper's tables from grids of training runs."""

import sys

from igan_tf.commands.tables import run

if __name__ == "__main__":
    run(sys.argv[1:])
