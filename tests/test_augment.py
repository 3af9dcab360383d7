"""Augmentations do what they say, by hand-made pictures and batches whose result is known."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from sterna import augmenting, folder, spec
from sterna.errors import SpecError
from sterna.records import Augment, Batch, Sound

NAMES = tuple(name for name in folder.names("augment") if name != "back_translation")  # that one needs a model


def built(written: str) -> Augment:
    return augmenting.combine([part.build() for part in folder.resolve("augment", written)], written)


def drawn(seed: int, call: Callable[..., Any], *arguments: Any) -> Any:
    """What `call` gives when torch's generator starts at `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return call(*arguments)


def picture(size: tuple[int, int] = (40, 32), mode: str = "RGB") -> Image.Image:
    """Smooth random values, far from both ends of the range."""
    width, height = size
    coarse = np.random.default_rng(0).integers(60, 196, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def flat(value: int, size: int = 32) -> Image.Image:
    return Image.new("RGB", (size, size), (value,) * 3)


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.float64)


def constant_batch(shape: tuple[int, ...] = (3, 8, 8), dtype: torch.dtype = torch.int64) -> Batch:
    """Four examples of four classes; example i holds nothing but the value i, and weighs i + 1."""
    inputs = torch.arange(4.0).reshape(4, *[1] * len(shape)).expand(4, *shape).clone()
    labels = torch.arange(4) if dtype == torch.int64 else torch.eye(4)
    return Batch(inputs, labels, torch.arange(1.0, 5.0))


PLACES = ("crop", "pixels", "mix", "text", "row", "sound")
TEXT = "The quick brown fox jumps over the lazy dog while seventeen small birds watch from a wet wooden fence."


# Every file of the folder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
class TestContract:
    def test_options_round_trip_through_the_grammar(self, name: str) -> None:
        made = folder.load("augment", name)()
        assert folder.resolve("augment", repr(made)) == (made,)
        assert made.build().written == repr(made)

    def test_it_fills_the_places_it_declares_and_no_others(self, name: str) -> None:
        made = folder.load("augment", name)
        parts = made().build()
        filled = {place for place in PLACES if getattr(parts, place) is not None}
        assert filled == set(made.places)

    def test_it_can_be_sent_to_a_worker_and_does_the_same_there(self, name: str) -> None:
        parts = folder.load("augment", name)().build()
        sent = pickle.loads(pickle.dumps(parts))
        assert results(sent, 3) == results(parts, 3)

    def test_same_seed_same_bits_and_size_and_mode_stay(self, name: str) -> None:
        parts = folder.load("augment", name)().build()
        first = results(parts, 5)
        assert first == results(parts, 5)
        for part in (parts.crop, parts.pixels):
            for mode in ("RGB", "L"):
                if part is not None:
                    got = drawn(1, part, picture(mode=mode), *([(24, 20)] if part is parts.crop else []))
                    assert got.mode == mode
                    assert got.size == ((20, 24) if part is parts.crop else (40, 32))

    def test_different_seeds_differ_unless_it_does_nothing(self, name: str) -> None:
        parts = folder.load("augment", name)().build()
        seen = {results(parts, seed) for seed in range(12)}
        assert (len(seen) > 1) == (name != "none")

    def test_it_says_when_not_to_use_it(self, name: str) -> None:
        assert "When not to use" in (folder.module("augment", name).__doc__ or "")


def results(parts: Augment, seed: int) -> bytes:
    """The bytes of all that an augmentation makes of the test picture and batch."""
    made = []
    if parts.crop:
        made.append(drawn(seed, parts.crop, picture(), (24, 20)).tobytes())
    if parts.pixels:
        made.append(drawn(seed, parts.pixels, picture()).tobytes())
    if parts.text:
        made.append(drawn(seed, parts.text, TEXT).encode())
    if parts.row:
        made.append(repr(drawn(seed, parts.row, (0.5, "word", None, -1.0))).encode())
    if parts.sound:
        made.append(
            drawn(seed, parts.sound, Sound(np.linspace(-0.5, 0.5, 800, dtype=np.float32), 8000)).samples.tobytes()
        )
    if parts.mix:
        batch = drawn(seed, parts.mix, constant_batch(), 4)
        made += [value.numpy().tobytes() for value in (batch.inputs, batch.labels, batch.weights)]
    return b"|".join(made)


