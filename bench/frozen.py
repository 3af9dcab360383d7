"""A head on a frozen backbone: sterna, a plain timm training loop, and extract-once + logistic regression.

All three see the same pictures, the same split, the same weights, and run one after the other on the same machine. The
last line is the share of the network's own speed that extraction reaches: pictures a second of the store over pictures
a second of the network alone on ready tensors, in the same form.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from common import parser, pictures, show, split_folders, spread
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

import sterna
from sterna import fastest, folder, opening, reading
from sterna.settings import Settings
from sterna.store import BATCH, Store


def loaders(place: Path, model: nn.Module) -> tuple[DataLoader, DataLoader]:
    """As a user of timm writes them, with the model's own evaluation transform."""
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    train, test = (ImageFolder(str(place / part), transform) for part in ("train", "test"))
    return DataLoader(train, 32, shuffle=True, num_workers=2), DataLoader(test, 32, num_workers=2)


def training_loop(place: Path, options: argparse.Namespace) -> float:
    """A timm training loop with the backbone frozen; returns the accuracy on the test part."""
    torch.manual_seed(options.seed)
    classes = len(list((place / "train").iterdir()))
    model = timm.create_model(f"local-dir:{options.weights}", pretrained=True, num_classes=classes)
    train, test = loaders(place, model)
    for parameter in model.parameters():
        parameter.requires_grad = False
    for parameter in model.get_classifier().parameters():
        parameter.requires_grad = True
    optimizer = torch.optim.AdamW(model.get_classifier().parameters(), lr=1e-3)
    for _ in range(options.epochs):
        model.train()
        for inputs, labels in train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum(int((model(inputs).argmax(1) == labels).sum()) for inputs, labels in test)
    return right / len(test.dataset)  # type: ignore[arg-type]


def extract_once(place: Path, options: argparse.Namespace) -> float:
    """Features by timm in float32, then scikit-learn's logistic regression with C = 0.1."""
    model = timm.create_model(f"local-dir:{options.weights}", pretrained=True, num_classes=0).eval()
    found = []
    with torch.inference_mode():
        for loader in loaders(place, model):
            pairs = [(model(inputs).numpy(), labels.numpy()) for inputs, labels in loader]
            found.append([np.concatenate(part) for part in zip(*pairs, strict=True)])
    (features, labels), (others, wanted) = found
    return float(LogisticRegression(C=0.1, max_iter=1000).fit(features, labels).score(others, wanted))


def probe(place: Path, options: argparse.Namespace, cache: Path, out: Path) -> float:
    """`sterna fit --tune probe` with the cheaper floor; returns the probe's accuracy."""
    result = sterna.fit(
        place,
        encoder=f"local:{options.weights}",
        tune="probe",
        out=out,
        settings=Settings(floors="classical"),
        store=Store(cache),
    )
    chosen = next(one for one in result.routes if not one.floor)
    seconds["sterna, the probe alone" + (", warm" if out.name != "run0" else ", cold")].append(chosen.seconds)
    return chosen.metrics["accuracy"].value


seconds: dict[str, list[float]] = {"sterna, the probe alone, cold": [], "sterna, the probe alone, warm": []}
accuracy: dict[str, float] = {}


def timed(name: str, work: Callable[[], float]) -> None:
    start = time.perf_counter()
    accuracy[name] = work()
    seconds.setdefault(name, []).append(time.perf_counter() - start)


def shares(place: Path, options: argparse.Namespace, scratch: Path) -> tuple[list[float], list[float], str]:
    """Pictures a second of extraction and of the bare network, in turns, and the form of both."""
    items, _ = folder.module("data", "images").gather([str(place)])
    encoder = opening.open_encoder(f"local:{options.weights}")
    rows, depth = np.arange(len(items)), encoder.network.depth
    warm = Store(scratch / "plans")
    plan, _ = warm.plan(encoder, items, rows)
    some = [
        encoder.preparation.tensor(frames)
        for frames in reading.frames(items, encoder.preparation, rows[:256], size=BATCH)
    ]
    form = fastest.prepared(encoder.network.prefix(depth), plan, some[0])
    for _ in range(2):
        form(some[0])
    extracted, bare = [], []
    for _ in range(options.repeats):
        start = time.perf_counter()
        for inputs in some:
            form(inputs)
        bare.append(sum(map(len, some)) / (time.perf_counter() - start))
        for path in (warm.folder / "shards").glob("*.act"):
            path.unlink()
        start = time.perf_counter()
        warm.activations(encoder, items, [depth])
        extracted.append(len(items) / (time.perf_counter() - start))
    return extracted, bare, plan.form


def main() -> None:
    options = parser(__doc__.split("\n")[0], images=2500)
    options.add_argument("--epochs", type=int, default=10, help="of the training loop; 10 is what is compared")
    options.add_argument("--skip-loop", action="store_true", help="leave the slow training loop out")
    chosen = options.parse_args()
    loop, once = f"timm loop, frozen, {chosen.epochs} epochs", "extract once + LogisticRegression"
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        place = scratch / "split"
        found = pictures(chosen.data, chosen.images, chosen.seed)
        split_folders(found, place)
        timed("sterna.fit, whole, cold", lambda: probe(place, chosen, scratch / "cache", scratch / "run0"))
        for number in range(chosen.repeats):
            timed(
                "sterna.fit, whole, warm",
                lambda n=number: probe(place, chosen, scratch / "cache", scratch / f"run{n + 1}"),
            )
        timed(once, lambda: extract_once(place, chosen))
        if not chosen.skip_loop:
            timed(loop, lambda: training_loop(place, chosen))
        extracted, bare, form = shares(place, chosen, scratch)
    slow = seconds.get(loop, [float("nan")])[0]
    rows = []
    for key, values in seconds.items():
        value = accuracy.get(key, accuracy["sterna.fit, whole, cold"])
        rows.append([key, spread(values, 2), f"{slow / min(values):.1f}x", f"{100 * value:.1f} %", str(len(values))])
    show(
        f"A head on a frozen backbone: n = {len(found)} pictures, 60 % for training, one split",
        ("route", "seconds", "against the loop", "test accuracy", "repeats"),
        rows,
        [
            "«whole» holds data checks, the classical floor, the intervals, saving and reloading the model.",
            f"extraction {spread(extracted)} pictures/s, bare network {spread(bare)} pictures/s, share "
            f"{spread([a / b for a, b in zip(extracted, bare, strict=True)], 2)}; "
            f"{chosen.repeats} repeats in turns; {form}",
        ],
    )


if __name__ == "__main__":
    main()
