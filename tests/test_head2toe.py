"""Features of all stages: how they are gathered, which of them tell classes apart, and the head on those."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import convolutional
from PIL import Image
from scipy.optimize import minimize

import sterna
from sterna import gathering, sequences
from sterna.contracts import Examples, Given
from sterna.errors import TrainingError
from sterna.maths import group_lasso
from sterna.maths.answers import softmax
from sterna.shallow.head2toe import Head2Toe


def drawn(seed: int = 0, n: int = 60, d: int = 12, k: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of which the first two tell the classes apart, labels and weights."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % k
    features = generator.normal(size=(n, d))
    features[:, 0] += 2.0 * (labels == 1)
    features[:, 1] -= 1.5 * (labels == 2)
    return (features - features.mean(0)) / features.std(0), labels, generator.uniform(0.5, 1.5, n)


def objective(
    flat: np.ndarray, features: np.ndarray, labels: np.ndarray, weights: np.ndarray, strength: float
) -> float:
    """The objective with lengths rounded off at 1e-8, for a general solver."""
    head = flat.reshape(features.shape[1] + 1, -1)
    answers = softmax(features @ head[:-1] + head[-1])
    loss = -(weights * np.log(answers[np.arange(len(labels)), labels])).sum() / weights.sum()
    return float(loss + strength * np.sqrt((head[:-1] ** 2).sum(axis=1) + 1e-8).sum())


def test_the_solution_is_that_of_a_general_solver() -> None:
    features, labels, weights = drawn(d=5)
    found, pulls = group_lasso.lengths(features, labels, weights, 3, 0.3)
    shares = np.bincount(labels, weights) / weights.sum()
    start = (weights / weights.sum())[:, None] * (shares - np.eye(3)[labels])
    strength = 0.3 * np.linalg.norm(features.T @ start, axis=1).max()
    wanted = minimize(objective, np.zeros(18), (features, labels, weights, strength), tol=1e-10).x.reshape(6, 3)
    lengths = np.linalg.norm(wanted[:-1], axis=1)
    assert 0 < (found > 0).sum() < 5
    np.testing.assert_allclose(found, np.where(lengths > 1e-3, lengths, 0), atol=2e-3)
    # At the optimum the loss falls by lambda along what has weight, and by no more along anything.
    np.testing.assert_allclose(pulls[found > 0], strength, rtol=1e-3)
    assert (pulls <= strength * (1 + 1e-3)).all()


def test_the_fewest_features_come_first_and_all_of_them_last() -> None:
    features, labels, weights = drawn()
    few, _ = group_lasso.lengths(features, labels, weights, 3, 0.7)
    many, _ = group_lasso.lengths(features, labels, weights, 3, 0.01)
    assert set(np.flatnonzero(few)) <= {0, 1}
    assert 0 < (few > 0).sum() < (many > 0).sum()
    assert set(np.argsort(-many)[:2]) == {0, 1}


def test_examples_of_weight_0_say_nothing_and_one_class_asks_for_nothing() -> None:
    features, labels, weights = drawn()
    more = np.concatenate([features, 100 * features[:5]]), np.concatenate([labels, labels[:5] * 0])
    with_zero, _ = group_lasso.lengths(*more, np.concatenate([weights, np.zeros(5)]), 3, 0.2)
    np.testing.assert_allclose(with_zero, group_lasso.lengths(features, labels, weights, 3, 0.2)[0], atol=1e-6)
    assert not group_lasso.lengths(features, labels * 0, weights, 3, 0.2)[0].any()


def given(features: np.ndarray, labels: np.ndarray, held: int) -> Given:
    parts = [
        Examples(features[rows], labels[rows], np.ones(len(labels[rows]), dtype=np.float32))
        for rows in (slice(held, None), slice(0, held))
    ]
    return Given(parts[0], parts[1], ("a", "b", "c"), "classify", 0)


def test_it_keeps_what_tells_the_classes_apart_and_is_settled_by_its_own_choice() -> None:
    features, labels, _ = drawn(n=240, d=200)
    model = Head2Toe().fit(given(features, labels, 90))
    kept = np.flatnonzero(model.weight.any(axis=0))
    assert {0, 1} <= set(kept.tolist())
    assert len(kept) <= 20
    right = model.predict(features[:90]) == labels[:90]
    every = Head2Toe(keep=1.0).fit(given(features, labels, 90)).predict(features[:90]) == labels[:90]
    assert right.mean() > every.mean()
    again = Head2Toe().settled(model)
    same = again.fit(given(features, labels, 90))
    np.testing.assert_allclose(same.weight, model.weight, rtol=1e-4)
    assert again.fit(given(features, labels, 0)).inverse_penalty == model.inverse_penalty  # nothing left to choose


def test_features_that_are_not_finite_are_refused() -> None:
    features, labels, _ = drawn()
    features[-1, 0] = np.inf
    with pytest.raises(TrainingError, match="must be finite"):
        Head2Toe().fit(given(features, labels, 10))


def test_stages_are_pooled_side_by_side() -> None:
    network = convolutional()
    pictures = torch.randn(2, 3, 8, 8)
    whole = gathering.Gathered(list(network.stages.values()), ragged=False).eval()
    value, wanted = pictures, []
    for stage in network.eval().stages.values():
        value = stage(value)
        wanted.append(value.mean(dim=(2, 3)) if value.dim() == 4 else value.flatten(1))
    with torch.no_grad():
        torch.testing.assert_close(whole(pictures), torch.cat(wanted, dim=1))


def test_of_features_that_are_the_same_one_counts() -> None:
    features, labels, _ = drawn(n=240, d=40)
    copies = np.hstack([features, features[:, :2]])
    for keep in (None, 1.0):
        alone = Head2Toe(keep=keep).fit(given(features, labels, 90)).weight.any(axis=0)
        both = Head2Toe(keep=keep).fit(given(copies, labels, 90)).weight.any(axis=0)
        assert alone[:2].all()
        assert (both[:2] ^ both[40:]).all()


def test_packed_sequences_are_pooled_over_their_tokens_alone() -> None:
    packed = sequences.pack(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    assert sequences.pooled(packed, ragged=True).tolist() == [[2.0]]
    assert sequences.pooled(torch.tensor([[[1.0], [3.0]]]), ragged=False).tolist() == [[2.0]]


def test_a_run_ships_it_and_the_model_predicts(tmp_path: Path) -> None:
    """Classes that differ in their texture alone: what the first stages see."""
    generator = np.random.default_rng(0)
    for number in range(16):
        for name, period in (("fine", 2), ("coarse", 8)):
            wave = np.sin(2 * np.pi * (np.arange(32) + generator.uniform(0, period)) / period)
            picture = (128 + 50 * wave[None, :] + generator.normal(0, 20, (32, 32))).clip(0, 255).astype(np.uint8)
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / "photos" / name / f"{number}.png")
    result = sterna.fit(
        tmp_path / "photos", encoder="builtin:glyphs", method="head2toe", out=tmp_path / "run",
        settings="floors=classical, page=false, mitigate=false, test=0.3",
    )  # fmt: skip
    assert result.routes[0].metrics["accuracy"].value >= 0.8
    assert result.shipped == "head2toe"
    found = sterna.predict(tmp_path / "run" / "model", tmp_path / "photos" / "fine")
    assert found.answers.argmax(axis=1).tolist().count(found.classes.index("fine")) >= 14
