"""Every score against hand values, independent implementations, limits and invariances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax
from scipy.stats import multivariate_normal, spearmanr
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.cross_decomposition import CCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestNeighbors

from sterna.contracts import Evidence
from sterna.errors import DataError, SpecError
from sterna.maths import spectra
from sterna.maths.calibration import log_likelihood
from sterna.maths.spectra import ledoit_wolf, spectrum, unit_coordinates
from sterna.ranking import etran, gbc, hscore, knn, leep, logme, nce, nleep, parc, probe, sfda, transrate


def valued(method: object, features: object, labels: object, source: object = None, seed: int = 0) -> float:
    evidence = Evidence(
        np.asarray(features, dtype=np.float64), None if source is None else np.asarray(source, dtype=np.float64), seed
    )
    return method.prepare(evidence)(np.asarray(labels))  # type: ignore[attr-defined, no-any-return]


def drawn(n: int, d: int, k: int, seed: int = 0, apart: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Normal classes of unequal size in skewed features that are not centred."""
    draw = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), np.minimum(draw.geometric(0.4, n - k) - 1, k - 1)])
    centres, skew = apart * draw.normal(size=(k, d)), draw.normal(size=(d, d)) / np.sqrt(d)
    return centres[labels] + draw.normal(size=(n, d)) @ skew + 1.5, labels


def rotation(d: int, seed: int = 5) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def entropy(labels: np.ndarray) -> float:
    shares = np.bincount(labels) / len(labels)
    return float(-(shares * np.log(shares)).sum())


# LEEP and NCE


def test_leep_by_hand() -> None:
    source = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]]
    assert valued(leep.LEEP(), np.zeros((4, 1)), [0, 0, 1, 1], source) == pytest.approx(-0.3839808833246, abs=1e-12)


def test_leep_of_probabilities_that_say_nothing_is_minus_the_entropy() -> None:
    labels = np.array([0, 0, 0, 1])
    found = valued(leep.LEEP(), np.zeros((4, 1)), labels, np.full((4, 5), 0.2))
    assert found == pytest.approx(-0.5623351446188, abs=1e-12)
    assert found == pytest.approx(-entropy(labels), abs=1e-12)


def test_leep_against_its_definition_and_an_unused_source_class() -> None:
    draw = np.random.default_rng(1)
    source, labels = draw.dirichlet(np.ones(6) / 2, size=50), np.arange(50) % 4
    total = 0.0
    for i in range(50):
        inside = 0.0
        for z in range(6):
            joint = sum(source[j, z] for j in range(50) if labels[j] == labels[i]) / 50
            inside += joint / source[:, z].mean() * source[i, z]
        total += np.log(inside)
    found = valued(leep.LEEP(), source, labels, source)
    assert found == pytest.approx(total / 50, abs=1e-12)
    padded = np.column_stack([source, np.zeros(50)])
    assert valued(leep.LEEP(), source, labels, padded) == found


def test_nce_by_hand_and_at_its_ends() -> None:
    def of(z: list[int], y: list[int]) -> float:
        return valued(nce.NCE(), np.zeros((len(y), 1)), y, np.eye(max(z) + 1)[z])

    assert of([0, 0, 1, 1, 1], [0, 1, 1, 1, 0]) == pytest.approx(-0.6591673732009, abs=1e-12)
    assert of([2, 2, 0, 1], [0, 0, 1, 2]) == 0.0
    assert of([0, 1, 0, 1], [0, 0, 1, 1]) == pytest.approx(-np.log(2), abs=1e-12)


def test_nce_is_never_above_zero_and_below_leep_plus_confidence() -> None:
    """NCE + mean ln q_{i, z_i} <= LEEP, a bound of the paper of LEEP."""
    draw = np.random.default_rng(2)
    for _ in range(20):
        source, labels = draw.dirichlet(np.ones(5) / 3, size=40), np.arange(40) % 3
        upper = valued(leep.LEEP(), source, labels, source)
        lower = valued(nce.NCE(), source, labels, source)
        assert lower <= 0
        assert lower + np.log(source.max(axis=1)).mean() <= upper + 1e-12


