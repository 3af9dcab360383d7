"""Weights of source rows: density ratios against Gaussians, brute force, and a general solver of the same problem."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize, nnls
from scipy.stats import norm

from sterna import folder
from sterna.adapt import kliep, kmm, nearest_ratio
from sterna.contracts import Aligned, Pair
from sterna.errors import DataError
from sterna.maths import ratio_likelihood as likelihood
from sterna.maths import ratios
from sterna.maths.kernels import gaussian

WEIGHING = ("kmm", "kliep", "ulsif", "rulsif", "nearest_ratio(neighbours=30)", "logistic_ratio(classifier=rbf)")
SMOOTH = ("kmm", "kliep", "ulsif", "rulsif", "nearest_ratio", "logistic_ratio")

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def built(name: str) -> Any:
    (made,) = folder.resolve("adapt", name)
    return made


def weights(name: str, pair: Pair) -> np.ndarray:
    found: np.ndarray = built(name).adapt(pair).weights
    return found


def shifted(n: int, m: int, d: int = 1, mean: float = 0.6, spread: float = 0.8, seed: int = 1) -> Pair:
    """A source of N(0, 1) and a target of N(mean, spread^2) in each feature."""
    draw = np.random.default_rng(seed)
    source, target = draw.normal(size=(n, d)), draw.normal(size=(m, d)) * spread + mean
    return Pair(source, (source[:, 0] > 0).astype(np.int64), target, 2, 3)


def truth(pair: Pair, mean: float = 0.6, spread: float = 0.8, alpha: float = 0.0) -> np.ndarray:
    """The relative ratio of the two densities at the source rows, of mean 1."""
    logs = norm.logpdf(pair.source, mean, spread) - norm.logpdf(pair.source)
    ratio = np.exp(logs.sum(axis=1))
    ratio = ratio / (alpha * ratio + 1 - alpha)
    made: np.ndarray = ratio / ratio.mean()
    return made


BOUNDS = (0.3, 0.6, 0.35, 0.35, 0.5, 0.4)


@pytest.mark.parametrize(("name", "bound"), list(zip(WEIGHING, BOUNDS, strict=True)))
def test_ratios_of_two_gaussians(name: str, bound: float) -> None:
    """Root mean square errors in units of how much the true ratios vary, which equal weights miss by 1."""
    errors, misses = [], []
    for seed in (1, 2, 3):
        pair = shifted(800, 800, spread=0.7, seed=seed)
        wanted, found = truth(pair, spread=0.7, alpha=0.1 if name == "rulsif" else 0.0), weights(name, pair)
        errors.append(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())
        misses.append(abs(np.average(pair.source[:, 0], weights=found) - 0.6))
    assert np.median(errors) < bound
    assert np.median(misses) < 0.1, "the weighted source has the mean of the target, 0.6, and without weights 0"


@pytest.mark.parametrize("name", SMOOTH)
def test_what_a_method_of_weights_gives(name: str) -> None:
    pair = shifted(120, 90, 3)
    made = built(name).adapt(pair)
    assert isinstance(made, Aligned)
    assert made.features is pair.source or (made.features == pair.source).all()
    assert (made.view(pair.target) == pair.target).all()
    assert made.weights.mean() == pytest.approx(1)
    assert made.weights.std() > 0.1
    known, labels = np.array([5, 2]), np.array([1, 0])
    more = built(name).adapt(replace(pair, known=known, known_labels=labels))
    assert (more.features[120:] == pair.target[known]).all()
    assert more.labels[120:].tolist() == [1, 0]
    assert more.weights[120:].tolist() == [1, 1]
    assert more.weights[:120] == pytest.approx(made.weights), "known labels are learnt from, and do not judge densities"
    size = made.weights.sum() ** 2 / (made.weights**2).sum()
    assert f"as much as {size:.1f} of 120 source rows" in " ".join(made.notes)


@pytest.mark.parametrize("name", SMOOTH)
def test_units_and_places_do_not_count(name: str) -> None:
    pair = shifted(150, 130, 3)
    moved = replace(pair, source=pair.source * 250 + 40, target=pair.target * 250 + 40)
    # Random features of float32 and a solver that stops somewhere leave small differences.
    assert weights(name, moved) == pytest.approx(weights(name, pair), abs=0.02)


@pytest.mark.parametrize("name", SMOOTH)
def test_equal_samples_weigh_about_the_same(name: str) -> None:
    pair = shifted(600, 600, 2, mean=0.0, spread=1.0)
    found = weights(name, pair)
    assert ratios.effective_size(found) > 300
    # Where the sample is the same and not only its law, the mean is matched without weights.
    same = weights(name, replace(pair, target=pair.source))
    assert abs(np.average(pair.source[:, 0], weights=same) - pair.source[:, 0].mean()) < 0.1


def test_few_effective_rows_are_warned_of() -> None:
    pair = shifted(400, 200, 1, mean=4.0, spread=0.3)
    notes = built("nearest_ratio(smoothing=0)").adapt(pair).notes
    assert any(note.startswith("Warning: that is fewer than 30") for note in notes)
    assert not any("Warning" in note for note in built("nearest_ratio").adapt(shifted(400, 200)).notes)


def test_effective_size_by_hand() -> None:
    assert ratios.effective_size(np.array([1.0, 1.0, 1.0, 1.0])) == pytest.approx(4)
    assert ratios.effective_size(np.array([3.0, 1.0])) == pytest.approx(16 / 10)
    assert ratios.effective_size(np.array([1e200, 1e200, 0.0])) == pytest.approx(2)
    assert ratios.effective_size(np.zeros(3)) == 0


# Kernel mean matching


def programme(n: int, penalty: float, seed: int) -> tuple[Pair, np.ndarray, np.ndarray]:
    """A pair, and the matrix and the vector of its quadratic programme, written out."""
    pair = shifted(n, 3 * n // 2, 2, mean=1.0, seed=seed)
    squares = ((pair.source[:, None] - pair.source) ** 2).sum(axis=2)
    across = ((pair.source[:, None] - pair.target) ** 2).sum(axis=2)
    linear = n / len(pair.target) * np.exp(-across / 2).sum(axis=1)
    return pair, np.exp(-squares / 2) + penalty * np.eye(n), linear


@pytest.mark.parametrize(
    ("bound", "slack", "penalty"), [(1000, 0.7, 0), (1000, 0.7, 1), (1.5, 0.7, 0.1), (1000, 0, 1), (2, 0.01, 0)]
)
def test_matching_is_the_quadratic_programme(bound: float, slack: float, penalty: float) -> None:
    for seed in (0, 1):
        pair, square, linear = programme(20, penalty, seed)

        def value(b: np.ndarray, square: np.ndarray = square, linear: np.ndarray = linear) -> float:
            return float(b @ square @ b / 2 - linear @ b)

        allowed = LinearConstraint(np.full(20, 1 / 20), 1 - slack, 1 + slack)
        limits = {"maxiter": 1000, "ftol": 1e-14}
        wanted = minimize(
            value, np.ones(20), bounds=[(0, bound)] * 20, constraints=[allowed], method="SLSQP", options=limits
        )
        product, given = kmm._exact(pair.source, pair.target, 1.0)
        found = kmm._solved(kmm._ridged(product, penalty / 20), given, bound, slack)
        assert found.min() >= 0
        assert found.max() <= bound
        assert abs(found.mean() - 1) <= slack + 1e-5
        # Without a penalty the smallest eigenvalues are near 0, and what is gained along them is little.
        assert value(found) == pytest.approx(wanted.fun, rel=1e-5 if penalty else 2e-4)
        if penalty:
            assert found == pytest.approx(wanted.x, abs=2e-3)
        made = weights(f"kmm(width=1, bound={bound}, slack={slack}, penalty={penalty})", pair)
        assert made == pytest.approx(found / found.mean())


def test_matching_matches_the_means_of_kernels() -> None:
    pair = shifted(400, 300, 2)
    found, width = weights("kmm(penalty=0.01)", pair), ratios.median_width(pair.source, pair.target, pair.seed)
    probes = np.random.default_rng(5).normal(size=(40, 2))

    def means(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
        made: np.ndarray = np.exp(-((rows[:, None] - probes) ** 2).sum(axis=2) / (2 * width**2)).T @ weight
        return made

    wanted = means(pair.target, np.full(300, 1 / 300))
    before, after = (np.abs(means(pair.source, one / 400) - wanted).max() for one in (np.ones(400), found))
    assert after < before / 10


def test_the_approximate_kernel_with_all_rows_is_the_kernel() -> None:
    pair = shifted(60, 50, 2)
    notes = built("kmm(limit=59, landmarks=110)").adapt(pair).notes
    assert notes[0] == "The kernel of 60 source rows is approximated from 110 landmarks."
    exact, linear = kmm._exact(pair.source, pair.target, 1.0)
    near, other, count = kmm._approximate(pair, 1.0, 110)
    draw = np.random.default_rng(0).normal(size=60)
    assert count == 110
    assert near(draw) == pytest.approx(exact(draw), abs=1e-5)
    assert other == pytest.approx(linear, abs=1e-5)


def test_few_landmarks_give_nearly_the_same_weights() -> None:
    pair = shifted(900, 900, 5, mean=0.4)
    exact, near = weights("kmm", pair), weights("kmm(limit=500, landmarks=500)", pair)
    assert np.corrcoef(exact, near)[0, 1] > 0.9
    gap = np.abs((exact - near) @ pair.source / 900).max()
    assert gap < 0.02, "the means of the features are the same"


def test_a_kernel_that_does_not_fit_is_refused() -> None:
    source = np.broadcast_to(np.zeros((1, 1)), (10_000, 60_000))
    with pytest.raises(DataError, match=r"kmm needs 10,000 rows and their kernel, 9\.7 GB"):
        kmm._exact(source, source, 1.0)
    with pytest.raises(DataError, match=r"kmm needs 1,000,000 rows by 1,000 landmarks, .*; use fewer landmarks"):
        kmm._approximate(Pair(np.zeros((10**6, 1)), np.zeros(10**6), np.zeros((10**6, 1)), 2, 0), 1.0, 1000)
    with pytest.raises(DataError, match="use fewer centres"):
        ratios.compared("ulsif", np.zeros((10**6, 1)), np.zeros((10**6, 1)), 100, 0)
    big = Pair(source, np.zeros(10_000), source[:9], 2, 0)
    with pytest.raises(DataError, match="nearest_ratio needs a copy of 10,000 x 60,000 features"):
        built("nearest_ratio").adapt(big)
    with pytest.raises(DataError, match="logistic_ratio needs 10,009 rows three times"):
        built("logistic_ratio").adapt(big)


# Kullback-Leibler importance estimation


def test_the_likelihood_is_the_largest_under_its_constraint() -> None:
    """Against a general solver that is told the constraint, and for the mean that the constraint asks for."""
    pair = shifted(70, 40, 1)
    given = ratios.compared("kliep", pair.source, pair.target, 8, 0)
    means = ratios.means(given.source, 0.7)
    found = kliep._coefficients(given.target, means, 0.7)
    kernel = gaussian(given.target, 0.49)
    assert found.min() >= 0
    assert ratios.values(given.source, 0.7, found).mean() == pytest.approx(1)

    def loss(a: np.ndarray) -> float:
        return -float(np.log(kernel @ a).mean())

    elsewhere = np.eye(8)[3] / means[3]
    assert kliep._coefficients(given.target, means, 0.7, elsewhere) == pytest.approx(found, abs=1e-3)
    whole = {"type": "eq", "fun": lambda a: a @ means - 1}
    start = np.full(8, 1 / means.sum())
    wanted = minimize(loss, start, bounds=[(0, None)] * 8, constraints=[whole], method="SLSQP", options={"ftol": 1e-12})
    assert loss(found) == pytest.approx(wanted.fun, abs=1e-5)


def test_the_width_is_the_likeliest_of_rows_that_are_left_out() -> None:
    pair = shifted(300, 200, 1)
    given = ratios.compared("kliep", pair.source, pair.target, 20, 0)
    width, notes = kliep._width(given, None, 0)
    assert notes == ()
    judged = np.setdiff1d(np.arange(200), given.centres)
    judged = np.random.default_rng(1).permutation(judged)
    scores = {}
    for one in ratios.widths(given.median, None):
        kernel, means = gaussian(given.target, one**2), gaussian(given.source, one**2).mean(axis=0)
        total = 0.0
        for fold in np.array_split(judged, 5):
            learning = np.setdiff1d(np.arange(200), fold)
            shares = np.full(20, 1 / 20)
            for _ in range(500):  # expectation and maximisation: slow, and another way to the same optimum
                parts = kernel[learning] / np.maximum(means, 1e-300) * shares
                shares = (parts / parts.sum(axis=1, keepdims=True)).mean(axis=0)
            total += np.log(np.maximum(kernel[fold] @ (shares / means), 1e-10)).sum()
        scores[one] = total / len(judged)
    assert scores[width] > max(scores.values()) - 0.02
    assert scores[width] > min(scores.values()) + 0.1, "the width matters here"


def test_a_width_too_small_is_refused() -> None:
    pair = shifted(30, 20, 1, mean=50.0)
    with pytest.raises(DataError, match=r"kliep needs source rows within a few widths .* at width 0\.01"):
        built("kliep(width=0.01)").adapt(pair)
    with pytest.raises(DataError, match="ulsif needs source rows that could be target rows"):
        built("ulsif(width=0.01)").adapt(pair)
    assert built("kliep").adapt(pair).weights.mean() == pytest.approx(1)


# Least squares


def kernels(pair: Pair, given: ratios.Compared, width: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, b) and (m, b), written out."""
    centres = pair.target[given.centres]
    both = [
        np.exp(-((side[:, None] - centres) ** 2).sum(axis=2) / (2 * width**2)) for side in (pair.source, pair.target)
    ]
    return both[0], both[1]


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.6])
def test_least_squares_by_the_formula(alpha: float) -> None:
    pair = shifted(50, 40, 2)
    given = ratios.compared("ulsif", pair.source, pair.target, 15, pair.seed)
    assert len(given.centres) == 15
    first, second = kernels(pair, given, 0.8)
    square = alpha * second.T @ second / 40 + (1 - alpha) * first.T @ first / 50
    wanted = first @ np.maximum(np.linalg.inv(square + 0.05 * np.eye(15)) @ second.mean(axis=0), 0)
    ratio, width, penalty = ratios.least_squares(given, alpha, 0.8, 0.05, pair.seed)
    assert ratio == pytest.approx(wanted)
    assert (width, penalty) == (0.8, 0.05)
    name = f"rulsif(alpha={alpha}, " if alpha else "ulsif("
    assert weights(f"{name}centres=15, width=0.8, penalty=0.05)", pair) == pytest.approx(wanted / wanted.mean())


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_leaving_out_is_fitting_again(alpha: float) -> None:
    pair = shifted(23, 31, 2)
    given = ratios.compared("ulsif", pair.source, pair.target, 9, pair.seed)
    first, second = kernels(pair, given, 0.6)
    rows, others = np.arange(12) + 3, np.arange(12)[::-1] + 10
    penalties = (0.01, 0.3)
    scores = []
    for penalty in penalties:
        total = 0.0
        for i, j in zip(rows, others, strict=True):
            left, right = np.delete(first, i, axis=0), np.delete(second, j, axis=0)
            square = alpha * right.T @ right / 30 + (1 - alpha) * left.T @ left / 22 + penalty * np.eye(9)
            a = np.maximum(np.linalg.solve(square, right.mean(axis=0)), 0)
            total += ((1 - alpha) * (first[i] @ a) ** 2 + alpha * (second[j] @ a) ** 2) / 2 - second[j] @ a
        scores.append(total / 12)
    found = ratios.left_out(ratios.moments(given, 0.6, alpha), first[rows].T, second[others].T, alpha, penalties)
    assert found == pytest.approx(np.array(scores))


