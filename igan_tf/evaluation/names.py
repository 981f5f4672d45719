"""Names of what `classifier` and `protocol` choose from; imports nothing, for the commands' sake."""

# Besides these, a path that ends in .tflite or .keras.
CLASSIFIERS = ("inception", "keras_inception_v3", "domain")
PROTOCOLS = ("default", "original")
