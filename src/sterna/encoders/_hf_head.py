"""Between a pretrained transformer and its classifier: layers never trained, and classifiers without a bias."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sterna.errors import EncoderError

SLOPE = 0.25  # tanh of a quarter of a normalised feature is within 3 % of a quarter
SHIFT = 4.0  # ReLU and GELU pass on what lies above 0; normalised features seldom lie below -4
PROBE = 3.0
STAND_IN = (
    "the layer {layer} before the classifier is not among the pretrained weights; it starts as the identity{how}, so "
    "that features pass through."
)
RANDOM = "the layer {layer} before the classifier is not among the pretrained weights and starts at random."


@torch.no_grad()
def pass_through(model: nn.Module, layer: str, run: Callable[[], Tensor]) -> str:
    """Make an untrained square layer hand its input on, as far as the function behind it allows; says what was done.

    That function is found by trying: with no weights and a bias of c, the features are its value at c. Behind an odd
    one that saturates (tanh) the identity is scaled down to where it is linear; behind one that cuts off what is
    negative (ReLU, GELU) it is shifted up.

    Args:
        layer: the dotted name of an `nn.Linear`.
        run: gives the features (b, d) or (b, t, d).
    """
    linear = model.get_submodule(layer)
    weight, bias = linear.weight, linear.bias
    if not isinstance(weight, Tensor) or not isinstance(bias, Tensor) or weight.shape[0] != weight.shape[1]:
        return RANDOM.format(layer=layer)
    before = weight.clone(), bias.clone()
    values = []
    for value in (PROBE, -PROBE):
        weight.zero_()
        bias.fill_(value)
        values.append(run())
    uniform = max(float(found.max() - found.min()) for found in values) < 1e-5
    form = _form(*(float(found.mean()) for found in values)) if uniform else None
    if form is None:
        weight.copy_(before[0])
        bias.copy_(before[1])
        return RANDOM.format(layer=layer)
    scale, shift, how = form
    weight.copy_(scale * torch.eye(len(weight)))
    bias.fill_(shift)
    return STAND_IN.format(layer=layer, how=how)


def _form(above: float, below: float) -> tuple[float, float, str] | None:
    """Scale, shift and words for a function of which two values are known."""
    near = 0.05
    if abs(above - PROBE) < near and abs(below + PROBE) < near:
        return 1.0, 0.0, ""
    if abs(above + below) < near:
        return SLOPE, 0.0, f" times {SLOPE:g}, where what follows is nearly linear"
    if abs(above - PROBE) < near and abs(below) < near:
        return 1.0, SHIFT, f" plus {SHIFT:g}, because what follows cuts off what is negative"
    return None


def norm_of(model: nn.Module, features: Tensor) -> str:
    """The dotted name of the LayerNorm whose output the features are. Raises `EncoderError` when they are not one's.

    A classifier without a bias can then be given one: see `fold`.
    """
    named = [path for path, part in model.named_modules() if isinstance(part, nn.LayerNorm)]
    if named:
        weight, bias = _affine(model, named[-1])
        centred = (features.double() - bias) / weight
        if float(centred.mean(dim=-1).abs().max()) < 1e-3 * float(centred.abs().max()):
            return named[-1]
    raise EncoderError(
        f"the classifier of {type(model).__name__} has no bias and does not read a LayerNorm, so a head cannot be "
        "saved in it; choose an encoder such as hf:bert-base-uncased, or a GPT-2."
    )


@torch.no_grad()
def fold(model: nn.Module, norm: str, weight: Tensor, bias: Tensor) -> Tensor:
    """A weight without a bias that gives the logits of weight and bias, with a LayerNorm changed to allow it.

    The norm gives x = g z + a with sum(z) = 0, so sum(x / g) is the constant s = sum(a / g). With a' = a + e g (e = 1
    or -1) features become x + e g, and s' = s + e d. Then W' = W + r / g with r = (b - e W g) / s' gives
    W' (x + e g) = W x + b.

    Args:
        norm: from `norm_of`; its bias is changed.
        weight: (k, d).
        bias: (k,).

    Returns:
        (k, d).
    """
    scale, offset = _affine(model, norm)
    total = float((offset / scale).sum())
    sign = 1.0 if total >= 0 else -1.0
    ratio = (bias.double() - sign * weight.double() @ scale) / (total + sign * len(scale))
    moved: Tensor = model.get_submodule(norm).bias  # type: ignore[assignment]
    moved.copy_(offset + sign * scale)
    return (weight.double() + ratio.unsqueeze(1) / scale).to(weight.dtype)


def _affine(model: nn.Module, norm: str) -> tuple[Tensor, Tensor]:
    part = model.get_submodule(norm)
    weight, bias = part.weight, part.bias
    if not isinstance(weight, Tensor) or not isinstance(bias, Tensor):
        raise EncoderError(f"{norm} has no scale and bias, so a bias cannot be saved; choose another encoder.")
    return weight.detach().double(), bias.detach().double()
