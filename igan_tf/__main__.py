"""`python -m igan_tf`: every command by its name."""

import sys

from igan_tf.commands import main

if __name__ == "__main__":
    main(sys.argv[1:])
