"""What source examples are worth to a target: hand values, wrong labels found, and what is refused."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import norm, spearmanr
from sklearn.datasets import load_digits

from sterna import valuing
from sterna.errors import DataError, SpecError
from sterna.maths.probing import coordinates, logistic_path, probabilities
from sterna.valuing import Selection

DIGITS = load_digits()


def with_wrong_labels(seed, count=50):
    """Target features and labels, source features, labels of which a tenth are wrong, and which these are."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(DIGITS.target))
    source, target = order[:500], order[500 : 500 + count]
    labels, wrong = DIGITS.target[source].copy(), draw.permutation(500)[:50]
    labels[wrong] = (labels[wrong] + draw.integers(1, 10, 50)) % 10
    return (DIGITS.data[target], DIGITS.target[target], DIGITS.data[source], labels), wrong


def test_wrong_labels_are_the_most_harmful():
    found = []
    for seed in range(4):
        given, wrong = with_wrong_labels(seed)
        worst = np.argsort(valuing.values("gradient", *given, seed=seed))[:50]
        found.append(np.isin(worst, wrong).mean())
    assert np.mean(found) > 0.5  # by chance: 0.1


def test_features_alone_do_not_see_wrong_labels():
    given, wrong = with_wrong_labels(0)
    for method in ("similarity", "importance"):
        worst = np.argsort(valuing.values(method, *given))[:50]
        assert np.isin(worst, wrong).mean() < 0.3


def test_agreement_by_hand():
    head = np.zeros((2, 3))  # p = (1/2, 1/2) everywhere
    target = np.array([[1.0, 2.0]]), np.array([0])
    source = np.array([[3.0, 1.0], [3.0, 1.0], [-1.0, -2.0]]), np.array([0, 1, 0])
    # (p - y)'(p' - y') is 1/2 for equal labels and -1/2 for others; h'h' + 1 is 6 and -4.
    assert valuing.agreement(head, target, source).tolist() == [3.0, -3.0, -2.0]


def test_agreement_is_what_a_step_lowers_the_loss_by():
    draw = np.random.default_rng(0)
    head, far, labels = draw.normal(size=(3, 5)), draw.normal(size=(6, 4)), draw.integers(0, 3, 6)
    near, known = draw.normal(size=(7, 4)), draw.integers(0, 3, 7)
    found = valuing.agreement(head, (near, known), (far, labels))

    def loss(at, features, given):
        return -np.log(probabilities(at, features)[np.arange(len(given)), given]).mean()

    for one in range(6):
        residual = probabilities(head, far[one : one + 1])[0] - np.eye(3)[labels[one]]
        slope = np.outer(residual, np.append(far[one], 1))
        ahead, behind = (loss(head - rate * slope, near, known) for rate in (1e-5, -1e-5))
        assert (behind - ahead) / 2e-5 == pytest.approx(found[one], rel=1e-5)


def test_similarity_is_minus_the_mean_distance_to_the_nearest():
    draw = np.random.default_rng(0)
    target, source = draw.normal(size=(30, 6)), draw.normal(size=(40, 6)) + 1
    away = np.sort(cdist(*reversed(coordinates(target, source))), axis=1)
    assert valuing.similarity(target, source) == pytest.approx(-away[:, :5].mean(axis=1))
    assert valuing.similarity(target[:3], source, 1).shape == (40,)
    assert valuing.similarity(target, target[:1], 1) == pytest.approx(0, abs=1e-7)


def test_importance_is_the_ratio_of_densities():
    draw = np.random.default_rng(0)
    target, source = draw.normal(1, 1, size=(800, 1)), draw.normal(0, 1, size=(800, 1))
    found = valuing.importance(target, source)
    truth = np.minimum(norm.pdf(source[:, 0], 1) / norm.pdf(source[:, 0], 0), valuing.CLIP)
    assert found.mean() == pytest.approx(1)
    assert spearmanr(found, truth)[0] > 0.99
    assert found == pytest.approx(truth / truth.mean(), rel=0.2)
    alike = valuing.importance(target[:400], target[400:])
    assert alike.std() < 0.3


def test_effective_size_by_hand():
    assert valuing.effective_size(np.ones(7)) == pytest.approx(7)
    assert valuing.effective_size(np.array([2.0, 0, 0])) == pytest.approx(1)
    assert valuing.effective_size(np.array([3.0, 1.0])) == pytest.approx(1.6)
    assert valuing.effective_size(np.zeros(3)) == 0


