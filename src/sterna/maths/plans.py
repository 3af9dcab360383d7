"""Transport plans between two samples: their cost, smoothed plans in the log domain, and batches of rows.

Papers: Cuturi 2013, "Sinkhorn Distances" (arXiv 1306.0895); Schmitzer 2019, "Stabilized Sparse Scaling Algorithms for
Entropy Regularized Transport Problems" (arXiv 1610.06519), section 3, for absorption and falling smoothing; Chizat,
Peyré, Schmitzer and Vialard 2018, "Scaling Algorithms for Unbalanced Optimal Transport Problems" (arXiv 1607.05816);
Pooladian and Niles-Weed 2021, "Entropic Estimation of Optimal Transport Maps" (arXiv 2109.12004), for rows outside the
plan; Fatras, Zine, Flamary, Gribonval and Courty 2020, "Learning with Minibatch Wasserstein" (arXiv 1910.04091).

A smoothed plan is P_ij = exp((f_i + g_j - C_ij) / e) / (n m). Costs are made block by block wherever they are wanted,
so that one (n, m) array is held at a time, in float32 where it is large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sterna.maths.kernels import squared_distances
from sterna.maths.memory import check
from sterna.maths.samples import blocks, thinned
from sterna.maths.seeds import derive
from sterna.records import Labels

CONFLICT = 10.0  # what a source row pays beside a target row known to be of another class, in median costs
_UNIT_OF = 2000  # rows a side that fix the unit of costs
_CELLS = 2**21  # of a block
_EXACT = 2**22  # cells up to which a plan is held in float64
_HELD = {"f": 1e-12, "d": 1e-120}  # factors and sums beyond this or its inverse are taken into the potentials
_START = 0.25  # smoothing from which it falls, in median costs
_FALL = 0.25
_FIRST = 30  # rounds at a smoothing that is not yet the wanted one


@dataclass(frozen=True)
class Cost:
    """Squared distances of the rows of two samples in some unit, and what classes pay beside target rows."""

    source: np.ndarray  # (n, d) around the centre of the target
    target: np.ndarray  # (m, d), of the same type
    unit: float
    median: float  # of the costs, in that unit, as estimated
    classes: np.ndarray  # (n,) int64 class numbers; 0 where there are none
    extra: np.ndarray  # (k, m) added for each class; (0, m): nothing
    squares: np.ndarray | None = None  # (n, m) squared distances where they were all made for the unit

    def block(self, rows: slice | np.ndarray) -> np.ndarray:
        """(r, m) a new array."""
        if self.squares is not None:
            found = self.squares[rows] * (1 / self.unit)
        else:
            found = squared_distances(self.source[rows], self.target)
            found *= found.dtype.type(1 / self.unit)
        if len(self.extra):
            found += self.extra[self.classes[rows]]
        return found

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Slices of the source with their blocks, in order."""
        for part in blocks(len(self.source), max(1, _CELLS // len(self.target))):
            yield part, self.block(part)

    def part(self, rows: np.ndarray, columns: np.ndarray) -> Cost:
        """The cost of some rows of the source beside some of the target."""
        extra = self.extra[:, columns]
        return Cost(
            self.source[rows], self.target[columns], self.unit, self.median, self.classes[rows], extra, squares=None
        )

    def charged(self, extra: np.ndarray) -> Cost:
        """With (k, m) more for each class."""
        whole = extra.astype(self.source.dtype)
        return replace(self, extra=self.extra + whole if len(self.extra) else whole)


def cost(method: str, source: np.ndarray, target: np.ndarray, normalise: str, seed: int) -> Cost:
    """Squared distances divided by nothing ("none"), by their median or by their largest, of 2,000 rows a side.

    Raises `DataError` where both samples do not fit into memory once more.
    """
    (n, d), m = source.shape, len(target)
    check(method, f"{n + m:,} x {d:,} features once more", float(n + m) * d, "use principal components")
    kind = np.float64 if n * m <= _EXACT else np.float32
    centre = target.mean(axis=0)
    left, right = ((side - centre).astype(kind) for side in (source, target))
    some = squared_distances(
        left[thinned(n, _UNIT_OF, seed, "unit")].astype(np.float64), right[thinned(m, _UNIT_OF, seed, "unit", 1)]
    )
    middle = float(np.median(some)) or float(some.mean()) or 1.0
    unit = {"none": 1.0, "median": middle, "max": float(some.max()) or 1.0}[normalise]
    classes, extra = np.zeros(n, dtype=np.int64), np.zeros((0, m), dtype=kind)
    return Cost(left, right, unit, middle / unit, classes, extra, some if some.shape == (n, m) else None)


def classed(made: Cost, labels: Labels, classes: int, known: np.ndarray, known_labels: Labels) -> Cost:
    """The cost with the classes of its source, and a price on pairs of which the classes are known to differ.

    Paper: Courty, Flamary, Tuia and Rakotomamonjy 2017 (arXiv 1507.00504), section 4.3, with a finite price: classes
    may have other shares in the target, and then some such pairs must be.
    """
    made = replace(made, classes=np.asarray(labels, dtype=np.int64))
    if not len(known):
        return made
    extra = np.zeros((classes, len(made.target)))
    extra[:, known] = CONFLICT * made.median
    extra[known_labels, known] = 0.0
    return made.charged(extra)


@dataclass(frozen=True)
class Potentials:
    """A smoothed plan."""

    rows: np.ndarray  # (n,) f
    columns: np.ndarray  # (m,) g
    weight: float  # e
    missed: float  # share of the mass that is out of place in the columns; with relaxed margins, that still moves


def smoothed(
    made: Cost, weight: float, relaxed: float = math.inf, rounds: int = 1000, start: np.ndarray | None = None
) -> Potentials:
    """min over plans P of <P, C> + e KL(P | uniform), margins uniform, or relaxed by `relaxed` KL(. | uniform) each.

    Args:
        made: the cost.
        weight: e > 0, in units of the cost; it may be as small as wanted.
        relaxed: how dear mass out of place is; infinite where margins must be met.
        rounds: at most, at the wanted smoothing.
        start: (n,) potentials of the rows to start from, as an earlier plan gave them.
    """
    n, m = len(made.source), len(made.target)
    rows = np.zeros(n) if start is None else start
    kernel = np.empty((n, m), dtype=made.source.dtype)
    stop = 1e-8 if kernel.dtype == np.float64 else 1e-5
    larger = _START * made.median
    # Sinkhorn's rounds grow like the inverse of the smoothing; started from a larger one they do not.
    while start is None and larger > weight / _FALL:
        rows = _solved(made, kernel, rows, (larger, relaxed), _FIRST, 1e-3).rows
        larger *= _FALL
    return _solved(made, kernel, rows, (weight, relaxed), rounds, stop)


def _solved(
    made: Cost, kernel: np.ndarray, rows: np.ndarray, weights: tuple[float, float], left: int, stop: float
) -> Potentials:
    weight, relaxed = weights
    columns, missed = np.zeros(kernel.shape[1]), math.inf
    while left > 0:
        # In logarithms, once: no row or column of the kernel is lost to underflow, however far the potentials are off.
        columns = _column_step(made, rows, weight, relaxed)
        for part, block in made.blocks():
            block = _exponents(columns, block, weight)
            rows[part] = -_damped(weight, relaxed) * _log_mean_exp(block)
            kernel[part] = np.exp(block + (rows[part, None] / weight).astype(block.dtype), out=block)
        potentials = rows, columns
        factors, missed, left = _scaled(kernel, potentials, weights, left - 1, stop)
        rows, columns = (one + weight * np.log(by) for one, by in zip(potentials, factors, strict=True))
        if missed <= stop:
            break
    return Potentials(rows, columns, weight, missed)


def _scaled(
    kernel: np.ndarray, potentials: tuple[np.ndarray, np.ndarray], weights: tuple[float, float], left: int, stop: float
) -> tuple[tuple[np.ndarray, np.ndarray], float, int]:
    """Factors of the rows and columns, what is missed and the rounds left, until met or beyond what floats hold."""
    (weight, relaxed), (n, m), kind = weights, kernel.shape, kernel.dtype
    power = _damped(weight, relaxed) / weight
    push = [np.exp(-one / (weight + relaxed)) for one in potentials]  # 1 where margins must be met
    rows, columns, missed = np.ones(n), np.ones(m), math.inf
    floor = _HELD[kind.char]
    while left > 0:
        left -= 1
        across = (rows.astype(kind) @ kernel).astype(np.float64) / n
        if across.min() < floor:
            break
        next_columns = across**-power * push[1]
        missed = float(np.abs(columns / next_columns - 1).mean())
        if missed <= stop or not floor < next_columns.min() <= next_columns.max() < 1 / floor:
            break
        down = (kernel @ next_columns.astype(kind)).astype(np.float64) / m
        if down.min() < floor:
            break
        next_rows = down**-power * push[0]
        if not floor < next_rows.min() <= next_rows.max() < 1 / floor:
            break
        rows, columns = next_rows, next_columns
    return (rows, columns), missed, left


def _damped(weight: float, relaxed: float) -> float:
    """What a mean exponential counts in a potential: e, or less where margins need not be met."""
    return weight if math.isinf(relaxed) else weight * relaxed / (weight + relaxed)


def _exponents(columns: np.ndarray, block: np.ndarray, weight: float) -> np.ndarray:
    """(g_j - C_ij) / e in place of a block of the cost."""
    block *= block.dtype.type(-1 / weight)
    block += (columns / weight).astype(block.dtype)
    return block


def _log_mean_exp(exponents: np.ndarray) -> np.ndarray:
    """(r,) along rows."""
    top = exponents.max(axis=1, keepdims=True)
    found: np.ndarray = np.log(np.exp(exponents - top).mean(axis=1, dtype=np.float64)) + top[:, 0]
    return found


def _column_step(made: Cost, rows: np.ndarray, weight: float, relaxed: float) -> np.ndarray:
    """(m,) the potentials of the columns that are best for those of the rows."""
    m = len(made.target)
    top, sums = np.full(m, -np.inf), np.zeros(m)
    for part, block in made.blocks():
        block *= block.dtype.type(-1 / weight)
        block += (rows[part, None] / weight).astype(block.dtype)
        next_top = np.maximum(top, block.max(axis=0))
        block -= next_top.astype(block.dtype)
        sums = sums * np.exp(top - next_top) + np.exp(block, out=block).sum(axis=0, dtype=np.float64)
        top = next_top
    found: np.ndarray = -_damped(weight, relaxed) * (np.log(sums / len(rows)) + top)
    return found


def carried(
    made: Cost, plan: Potentials, values: np.ndarray, relaxed: float = math.inf
) -> tuple[np.ndarray, np.ndarray]:
    """(n, q) means of the values of the target rows to which each source row goes, and (n,) its mass, 1 if untouched.

    The cost may have other source rows than the plan: theirs is the entropic map.

    Args:
        made: a cost with the target rows of the plan.
        plan: of which the potentials of the columns are used.
        values: (m, q).
        relaxed: as the plan was made with.
    """
    found, mass = np.empty((len(made.source), values.shape[1])), np.ones(len(made.source))
    for part, block in made.blocks():
        block = _exponents(plan.columns, block, plan.weight)
        if not math.isinf(relaxed):
            mass[part] = np.exp(_damped(plan.weight, relaxed) * _log_mean_exp(block) / relaxed)
        block -= block.max(axis=1, keepdims=True)
        np.exp(block, out=block)
        found[part] = (block @ values.astype(block.dtype)) / block.sum(axis=1, dtype=np.float64)[:, None]
    return found, mass


def class_masses(made: Cost, plan: Potentials, classes: int) -> np.ndarray:
    """(k, m) the mass that each class sends to each target row; all of them add up to 1."""
    n, m = len(made.source), len(made.target)
    found = np.zeros((classes, m))
    for part, block in made.blocks():
        block = _exponents(plan.columns, block, plan.weight)
        block += (plan.rows[part, None] / plan.weight).astype(block.dtype)
        members = np.eye(classes, dtype=block.dtype)[:, made.classes[part]]
        found += members @ np.exp(block, out=block)
    return found / (n * m)


def grouped(made: Cost, weight: float, group: float, classes: int, rounds: int = 10) -> tuple[Cost, Potentials]:
    """The plan that also pays `group` times the sum over classes c and target rows j of (sum_{i in c} P_ij)^1/2.

    Paper: Courty, Flamary and Tuia 2014, "Domain Adaptation with Regularized Optimal Transport", algorithm 1 (the l1/2
    of class sums); Courty et al. 2017, section 4.2. The concave term is replaced by its tangent, in turn.

    Returns the cost with the last tangent, and the plan. Without a class, or at `group` 0, it is `smoothed`.
    """
    plan = smoothed(made, weight, rounds=_INNER)
    charged = made
    for _ in range(rounds - 1):
        tangent = group * 0.5 / np.sqrt(class_masses(charged, plan, classes) + _TANGENT)
        # What all classes pay alike moves nothing when margins are met.
        charged = made.charged(tangent - tangent.min(axis=0))
        plan = smoothed(charged, weight, rounds=_INNER, start=plan.rows.copy())
    return charged, plan


_INNER = 200  # rounds between two tangents
_TANGENT = 1e-3  # keeps the tangent at 0 finite, as published


def batches(n: int, m: int, size: int, passes: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of row numbers of two samples, drawn at random; in a pass each row is in one batch or more.

    Both sides of all batches have `size` rows or all that there are; the side with fewer rows is gone through again.
    """
    generator = np.random.default_rng(derive("batches", seed))
    count = max(-(-n // size), -(-m // size))
    for _ in range(passes):
        dealt = []
        for side in (n, m):
            each = min(side, size)
            # Permutations one after another: rows repeat within a batch only where two of them meet.
            whole = [generator.permutation(side) for _ in range(-(-count * each // side))]
            dealt.append(np.concatenate(whole)[: count * each].reshape(count, each))
        yield from zip(*dealt, strict=True)
