"""The losses written out in NumPy, in float64, one example at a time and with no attention to overflow."""

import math

import numpy as np


def feature_matching_loss(real_features, fake_features, norm="l2"):
    real = np.asarray(real_features, "float64").reshape(len(real_features), -1)
    fake = np.asarray(fake_features, "float64").reshape(len(fake_features), -1)
    total = 0.0
    for feature in range(real.shape[1]):
        real_mean = sum(row[feature] for row in real) / len(real)
        fake_mean = sum(row[feature] for row in fake) / len(fake)
        total += abs(real_mean - fake_mean) ** (2 if norm == "l2" else 1)
    return total / real.shape[1]


def binary_kl(target, probability):
    """KL(Bernoulli(target) || Bernoulli(probability)) from its definition, 0 log 0 = 0."""
    total = 0.0
    for t, p in ((target, probability), (1 - target, 1 - probability)):
        if t > 0:
            total += t * math.log(t / p)
    return total


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


def sigmoid_kl_with_logits(logits, target):
    logits, target = np.broadcast_arrays(np.asarray(logits, "float64"), target)
    pairs = zip(logits.ravel(), target.ravel())
    return np.array([binary_kl(t, sigmoid(logit)) for logit, t in pairs]).reshape(logits.shape)


def label_smoothing_discriminator_loss(real_logits, fake_logits, real_target=0.9):
    real = sum(binary_kl(real_target, sigmoid(logit)) for logit in real_logits) / len(real_logits)
    return real + sum(-math.log(1 - sigmoid(logit)) for logit in fake_logits) / len(fake_logits)


def label_smoothing_generator_loss(fake_logits, real_target=0.9, target=None):
    target = real_target / 2 if target is None else target
    return sum(binary_kl(target, sigmoid(logit)) for logit in fake_logits) / len(fake_logits)


def class_mass(logits):
    """Z(x) of each row."""
    return np.array([sum(math.exp(logit) for logit in row) for row in np.asarray(logits, "float64")])


def realness(logits):
    """D(x) = Z / (Z + 1) of each row."""
    return class_mass(logits) / (class_mass(logits) + 1)


def supervised_loss(logits, labels):
    logits = np.asarray(logits, "float64")
    rows = zip(logits, labels, class_mass(logits))
    return sum(-math.log(math.exp(row[label]) / mass) for row, label, mass in rows) / len(logits)


def unsupervised_real_loss(logits, real_target=1.0):
    return sum(binary_kl(real_target, d) for d in realness(logits)) / len(logits) / 2


def unsupervised_fake_loss(logits):
    return sum(-math.log(1 - d) for d in realness(logits)) / len(logits) / 2


def semi_supervised_generator_loss(fake_logits, form="minimax"):
    if form == "minimax":
        return sum(-math.log(1 + mass) for mass in class_mass(fake_logits)) / len(fake_logits)
    return sum(-math.log(d) for d in realness(fake_logits)) / len(fake_logits)


def historical_penalty(past):
    """Penalty of the last of the `past` values theta[1..t], each a list of arrays, one a variable."""
    total = 0.0
    for values in zip(*past):
        mean = sum(np.asarray(value, "float64") for value in values) / len(values)
        total += float(np.sum((values[-1] - mean) ** 2))
    return total


def numerical_gradient(function, array, step=1e-5):
    """Central differences of `function(array)`, a scalar."""
    array = np.array(array, "float64")
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        above, below = array.copy(), array.copy()
        above[index] += step
        below[index] -= step
        gradient[index] = (function(above) - function(below)) / (2 * step)
    return gradient
