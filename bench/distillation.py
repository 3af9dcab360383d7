"""A small student with a teacher and without, and what it saves that a teacher speaks once.

    python bench/distillation.py --out /tmp/distillation [--seeds 5] [--losses "distill, dist"]

Photos of five flowers at 128 px. The teacher is MobileNetV2 with a head fitted to the training photos; the student is
the CIFAR ResNet of 20 layers at 32 px, every weight of which moves. Each seed draws its own training photos; the test
photos are the same for all, and neither network has learnt from them. A student with a teacher and the same alone share
photos, first weights and the order of batches. What is finished in --out is not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from common import SHARED, interval, parser, pictures, show
from torch import Tensor
from torch.nn import functional

import sterna
from sterna import files, opening, reading
from sterna.records import Encoder, Table
from sterna.result import Result, summaries
from sterna.settings import Settings
from sterna.store import Store

BATCH = 16


def sized(weights: Path, place: Path, pixels: int) -> Path:
    """The same weights, taking photos of this size."""
    place.mkdir(parents=True, exist_ok=True)
    config = json.loads((weights / "config.json").read_text())
    owner = config.get("pretrained_cfg", config)
    owner |= {"input_size": [3, pixels, pixels], "crop_pct": 1.0}
    files.write_json(place / "config.json", config)
    if not (place / "model.safetensors").exists():
        (place / "model.safetensors").symlink_to((weights / "model.safetensors").resolve())
    return place


def linked(given: argparse.Namespace, seed: int) -> Path:
    """Folders of links: the test photos of all seeds, and the training photos of this one."""
    place = given.out / f"photos{seed}"
    if place.exists():
        return place
    by_class: dict[str, list[Path]] = {}
    for path in pictures(given.data, given.images, given.seed):
        by_class.setdefault(path.parent.name, []).append(path)
    for number, (name, paths) in enumerate(sorted(by_class.items())):
        test, pool = paths[: given.test], paths[given.test :]
        order = np.random.default_rng([given.seed, seed, number]).permutation(len(pool))[: given.train]
        for part, chosen in (("train", [pool[one] for one in order]), ("test", test)):
            (place / part / name).mkdir(parents=True)
            for path in chosen:
                (place / part / name / path.name).symlink_to(path.resolve())
    return place


def fitted(given: argparse.Namespace, seed: int) -> tuple[Result, Result]:
    """The teacher's run and the students'."""
    photos, store = linked(given, seed), Store(given.out / "cache")
    settings = Settings(floors="classical", mitigate=False, page=False, refit=0)  # type: ignore[call-arg]
    teacher = given.out / f"teacher{seed}"
    large = sterna.fit(
        photos,
        encoder=f"local:{sized(given.weights, given.out / 'mobilenetv2_128', 128)}",
        tune="probe",
        out=teacher,
        settings=settings,
        store=store,
    )
    objectives = ["cross_entropy", *(f"cross_entropy + {one.strip()}" for one in given.losses.split(";"))]
    small = sterna.fit(
        photos,
        encoder=f"local:{SHARED / 'weights' / 'cifar_resnet20'}",
        tune="full(batch_norm=true)",
        loss=", ".join(objectives),
        optimizer="adamw(rate=0.003)",
        schedule=f"epochs={given.epochs}, patience={given.epochs}, batch={BATCH}",
        teacher=teacher / "model",
        out=given.out / f"students{seed}",
        settings=settings,
        store=store,
    )
    return large, small


def accuracies(result: Result) -> dict[str, float]:
    """Of each route, in %."""
    return {one.name: 100 * one.metrics["accuracy"].value for one in summaries(result.routes)}


def seconds_an_epoch(given: argparse.Namespace, speaks: str) -> float:
    """Processor seconds of an epoch of the student over the training photos: the median of three.

    speaks: "" without a teacher, "once" with answers that are looked up, "always" with a teacher that is run on every
    batch.
    """
    student = opening.open_encoder(f"local:{SHARED / 'weights' / 'cifar_resnet20'}")
    teacher = opening.open_encoder(f"local:{given.out / 'teacher0' / 'model'}")
    table = opening.open_data(str(given.out / "photos0" / "train")).table
    network = student.network.with_head(len(table.classes), {}).train()
    teacher.network.eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    recorded, labels = torch.randn(len(table), len(table.classes)), torch.from_numpy(table.labels)
    took = []
    for _ in range(3):
        start = time.process_time()
        for first in range(0, len(table), BATCH):
            places = np.arange(first, min(first + BATCH, len(table)))
            logits = network(prepared(student, table, places)).logits
            objective = functional.cross_entropy(logits, labels[places])
            if speaks == "always":
                with torch.inference_mode():
                    answers = teacher.network(prepared(teacher, table, places)).logits
                objective = objective + functional.cross_entropy(logits / 4, (answers.clone() / 4).softmax(dim=1))
            elif speaks:
                objective = objective + functional.cross_entropy(logits / 4, (recorded[places] / 4).softmax(dim=1))
            optimizer.zero_grad()
            objective.backward()
            optimizer.step()
        took.append(time.process_time() - start)
    return statistics.median(took)


def prepared(encoder: Encoder, table: Table, places: np.ndarray) -> Tensor:
    """Photos as a network takes them."""
    rows = table.rows[places]
    frames = next(iter(reading.frames(table.items, encoder.preparation, rows, size=len(rows), workers=0)))
    return encoder.preparation.tensor(frames)


def main() -> None:
    """Fit all seeds and print the tables."""
    options = parser(__doc__.split("\n")[0], images=2500)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--train", type=int, default=80, help="training and validation photos a class")
    options.add_argument("--test", type=int, default=100, help="test photos a class")
    options.add_argument("--epochs", type=int, default=12)
    options.add_argument("--losses", default="distill", help="terms that learn from the teacher, separated by ;")
    given = options.parse_args()
    found = [fitted(given, seed) for seed in range(given.seeds)]
    teachers = [accuracies(large)["probe"] for large, _ in found]
    students = [accuracies(small) for _, small in found]
    names = [one.name for one in found[0][1].routes if not one.floor]
    rows = [["teacher", *_spread(teachers), "", *_size(found[0][1], "teacher")]]
    for name in names:
        values = [one[name] for one in students]
        alone = [one[names[0]] for one in students]
        gain = "" if name == names[0] else interval([a - b for a, b in zip(values, alone, strict=True)])
        rows.append([name, *_spread(values), gain, *_size(found[0][1], "student")])
    head = ["network", "accuracy, %", "sd", "against alone, points", "weights", "file, MB", "ms an item", "in batches"]
    title = f"{given.seeds} draws of {given.train} photos a class, {given.test} test photos a class"
    show(title, head, rows)
    kinds = {"alone": "", "what the teacher said is stored": "once", "the teacher runs on every batch": "always"}
    told = [[kind, f"{seconds_an_epoch(given, speaks):.2f}"] for kind, speaks in kinds.items()]
    show(f"Processor seconds of an epoch of the student, {5 * given.train} photos", ["", "seconds"], told)


def _spread(values: list[float]) -> list[str]:
    return [f"{statistics.mean(values):.1f}", f"{statistics.stdev(values):.1f}" if len(values) > 1 else "-"]


def _size(result: Result, role: str) -> list[str]:
    assert result.students is not None
    one = next(one for one in result.students.learners if one.role == role)
    return [f"{one.weights:,}", f"{one.bytes / 1e6:.2f}", f"{one.single:.2g}", f"{one.batched:.2g}"]


if __name__ == "__main__":
    main()
