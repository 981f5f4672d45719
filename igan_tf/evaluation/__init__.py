"""Scores of generated images; so far the door to TF-GAN, `igan_tf.evaluation.tfgan`."""
