"""Bi-tuning: examples of one class are drawn together twice, seen by the classifier and seen by a projector.

Paper: Zhong, Wang, Kou, Wang and Long 2020, "Bi-tuning of Pre-trained Representations" (arXiv 2011.06182), equations 3
to 7.

Equation: weight * (L_CCE + L_CCL), both the weighted mean over examples i of -1 / |K_p| sum_{j in K_p} ln (exp(s_ij /
T) / sum_{j in K} exp(s_ij / T)), K the keys, K_p those of class y_i: the key of example i itself and those in a queue
of `keys` for each class. L_CCL: s_ij = z_i . z_j, z the projector's output of length 1. L_CCE: s_ij = u_{y_i} . h_j, h
the features with a 1 appended and u_c the head's weights with their bias, both of length 1; with h_j = h_i, which alone
has a gradient, for the first key. The head's weights are constants, as in the authors' code.

Keys come from copies of the moving stages and of the projector that follow the moving ones: c <- momentum c + (1 -
momentum) w. They are run on the same inputs as the batch, so a step takes about a third longer. Queues and copies are
kept in checkpoints. A queue that is not full yet counts the keys it has. The first projector is drawn from torch's
global generator.

When not to use: with many classes and few examples, whose queues repeat; together with augmentations that mix examples,
which then have no one class; with a few moving stages and a head at its optimum, where it was never tried in the paper.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import adversary, holding
from sterna.errors import TrainingError
from sterna.network import Network, in_sequence
from sterna.records import Batch, Setting, Step
from sterna.spec import Range, method, option


@method
class BiTuning:
    """How much contrast counts, and what it is made of."""

    weight: float = option(1.0, "factor on the term (the paper adds all three losses)", Range(0))
    temperature: float = option(0.07, "divides cosines (the paper's 0.07)", Range(0, low_open=True))
    keys: int = option(24, "keys kept of each class (24 in the paper, 40 in later code)", Range(1))
    momentum: float = option(0.999, "share of a key copy that a step keeps (the paper's 0.999)", Range(0, 1))
    width: int = option(128, "outputs of the projector (the paper's 128)", Range(2))

    supervised: ClassVar[bool] = True
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    def build(self, setting: Setting) -> Built:
        return Built(self, setting).to(adversary.device_of(setting.network.head))


class Built(nn.Module):
    """The term itself: `Step` -> scalar."""

    features: Tensor  # (k, q, d + 1) keys of length 1
    projected: Tensor  # (k, q, width)
    filled: Tensor  # (k,) int64: how many of each class have come by

    def __init__(self, chosen: BiTuning, setting: Setting) -> None:
        super().__init__()
        self.chosen, self.lowest = chosen, setting.cut
        network, classes = setting.network, len(setting.classes)
        self.projector = nn.Linear(network.width, chosen.width)
        self.copy = holding.still(network, setting.cut).stages  # follows by hand, without a gradient
        self.follower = holding.linear(self.projector.weight, self.projector.bias).requires_grad_(False)
        self.register_buffer("features", torch.zeros(classes, chosen.keys, network.width + 1))
        self.register_buffer("projected", torch.zeros(classes, chosen.keys, chosen.width))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))

    def forward(self, step: Step) -> Tensor:
        batch, features = step.labelled.batch, step.labelled.output.features
        if batch.labels.ndim > 1:
            raise TrainingError(
                "bi_tuning contrasts examples of one class each, and these have several; leave out augmentations that "
                "mix examples."
            )
        keys = self._keys(step)
        prototypes = functional.normalize(_head(step.network), dim=1)[batch.labels]
        queries = functional.normalize(self.projector(features), dim=1)
        by_classifier = (prototypes * _extended(features)).sum(dim=1), prototypes, self.features
        by_projector = (queries * keys[1]).sum(dim=1), queries, self.projected
        there = torch.arange(self.chosen.keys, device=self.filled.device) < self.filled[:, None]
        total = features.new_zeros(())
        for own, asked, queue in (by_classifier, by_projector):
            # A copy of what the queue says now: it changes before the step backward.
            cosines = torch.einsum("bd,kqd->bkq", asked, queue.clone())
            each = contrast(own, cosines, batch.labels, there, self.chosen.temperature)
            total = total + adversary.mean(each, batch.weights)
        self._remember(keys, batch)
        return self.chosen.weight * total

    @torch.no_grad()
    def _keys(self, step: Step) -> tuple[Tensor, Tensor]:
        """Features with a 1 and projections of a batch by the copies, of length 1, after these have followed."""
        moving, copies = (dict(part.named_parameters()) for part in (step.network.stages, self.copy))
        pairs = [(copies[name], value) for name, value in moving.items() if name in copies and value.requires_grad]
        pairs += zip(self.follower.parameters(), self.projector.parameters(), strict=True)
        for kept, value in pairs:
            kept.lerp_(value, 1 - self.chosen.momentum)
        stages = list(self.copy.values())[step.cut - self.lowest :]
        features = in_sequence(stages, step.labelled.batch.inputs.clone()).float()
        return _extended(features), functional.normalize(self.follower(features), dim=1)

    @torch.no_grad()
    def _remember(self, keys: tuple[Tensor, Tensor], batch: Batch) -> None:
        """Keys of a batch in the place of the oldest of their class."""
        for number in batch.labels.unique().tolist():
            rows = torch.nonzero((batch.labels == number) & (batch.weights > 0))[:, 0][-self.chosen.keys :]
            places = (self.filled[number] + torch.arange(len(rows), device=rows.device)) % self.chosen.keys
            self.features[number, places], self.projected[number, places] = keys[0][rows], keys[1][rows]
            self.filled[number] += len(rows)


def contrast(own: Tensor, cosines: Tensor, labels: Tensor, there: Tensor, temperature: float) -> Tensor:
    """(b,) the mean of -ln of the share that each key of an example's class has among all keys.

    Args:
        own: (b,) cosines with the example's own key, which is of its class.
        cosines: (b, k, q) with q keys of each of k classes.
        labels: (b,) int64.
        there: (k, q) bool: which keys there are.
        temperature: divides cosines.
    """
    queue = cosines.masked_fill(~there, float("-inf")).flatten(1)
    logs = functional.log_softmax(torch.cat([own[:, None], queue], dim=1) / temperature, dim=1)
    mine = functional.one_hot(labels, len(there)).bool()[:, :, None] & there
    positive = functional.pad(mine.flatten(1), (1, 0), value=True)
    return -torch.where(positive, logs, 0).sum(dim=1) / positive.sum(dim=1)


def _extended(features: Tensor) -> Tensor:
    """(b, d) -> (b, d + 1) of length 1, with a 1 appended before."""
    return functional.normalize(functional.pad(features, (0, 1), value=1.0), dim=1)


def _head(network: Network) -> Tensor:
    """(k, d + 1) weights of the head and their bias, as constants."""
    weight, bias = network.head.weight.detach(), network.head.bias  # type: ignore[union-attr,operator]
    added = weight.new_zeros(len(weight)) if bias is None else bias.detach()  # type: ignore[union-attr,operator]
    return torch.cat([weight, added[:, None]], dim=1)
