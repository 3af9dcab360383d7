"""The model folder of a run, its card, and the held-out predictions beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sterna import addition, artifact, bottlenecks, files, intake, reading
from sterna.card import PREDICT, Shipped, card
from sterna.records import Encoder, Fitted, Table
from sterna.result import Result

EXAMPLES = 8  # items on which a saved model must agree with the one in memory
ESTIMATOR = "model.skops"  # the file of a model that is no network
HOW = {  # to open a saved model without sterna, by its library
    "timm": 'model = timm.create_model("local-dir:PATH_OF_THIS_FOLDER", pretrained=True)',
    "torchvision": "model = torchvision.models.get_model(architecture, num_classes=n), then load_state_dict",
    "transformers": "model = transformers.{architecture}.from_pretrained(PATH_OF_THIS_FOLDER)",
    "CLIPModel": "embeddings of transformers.CLIPModel at length 1, into the linear layer in head.safetensors",
    "SiglipModel": "embeddings of transformers.SiglipModel at length 1, into the linear layer in head.safetensors",
    "sentence-transformers": "scores = sentence_transformers.SentenceTransformer(PATH_OF_THIS_FOLDER).encode(texts)",
    "sentence-transformers, pairs": "u, v = SentenceTransformer(PATH_OF_THIS_FOLDER).encode of the two texts; "
    "scores = [u, v, |u - v|, u * v] @ weight.T + bias of pair_head.safetensors (scales: sterna.json)",
    "scikit-learn": PREDICT,
}
OPENED = {  # a model that adapters stand in, by its library: how to open it, and the part whose layers they name
    "timm": (HOW["timm"], "model"),
    "transformers": (HOW["transformers"], "model"),
    "sentence-transformers": (
        "model = sentence_transformers.SentenceTransformer(PATH_OF_THIS_FOLDER)",
        "model[0].auto_model",
    ),
}
UNKNOWN = "A library that opens this folder leaves the {kind} out and gives other answers; use sterna."
BEHIND = """# The library leaves the adapters out, and its answers are others until what follows has put them in.
weights = safetensors.torch.load_file(PATH_OF_THIS_FOLDER + "/adapter/adapter_model.safetensors")
def behind(name):
    down, d, up, u = (weights[f"{name}.{one}"] for one in ("down.weight", "down.bias", "up.weight", "up.bias"))
    by = {2: functional.linear, 3: functional.conv1d, 4: functional.conv2d}[down.ndim]  # of torch.nn
    return lambda layer, given, h: h + by(functional.gelu(by(h, down, d)), up, u)
for name in json.load(open(PATH_OF_THIS_FOLDER + "/adapter/adapter_config.json"))["target_modules"]:
    BODY.get_submodule(name).register_forward_hook(behind(name))"""


def ship(fitted: Fitted, table: Table, model: Path, result: Result) -> None:
    """Write the folder `model` and check that it opens and answers as the network in memory does."""
    rows = table.rows[:EXAMPLES]
    preparation = fitted.encoder.preparation
    frames = next(iter(reading.frames(table.items, preparation, rows, size=len(rows), workers=0)))
    facts = {
        "task": table.task,
        "shipped": result.shipped,
        "verdict": result.verdict.sentence,
        "data": result.data["digest"],
        "held_out": intake.items_digest(table),
    }
    config = fitted.encoder.config
    about = Shipped(
        fitted.encoder.reference,
        str(config.get("library", "timm")),
        _how(config, (addition.standing(fitted.network) or ({},))[0]),
        table.items.modality,
        [column.name for column in getattr(table.items, "columns", ())],
        str((config.get("pretrained_cfg") or {}).get("license") or ""),
    )
    artifact.save(fitted, model, preparation.tensor(frames), card(about, result), facts)


def ship_estimator(
    kept: Path, table: Table, model: Path, result: Result, encoder: Encoder | None = None, stages: bool = False
) -> None:
    """Write the folder `model` for a route without a network: the estimator, what it takes and what it answers.

    `encoder`: whose features it takes, with `stages` those of all its stages. It is named with its digest and not
    copied.
    """
    items = table.items
    config = {
        "library": "scikit-learn",
        "modality": items.modality,
        "encoder": encoder and {"reference": encoder.reference, "digest": encoder.digest, "stages": stages},
        "columns": [[column.name, column.kind] for column in getattr(items, "columns", ())],
        "label_names": list(table.classes),
        "sterna": {"task": table.task, "shipped": result.shipped, "verdict": result.verdict.sentence},
    }
    model.mkdir(parents=True, exist_ok=True)
    files.write_bytes(model / ESTIMATOR, (kept / ESTIMATOR).read_bytes())
    names = [column.name for column in getattr(items, "columns", ())]
    about = Shipped(encoder.reference if encoder else "", "scikit-learn", HOW["scikit-learn"], items.modality, names)
    files.write_text(model / "README.md", card(about, result))
    files.write_json(model / "config.json", config)


def ship_ensemble(table: Table, model: Path, result: Result, names: Sequence[str]) -> None:
    """Write what makes the folder `model` an ensemble, beside the folders 1, 2, ... of its members.

    `names`: the routes that these are.
    """
    members = [str(number) for number in range(1, len(names) + 1)]
    config = {
        "library": artifact.ENSEMBLE,
        "members": members,
        "label_names": list(table.classes),
        "sterna": {"task": table.task, "shipped": result.shipped, "verdict": result.verdict.sentence},
    }
    listed = [f"# {number}: {name}" for number, name in zip(members, names, strict=True)]
    how = "\n".join(["# The mean of what the models in these folders answer, each with a card of its own:", *listed])
    columns = [column.name for column in getattr(table.items, "columns", ())]
    about = Shipped("", "sterna", f"{how}\n{PREDICT}", table.items.modality, columns)
    files.write_text(model / "README.md", card(about, result))
    files.write_json(model / "config.json", config)


def _how(config: Mapping[str, Any], beside: Mapping[str, Any]) -> str:
    """How to open a model without sterna.

    `beside`: the configuration of what stays beside its weights, empty where nothing does.
    """
    library = str(config.get("library", "timm"))
    written = HOW.get(library, PREDICT)
    if beside.get("kind") == bottlenecks.KIND and library in OPENED:
        opened, body = OPENED[library]
        written = f"{opened}\n{BEHIND.replace('BODY', body)}"
    elif beside:
        written = f"# {UNKNOWN.format(kind=beside['kind'])}\n{PREDICT}"
    return written.replace("{architecture}", str(config.get("architecture")))


def write_predictions(place: Path, lines: Sequence[Sequence[str]]) -> None:
    """`predictions.csv`: a header, then one line for each held-out item."""
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    files.write_text(place / "predictions.csv", text.getvalue())