@pytest.mark.parametrize("method", [leep.LEEP(), nce.NCE()])
def test_a_candidate_without_classes_of_its_own_is_refused(method: object) -> None:
    with pytest.raises(SpecError, match=r"without a classifier of its own; leave (leep|nce) out for it, or take nleep"):
        valued(method, np.zeros((4, 1)), [0, 0, 1, 1])


# LogME


def test_logme_of_one_feature_by_hand() -> None:
    """Both columns of two classes, of which the known answer is one."""
    feature, label = np.array([1, 1, 0.5, 0, 0.25]), np.array([1, 1, 0, 0, 1])

    def column(y: np.ndarray) -> float:
        x = (feature @ y) ** 2 / (feature @ feature)
        rest = y @ y - x
        assert x > rest / 4
        return -(np.log(x) + 4 * np.log(rest / 4) + 5 * (1 + np.log(2 * np.pi))) / 10

    one = column(label.astype(float))
    assert one == pytest.approx(-0.85888570057, abs=1e-10)
    squares, shares = np.array([feature @ feature]), np.array([[(feature @ label) ** 2 / (feature @ feature)]])
    assert logme.evidences(squares, shares, np.array([3.0]), 5)[0] == pytest.approx(one, abs=1e-10)
    other = 1.0 - label
    x = (feature @ other) ** 2 / (feature @ feature)
    least = -(5 * np.log(other @ other / 5) + 5 * (1 + np.log(2 * np.pi))) / 10  # the feature explains too little
    assert x < (other @ other - x) / 4
    assert valued(logme.LogME(), feature[:, None], label) == pytest.approx((one + least) / 2, abs=1e-9)


def test_logme_of_orthonormal_features_has_a_closed_form() -> None:
    draw = np.random.default_rng(3)
    features, values = rotation(30)[:, :4], draw.normal(size=(30, 1))
    values[:, 0] += features @ [6.0, 4, 3, 2]
    y = (values - values.mean()) / values.std()
    x = float(((features.T @ y) ** 2).sum())
    rest = float((y**2).sum()) - x
    assert x / 4 > rest / 26
    closed = -(4 * np.log(x / 4) + 26 * np.log(rest / 26) + 30 * (1 + np.log(2 * np.pi))) / 60
    assert valued(logme.LogME(), features, values) == pytest.approx(closed, abs=1e-8)


def test_logme_of_a_small_classification() -> None:
    features = [[1, 0], [0.9, 0.1], [0.8, -0.1], [0, 1], [0.1, 0.8], [-0.1, 0.9]]
    assert valued(logme.LogME(), features, [0, 0, 0, 1, 1, 1]) == pytest.approx(-0.013536, abs=1e-5)


def test_logme_does_not_see_rotations_scales_zeros_and_copies() -> None:
    features, labels = drawn(80, 12, 4)
    whole = valued(logme.LogME(), features, labels)
    for same in (
        features @ rotation(12),
        7 * features,
        1e-3 * features,
        np.column_stack([features, np.zeros((80, 9))]),
        np.column_stack([features, features]),
    ):
        assert valued(logme.LogME(), same, labels) == pytest.approx(whole, abs=1e-9)
    assert abs(valued(logme.LogME(), features + 3, labels) - whole) > 1e-3


@pytest.mark.parametrize(("n", "d"), [(60, 200), (40, 8)])
def test_logme_is_the_largest_marginal_likelihood(n: int, d: int) -> None:
    """Brute force: ln N(y; 0, I/b + F F'/a), maximised over ln a and ln b."""
    draw = np.random.default_rng(0)
    features = np.maximum(draw.normal(size=(n, d)) @ draw.normal(size=(d, d)) / np.sqrt(d), 0)
    labels = np.arange(n) % 2
    product = features @ features.T

    def lost(point: np.ndarray, y: np.ndarray) -> float:
        covariance = np.exp(-point[1]) * np.eye(n) + np.exp(-point[0]) * product
        return -float(multivariate_normal(np.zeros(n), covariance).logpdf(y)) / n

    starts = [np.array([a, b]) for a in (0.0, 5.0) for b in (0.0, 3.0)]
    options = {"xatol": 1e-6, "fatol": 1e-9}
    best = [
        -min(minimize(lost, start, (y,), "Nelder-Mead", options=options).fun for start in starts)
        for y in np.eye(2)[labels].T
    ]
    found = valued(logme.LogME(), features, labels)
    assert found == pytest.approx(np.mean(best), abs=1e-6)
    assert found < 0  # the common fixed point gives +6 for 60 examples of 200 features