def test_the_folder_holds_what_the_documentation_names() -> None:
    wanted = "flip rotate crop color_jitter brightness noise blur sharpen mixup cutmix randaugment none light strong"
    wanted += " jitter gain time_shift word_deletion word_swap character_noise word_dropout"
    assert set(wanted.split()) == set(NAMES)


# Geometry ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("written", "axis"), [("flip(horizontal=1)", 1), ("flip(horizontal=0, vertical=1)", 0)])
def test_a_certain_flip_is_a_mirror_image(written: str, axis: int) -> None:
    got = built(written).pixels(picture())  # type: ignore[misc]
    np.testing.assert_array_equal(np.asarray(got), np.flip(np.asarray(picture()), axis))


def test_flips_come_as_often_as_asked() -> None:
    flip = built("flip(horizontal=0.25)").pixels
    plain = np.asarray(picture())
    flipped = sum(not np.array_equal(np.asarray(drawn(seed, flip, picture())), plain) for seed in range(400))
    assert 70 <= flipped <= 130  # 100 expected, standard deviation 8.7


def test_rotation_moves_a_point_by_no_more_than_the_angle() -> None:
    """A bright dot straight above the centre: its new place gives the angle."""
    dot = Image.new("L", (101, 101))
    dot.paste(255, (48, 8, 53, 13))  # centred on (50, 10): 40 px above the centre
    turn = built("rotate(degrees=20)").pixels
    angles = []
    for seed in range(60):
        rows, columns = np.nonzero(values(drawn(seed, turn, dot)) > 127)
        angles.append(np.degrees(np.arctan2(columns.mean() - 50, 50 - rows.mean())))
    assert np.abs(angles).max() <= 21
    assert min(angles) < -14
    assert max(angles) > 14


def test_rotation_fills_corners_with_the_chosen_grey() -> None:
    corners = {drawn(seed, built("rotate(degrees=45, fill=200)").pixels, flat(0)).getpixel((0, 0)) for seed in range(9)}
    assert (200, 200, 200) in corners


def test_a_crop_shows_the_share_of_the_picture_it_was_asked_for() -> None:
    """Each pixel of the picture holds its own coordinates, so a crop tells where it was taken."""
    rows, columns = np.mgrid[0:200, 0:200]
    atlas = Image.fromarray(np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8))
    crop, shares, ratios = built("crop(scale=[0.25, 0.5], ratio=[0.8, 1.25])").crop, [], []
    for seed in range(60):
        seen = values(drawn(seed, crop, atlas, (200, 200)))
        high, wide = (np.ptp(seen[..., channel]) + 1 for channel in (0, 1))
        shares.append(high * wide / 200**2)
        ratios.append(wide / high)
    assert 0.23 <= min(shares) <= 0.3
    assert 0.45 <= max(shares) <= 0.52
    assert 0.78 <= min(ratios) <= 0.9
    assert 1.1 <= max(ratios) <= 1.28


def test_the_crop_of_everything_is_a_plain_resize() -> None:
    got = built("crop(scale=[1, 1], ratio=[1, 1])").crop(picture((48, 48)), (24, 24))  # type: ignore[misc]
    np.testing.assert_array_equal(got, picture((48, 48)).resize((24, 24), Image.Resampling.BILINEAR))


# Values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "wanted"), [(0.5, 50), (1.0, 100), (1.5, 150), (3.0, 255)])
def test_brightness_multiplies_and_clips(factor: float, wanted: int) -> None:
    got = built(f"brightness(factor=[{factor}, {factor}])").pixels(flat(100))  # type: ignore[misc]
    assert values(got).min() == values(got).max() == pytest.approx(wanted, abs=1)


def test_brightness_stays_between_its_factors() -> None:
    means = [values(drawn(seed, built("brightness").pixels, flat(100))).mean() for seed in range(80)]
    assert 59 <= min(means) < 70
    assert 130 < max(means) <= 140


