"""What the benches share: where data and weights are, a fixed split as folders, and how figures are shown."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def parser(description: str, images: int) -> argparse.ArgumentParser:
    """The options that every bench has."""
    made = argparse.ArgumentParser(description=description)
    data = Path(os.environ.get("STERNA_DATA", SHARED / "data")) / "flowers"
    weights = Path(os.environ.get("STERNA_WEIGHTS", SHARED / "weights")) / "mobilenetv2"
    made.add_argument("--images", type=int, default=images, help="how many pictures, the same number of each class")
    made.add_argument("--data", type=Path, default=data, help="a folder of class folders")
    made.add_argument("--weights", type=Path, default=weights, help="a folder with config.json and model.safetensors")
    made.add_argument("--repeats", type=int, default=3, help="how many times what can be repeated is")
    made.add_argument("--seed", type=int, default=0)
    return made


def pictures(data: Path, count: int, seed: int) -> list[Path]:
    """`count` pictures, as many of each class as of any other, drawn with the seed."""
    classes = sorted(path for path in data.iterdir() if path.is_dir())
    found = []
    for number, folder in enumerate(classes):
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
        each = min(len(paths), -(-count // len(classes)))
        order = np.random.default_rng([seed, number]).permutation(len(paths))[:each]
        found += [paths[place] for place in order]
    return found


def split_folders(paths: Sequence[Path], place: Path, share: float = 0.6) -> None:
    """Links to the pictures under `place/train/CLASS` and `place/test/CLASS`: one split for every contestant."""
    by_class: dict[str, list[Path]] = {}
    for path in paths:
        by_class.setdefault(path.parent.name, []).append(path)
    for name, members in by_class.items():
        for number, path in enumerate(members):
            folder = place / ("train" if number < share * len(members) else "test") / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path.name).symlink_to(path.resolve())


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, with the smallest and the largest."""
    shown = [f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
    return shown[0] if len(values) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


def interval(values: Sequence[float], sign: str = "+") -> str:
    """The mean with its 95 % interval of Student's t, such as of paired differences over seeds; `sign` for a format."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:{sign}.1f}"
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:{sign}.1f} ({mean - half:{sign}.1f} to {mean + half:{sign}.1f})"


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
    """A table in Markdown, with the machine and the command under it."""
    print(f"\n{title}\n")
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |")
    print()
    for note in notes:
        print(note)
    threads, cores = torch.get_num_threads(), os.cpu_count()
    print(f"{platform.machine()}, {cores} cores, {threads} threads, torch {torch.__version__}")
    print("python " + " ".join(sys.argv))
