"""The model card: read by the hub's own library, and safe whatever the data call their classes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

import sterna
from sterna.card import Shipped, card
from sterna.result import Result
from sterna.store import Store

WICKED = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A table with a source and a class name that is markup, fitted at two seeds."""
    place = tmp_path_factory.mktemp("card")
    made = np.random.default_rng(0)
    for name in ("target", "source"):
        with (place / f"{name}.csv").open("w", newline="", encoding="utf-8") as text:
            writer = csv.writer(text)
            writer.writerow(["width", "height|cm", "kind"])
            for _ in range(80):
                label = int(made.integers(2))
                writer.writerow([*np.round(made.normal(size=2) + 1.5 * label, 3), ["plain", WICKED][label]])
    found = sterna.fit(
        place / "target.csv",
        source=place / "source.csv",
        out=place / "run",
        settings="seeds=2, page=false",
        store=Store(place / "store"),
    )
    return found, place / "run" / "model" / "README.md"


def test_the_hub_reads_the_card(run: tuple[Result, Path]) -> None:
    result, place = run
    loaded = ModelCard.load(place)
    data = loaded.data
    assert (data.library_name, data.pipeline_tag) == ("sklearn", "tabular-classification")
    assert "transfer-learning" in data.tags
    assert data.base_model is None
    figures = {one.metric_type: one for one in data.eval_results}
    shipped = [one for one in result.routes if one.name == result.shipped]
    assert figures["accuracy"].metric_value == pytest.approx(
        np.mean([one.metrics["accuracy"].value for one in shipped])
    )
    assert figures["accuracy"].dataset_name == "target.csv"
    assert figures["accuracy"].dataset_split == "test"
    assert set(data.metrics) == set(figures) == set(shipped[0].metrics)


def test_a_person_finds_what_is_needed(run: tuple[Result, Path]) -> None:
    result, place = run
    text = ModelCard.load(place).text
    heads = [line for line in text.splitlines() if line.startswith("#")]
    assert heads[1:] == ["## How to use it", "## How good it is", "## Limits", "## How it was made"]
    assert heads[0].endswith("on target.csv")
    assert "Columns: width, height\\|cm." in text
    assert "    sterna predict PATH_OF_THIS_FOLDER FILES" in text
    assert result.verdict.sentence in text
    assert f"digest of the data: {result.data['digest']}" in text
    assert "means over 2 seeds" in text
    assert result.warnings
    assert "Said on the way:" in text
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


@pytest.mark.parametrize(
    ("reference", "base"),
    [
        ("timm:resnet50.a1_in1k", "timm/resnet50.a1_in1k"),
        ("hf:google-bert/bert-base-uncased", "google-bert/bert-base-uncased"),
        ("sentence:all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("hf:/models/mine", None),
        ("local:models/mine", None),
        ("builtin:glyphs", None),
    ],
)
def test_weights_of_the_hub_are_named(run: tuple[Result, Path], reference: str, base: str | None) -> None:
    data = ModelCard(card(Shipped(reference, "transformers", "open", "text", license="Apache-2.0"), run[0])).data
    assert (data.base_model, data.license) == (base, "apache-2.0")
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("regress", "Predicts plain, "),
        ("multilabel", "Says which of 2 labels an item has"),
        ("tag", "Gives each word one of 2 tags"),
    ],
)
def test_each_task_says_what_it_answers(run: tuple[Result, Path], task: str, said: str) -> None:
    data = {**run[0].data, "classes": ["plain", WICKED]}
    made = ModelCard(card(Shipped("", "scikit-learn", "open", "row"), replace(run[0], task=task, data=data)))
    assert said in made.text
    assert made.data.pipeline_tag == ("tabular-regression" if task == "regress" else None)