def test_jitter_of_saturation_alone_moves_no_grey_and_stretches_colours() -> None:
    jitter = built("color_jitter(brightness=0, contrast=0, saturation=1)").pixels
    assert all(drawn(seed, jitter, flat(77)).getpixel((0, 0)) == (77, 77, 77) for seed in range(5))
    spread = [np.ptp(values(drawn(seed, jitter, Image.new("RGB", (4, 4), (120, 100, 80))))) for seed in range(40)]
    assert min(spread) < 15
    assert 65 < max(spread) <= 81  # (120, 100, 80) spans 40; the factor reaches 2


def test_jitter_of_contrast_alone_keeps_the_mean_grey() -> None:
    jitter = built("color_jitter(brightness=0, contrast=1, saturation=0)").pixels
    grey = picture((64, 64), "L").convert("RGB")
    made = [values(drawn(seed, jitter, grey)) for seed in range(20)]
    assert max(abs(one.mean() - values(grey).mean()) for one in made) < 1.5
    assert min(one.std() for one in made) < 0.3 * values(grey).std()


def test_hue_turns_red_towards_other_colours() -> None:
    jitter = built("color_jitter(brightness=0, contrast=0, saturation=0, hue=0.5)").pixels
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    assert any(drawn(seed, jitter, red).getpixel((0, 0))[2] > 200 for seed in range(20))


@pytest.mark.parametrize("sigma", [0.004, 0.05, 0.15])
def test_noise_has_the_deviation_asked_for_and_no_bias(sigma: float) -> None:
    added = values(drawn(0, built(f"noise(sigma={sigma})").pixels, flat(128, 128))) - 128
    rounding = 1 / 12
    assert added.std() == pytest.approx(np.sqrt((255 * sigma) ** 2 + rounding), rel=0.03)
    assert abs(added.mean()) < 4 * 255 * sigma / np.sqrt(added.size) + 0.02


def test_noise_differs_between_channels() -> None:
    added = values(drawn(0, built("noise(sigma=0.1)").pixels, flat(128, 128))).reshape(-1, 3)
    assert abs(np.corrcoef(added.T)[0, 1]) < 0.05


def test_blur_is_a_gaussian_of_the_width_asked_for() -> None:
    """The spread of a blurred bright line is the deviation of the filter."""
    line = np.zeros((61, 61), np.uint8)
    line[:, 30] = 255
    got = values(built("blur(sigma=[2, 2], probability=1)").pixels(Image.fromarray(line)))[30]  # type: ignore[misc]
    places = np.arange(61)
    spread = np.sqrt((got * (places - 30) ** 2).sum() / got.sum())
    assert spread == pytest.approx(2.0, rel=0.13)  # cut at two deviations, hence a little less
    assert got.sum() == pytest.approx(255, rel=0.05)


def test_blur_works_on_pictures_smaller_than_its_filter() -> None:
    tiny = picture((5, 3))
    assert built("blur(sigma=[4, 4], probability=1)").pixels(tiny).size == (5, 3)  # type: ignore[misc]


def test_blur_with_probability_zero_changes_nothing() -> None:
    assert built("blur(probability=0)").pixels(picture()).tobytes() == picture().tobytes()  # type: ignore[misc]


def test_sharpening_amplifies_what_smoothing_takes_away() -> None:
    """Against Pillow's own 3 x 3 smoothing: x' = s + 2 (x - s), inside the rim."""
    got = values(built("sharpen(factor=2, probability=1)").pixels(picture()))[1:-1, 1:-1]  # type: ignore[misc]
    plain, smooth = values(picture())[1:-1, 1:-1], values(picture().filter(ImageFilter.SMOOTH))[1:-1, 1:-1]
    np.testing.assert_allclose(got, (2 * plain - smooth).clip(0, 255), atol=1.01)


def test_randaugment_without_operations_changes_nothing_and_with_more_changes_more() -> None:
    def moved(written: str) -> float:
        change = built(written).pixels
        return float(
            np.mean([np.abs(values(drawn(seed, change, picture())) - values(picture())).mean() for seed in range(60)])
        )

    assert moved("randaugment(count=0)") == 0
    assert 0 < moved("randaugment(count=2, magnitude=3)") < moved("randaugment(count=2, magnitude=25)")


