"""`python -m igan_tf.turing_test`."""

from igan_tf.turing_test.command import run

if __name__ == "__main__":
    run()
