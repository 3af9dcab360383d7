"""Transfer components against naive dense eigenproblems over all rows, matrices by hand, and invariances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.spatial.distance import cdist, pdist
from sklearn.neighbors import KNeighborsClassifier

from sterna import folder
from sterna.contracts import Pair
from sterna.errors import DataError
from sterna.maths import transfer_components as components
from sterna.maths import transfer_rounds as rounds
from sterna.maths.transfer_graph import affinities, laplacian, roughness
from sterna.maths.transfer_shares import nearest_shares

N, M, CLASSES = 18, 22, 3
ROUNDED = ("tca", "sstca", "jda", "bda")


def adapted(written: str, pair: Pair) -> Any:
    return folder.resolve("adapt", written)[0].adapt(pair)


def pair_of(n: int = N, m: int = M, d: int = 5, seed: int = 0) -> Pair:
    draw = np.random.default_rng(seed)
    labels, truth = np.arange(n) % CLASSES, np.arange(m) % CLASSES
    centres = 2 * draw.normal(size=(CLASSES, d))
    source = draw.normal(size=(n, d)) + centres[labels]
    target = draw.normal(size=(m, d)) * 1.3 + centres[truth] + 1.5 * draw.normal(size=d)
    return Pair(source, labels, target, CLASSES, 0)


def scaled(pair: Pair, unit: bool) -> np.ndarray:
    rows = np.concatenate([pair.source, pair.target])
    rows = rows - rows.mean(axis=0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / (lengths if unit else np.sqrt((lengths**2).mean())))


def kernel_of(rows: np.ndarray, name: str) -> np.ndarray:
    if name == "linear":
        return np.asarray(rows @ rows.T)
    return np.asarray(np.exp(-cdist(rows, rows, "sqeuclidean") / np.median(pdist(rows, "sqeuclidean"))))


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """e e' of two sets of rows (boolean)."""
    e = first / first.sum() - second / second.sum()
    return np.outer(e, e)


def whole(n: int = N, m: int = M) -> np.ndarray:
    source = np.arange(n + m) < n
    return difference(source, ~source)


def naive(kernel: np.ndarray, across: np.ndarray, inner: np.ndarray, k: int) -> np.ndarray:
    """(N, k) components of the problem as the papers write it, for M of any norm and H Q H in the middle."""
    constraint = kernel @ (across / np.linalg.norm(across)) @ kernel + np.eye(len(kernel))
    centring = np.eye(len(kernel)) - 1 / len(kernel)
    _, vectors = eigh(kernel @ centring @ inner @ centring @ kernel, constraint)
    vectors = vectors[:, ::-1][:, :k]
    return np.asarray(kernel @ (vectors / np.linalg.norm(vectors, axis=0)))


def same(found: Any, pair: Pair, wanted: np.ndarray, unit: bool) -> None:
    """Equal up to the signs of columns; what is learnt from and the view are compared together."""
    if unit:
        wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    made = np.concatenate([found.features[: len(pair.source)], found.view(pair.target)])
    assert made == pytest.approx(wanted * np.sign((wanted * made).sum(axis=0)), abs=1e-7)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("d", [5, 60])
def test_tca_is_the_dense_eigenproblem_over_all_rows(kernel: str, unit: bool, d: int) -> None:
    pair = pair_of(d=d)
    wanted = naive(kernel_of(scaled(pair, unit), kernel), whole(), np.eye(N + M), 3)
    found = adapted(f"tca(components=3,kernel={kernel},unit={str(unit).lower()})", pair)
    assert found.notes == ()
    same(found, pair, wanted, unit)


def discrepancy_of_means(left: np.ndarray, right: np.ndarray) -> float:
    """|mean - mean|^2 in units of the variance of both together."""
    spread = np.concatenate([left, right]).var(axis=0).sum()
    return float(((left.mean(axis=0) - right.mean(axis=0)) ** 2).sum() / spread)


@pytest.mark.parametrize("name", ["tca(penalty=1e-4)", "tca(penalty=1e-4,kernel=rbf)", "jda(penalty=1e-4)"])
def test_means_are_nearer_than_before(name: str) -> None:
    pair = pair_of()
    found = adapted(f"{name[:-1]},components=3)", pair)
    after = discrepancy_of_means(found.features, found.view(pair.target))
    assert after < 0.1 * discrepancy_of_means(pair.source, pair.target)


