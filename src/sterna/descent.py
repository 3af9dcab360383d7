"""The parts of gradient descent that the loop puts together: parameter groups, averages, batch size, evaluation."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from sterna import pieces, sequences
from sterna.contracts import Feed, Task
from sterna.errors import TrainingError
from sterna.maths import answers as maths
from sterna.maths import blocks
from sterna.network import Network
from sterna.records import Batch, Output, Phase, Seen

MEMORY_SHARE = 0.25  # of the machine's memory that one training step may take
LARGEST_BATCH = 64  # beyond it small data sets get too few steps
GROUPS = 3  # of like length, at most about, into which a batch of any lengths is divided
SMALLEST = 800  # positions of a group: each passes over all weights, which costs what a hundred positions do or more
STEPS_WANTED = 20  # an epoch, at least, when the batch size is found


def parameter_groups(
    network: Network,
    phase: Phase,
    rate: float,
    weight_decay: float,
    paces: tuple[float, float] = (1.0, 1.0),
    plain: Collection[int] = (),
) -> list[dict]:
    """The moving weights with their rates and weight decay.

    The rate of a phase is `rate * phase.rate`. The head learns at the first of the paces times that, the topmost moving
    stage at the second and at `phase.pace` times it, each stage with weights further down at `phase.layer_decay` times
    the one above it. Norms and biases (one-dimensional weights) are never decayed, nor those whose identity is in
    `plain`.
    """
    moving = [s for s, moves in zip(network.stages.values(), network.moving, strict=True) if moves]
    carrying = [stage for stage in reversed(moving) if any(True for _ in stage.parameters())]
    top = rate * phase.rate
    levels: list[tuple[nn.Module, float]] = [(network.head, paces[0] * top)]
    levels += [(stage, paces[1] * top * phase.pace * phase.layer_decay**down) for down, stage in enumerate(carrying)]
    groups = []
    for part, level_rate in levels:
        weights = [value for value in part.parameters() if value.requires_grad]
        decayed = [w for w in weights if w.ndim > 1 and id(w) not in plain]
        rest = [w for w in weights if w.ndim <= 1 or id(w) in plain]
        for kept, decay in ((decayed, weight_decay), (rest, 0.0)):
            if kept:
                groups.append({"params": kept, "lr": level_rate, "weight_decay": decay})
    return groups


def narrow(network: Network, only: str) -> str:
    """Of the moving stages, let only biases ("bias") or the scale and shift of normalisations ("norm") move.

    Biases are the vectors that are called so, those of normalisations included; a normalisation is a part whose class
    says so. Returns a sentence on how many weights move.

    Raises `TrainingError` where there are none.
    """
    stages = [stage for stage, moves in zip(network.stages.values(), network.moving, strict=True) if moves]
    own = [(part, *one) for stage in stages for part in stage.modules() for one in part.named_parameters(recurse=False)]
    chosen = [weight for part, name, weight in own if weight.ndim == 1 and _belongs(part, name, only)]
    what = {"bias": "biases", "norm": "scales and shifts of normalisations"}[only]
    if not chosen:
        raise TrainingError(
            f"there is nothing to move: the {len(stages)} moving stages of this network have no {what}; choose another "
            "--tune, such as partial."
        )
    for _, _, weight in own:
        weight.requires_grad_(False)
    for weight in chosen:
        weight.requires_grad_(True)
    return moved(what, sum(w.numel() for w in {id(w): w for w in chosen}.values()), network)


def moved(what: str, count: int, network: Network) -> str:
    """The sentence on how many of the weights of the stages move."""
    every = sum(weight.numel() for weight in network.stages.parameters())
    head = sum(weight.numel() for weight in network.head.parameters())
    share = f"{100 * count / max(every, 1):.2g} %"
    return f"{what}: {count:,} weights moved, {share} of {every:,}, beside {head:,} of the head."


def _belongs(part: nn.Module, name: str, only: str) -> bool:
    return name.endswith("bias") if only == "bias" else "norm" in type(part).__name__.lower()


@contextmanager
def stochastic(networks: Sequence[nn.Module], probability: float) -> Iterator[None]:
    """Inside, BatchNorm that follows its batches normalises some channels by its moving statistics instead.

    StochNorm (Kou et al. 2020, "Stochastic Normalization", NeurIPS, equation 4): in each forward pass, each channel
    takes the moving statistics with this probability, drawn from torch's global generator. In evaluation nothing
    changes.
    """
    parts = [part for network in networks for part in network.modules() if isinstance(part, Norm)]
    hooks = [part.register_forward_hook(partial(_mixed, probability)) for part in parts if probability]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


Norm = nn.modules.batchnorm._BatchNorm


def _mixed(probability: float, part: Norm, args: tuple[Tensor], output: Tensor) -> Tensor | None:
    """The output of a normalisation with some channels as in evaluation; acts on what follows in the same part too."""
    if not part.training or part.running_mean is None:
        return None
    statistics = part.running_mean, part.running_var
    part.eval()
    # A later pass moves the statistics in place, and the backward pass of this one needs them as they are.
    part.running_mean, part.running_var = (one.clone() for one in statistics if one is not None)
    try:
        steady = part.forward(*args)
    finally:
        part.running_mean, part.running_var = statistics
        part.train()
    taken = torch.rand(output.shape[1], device=output.device) < probability
    return torch.where(taken.reshape(1, -1, *[1] * (output.dim() - 2)), steady, output)


def moments_by_name(optimizer: torch.optim.Optimizer, names: dict[int, str]) -> dict[str, dict[str, Tensor]]:
    """The optimizer's state by weight name, so that it can follow the weights into another phase or process."""
    return {
        names[id(weight)]: {key: torch.as_tensor(value).detach().clone() for key, value in state.items()}
        for weight, state in optimizer.state.items()
        if id(weight) in names
    }


