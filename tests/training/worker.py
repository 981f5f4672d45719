"""One worker of several: trains as its flags say and prints a digest of all that training has changed."""

import hashlib
import sys

from igan_tf.data import load_data
from igan_tf.experiments.configs import config_from_lines
from igan_tf.experiments.experiment import Experiment
from igan_tf.training import distribution


def main(run_dir, *lines):
    config = config_from_lines(lines)
    # Before anything else of TensorFlow's.
    distribution.build_strategy(config.strategy)
    experiment = Experiment(config, load_data(config), run_dir)
    experiment.run()
    digest = hashlib.sha256()
    for name, variable in experiment.model.state_variables().items():
        digest.update(name.encode() + variable.numpy().tobytes())
    print("digest", digest.hexdigest(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