def test_a_width_that_is_given_is_used() -> None:
    pair = pair_of()
    rows = scaled(pair, False)
    kernel = np.exp(-cdist(rows, rows, "sqeuclidean") / (2 * 0.7**2))
    same(adapted("tca(components=3,kernel=rbf,width=0.7)", pair), pair, naive(kernel, whole(), np.eye(N + M), 3), False)


def test_landmarks_describe_the_kernel_the_better_the_more_there_are() -> None:
    pair = pair_of(60, 60, 2)
    rows = scaled(pair, False)
    wanted = kernel_of(rows, "rbf")
    errors = []
    for count in (6, 20, 60):
        kernel = components.Kernel("rbf", float(np.sqrt(np.median(pdist(rows, "sqeuclidean")) / 2)), False, count)
        lift, notes = components.lifted("tca", pair.source, pair.target, kernel, 0)
        assert notes == (f"The rbf kernel is approximated by {count} of 120 rows, drawn at random (Nystrom).",)
        made = lift.raised(rows)
        errors.append(np.abs(made @ made.T - wanted).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.05 < errors[0]
    found = adapted("tca(kernel=rbf,landmarks=30,components=2)", pair)
    assert len(found.notes) == 1
    exact = adapted("tca(kernel=rbf,components=2)", pair)
    agreement = [abs(np.corrcoef(found.features[:, i], exact.features[:, i])[0, 1]) for i in range(2)]
    assert min(agreement) > 0.95


def test_landmarks_come_from_both_sides() -> None:
    few, many = np.zeros((3, 2)), np.ones((50, 2))
    chosen = components._landmarks(few, many, 20, 0)
    assert (chosen == 0).all(axis=1).sum() == 3
    assert len(chosen) == 20
    assert (components._landmarks(many, many + 1, 20, 0) == 1).all(axis=1).sum() == 10


def test_wide_features_are_compared_with_landmarks() -> None:
    draw = np.random.default_rng(0)
    wide = Pair(draw.normal(size=(30, 2100)), np.arange(30) % 3, draw.normal(size=(30, 2100)), 3, 0)
    assert adapted("tca(components=4,landmarks=20)", wide).notes
    assert not adapted("tca(components=4)", wide).notes


def test_the_matrix_of_joint_distributions_by_hand() -> None:
    """Rows s0 s0 s1 | t0 t1 t1, features the rows themselves, so that P P' is M itself."""
    identity = np.eye(6)
    means = identity[:3].mean(axis=0), identity[3:].mean(axis=0)
    found = components.Moments(identity, identity, means, (3, 3))
    counts = np.array([2, 1]), np.array([1, 2])
    of_classes = (
        np.array([[0.5, 0.5, 0, 0, 0, 0], [0, 0, 1.0, 0, 0, 0]]),
        np.array([[0, 0, 0, 1.0, 0, 0], [0, 0, 0, 0, 0.5, 0.5]]),
    )
    # Two classes: M = 2 M_0 + M_1 + M_2, halves for the balance, which the norm takes away again.
    ninth = np.array([[1, 1, 1, -1, -1, -1]]).T @ np.array([[1, 1, 1, -1, -1, -1]]) / 9
    first = np.array(
        [
            [0.25, 0.25, 0, -0.5, 0, 0],
            [0.25, 0.25, 0, -0.5, 0, 0],
            [0, 0, 0, 0, 0, 0],
            [-0.5, -0.5, 0, 1, 0, 0],
            [0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0],
        ]
    )
    second = np.array(
        [
            [0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0],
            [0, 0, 1, 0, -0.5, -0.5],
            [0, 0, 0, 0, 0, 0],
            [0, 0, -0.5, 0, 0.25, 0.25],
            [0, 0, -0.5, 0, 0.25, 0.25],
        ]
    )
    for balance in (0.5, 0.2, 1.0, 0.0):
        wanted = (1 - balance) * 2 * ninth + balance * (first + second)
        made = rounds.discrepancy(found, of_classes, counts, balance)
        assert made @ made.T == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-12)
    # The target lacks class 1: it is left out, and the classes of the source still number two.
    lacking = rounds.discrepancy(found, of_classes, (counts[0], np.array([3, 0])), 0.5)
    assert lacking.shape == (6, 2)
    assert components.marginal(found) @ components.marginal(found).T == pytest.approx(ninth / np.linalg.norm(ninth))


