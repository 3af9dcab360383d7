"""Traps: sources and encoders from which nothing can be learnt, and how often the verdict says that transfer helps.

    python bench/traps.py [--runs 20] [--only NAME]

The targets are disjoint subsets of the USPS digits, so the verdicts are independent of one another: each has ten
labelled images a class, and some 360 held out. Encoders are the architecture of `builtin:glyphs`, trained on MNIST as
the trap says; sources are MNIST's digits as rows of 64 pixels. Everything goes through `sterna.fit` with its
defaults, but for the gentler forms that are tried where a route loses.
A trap is passed where «helps» is no more frequent than the 2.5 % that an interval leaves on that side; the two last
rows are no traps, and ask if help is seen where it is there.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from common import SHARED, show
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import sterna
from sterna.encoders import builtin
from sterna.settings import Settings
from sterna.store import Store
from sterna.verdict import Answer

DATA = Path(os.environ.get("STERNA_DATA", SHARED / "data"))
SIZE = 460  # images of a target
NETWORKS = 5  # of each kind; training twenty would say little more
IMAGES = 4000  # that an encoder learns from
ROWS = 600  # of a source
EPOCHS = 5
ENCODERS = {
    "random": "encoder of random weights",
    "noise": "encoder trained on noise",
    "shuffled": "encoder trained on shuffled labels",
    "related": "encoder trained on MNIST (related)",
}
SOURCES = {
    "shuffled": "source with shuffled labels",
    "renamed": "source that calls each digit by the next one's name",
    "foreign": "source with the statistics of another kind of data",
    "related": "MNIST as the source (related)",
}
RANDOM = "target with random labels, related encoder"
Pictures = tuple[np.ndarray, np.ndarray]  # (n, s, s) in [0, 1], (n,) labels


def usps() -> Pictures:
    """All 9,298 images of 16 x 16, in random order."""
    parts = []
    for name in ("train", "test"):
        with gzip.open(DATA / "digits" / f"zip.{name}.gz", "rt") as file:
            parts.append(np.loadtxt(file))
    rows = np.concatenate(parts)
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    return (rows[:, 1:].reshape(-1, 16, 16) + 1) / 2, rows[:, 0].astype(np.int64)


def mnist() -> Pictures:
    """Test images, cut to the digit and shrunk to 16 x 16, as those of USPS are."""
    with gzip.open(DATA / "digits" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(DATA / "digits" / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    shrunk = [np.asarray(Image.fromarray(one).crop((4, 4, 24, 24)).resize((16, 16))) for one in pixels]
    return np.stack(shrunk) / 255, labels


def encoder(kind: str, number: int, place: Path) -> Path:
    """A model folder like that of `builtin:glyphs`, with other weights."""
    folder = place / f"{kind}{number}"
    if folder.exists():
        return folder
    opened, generator = builtin.load("glyphs"), np.random.default_rng([number, 1])
    pictures, labels = mnist()
    chosen = generator.permutation(len(pictures))[:IMAGES]
    pictures, labels = pictures[chosen], labels[chosen]
    if kind == "noise":
        pictures = generator.random(pictures.shape)
    if kind in ("noise", "shuffled"):
        labels = generator.permutation(labels)
    with torch.random.fork_rng():
        torch.manual_seed(number)
        network = opened.fresh().with_head(len(opened.source_classes), {})
        if kind != "random":
            train(network, opened.preparation, pictures, labels)
    owner = network.whole if network.whole is not None else network
    shutil.copytree(builtin.WEIGHTS / "glyphs", folder)
    state = {name: value.detach().clone().contiguous() for name, value in owner.state_dict().items()}
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def train(network: nn.Module, preparation, pictures: np.ndarray, labels: np.ndarray) -> None:
    """Some epochs of Adam, at a constant rate."""
    frames = np.stack([preparation.frame(Image.fromarray((255 * one).astype(np.uint8))) for one in pictures])
    inputs, wanted = preparation.tensor(torch.from_numpy(frames)), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    network.train()
    for _ in range(EPOCHS):
        for part in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[part]).logits, wanted[part]).backward()
            optimizer.step()
    network.eval()


def target(number: int, place: Path, shuffled: bool = False) -> Path:
    """The `number`-th subset of the USPS digits, as an array of pictures."""
    pictures, labels = (part[number * SIZE : (number + 1) * SIZE] for part in usps())
    if shuffled:
        labels = np.random.default_rng(number).permutation(labels)
    found = place / f"usps{number}{'shuffled' * shuffled}.npz"
    np.savez(found, images=(255 * pictures).astype(np.uint8), labels=labels)
    return found


def rows(pictures: np.ndarray, labels: np.ndarray, place: Path) -> Path:
    """A table of 64 pixels, each the mean of four."""
    small = pictures.reshape(-1, 8, 2, 8, 2).mean(axis=(2, 4)).reshape(len(pictures), 64)
    with place.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"pixel{one}" for one in range(64)), "digit"])
        writer.writerows([*np.round(row, 3), f"digit {label}"] for row, label in zip(small, labels, strict=True))
    return place


def source(kind: str, number: int, place: Path) -> Path:
    """MNIST as the trap says."""
    generator = np.random.default_rng([number, 2])
    pictures, labels = mnist()
    chosen = generator.permutation(len(pictures))[:ROWS]
    pictures, labels = pictures[chosen], labels[chosen]
    if kind == "shuffled":
        labels = generator.permutation(labels)
    if kind == "renamed":
        labels = (labels + 1) % 10
    if kind == "foreign":  # columns of very different means and spreads, as those of a table of customers
        scales = np.exp(generator.normal(0, 2, (1, 16, 16)))
        pictures = scales * (generator.normal(size=(1, 16, 16)) + generator.normal(size=pictures.shape))
    return rows(pictures, labels, place / f"{kind}{number}.csv")


def verdict(kind: str, number: int, place: Path) -> tuple[Answer, float]:
    """One run of one trap: its answer and the gain."""
    store = Store(place / "cache")
    settings = Settings(shots=10, page=False, mitigate=False)
    out = place / "run"
    shutil.rmtree(out, ignore_errors=True)
    name, _, trap = kind.partition(" ")
    if name == "source":
        pictures, labels = (part[number * SIZE : (number + 1) * SIZE] for part in usps())
        data = rows(pictures, labels, place / f"target{number}.csv")
        found = sterna.fit(data, source=source(trap, number, place), settings=settings, out=out, store=store)
    else:
        data = target(number, place, shuffled=name == "target")
        reference = f"local:{encoder(trap, number % NETWORKS, place)}"
        found = sterna.fit(data, encoder=reference, tune="probe, lp_ft", settings=settings, out=out, store=store)
    return found.verdict.answer, found.verdict.gain


def main() -> None:
    """Run every trap and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", default="", help="part of a trap's name")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    titles = {f"encoder {name}": title for name, title in ENCODERS.items()}
    titles |= {f"source {name}": title for name, title in SOURCES.items()}
    titles["target related"] = RANDOM
    answers = ("helps", "equivalent", "undecided", "hurts")
    table = []
    with tempfile.TemporaryDirectory() as place:
        for kind, title in sorted(
            titles.items(), key=lambda item: item[0].endswith("related") and "target" not in item[0]
        ):
            if given.only not in title:
                continue
            begin = time.perf_counter()
            found = [verdict(kind, number, Path(place)) for number in range(given.runs)]
            counted = Counter(answer for answer, _ in found)
            gains = 100 * np.array([gain for _, gain in found])
            told = f"{gains.mean():+.1f} ({gains.std(ddof=1):.1f})" if len(gains) > 1 else f"{gains[0]:+.1f}"
            each = (time.perf_counter() - begin) / given.runs
            table.append([title, *(str(counted[answer]) for answer in answers), told, f"{each:.1f}"])
            print(" | ".join(table[-1]), flush=True)
    head = ["trap", *answers, "gain in points (sd)", "seconds a run"]
    show(f"Verdicts over {given.runs} targets of {SIZE} images, 100 of them labelled", head, table)


if __name__ == "__main__":
    main()
