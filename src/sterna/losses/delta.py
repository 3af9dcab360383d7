"""DELTA: what the moving stages give stays close to what they gave before, channel by channel.

Paper: Li et al. 2019, "DELTA: Deep Learning Transfer using Feature Map with Attention for Convolutional Networks" (ICLR
2019, arXiv 1901.09229), equations 3 to 6.

Equation: weight / 2 * sum_l mean_i c_l sum_j a_lj mean_p (F_lj(x_i)_p - F0_lj(x_i)_p)^2 + head / 2 * |w_head|^2, over
the outputs F_l of the moving stages l with weights, c_l channels j at places p; padding is left out, examples count by
their weights. F0 is the network at its start. a_l = softmax_j(g_lj / 5), g_lj how much the loss of a linear classifier
on the start's features grows when channel j is removed, brought to mean 0 and spread 1 over the channels: the paper
takes the softmax of the growth itself, which is almost the same for all of hundreds of channels; its authors' code does
as here.

Growth is estimated to first order, -sum F dL/dF, from one pass backward; `exact` removes channels one by one, a pass
through the stages above for each. Both agree: for the last three stages of MobileNetV2 on 32 photos of flowers, the
logarithms of their weights correlate by 0.93, 0.76 and 1.0. Few examples are the larger trouble: those of two samples
of 125 photos do by 0.98, 0.2 and 0.1, so that near the head attention is mostly chance.

In each step the stages run once more as they were, without gradient: a step takes about a third longer. Where the
moving stages have dropout, what it changes would count as a difference, so these run once more too, without it: a step
takes twice as long. Weight decay is off where this term acts.

When not to use: when the target asks for other features than the source, such as another sensor; with BatchNorm
statistics that follow the data, whose shift it then works against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import adversary, holding, sequences
from sterna.network import Network, in_sequence
from sterna.records import Batch, Setting, Step
from sterna.spec import Range, method, option

Growth = Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]

SOFTNESS = 5.0  # divides standardised growths
DEAD = 1e-5  # of the largest spread
PULL = 0.01  # on the classifier's weights, on standardised features


@method
class Delta:
    """How strongly outputs are held, and which channels more."""

    weight: float = option(
        0.64,
        "pull towards the outputs at the start (alpha; the authors' 0.01 on a sum over batches of 64 examples)",
        Range(0),
    )
    head: float = option(0.01, "pull of the new head towards zero (beta; the paper's 0.01)", Range(0))
    attention: bool = option(True, "hold channels harder that the target's classes depend on; false: all alike")
    examples: int = option(512, "training examples that attention is learnt from, at most", Range(2))
    exact: bool = option(False, "for attention, remove channels one by one in place of a first-order estimate")

    supervised: ClassVar[bool] = False
    needs: ClassVar[str] = ""
    regularises: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "regress")

    def build(self, setting: Setting) -> Built:
        start = holding.still(setting.network, setting.cut)
        names = [name for name, stage in start.stages.items() if any(True for _ in stage.parameters())]
        varies = setting.sample is not None and holding.varies(setting, names)
        if not varies:
            setting.network.wanted |= frozenset(names)  # so that what the loop runs anyway is handed out
        weights = {}
        if self.attention and self.weight and names:
            grown = _removed if self.exact else _first_order
            weights = attention(start, names, holding.drawn(setting, self.examples), setting, grown)
        return Built(self, start, tuple(names), weights, varies)


@dataclass
class Built:
    """The term itself: `Step` -> scalar."""

    chosen: Delta
    start: Network  # a copy that stands still
    names: tuple[str, ...]  # of the stages whose outputs are held
    attention: dict[str, Tensor]  # (c,) of each, adding up to 1; absent: all alike
    varies: bool = False  # whether the moving stages have dropout, which would count as a difference

    def __call__(self, step: Step) -> Tensor:
        total = holding.head_pull(step.network, self.chosen.head)
        batch, moving = step.labelled.batch, dict(list(step.network.stages.items())[step.cut :])
        names = [name for name in self.names if name in moving]
        if not names or not self.chosen.weight:
            return total
        with torch.no_grad():
            before = holding.outputs({name: self.start.stages[name] for name in moving}, batch.inputs)
        after = step.labelled.output.stages
        if self.varies or not set(names) <= after.keys():
            with holding.quiet(moving.values()):
                after = holding.outputs(moving, batch.inputs)
        for name in names:
            each = apart(after[name], before[name], self.attention.get(name))
            total = total + self.chosen.weight / 2 * adversary.mean(each, batch.weights)
        return total


def apart(after: Tensor, before: Tensor, attention: Tensor | None = None) -> Tensor:
    """(b,) c sum_j a_j mean_p (after_jp - before_jp)^2 of two outputs of a stage; without attention a_j = 1 / c."""
    (one, there), (other, _) = holding.by_channel(after), holding.by_channel(before)
    squares = (one.float() - other.float()).square()  # (b, p, c)
    if there is None:
        means = squares.mean(dim=1)
    else:
        means = (squares * there.unsqueeze(-1)).sum(dim=1) / there.sum(dim=1, keepdim=True).clamp_min(1)
    return means.sum(dim=1) if attention is None else means.shape[1] * (means @ attention.to(means))


def attention(
    start: Network, names: Sequence[str], batches: Sequence[Batch], setting: Setting, grown: Growth
) -> dict[str, Tensor]:
    """(c,) weights of the channels of some stages, adding up to 1.

    Args:
        start: the network before training, in evaluation mode.
        names: of its stages.
        batches: training examples as its first stage takes them.
        setting: how many classes there are, and which occur.
        grown: how the growth of the loss is measured, from the output of a stage and the loss as its function.
    """
    device = adversary.device_of(start.head)
    classifier = _classifier(start, batches, len(setting.classes), bool(setting.class_counts.any()))
    above = dict(zip(start.stages, (list(start.stages.values())[n + 1 :] for n in range(start.depth)), strict=True))
    growth: dict[str, Tensor] = {}
    for batch in batches:
        with torch.no_grad():
            found = holding.outputs(dict(start.stages.items()), batch.inputs.to(device))
        for name in names:
            value = len(batch.weights) * grown(found[name], partial(_above, above[name], classifier, batch))
            growth[name] = growth[name] + value if name in growth else value
    return {name: _softened(value) for name, value in growth.items()}


def _softened(growth: Tensor) -> Tensor:
    spread = growth.std(correction=0)
    standard = (growth - growth.mean()) / spread if spread > 0 else torch.zeros_like(growth)
    return (standard / SOFTNESS).softmax(dim=0)


def _above(stages: Sequence[nn.Module], loss: Callable[[Tensor, Batch], Tensor], batch: Batch, value: Tensor) -> Tensor:
    """The loss of the classifier where the output of a stage is `value`."""
    return loss(in_sequence(stages, value.clone()), batch)


@torch.no_grad()
def _removed(value: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """(c,) what the loss grows by when each channel in turn is 0."""
    whole, found = loss(value), []
    for number in range(holding.by_channel(value)[0].shape[-1]):
        less = value.clone()
        _channel(less, number).zero_()
        found.append(loss(less) - whole)
    return torch.stack(found)


def _channel(value: Tensor, number: int) -> Tensor:
    """The view of one channel of a stage's output."""
    first = value.dim() == 4 and not sequences.channels_last(value.shape[1:])
    return value[:, number] if first else value[..., number]