def test_nothing_in_common_and_no_weight_on_the_whole_is_no_discrepancy() -> None:
    found = components.Moments(np.eye(2), np.eye(2), (np.array([1.0, 0]), np.array([0, 1.0])), (1, 1))
    nothing = np.zeros((2, 2))
    made = rounds.discrepancy(found, (nothing, nothing), (np.array([1, 0]), np.array([0, 1])), 1.0)
    assert (made == 0).all()


def naive_rounds(pair: Pair, kernel: np.ndarray, count: int, balance: float, k: int) -> np.ndarray:
    """Algorithm 1 of the paper on matrices over all rows, with scikit-learn's neighbour."""
    source = np.arange(N + M) < N
    across, labels = whole(), None
    for _ in range(count):
        if labels is not None:
            joined = np.concatenate([pair.labels, labels])
            across = (1 - balance) * CLASSES * whole()
            for label in range(CLASSES):
                sides = source & (joined == label), ~source & (joined == label)
                if sides[1].any():
                    across = across + balance * difference(*sides)
        made = naive(kernel, across, np.eye(N + M), k)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        labels = KNeighborsClassifier(1).fit(made[:N], pair.labels).predict(made[N:])
    return made


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize(("written", "balance"), [("jda", 0.5), ("bda(balance=0.8)", 0.8), ("bda(balance=0)", 0.0)])
def test_rounds_are_those_of_the_paper(kernel: str, written: str, balance: float) -> None:
    pair = pair_of(seed=4)
    wanted = naive_rounds(pair, kernel_of(scaled(pair, True), kernel), 4, balance, 3)
    one = folder.resolve("adapt", written)[0]
    same(replace(one, kernel=kernel, rounds=4, components=3).adapt(pair), pair, wanted, True)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_bda_with_one_half_is_jda(kernel: str) -> None:
    pair = pair_of(seed=3)
    first, second = adapted(f"jda(kernel={kernel})", pair), adapted(f"bda(balance=0.5,kernel={kernel})", pair)
    assert (first.features == second.features).all()
    assert (first.view(pair.target) == second.view(pair.target)).all()
    other = adapted(f"bda(balance=0.1,kernel={kernel})", pair)
    assert not np.allclose(first.features, other.features)


def test_one_round_of_jda_is_tca() -> None:
    pair = pair_of()
    assert (adapted("jda(rounds=1)", pair).features == adapted("tca(unit=true)", pair).features).all()


@pytest.mark.parametrize("name", [*ROUNDED, "jda(classifier=mean)", "tca(kernel=rbf)", "jda(kernel=rbf)"])
def test_the_order_of_rows_does_not_count(name: str) -> None:
    pair = pair_of(seed=2)
    first, second = np.random.default_rng(0).permutation(N), np.random.default_rng(1).permutation(M)
    turned = replace(pair, source=pair.source[first], labels=pair.labels[first], target=pair.target[second])
    one, other = (
        adapted(f"{name[:-1]},components=3)" if "(" in name else f"{name}(components=3)", p) for p in (pair, turned)
    )
    assert other.features == pytest.approx(one.features[first], abs=1e-7)
    assert other.view(pair.target) == pytest.approx(one.view(pair.target), abs=1e-7)


@pytest.mark.parametrize("name", [*ROUNDED, "tca(unit=true)", "tca(kernel=rbf)"])
def test_units_and_origin_of_features_do_not_count(name: str) -> None:
    pair = pair_of(seed=2)
    other = replace(pair, source=50 * pair.source + 3, target=50 * pair.target + 3)
    assert adapted(name, other).features == pytest.approx(adapted(name, pair).features, abs=1e-7)


@pytest.mark.parametrize("name", [*ROUNDED, "tca(kernel=rbf)", "jda(kernel=rbf)"])
def test_known_target_rows_are_learnt_from_as_they_are_seen(name: str) -> None:
    pair = replace(pair_of(), known=np.array([7, 2]), known_labels=np.array([1, 2]))
    found = adapted(name, pair)
    assert found.labels[N:].tolist() == [1, 2]
    assert found.features[N:] == pytest.approx(found.view(pair.target)[[7, 2]], abs=1e-12)
    alone = np.concatenate([found.view(pair.target[place : place + 1]) for place in range(M)])
    assert alone == pytest.approx(found.view(pair.target), abs=1e-12)


