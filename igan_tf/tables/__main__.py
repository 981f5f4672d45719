"""`python -m igan_tf.tables`: the paper's tables from grids of training runs."""

from absl import app

from igan_tf.commands.tables import main

if __name__ == "__main__":
    app.run(main)
