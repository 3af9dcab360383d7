"""The fastest form of a frozen network on this machine that still computes the same thing.

A frozen prefix runs forward only and never changes, so it may be rearranged: channels last in memory, BatchNorm folded
into the convolution before it, bfloat16 numbers. Which of these pays depends on the network and on the machine, and
bfloat16 is not harmless for every network; so the forms are tried on real input, and one is kept only if it agrees.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sterna.network import deviation, one_thread

TOLERANCE = 0.02  # relative; see docs/figures.md: 0.28 cost a probe a point of accuracy, 0.02 nothing measurable
EXACT = 1e-3  # relative; rearranging float32 sums stays far below it, a wrong rearrangement far above
EXACT_GAIN = 1.2  # a form that only rearranges float32 must be this much faster than a simpler one
HALF_GAIN = 1.5  # fewer digits change results a little, so they must pay more: timing noise rarely decides
PATIENCE = 0.25  # seconds that one run of the plain network on the warm-up batch may take on one core
ROUNDS = 4

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Plan:
    """A form in which to run a frozen network.

    `deviation` is the largest relative difference (Frobenius norm) from the plain network over all cuts, and `speedup`
    the gain over it on one core, both as measured on the warm-up batch.
    """

    dtype: Dtype = "float32"
    channels_last: bool = False
    folded: bool = False
    deviation: float = 0.0
    speedup: float = 1.0

    @property
    def form(self) -> str:
        """What determines the numbers that come out, without what was measured."""
        layout = "channels_last" if self.channels_last else "contiguous"
        return f"{self.dtype} {layout} {'folded' if self.folded else 'unfolded'}"


class Prepared:
    """A copy of a chain of stages in the form of a plan; inputs are float32, outputs of the plan's dtype."""

    def __init__(self, stages: nn.Sequential, plan: Plan) -> None:
        self.stages = stages
        self.plan = plan

    def __call__(self, inputs: Tensor) -> Tensor:
        """The output of the last stage."""
        return self.at(inputs, (len(self.stages),))[len(self.stages)]

    @torch.inference_mode()
    def at(self, inputs: Tensor, cuts: Collection[int]) -> dict[int, Tensor]:
        """The outputs of the first `cut` stages for each cut, in one pass that ends at the highest."""
        if inputs.is_floating_point():  # tokens are numbers of rows, not quantities
            inputs = inputs.to(getattr(torch, self.plan.dtype))
        if self.plan.channels_last and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        found = {0: inputs.clone()} if 0 in cuts else {}
        for cut, stage in enumerate(self.stages, start=1):
            if cut > max(cuts):
                break
            inputs = stage(inputs)
            if cut in cuts:
                # A copy, because the next stage may begin with an operation in place.
                found[cut] = inputs.clone() if cut < max(cuts) else inputs
        return found


def prepared(prefix: nn.Sequential, plan: Plan, sample: Tensor | None = None) -> Prepared:
    """A copy of `prefix` in the form of `plan`; the original stays as it is.

    Args:
        prefix: a chain of stages.
        plan: the form.
        sample: (b, ...) float32 real input, from which a folded plan learns what follows what; one example is enough.
    """
    stages = copy.deepcopy(prefix).eval().requires_grad_(False)
    if plan.folded:
        if sample is None:
            raise ValueError("a folded plan needs a sample of the input")
        fold(stages, sample[:1])
    stages = stages.to(getattr(torch, plan.dtype))
    if plan.channels_last:
        stages = stages.to(memory_format=torch.channels_last)
    return Prepared(stages, plan)


@one_thread()
def plan(prefix: nn.Sequential, inputs: Tensor, tolerance: float = TOLERANCE) -> Plan:
    """Try the forms on a warm-up batch, from the simplest on, and keep the fastest that agrees.

    A form replaces a simpler one if its outputs at every cut deviate from the plain network's by no more than
    `tolerance` and it is clearly faster (`EXACT_GAIN`, `HALF_GAIN`). float16 is not tried: it overflows without a sign,
    and was at most 1.4 times as fast as the best float32 form where bfloat16 reached 2.7 times.

    Args:
        prefix: a chain of stages; it is not changed.
        inputs: (b, ...) float32 real input as the network takes it, b >= 1.
        tolerance: the relative deviation that is allowed. 0 leaves only the plain network.
    """
    plain = prepared(prefix, Plan())
    cuts = range(1, len(prefix) + 1)
    inputs = _affordable(plain, inputs)
    wanted = plain.at(inputs, cuts)
    best, current, speedup, folds = Plan(), plain, 1.0, False
    for layout, folded, dtype in _forms(prefix, inputs):
        candidate = Plan(dtype, layout, folds if dtype != "float32" else folded)
        form, far = _tried(prefix, candidate, inputs, wanted)
        if form is None or not far <= (tolerance if dtype != "float32" else min(tolerance, EXACT)):
            continue
        folds = folds or candidate.folded
        gain = _gain(form, current, inputs)
        if gain >= (EXACT_GAIN if dtype == best.dtype else HALF_GAIN):
            speedup *= gain
            best, current = replace(candidate, deviation=far, speedup=speedup), form
    return best


