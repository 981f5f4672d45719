"""`python -m igan_tf.data.imagenet_records`: images to sharded records."""

import sys

from igan_tf.commands.records import run

if __name__ == "__main__":
    run(sys.argv[1:])
