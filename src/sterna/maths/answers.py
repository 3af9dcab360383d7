"""Logits to probabilities, and what every answer must be before it is measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sterna.errors import DataError, TrainingError

_SMALLEST = np.finfo(np.float64).eps  # probabilities are clipped here before the logarithm, as in scikit-learn


def softmax(logits: np.ndarray) -> np.ndarray:
    """(n, k) float64 probabilities that sum to 1 in each row."""
    shifted = np.asarray(logits, dtype=np.float64)
    powers = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """(n, k) float64 probabilities, each its own."""
    logits = np.asarray(logits, dtype=np.float64)
    powers = np.exp(-np.abs(logits))  # at most 1, so nothing overflows
    return np.where(logits >= 0, 1, powers) / (1 + powers)


def outside(tags: Sequence[str]) -> np.ndarray:
    """(k,) what is answered for a word that was never looked at: a little more for «no entity» than for each tag."""
    found = np.ones(len(tags))
    found[tags.index("O") if "O" in tags else 0] += 1
    return found / found.sum()  # type: ignore[no-any-return]


def surprise(probabilities: np.ndarray) -> np.ndarray:
    """-ln p in nats, finite for p = 0."""
    return -np.log(np.clip(probabilities, _SMALLEST, 1.0))  # type: ignore[no-any-return]


def checked(answers: np.ndarray, rows: int, columns: int, what: str = "probabilities") -> np.ndarray:
    """Answers as (rows, columns) float64.

    Raises:
        DataError: no example.
        TrainingError: answers that are not finite, as a diverged network gives them.
        ValueError: another shape.
    """
    if rows == 0:
        raise DataError("there is no held-out example to score, at least one is needed: give more labelled examples.")
    answers = np.asarray(answers, dtype=np.float64)
    if answers.shape != (rows, columns):
        raise ValueError(f"{what} must be ({rows}, {columns}), got {answers.shape}")
    if not np.isfinite(answers).all():
        bad = int((~np.isfinite(answers)).any(axis=1).sum())
        raise TrainingError(
            f"the predicted {what} must be finite, got {bad} examples of {rows} where they are not: "
            "training diverged, try a smaller learning rate."
        )
    return answers


def checked_shares(probabilities: np.ndarray, labels: np.ndarray, columns: int) -> np.ndarray:
    """As `checked`, for one class number a row: each row of probabilities must sum to 1.

    Raises `ValueError` also for labels out of range.
    """
    probabilities = checked(probabilities, len(labels), columns)
    if labels.min() < 0 or labels.max() >= columns:
        raise ValueError(f"labels must be in [0, {columns}), got {labels.min()} to {labels.max()}")
    if probabilities.min() < 0 or probabilities.max() > 1 + 1e-4 or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-4:
        raise ValueError("probabilities must be in [0, 1] and each row must sum to 1")
    return probabilities
