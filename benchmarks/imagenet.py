"""The full-width ImageNet training step, batch 16, and sampling."""

import functools

import tensorflow as tf

from benchmarks.products import Product
from benchmarks.steps import Experiment, finishing
from benchmarks.timing import ratio
from igan_tf.layers import freeze_reference
from igan_tf.models import ImageNetGAN
from igan_tf.networks import imagenet
from igan_tf.optimizers import FusedAdam
from igan_tf.precision import dtype_policy

BATCH = REFERENCE = 16


def generator(rows, example_rows):
    """The generator's products, forward and backward: `rows` with the reference's, of which some become images."""
    deconv = {"size": 5, "transposed": True}
    every = ("y", "dx", "dw")
    return [
        Product("G", rows, (8192,), 8192, ("y", "dw")),
        Product("G", rows, (4, 4, 576), 256, every, stride=2, **deconv),
        Product("G", rows, (8, 8, 320), 128, every, stride=2, **deconv),
        Product("G", rows, (16, 16, 160), 64, every, stride=2, **deconv),
        Product("G", rows, (32, 32, 80), 64, every, stride=2, **deconv),
        Product("G", rows, (64, 64, 72), 64, every, stride=2, **deconv),
        # As the step computes it, in blocks: `BlockedConv2DTranspose`.
        Product("G", example_rows, (128, 128, 72), 12, every, size=6, stride=2),
    ]


def discriminator(rows):
    """The discriminator's: one pass forward, backward to its weights for one loss and to the images for the other."""
    every = ("y", "dx", "dw", "dx")
    layers = [
        ((128, 128, 3), 64, 2),
        ((64, 64, 64), 128, 2),
        ((32, 32, 128), 256, 2),
        ((16, 16, 256), 256, 1),
        ((16, 16, 256), 256, 1),
        ((16, 16, 256), 512, 2),
        ((8, 8, 512), 512, 2),
    ]
    convolutions = [
        # The first needs no gradient to its images for the discriminator's own loss.
        Product("D", rows, inputs, filters, every if index else ("y", "dw", "dx"), size=3, stride=stride)
        for index, (inputs, filters, stride) in enumerate(layers)
    ]
    return [
        *convolutions,
        Product("D", rows, (8192,), 2560, every),
        Product("D minibatch discrimination", rows, (2560,), 15000, every),
        Product("D", rows, (3160,), 1001, every),
    ]


def products():
    return [*generator(REFERENCE + BATCH, BATCH), *discriminator(2 * BATCH)]


OPTIMIZER = functools.partial(FusedAdam, 0.0004, beta_1=0.5, epsilon=1e-8)


def build_model(precision="float32", shape=(128, 128, 3), latent_size=8192, gf_dim=64, df_dim=64, optimizer=OPTIMIZER):
    with dtype_policy(precision):
        generator = imagenet.build_generator(shape, latent_size, reference_size=REFERENCE, gf_dim=gf_dim)
        model = ImageNetGAN(generator, imagenet.build_discriminator(shape, df_dim=df_dim))
        model.compile(optimizer(), optimizer(), label_smoothing=0.25)
    return model


def training_batch():
    return {"images": tf.random.uniform((BATCH, 128, 128, 3)), "labels": tf.range(BATCH, dtype=tf.int64)}


EXPERIMENT = Experiment("imagenet", build_model, training_batch, products)


def two_tape_step(model):
    """The plain form of the step: one update after the other, each with passes of its own through G and D."""
    players = (
        (model.discriminator, model.discriminator_optimizer),
        (model.generator, model.generator_optimizer),
    )

    def step(batch):
        key, logs = tf.constant([0, 0]), {}
        for network, optimizer in players:
            with tf.GradientTape() as tape:
                _, real, generated = model._joint_pass(batch["images"], key)
                if network is model.discriminator:
                    loss, _ = model._discriminator_loss(real, generated, batch["labels"])
                else:
                    loss = model._generator_loss(generated)
            optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
            logs[network.name] = loss
        return logs

    return step


def imagenet_two_tape_ratio():
    """Seconds of the step in its plain form over those of ImageNet's `train_step`, both at full width, batch 16."""
    model, batch = build_model(), training_batch()
    plain, ours = (finishing(tf.function(step), batch) for step in (two_tape_step(model), model.train_step))
    return ratio(("a pass for each player", plain), ("one for both", ours), repetitions=5)


def frozen_sampling_ratio():
    """Seconds of sampling 16 images with the reference's pass over those with stored statistics, full width."""
    latents = tf.random.uniform((BATCH, imagenet.LATENT_SIZE), *imagenet.LATENT_RANGE)
    samplers = []
    for prepare in (lambda generator: generator, freeze_reference):
        generator = prepare(imagenet.build_generator())
        function = tf.function(lambda latents, generator=generator: generator(latents, training=False))
        samplers.append(lambda function=function: function(latents).numpy())
    return ratio(*zip(("with the reference", "frozen"), samplers), repetitions=7)
