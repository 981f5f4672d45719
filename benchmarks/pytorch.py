"""The steps of `mnist_step_ratio` and `cifar10_step_ratio` in PyTorch, taken when another process says so.

`steps.Experiment.pytorch_ratio` starts `python -m benchmarks.pytorch mnist float32`. It is PyTorch's usual mode, eager,
with what is fast on a CPU: one pass of D over all of a batch, gradients of one player alone, its fused Adam, channels
last, bfloat16 by `torch.autocast`, as many threads as processors. The running average that this package keeps beside is
left out.
"""

import sys

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from benchmarks.timing import take_turns
from igan_tf.images.reading import available_processors
from igan_tf.memory import keep_freed_memory

BATCH, LATENT_SIZE = 100, 100


class Noise(nn.Module):
    """Adds normal noise."""

    def __init__(self, stddev):
        super().__init__()
        self.stddev = stddev

    def forward(self, inputs):
        return torch.randn_like(inputs).mul_(self.stddev).add_(inputs)


class Discriminator(nn.Module):
    """Returns features and logits."""

    def __init__(self, to_features, feature_count):
        super().__init__()
        self.to_features = to_features
        self.to_logits = weight_norm(nn.Linear(feature_count, 10))

    def forward(self, images):
        features = self.to_features(images)
        return features, self.to_logits(features)


class MNISTDiscriminator(Discriminator):
    """The dense network; noise stands between the features and the logits."""

    def __init__(self):
        hidden, inputs = [Noise(0.3)], 784
        for units in (1000, 500, 250, 250, 250):
            hidden += [weight_norm(nn.Linear(inputs, units)), nn.ReLU(), Noise(0.5)]
            inputs = units
        super().__init__(nn.Sequential(*hidden[:-1]), inputs)
        self.last_noise = hidden[-1]

    def forward(self, images):
        features = self.to_features(images)
        return features, self.to_logits(self.last_noise(features))


def mnist_generator():
    layers, inputs = [], LATENT_SIZE
    for units in (500, 500):
        layers += [nn.Linear(inputs, units, bias=False), nn.BatchNorm1d(units), nn.Softplus()]
        inputs = units
    return nn.Sequential(*layers, weight_norm(nn.Linear(inputs, 784)), nn.Sigmoid())


def cifar10_discriminator():
    layers, inputs = [nn.Dropout(0.2)], 3
    for filters, size, stride, padding in (
        *((96, 3, 1, 1), (96, 3, 1, 1), (96, 3, 2, 1), (192, 3, 1, 1), (192, 3, 1, 1), (192, 3, 2, 1)),
        *((192, 3, 1, 0), (192, 1, 1, 0), (192, 1, 1, 0)),
    ):
        layers += [weight_norm(nn.Conv2d(inputs, filters, size, stride, padding)), nn.LeakyReLU(0.2, inplace=True)]
        if stride == 2:
            layers.append(nn.Dropout(0.5))
        inputs = filters
    return Discriminator(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), inputs)


class CIFAR10Generator(nn.Module):
    """z -> 4x4x512 -> 8x8x256 -> 16x16x128 -> 32x32x3."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(LATENT_SIZE, 8192, bias=False), nn.BatchNorm1d(8192), nn.ReLU())
        maps, inputs = [], 512
        for filters in (256, 128):
            maps += [_doubled(inputs, filters, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
            inputs = filters
        self.maps = nn.Sequential(*maps, weight_norm(_doubled(inputs, 3)), nn.Tanh())

    def forward(self, latents):
        first = self.dense(latents).view(-1, 512, 4, 4)
        return self.maps(first.contiguous(memory_format=torch.channels_last))


def _doubled(inputs, filters, bias=True):
    return nn.ConvTranspose2d(inputs, filters, 5, stride=2, padding=2, output_padding=1, bias=bias)


# Networks, shape of an image, learning rate of both players, distance of feature matching.
EXPERIMENTS = {
    "mnist": (mnist_generator, MNISTDiscriminator, (784,), 0.003, functional.mse_loss),
    "cifar10": (CIFAR10Generator, cifar10_discriminator, (3, 32, 32), 0.0003, functional.l1_loss),
}


def training_step(experiment):
    """A function that takes one step, both updates, on one fixed batch of 100 images of each kind."""
    build_generator, build_discriminator, image_shape, rate, distance = EXPERIMENTS[experiment]
    form = torch.channels_last if len(image_shape) == 3 else torch.contiguous_format
    generator, discriminator = (build().to(memory_format=form) for build in (build_generator, build_discriminator))
    optimizers = [
        torch.optim.Adam(player.parameters(), rate, betas=(0.5, 0.999), fused=True)
        for player in (discriminator, generator)
    ]
    labelled, unlabelled, matched = (torch.rand(BATCH, *image_shape).contiguous(memory_format=form) for _ in range(3))
    labels = torch.arange(BATCH) % 10

    def generate():
        return generator(torch.rand(BATCH, LATENT_SIZE))

    def update(player, optimizer, loss):
        optimizer.zero_grad()
        # The other player's gradients are not computed.
        loss.backward(inputs=list(player.parameters()))
        optimizer.step()

    def step():
        with torch.no_grad():
            generated = generate()
        _, logits = discriminator(torch.cat([labelled, unlabelled, generated]))
        of_labelled, of_unlabelled, of_generated = logits.float().split(BATCH)
        real, fake = of_unlabelled.logsumexp(1), of_generated.logsumexp(1)
        unsupervised = (functional.softplus(real) - real).mean() + functional.softplus(fake).mean()
        loss = functional.cross_entropy(of_labelled, labels) + 0.5 * unsupervised
        update(discriminator, optimizers[0], loss)

        features, _ = discriminator(torch.cat([matched, generate()]))
        of_matched, of_generated = (part.float().mean(0) for part in features.split(BATCH))
        update(generator, optimizers[1], distance(of_generated, of_matched.detach()))

    return step


def main():
    experiment, precision = sys.argv[1:]
    keep_freed_memory()
    torch.set_num_threads(available_processors())
    torch.manual_seed(0)
    step = training_step(experiment)
    # Without its cache of cast weights, which would outlive an update.
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixed_bfloat16", cache_enabled=False):
        take_turns(step)


if __name__ == "__main__":
    main()
