"""The paper's layers, on `keras.ops` alone: they run on every Keras backend."""
