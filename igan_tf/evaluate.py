"""`python -m igan_tf.evaluate`: scores of images, with their protocol."""

from igan_tf.commands.evaluate import main

if __name__ == "__main__":
    main()
