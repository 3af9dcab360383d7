"""Rounds of pseudo-labels: components that bring classes together, and labels that the components give, in turn.

Papers: Long, Wang, Ding, Sun and Yu 2013, "Transfer Feature Learning with Joint Distribution Adaptation" (ICCV),
equations 6 to 10 and algorithm 1; Wang, Chen, Hao, Feng and Shen 2017, "Balanced Distribution Adaptation for Transfer
Learning" (ICDM, arXiv 1807.00516), equation 7; Wang, Feng, Chen, Yu, Huang and Yu 2018, "Visual Domain Adaptation with
Manifold Embedded Distribution Alignment" (ACM MM, arXiv 1807.07258), section 3.3, for the estimated balance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from sterna.maths.kernels import squared_distances
from sterna.maths.memory import check
from sterna.maths.samples import blocks, thinned
from sterna.maths.transfer_components import (
    Components,
    Kernel,
    Lift,
    Moments,
    components,
    lifted,
    marginal,
    moments,
    solver,
)
from sterna.records import Labels

SAMPLE = 4000  # rows a side that give and take pseudo-labels
_CELLS = 2**23  # of a block of distances: 64 MiB
_RIDGE = 1e-2  # of the mean variance, in the classifier that tells two domains apart


@dataclass(frozen=True)
class Domains:
    """A labelled source, and a target of whose labels few or none are known."""

    source: np.ndarray  # (n, d)
    labels: Labels  # (n,) class numbers
    target: np.ndarray  # (m, d)
    known: np.ndarray  # (l,) rows of the target
    known_labels: Labels  # (l,)
    classes: int
    seed: int


@dataclass(frozen=True)
class Pool:
    """The explicit features of both domains, as far as rounds look at them."""

    lift: Lift
    found: Moments
    class_means: np.ndarray  # (classes, r) of the source
    class_counts: np.ndarray  # (classes,)
    learning: np.ndarray  # (a, r) examples with labels, sorted by these
    learning_labels: Labels  # (a,)
    guessed: np.ndarray  # (b, r) rows of the target
    fixed: np.ndarray  # (b,) their labels where known, else -1
    from_source: np.ndarray  # (a,) whether an example of `learning` is the source's
    rows: tuple[np.ndarray, np.ndarray]  # (a, d) and (b, d) both, scaled and not lifted

    def labelled(self, found: Labels) -> Labels:
        """Pseudo-labels (b,), with the labels that are known in their places."""
        return np.where(self.fixed >= 0, self.fixed, found)


@dataclass(frozen=True)
class Rounds:
    """How the rounds run."""

    components: int
    penalty: float
    count: int
    classifier: str  # "nearest" or "mean"
    balance: float | None  # of the classes against the whole, in [0, 1]; None: estimated each round
    primal: bool = False  # whether the penalty is on weights on features


def pool(method: str, domains: Domains, kernel: Kernel) -> tuple[Pool, tuple[str, ...]]:
    """What rounds need of the data, in two passes over them, and what was approximated.

    Rounds look at up to 4,000 rows of each side; sums over the source and means of the whole take all rows. Raises
    `DataError` for what does not fit into memory.
    """
    taken = thinned(len(domains.source), SAMPLE, domains.seed, "source rows")
    asked = np.union1d(thinned(len(domains.target), SAMPLE, domains.seed, "target rows"), domains.known)
    rows, d = len(taken) + len(asked) + len(domains.known), domains.source.shape[1]
    check(method, f"{rows:,} rows of {d:,} features twice", 2.0 * rows * d, "use fewer features or rows")
    lift, notes = lifted(method, domains.source, domains.target, kernel, domains.seed)
    found = moments(lift, domains.source, domains.target)
    means, counts = class_means(lift, domains.source, domains.labels, domains.classes)
    fixed = np.full(len(domains.target), -1, dtype=np.int64)
    fixed[domains.known] = domains.known_labels
    labels = np.concatenate([domains.labels[taken], domains.known_labels])
    order = np.argsort(labels, kind="stable")
    given = np.concatenate([domains.source[taken], domains.target[domains.known]])[order]
    scaled = lift.scaled(given), lift.scaled(domains.target[asked])
    learning, guessed = (lift.raised(side) for side in scaled)
    made = Pool(lift, found, means, counts, learning, labels[order], guessed, fixed[asked], order < len(taken), scaled)
    if len(taken) < len(domains.source) or len(asked) < len(domains.target):
        told = f"Pseudo-labels are made of {len(asked):,} rows of the target by {len(taken):,} of the source."
        notes = (*notes, told)
    return made, notes


def class_means(lift: Lift, rows: np.ndarray, labels: Labels, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(classes, r) means of explicit features, 0 for a class without rows, and (classes,) counts."""
    sums = np.asarray(sum(grouped(made, labels[part], classes) for part, made in lift.parts(rows)))
    counts = np.bincount(labels, minlength=classes)
    return sums / np.maximum(counts, 1)[:, None], counts


def grouped(features: np.ndarray, labels: Labels, classes: int) -> np.ndarray:
    """(classes, r) the sum of the rows of each class."""
    places = (labels, np.arange(len(labels)))
    return np.asarray(csr_array((np.ones(len(labels)), places), shape=(classes, len(labels))) @ features)


