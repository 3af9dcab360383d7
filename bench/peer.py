"""One peer on one split, in a Python of its own: learn from the training part within some time, answer the test part.

    PYTHON bench/peer.py autogluon|fastai|setfit|trainer DATA WEIGHTS OUT --budget SECONDS --seed N

DATA is a table with the columns text, label and part, or a folder with train/CLASS and test/CLASS. What is written is
the accuracy on the test part and the seconds from reading the data to the last answer, without loading a library. Every
peer keeps its own defaults but for the weights, the number of threads (one), no accelerator and no hub, and for what
would hardly begin with so few labels: AutoGluon gets batches of 16 and as many of 100 epochs as its time limit allows
(by default ten steps in all on 50 pictures; with its patience of 10 it stopped while the rate was still climbing, at
15.6 % of 60 questions), fastai the 10 epochs of its examples, the Trainer 20 in place of 3; both stop at the limit too,
as does SetFit, which makes one epoch over its pairs.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Rows = list[tuple[str, str]]  # a text or the path of a picture, and its label


def rows(data: Path, part: str) -> Rows:
    """The examples of one part."""
    if data.is_dir():
        return [(str(path), path.parent.name) for path in sorted((data / part).glob("*/*"))]
    with data.open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file) if row["part"] == part]


def autogluon(options: argparse.Namespace) -> tuple[list[str], Callable[[], list[str]]]:
    """AutoGluon's predictor for texts or images, with its own validation part and stopping."""
    import pandas
    import torch
    from autogluon.multimodal import MultiModalPredictor

    torch.set_num_threads(1)
    kind, column = ("timm_image", "image") if options.data.is_dir() else ("hf_text", "text")
    scratch = tempfile.TemporaryDirectory()  # goes with the process
    checkpoint = options.weights if kind == "hf_text" else _as_checkpoint(options.weights, Path(scratch.name))
    frames = {part: pandas.DataFrame(rows(options.data, part), columns=[column, "label"]) for part in ("train", "test")}
    settings = {
        "model.names": [kind],
        f"model.{kind}.checkpoint_name": str(checkpoint),
        "env.num_gpus": 0,
        "env.num_workers": 0,
        "env.num_workers_inference": 0,
        "env.precision": 32,
        "env.batch_size": 16,
        "optim.max_epochs": 100,
        "optim.patience": 100,
    }

    def work() -> list[str]:
        predictor = MultiModalPredictor(label="label", path=str(Path(scratch.name) / "run"), verbosity=1)
        predictor.fit(frames["train"], time_limit=options.budget, hyperparameters=settings, seed=options.seed)
        return list(map(str, predictor.predict(frames["test"].drop(columns="label"))))

    return list(frames["test"]["label"]), work


def _as_checkpoint(weights: Path, place: Path) -> Path:
    """The weights of a timm network as AutoGluon reads them: without the head, and with its own way to pad."""
    import torch
    from safetensors.torch import load_file

    config = (weights / "config.json").read_text()
    head = json.loads(config)["pretrained_cfg"]["classifier"]
    body = {name: one for name, one in load_file(weights / "model.safetensors").items() if not name.startswith(head)}
    torch.save(body, place / "pytorch_model.bin")
    (place / "config.json").write_text(config)
    return place