def test_domains_that_hardly_overlap_have_no_importance_weights():
    draw = np.random.default_rng(0)
    far = np.concatenate([draw.normal(9, 1, size=(300, 3)), draw.normal(0, 1, size=(5, 3))])
    with pytest.raises(DataError, match=r"need 30 effective source examples, got \d+ of 305: too few of them look"):
        valuing.importance(draw.normal(0, 1, size=(100, 3)), far)


@pytest.mark.parametrize(
    ("share", "labels", "rows"),
    [
        (0.5, None, [0, 3]),
        (0.3, None, [0, 3]),
        (0.25, None, [3]),
        (1.0, None, [0, 1, 2, 3]),
        (0.01, None, [3]),
        (0.5, [0, 1, 1, 0], [1, 3]),
        (0.5, [0, 1, 2, 2], [0, 1, 3]),
    ],
)
def test_the_best_of_the_source(share, labels, rows):
    given = np.array([1.0, 0.5, 0.5, 2.0])
    assert valuing.best(given, share, None if labels is None else np.array(labels)).tolist() == rows


def test_the_best_half_leaves_wrong_labels_out_and_keeps_all_classes():
    given, wrong = with_wrong_labels(1)
    chosen = valuing.select(valuing.parse("best:0.5"), *given)
    assert np.isin(wrong, chosen.rows).mean() < 0.2
    assert set(given[3][chosen.rows]) == set(range(10))
    assert np.array_equal(chosen.rows, np.unique(chosen.rows))
    assert chosen.sentence.startswith(
        f"{len(chosen.rows)} of 500 source examples are used, the best 50 % of each class"
    )
    assert "by gradient; " in chosen.sentence
    numbers = valuing.select(Selection(0.25, "similarity"), given[0], given[0], given[2], given[2])
    assert numbers.sentence == "125 of 500 source examples are used, the best 25 % by similarity."


def test_the_best_half_teaches_more_than_a_source_half_wrong():
    whole, half = [], []
    for seed in range(4):
        draw = np.random.default_rng(seed)
        order = draw.permutation(len(DIGITS.target))
        target, source, test = order[:100], order[100:600], order[600:]
        labels = DIGITS.target[source].copy()
        labels[:250] = (labels[:250] + draw.integers(1, 10, 250)) % 10
        rows = valuing.best(
            valuing.gradient(DIGITS.data[target], DIGITS.target[target], DIGITS.data[source], labels), 0.5
        )
        near, far, held = coordinates(DIGITS.data[target], DIGITS.data[source], unseen=DIGITS.data[test])
        for kept, found in ((np.arange(500), whole), (rows, half)):
            both = np.concatenate([near, far[kept]]), np.concatenate([DIGITS.target[target], labels[kept]])
            weights = np.concatenate([np.ones(100), np.full(len(kept), 100 / len(kept))])
            head = next(logistic_path(*both, weights, 10, (10.0,)))
            found.append((probabilities(head, held).argmax(axis=1) == DIGITS.target[test]).mean())
    assert np.mean(half) > np.mean(whole) + 0.01


@pytest.mark.parametrize(
    ("text", "selection"),
    [
        ("best:0.5", Selection(0.5, "gradient")),
        (" best:1:importance ", Selection(1.0, "importance")),
        ("best:5e-1:similarity", Selection(0.5, "similarity")),
    ],
)
def test_selections_are_read_and_written(text, selection):
    assert valuing.parse(text) == selection
    assert valuing.parse(str(selection)) == selection


@pytest.mark.parametrize("text", ["best", "best:0", "best:1.5", "best:e", "best:0.5:luck", "worst:0.5", "best:-1", ""])
def test_other_selections_are_refused(text):
    with pytest.raises(SpecError, match=r"share in \(0, 1\] and a method of gradient.*type for example best:0.5"):
        valuing.parse(text)


def test_what_cannot_be_valued_is_refused():
    given, _ = with_wrong_labels(0)
    with pytest.raises(SpecError, match="must be one of gradient, similarity, importance, got 'luck'"):
        valuing.values("luck", *given)
    with pytest.raises(SpecError, match="need classes as labels"):
        valuing.values("gradient", given[0], given[0], given[2], given[2])
    with pytest.raises(DataError, match="got 500 and 0; leave --source-select out"):
        valuing.values("similarity", given[0][:0], given[1][:0], *given[2:])
    with pytest.raises(DataError, match="at least 2 labelled target examples, got 1"):
        valuing.values("gradient", given[0][:1], given[1][:1], *given[2:])


def test_the_same_seed_gives_the_same_bits():
    given, _ = with_wrong_labels(0)
    for method in valuing.METHODS:
        assert np.array_equal(valuing.values(method, *given, seed=3), valuing.values(method, *given, seed=3))
        assert valuing.values(method, *given).dtype == np.float64
