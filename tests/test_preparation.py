"""Preparation: pixel for pixel what timm and torchvision do with the same numbers."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import create_transform

from sterna.errors import EncoderError
from sterna.preparation import ImagePreparation, crop_share, fitted, from_config, to_config
from sterna.records import Augment

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pictures() -> list[Image.Image]:
    """The photographs that come with scikit-learn: lying, upright, square, odd, and smaller than any frame."""
    lying = Image.fromarray(load_sample_images().images[0])
    upright = Image.fromarray(load_sample_images().images[1]).transpose(Image.Transpose.ROTATE_90)
    return [lying, upright, lying.crop((0, 0, 300, 300)), upright.crop((10, 20, 211, 333)), lying.resize((37, 23))]


def both(preparation: ImagePreparation, item: Image.Image) -> torch.Tensor:
    return preparation.tensor(torch.from_numpy(preparation.frame(item)[None]))[0]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest", "lanczos"])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("size", "crop_pct"), [((64, 64), 0.875), ((65, 65), 0.95), ((48, 80), 0.9), ((64, 64), 1.0)])
def test_it_equals_timms_own_transform(
    interpolation: str, crop_mode: str, size: tuple[int, int], crop_pct: float
) -> None:
    config = {"input_size": (3, *size), "interpolation": interpolation, "crop_pct": crop_pct, "crop_mode": crop_mode}
    ours, theirs = from_config(config), create_transform(**config, mean=MEAN, std=STD)
    for item in pictures():
        assert torch.equal(both(ours, item), theirs(item))


@pytest.mark.parametrize("name", ["alexnet", "efficientnet_b0", "convnext_tiny", "mobilenet_v3_large", "swin_t"])
def test_it_equals_torchvisions_own_transform(name: str) -> None:
    for weights in torchvision.models.get_model_weights(name):
        theirs = weights.transforms()
        crop, resize = theirs.crop_size[0], theirs.resize_size[0]
        share = crop_share(crop, resize)
        config = {"input_size": (3, crop, crop), "interpolation": theirs.interpolation.value, "crop_pct": share}
        for item in pictures()[::2]:
            assert torch.equal(both(from_config(config), item), theirs(item))


def test_the_crop_share_gives_back_every_size() -> None:
    for crop in range(16, 600, 7):
        for resize in range(crop, crop + 90):
            assert int(crop / crop_share(crop, resize)) == resize
            assert crop_share(crop, resize) == pytest.approx(crop / resize, rel=1e-12)


def test_fitted_sizes_worked_by_hand() -> None:
    assert fitted(427, 640, (73, 73), "center") == (73, 109)  # 73 * 640 / 427 = 109.4, cut off
    assert fitted(640, 427, (73, 73), "center") == (109, 73)
    assert fitted(427, 640, (73, 50), "squash") == (73, 50)
    assert fitted(100, 400, (50, 50), "border") == (12, 50)  # 12.5 rounds to the even number
    assert fitted(100, 400, (50, 100), "center") == (50, 200)


def test_a_network_of_one_channel_gets_grey() -> None:
    config = {"input_size": (1, 28, 28), "mean": (0.5,), "std": (0.25,), "crop_pct": 1.0, "interpolation": "bilinear"}
    item = pictures()[0]
    frame = from_config(config).frame(item)
    assert frame.shape == (28, 28, 1)
    theirs = create_transform(**config)(item.convert("L"))
    assert torch.equal(both(from_config(config), item), theirs)


def test_frame_and_tensor_have_the_promised_form() -> None:
    preparation = from_config({"input_size": (3, 24, 32)})
    frame = preparation.frame(pictures()[0])
    assert (frame.shape, frame.dtype) == ((24, 32, 3), np.uint8)
    tensor = preparation.tensor(torch.from_numpy(np.stack([frame, frame])))
    assert (tuple(tensor.shape), tensor.dtype) == ((2, 3, 24, 32), torch.float32)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert preparation.size == (3, 24, 32)
    assert preparation.modality == "image"


def test_a_batch_is_normalised_without_changing_the_frames() -> None:
    frames = torch.randint(0, 255, (2, 4, 4, 3), dtype=torch.uint8)
    kept = frames.clone()
    from_config({"input_size": (3, 4, 4)}).tensor(frames)
    assert torch.equal(frames, kept)


class Corner:
    """A crop that takes the top left corner, and says what it was asked for."""

    def __call__(self, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
        assert picture.size == (640, 427)
        return picture.crop((0, 0, size[1], size[0]))


def test_a_crop_takes_the_place_of_framing_and_pixels_follow() -> None:
    preparation, item = from_config({"input_size": (3, 24, 32)}), pictures()[0]
    corner = np.asarray(item)[:24, :32]
    assert np.array_equal(preparation.frame(item, Augment(crop=Corner())), corner)
    inverted = Augment(crop=Corner(), pixels=lambda picture: Image.eval(picture, lambda value: 255 - value))
    assert np.array_equal(preparation.frame(item, inverted), 255 - corner)
    only_pixels = Augment(pixels=inverted.pixels)
    assert np.array_equal(preparation.frame(item, only_pixels), 255 - preparation.frame(item))
    assert np.array_equal(preparation.frame(item, Augment()), preparation.frame(item))


def test_a_config_comes_back_as_it_went() -> None:
    config = {
        "input_size": [1, 24, 32],
        "interpolation": "bilinear",
        "crop_pct": 0.9,
        "crop_mode": "squash",
        "mean": [0.4],
        "std": [0.2],
    }
    preparation = from_config(config)
    assert to_config(preparation) == config
    assert from_config(to_config(preparation)) == preparation


def test_what_a_config_leaves_out_is_as_in_timm() -> None:
    assert to_config(from_config({})) == {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": list(MEAN),
        "std": list(STD),
    }
    assert from_config({"mean": [0.5], "std": [0.5]}).mean == (0.5, 0.5, 0.5)
    assert from_config({"input_size": (1, 8, 8)}).mean == pytest.approx((sum(MEAN) / 3,))


def test_the_repr_tells_apart_whatever_changes_the_output() -> None:
    base = {"input_size": (3, 24, 24)}
    changes = [
        {"input_size": (3, 24, 25)},
        {"input_size": (3, 25, 24)},
        {"input_size": (1, 24, 24)},
        {"interpolation": "bilinear"},
        {"crop_pct": 0.8750001},
        {"crop_mode": "squash"},
        {"mean": (0.485, 0.456, 0.4060001)},
        {"std": (0.229, 0.224, 0.2250001)},
    ]
    assert len({repr(from_config({**base, **change})) for change in [{}, *changes]}) == 1 + len(changes)


def test_it_can_be_sent_to_worker_processes() -> None:
    preparation = from_config({"input_size": (3, 24, 24)})
    assert pickle.loads(pickle.dumps(preparation)) == preparation


@pytest.mark.parametrize("scale", [8, 4, 2])
def test_a_picture_decoded_at_the_hinted_size_is_framed_almost_the_same(scale: int) -> None:
    """JPEG drafts are at least twice the resized picture; frames differ by a level or two of 255 on average."""
    item = pictures()[0].resize((1280, 854), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    item.save(file, "JPEG", quality=95)
    preparation = from_config({"input_size": (3, 448 // scale, 448 // scale)})
    full, draft = Image.open(file), Image.open(io.BytesIO(file.getvalue()))
    draft.draft(None, (preparation.hint, preparation.hint))
    assert min(draft.size) >= 2 * (448 // scale) / 0.875 - 2
    difference = np.abs(preparation.frame(full).astype(float) - preparation.frame(draft).astype(float))
    assert difference.mean() < 2


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"interpolation": "cubic"}, "interpolation in the encoder's config must be one of nearest, .* got 'cubic'"),
        ({"crop_mode": "centre"}, "crop_mode in the encoder's config must be one of center, .* got 'centre'"),
        ({"crop_pct": -1}, "crop_pct in the encoder's config must be above 0, got -1"),
        ({"input_size": (224, 224)}, r"input_size in the encoder's config must be \[channels, height, width\]"),
        ({"input_size": (4, 8, 8)}, "with 1 or 3 channels"),
        ({"input_size": 224}, "got 224"),
        ({"mean": (0.5, 0.5)}, r"mean in the encoder's config must be 3 numbers, got \[0.5, 0.5\]"),
        ({"std": ("a", "b", "c")}, "std in the encoder's config must be 3 numbers"),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused(config: dict[str, object], sentence: str) -> None:
    with pytest.raises(EncoderError, match=sentence):
        from_config(config)
