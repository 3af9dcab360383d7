"""Where a network looks: which places of a picture, and which words of a text, its answer rests on.

Papers: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization"
(arXiv 1610.02391), equations 1 and 2; Ancona et al. 2018, "Towards better understanding of gradient-based attribution
methods" (arXiv 1711.06104), for gradient x activation; Zeiler and Fergus 2014 (arXiv 1311.2901), section 4.2, and Li,
Monroe and Jurafsky 2016 (arXiv 1612.08220), equation 2, for what leaving a part out does to the answer.

Equations: for maps A (c, h, w), ReLU(sum_k a_k A_k) with a_k the mean of dy / dA_k over the places. For tokens A (t, d)
on a grid of patches, ReLU(sum_j A_ij dy / dA_ij). For words, p(class | text) - p(class | text without the word).

When not to use: as a proof of what a model has learnt. All three show what this answer rests on at this item; they are
coarse (a place covers a large part of the picture; Grad-CAM weighs a whole map alike, wherever the head reads it), and
two words that say the same excuse each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sterna.network import Network

CAM = "Grad-CAM"
PATCHES = "gradient x activation of patches"
FINE, COARSEST = 4, 2  # places on a side that are wanted, and those below which a map says nothing of where
SPECIAL = 8  # tokens before those of the patches: of the class, of registers
Answer = Callable[[Sequence[Any]], np.ndarray]
"""Raw items -> (n, k) answers."""


@dataclass(frozen=True)
class Heat:
    """Where a network looked in some pictures."""

    places: np.ndarray  # (b, y, x) in [0, 1], 1 at the strongest place of each picture; all 0 where nothing speaks for
    stage: str  # the stage whose outputs were read
    method: str


def visual(network: Network, inputs: Tensor, targets: np.ndarray) -> Heat | None:
    """What speaks for a class in each picture, read off the last stage whose outputs still have places.

    Stages behind which only one token is read (that of the class) take no gradient from the patches; the stage before
    them is read then. So it is where maps have shrunk to under 4 x 4 places and an earlier one has more. None where no
    stage has places: one stage in all, or features without a grid.

    Args:
        network: in evaluation mode.
        inputs: (b, c, h, w) as the preparation makes them.
        targets: (b,) int64, the class whose score is explained.
    """
    outputs = _outputs(network, inputs)
    grids = [_grid(value.shape, inputs.shape) for value in outputs]
    for least in (FINE, COARSEST):
        for place in reversed(range(network.depth)):
            grid = grids[place]
            if grid is None or min(grid.rows, grid.columns) < least:
                continue
            value, slope = (
                grid.maps(one) for one in (outputs[place], _slope(network, place + 1, outputs[place], targets))
            )
            if bool(slope.any()):
                found = _cam(value, slope) if grid.method == CAM else (value * slope).sum(dim=1).relu()
                most = found.amax(dim=(1, 2), keepdim=True)
                scaled = torch.where(most > 0, found / most.clamp_min(1e-30), 0)
                return Heat(scaled.cpu().numpy(), list(network.stages)[place], grid.method)
    return None


def words(answer: Answer, item: Any, target: int, most: int) -> list[tuple[str, float]]:
    """What each word of a text adds to the probability of a class: by how much that falls where the word is left out.

    Args:
        answer: the model.
        item: a text, or a pair of texts; a word is what stands between spaces.
        target: the class.
        most: parts left out one at a time; words of longer texts are left out several neighbours at a time.

    Returns:
        The words, or runs of them, in order, with weights in [-1, 1]: falls of the probability in units of the greatest
        one. Between two texts stands "|" of weight 0. Empty for a text of fewer than two words.
    """
    texts = (item,) if isinstance(item, str) else tuple(item)
    split = [text.split() for text in texts]
    total = sum(map(len, split))
    if total < 2:
        return []
    length = max(1, math.ceil(total / most))
    runs = [(place, range(start, min(start + length, len(one)))) for place, one in enumerate(split)
            for start in range(0, len(one), length)]  # fmt: skip
    changed = [_without(split, place, run, isinstance(item, str)) for place, run in runs]
    found = answer([item, *changed])[:, target]
    falls = found[0] - found[1:]
    largest = float(np.abs(falls).max())
    weights = falls / largest if largest > 0 else falls
    made: list[tuple[str, float]] = []
    for (place, run), weight in zip(runs, weights, strict=True):
        if place and run.start == 0:
            made.append(("|", 0.0))
        made.append((" ".join(split[place][run.start : run.stop]), float(weight)))
    return made


def _without(split: Sequence[Sequence[str]], place: int, run: range, single: bool) -> Any:
    """The item with the words of one run left out."""
    kept = [" ".join(one[: run.start]) + " " + " ".join(one[run.stop :]) if number == place else " ".join(one)
            for number, one in enumerate(split)]  # fmt: skip
    texts = tuple(text.strip() for text in kept)
    return texts[0] if single else texts


@torch.no_grad()
def _outputs(network: Network, inputs: Tensor) -> list[Tensor]:
    """What each stage gives; copies, since the next stage may begin with an operation in place."""
    found = []
    for stage in network.stages.values():
        inputs = stage(inputs.clone())
        found.append(inputs)
    return found


def _slope(network: Network, stop: int, value: Tensor, targets: np.ndarray) -> Tensor:
    """The derivative of the targets' scores in the outputs of the first `stop` stages."""
    with torch.enable_grad():
        leaf = value.detach().clone().requires_grad_(True)
        scores = network.suffix(stop)(leaf.clone()).logits
        chosen = scores[torch.arange(len(scores)), torch.from_numpy(targets)].sum()
        (found,) = torch.autograd.grad(chosen, leaf, allow_unused=True)
    return torch.zeros_like(value) if found is None else found


@dataclass(frozen=True)
class _Grid:
    """How the places of a picture lie in the outputs of a stage."""

    rows: int
    columns: int
    method: str
    channels_last: bool

    def maps(self, value: Tensor) -> Tensor:
        """(b, ...) outputs as (b, channels, rows, columns), without the tokens that stand for no place."""
        if self.method == PATCHES:
            value = value[:, -self.rows * self.columns :].unflatten(1, (self.rows, self.columns))
        return value.movedim(-1, 1) if self.channels_last else value


def _grid(shape: torch.Size, taken: torch.Size) -> _Grid | None:
    """How places lie in an output of this shape, or None where it has none to speak of.

    Args:
        shape: (b, c, y, x), (b, y, x, c), or (b, t, d) with the tokens of the patches last, row by row.
        taken: (b, c, h, w) of the picture, whose height and width are to one another as those of the grid.
    """
    if len(taken) != 4 or len(shape) not in (3, 4):
        return None
    ratio = taken[2] / taken[3]
    if len(shape) == 4:
        first, last = (abs(math.log(high / wide / ratio)) for high, wide in (shape[1:3], shape[2:4]))
        rows, columns = shape[1:3] if first < last else shape[2:4]
        return _Grid(rows, columns, CAM, first < last) if min(rows, columns) >= COARSEST else None
    for special in range(min(SPECIAL, shape[1]) + 1):
        columns = round(math.sqrt((shape[1] - special) / ratio))
        rows = round(columns * ratio)
        if rows * columns == shape[1] - special and min(rows, columns) >= COARSEST:
            return _Grid(rows, columns, PATCHES, True)
    return None


def _cam(value: Tensor, slope: Tensor) -> Tensor:
    """(b, y, x) the maps weighed by their mean slopes."""
    return (slope.mean(dim=(2, 3), keepdim=True) * value).sum(dim=1).relu()
