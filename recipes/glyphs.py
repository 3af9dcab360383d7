"""Trains the encoder `builtin:glyphs` on glyphs of the fonts that come with matplotlib.

    python recipes/glyphs.py                      # trains, writes src/sterna/weights/glyphs, prints what it measured
    python recipes/glyphs.py --measure FOLDER     # measures saved weights again

No handwriting and no picture of another data set is used. Each glyph is drawn from a distance field: either that of
the printed outline or that of its skeleton, which a pen of varying width follows; both are bent, slanted, fitted to
the frame and brought down to 8 x 8, 16 x 16 or left at 32 x 32 pixels.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import timm
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file, save_file
from scipy import ndimage
from skimage.morphology import skeletonize
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

SEED = 20
STEPS, BATCH, RATE, DECAY, SMOOTHING = 3000, 192, 4e-3, 0.05, 0.1
AVERAGE = 0.995  # decay of the running mean of the weights, which is what is saved
CANVAS, FRAME = 64, 32  # px: side of a distance field and of what the network sees
MEAN, STD = 0.33, 0.36  # by which input is normalised: near those of rendered glyphs
ARCHITECTURE = "resnet10t"
MODEL = {"in_chans": 1, "channels": [24, 48, 96, 128], "stem_width": 16, "output_stride": 16}

# fmt: off
# Glyphs that cannot be told apart once fitted to the frame share a class. Commas separate names of one class.
CLASSES = [
    "0, O, o", "1, I, l", "2", "3", "4", "5", "6", "7", "8", "9", "A", "a", "B", "b", "C, c", "D", "d", "E", "e",
    "F", "f", "G", "g", "H", "h", "i", "J, j", "K, k", "L", "M", "m", "N", "n", "P, p", "Q", "q", "R", "r", "S, s",
    "T", "t", "U, u", "V, v", "W, w", "X, x", "Y, y", "Z, z",
]
BARRED = "7Zz"  # also drawn with the bar through the middle that many hands add

FONTS = [
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSansMono",
    "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique", "DejaVuSerif", "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta", "cmb10", "cmmi10", "cmr10",
    "cmti10", "cmtt10",
]
HELD_OUT = [
    "DejaVuSansMono-Oblique", "DejaVuSerif-Italic", "STIXGeneralItalic", "cmss10",
]
# fmt: on


@dataclass(frozen=True)
class Fields:
    """Distance fields of glyphs: positive inside the outline, and the distance to the skeleton, in canvas pixels."""

    values: Tensor  # (glyphs, 2, CANVAS, CANVAS) float32
    labels: Tensor  # (glyphs,) int64


def fields(fonts: list[str]) -> Fields:
    """The distance fields of all glyphs of all classes in the given fonts."""
    values, labels = [], []
    for name in fonts:
        font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), 160)
        for number, members in enumerate(CLASSES):
            for letter in members.split(", "):
                for barred in (False, True) if letter in BARRED else (False,):
                    values.append(_field(letter, font, barred))
                    labels.append(number)
    return Fields(torch.from_numpy(np.stack(values)), torch.tensor(labels))


def _field(letter: str, font: ImageFont.FreeTypeFont, barred: bool) -> np.ndarray:
    left, top, right, bottom = font.getbbox(letter)
    picture = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(picture).text((-left, -top), letter, fill=255, font=font)
    scale = 0.7 * CANVAS / max(picture.size)
    small = picture.resize([max(3, round(side * scale)) for side in picture.size], Image.Resampling.BOX)
    canvas = Image.new("L", (CANVAS, CANVAS))
    canvas.paste(small, ((CANVAS - small.width) // 2, (CANVAS - small.height) // 2))
    if barred:
        reach, middle = small.width // 3, CANVAS // 2
        ImageDraw.Draw(canvas).line((middle - reach, middle, middle + reach, middle), fill=255, width=4)
    ink = np.asarray(canvas) > 127
    outline = ndimage.distance_transform_edt(ink) - ndimage.distance_transform_edt(~ink)
    skeleton = ndimage.distance_transform_edt(~skeletonize(ink))
    return np.stack([outline, skeleton]).astype(np.float32)


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.rand(count) * (high - low) + low


def _slants(count: int) -> Tensor:
    """Random rotation and slant as matrices (n, 2, 2) from frame to canvas coordinates."""
    angle, slant = torch.randn(count) * 0.12, torch.randn(count) * 0.25
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack([cos, -sin + slant * cos, sin, cos + slant * sin], dim=1)
    return rows.view(count, 2, 2)


def _bent(points: Tensor, slants: Tensor, bends: Tensor) -> Tensor:
    """Frame coordinates (n, h, w, 2) -> canvas coordinates, slanted and then bent by a smooth random field."""
    shift = functional.grid_sample(bends, points / 1.5, mode="bicubic", padding_mode="border", align_corners=True)
    return torch.einsum("nij,nhwj->nhwi", slants, points) + shift.permute(0, 2, 3, 1)


def _ink(chosen: Tensor, points: Tensor, pen: Tensor) -> Tensor:
    """Ink in [0, 1] at canvas coordinates: the outline grown by the pen, or the pen drawn along the skeleton.

    `chosen` (n, 1, CANVAS, CANVAS) is the field to threshold at zero once `pen` (n, 1, h, w) is added.
    """
    distance = functional.grid_sample(chosen, points, padding_mode="border", align_corners=False)
    return torch.sigmoid(2.0 * (distance + pen))


def _boxes(ink: Tensor) -> Tensor:
    """The smallest box around the ink as (left, top, right, bottom) in [-1, 1] (n, 4); all of it when there is none."""
    places = (torch.arange(ink.shape[-1]) + 0.5) / ink.shape[-1] * 2 - 1
    half = 1 / ink.shape[-1]
    ends = []
    for axis in (2, 3):  # columns first: reduce over rows
        used = ink[:, 0].amax(axis - 1) > 0.5
        used |= ~used.any(1, keepdim=True)
        low = torch.where(used, places, torch.inf).amin(1) - half
        high = torch.where(used, places, -torch.inf).amax(1) + half
        ends.append((low, high))
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], dim=1)


def _fitted(boxes: Tensor, grid: Tensor) -> Tensor:
    """Frame coordinates (n, h, w, 2) that put each box in the frame, roughly keeping its shape."""
    count = len(boxes)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    aspect = half[:, 0] / half[:, 1] * torch.exp(torch.randn(count) * 0.2)
    full = torch.where(torch.rand(count) < 0.8, torch.ones(count), _uniform(count, 0.6, 1.0))
    width = torch.minimum(full * aspect.clamp(min=0.1), _uniform(count, 0.55, 1.0))
    height = torch.where(width < full * aspect, full * _uniform(count, 0.8, 1.0), full)
    share = torch.stack([width, height], dim=1)
    offset = (torch.rand(count, 2) * 2 - 1) * (1 - share) * 0.5
    scaled = (grid - offset[:, None, None]) / share[:, None, None]
    return centre[:, None, None] + scaled * half[:, None, None]


def render(source: Fields, picks: Tensor, side: Tensor) -> Tensor:
    """Glyphs with all variation.

    Args:
        picks: (n,) which glyphs.
        side: (n,) true resolution of each, 8, 16 or 32 px; all come back at FRAME px.

    Returns (n, 1, FRAME, FRAME) in [0, 1], bright ink on a dark ground. Draws from the global generator.
    """
    count = len(picks)
    outline = torch.rand(count) < 0.35
    both = source.values[picks]
    chosen = torch.where(outline[:, None, None], both[:, 0], -both[:, 1])[:, None]
    base = torch.where(outline, _uniform(count, -0.6, 1.8), _uniform(count, 1.5, 6.0))
    uneven = functional.interpolate(torch.randn(count, 1, 3, 3) * 0.8, FRAME, mode="bilinear", align_corners=True)
    pen = base[:, None, None, None] + uneven * (~outline)[:, None, None, None]
    slants, strength = _slants(count), _uniform(count, 0.0, 0.22)
    bends = torch.randn(count, 2, 4, 4) * strength[:, None, None, None]
    places = (torch.arange(FRAME) + 0.5) / FRAME * 2 - 1
    grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1).expand(count, -1, -1, -1)
    wide = _ink(chosen, _bent(grid * 1.4, slants, bends), pen)
    ink = _ink(chosen, _bent(_fitted(_boxes(wide) * 1.4, grid), slants, bends), pen)
    return _developed(ink, side)


def _developed(ink: Tensor, side: Tensor) -> Tensor:
    """What a scanner makes of ink: resolution, contrast, noise, and interpolation back to the frame."""
    made = torch.zeros_like(ink)
    for size in (8, 16, 32):
        rows = torch.nonzero(side == size)[:, 0]
        low = functional.avg_pool2d(ink[rows], FRAME // size)
        gain, curve = _uniform(len(rows), 0.85, 1.5), torch.exp(torch.randn(len(rows)) * 0.25)
        low = gain[:, None, None, None] * low ** curve[:, None, None, None]
        low = low + torch.randn_like(low) * _uniform(len(rows), 0.0, 0.08)[:, None, None, None]
        low = (low.clamp(0, 1) * 255).round() / 255
        made[rows] = functional.interpolate(low, FRAME, mode="bilinear", align_corners=False)
    return made


def batches(source: Fields, steps: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random batches of network inputs and classes, each class equally often."""
    members = [torch.nonzero(source.labels == number)[:, 0] for number in range(len(CLASSES))]
    for _ in range(steps):
        labels = torch.randint(len(CLASSES), (size,))
        picks = torch.stack([members[one][torch.randint(len(members[one]), ())] for one in labels.tolist()])
        side = torch.tensor([8, 16, 32])[torch.multinomial(torch.tensor([0.6, 0.2, 0.2]), size, replacement=True)]
        yield (render(source, picks, side) - MEAN) / STD, labels


