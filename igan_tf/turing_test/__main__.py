"""`python -m igan_tf.turing_test`."""

import sys

from igan_tf.commands.turing_test import run

if __name__ == "__main__":
    run(sys.argv[1:])
