"""Stand-ins for a data set, a preparation and an encoder, so that tests need no real weights."""

import hashlib

import numpy as np
import torch
from networks import convolutional

from sterna.records import Augment, Encoder

SIDE = 12


class Pictures:
    """Random pictures held in memory. `bad` names the positions that cannot be read."""

    modality = "image"
    lengths = None

    def __init__(self, count=80, seed=0, in_memory=False, bad=()):
        self.data = np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
        self.in_memory, self.bad = in_memory, bad

    def __len__(self):
        return len(self.data)

    def read(self, index, hint):
        if index in self.bad:
            raise OSError("broken data stream")
        return self.data[index]

    def digest(self, index):
        return hashlib.blake2b(self.data[index].tobytes(), digest_size=16).hexdigest()

    def name(self, index):
        return f"picture {index}"


class Preparation:
    """Frames are the pictures themselves; counts the pictures that go through `tensor`."""

    modality = "image"
    ragged = False
    hint = SIDE

    def __init__(self, scale=1.0):
        self.scale, self.seen = scale, 0

    def __repr__(self):
        return f"Preparation(scale={self.scale})"

    def frame(self, item, augment=None):
        if augment is not None and augment.pixels is not None:
            item = augment.pixels(item)
        return np.asarray(item, dtype=np.uint8)

    def tensor(self, frames):
        self.seen += len(frames)
        return frames.permute(0, 3, 1, 2).to(torch.float32) / 255 * self.scale


def noisy(picture):
    """Draws from torch's global generator, as augmentations do."""
    noise = torch.randint(0, 50, picture.shape, dtype=torch.uint8).numpy()
    return (picture // 2 + noise).astype(np.uint8)


NOISE = Augment(pixels=noisy, written="noise")


def encoder(network=None, scale=1.0, digest="weights 1", reference="test:small"):
    """A small network of three convolutions and a pooling, with its preparation."""
    network = convolutional() if network is None else network
    return Encoder(reference, network, Preparation(scale), (), digest, {}, lambda: network)
