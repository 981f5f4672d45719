"""Images from files and from TFDS, as arrays and as pictures."""
