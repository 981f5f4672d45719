"""`python -m igan_tf.main`: train, evaluate or sample a run."""

import sys

from igan_tf.commands.train import run

if __name__ == "__main__":
    run(sys.argv[1:])