def train(model: nn.Module, source: Fields, steps: int) -> nn.Module:
    """AdamW with warm-up and cosine; returns the running mean of the weights."""
    kernels = [value for value in model.parameters() if value.ndim > 1]
    others = [value for value in model.parameters() if value.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 100, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )
    mean = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE), use_buffers=True
    )
    start, model = time.time(), model.to(memory_format=torch.channels_last).train()
    for step, (inputs, labels) in enumerate(batches(source, steps, BATCH)):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(inputs.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        mean.update_parameters(model)
        if step % 100 == 99:
            right = float((logits.argmax(1) == labels).float().mean())
            print(
                f"step {step + 1} loss {loss.item():.3f} batch accuracy {right:.3f} {time.time() - start:.0f} s "
                f"digest {digest(model)[:12]}",
                flush=True,
            )
    return mean.module


def digest(model: nn.Module) -> str:
    """A digest of all weights: equal when two runs agree to the bit."""
    made = hashlib.blake2b(digest_size=16)
    for value in model.state_dict().values():
        made.update(value.contiguous().numpy().tobytes())
    return made.hexdigest()


@torch.no_grad()
def accuracy(model: nn.Module, fonts: list[str], side: int, draws: int) -> tuple[float, int]:
    """Share of glyphs of `fonts` that are recognised, each drawn `draws` times at `side` px, and their number."""
    source, right = fields(fonts), 0
    model.eval()
    for _ in range(draws):
        picks = torch.arange(len(source.labels))
        inputs = (render(source, picks, torch.full((len(picks),), side)) - MEAN) / STD
        right += int((model(inputs).argmax(1) == source.labels).sum())
    return right / (draws * len(source.labels)), draws * len(source.labels)


def save(model: nn.Module, place: Path) -> None:
    """A folder that `timm.create_model("local-dir:...", pretrained=True)` opens; kernels as 16-bit floats."""
    place.mkdir(parents=True, exist_ok=True)
    state = {name: value.half() if value.ndim > 1 else value for name, value in model.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, place / "model.safetensors")
    (place / "model.safetensors").chmod(0o644)  # readable for others where the package is installed for all
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": len(CLASSES),
        "label_names": CLASSES,
        "num_features": model.num_features,
        "global_pool": "avg",
        "model_args": MODEL,
        "pretrained_cfg": {
            "tag": "glyphs",
            "custom_load": False,
            "input_size": [1, FRAME, FRAME],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [MEAN],
            "std": [STD],
            "num_classes": len(CLASSES),
            "pool_size": [2, 2],
            "first_conv": "conv1.0",
            "classifier": "fc",
            "license": "Apache-2.0",
        },
    }
    (place / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def opened(place: Path) -> nn.Module:
    """The saved model."""
    model = timm.create_model(ARCHITECTURE, num_classes=len(CLASSES), **MODEL)
    model.load_state_dict(load_file(place / "model.safetensors"))
    return model


def measure(place: Path) -> dict[str, dict[str, float]]:
    """Source accuracy of saved weights on the fonts that were held out, at each resolution."""
    found, model = {}, opened(place)
    for side in (8, 16, 32):
        torch.manual_seed(SEED + side)
        value, count = accuracy(model, HELD_OUT, side, 20)
        found[f"{side} px"] = {"accuracy": round(value, 4), "n": count}
    return found


@torch.no_grad()
def handwriting(place: Path) -> dict[str, str]:
    """What saved weights are worth on scikit-learn's handwritten digits, which no part of the training has seen.

    The ten rows of the head that name digits, as they are; and logistic regression on frozen features beside the same
    on raw pixels, with few labels of each class, over five draws of those labels.
    """
    model, (pixels, truth) = opened(place).eval(), load_digits(return_X_y=True)
    low = (torch.from_numpy(pixels).float().view(-1, 1, 8, 8) * (255 / 16)).round() / 255
    frames = functional.interpolate(low, FRAME, mode="bilinear", align_corners=False)
    features = model.forward_head(model.forward_features((frames - MEAN) / STD), pre_logits=True)
    guessed = model.get_classifier()(features)[:, :10].argmax(1).numpy()
    found = {"rows of the head": f"{float((guessed == truth).mean()):.4f} (n = {len(truth)})"}
    for shots in (5, 10):
        for what, inputs in (("frozen features", features.numpy()), ("raw pixels", pixels)):
            values = [_few(inputs, truth, shots, seed) for seed in range(5)]
            found[f"{what}, {shots} labels a class"] = f"{np.mean(values):.4f} (sd {np.std(values, ddof=1):.4f})"
    return found


def _few(inputs: np.ndarray, truth: np.ndarray, shots: int, seed: int) -> float:
    """Accuracy on the rest of logistic regression on `shots` random examples of each class, C by 5-fold validation."""
    order = np.random.default_rng(seed).permutation(len(truth))
    chosen = np.concatenate([order[truth[order] == one][:shots] for one in range(10)])
    rest = np.setdiff1d(order, chosen)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    search = GridSearchCV(model, {"logisticregression__C": [0.001, 0.01, 0.1, 1, 10]})
    return float(search.fit(inputs[chosen], truth[chosen]).score(inputs[rest], truth[rest]))


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "src/sterna/weights/glyphs")
    reader.add_argument("--steps", type=int, default=STEPS)
    reader.add_argument("--measure", type=Path, metavar="FOLDER")
    chosen = reader.parse_args()
    torch.set_num_threads(1)  # the order of additions, and so the result, is then the same on any number of cores
    if chosen.measure is None:
        torch.manual_seed(SEED)
        model = timm.create_model(ARCHITECTURE, num_classes=len(CLASSES), **MODEL)
        save(train(model, fields(FONTS), chosen.steps), chosen.out)
    print(json.dumps({**measure(chosen.measure or chosen.out), **handwriting(chosen.measure or chosen.out)}, indent=1))


if __name__ == "__main__":
    main()