def test_logme_of_features_that_say_nothing() -> None:
    labels = np.arange(20) % 2
    least = -(np.log(0.5) + 1 + np.log(2 * np.pi)) / 2
    assert valued(logme.LogME(), np.zeros((20, 3)), labels) == pytest.approx(least, abs=1e-8)
    values = np.column_stack([np.arange(20.0), np.ones(20)])
    assert np.isfinite(valued(logme.LogME(), np.zeros((20, 3)), values))


# H-score


ONE = np.array([[0.0], [1], [2], [4], [5], [6]])
TWO = np.column_stack([ONE[:, 0], [0, 1, 0, 1, 0, 1]])
HALVES = np.array([0, 0, 0, 1, 1, 1])
PLAIN = hscore.HScore(shrinkage="none", corrected=False, force=True)
BARE = hscore.HScore(shrinkage="none", corrected=False)
SHRUNKEN = hscore.HScore(corrected=False)


def test_hscore_by_hand() -> None:
    assert valued(BARE, ONE, HALVES) == pytest.approx(6 / 7, abs=1e-12)
    assert valued(PLAIN, TWO, HALVES) == pytest.approx(0.859649122807018, abs=1e-12)
    assert valued(SHRUNKEN, TWO, HALVES) == pytest.approx(0.7497767768, abs=1e-9)


def test_hscore_is_the_sum_of_squared_canonical_correlations() -> None:
    features, labels = drawn(400, 6, 3)
    wanted = np.eye(3)[labels][:, :2]
    fitted = CCA(2, scale=False, max_iter=5000, tol=1e-12).fit(features, wanted)
    left, right = fitted.transform(features, wanted)
    correlations = [np.corrcoef(left[:, i], right[:, i])[0, 1] for i in range(2)]
    found = valued(BARE, features, labels)
    assert found == pytest.approx(sum(c**2 for c in correlations), abs=1e-7)
    affine = features @ np.random.default_rng(1).normal(size=(6, 6)) + 40
    assert valued(BARE, affine, labels) == pytest.approx(found, abs=1e-9)
    one_hot = valued(BARE, np.eye(3)[labels], labels)
    assert one_hot == pytest.approx(2, abs=1e-9)


def test_hscore_of_values_is_the_share_that_a_regression_explains() -> None:
    features, _ = drawn(200, 5, 2)
    values = features @ [[1.0], [0], [2], [0], [0]] + np.random.default_rng(1).normal(size=(200, 1))
    design = np.column_stack([features, np.ones(200)])
    residuals = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    explained = 1 - float(residuals.var() / values.var())
    assert valued(BARE, features, values) == pytest.approx(explained, abs=1e-9)
    twice = np.column_stack([values, 3 * values - 1])  # says nothing new
    assert valued(BARE, features, twice) == pytest.approx(explained, abs=1e-9)


@pytest.mark.parametrize("shape", [(90, 12), (40, 70)])
def test_shrunken_hscore_against_matrices(shape: tuple[int, int]) -> None:
    features, labels = drawn(*shape, 4)
    centred = features - features.mean(axis=0)
    share = ledoit_wolf_shrinkage(centred, assume_centered=True)
    covariance = centred.T @ centred / len(features)
    shrunken = (1 - share) * covariance + share * np.trace(covariance) / shape[1] * np.eye(shape[1])
    own = np.stack([centred[labels == c].mean(axis=0) for c in range(4)])
    between = (own * (np.bincount(labels) / len(labels))[:, None]).T @ own
    wanted = (1 - share) * np.trace(np.linalg.solve(shrunken, between))
    found = valued(SHRUNKEN, features, labels)
    assert found == pytest.approx(wanted, rel=1e-9)
    for same in (features @ rotation(shape[1]), features + 40, 1e-4 * features):
        assert valued(SHRUNKEN, same, labels) == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("shape", [(90, 12), (40, 70)])