def restore_moments(
    optimizer: torch.optim.Optimizer, moments: dict[str, dict[str, Tensor]], names: dict[int, str]
) -> None:
    """Give the weights that go on the state they had; weights that are new start without."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            state = moments.get(names.get(id(weight), ""))
            if state is not None:
                optimizer.state[weight] = {key: value.clone() for key, value in state.items()}


def update_average(average: dict[str, Tensor], network: Network, decay: float, steps: int) -> None:
    """Move the running average one step: a <- d a + (1 - d) w, d = min(decay, (1 + steps) / (10 + steps)).

    The ramp keeps the first, bad weights from lingering. Whole-number statistics are copied.
    """
    ramped = min(decay, (1 + steps) / (10 + steps))
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name not in average or not value.is_floating_point():
                average[name] = value.detach().clone()
            else:
                average[name].lerp_(value, 1 - ramped)


def between(start: Mapping[str, Tensor], end: Mapping[str, Tensor], place: float) -> dict[str, Tensor]:
    """(1 - place) start + place end, exactly either at 0 and 1; counts, which are whole numbers, are those of the end.

    Both are states of one network.
    """
    if place in (0, 1):
        return dict(end if place else start)
    return {
        name: torch.lerp(start[name], value, place) if value.is_floating_point() else value
        for name, value in end.items()
    }


def mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The average of several states of one network; of one, that very state. Counts are those of the first."""
    if len(states) == 1:
        return dict(states[0])
    return {
        name: torch.stack([one[name].double() for one in states]).mean(dim=0).to(value)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }


