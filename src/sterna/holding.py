"""What addends that stay close to the start of training share: its stages, its head, and examples to look at it with.

A term keeps copies of what it holds on to, made when it is built; nothing here is ever trained, but for the copy of the
source head where a term asks for one that moves.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from sterna import sequences
from sterna.errors import TrainingError
from sterna.network import Network
from sterna.records import Batch, Setting, Taught

TRIED = 4  # examples with which dropout is looked for


def still(network: Network, cut: int) -> Network:
    """A copy of the stages from `cut` on and of the head, in evaluation mode, that takes no gradient."""
    part = copy.deepcopy(Network(dict(list(network.stages.items())[cut:]), network.head))
    return part.eval().requires_grad_(False)


def source_of(setting: Setting) -> tuple[Taught, Tensor, Tensor]:
    """What the encoder said before training, with weights (z, d) and bias (z,) of its own head."""
    source = setting.source
    assert source is not None
    assert source.head is not None
    bias = source.head.new_zeros(len(source.head)) if source.bias is None else source.bias
    return source, source.head.float(), bias.float()


def head_pull(network: Network, strength: float) -> Tensor:
    """strength / 2 * |w_head|^2, and 0 for a strength of 0 however large the weights are."""
    weight: Tensor = network.head.weight  # type: ignore[assignment]
    return strength / 2 * weight.square().sum() if strength else 0 * weight.sum()


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A head with copies of these weights."""
    made: nn.Linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])  # type: ignore[assignment]
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
    return made


def drawn(setting: Setting, most: int) -> list[Batch]:
    """At most about `most` clean training examples that weigh something, evenly spaced over the training part."""
    assert setting.sample is not None
    stride = max(1, -(-setting.count // most))
    found, passed = [], 0
    for batch in setting.sample():
        count = len(batch.weights)
        places = torch.arange(passed, passed + count)
        chosen = (places % stride == 0) & (batch.weights > 0)
        passed += count
        if chosen.any():
            found.append(_taken(batch, chosen))
    return found


def _taken(batch: Batch, chosen: Tensor) -> Batch:
    places = None if batch.places is None else batch.places[chosen]
    parts = (batch.inputs[chosen], batch.labels[chosen], batch.weights[chosen])
    return replace(batch, inputs=parts[0], labels=parts[1], weights=parts[2], mask=None, places=places)


def places_of(batch: Batch, name: str) -> Tensor:
    """(b,) positions of the examples. Raises `TrainingError` where a batch does not know them."""
    if batch.places is None:
        raise TrainingError(
            f"{name} looks up what was said of each example by its place, and these batches give none; leave out "
            "augmentations that mix examples."
        )
    return batch.places


@torch.no_grad()
def varies(setting: Setting, names: Collection[str] | None = None) -> bool:
    """Whether two passes through the stages that may move differ in training mode, by dropout, on a few examples.

    `names`: the stages whose outputs count; None for all.
    """
    assert setting.sample is not None
    batch, network = next(setting.sample(), None), setting.network
    if batch is None:
        return True
    inputs = batch.inputs[:TRIED].to(next(network.head.parameters()).device)
    suffix = network.suffix(setting.cut)
    suffix.batch_norm = False  # its statistics must not move
    try:
        stages = dict(suffix.train().stages.items())
        one, other = (outputs(stages, inputs) for _ in range(2))
    finally:
        network.train(network.training)
    return any(not torch.equal(one[name], other[name]) for name in (one if names is None else names))


@contextmanager
def quiet(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, the modules are in evaluation mode; each of their parts is as it was afterwards."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for part, _ in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def outputs(stages: Mapping[str, nn.Module], inputs: Tensor) -> dict[str, Tensor]:
    """What each of some stages, run one after the other, gives."""
    found = {}
    for name, stage in stages.items():
        inputs = stage(inputs)
        found[name] = inputs
        inputs = inputs.clone()  # the next stage may begin with an operation in place
    return found


def by_channel(value: Tensor) -> tuple[Tensor, Tensor | None]:
    """The output of a stage as (b, p, c), c channels at p places, and (b, p) bool: which places there are.

    Takes (b, d), maps (b, c, h, w) or (b, h, w, c), tokens (b, t, d), and packed sequences (b, t, d + 1). Square first
    two sides and another last one mean that the channels come last.
    """
    if value.dim() == 4:
        last = sequences.channels_last(value.shape[1:])
        return (value if last else value.movedim(1, -1)).flatten(1, 2), None
    if packed(value):
        return sequences.values(value), sequences.mask(value)
    return (value, None) if value.dim() == 3 else (value.flatten(1).unsqueeze(1), None)


def packed(value: Tensor) -> bool:
    """Whether a stage's output is a packed sequence: its last column says of each position what stands there.

    No feature takes four whole values alone, and no item is without a first token.
    """
    if value.dim() != 3 or not value.numel():
        return False
    column = value.detach()[..., -1]
    kinds = torch.tensor(
        [sequences.PADDING, sequences.TOKEN, sequences.WORD, sequences.SECOND], device=column.device, dtype=column.dtype
    )
    return bool(torch.isin(column, kinds).all() and (column[:, 0] > 0).all())
