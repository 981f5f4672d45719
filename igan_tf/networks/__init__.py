"""The paper's networks.

Each module has `build_generator(image_shape, latent_size, norm, reference_size, width)`,
`build_discriminator(image_shape, num_outputs, minibatch_discrimination, width, corruption)` and what their training has
to know: the range of z, which image sides and corruptions they can have, whether the generator too is initialized from
data, and whether the discriminator's examples for that are labelled ones.
"""

from igan_tf.networks import cifar10, digits, mnist, svhn

# What `--network` chooses from.
NETWORKS = {"digits": digits, "mnist": mnist, "cifar10": cifar10, "svhn": svhn}

__all__ = ["NETWORKS", "cifar10", "digits", "mnist", "svhn"]