def test_no_relative_share_is_the_plain_ratio() -> None:
    pair = shifted(150, 100, 2)
    assert (weights("rulsif(alpha=0)", pair) == weights("ulsif", pair)).all()
    plain, bounded = (
        weights("ulsif(width=1,penalty=0.01)", pair),
        weights("rulsif(alpha=0.5,width=1,penalty=0.01)", pair),
    )
    assert bounded.max() < plain.max()


def test_what_is_chosen_has_the_smallest_score() -> None:
    pair = shifted(400, 400, 1)
    given = ratios.compared("ulsif", pair.source, pair.target, 30, pair.seed)
    _, width, penalty = ratios.least_squares(given, 0.0, None, None, pair.seed)
    grid = [(one, other) for one in ratios.widths(given.median, None) for other in ratios.PENALTIES]
    others = np.setdiff1d(np.arange(400), given.centres)

    def score(one: float, other: float) -> float:
        first, second = kernels(pair, given, one)
        found = ratios.moments(given, one, 0.0)
        return float(ratios.left_out(found, first[: len(others)].T, second[others].T, 0.0, (other,))[0])

    scores = [score(*one) for one in grid]
    spread = max(scores) - min(scores)
    assert score(width, penalty) < min(scores) + 0.05 * spread, "by other pairs, up to their luck"