def test_randaugment_fills_what_comes_into_view_with_the_chosen_grey() -> None:
    """On a black picture most operations give black; what shifts and turns bring in is the chosen grey."""
    change = built("randaugment(fill=200)").pixels
    seen = {drawn(seed, change, flat(0)).getpixel((0, 0)) for seed in range(30)}
    assert (200, 200, 200) in seen


# Mixing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 8, 8), (7,), (5, 6), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_mixup_blends_inputs_labels_and_weights_by_one_share(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Example i holds the value i, so the share is read off the inputs and must be the label's."""
    batch = constant_batch(shape, dtype)
    got = drawn(2, built("mixup(alpha=5)").mix, batch, 4)
    share = float(got.inputs.flatten(1)[1, 0])  # example 1 is blended with example 0: l * 1 + (1 - l) * 0
    assert 0.02 < share < 0.98
    assert got.inputs.shape == batch.inputs.shape
    before = np.roll(np.arange(4.0), 1)
    np.testing.assert_allclose(got.inputs.flatten(1)[:, -1], share * np.arange(4) + (1 - share) * before, atol=1e-6)
    np.testing.assert_allclose(got.labels, share * np.eye(4) + (1 - share) * np.roll(np.eye(4), 1, axis=0), atol=1e-6)
    np.testing.assert_allclose(got.weights, share * np.arange(1, 5) + (1 - share) * (before + 1), atol=1e-6)
    assert got.labels.dtype == torch.float32


def test_mixup_shares_follow_the_beta_distribution() -> None:
    """Beta(2, 2) has mean 1/2 and variance 1 / 20."""
    mix = built("mixup(alpha=2)").mix
    shares = [float(drawn(seed, mix, constant_batch((1,)), 4).inputs[1, 0]) for seed in range(600)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_leaves_the_batch_it_was_given_alone(name: str) -> None:
    batch = constant_batch()
    drawn(0, built(name).mix, batch, 4)
    np.testing.assert_array_equal(batch.inputs[:, 0, 0, 0], np.arange(4))
    np.testing.assert_array_equal(batch.weights, np.arange(1, 5))


def test_cutmix_labels_are_shares_of_area() -> None:
    areas = []
    for seed in range(12):
        got = drawn(seed, built("cutmix").mix, constant_batch((3, 16, 20)), 4)
        own = (got.inputs[2] == 2).float().mean()
        assert set(got.inputs[2].unique().tolist()) <= {1.0, 2.0}
        np.testing.assert_allclose(got.labels[2], [0, 1 - own, own, 0], atol=1e-6)
        np.testing.assert_allclose(got.weights[2], own * 3 + (1 - own) * 2, atol=1e-5)
        areas.append(float(own))
    assert min(areas) < 0.6
    assert max(areas) > 0.8


def test_cutmix_of_a_large_alpha_pastes_about_half() -> None:
    """Beta(100, 100) is near 1/2: a rectangle that fits is 0.7 of each side; the rim cuts it, never to below half."""
    mix = built("cutmix(alpha=100)").mix
    sides = [np.nonzero(drawn(seed, mix, constant_batch((1, 40, 40)), 4).inputs[1, 0] == 0)[:, 0] for seed in range(30)]
    lengths = np.array([int(rows.max() - rows.min()) + 1 for rows in sides]) / 40
    assert lengths.min() >= 0.28
    assert lengths.max() == pytest.approx(0.7, abs=0.07)


def test_cutmix_pastes_one_rectangle() -> None:
    got = drawn(3, built("cutmix").mix, constant_batch((1, 16, 16)), 4)
    rows, columns = np.nonzero(got.inputs[1, 0].numpy() == 0)
    assert 0 < len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1) < 256


@pytest.mark.parametrize("shape", [(7,), (5, 6)])
def test_cutmix_leaves_what_has_no_rectangle_unmixed_with_soft_labels(shape: tuple[int, ...]) -> None:
    batch = constant_batch(shape)
    got = drawn(3, built("cutmix").mix, batch, 4)
    assert torch.equal(got.inputs, batch.inputs)
    assert torch.equal(got.labels, torch.eye(4))
    assert torch.equal(got.weights, batch.weights)


