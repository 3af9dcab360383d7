"""Which examples of a source help a target: a value for each, and the best of them.

Three ways, which read more and more of the target:

- importance: how much likelier an example is under the target than under the source, from a classifier of domains
  judged on examples it has not seen. Papers: Shimodaira 2000, "Improving predictive inference under covariate shift";
  Bickel, Brueckner and Scheffer 2009, "Discriminative Learning Under Covariate Shift". Equation: w = p(T|x) / p(S|x),
  both domains alike in the fit, clipped at 10, divided by its mean.
- similarity: minus the mean distance to the nearest target examples, in standardised features.
- gradient: whether a step on the example also lowers the loss of target examples. Paper: Pruthi, Liu, Kale and
  Sundararajan 2020, "Estimating Training Data Influence by Tracing Gradient Descent" (arXiv 2002.08484), section 3.1
  and its last-layer form. Equation: sum over fits of mean_j (p - y)'(p_j - y_j) (h'h_j + 1), over target examples j
  that the fit has not seen. The fits along a path of weakening penalties stand for checkpoints.

Only the third reads labels, and so only it can see that a label is wrong. On 500 source digits beside 100 labelled
target digits, with half of the source labels wrong, the best half by gradient reached 91.0 %, all 87.6 % and the target
alone 88.7 %; with half of the source inverted and wrongly labelled, the best half by similarity reached 92.8 %, all
88.3 %.

When not to use: where most of the source is sound; examples of low value are then the hard ones that teach most. With
a tenth of its labels wrong, half of that source lost 2 to 3 points by any method, and nine tenths of it gained nothing.
With a handful of target labels, where leaving the source out, or its weight to `gate`, is safer than choosing examples.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from sterna.errors import DataError, SpecError
from sterna.maths.folds import folds
from sterna.maths.probing import coordinates, logistic_path, probabilities
from sterna.maths.seeds import derive
from sterna.records import Labels

METHODS = ("gradient", "similarity", "importance")
CLIP = 10.0  # the largest ratio of densities that is believed
FEWEST = 30  # effective examples, below which importance weights speak of a few examples only
NEIGHBOURS = 5
# C of the heads whose gradients are compared. Under weaker penalties the residuals of what is learnt vanish, and with
# them the comparison: with a tenth of the labels of 1,000 digits wrong and 20, 50, 100 and 200 target labels, 60,
# 70, 75 and 81 % of the worst tenth were wrong ones; with C from 1 to 1,000 it was 34, 58, 53 and 63 %.
STRENGTHS = (0.1, 0.3, 1.0, 3.0)
_BLOCK = 1 << 22  # distances held at once: 32 MB
_WRITTEN = re.compile(r"best:(?P<share>[0-9.eE+-]+)(?::(?P<method>\w+))?")


@dataclass(frozen=True)
class Selection:
    """What `--source-select` asks for: the best share of a source by one of `METHODS`."""

    share: float
    method: str = METHODS[0]

    def __str__(self) -> str:
        return f"best:{self.share:g}:{self.method}"


@dataclass(frozen=True)
class Selected:
    """The source examples that are kept, and why."""

    rows: np.ndarray  # (k,) int64, ascending positions in the source
    values: np.ndarray  # (m,) float64; higher helps
    sentence: str


def parse(text: str) -> Selection:
    """`best:0.5` or `best:0.5:similarity`. Raises `SpecError` for anything else."""
    found = _WRITTEN.fullmatch(text.strip())
    method = (found["method"] if found else None) or METHODS[0]
    try:
        share = float(found["share"]) if found else math.nan
    except ValueError:
        share = math.nan
    if not 0 < share <= 1 or method not in METHODS:
        raise SpecError(
            f"source-select must be best:SHARE or best:SHARE:METHOD with a share in (0, 1] and a method of "
            f"{', '.join(METHODS)}, got '{text}'; type for example best:0.5:gradient."
        )
    return Selection(share, method)


def values(
    method: str, target: np.ndarray, labels: Labels, source: np.ndarray, source_labels: Labels, seed: int = 0
) -> np.ndarray:
    """(m,) float64: what each source example is worth to the target; higher helps.

    Args:
        method: one of `METHODS`.
        target: (n, d) features of the target's training examples.
        labels: (n,) their class numbers; read by gradient alone.
        source: (m, d) features by the same encoder.
        source_labels: (m,) in the target's numbers; read by gradient alone.
        seed: of the folds.

    Raises:
        SpecError: an unknown method, or gradient for labels that are not classes.
        DataError: an empty side; fewer than two target examples for gradient; for importance, weights that amount to
            fewer than `FEWEST` examples.
    """
    if not len(target) or not len(source):
        raise DataError(
            f"valuing needs examples of source and target, got {len(source)} and {len(target)}; leave "
            "--source-select out."
        )
    if method == "importance":
        return importance(target, source, seed)
    if method == "similarity":
        return similarity(target, source)
    if method != "gradient":
        raise SpecError(f"the method of source-select must be one of {', '.join(METHODS)}, got '{method}'.")
    if labels.ndim > 1 or labels.dtype.kind not in "iu":
        raise SpecError(
            "gradient values need classes as labels, got several labels or numbers; type best:0.5:similarity."
        )
    return gradient(target, labels, source, source_labels, seed)


def best(values: np.ndarray, share: float, labels: Labels | None = None) -> np.ndarray:
    """Ascending positions of the best share of the source, at least one; ties go to the earlier example.

    Args:
        values: (m,) as `values` gives them.
        share: in (0, 1].
        labels: (m,) class numbers, to take the share of each class by itself, so that no class is lost to others whose
            values are larger.
    """
    labels = np.zeros(len(values), dtype=np.int64) if labels is None else labels
    kept = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = members[np.argsort(-values[members], kind="stable")]
        kept.append(order[: max(1, math.ceil(share * len(members) - 1e-9))])
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, dtype=np.int64)


def select(
    chosen: Selection, target: np.ndarray, labels: Labels, source: np.ndarray, source_labels: Labels, seed: int = 0
) -> Selected:
    """The best share of a source, of each class where labels are classes; arguments and errors as `values`."""
    found = values(chosen.method, target, labels, source, source_labels, seed)
    classes = source_labels.ndim == 1 and source_labels.dtype.kind in "iu"
    rows = best(found, chosen.share, source_labels if classes else None)
    each = " of each class" if classes else ""
    told = f"{len(rows)} of {len(source)} source examples are used, the best {100 * chosen.share:g} %{each}"
    harmful = int((found < 0).sum())
    told += f" by {chosen.method}"
    if chosen.method == "gradient":
        told += f"; {harmful} of all point away from what the target needs"
    return Selected(rows, found, told + ".")


def importance(target: np.ndarray, source: np.ndarray, seed: int = 0) -> np.ndarray:
    """(m,) density ratios of source examples, mean 1: weights for learning, and values.

    Each example is judged by a classifier of domains fitted without it, at the penalty with the best log likelihood of
    left-out examples; in many dimensions one that has seen them tells any two samples apart.

    Raises `DataError` when their effective number (sum w)^2 / sum w^2 (Kong 1992) is below `FEWEST`.
    """
    near, far = coordinates(target, source)
    features = np.concatenate([near, far])
    domain = np.repeat([1, 0], [len(near), len(far)])
    # Both domains weigh alike, so the odds are the ratio of densities.
    weights = len(domain) / 2 / np.where(domain, len(near), len(far))
    odds, losses = np.zeros((len(domain), 0)), np.zeros(0)
    for learn, judge in folds(domain, np.ones(len(domain)), "classify", derive(seed, "valuing", "domains")):
        path = list(logistic_path(features[learn], domain[learn], weights[learn], 2))
        if not odds.size:
            odds, losses = np.zeros((len(domain), len(path))), np.zeros(len(path))
        for place, head in enumerate(path):
            shares = np.maximum(probabilities(head, features[judge]), 1e-12)
            odds[judge, place] = shares[:, 1] / shares[:, 0]
            losses[place] -= weights[judge] @ np.log(shares[np.arange(len(judge)), domain[judge]])
    ratio = np.minimum(odds[len(near) :, losses.argmin()], CLIP) if odds.size else np.ones(len(far))
    effective = effective_size(ratio)
    if effective < FEWEST:
        raise DataError(
            f"importance weights need {FEWEST} effective source examples, got {effective:.0f} of {len(source)}: too "
            "few of them look like the target; type best:0.5:similarity or best:0.5:gradient."
        )
    return ratio / ratio.mean()


def effective_size(weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2: how many equally weighted examples tell as much (Kong 1992); 0 for weights of 0."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def similarity(target: np.ndarray, source: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """(m,) minus the mean Euclidean distance to the nearest target examples, in principal coordinates of both."""
    near, far = coordinates(target, source)
    count = min(neighbours, len(near))
    squares, size = (near**2).sum(axis=1), max(1, _BLOCK // len(near))
    found = []
    for start in range(0, len(far), size):
        block = far[start : start + size]
        away = (block**2).sum(axis=1)[:, None] + squares - 2 * block @ near.T
        nearest = np.partition(away, count - 1, axis=1)[:, :count]
        found.append(-np.sqrt(np.maximum(nearest, 0)).mean(axis=1))
    return np.concatenate(found)


def gradient(
    target: np.ndarray, labels: Labels, source: np.ndarray, source_labels: Labels, seed: int = 0
) -> np.ndarray:
    """(m,) how far a step on each source example would lower the loss of target examples the head has not seen.

    The heads are fitted to the target's other examples alone: a head that has learnt the source's wrong labels takes
    them for right.

    Raises `DataError` for fewer than two target examples.
    """
    if len(labels) < 2:
        raise DataError(
            f"gradient values need at least 2 labelled target examples, got {len(labels)}; type best:0.5:similarity."
        )
    near, far = coordinates(target, source)
    classes = 1 + int(max(labels.max(), source_labels.max()))
    named = derive(seed, "valuing", "gradient")
    divided = folds(labels, np.ones(len(labels)), "classify", named) or folds(
        labels, np.ones(len(labels)), "regress", named
    )
    found = np.zeros(len(far))
    for learn, judge in divided:
        for head in logistic_path(near[learn], labels[learn], np.ones(len(learn)), classes, STRENGTHS):
            found += agreement(head, (near[judge], labels[judge]), (far, source_labels)) * len(judge) / len(labels)
    return found


def agreement(head: np.ndarray, target: tuple[np.ndarray, Labels], source: tuple[np.ndarray, Labels]) -> np.ndarray:
    """(m,) mean over target examples j of (p - y)'(p_j - y_j) (h'h_j + 1): TracIn for the last layer.

    The sum over j is taken first, so that the cost is one product with a matrix of the head's size.

    Args:
        head: (k, d + 1), the bias last.
        target, source: features and class numbers, (n, d) with (n,) and (m, d) with (m,).
    """
    slopes = []
    for features, labels in (target, source):
        residual = probabilities(head, features)
        residual[np.arange(len(labels)), labels] -= 1.0
        slopes.append((residual, np.hstack([features, np.ones((len(features), 1))])))
    (residual, wide), (other, far) = slopes
    pull = residual.T @ wide / len(wide)
    made: np.ndarray = ((far @ pull.T) * other).sum(axis=1)
    return made