# Neighbours and classifiers


@pytest.mark.parametrize("neighbours", [1, 4])
def test_neighbours_are_counted(neighbours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = shifted(40, 70, 3)
    away = ((pair.target[:, None] - pair.source) ** 2).sum(axis=2)
    counts = np.bincount(np.argsort(away, axis=1)[:, :neighbours].ravel(), minlength=40) + 2.0
    name = f"nearest_ratio(neighbours={neighbours}, smoothing=2)"
    assert weights(name, pair) == pytest.approx(counts / counts.mean())
    monkeypatch.setattr(nearest_ratio, "_EXACT", 1)
    monkeypatch.setattr(nearest_ratio, "_CELLS", 200)
    assert weights(name, pair) == pytest.approx(counts / counts.mean())


def test_neighbours_by_hand() -> None:
    source, target = np.array([[0.0], [10.0], [20.0]]), np.array([[1.0], [2.0], [11.0], [-3.0]])
    pair = Pair(source, np.array([0, 1, 1]), target, 2, 0)
    assert weights("nearest_ratio", pair).tolist() == pytest.approx([4 * 3 / 7, 2 * 3 / 7, 1 * 3 / 7])


def test_odds_of_a_linear_ratio() -> None:
    """Where only the means differ, the logarithm of the ratio is linear: mean x - mean^2 / 2."""
    pair = shifted(4000, 3000, 1, mean=0.8, spread=1.0)
    wanted = np.minimum(np.exp(0.8 * pair.source[:, 0] - 0.32), 4.0)
    found = weights("logistic_ratio(clip=4)", pair)
    assert np.abs(found - wanted / wanted.mean()).max() < 0.35
    made = built("logistic_ratio(clip=4)").adapt(pair)
    assert any(note.endswith("source rows above 4 were set to it.") for note in made.notes)


def test_odds_are_those_of_rows_not_learnt_from() -> None:
    """With as many features as rows, a classifier tells rows apart that it has seen, and has no idea of others."""
    pair = shifted(60, 60, 100, mean=0.0, spread=1.0)
    assert ratios.effective_size(weights("logistic_ratio", pair)) > 40


def test_both_classifiers_are_the_better_one() -> None:
    pair = shifted(400, 400, 1, mean=0.0, spread=0.4)  # only the spread differs, which no linear rule sees
    both, rbf, linear = (weights(f"logistic_ratio(classifier={one})", pair) for one in ("both", "rbf", "linear"))
    assert (both == rbf).all()
    assert both.std() > 5 * linear.std()


def test_odds_need_five_rows() -> None:
    with pytest.raises(DataError, match="logistic_ratio needs at least 5 rows of each domain, got 4 and 30"):
        built("logistic_ratio").adapt(shifted(4, 30))


def test_programmes_without_negative_answers_are_those_of_scipy() -> None:
    """Against non-negative least squares, where the guess is right, wrong, and where rows are next to equal."""
    draw = np.random.default_rng(0)
    for noise in (1.0, 1e-3):
        rows = draw.normal(size=(60, 1)) + noise * draw.normal(size=(60, 25))
        wanted, _ = nnls(rows, aim := draw.normal(size=60) + rows @ draw.normal(size=25))
        for guess in (np.zeros(25, dtype=bool), np.ones(25, dtype=bool), wanted > 0):
            found = likelihood.nonnegative(rows.T @ rows, rows.T @ aim, guess)
            assert found.min() >= 0
            assert np.linalg.norm(rows @ found - aim) == pytest.approx(np.linalg.norm(rows @ wanted - aim), rel=1e-9)
            one = likelihood._one_by_one(rows.T @ rows, rows.T @ aim, 1e-12)
            assert np.linalg.norm(rows @ one - aim) == pytest.approx(np.linalg.norm(rows @ wanted - aim), rel=1e-9)


@pytest.mark.parametrize("width", [0.02, 0.1, 0.5, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("d", [1, 6])
def test_no_other_way_finds_a_larger_likelihood(width: float, d: int) -> None:
    """Narrow to wide kernels, from well apart to next to equal: against a quasi-Newton method, and by the bound."""
    pair = shifted(300, 300, d)
    given = ratios.compared("kliep", pair.source, pair.target, 60, 0)
    kernel = gaussian(given.target, (width * given.median) ** 2).T
    kernel = np.ascontiguousarray(kernel / kernel.mean(axis=1, keepdims=True))
    share, start = np.full(300, 1 / 300), np.full(60, 1 / 60)

    def loss(p: np.ndarray) -> tuple[float, np.ndarray]:
        ratio = p @ kernel + 1e-10
        return float(p.sum() - share @ np.log(ratio)), 1 - kernel @ (share / ratio)

    found = likelihood.likeliest(kernel, share, start, 1e-9)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    other = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * 60, options={"maxiter": 5000}).x
    # A sum of 1 is the best one but for rows that no kernel reaches, which is where the two may part.
    lost = 1e-10 * float((share / (found @ kernel + 1e-10)).sum())
    assert loss(found)[0] <= loss(other / other.sum())[0] + 1e-9 + 1e-6 * lost
    if lost < 1e-6:
        assert loss(found)[1].min() >= -1e-6, "no share would gain"
        assert found @ loss(found)[1] == pytest.approx(0, abs=1e-6), "and none would by less"
    far = likelihood.likeliest(kernel, share, np.eye(60)[3], 1e-9)
    assert loss(far)[0] == pytest.approx(loss(found)[0], abs=1e-8 + 1e-6 * lost), "wherever it starts"


def test_rows_that_are_left_out_weigh_nothing() -> None:
    pair = shifted(200, 200, 2)
    given = ratios.compared("kliep", pair.source, pair.target, 20, 0)
    kernel = np.ascontiguousarray(gaussian(given.target, given.median**2).T)
    kept, start = np.arange(200) % 4 > 0, np.full(20, 0.05)
    whole = likelihood.likeliest(kernel, kept / kept.sum(), start, 1e-11)
    fewer = likelihood.likeliest(np.ascontiguousarray(kernel[:, kept]), np.full(150, 1 / 150), start, 1e-11)
    assert whole @ kernel == pytest.approx(fewer @ kernel, rel=1e-4)