# Sums --------------------------------------------------------------------------------------------------------------


def test_pixels_change_in_the_written_order() -> None:
    dim, bright = "brightness(factor=[0.5, 0.5])", "brightness(factor=[4, 4])"
    assert built(f"{dim} + {bright}").pixels(flat(100)).getpixel((0, 0))[0] == 200  # type: ignore[misc]
    assert built(f"{bright} + {dim}").pixels(flat(100)).getpixel((0, 0))[0] == 127  # type: ignore[misc]


def test_mixup_and_cutmix_take_turns_at_random() -> None:
    mix = built("mixup(alpha=8) + cutmix").mix
    blended = [len(drawn(seed, mix, constant_batch(), 4).inputs[1].unique()) == 1 for seed in range(40)]
    # A blend has one value in every pixel; a paste has two, unless its rectangle is empty or the whole picture.
    assert 10 <= sum(blended) <= 32


def test_a_sum_is_picklable_and_keeps_its_text() -> None:
    sum_ = built("crop + flip + noise + mixup + cutmix")
    assert results(pickle.loads(pickle.dumps(sum_)), 1) == results(sum_, 1)
    assert sum_.written == "crop + flip + noise + mixup + cutmix"


@pytest.mark.parametrize("written", ["none", "none + none"])
def test_nothing_is_nothing(written: str) -> None:
    assert built(written) == Augment(written=written)
    assert augmenting.combine([], "") == Augment()


def test_one_part_alone_is_handed_on_as_it_is() -> None:
    alone = folder.resolve("augment", "flip")[0].build()
    assert augmenting.combine([Augment(), alone], "none + flip").pixels is alone.pixels


def test_light_is_the_sum_that_its_page_says() -> None:
    light, parts = built("light"), built("crop(scale=[0.7, 1]) + flip")
    assert light.crop == parts.crop
    assert light.mix is None
    for seed in range(8):
        assert drawn(seed, light.pixels, picture()).tobytes() == drawn(seed, parts.pixels, picture()).tobytes()


def test_strong_is_the_sum_that_its_page_says() -> None:
    strong, parts = built("strong"), built("crop(scale=[0.35, 1]) + mixup(alpha=0.2)")
    assert (strong.crop, strong.mix) == (parts.crop, parts.mix)
    change = built("randaugment(count=2, magnitude=9)").pixels

    def by_hand() -> Image.Image:
        mirrored = float(torch.rand(1)) < 0.5
        return change(picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture())

    for seed in range(8):
        assert drawn(seed, strong.pixels, picture()).tobytes() == drawn(seed, by_hand).tobytes()


def test_strong_holds_all_three_places() -> None:
    strong = built("strong + noise + cutmix")
    assert strong.crop
    assert isinstance(strong.pixels, augmenting.InOrder)
    assert isinstance(strong.mix, augmenting.OneOf)


@pytest.mark.parametrize("written", ["light + crop", "strong + light", "crop + flip + crop"])
def test_two_crops_are_refused(written: str) -> None:
    with pytest.raises(SpecError, match=r"may hold one random crop .* got 2 in '" + written.replace("+", r"\+")):
        built(written)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("crop(scale=[1, 0.5])", r"scale of crop must be two numbers, the smaller first, got \[1, 0.5\]; write"),
        ("crop(ratio=[1])", r"ratio of crop must be two numbers"),
        ("blur(sigma=[2, 1, 3])", r"sigma of blur must be two numbers"),
        ("brightness(factor=[1.4, 0.6])", r"factor of brightness must be two numbers"),
        ("crop(scale=[0, 1])", r"scale of crop must be in \(0, 1\]"),
        ("flip(horizontal=2)", r"horizontal of flip must be in \[0, 1\], got 2"),
        ("mixup(alpha=0)", r"alpha of mixup must be in \(0, 100\], got 0"),
        ("flipp", r"unknown augment method 'flipp'. Did you mean 'flip'\?"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(written: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        built(written)


def test_options_are_written_only_where_they_differ() -> None:
    assert (
        spec.write(folder.resolve("augment", "crop(scale=[0.35, 1]) + noise(sigma=0.5)")) == "crop + noise(sigma=0.5)"
    )