def discrepancy(
    found: Moments,
    means: tuple[np.ndarray, np.ndarray],
    counts: tuple[np.ndarray, np.ndarray],
    balance: float,
) -> np.ndarray:
    """(r, c) P with P P' = Phi'M Phi, M = (1 - balance) C M_0 + balance sum_c M_c of Frobenius norm 1.

    M_0 is of the whole samples and M_c of a class. M_0 counts C times, C the number of classes of the source, as in
    the authors' programs and not in equation 10 of Long et al.: the whole counts as much as all classes together. A
    class that one side lacks has no difference of means and is left out.

    Args:
        found: of the whole samples.
        means: (classes, r) of the classes of each side.
        counts: (classes,) rows behind them.
        balance: of the classes against the whole, in [0, 1]; 0.5 counts them alike.
    """
    both = (counts[0] > 0) & (counts[1] > 0)
    strength = np.r_[(1 - balance) * max(int((counts[0] > 0).sum()), 1), np.full(int(both.sum()), balance)]
    columns = np.column_stack([found.means[0] - found.means[1], (means[0] - means[1])[both].T])
    # e_i'e_j: classes share no rows, and e of the whole meets e of a class in 1 / n + 1 / m.
    products = np.diag(np.r_[0.0, 1 / counts[0][both] + 1 / counts[1][both]])
    products[0, :] = products[:, 0] = 1 / found.counts[0] + 1 / found.counts[1]
    norm = float(np.sqrt(strength @ (products**2) @ strength))
    return np.asarray(columns * np.sqrt(strength / norm if norm > 0 else 0 * strength))


def conditional(made: Pool, labels: Labels, balance: float) -> np.ndarray:
    """`discrepancy` with the classes of the target as labels (b,) give them."""
    classes = len(made.class_counts)
    counts = np.bincount(labels, minlength=classes)
    means = grouped(made.guessed, labels, classes) / np.maximum(counts, 1)[:, None]
    return discrepancy(made.found, (made.class_means, means), (made.class_counts, counts), balance)


def joint(made: Pool, rounds: Rounds) -> Components:
    """The map after the last round; the first round knows no labels of the target but those that are given.

    Rounds end early where labels come back as they were, since nothing would change.
    """
    problem = solver(made.found.square, made.found.scatter, rounds.primal)
    across = marginal(made.found)
    labels: Labels | None = None
    for number in range(rounds.count):
        found = components(made.lift, problem.weights(across, rounds.penalty, rounds.components))
        if number == rounds.count - 1:
            break
        learning, asked = found.of(made.learning), found.of(made.guessed)
        given = made.labelled(answered(rounds.classifier, learning, made.learning_labels, asked))
        if labels is not None and rounds.balance is not None and (given == labels).all():
            break
        labels = given
        balance = rounds.balance
        if balance is None:
            mine = made.from_source
            balance = estimated((learning[mine], asked), (made.learning_labels[mine], labels))
        across = conditional(made, labels, balance)
    return found


def answered(classifier: str, learning: np.ndarray, labels: Labels, asked: np.ndarray) -> Labels:
    """(b,) the label of the nearest example, or of the nearest class mean; ties go to the earliest class.

    Args:
        classifier: "nearest" or "mean".
        learning: (a, k) sorted by label.
        labels: (a,) ascending.
        asked: (b, k).
    """
    if classifier == "mean":
        present, starts, counts = np.unique(labels, return_index=True, return_counts=True)
        learning, labels = np.add.reduceat(learning, starts, axis=0) / counts[:, None], present
    centre = learning.mean(axis=0)
    learning = learning - centre
    parts = blocks(len(asked), max(1, _CELLS // len(learning)))
    found = [squared_distances(asked[part] - centre, learning).argmin(axis=1) for part in parts]
    return np.asarray(labels[np.concatenate(found)])


def estimated(sides: tuple[np.ndarray, np.ndarray], labels: tuple[Labels, Labels]) -> float:
    """The balance of classes against the whole: their mean A-distance over that and the A-distance of the whole.

    Equation 12 of Wang et al. 2018 with the mean over classes in place of their sum, as in the authors' program: the
    sum would grow with their number. 0.5 where nothing tells the sides apart.

    Args:
        sides: (a, k) source and (b, k) target.
        labels: (a,) and (b,) class numbers.
    """
    across = apart(*sides)
    shared = np.intersect1d(*labels)
    each = [apart(*(side[own == label] for side, own in zip(sides, labels, strict=True))) for label in shared]
    within = float(np.mean(each)) if each else 0.0
    return within / (within + across) if within + across > 0 else 0.5


def apart(left: np.ndarray, right: np.ndarray) -> float:
    """The A-distance 2 (1 - 2 error) of two samples, in [0, 2], both weighing the same (Ben-David et al. 2007).

    The error is that of ridge regression on -1 and 1 for rows that were left out, one at a time, which has a closed
    form. The authors count errors on the rows learnt from, which is 0 for any two samples in enough dimensions.
    """
    if min(len(left), len(right)) < 2:
        return 0.0
    rows = np.concatenate([left, right])
    share = np.repeat([0.5 / len(left), 0.5 / len(right)], [len(left), len(right)])
    wanted = np.repeat([-1.0, 1.0], [len(left), len(right)])
    moved = rows - share @ rows
    spread = (moved.T * share) @ moved
    size = float(np.trace(spread)) / len(spread)
    if not size > 0:
        return 0.0
    inverse = np.linalg.inv(spread + _RIDGE * size * np.eye(len(spread)))
    within = share * (1 + ((moved @ inverse) * moved).sum(axis=1))
    fitted = moved @ (inverse @ (moved.T @ (share * wanted)))
    left_out = fitted - within * wanted  # times 1 - within, which is positive
    error = float(share[left_out * wanted <= 0].sum())
    return float(np.clip(2 * (1 - 2 * error), 0.0, 2.0))
