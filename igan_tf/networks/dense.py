"""Fully connected networks: what MNIST's and the digits' have in common."""

import math

import keras

from igan_tf.layers import BatchStatisticsNorm, GaussianNoise, WeightNorm


def build_generator(image_shape, hidden_units, latent_size):
    """`z -> [dense, batch norm, softplus] * n -> weight-normalized dense, sigmoid -> image` in [0, 1].

    Args:
        image_shape: `(height, width, channels)`.
        hidden_units: Units of each hidden layer.
        latent_size: Length of `z`.

    Returns:
        A `keras.Model`: `(N, latent_size) -> (N, height, width, channels)`.
    """
    latents = keras.Input((latent_size,), name="latents")
    hidden = latents
    for index, units in enumerate(hidden_units, start=1):
        # The normalization's beta is the layer's bias.
        hidden = keras.layers.Dense(units, use_bias=False, name=f"dense_{index}")(hidden)
        hidden = BatchStatisticsNorm(name=f"norm_{index}")(hidden)
        hidden = keras.layers.Activation("softplus", name=f"softplus_{index}")(hidden)
    pixels = keras.layers.Dense(math.prod(image_shape), "sigmoid", kernel_initializer=_kernel_initializer())
    images = keras.layers.Reshape(image_shape, name="images")(WeightNorm(pixels, name="pixels")(hidden))
    return keras.Model(latents, images, name="generator")


def _kernel_initializer():
    """Weight normalization divides the deviation out of the forward pass; it sets how far an optimizer's step goes."""
    return keras.initializers.RandomNormal(stddev=0.1)


def build_discriminator(image_shape, hidden_units, num_outputs, input_noise, hidden_noise):
    """`image -> noise -> [weight-normalized dense, ReLU, noise] * n -> logits`.

    The features are the last hidden layer before its noise. As published, weight normalization has no constant in
    the norm and its scale is trained in the output layer alone; kernels start from N(0, 0.1).

    Args:
        image_shape: `(height, width, channels)`.
        hidden_units: Units of each hidden layer.
        num_outputs: Number of logits.
        input_noise: Deviation of the noise on the image.
        hidden_noise: Deviation of the noise after each hidden layer.

    Returns:
        A `keras.Model`: images -> `{"logits": (N, num_outputs), "features": (N, hidden_units[-1])}`.
    """
    images = keras.Input(image_shape, name="images")
    hidden = GaussianNoise(input_noise, name="noise_0")(keras.layers.Flatten(name="flatten")(images))
    for index, units in enumerate(hidden_units, start=1):
        dense = keras.layers.Dense(units, "relu", kernel_initializer=_kernel_initializer())
        features = WeightNorm(dense, train_scale=False, epsilon=0.0, name=f"dense_{index}")(hidden)
        hidden = GaussianNoise(hidden_noise, name=f"noise_{index}")(features)
    output = keras.layers.Dense(num_outputs, kernel_initializer=_kernel_initializer())
    logits = WeightNorm(output, epsilon=0.0, name="logits")(hidden)
    return keras.Model(images, {"logits": logits, "features": features}, name="discriminator")