def _first_order(value: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """(c,) the same to first order: minus the sum of the channel's values times their slopes."""
    with torch.enable_grad():
        leaf = value.detach().clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(loss(leaf), leaf)
    if holding.packed(value):
        slope[..., -1] = value[..., -1]  # by which a packed sequence is known
    (values, there), (slopes, _) = holding.by_channel(value), holding.by_channel(slope)
    products = values * slopes
    return -(products if there is None else products * there.unsqueeze(-1)).sum(dim=(0, 1))


@dataclass(frozen=True)
class _Classifier:
    """A linear classifier of features, which are standardised first."""

    mean: Tensor  # (d,)
    factor: Tensor  # (d,)
    head: nn.Linear
    counted: bool

    def __call__(self, features: Tensor, batch: Batch) -> Tensor:
        """The mean loss on a batch."""
        logits = self.head((features.float() - self.mean) * self.factor)
        labels, weights = (one.to(logits.device) for one in (batch.labels, batch.weights))
        if labels.ndim == 1:
            return adversary.cross_entropy(logits, labels, weights)
        measure = functional.binary_cross_entropy_with_logits if self.counted else functional.mse_loss
        return adversary.mean(measure(logits, labels, reduction="none").mean(dim=1), weights)


def _classifier(start: Network, batches: Sequence[Batch], classes: int, counted: bool) -> _Classifier:
    """The classifier with the least loss and penalty on the start's features.

    `counted`: whether labels of several columns are labels, of which some occur, and not values.
    """
    device = adversary.device_of(start.head)
    with torch.no_grad():
        rows = torch.cat([start(batch.inputs.to(device)).features.float() for batch in batches])
    labels, weights = (torch.cat([getattr(one, name) for one in batches]) for name in ("labels", "weights"))
    spread = rows.std(dim=0, correction=0)
    # A feature that is all but dead would be standardised to noise.
    alive = spread > DEAD * spread.max()
    factor = torch.where(alive, 1 / spread.clamp_min(adversary.TINY), 0)
    head = nn.utils.skip_init(nn.Linear, rows.shape[1], classes).to(device)
    made = _Classifier(rows.mean(dim=0), factor, head, counted)
    for weight in head.parameters():
        nn.init.zeros_(weight)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=100, line_search_fn="strong_wolfe")
    whole = Batch(rows, labels, weights)

    def closure() -> Tensor:
        optimizer.zero_grad()
        objective = made(rows, whole) + PULL / 2 * head.weight.square().sum()
        objective.backward()
        return objective

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[arg-type]
    return replace(made, head=head.requires_grad_(False))
