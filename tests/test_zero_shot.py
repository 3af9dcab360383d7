"""Zero-shot on embeddings made by hand: cosines over a temperature, no label read, every description refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from sterna import folder
from sterna.contracts import Examples, Given
from sterna.errors import SpecError
from sterna.shallow.zero_shot import ZeroShot

SAID: list[str] = []


def describe(texts: Sequence[str]) -> np.ndarray:
    """A text is embedded as how often it holds each vowel."""
    SAID[:] = texts
    return np.array([[text.count(vowel) + 0.1 for vowel in "aeiou"] for text in texts], np.float32)


def given(classes: tuple[str, ...] = ("banana", "elephant", "kiwi"), n: int = 40, **changed: Any) -> Given:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, len(classes), n)
    features = generator.random((n, 5)).astype(np.float32)
    examples = Examples(features, labels, np.ones(n, np.float32))
    return replace(Given(examples, examples, classes, "classify", 0, describe=describe), **changed)


def test_logits_are_cosines_over_the_temperature() -> None:
    made = given()
    features = made.target.inputs / np.linalg.norm(made.target.inputs, axis=1, keepdims=True)
    made = replace(made, target=replace(made.target, inputs=features))
    head = ZeroShot(template="{}", temperature=0.1, centred=False).fit(made)
    wanted = cosine_similarity(features, describe(made.classes)) / 0.1
    np.testing.assert_allclose(features @ head.weight.T + head.bias, wanted, atol=1e-4)


def test_longer_features_are_no_surer() -> None:
    made = given()
    long = replace(made, target=replace(made.target, inputs=made.target.inputs * 8))
    one, eight = (ZeroShot().fit(each) for each in (made, long))
    np.testing.assert_allclose(eight.weight * 8, one.weight, rtol=1e-5)
    np.testing.assert_allclose(eight.bias, one.bias, rtol=1e-5)


def test_centred_no_class_is_favoured_by_all_texts() -> None:
    made = given()
    head = ZeroShot().fit(made)
    np.testing.assert_allclose((made.target.inputs @ head.weight.T + head.bias).mean(axis=0), 0, atol=1e-5)


def test_no_label_and_no_weight_is_read() -> None:
    made = given()
    generator = np.random.default_rng(1)
    shuffled = replace(
        made, target=Examples(made.target.inputs, generator.permutation(made.target.labels), generator.random(40))
    )
    without = replace(made, target=replace(made.target, labels=made.target.labels[:0]), validation=given(n=1).target)
    heads = [ZeroShot().fit(each) for each in (made, shuffled, without)]
    assert len({head.weight.tobytes() + head.bias.tobytes() for head in heads}) == 1


def test_names_and_descriptions_go_into_the_template(tmp_path: Path) -> None:
    ZeroShot().fit(given(("a_dog", "cat")))
    assert SAID == ["This text is cat."]
    (written,) = folder.resolve("shallow", "zero_shot(template='{}!', descriptions='b: two: of them ; a: one')")
    assert written.described(("a", "b")) == {"a": ("one",), "b": ("two: of them",)}
    written.fit(given(("a", "b")))
    assert SAID == ["two: of them!"]
    place = tmp_path / "said.json"
    place.write_text(json.dumps({"a": "one", "b": ["two", "ooo"]}))
    head = ZeroShot(template="{}", descriptions=str(place), centred=False, temperature=1.0).fit(given(("a", "b")))
    assert SAID == ["two", "ooo"]
    both = describe(["two", "ooo"]).astype(np.float64)
    mean = (both / np.linalg.norm(both, axis=1, keepdims=True)).mean(axis=0)
    cosine = head.weight[1] @ mean / np.linalg.norm(head.weight[1]) / np.linalg.norm(mean)
    assert cosine == pytest.approx(1)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("a: one; b", "each class once, got 'b'"),
        ("a: one; a: two", "each class once, got 'a: two'"),
        ("a: one; b:", "each class once, got 'b:'"),
        ("a: one; bb: two", "name 'bb', which is no class"),
        ("a: one", "got nothing for b"),
        ("none.json", "there is no file none.json"),
    ],
)
def test_descriptions_that_do_not_fit(written: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ZeroShot(descriptions=written).fit(given(("a", "b")))


@pytest.mark.parametrize(
    ("data", "message"),
    [("{", "cannot be read as JSON"), ("[1]", "must hold"), ('{"a": 1}', "must hold"), ('{"a": []}', "must hold")],
)
def test_files_of_descriptions_that_do_not_fit(tmp_path: Path, data: str, message: str) -> None:
    (tmp_path / "d.json").write_text(data)
    with pytest.raises(SpecError, match=message):
        ZeroShot(descriptions=str(tmp_path / "d.json")).fit(given(("a", "b")))


def test_an_encoder_that_embeds_no_text_is_refused() -> None:
    with pytest.raises(SpecError, match="needs an encoder that takes class names into the space of its features"):
        ZeroShot().fit(given(describe=None))


def test_a_template_without_a_place() -> None:
    with pytest.raises(SpecError, match=r"template of zero_shot must hold \{\}"):
        ZeroShot(template="nothing").fit(given())