def test_shrinkage_is_that_of_scikit_learn(shape: tuple[int, int]) -> None:
    features, _ = drawn(*shape, 4)
    assert ledoit_wolf(spectrum(features, centre=True), shape[1]) == pytest.approx(
        ledoit_wolf_shrinkage(features), abs=1e-12
    )
    assert ledoit_wolf(spectrum(np.eye(6)[np.arange(60) % 6], centre=True), 6) == pytest.approx(
        ledoit_wolf_shrinkage(np.eye(6)[np.arange(60) % 6]), abs=1e-12
    )


def test_hscore_saturates_and_is_refused() -> None:
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(40, 50)), np.arange(40) % 4
    assert valued(PLAIN, features, labels) == pytest.approx(3, abs=1e-9)
    with pytest.raises(SpecError, match=r"^hscore\(shrinkage=none\) needs 5 .*, got 40 examples of 39 dim.*; type hsc"):
        valued(BARE, features, labels)
    assert valued(SHRUNKEN, features, labels) < 1


def test_hscore_of_random_labels_is_what_chance_gives() -> None:
    """(classes - 1) rank / (n - 1) on average."""
    draw = np.random.default_rng(0)
    score = BARE.prepare(Evidence(draw.normal(size=(201, 30)), None, 0))
    found = [score(draw.permutation(np.arange(201) % 4)) for _ in range(200)]
    assert np.mean(found) == pytest.approx(3 * 30 / 200, rel=0.03)


def test_hscore_corrected_for_chance_by_hand() -> None:
    """One feature explains 6/7, chance 1/5, the best 1; what shrinkage leaves of the two others is the same affine."""
    assert valued(hscore.HScore(shrinkage="none"), ONE, HALVES) == pytest.approx(
        (6 / 7 - 1 / 5) / (1 - 1 / 5), abs=1e-12
    )
    features, labels = drawn(90, 12, 4)
    found, shrunk = spectrum(features, centre=True), ledoit_wolf_shrinkage(features)
    kept = (1 - shrunk) * found.squares / 90
    weights = kept / (kept + shrunk * (found.squares / 90).mean())
    chance = 3 * weights.sum() / 89
    wanted = (valued(SHRUNKEN, features, labels) - chance) / (weights[:3].sum() - chance)
    assert valued(hscore.HScore(), features, labels) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("width", [4, 40, 400])
def test_hscore_corrected_for_chance_compares_widths(width: int) -> None:
    """0 on average for random labels, of classes and of values, however wide; 1 where labels are features."""
    draw = np.random.default_rng(0)
    score = hscore.HScore().prepare(Evidence(draw.normal(size=(101, width)), None, 0))
    for labels in (np.arange(101) % 4, draw.normal(size=(101, 2))):
        assert abs(np.mean([score(draw.permutation(labels)) for _ in range(300)])) < 0.01
    labels = np.arange(101) % 4
    assert valued(hscore.HScore(shrinkage="none"), np.eye(4)[labels], labels) == pytest.approx(1, abs=1e-9)
    assert valued(hscore.HScore(shrinkage="none", force=True), draw.normal(size=(40, 50)), labels[:40]) == 0


# TransRate


def test_transrate_by_determinants() -> None:
    features, labels = drawn(120, 7, 3)
    z = features - features.mean(axis=0)
    z /= np.sqrt((z**2).mean())

    def rate(rows: np.ndarray) -> float:
        return float(np.linalg.slogdet(np.eye(7) + rows.T @ rows / (len(rows) * 1e-4))[1]) / 2

    shares = np.bincount(labels) / 120
    wanted = rate(z) - sum(shares[c] * rate(z[labels == c]) for c in range(3))
    found = valued(transrate.TransRate(), features, labels)
    assert found == pytest.approx(wanted, rel=1e-9)
    assert found != pytest.approx(rate(z) - np.mean([rate(z[labels == c]) for c in range(3)]), rel=1e-3)
    for same in (features @ rotation(7), 1000 * features, features + 7):
        assert valued(transrate.TransRate(), same, labels) == pytest.approx(found, rel=1e-9)


