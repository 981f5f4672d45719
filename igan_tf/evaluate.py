"""`python -m igan_tf.evaluate`: scores of images, with their protocol."""

import sys

from igan_tf.commands.evaluate import run

if __name__ == "__main__":
    run(sys.argv[1:])
