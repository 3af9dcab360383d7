"""Statistics of its own for each domain: BatchNorm of one set of weights, estimated anew on other examples.

Paper: Li, Wang, Shi, Liu and Hou 2016, "Revisiting Batch Normalization for Practical Domain Adaptation" (arXiv
1603.04779): the statistics, and not the weights, hold what is special about a domain.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from sterna import network, reading
from sterna.errors import EncoderError
from sterna.maths.samples import thinned
from sterna.network import Network
from sterna.records import Encoder, Table

MOST = 2000  # examples; more change means and variances little
SIZE = 64  # of the batches whose statistics are averaged

Norm = nn.modules.batchnorm._BatchNorm


def norms(module: nn.Module) -> list[Norm]:
    """Its normalisations that keep statistics, in order."""
    return [part for part in module.modules() if isinstance(part, Norm) and part.running_mean is not None]


def estimated(encoder: Encoder, table: Table, seed: int) -> Encoder:
    """The encoder with the statistics of these examples, at most 2,000 of them, averaged over batches of 64.

    Raises `EncoderError` for an encoder without BatchNorm.
    """
    twin = copy.deepcopy(encoder.network)
    found = norms(twin)
    if not found:
        raise EncoderError(f"the encoder {encoder.reference} has no BatchNorm, so adabn changes nothing; leave it out.")
    momenta = [part.momentum for part in found]
    rows = table.rows[thinned(len(table), MOST, seed, "statistics")]
    rows = np.random.default_rng(seed).permutation(rows)
    twin.eval()
    for part in found:
        part.reset_running_stats()
        part.momentum = None  # the plain average over batches
        part.train()
    with torch.inference_mode():
        for frames in reading.frames(table.items, encoder.preparation, rows, size=SIZE):
            if len(frames) > 1 or len(rows) == 1:  # a single example has no variance of its own
                twin(encoder.preparation.tensor(frames))
    for part, momentum in zip(found, momenta, strict=True):
        part.momentum = momentum
    twin.eval()
    return replace(encoder, network=twin, digest=network.digest(encoder.digest, dict(_statistics(twin))))


def tied(shared: Network, statistics: Network) -> Network:
    """A network with the weights of `shared`, the very same, and the BatchNorm statistics of `statistics`."""
    twin = copy.deepcopy(shared, {id(weight): weight for weight in shared.parameters()})
    with torch.no_grad():
        for mine, other in zip(norms(twin), norms(statistics), strict=True):
            for name, value in other.named_buffers(recurse=False):
                getattr(mine, name).copy_(value)
    return twin


def _statistics(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [
        (f"{place}.{name}", value)
        for place, part in enumerate(norms(module))
        for name, value in part.named_buffers(recurse=False)
    ]