def test_known_labels_take_the_place_of_pseudo_labels() -> None:
    pair = pair_of()
    wrong = (np.arange(M) + 1) % CLASSES
    all_known = replace(pair, known=np.arange(M), known_labels=wrong)
    kernel = kernel_of(scaled(pair, True), "linear")
    joined = np.concatenate([pair.labels, wrong])
    source = np.arange(N + M) < N
    across = CLASSES * whole() + sum(
        difference(source & (joined == c), ~source & (joined == c)) for c in range(CLASSES)
    )
    same(adapted("jda(components=3,rounds=2)", all_known), pair, naive(kernel, across, np.eye(N + M), 3), True)


def test_sstca_is_the_dense_eigenproblem_over_all_rows() -> None:
    pair = pair_of()
    rows = scaled(pair, False)
    squares = cdist(rows, rows, "sqeuclidean")
    np.fill_diagonal(squares, np.inf)
    near = np.argsort(squares, axis=1)[:, :4]
    width = np.median(np.take_along_axis(squares, near, axis=1))
    mask = np.zeros_like(squares, dtype=bool)
    np.put_along_axis(mask, near, True, axis=1)
    weights = np.where(mask | mask.T, np.exp(-squares / (2 * width)), 0.0)
    degrees = weights.sum(axis=1)
    graph = np.eye(N + M) - weights / np.sqrt(np.outer(degrees, degrees))
    across = whole() / np.linalg.norm(whole()) + 2.0 * graph / np.linalg.norm(graph)
    labels = np.concatenate([pair.labels, np.full(M, -1)])
    inner = 0.3 * ((labels[:, None] == labels) & (labels >= 0)) + 0.7 * np.eye(N + M)
    kernel = kernel_of(rows, "linear")
    # The naive problem brings M to norm 1, which here is that of L and G apart: the kernel takes the rest.
    constraint = kernel @ across @ kernel + np.eye(N + M)
    centring = np.eye(N + M) - 1 / (N + M)
    vectors = eigh(kernel @ centring @ inner @ centring @ kernel, constraint)[1][:, ::-1][:, :3]
    wanted = kernel @ (vectors / np.linalg.norm(vectors, axis=0))
    found = adapted("sstca(components=3,dependence=0.3,locality=2,neighbours=4)", pair)
    same(found, pair, np.asarray(wanted), False)


def test_sstca_without_labels_and_neighbours_is_tca() -> None:
    pair = pair_of()
    found, wanted = adapted("sstca(dependence=0,locality=0)", pair), adapted("tca", pair)
    assert found.features == pytest.approx(wanted.features, abs=1e-9)


def test_sstca_follows_values() -> None:
    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(80, 5)), draw.normal(size=(80, 5))
    pair = Pair(source, source[:, 0], target, 0, 0)
    bare = adapted("tca(components=1)", pair).features[:, 0]
    # The feature that the largest variance says least about.
    pair = replace(pair, labels=min(source.T, key=lambda column: abs(np.corrcoef(bare, column)[0, 1])))
    led = adapted("sstca(components=1,dependence=1,locality=0)", pair).features[:, 0]
    assert abs(np.corrcoef(bare, pair.labels)[0, 1]) < 0.3
    assert abs(np.corrcoef(led, pair.labels)[0, 1]) > 0.9


@pytest.mark.parametrize("classes", [0, 3])
def test_label_sums_make_the_kernel_of_labels(classes: int) -> None:
    from_file = folder.module("adapt", "sstca")
    pair = replace(pair_of(), known=np.array([1, 5]), known_labels=np.array([2, 0]))
    if not classes:
        pair = replace(pair, labels=pair.labels * 1.5, known_labels=np.array([2.0, 0.5]), classes=0)
    lift, _ = components.lifted("sstca", pair.source, pair.target, components.Kernel(), 0)
    sums = from_file._label_sums(lift, components.moments(lift, pair.source, pair.target), pair)
    given = np.concatenate([pair.labels, pair.known_labels])
    places = np.concatenate([np.arange(N), N + pair.known])
    if classes:
        kernel = (given[:, None] == given).astype(float)
    else:
        unit = (given - given.mean()) / given.std()
        kernel = np.outer(unit, unit)
    moved = scaled(pair, False)
    moved = (moved - moved.mean(axis=0))[places]
    assert sums.T @ sums == pytest.approx(moved.T @ kernel @ moved, abs=1e-10)


