"""`python -m igan_tf.data.imagenet_records`: images to sharded records."""

from igan_tf.commands.records import main

if __name__ == "__main__":
    main()
