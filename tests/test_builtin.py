"""The built-in encoder: small, true to its recipe, open to timm, and worth something on real handwriting."""

from __future__ import annotations

import importlib.util
import re
import string
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from sterna.encoders import builtin
from sterna.errors import EncoderError
from sterna.network import matching_rows
from sterna.records import Encoder

ROOT = Path(__file__).parents[1]
DIGITS = tuple(string.digits)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return builtin.load("glyphs")


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    pytest.importorskip("matplotlib", reason="the recipe renders matplotlib's fonts")
    source = importlib.util.spec_from_file_location("glyphs_recipe", ROOT / "recipes" / "glyphs.py")
    assert source is not None
    assert source.loader is not None
    made = importlib.util.module_from_spec(source)
    sys.modules["glyphs_recipe"] = made  # dataclasses look their module up by name
    source.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    found = load_digits()
    return np.rint(found.images * (255 / 16)).astype(np.uint8), found.target


@pytest.fixture(scope="module")
def prepared(encoder: Encoder, digits: tuple[np.ndarray, np.ndarray]) -> torch.Tensor:
    frames = [encoder.preparation.frame(Image.fromarray(one).convert("RGB")) for one in digits[0]]
    return encoder.preparation.tensor(torch.from_numpy(np.stack(frames)))


@pytest.fixture(scope="module")
def features(encoder: Encoder, prepared: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return encoder.network.eval()(prepared).features


def test_it_is_small_and_safe_to_open() -> None:
    place = builtin.WEIGHTS / "glyphs"
    assert {file.name for file in place.iterdir()} == {"config.json", "model.safetensors"}
    assert sum(file.stat().st_size for file in place.iterdir()) <= 1_000_000


def test_every_letter_and_digit_belongs_to_exactly_one_class(encoder: Encoder) -> None:
    members = [letter for name in encoder.source_classes for letter in name.split(", ")]
    assert sorted(members) == sorted(string.digits + string.ascii_letters)
    assert encoder.network.head.out_features == len(encoder.source_classes) == 47


def test_digits_find_their_rows(encoder: Encoder) -> None:
    assert matching_rows(DIGITS, encoder.source_classes) == {number: number for number in range(10)}


def test_timm_opens_the_folder_and_gives_the_same_logits(encoder: Encoder, prepared: torch.Tensor) -> None:
    model = timm.create_model(f"local-dir:{builtin.WEIGHTS / 'glyphs'}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder.network.eval()(prepared[:64]).logits, model(prepared[:64]))
    assert model.pretrained_cfg["input_size"] == encoder.preparation.size == (1, 32, 32)


def test_it_is_a_chain_of_several_stages_in_whole_precision(encoder: Encoder) -> None:
    assert encoder.network.depth >= 5
    assert {value.dtype for value in encoder.network.parameters()} == {torch.float32}
    assert encoder.reference == "builtin:glyphs"
    assert encoder.pretrained


def test_a_fresh_one_has_the_same_shapes_and_other_weights(encoder: Encoder) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = encoder.fresh().state_dict()
    own = encoder.network.state_dict()
    assert {name: value.shape for name, value in fresh.items()} == {name: value.shape for name, value in own.items()}
    assert not torch.equal(fresh["head.weight"], own["head.weight"])


def test_loading_twice_gives_the_same_digest(encoder: Encoder) -> None:
    assert builtin.load("glyphs").digest == encoder.digest


def test_handwriting_is_read_without_any_training(
    encoder: Encoder, features: torch.Tensor, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    """The head with the reused rows alone; guessing gives 0.10."""
    with torch.random.fork_rng(devices=[]):
        head = encoder.network.with_head(10, matching_rows(DIGITS, encoder.source_classes)).head
    guessed = head(features).argmax(1).numpy()
    assert (guessed == digits[1]).mean() > 0.7


def test_frozen_features_beat_pixels_with_ten_labels_a_class(
    features: torch.Tensor, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    gains = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(digits[1]))
        few = np.concatenate([order[digits[1][order] == one][:10] for one in range(10)])
        rest = np.setdiff1d(order, few)
        found = []
        for inputs in (features.numpy(), digits[0].reshape(len(digits[0]), -1) / 255):
            scaled = StandardScaler().fit(inputs[few]).transform(inputs)
            model = LogisticRegression(C=0.1, max_iter=2000).fit(scaled[few], digits[1][few])
            found.append(model.score(scaled[rest], digits[1][rest]))
        gains.append(found[0] - found[1])
    assert min(gains) > 0.02


def test_training_saw_what_the_preparation_makes(encoder: Encoder, recipe: ModuleType) -> None:
    """Pillow's enlargement of 8 x 8 pixels and the recipe's differ by no more than rounding."""
    low = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    frame = encoder.preparation.frame(Image.fromarray(low).convert("RGB"))
    wide = functional.interpolate(torch.from_numpy(low)[None, None].float(), 32, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(frame[..., 0], wide[0, 0], atol=1)
    assert (encoder.preparation.mean, encoder.preparation.std) == ((recipe.MEAN,), (recipe.STD,))


def test_rendered_glyphs_fill_the_frame_at_their_resolution(recipe: ModuleType) -> None:
    source = recipe.fields(["cmss10"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        picks = torch.arange(len(source.labels))
        coarse, fine = (recipe.render(source, picks, torch.full((len(picks),), side)) for side in (8, 32))
    for made in (coarse, fine):
        assert made.shape == (len(picks), 1, 32, 32)
        assert 0 <= made.min() <= made.max() <= 1
        assert 0.1 < made.mean() < 0.5
    roughness = [float((made[..., 1:] - made[..., :-1]).abs().amax()) for made in (coarse, fine)]
    assert roughness[0] <= 0.26 < roughness[1]  # four steps from one coarse pixel to the next


def test_the_documented_accuracy_is_what_the_committed_weights_give(recipe: ModuleType) -> None:
    """A smaller sample of what `python recipes/glyphs.py --measure` counts, within four standard errors."""
    text = (ROOT / "docs" / "glyphs.md").read_text(encoding="utf-8")
    model = recipe.opened(builtin.WEIGHTS / "glyphs")
    for side in (8, 32):
        stated = float(re.findall(rf"\| {side} px \| (0\.\d+) \|", text)[0])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            value, count = recipe.accuracy(model, recipe.HELD_OUT, side, 2)
        assert value == pytest.approx(stated, abs=4 * np.sqrt(stated * (1 - stated) / count))


def test_the_recipe_gives_the_same_bits_twice(recipe: ModuleType) -> None:
    made = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.SEED)
            model = timm.create_model(recipe.ARCHITECTURE, num_classes=47, **recipe.MODEL)
            made.append(recipe.digest(recipe.train(model, recipe.fields(["cmr10"]), 2)))
    assert made[0] == made[1]


def test_a_name_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(EncoderError, match=r"unknown built-in encoder 'glyph'\. Did you mean 'glyphs'\?"):
        builtin.load("glyph")
