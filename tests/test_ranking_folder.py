"""What every file of `ranking/` promises, for whatever files are there."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sterna.ranking
from sterna import spec
from sterna.contracts import Evidence

NAMES = sorted(path.stem for path in Path(sterna.ranking.__path__[0]).glob("*.py") if not path.stem.startswith("_"))
DRAWN_BY_POSITION = {"nleep"}  # the starts of its mixtures are examples, drawn by place


def method(name: str) -> Any:
    module = importlib.import_module(f"sterna.ranking.{name}")
    (found,) = [one for one in vars(module).values() if spec.is_method(one) and one.__module__ == module.__name__]
    return found()


def blobs(n: int = 150, d: int = 20, k: int = 5, apart: float = 1.5) -> tuple[Evidence, np.ndarray]:
    """Separable classes, and source classes that are theirs with some noise."""
    draw = np.random.default_rng(0)
    labels = np.arange(n) % k
    features = apart * draw.normal(size=(k, d))[labels] + draw.normal(size=(n, d))
    source = 0.6 * np.eye(k + 2)[labels] + 0.4 * draw.dirichlet(np.ones(k + 2), size=n)
    return Evidence(features, source, 3), labels


def answers(labels: np.ndarray) -> np.ndarray:
    """Two values that follow the class."""
    return np.column_stack([labels, labels**2 - 3 * labels]).astype(np.float64)


every = pytest.mark.parametrize("name", NAMES)
regressing = pytest.mark.parametrize("name", [name for name in NAMES if "regress" in method(name).tasks])


def test_the_scores_are_there() -> None:
    wanted = {"logme", "leep", "nce", "nleep", "hscore", "transrate", "gbc", "sfda", "etran", "parc", "knn", "probe"}
    assert wanted <= set(NAMES)
    assert {name for name in NAMES if method(name).needs == "source"} == {"leep", "nce"}
    assert {name for name in NAMES if "regress" in method(name).tasks} == {"logme", "hscore", "knn", "probe"}
    assert all(set(method(name).tasks) <= {"classify", "regress"} for name in NAMES)
    assert set(NAMES) >= DRAWN_BY_POSITION


@every
def test_true_labels_score_higher_than_permuted_ones(name: str) -> None:
    evidence, labels = blobs()
    score, draw = method(name).prepare(evidence), np.random.default_rng(1)
    assert score(labels) > max(score(draw.permutation(labels)) for _ in range(10))


@regressing
def test_true_values_score_higher_than_permuted_ones(name: str) -> None:
    evidence, labels = blobs()
    score, draw = method(name).prepare(evidence), np.random.default_rng(1)
    assert score(answers(labels)) > max(score(answers(draw.permutation(labels))) for _ in range(10))


@every
def test_features_further_apart_score_higher(name: str) -> None:
    found = []
    for apart, noise in ((0.2, 0.9), (1.0, 0.5)):
        evidence, labels = blobs(apart=apart)
        source = (1 - noise) * np.eye(7)[labels] + noise * np.random.default_rng(2).dirichlet(np.ones(7), size=150)
        found.append(method(name).prepare(Evidence(evidence.features, source, 3))(labels))
    assert found[0] < found[1]


@every
def test_the_same_evidence_gives_the_same_bits_and_is_left_alone(name: str) -> None:
    evidence, labels = blobs()
    kept = evidence.features.copy(), np.copy(evidence.source), labels.copy()
    for array in (evidence.features, evidence.source, labels):
        array.flags.writeable = False
    score = method(name).prepare(evidence)
    first = score(labels)
    score(np.random.default_rng(0).permutation(labels))
    assert score(labels) == first == method(name).prepare(evidence)(labels)
    for array, before in zip((evidence.features, evidence.source, labels), kept, strict=True):
        np.testing.assert_array_equal(array, before)


@every
def test_the_order_of_examples_does_not_matter(name: str) -> None:
    evidence, labels = blobs()
    order = np.random.default_rng(4).permutation(len(labels))
    moved = Evidence(evidence.features[order], evidence.source[order], evidence.seed)
    found, again = method(name).prepare(evidence)(labels), method(name).prepare(moved)(labels[order])
    assert again == pytest.approx(found, abs=0.2 if name in DRAWN_BY_POSITION else 1e-9)


@regressing
def test_the_order_of_examples_does_not_matter_for_values(name: str) -> None:
    evidence, labels = blobs()
    order = np.random.default_rng(4).permutation(len(labels))
    moved = Evidence(evidence.features[order], None, evidence.seed)
    found = method(name).prepare(evidence)(answers(labels))
    assert method(name).prepare(moved)(answers(labels)[order]) == pytest.approx(found, abs=1e-9)


@every
def test_the_names_of_classes_do_not_matter(name: str) -> None:
    evidence, labels = blobs()
    score = method(name).prepare(evidence)
    assert score((labels + 2) % 5) == pytest.approx(score(labels), abs=1e-9)


@every
@pytest.mark.parametrize("case", ["single", "all single", "constant", "wide", "narrow", "two"])
def test_small_and_odd_samples_have_a_score(name: str, case: str) -> None:
    evidence, labels = blobs()
    features, source = evidence.features, evidence.source
    rows = {
        "single": np.r_[[0, 1, 2], np.flatnonzero(labels > 2)],
        "all single": np.arange(5),
        "two": np.arange(2),
    }.get(case, np.arange(40))
    features, source, labels = features[rows], source[rows], labels[rows]
    features = {
        "constant": np.ones_like(features),
        "wide": np.random.default_rng(0).normal(size=(len(rows), 300)),
        "narrow": features[:, :1],
    }.get(case, features)
    assert np.isfinite(method(name).prepare(Evidence(features, source, 0))(labels))