def test_meda_is_the_dense_problem_over_all_rows() -> None:
    pair = pair_of(seed=1)
    found = adapted("meda(components=2,rounds=1,balance=0.4,neighbours=4,kernel=linear,shrinkage=0.2)", pair)
    seen = adapted("gfk(components=2)", pair)
    rows = np.concatenate([seen.features, seen.view(pair.target)])
    rows -= rows.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = KNeighborsClassifier(1).fit(rows[:N], pair.labels).predict(rows[N:])
    joined, source = np.concatenate([pair.labels, labels]), np.arange(N + M) < N
    across = 0.6 * CLASSES * whole()
    across = across + 0.4 * sum(difference(source & (joined == c), ~source & (joined == c)) for c in range(CLASSES))
    across /= np.linalg.norm(across)
    graph = laplacian(affinities(rows, 4, "cosine")).toarray()
    kernel = rows @ rows.T
    inner = np.diag(source.astype(float)) + 10 * across + graph
    wanted = np.eye(CLASSES)[joined] * source[:, None]
    dual = np.linalg.solve(inner @ kernel + 0.2 * np.eye(N + M), wanted)
    assert found.answer(pair.target) == pytest.approx(nearest_shares((kernel @ dual)[N:]), abs=1e-8)


def test_graphs_by_hand() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]])
    heat = affinities(rows, 1, "heat").toarray()
    # Nearest neighbours: 0 and 1 of one another, 1 of 2; squared distances 1, 1 and 4, their median 1.
    assert heat == pytest.approx(np.array([[0, np.exp(-0.5), 0], [np.exp(-0.5), 0, np.exp(-2)], [0, np.exp(-2), 0]]))
    unit = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    cosine = affinities(unit, 1, "cosine").toarray()
    assert cosine == pytest.approx(np.array([[0, 0.6, 0], [0.6, 0, 0.8], [0, 0.8, 0]]))
    degrees = np.array([0.6, 1.4, 0.8])
    graph = np.eye(3) - cosine / np.sqrt(np.outer(degrees, degrees))
    assert laplacian(affinities(unit, 1, "cosine")).toarray() == pytest.approx(graph)
    assert roughness(unit, affinities(unit, 1, "cosine")) == pytest.approx(unit.T @ graph @ unit)
    assert affinities(rows[:1], 3, "heat").toarray().tolist() == [[0.0]]
    opposite = affinities(np.array([[1.0, 0.0], [-1.0, 0.0]]), 1, "cosine")
    assert (laplacian(opposite).toarray() == 0).all()