def fastai(options: argparse.Namespace) -> tuple[list[str], Callable[[], list[str]]]:
    """fastai's `fine_tune` on a timm network: its own head for one epoch, then everything by the one-cycle policy."""
    import torch
    from fastai.vision import all as vision
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    told = json.loads((options.weights / "config.json").read_text())
    stats = told["pretrained_cfg"]["mean"], told["pretrained_cfg"]["std"]
    train, test = rows(options.data, "train"), rows(options.data, "test")

    class Stop(vision.Callback):
        """At the limit, at the end of a batch."""

        def after_batch(self) -> None:
            if self.training and time.perf_counter() - begun[0] > options.budget:
                raise vision.CancelFitException

    def work() -> list[str]:
        begun.append(time.perf_counter())
        vision.set_seed(options.seed, reproducible=True)
        loaders = vision.ImageDataLoaders.from_folder(
            options.data / "train",
            valid_pct=0.2,
            seed=options.seed,
            item_tfms=vision.Resize(224),
            batch_tfms=[*vision.aug_transforms(), vision.Normalize.from_stats(*stats)],
            num_workers=0,
            bs=min(64, len(train) // 4),  # the default drops a last batch that is not full
        )
        learner = vision.vision_learner(
            loaders, told["architecture"], pretrained=False, cbs=Stop(), **told.get("model_args", {})
        )
        left = learner.model[0].model.load_state_dict(load_file(options.weights / "model.safetensors"), strict=False)
        if left.missing_keys:
            raise RuntimeError(f"weights are missing: {left.missing_keys}")
        learner.freeze()
        with learner.no_bar(), learner.no_logging():
            learner.fine_tune(10)
        found, _ = learner.get_preds(dl=loaders.test_dl([path for path, _ in test]))
        return [loaders.vocab[int(place)] for place in found.argmax(dim=1)]

    begun: list[float] = []
    return [label for _, label in test], work


def trainer(options: argparse.Namespace) -> tuple[list[str], Callable[[], list[str]]]:
    """transformers' Trainer on a network with a head for the classes, at its default rate 5e-5 and batch 8."""
    import torch
    import transformers

    torch.set_num_threads(1)
    train, test = rows(options.data, "train"), rows(options.data, "test")
    names = sorted({label for _, label in train})

    def opened() -> tuple[Any, Any]:
        tokenizer = transformers.AutoTokenizer.from_pretrained(options.weights)
        kind = transformers.AutoModelForSequenceClassification
        return tokenizer, kind.from_pretrained(options.weights, num_labels=len(names))

    def work() -> list[str]:
        begun.append(time.perf_counter())
        transformers.set_seed(options.seed)
        tokenizer, network = opened()
        parts = [
            [{**tokenizer(text, truncation=True), "labels": names.index(label)} for text, label in part]
            for part in (train, test)
        ]
        with tempfile.TemporaryDirectory() as folder:
            asked = transformers.TrainingArguments(
                output_dir=folder, num_train_epochs=20, report_to="none", save_strategy="no", disable_tqdm=True,
                seed=options.seed, use_cpu=True, logging_strategy="no",
            )  # fmt: skip
            stop = _stop(begun, options.budget)
            made = transformers.Trainer(
                network, asked, train_dataset=parts[0], processing_class=tokenizer, callbacks=[stop]
            )
            made.train()
            found = made.predict(parts[1]).predictions
        return [names[place] for place in np.argmax(found, axis=1)]

    opened()  # so that what it imports is not counted
    begun: list[float] = []
    return [label for _, label in test], work


def _stop(begun: list[float], budget: float) -> Any:
    """What ends training at the limit, at the end of a step."""
    import transformers

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, arguments, state, control, **others):
            control.should_training_stop |= time.perf_counter() - begun[0] > budget

    return Stop()


def setfit(options: argparse.Namespace) -> tuple[list[str], Callable[[], list[str]]]:
    """SetFit as it comes: pairs oversampled, batches of 16, one epoch, rate 2e-5, then logistic regression."""
    import torch
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    torch.set_num_threads(1)
    train, test = rows(options.data, "train"), rows(options.data, "test")

    def work() -> list[str]:
        begun.append(time.perf_counter())
        texts, labels = (list(part) for part in zip(*train, strict=True))
        with tempfile.TemporaryDirectory() as folder:
            asked = TrainingArguments(
                output_dir=folder, report_to="none", save_strategy="no", show_progress_bar=False, seed=options.seed
            )
            model = SetFitModel.from_pretrained(str(options.weights))
            given = Dataset.from_dict({"text": texts, "label": labels})
            Trainer(model, asked, train_dataset=given, callbacks=[_stop(begun, options.budget)]).train()
            return list(map(str, model.predict([text for text, _ in test], as_numpy=True)))

    begun: list[float] = []
    return [label for _, label in test], work


PEERS = {"autogluon": autogluon, "fastai": fastai, "setfit": setfit, "trainer": trainer}


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("peer", choices=list(PEERS))
    made.add_argument("data", type=Path)
    made.add_argument("weights", type=Path)
    made.add_argument("out", type=Path)
    made.add_argument("--budget", type=float, required=True, help="seconds")
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args()
    truth, work = PEERS[options.peer](options)
    begin = time.perf_counter()
    answers = work()
    right = float(np.mean([one == other for one, other in zip(answers, truth, strict=True)]))
    options.out.write_text(json.dumps({"accuracy": right, "seconds": time.perf_counter() - begin}))


if __name__ == "__main__":
    main()
