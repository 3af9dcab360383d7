"""How much of a source is used: known scores, the moons on which pooling loses half of everything, and limits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_moons
from sklearn.svm import SVC

from sterna import gate
from sterna.errors import DataError

TARGET, LABELS = make_moons(600, noise=0.1, random_state=0)
SOURCE, KNOWN = make_moons(300, noise=0.1, random_state=1)


def turned(degrees):
    angle = np.deg2rad(degrees)
    return SOURCE @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).T


SOURCES = {
    "same": (SOURCE, KNOWN),
    "turned": (turned(90), KNOWN),
    "upside down": (turned(180), KNOWN),
    "flipped": (SOURCE, 1 - KNOWN),
}


def machine(features, labels, weights, judged, known):
    """A support vector machine; the score is a log likelihood made of the distance from its boundary."""
    model = SVC(C=10).fit(features, labels, sample_weight=weights)
    return -np.logaddexp(0, -2 * (2 * known - 1) * model.decision_function(judged))


def split(seed, count):
    draw = np.random.default_rng(seed)
    learn = np.concatenate([draw.permutation(np.flatnonzero(one == LABELS))[: count // 2] for one in (0, 1)])
    return learn, np.setdiff1d(np.arange(len(LABELS)), learn)


def gain(learn, test, source, each):
    """Accuracy with the source at a weight, minus that without."""
    alone = SVC(C=10).fit(TARGET[learn], LABELS[learn]).score(TARGET[test], LABELS[test])
    if each == 0:
        return 0.0
    both = np.concatenate([TARGET[learn], source[0]]), np.concatenate([LABELS[learn], source[1]])
    weights = np.concatenate([np.ones(len(learn)), np.full(len(source[0]), each)])
    return SVC(C=10).fit(*both, sample_weight=weights).score(TARGET[test], LABELS[test]) - alone


def test_sources_that_pooling_loses_by_do_little_harm():
    gated, pooled, same = {}, {}, []
    for seed in range(12):
        learn, test = split(seed, 10)
        for name, source in SOURCES.items():
            chosen = gate.on_features(TARGET[learn], LABELS[learn], *source, head=machine, seed=seed)
            gated.setdefault(name, []).append(gain(learn, test, source, chosen.each))
            pooled.setdefault(name, []).append(gain(learn, test, source, 10 / len(KNOWN)))
            same += [chosen.weight] if name == "same" else []
    assert min(map(np.mean, gated.values())) > -0.04
    assert np.mean(pooled["flipped"]) < -0.3
    assert np.mean(pooled["upside down"]) < -0.05
    assert np.mean(gated["same"]) > 0.03
    assert max(same) == 1.0


def test_flipped_labels_stay_out_and_the_same_domain_comes_in():
    learn, _ = split(0, 20)
    flipped = gate.on_features(TARGET[learn], LABELS[learn], SOURCE, 1 - KNOWN)
    assert flipped.weight == flipped.each == 0
    assert flipped.sentence.startswith("The source stays out: with it, the mean score on 20 left-out target examples")
    digits = load_digits()
    target, source = np.arange(0, 30), np.arange(500, 900)
    same = gate.on_features(
        digits.data[target], digits.target[target], digits.data[source], digits.target[source], seed=3
    )
    assert same.weight > 0
    assert same.each == same.weight * 30 / 400
    assert "The source is used at weight" in same.sentence


# Rows: weights 0, 0.1, 0.3, 1; columns: examples.
FAR = np.array([[0.0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1.2], [1, 1, 1, 1, 1, 1.2], [3, 3, 3, 3, 3, 3.1]])


@pytest.mark.parametrize(
    ("scores", "errors", "weight"),
    [
        (FAR, 1.64, 1.0),
        (FAR[:, ::-1], 1.64, 1.0),
        (-FAR, 1.64, 0.0),
        (np.zeros((4, 6)), 0.0, 0.0),  # ties go to less source
        (FAR[[0, 1, 2, 1]], 1.64, 0.1),
        # The mean difference is 1, the deviation sqrt((5^2 + 5 x 1^2) / 5) and the standard error sqrt(6) / sqrt(6).
        (np.array([[0.0] * 6, [6, 0, 0, 0, 0, 0]]), 0.99, 0.1),
        (np.array([[0.0] * 6, [6, 0, 0, 0, 0, 0]]), 1.01, 0.0),
    ],
)
def test_the_smallest_weight_within_some_standard_errors_of_the_best(scores, errors, weight):
    weights = gate.WEIGHTS[: len(scores)]

    def known(weight, learn, judge):
        assert set(learn) == set(range(6)) - set(judge)
        return scores[weights.index(weight)][judge]

    chosen = gate.choose(known, np.array([0, 1, 0, 1, 0, 1]), weights, errors=errors, each=0.5)
    assert chosen.weight == weight
    assert chosen.each == weight / 2
    assert np.array(chosen.scores) == pytest.approx(np.stack([weights, scores.mean(axis=1)], axis=1))
    if errors == 1.01:
        assert chosen.sentence.endswith("is 0.000 without it and at best 1.000 with it, which can be chance.")


def test_each_weight_is_judged_by_its_best_variant():
    def known(weight, learn, judge):
        return np.tile([0.0, 5.0] if weight else [4.0, 1.0], (len(judge), 1))

    chosen = gate.choose(known, np.arange(6) % 2, (0, 1))
    assert chosen.scores == ((0.0, 4.0), (1.0, 5.0))
    assert chosen.weight == 1


@pytest.mark.parametrize("labels", [np.arange(60) % 3, np.arange(60), np.ones((60, 2)), np.linspace(0, 1, 60)[:, None]])
def test_every_example_is_judged_as_often_as_any_other(labels):
    divided = gate.divisions(labels, 0)
    assert len(divided) == gate.REPEATS * 5
    assert np.bincount(np.concatenate([judge for _, judge in divided])).tolist() == [gate.REPEATS] * 60
    for learn, judge in divided:
        assert np.array_equal(np.union1d(learn, judge), np.arange(60))
        assert not np.intersect1d(learn, judge).size
    again, other = gate.divisions(labels, 0), gate.divisions(labels, 1)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(divided, again, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(divided, other, strict=True))
    assert len(gate.divisions(np.concatenate([labels] * 5), 0)) == 5
    assert [judge.tolist() for _, judge in gate.divisions(labels[:7], 0)] == [[one] for one in range(7)]


def test_numbers_have_a_gate_too():
    draw = np.random.default_rng(0)
    features, true = draw.normal(size=(400, 10)), draw.normal(size=(10, 2))
    values = features @ true + draw.normal(size=(400, 2))
    helped = gate.on_features(features[:15], values[:15], features[15:], values[15:])
    against = gate.on_features(features[:15], values[:15], features[15:], -values[15:])
    assert helped.weight > 0
    assert against.weight == 0


def test_a_large_source_is_read_in_part_at_the_same_weight():
    digits = load_digits()
    target, source = np.arange(40), np.tile(np.arange(400, 1200), 4)
    given = digits.data[target], digits.target[target], digits.data[source], digits.target[source]

    def looked(features, labels, weights, judged, known):
        shares.append((len(weights), weights[39:].sum() / 39))
        return np.zeros(len(known))

    shares = []
    gate.on_features(*given, head=looked, weights=(0, 0.3))
    assert shares[0] == (39, 0)
    assert shares[-1][0] == 39 + gate.MOST
    assert shares[-1][1] == pytest.approx(0.3)


def test_few_source_examples_count_for_no_more_than_target_ones():
    def looked(features, labels, weights, judged, known):
        largest.append(weights.max())
        return weights.sum() * np.ones(len(known))

    largest = []
    learn, _ = split(0, 20)
    chosen = gate.on_features(TARGET[learn], LABELS[learn], SOURCE[:4], KNOWN[:4], head=looked)
    assert max(largest) == 1
    assert chosen.weight == chosen.each == 1


def test_what_cannot_be_judged_is_said():
    few = gate.on_features(TARGET[:4], LABELS[:4], SOURCE, KNOWN)
    assert few.weight == 0
    assert few.sentence == "The source stays out: the gate needs 5 labelled target examples to judge it by, got 4."
    with pytest.raises(DataError, match="needs source examples to weigh, got none; leave --source out"):
        gate.on_features(TARGET, LABELS, SOURCE[:0], KNOWN[:0])
    with pytest.raises(ValueError, match="with 0 among them"):
        gate.choose(lambda *given: np.zeros(1), LABELS, (0.1, 1))


def test_the_same_seed_gives_the_same_bits():
    digits = load_digits()
    given = digits.data[:60], digits.target[:60], digits.data[300:450], digits.target[300:450]
    assert gate.on_features(*given, seed=5) == gate.on_features(*given, seed=5)
