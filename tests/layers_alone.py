"""Trains three steps where Keras, JAX and SciPy alone are installed: run by `make test-layers-alone`, not by pytest."""

import importlib.util
import sys

import keras
import numpy as np

import igan_tf
from igan_tf import layers, losses, optimizers

assert importlib.util.find_spec("tensorflow") is None, "this environment is to have no TensorFlow"
assert keras.backend.backend() == "jax" and igan_tf.__file__.startswith(sys.prefix)

keras.utils.set_random_seed(0)
images = keras.Input((8, 8, 1))
x = layers.PrependReference(reference_size=4)(layers.GaussianNoise(0.1)(images))
x = layers.WeightNorm(keras.layers.Conv2D(8, 3, strides=2, activation="leaky_relu"))(x)
x = layers.DropReference(reference_size=4)(layers.VirtualBatchNorm(reference_size=4)(x))
x = layers.MinibatchDiscrimination(num_kernels=5, kernel_dim=3)(keras.layers.Flatten()(x))
critic = keras.Model(images, layers.WeightNorm(keras.layers.Dense(1), init_std=0.1)(x))


def loss(real, logits):
    return losses.sigmoid_kl_with_logits(logits, real * 0.9)


draw = np.random.default_rng(0)
real, noise = draw.beta(0.2, 0.2, (48, 8, 8, 1)), draw.random((48, 8, 8, 1))
examples = np.concatenate([real, noise]).astype("float32"), np.repeat([[1.0], [0.0]], 48, axis=0).astype("float32")
layers.data_dependent_initialization(critic, examples[0][::2])
critic.compile(optimizers.InsideRootAdam(0.01), loss)
before = critic.get_weights()
history = critic.fit(*examples, batch_size=32, epochs=1, verbose=0)
assert int(critic.optimizer.iterations) == 3 and np.isfinite(history.history["loss"]).all()
assert any((old != new).any() for old, new in zip(before, critic.get_weights()))

# Without the loss, which is no class of the package's.
keras.Model(images, critic.output).save("critic.keras")
loaded = igan_tf.load_model("critic.keras")
np.testing.assert_array_equal(loaded(examples[0]), critic(examples[0]))
print(f"three steps on keras {keras.__version__} and jax, loss {history.history['loss'][0]:.3f}; saved and loaded")