def test_transrate_of_one_class_and_of_equal_ones() -> None:
    features, _ = drawn(120, 7, 3)
    assert valued(transrate.TransRate(), features, np.zeros(120, dtype=int)) == pytest.approx(0, abs=1e-9)
    rows = features[:60] - features[:60].mean(axis=0)
    doubled = np.concatenate([rows, -rows])  # both classes have the spectrum of the whole, so nothing is told
    assert valued(transrate.TransRate(), doubled, np.repeat([0, 1], 60)) == pytest.approx(0, abs=1e-9)


# GBC


def test_gbc_of_two_normal_classes_two_apart() -> None:
    features = np.array([[-1.0], [1], [1], [3]])
    found = valued(gbc.GBC(), features, [0, 0, 1, 1])
    assert -np.exp(-found) == pytest.approx(-1.2130613194253, abs=1e-12)


@pytest.mark.parametrize("shape", ["diagonal", "spherical"])
def test_gbc_against_its_definition(shape: str) -> None:
    features, labels = drawn(300, 9, 4, apart=0.3)
    z = unit_coordinates(features)[:, :5]
    total = 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                a, b = z[labels == i], z[labels == j]
                one, two = np.diag(a.var(axis=0)), np.diag(b.var(axis=0))
                if shape == "spherical":
                    one, two = np.trace(one) / 5 * np.eye(5), np.trace(two) / 5 * np.eye(5)
                middle, gap = (one + two) / 2, a.mean(axis=0) - b.mean(axis=0)
                distance = gap @ np.linalg.inv(middle) @ gap / 8
                distance += np.log(np.linalg.det(middle) / np.sqrt(np.linalg.det(one) * np.linalg.det(two))) / 2
                total += np.exp(-distance)
    found = valued(gbc.GBC(dimensions=5, covariance=shape), features, labels)
    assert found == pytest.approx(-np.log(total), abs=1e-9)
    for same in (features @ rotation(9), 50 * features, features - 3):
        assert valued(gbc.GBC(dimensions=5, covariance=shape), same, labels) == pytest.approx(found, abs=1e-8)


def test_gbc_stays_usable_where_the_sum_is_zero() -> None:
    features = np.concatenate([1e-3 * rotation(60)[:, :30], 1e-3 * rotation(60, 6)[:, :30] + 1])
    close = features.copy()
    close[60:] -= 0.5
    found = [valued(gbc.GBC(), one, np.repeat([0, 1], 60)) for one in (features, close)]
    assert found[0] > found[1] > 745  # exp(-745) is the smallest positive number


@pytest.mark.parametrize("name", ["gbc", "sfda"])
def test_one_class_is_refused_where_classes_are_compared(name: str) -> None:
    method = gbc.GBC() if name == "gbc" else sfda.SFDA()
    with pytest.raises(DataError, match=rf"^{name} .* needs two of them, got 1; add examples"):
        valued(method, np.eye(4), np.zeros(4, dtype=int))


# SFDA and ETran


def reference_posteriors(z: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """Linear discriminant analysis by inverse and loops."""
    d, k = z.shape[1], labels.max() + 1
    own = np.stack([z[labels == c].mean(axis=0) for c in range(k)])
    residuals = z - own[labels]
    inside = residuals.T @ residuals / len(z)
    inverse = np.linalg.inv((1 - share) * inside + share * np.trace(inside) / d * np.eye(d))
    scores = np.stack(
        [z @ inverse @ own[c] - own[c] @ inverse @ own[c] / 2 + np.log((labels == c).mean()) for c in range(k)], axis=1
    )
    powers = np.exp(scores)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("share", [0.05, 0.6])
def test_etran_is_linear_discriminant_analysis(share: float) -> None:
    features, labels = drawn(150, 8, 3)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=share).fit(features, labels)
    wanted = oracle.predict_proba(features)[np.arange(150), labels].mean()
    assert valued(etran.ETran(shrinkage=share), features, labels) == pytest.approx(wanted, abs=1e-9)


