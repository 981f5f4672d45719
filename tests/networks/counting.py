"""How many weights a network has."""

import numpy as np


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def parameters(network):
    """Trained and fixed weights of every layer that has any. (Seed generators' states are no parameters.)"""
    layers = [layer for layer in network.layers if layer.weights]
    return {layer.name: (count(layer.trainable_weights), count(layer.non_trainable_weights)) for layer in layers}