def _forms(prefix: nn.Module, inputs: Tensor) -> list[tuple[bool, bool, Dtype]]:
    """Layout, folding and dtype of the forms worth trying, from the simplest on; bfloat16 folds where float32 could."""
    parts = [type(part) for part in prefix.modules()]
    pictures = inputs.dim() == 4 and any(issubclass(part, nn.Conv2d) for part in parts)
    forms: list[tuple[bool, bool, Dtype]] = [(True, False, "float32")] if pictures else []
    if any(issubclass(part, BATCH_NORMS) for part in parts):
        forms.append((pictures, True, "float32"))
    return [*forms, (pictures, False, "bfloat16")]


def _tried(
    prefix: nn.Sequential, candidate: Plan, inputs: Tensor, wanted: dict[int, Tensor]
) -> tuple[Prepared | None, float]:
    """A form and its deviation; None where the network cannot take that form."""
    try:
        form = prepared(prefix, candidate, inputs)
        got = form.at(inputs, tuple(wanted))
    except RuntimeError:  # an operation that does not exist for this dtype or layout
        return None, float("inf")
    return form, max((deviation(got[cut], wanted[cut]) for cut in wanted), default=0.0)


def _affordable(plain: Prepared, inputs: Tensor) -> Tensor:
    """As much of the warm-up batch as the plain network runs in `PATIENCE`, so that trying costs seconds."""
    plain(inputs[:1])  # the first run is slower
    return inputs[: max(1, min(len(inputs), int(PATIENCE / max(_seconds(plain, inputs[:1]), 1e-9))))]


def _gain(form: Prepared, other: Prepared, inputs: Tensor) -> float:
    """How many times as fast as `other` a form is: the shortest runs of both, taken in turns after a first one."""
    runs = [(_seconds(form, inputs), _seconds(other, inputs)) for _ in range(ROUNDS + 1)][1:]
    return min(second for _, second in runs) / max(min(first for first, _ in runs), 1e-9)


def _seconds(form: Prepared, inputs: Tensor) -> float:
    """The time of the processor, which stands still while other programs have it, for one run."""
    start = time.thread_time()
    form(inputs)
    return time.thread_time() - start


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold(stages: nn.Sequential, sample: Tensor) -> int:
    """Fold BatchNorm into the convolution whose output it reads, in place; returns how many were folded.

    With weights W, b and statistics mu, var: W' = W * g / sqrt(var + eps), b' = (b - mu) * g / sqrt(var + eps) + beta.
    What reads what is observed on `sample`. Pairs that a cut would separate stay, so that activations at every cut keep
    their meaning. A folded convolution whose output is also read elsewhere would be wrong: the caller compares.
    """
    pairs = _pairs(stages, sample)
    for convolution, norm in pairs:
        _absorb(convolution, norm)
        after = _rest(norm)
        for part in stages.modules():
            for name, child in list(part._modules.items()):
                if child is norm:
                    part._modules[name] = after
    return len(pairs)


@torch.no_grad()
def _pairs(stages: nn.Sequential, sample: Tensor) -> list[tuple[nn.Module, nn.Module]]:
    """Convolutions and BatchNorms of one stage that run once each, the second on the very output of the first."""
    homes = {id(part): place for place, stage in enumerate(stages) for part in stage.modules()}
    made: list[tuple[nn.Module, Tensor]] = []
    read: list[tuple[nn.Module, Tensor]] = []
    hooks = []
    for part in stages.modules():
        if isinstance(part, CONVOLUTIONS):
            hooks.append(part.register_forward_hook(lambda part, _, output: made.append((part, output))))
        elif isinstance(part, BATCH_NORMS) and part.running_var is not None and _rest(part) is not None:
            hooks.append(part.register_forward_pre_hook(lambda part, given: read.append((part, given[0]))))
    try:
        stages(sample.clone())
    finally:
        for hook in hooks:
            hook.remove()
    times = Counter(id(part) for part, _ in (*made, *read))
    return [
        (convolution, norm)
        for norm, given in read
        for convolution, output in made
        if given is output and homes[id(convolution)] == homes[id(norm)]
        if times[id(norm)] == times[id(convolution)] == 1
    ]


@torch.no_grad()
def _absorb(convolution: Any, norm: Any) -> None:
    weight, bias = convolution.weight, convolution.bias
    scale = (norm.running_var + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean if bias is None else bias - norm.running_mean
    shift = shift * scale if norm.bias is None else shift * scale + norm.bias
    convolution.weight = nn.Parameter(weight * scale.reshape(-1, *[1] * (weight.dim() - 1)), requires_grad=False)
    convolution.bias = nn.Parameter(shift, requires_grad=False)


def _rest(norm: nn.Module) -> nn.Module | None:
    """What a normalisation layer does after normalising; None for a layer of an unknown kind.

    timm's layers drop and activate inside the BatchNorm.
    """
    if type(norm) in BATCH_NORMS:
        return nn.Identity()
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)
    if isinstance(drop, nn.Module) and isinstance(act, nn.Module):
        return nn.Sequential(drop, act)
    return None