def own_share(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    z = features - features.mean(axis=0)
    z /= np.sqrt((z**2).sum(axis=1).mean())
    residuals = z - np.stack([z[labels == c].mean(axis=0) for c in range(labels.max() + 1)])[labels]
    return z, float(np.exp(-5 * np.linalg.eigvalsh(residuals.T @ residuals / len(z))[-1]))


def test_etran_shrinks_by_the_largest_eigenvalue() -> None:
    features, labels = drawn(150, 8, 3)
    z, share = own_share(features, labels)
    wanted = reference_posteriors(z, labels, share)[np.arange(150), labels].mean()
    assert valued(etran.ETran(), features, labels) == pytest.approx(wanted, abs=1e-9)
    for same in (features @ rotation(8), 1e3 * features, features + 9):
        assert valued(etran.ETran(), same, labels) == pytest.approx(wanted, abs=1e-9)


def test_sfda_against_its_definition() -> None:
    features, labels = drawn(150, 8, 3)
    z, share = own_share(features, labels)
    rows = np.arange(150)
    soft = np.exp(reference_posteriors(z, labels, share))
    soft /= soft.sum(axis=1, keepdims=True)
    own = np.stack([z[labels == c].mean(axis=0) for c in range(3)])
    moved = np.empty_like(z)
    for i in rows:
        rest = np.mean([own[c] for c in range(3) if c != labels[i]], axis=0)
        q = soft[i, labels[i]]
        moved[i] = q * z[i] + (1 - q) * rest
    wanted = reference_posteriors(moved, labels, share)[rows, labels].mean()
    found = valued(sfda.SFDA(), features, labels)
    assert found == pytest.approx(wanted, abs=1e-9)
    for same in (features @ rotation(8), 1e3 * features, features + 9):
        assert valued(sfda.SFDA(), same, labels) == pytest.approx(found, abs=1e-9)


# PARC and kNN


@pytest.mark.parametrize("dimensions", [None, 4])
def test_parc_against_spearman(dimensions: int | None) -> None:
    features, labels = drawn(60, 9, 3)
    z = unit_coordinates(features)[:, :4] if dimensions else features
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    upper = np.triu_indices(60, 1)
    wanted = spearmanr((1 - np.corrcoef(z))[upper], (1 - np.corrcoef(np.eye(3)[labels]))[upper].round(9)).statistic
    found = valued(parc.PARC(dimensions=dimensions), features, labels)
    assert found == pytest.approx(wanted, abs=1e-9)


def test_parc_at_its_ends_and_on_a_part() -> None:
    labels = np.arange(40) % 4
    found = valued(parc.PARC(dimensions=None), np.eye(4)[labels], labels)
    assert found == pytest.approx(1, abs=1e-9)
    assert valued(parc.PARC(), np.eye(4)[labels], np.zeros(40, dtype=int)) == 0.0
    features, labels = drawn(200, 9, 3)
    part = [valued(parc.PARC(examples=50), features, labels, seed=seed) for seed in (0, 0, 1)]
    assert part[0] == part[1] != part[2]


def test_knn_by_hand() -> None:
    angles = np.array([0, 10, 21, 90, 101, 55]) * np.pi / 180
    features = np.column_stack([np.cos(angles), np.sin(angles)]) * np.array([1, 5, 2, 3, 1, 9])[:, None]
    labels = np.array([0, 0, 1, 1, 1, 0])
    # The nearest of each: 1, 0, 1, 4, 3, 2.
    assert valued(knn.KNN(k=1), features, labels) == pytest.approx(4 / 6)
    three = valued(knn.KNN(k=3), features, labels)
    near = np.argsort(-np.cos(angles[:, None] - angles) + 9 * np.eye(6), axis=1)[:, :3]
    assert three == pytest.approx(np.mean(np.round(labels[near].mean(axis=1)) == labels))


def test_knn_neighbours_are_those_of_scikit_learn() -> None:
    features, labels = drawn(300, 9, 3)
    near = NearestNeighbors(n_neighbors=5, metric="cosine").fit(features).kneighbors(return_distance=False)
    np.testing.assert_array_equal(knn.neighbours(features, 5), near)
    assert valued(knn.KNN(k=1), features, labels) == (labels[near[:, 0]] == labels).mean()
    values = features[:, :1] ** 2
    errors = (values[near].mean(axis=1) - values) ** 2
    assert valued(knn.KNN(), features, values) == pytest.approx(1 - errors.mean() / values.var(), abs=1e-9)


def test_knn_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = drawn(50, 9, 3)
    whole = knn.neighbours(features, 5)
    monkeypatch.setattr(knn, "BLOCK", 8 * 50 * 7)
    np.testing.assert_array_equal(knn.neighbours(features, 5), whole)


def test_knn_leaves_out_by_position() -> None:
    """A copy of an example is its neighbour; the example itself never is."""
    features = np.repeat(np.eye(3), 2, axis=0)
    assert valued(knn.KNN(k=1), features, [0, 0, 1, 1, 2, 2]) == 1.0
    assert valued(knn.KNN(k=1), features, [0, 1, 0, 1, 0, 1]) == 0.0
    assert valued(knn.KNN(k=5), np.ones((1, 2)), [0]) == 0.0


def test_knn_counts_the_nearest_where_votes_are_equal() -> None:
    angles = np.array([0.0, 0.1, 0.3])
    features = np.column_stack([np.cos(angles), np.sin(angles)])
    assert valued(knn.KNN(k=2), features, [1, 1, 0]) == pytest.approx(2 / 3)
    assert valued(knn.KNN(k=2), features, [1, 0, 1]) == 0.0


# N-LEEP


def test_nleep_of_far_clusters_is_that_of_the_clusters() -> None:
    """With one component for each of three far clusters, N-LEEP is NCE of the clusters."""
    draw = np.random.default_rng(0)
    cluster = np.arange(90) % 3
    features = 50 * np.eye(3)[cluster] + draw.normal(size=(90, 3))
    labels = np.where(draw.random(90) < 0.8, cluster, draw.integers(0, 3, 90))
    wanted = valued(nce.NCE(), features, labels, np.eye(3)[cluster])
    found = valued(nleep.NLEEP(components=3, variance=1.0), features, labels)
    assert found == pytest.approx(wanted, abs=1e-6)


def test_nleep_of_one_component_says_nothing() -> None:
    features, labels = drawn(90, 5, 3)
    assert valued(nleep.NLEEP(components=1), features, labels) == pytest.approx(-entropy(labels), abs=1e-9)


def test_nleep_does_not_see_scale_and_depends_on_its_seed() -> None:
    features, labels = drawn(200, 9, 3)
    whole = valued(nleep.NLEEP(), features, labels)
    assert valued(nleep.NLEEP(), 1024 * features, labels) == pytest.approx(whole, abs=1e-6)
    assert valued(nleep.NLEEP(), features, labels, seed=1) != whole
    assert -entropy(labels) < whole < 0


# What several share


def test_rounding_is_no_direction() -> None:
    flat = np.full((30, 4), 0.1)
    assert len(spectrum(flat, centre=True).values) == 0
    flat[:, 0] = np.arange(30)
    assert len(spectrum(flat, centre=True).values) == 1
    assert unit_coordinates(np.ones((5, 3))).shape == (5, 1)
    for centre in (True, False):
        assert len(spectrum(np.zeros((600, 300)), centre).values) == 0


# Probe


def refitted(features: np.ndarray, values: np.ndarray, strength: float) -> np.ndarray:
    """Leave-one-out by doing it: every row predicted by ridge regression with an intercept on all others."""
    n, d = features.shape
    penalty = strength * float((features**2).sum()) * np.eye(d + 1)
    penalty[d, d] = 0  # the intercept is free
    found = np.empty_like(values)
    for i in range(n):
        rest = np.arange(n) != i
        design = np.column_stack([features, np.ones(n)])
        solved = np.linalg.solve(design[rest].T @ design[rest] + penalty, design[rest].T @ values[rest])
        found[i] = design[i] @ solved
    return found


def test_probe_of_values_against_refitting() -> None:
    features, _ = drawn(40, 6, 2)
    values = features @ np.ones((6, 1)) + np.random.default_rng(0).normal(size=(40, 1))
    z, y = (features - features.mean(axis=0)) / features.std(axis=0), (values - values.mean()) / values.std()
    errors = [float(((refitted(z, y, strength) - y) ** 2).mean()) for strength in probe.STRENGTHS]
    wanted = -np.log(2 * np.pi * np.e * min(errors)) / 2
    assert valued(probe.Probe(), features, values) == pytest.approx(wanted, abs=1e-9)
    assert valued(probe.Probe(), 30 * features + 7, 5 * values - 2) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("d", [6, 60])
def test_probe_of_classes_against_refitting(d: int) -> None:
    features, labels = drawn(40, d, 3, apart=0.4)
    z, y = (features - features.mean(axis=0)) / features.std(axis=0), np.eye(3)[labels]
    tried = [refitted(z, y, strength) for strength in probe.STRENGTHS]
    best = min(tried, key=lambda one: float(((one - y) ** 2).sum()))
    prior = np.stack([(np.delete(y, i, axis=0).sum(axis=0) + 1) / 42 for i in range(40)])

    def lost(exponent: float) -> float:
        return -float(
            log_softmax(np.exp(exponent) * (best - prior) + np.log(prior), axis=1)[np.arange(40), labels].mean()
        )

    wanted = -minimize_scalar(lost, bounds=(-6, 6), method="bounded", options={"xatol": 1e-9}).fun
    assert valued(probe.Probe(), features, labels) == pytest.approx(wanted, abs=1e-7)


def test_probe_of_features_that_say_nothing_is_about_minus_the_entropy() -> None:
    labels = np.arange(90) % 3
    # 29 of the 89 others are of the same class, one added to each.
    assert valued(probe.Probe(), np.ones((90, 4)), labels) == pytest.approx(np.log(30 / 92), abs=1e-4)
    noise = np.random.default_rng(0).normal(size=(90, 200))
    assert valued(probe.Probe(), noise, labels) == pytest.approx(-np.log(3), abs=0.05)


def test_probe_keeps_the_largest_directions() -> None:
    features, labels = drawn(60, 9, 3)
    z = (features - features.mean(axis=0)) / features.std(axis=0)
    first = valued(probe.Probe(dimensions=2), features, labels)
    rotated = unit_coordinates(z)[:, :2]
    found = probe.left_out(spectrum(rotated, centre=True), np.eye(3)[labels])
    prior = (np.bincount(labels) - np.eye(3)[labels] + 1) / 62
    assert first == pytest.approx(log_likelihood(found - prior, np.log(prior), labels), abs=1e-9)


def test_probe_needs_two_examples() -> None:
    with pytest.raises(DataError, match=r"needs 2 at least, got 1; give it more\.$"):
        valued(probe.Probe(), np.ones((1, 4)), [0])


@pytest.mark.parametrize("case", ["well", "dead", "nearly dependent"])
def test_tall_features_have_the_same_spectrum(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    features = np.maximum(draw.normal(size=(900, 300)), 0) + 1
    if case == "dead":
        features[:, 40:60] = 0
    if case == "nearly dependent":
        features[:, 1] = features[:, 0] + 1e-9 * draw.normal(size=900)
    found = spectrum(features, centre=True)
    assert (spectra._through_gram(features - features.mean(axis=0)) is None) == (case == "nearly dependent")
    monkeypatch.setattr(spectra, "_WIDE", 10_000)
    wanted = spectrum(features, centre=True)
    assert len(found.values) == (280 if case == "dead" else 300)
    np.testing.assert_allclose(found.values, wanted.values, rtol=1e-8)
    target = np.sign(draw.normal(size=900))
    np.testing.assert_allclose((found.left.T @ target) ** 2, (wanted.left.T @ target) ** 2, atol=1e-7)
    np.testing.assert_allclose(found.left.T @ found.left, np.eye(len(found.values)), atol=1e-8)
