"""`python -m igan_tf.main`: train, evaluate or sample a run."""

import signal
import sys

if __name__ == "__main__":
    # TensorFlow takes seconds to import: Ctrl-C meanwhile just ends the program.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from igan_tf.commands.train import run

if __name__ == "__main__":
    run(sys.argv[1:])
