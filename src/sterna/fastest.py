"""The fastest form of a frozen network on this machine that still computes the same thing.

A frozen prefix runs forward only and never changes, so it may be rearranged: channels last in memory, BatchNorm folded
into the convolution before it, bfloat16 numbers. Which of these a processor runs faster is known from its instructions
and from the kind of network, and is not timed: the same data on the same machine take the same form, and so give the
same bits. bfloat16 is not harmless for every network, so each form is tried on real input and kept only if it agrees.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sterna.network import deviation, device

TOLERANCE = 0.02  # relative; see docs/figures.md: 0.28 cost a probe a point of accuracy, 0.02 nothing measurable
EXACT = 1e-3  # relative; rearranging float32 sums stays far below it, a wrong rearrangement far above
TRIED = 8  # examples that a form is tried on
LARGE = 1_000_000  # weights from which fewer digits pay; smaller networks take a millisecond an item in any form

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Plan:
    """A form in which to run a frozen network.

    `deviation` is the largest relative difference (Frobenius norm) from the plain network over all cuts, as measured on
    real input.
    """

    dtype: Dtype = "float32"
    channels_last: bool = False
    folded: bool = False
    deviation: float = 0.0

    @property
    def form(self) -> str:
        """What determines the numbers that come out, without what was measured."""
        layout = "channels_last" if self.channels_last else "contiguous"
        return f"{self.dtype} {layout} {'folded' if self.folded else 'unfolded'}"


class Prepared:
    """A copy of a chain of stages in the form of a plan, on the device of this machine.

    Inputs are float32, outputs of the plan's dtype; both lie in ordinary memory.
    """

    def __init__(self, stages: nn.Sequential, plan: Plan) -> None:
        self.stages = stages
        self.plan = plan

    def __call__(self, inputs: Tensor) -> Tensor:
        """The output of the last stage."""
        return self.at(inputs, (len(self.stages),))[len(self.stages)]

    @torch.inference_mode()
    def at(self, inputs: Tensor, cuts: Collection[int]) -> dict[int, Tensor]:
        """The outputs of the first `cut` stages for each cut, in one pass that ends at the highest."""
        inputs = inputs.to(device())
        if inputs.is_floating_point():  # tokens are numbers of rows, not quantities
            inputs = inputs.to(getattr(torch, self.plan.dtype))
        if self.plan.channels_last and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        found = {0: inputs.clone().cpu()} if 0 in cuts else {}
        for cut, stage in enumerate(self.stages, start=1):
            if cut > max(cuts):
                break
            inputs = stage(inputs)
            if cut in cuts:
                # A copy, because the next stage may begin with an operation in place.
                found[cut] = (inputs.clone() if cut < max(cuts) else inputs).cpu()
        return found


def prepared(prefix: nn.Sequential, plan: Plan, sample: Tensor | None = None) -> Prepared:
    """A copy of `prefix` in the form of `plan`; the original stays as it is.

    Args:
        prefix: a chain of stages.
        plan: the form.
        sample: (b, ...) float32 real input, from which a folded plan learns what follows what; one example is enough.
    """
    dtype = getattr(torch, plan.dtype)
    # Weights take their form at once, not by way of a copy in full precision; what is folded is computed in that.
    weights = [] if plan.folded else [one for one in prefix.parameters() if one.is_floating_point()]
    formed = {id(one): nn.Parameter(one.detach().to(device(), dtype, copy=True), False) for one in weights}
    stages = copy.deepcopy(prefix, formed).eval().requires_grad_(False)
    if plan.folded:
        if sample is None:
            raise ValueError("a folded plan needs a sample of the input")
        fold(stages, sample[:1])
    stages = stages.to(device(), dtype)
    if plan.channels_last:
        stages = stages.to(memory_format=torch.channels_last)
    return Prepared(stages, plan)


def plan(prefix: nn.Sequential, inputs: Tensor, tolerance: float = TOLERANCE) -> Plan:
    """Try the forms that this processor runs faster, from the simplest on, and keep the last that agrees.

    A form agrees if its outputs at every cut deviate from the plain network's by no more than `tolerance`; one that
    only rearranges float32, by no more than `EXACT`. float16 is not tried: it overflows without a sign, and was at most
    1.4 times as fast as the best float32 form where bfloat16 reached 2.7 times.

    Args:
        prefix: a chain of stages; it is not changed.
        inputs: (b, ...) float32 real input as the network takes it, b >= 1.
        tolerance: the relative deviation that is allowed. 0 leaves only the plain network.
    """
    inputs, best = inputs[:TRIED], Plan()
    wanted = prepared(prefix, best).at(inputs, range(1, len(prefix) + 1))
    for step in _steps(prefix, inputs):
        candidate = replace(best, **step)
        far = _deviation(prefix, candidate, inputs, wanted)
        if far <= (tolerance if candidate.dtype != "float32" else min(tolerance, EXACT)):
            best = replace(candidate, deviation=far)
    return best


def _steps(prefix: nn.Module, inputs: Tensor) -> Iterator[dict[str, Any]]:
    """What to change in turn, each on top of those before it that agreed."""
    parts = list(prefix.modules())
    if inputs.dim() == 4 and any(isinstance(part, nn.Conv2d) for part in parts):
        yield {"channels_last": True}
    if any(isinstance(part, BATCH_NORMS) for part in parts):
        yield {"folded": True}
    if multiplies_bfloat16() and _pays(parts):
        yield {"dtype": "bfloat16"}


def multiplies_bfloat16() -> bool:
    """Whether what networks run on has instructions for products of bfloat16; without them they are slower."""
    if device().type == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch cannot tell
    return bool(capabilities.get("amx_bf16"))


def _pays(parts: list[nn.Module]) -> bool:
    """Whether bfloat16 is much faster for a network, because it multiplies large matrices most of the time.

    With such instructions it took networks of text and ViTs 2.2 to 4 times as fast as their best float32 form, dense
    convolutions 1.7 to 3.3 times, and networks built on grouped convolutions 1.0 to 1.4 times, which is not worth the
    digits; ConvNeXt has some and does most of its work in linear layers.
    """
    convolutions = [part for part in parts if isinstance(part, CONVOLUTIONS)]
    convolved = sum(part.weight.numel() for part in convolutions)
    other = [part for part in parts if not isinstance(part, (nn.Embedding, *CONVOLUTIONS))]
    linear = sum(weight.numel() for part in other for weight in part.parameters(recurse=False) if weight.dim() > 1)
    return linear + convolved >= LARGE and (linear > convolved or all(part.groups == 1 for part in convolutions))


def _deviation(prefix: nn.Sequential, candidate: Plan, inputs: Tensor, wanted: dict[int, Tensor]) -> float:
    """How far a form is from the plain network; infinite where the network cannot take it."""
    try:
        got = prepared(prefix, candidate, inputs).at(inputs, tuple(wanted))
    except RuntimeError:  # an operation that does not exist for this dtype or layout
        return float("inf")
    return max((deviation(got[cut], wanted[cut]) for cut in wanted), default=0.0)


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
        if isinstance(part, CONVOLUTIONS) and not part._forward_hooks:  # which change what it gives
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