def found_batch_size(network: nn.Module, example: Tensor, count: int) -> int:
    """A power of two that gives at least twenty steps an epoch and fits in a quarter of the memory.

    `example`: the input of one example, (1, ...).
    """
    wanted = min(LARGEST_BATCH, max(8, count // STEPS_WANTED), max(1, room(network, example)))
    return max(1, 2 ** int(np.log2(wanted)))


def room(network: nn.Module, example: Tensor) -> float:
    """How many examples a step may take in a quarter of the memory.

    `example`: the input of one example, (1, ...). What a step keeps for the backward pass is measured by adding up the
    outputs of all parts on that example, so the answer depends on the machine's size but never on timing.
    """
    sizes: list[int] = []
    hooks = [
        part.register_forward_hook(lambda _, __, out: sizes.append(out.numel() * 4 if isinstance(out, Tensor) else 0))
        for part in network.modules()
        if not list(part.children())
    ]
    was_training = network.training
    network.eval()
    with torch.no_grad():
        network(example)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return MEMORY_SHARE * memory(example.device) / max(2 * sum(sizes), 1)


def by_length(network: nn.Module, inputs: Tensor) -> Output:
    """What the network makes of packed sequences (b, t, d + 1), items of like length run together.

    For batches whose items were not chosen by length: half of such a batch is padding. Each item has one answer.
    """
    lengths = sequences.lengths(inputs).cpu().numpy()
    groups = sequences.batches(lengths, max(SMALLEST, int(lengths.sum()) // GROUPS), len(inputs))
    outputs = [network(inputs[group, : int(lengths[group].max())]) for group in map(torch.from_numpy, groups)]
    back = torch.from_numpy(np.argsort(np.concatenate(groups), kind="stable")).to(inputs.device)
    features, logits = (
        torch.cat(parts)[back] for parts in zip(*((o.features, o.logits) for o in outputs), strict=True)
    )
    return Output(features, logits)


def memory(device: torch.device) -> int:
    """Bytes of memory of the device, in use or not."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def answers(network: Network, feed: Feed, size: int, task: Task, classes: Sequence[str]) -> np.ndarray:
    """The task's answers (n, k) for all rows of a feed, in evaluation mode on clean inputs.

    Where each word has its own, those of all items follow one another. Words beyond the length that the network takes
    are held to be outside of everything.
    """
    found = _evaluated(network, feed, size, lambda output: _each(output, task))
    if not found:
        return np.zeros((0, len(classes)))
    if feed.words is None:
        return np.stack(found)
    outside = blocks.outside(classes) if getattr(task, "head", ()) else maths.outside(classes)
    return np.concatenate([_filled(one, int(words), outside) for one, words in zip(found, feed.words, strict=True)])


def features(network: Network, feed: Feed, size: int) -> np.ndarray:
    """(n, d) float32 for all rows of a feed as the head reads them, in evaluation mode on clean inputs."""
    return np.stack(_evaluated(network, feed, size, lambda output: list(output.features.float().cpu().numpy())))


@torch.no_grad()
def _evaluated(network: Network, feed: Feed, size: int, each: Callable[[Output], list[np.ndarray]]) -> list[np.ndarray]:
    """What `each` takes from the outputs, for every row of a feed; the network is left in the mode it was in."""
    was_training = network.training
    network.eval()
    device = next(network.head.parameters()).device
    # Rows of like length go together, the longest first, so that memory is too short at once or never.
    order = np.arange(len(feed)) if feed.lengths is None else np.argsort(-feed.lengths, kind="stable")

    def passed(size: int) -> list[np.ndarray]:
        return [one for inputs in feed.inputs(order, size, -1) for one in each(network(inputs.to(device)))]

    try:
        found = _fitting(passed, size)
    finally:
        network.train(was_training)
    return [found[place] for place in np.argsort(order, kind="stable")]


def _fitting(passed: Callable[[int], list[np.ndarray]], size: int) -> list[np.ndarray]:
    """What passes with so many rows at a time give, or with half as many where memory is too short for them.

    Raises `TrainingError` where it is too short for one.
    """
    while size:
        try:
            return passed(size)
        except RuntimeError as error:
            if not pieces.short(error):
                raise
        size //= 2
    raise TrainingError("a single example does not fit into memory; choose a smaller --encoder.")


def _each(output: Output, task: Task) -> list[np.ndarray]:
    """The answers of each item of a batch: (k,), or (w, k) for its words."""
    logits = output.logits.double().cpu().numpy()
    if output.mask is None:
        return list(task.answers(logits))
    there = output.mask.cpu().numpy()
    return [of_words(task, one[mask]) for one, mask in zip(logits, there, strict=True)]


def of_words(task: Task, logits: np.ndarray) -> np.ndarray:
    """The answers for the words of one item, (w, k) logits -> (w, k); those for the item itself stand at each word."""
    head: Sequence[str] = getattr(task, "head", ())  # of several tasks
    return task.answers(blocks.whole(logits, head) if head else logits)


def _filled(found: np.ndarray, words: int, outside: np.ndarray) -> np.ndarray:
    beyond = np.tile(outside, (max(0, words - len(found)), 1))
    item = found[:1] if len(found) else outside
    return np.concatenate([found[:words], np.where(np.isnan(beyond), item, beyond)])


def seen(batch: Batch, output: Output) -> Seen:
    """What a loss is given: words that carry a label become examples of their own.

    Where whole items have labels too, (b, w, c), all words do, and each knows its item.
    """
    if output.mask is None or batch.mask is None:
        return Seen(batch, output)
    kept = output.mask & batch.mask[:, : output.mask.shape[1]]
    labels, weights = batch.labels[:, : kept.shape[1]], batch.weights[:, None].expand(kept.shape)
    flat = replace(output, features=output.features[kept], logits=output.logits[kept], mask=None)
    places = None if batch.places is None else batch.places[:, None].expand(kept.shape)[kept]
    items = kept.nonzero()[:, 0] if labels.ndim > kept.ndim else None
    return Seen(Batch(batch.inputs, labels[kept], weights[kept], places=places, items=items), flat)


def epoch_order(count: int, size: int, generator: np.random.Generator, lengths: np.ndarray | None = None) -> np.ndarray:
    """The shuffled positions of an epoch, without a last batch of one: BatchNorm cannot learn from a single example.

    `lengths`: then each batch of `size` holds items of like length, out of a random fifty batches at a time; which
    items meet and in what order batches come stays random.
    """
    order = generator.permutation(count)
    if lengths is not None:
        block = 50 * size
        parts = [order[start : start + block] for start in range(0, count, block)]
        order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
        full = count // size
        shuffled = order[: full * size].reshape(full, size)[generator.permutation(full)].ravel()
        order = np.concatenate([shuffled, order[full * size :]])
    return order[:-1] if count > size and count % size == 1 else order


def repeated_order(
    count: int, wanted: int, size: int, generator: np.random.Generator, lengths: np.ndarray | None = None
) -> np.ndarray:
    """(wanted,) positions out of `count`: shuffled epochs one after another, in batches of like length where known."""
    found: list[np.ndarray] = []
    while sum(map(len, found)) < wanted:
        found.append(epoch_order(count, size, generator, lengths))
    return np.concatenate(found)[:wanted] if found else np.zeros(0, dtype=np.int64)


def balanced_order(labels: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """The positions of an epoch so that each batch of `size` holds several examples of each of its classes.

    For objectives on pairs: a batch of one example a class has no pair that belongs together. With many classes a batch
    holds size / 4 of them, drawn anew each time. Rare classes come again within an epoch.
    """
    members = [np.flatnonzero(labels == number) for number in np.unique(labels)]
    taken = min(len(members), max(2, size // 4))
    found = []
    for _ in range(max(1, len(labels) // size)):
        chosen = generator.permutation(len(members))[:taken]
        shares = np.diff(np.linspace(0, size, taken + 1).astype(int))
        for number, share in zip(chosen, shares, strict=True):
            pool = members[number]
            found.append(generator.choice(pool, size=share, replace=share > len(pool)))
    return np.concatenate(found)


def named(parts: Iterable[tuple[str, nn.Parameter]]) -> dict[int, str]:
    """Weight identity -> name."""
    return {id(weight): name for name, weight in parts}


def total_norm_clipped(weights: Sequence[nn.Parameter], limit: float) -> None:
    """Scale the gradients down together when their norm exceeds `limit`; 0 means no limit."""
    if limit:
        nn.utils.clip_grad_norm_(weights, limit)
