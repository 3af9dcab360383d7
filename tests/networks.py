"""Small networks for tests: a chain with everything that can move by accident."""

import itertools

import numpy as np
import torch
from torch import nn

from sterna.network import Network
from sterna.records import Batch


class Flat(nn.Module):
    """Global average pooling with dropout."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.2)

    def forward(self, inputs):
        return self.dropout(inputs.mean(dim=(2, 3)))


def convolutional(classes=3, seed=0):
    """Three convolution stages with BatchNorm, then a pooling; random statistics so that their use shows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        widths = (3, 8, 12, 16)
        stages = {
            f"stage{place}": nn.Sequential(nn.Conv2d(low, high, 3, padding=1), nn.BatchNorm2d(high), nn.ReLU())
            for place, (low, high) in enumerate(itertools.pairwise(widths))
        }
        stages["pool"] = Flat()
        network = Network(stages, nn.Linear(16, classes))
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    return network


class ArrayFeed:
    """A feed over a tensor in memory."""

    def __init__(self, inputs, labels):
        self.pictures, self.labels, self.views = inputs, labels, 0
        self.weights = np.ones(len(labels), dtype=np.float32)
        self.lengths, self.words = None, None

    def __len__(self):
        return len(self.labels)

    def inputs(self, order, size, epoch):
        for start in range(0, len(order), size):
            yield self.pictures[order[start : start + size]]

    def batches(self, order, size, epoch, mixed=True):
        for start, inputs in enumerate(self.inputs(order, size, epoch)):
            part = order[start * size : (start + 1) * size]
            labels, weights, places = map(
                torch.from_numpy, (self.labels[part], self.weights[part], part.astype(np.int64))
            )
            yield Batch(inputs, labels, weights, places=places)