def test_shares_are_the_nearest_points_of_the_simplex() -> None:
    assert nearest_shares(np.array([[0.2, 0.3, 0.5], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])) == pytest.approx(
        np.array([[0.2, 0.3, 0.5], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    )
    scores = np.random.default_rng(0).normal(size=(50, 4))
    found = nearest_shares(scores)
    assert found.sum(axis=1) == pytest.approx(1)
    others = np.random.default_rng(1).dirichlet(np.ones(4), 300)
    assert (((scores - found) ** 2).sum(axis=1) <= cdist(scores, others, "sqeuclidean").min(axis=1) + 1e-12).all()


def test_the_distance_of_domains_is_that_of_fits_that_leave_a_row_out() -> None:
    draw = np.random.default_rng(0)
    left, right = draw.normal(size=(12, 3)), draw.normal(size=(9, 3)) + 0.8
    rows, wanted = np.concatenate([left, right]), np.repeat([-1.0, 1.0], [12, 9])
    share = np.repeat([0.5 / 12, 0.5 / 9], [12, 9])
    moved = rows - share @ rows
    ridge = 1e-2 * np.trace((moved.T * share) @ moved) / 3 * np.diag([1, 1, 1, 0])
    columns = np.column_stack([moved, np.ones(21)])
    error = 0.0
    for place in range(21):
        kept = np.arange(21) != place
        normal = (columns[kept].T * share[kept]) @ columns[kept] + ridge
        fitted = columns[place] @ np.linalg.solve(normal, columns[kept].T @ (share * wanted)[kept])
        error += share[place] * (fitted * wanted[place] <= 0)
    assert rounds.apart(left, right) == pytest.approx(2 * (1 - 2 * error))
    assert 0.2 < rounds.apart(left, right) < 1.8
    assert rounds.apart(left, left + 100) == 2
    assert rounds.apart(left, left[:1]) == 0
    assert rounds.apart(np.ones((3, 2)), np.ones((4, 2))) == 0


def test_the_balance_follows_what_differs() -> None:
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    source = draw.normal(size=(400, 2)) + 4 * labels[:, None]
    moved = source + [1.0, -1.0] + draw.normal(size=(400, 2)) * 0.1  # all alike: both differ
    crossed = source + np.where(labels[:, None] == 1, [3.0, -3.0], [-3.0, 3.0])  # classes against one another
    same_labels = (labels, labels)
    assert rounds.estimated((source, moved), same_labels) == pytest.approx(0.5, abs=0.1)
    assert rounds.estimated((source, crossed), same_labels) > 0.9
    assert rounds.estimated((source, source), same_labels) == 0.5


def test_the_nearest_decides_and_ties_go_to_the_earliest_class() -> None:
    learning, labels = np.array([[0.0], [10.0], [2.0], [2.0]]), np.array([0, 0, 1, 2])
    asked = np.array([[1.0], [2.0], [5.2], [9.0]])
    assert rounds.answered("nearest", learning, labels, asked).tolist() == [0, 1, 1, 0]
    assert rounds.answered("mean", learning, labels, asked).tolist() == [1, 1, 0, 0]


def test_many_rows_give_and_take_pseudo_labels_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of(120, 150, 3)
    exact = adapted("jda(components=2)", pair)
    monkeypatch.setattr(rounds, "SAMPLE", 60)
    found = adapted("jda(components=2)", replace(pair, known=np.array([149]), known_labels=np.array([2])))
    assert len(found.notes) == 1
    assert found.notes[0].startswith("Pseudo-labels are made of 6")
    assert found.features.shape == (121, 2)
    assert exact.notes == ()


def test_rows_that_are_all_the_same_become_one_component_of_nothing() -> None:
    same_rows = Pair(np.ones((4, 3)), np.array([0, 1, 0, 1]), np.ones((5, 3)), 2, 0)
    for written in (*ROUNDED, "tca(kernel=rbf)", "tca(unit=true)"):
        found = adapted(written, same_rows)
        assert np.isfinite(found.features).all()
        assert found.features.shape[1] == found.view(same_rows.target).shape[1] == 1
        assert np.ptp(found.features) < 1e-6


def test_what_does_not_fit_into_memory_is_refused_before_it_is_made() -> None:
    rows = np.broadcast_to(np.zeros(1), (4000, 30_000))
    pair = Pair(rows, np.zeros(4000, dtype=np.int64), rows, 1, 0)
    with pytest.raises(
        DataError, match=r"^tca needs 3,000 landmarks of 30,000 features and their kernel, 1\.6 GB.*fewer"
    ):
        adapted("tca(landmarks=3000)", pair)
    with pytest.raises(
        DataError, match=r"^jda needs 8,000 rows of 30,000 features twice, 3\.6 GB.*; use fewer features"
    ):
        adapted("jda", pair)


def test_few_components_of_many_features_are_those_of_the_whole_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of(230, 210)
    found = adapted("tca(components=5, kernel=rbf)", pair)
    assert components._LANCZOS < 440
    monkeypatch.setattr(components, "_LANCZOS", 10**6)
    wanted = adapted("tca(components=5, kernel=rbf)", pair)
    assert found.features == pytest.approx(wanted.features, abs=1e-8)
    monkeypatch.undo()
    assert (adapted("tca(components=5, kernel=rbf)", pair).features == found.features).all()


def test_a_diagonal_matrix_is_its_own_decomposition() -> None:
    values, vectors = components._decomposed(np.diag([1.0, 3.0, 2.0]))
    assert values.tolist() == [3, 2, 1]
    assert vectors.T.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    slanted = np.array([[2.0, 1.0], [1.0, 2.0]])
    values, vectors = components._decomposed(slanted)
    assert values == pytest.approx([3, 1])
    assert vectors @ np.diag(values) @ vectors.T == pytest.approx(slanted)


def naive_primal(rows: np.ndarray, across: np.ndarray, k: int) -> np.ndarray:
    """(N, k) components by weights on features, of the generalised problem as the authors' program has it."""
    centring = np.eye(len(rows)) - 1 / len(rows)
    constraint = rows.T @ (across / np.linalg.norm(across)) @ rows + np.eye(rows.shape[1])
    vectors = eigh(rows.T @ centring @ rows, constraint)[1][:, ::-1][:, :k]
    return np.asarray(rows @ (vectors / np.linalg.norm(vectors, axis=0)))


def placed(pair: Pair, centred: bool) -> np.ndarray:
    """Rows of length 1, around their common mean or where they are."""
    rows = np.concatenate([pair.source, pair.target])
    rows = rows - rows.mean(axis=0) if centred else rows
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("written", "balance"), [("jda", 0.5), ("bda(balance=0.8)", 0.8)])
def test_the_primal_form_is_a_plain_loop_over_weights_on_features(written: str, balance: float, centred: bool) -> None:
    pair = pair_of(d=7, seed=4)
    rows, source = placed(pair, centred), np.arange(N + M) < N
    across = whole()
    for _ in range(4):
        made = naive_primal(rows, across, 3)
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        joined = np.concatenate([pair.labels, KNeighborsClassifier(1).fit(made[:N], pair.labels).predict(made[N:])])
        across = (1 - balance) * CLASSES * whole()
        for label in np.unique(joined[N:]):
            across = across + balance * difference(source & (joined == label), ~source & (joined == label))
    one = folder.resolve("adapt", written)[0]
    found = replace(one, primal=True, centred=centred, rounds=4, components=3).adapt(pair)
    same(found, pair, made, True)
    assert not np.allclose(found.features, replace(one, centred=centred, rounds=4, components=3).adapt(pair).features)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_rows_that_are_not_centred_have_their_own_kernel(kernel: str) -> None:
    pair = pair_of(d=7)
    wanted = naive(kernel_of(placed(pair, False), kernel), whole(), np.eye(N + M), 3)
    same(adapted(f"tca(components=3,kernel={kernel},unit=true,centred=false)", pair), pair, wanted, True)
    assert not np.allclose(wanted, naive(kernel_of(placed(pair, True), kernel), whole(), np.eye(N + M), 3))


def test_the_primal_form_of_a_kernel_penalises_the_length_of_the_function() -> None:
    """Over all rows: a = Phi'w with |a|^2 = w'K w, so that K takes the place of the identity."""
    pair = pair_of()
    kernel = kernel_of(scaled(pair, True), "rbf")
    centring = np.eye(N + M) - 1 / (N + M)
    constraint = kernel @ (whole() / np.linalg.norm(whole())) @ kernel + kernel
    vectors = eigh(kernel @ centring @ kernel, constraint)[1][:, ::-1][:, :3]
    wanted = kernel @ (vectors / np.sqrt(((kernel @ vectors) * vectors).sum(axis=0)))
    same(adapted("tca(components=3,kernel=rbf,unit=true,primal=true)", pair), pair, wanted, True)


def test_the_origin_does_not_count_in_the_primal_form_of_rows_as_long_as_they_are() -> None:
    pair = pair_of()
    found, other = (adapted(f"tca(primal=true,centred={one},penalty=1e-9)", pair).features for one in ("true", "false"))
    spread, wanted = other - other.mean(axis=0), found - found.mean(axis=0)
    ratio = np.linalg.norm(spread) / np.linalg.norm(wanted)
    assert spread == pytest.approx(ratio * wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("task", "wanted"), [(("U", "M"), {"jda": 59.65, "tca": 51.05}), (("M", "U"), {"jda": 67.28, "tca": 56.28})]
)
def test_published_figures_of_digits(data_folder: Path, task: tuple[str, str], wanted: dict[str, float]) -> None:
    """Long et al. 2013, table 3, to the digit."""
    h5py = pytest.importorskip("h5py")
    both = {}
    with h5py.File(data_folder / "digits" / "MNIST_vs_USPS.mat") as file:
        for name, letter in (("M", "s"), ("U", "t")):
            rows = np.asarray(file[f"X{letter}"], dtype=np.float64)
            rows = rows if rows.shape[1] == 256 else rows.T
            labels = np.asarray(file[f"Y{letter}"]).ravel().astype(np.int64)
            both[name] = rows / np.linalg.norm(rows, axis=1, keepdims=True), labels - labels.min()
    (source, labels), (target, truth) = both[task[0]], both[task[1]]
    for written in ("jda(penalty=0.1,primal=true,centred=false)", "tca(penalty=0.1,primal=true)"):
        found = adapted(written, Pair(source, labels, target, 10, 0))
        answers = KNeighborsClassifier(1, algorithm="brute").fit(found.features, labels).predict(found.view(target))
        assert 100 * float((answers == truth).mean()) == pytest.approx(wanted[written[:3]], abs=0.06)
