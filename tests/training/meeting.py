"""One worker of several, without TensorFlow: meets the others, then does as it is told.

"start": stays where TensorFlow would start. "train": trains for ever. "leave" and "fail": does so once the file `go`
exists.
"""

import sys
import time
from pathlib import Path

from igan_tf.training import roll_call
from igan_tf.training.cluster import this_worker


def report(line):
    print(line, flush=True)


def main(what, go):
    roll_call._GRACE = 0.1
    roll_call._LINES_EVERY = 0
    others = roll_call.meet(this_worker(), 5, report)
    with others.starting(5):
        report("starting")
        if what == "start":
            time.sleep(600)
    with others.together():
        report("training")
        while what == "train" or not Path(go).exists():
            time.sleep(0.02)
        if what == "fail":
            sys.exit(3)


if __name__ == "__main__":
    main(*sys.argv[1:])
