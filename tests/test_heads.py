"""A head fitted alone: each kind of label against scikit-learn or the same examples laid out flat."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from sterna import heads, sequences
from sterna.maths import logistic
from sterna.maths.folds import folds
from sterna.records import Batch


class Features:
    """A feed at the last cut: features of items."""

    views, lengths, words = 0, None, None

    def __init__(self, features, labels, weights=None):
        self.features, self.labels = features, labels
        self.weights = np.ones(len(labels), dtype=np.float32) if weights is None else weights

    def __len__(self):
        return len(self.labels)

    def batches(self, order, size, epoch, mixed=True):
        for start in range(0, len(order), size):
            part = order[start : start + size]
            inputs = torch.from_numpy(self.features[part])
            yield Batch(inputs, torch.from_numpy(self.labels[part]), torch.from_numpy(self.weights[part]))


class Words:
    """A feed of sentences with features for each word; a sentence may be cut off before its last words."""

    views, lengths = 0, None

    def __init__(self, features, labels, weights):
        self.features, self.labels, self.weights = features, labels, weights
        self.words = np.array([len(one) for one in labels])

    def __len__(self):
        return len(self.features)

    def batches(self, order, size, epoch, mixed=True):
        for start in range(0, len(order), size):
            part = order[start : start + size]
            packed = [np.hstack([self.features[one], np.full((len(self.features[one]), 1), 2.0)]) for one in part]
            labels = sequences.padded([self.labels[one][:, None] + 1 for one in part])[..., 0]
            inputs = torch.from_numpy(sequences.padded(packed)).float()
            mask = torch.from_numpy(labels > 0)
            weights = torch.from_numpy(self.weights[part])
            yield Batch(inputs, torch.from_numpy(labels - 1).clamp_min(0), weights, mask)


@pytest.fixture
def numbers():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(90, 5)).astype(np.float32) * [1, 10, 0.1, 1, 1]
    return features.astype(np.float32), features @ generator.normal(size=(5, 2)) + generator.normal(size=(90, 2))


def test_numbers_are_ridge_regression_on_standardised_features(numbers):
    features, values = numbers
    weights = np.linspace(0.5, 2, 60).astype(np.float32)
    found = heads.solve(
        "regress", Features(features[:60], values[:60], weights), Features(features[60:], values[60:]), 2
    )
    centre, scale = features[:60].mean(axis=0), features[:60].std(axis=0)
    losses = []
    for penalty in heads.RIDGE:
        model = Ridge(alpha=penalty).fit((features[:60] - centre) / scale, values[:60], sample_weight=weights)
        answers = model.predict((features[60:] - centre) / scale)
        losses.append(((answers - values[60:]) ** 2).mean())
        if losses[-1] == min(losses):
            best = answers
    assert found.loss == pytest.approx(min(losses), rel=1e-4)
    assert features[60:] @ found.head.weight.T + found.head.bias == pytest.approx(best, rel=1e-3, abs=1e-3)


def test_a_flat_feature_tells_nothing(numbers):
    features, values = numbers
    features[:, 2] = 7.0
    found = heads.solve("regress", Features(features[:60], values[:60]), Features(features[60:], values[60:]), 2)
    assert not found.head.weight[:, 2].any()


def test_several_labels_are_one_regression_each(numbers):
    features, values = numbers
    labels = (values > 0).astype(np.uint8)
    found = heads.solve("multilabel", Features(features[:60], labels[:60]), Features(features[60:], labels[60:]), 2)
    for column in range(2):
        alone = heads.solve(
            "classify",
            Features(features[:60], labels[:60, column].astype(np.int64)),
            Features(features[60:], labels[60:, column].astype(np.int64)),
            2,
        )
        both = features[60:] @ alone.head.weight.T + alone.head.bias
        one = features[60:] @ found.head.weight[column] + found.head.bias[column]
        assert one == pytest.approx(both[:, 1] - both[:, 0], abs=1e-8)


def test_tags_are_a_regression_on_all_words_that_were_looked_at():
    generator = np.random.default_rng(1)
    counts = generator.integers(1, 6, size=40)
    labels = [generator.integers(0, 3, size=count) for count in counts]
    labels[3] = np.concatenate([labels[3], [1, 1]])  # two words more than there are features for
    features = [
        generator.normal(size=(count, 4)).astype(np.float32) + one[:count, None]
        for count, one in zip(counts, labels, strict=True)
    ]
    weights = generator.uniform(0.5, 2, size=40).astype(np.float32)
    tagged = np.empty(40, dtype=object)
    tagged[:] = labels
    parts = [Words(features[a:b], tagged[a:b], weights[a:b]) for a, b in ((0, 30), (30, 40))]
    found = heads.solve("tag", *parts, 3)

    flat = [np.concatenate(features[:30]), np.concatenate(features[30:])]
    known = [
        np.concatenate([one[:count] for one, count in zip(labels[a:b], counts[a:b], strict=True)])
        for a, b in ((0, 30), (30, 40))
    ]
    path = logistic.fit_path(lambda size: iter([flat[0]]), known[0], np.repeat(weights[:30], counts[:30]), 3)
    wanted = logistic.choose(path, lambda size: iter([flat[1]]), known[1])
    assert found.head.weight == pytest.approx(wanted.fit.weight, abs=1e-4)
    assert found.loss == pytest.approx(min(loss for _, loss in wanted.losses), abs=1e-6)


def test_what_does_not_fit_in_memory_is_read_at_every_pass(numbers, monkeypatch):
    features, values = numbers
    labels = (values[:, 0] > 0).astype(np.int64)
    parts = Features(features[:60], labels[:60]), Features(features[60:], labels[60:])
    held = heads.solve("classify", *parts, 2)
    monkeypatch.setattr(heads, "MEMORY", 100)
    streamed = heads.solve("classify", *parts, 2)
    assert streamed.head.weight == pytest.approx(held.head.weight, abs=1e-5)


def test_few_validation_examples_do_not_choose_the_penalty_alone():
    """The training examples count as well, each judged by a fit without its fold; here by plain loops."""
    generator = np.random.default_rng(3)
    labels = np.arange(30) % 2
    features = (generator.normal(size=(30, 4)) + 1.5 * labels[:, None]).astype(np.float32)
    training, validation = Features(features[:24], labels[:24]), Features(features[24:], 1 - labels[24:])
    found = heads.solve("classify", training, validation, 2, seed=5)
    losses = np.zeros(len(logistic.GRID))
    parts = [*folds(labels[:24], np.ones(24), "classify", 5), (np.arange(24), np.arange(24, 30))]
    known = np.concatenate([labels[:24], 1 - labels[24:]])
    for learn, judge in parts:
        path = logistic.fit_path(lambda size, rows=learn: iter([features[rows]]), labels[learn], np.ones(len(learn)), 2)
        for place, fit in enumerate(path):
            logits = features[judge] @ fit.weight.T + fit.bias
            chosen = logits[np.arange(len(judge)), known[judge]]
            losses[place] += (np.logaddexp.reduce(logits, axis=1) - chosen).sum()
    assert found.penalties == (logistic.GRID[losses.argmin()],)
    # Six mislabelled validation examples alone would have chosen the strongest penalty there is.
    assert heads.solve("tag", training, validation, 2).penalties < found.penalties
    again = heads.solve("classify", training, validation, 2, settled=found.penalties)
    assert again.head.weight == pytest.approx(found.head.weight, abs=1e-4)


def test_a_settled_head_needs_no_validation_part(numbers):
    features, values = numbers
    empty = Features(features[:0], values[:0])
    (penalty,) = heads.solve("regress", Features(features, values), Features(features, values), 2).penalties
    settled = heads.solve("regress", Features(features, values), empty, 2, settled=(penalty,))
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    model = Ridge(alpha=penalty).fit(scaled, values)
    answers = features @ settled.head.weight.T + settled.head.bias
    assert answers == pytest.approx(model.predict(scaled), abs=1e-4)


def test_without_a_validation_part_training_examples_choose_each_judged_without_itself(numbers):
    """For classes and for numbers: the penalty with the least loss over the folds, fitted to all examples."""
    features, values = numbers
    noisy = values[:, 0] + 10 * np.random.default_rng(1).normal(size=90)
    classes = np.digitize(noisy, np.quantile(noisy, [1 / 3, 2 / 3]))
    found = heads.solve("classify", Features(features, classes), Features(features[:0], classes[:0]), 3, seed=3)
    losses = np.zeros(len(logistic.GRID))
    for learn, judge in folds(classes, np.ones(90), "classify", 3):
        for place, penalty in enumerate(logistic.GRID):
            centre, scale = features[learn].mean(axis=0), features[learn].std(axis=0)
            model = LogisticRegression(C=penalty, tol=1e-8, max_iter=5000)
            model.fit((features[learn] - centre) / scale, classes[learn])
            answers = model.predict_proba((features[judge] - centre) / scale)
            losses[place] -= np.log(answers[np.arange(len(judge)), classes[judge]]).sum()
    assert found.penalties == (logistic.GRID[int(losses.argmin())],)
    assert found.loss == pytest.approx(losses.min() / 90, rel=1e-3)
    found = heads.solve("regress", Features(features, values), Features(features[:0], values[:0]), 2, seed=3)
    squares = np.zeros(len(heads.RIDGE))
    for learn, judge in folds(values, np.ones(90), "regress", 3):
        for place, penalty in enumerate(heads.RIDGE):
            centre, scale = features[learn].mean(axis=0), features[learn].std(axis=0)
            model = Ridge(alpha=penalty).fit((features[learn] - centre) / scale, values[learn])
            squares[place] += ((model.predict((features[judge] - centre) / scale) - values[judge]) ** 2).sum()
    assert found.penalties == (heads.RIDGE[int(squares.argmin())],)
    assert found.loss == pytest.approx(squares.min() / values.size, rel=1e-4)
