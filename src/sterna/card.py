"""The model card of a shipped model: `model/README.md` in the format of the Hugging Face hub.

What stands between the two lines of dashes is YAML that the hub reads, each value written as JSON, which YAML holds;
the rest is Markdown for people, with names from the data escaped.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sterna import checks
from sterna.maths.blocks import blocks
from sterna.outcomes import Outcome, Score
from sterna.result import Result, summaries
from sterna.verdict import in_words

HUB = {"timm": "timm/", "sentence": "sentence-transformers/", "hf": ""}  # where an origin's models lie on the hub
LIBRARIES = {"scikit-learn": "sklearn", "CLIPModel": "transformers", "SiglipModel": "transformers", "none": "pytorch"}
PIPELINES = {
    ("image", "classify"): "image-classification",
    ("text", "classify"): "text-classification",
    ("audio", "classify"): "audio-classification",
    ("row", "classify"): "tabular-classification",
    ("row", "regress"): "tabular-regression",
    ("words", "tag"): "token-classification",
}
ANSWERS = {
    "classify": "Tells apart {count} classes: {names}.",
    "multilabel": "Says which of {count} labels an item has, each for itself: {names}.",
    "regress": "Predicts {names}, as numbers in the units of the labels.",
    "several": "Answers several tasks by {count} outputs, in this order: {names}. Those named TASK: CLASS are the "
    "classes of one task, to be taken through a softmax of their own; one with a single name is a number. {more}It is "
    "one linear head, and a library that opens this folder sees {count} outputs and knows nothing of tasks.",
    "tag": "Gives each word one of {count} tags: {names}.",
}
MORE = {  # of several tasks
    "tag": "Those named TASK [word] : TAG are the tags of each word, by a softmax of their own too; all others are "
    "about the whole item, and are to be averaged over its words before anything else. ",
    "multilabel": "Those named TASK [any] : LABEL are labels of which an item has any number, each to be taken "
    "through a sigmoid. ",
}
PARTS = {"train": "training", "validation": "validation of the source", "test": "target"}  # of an adaptation
TARGET_ONLY = "target_only"  # the method that learns from labelled target examples and nothing else
NAMED = 50  # classes that a card lists
PREDICT = "sterna predict PATH_OF_THIS_FOLDER FILES"


@dataclass(frozen=True)
class Shipped:
    """What a card is about."""

    reference: str  # of the encoder; empty for a method without one
    library: str  # that opens the folder
    how: str  # to open it without sterna
    modality: str
    columns: Sequence[str] = ()  # of rows, by which the model is asked
    license: str = ""  # of the pretrained weights, as their config states it


def card(shipped: Shipped, result: Result) -> str:
    """The card, in Markdown under the hub's metadata."""
    return "\n".join([*_metadata(shipped, result), *_text(shipped, result)]) + "\n"


def _metadata(shipped: Shipped, result: Result) -> list[str]:
    pipeline = PIPELINES.get((shipped.modality, result.task))
    base = _base(shipped.reference)
    known = {
        "library_name": LIBRARIES.get(shipped.library, shipped.library.partition(",")[0]),
        "license": shipped.license.lower(),
        "base_model": base,
        "pipeline_tag": pipeline,
        "tags": ["sterna", "domain-adaptation" if _adapts(result) else "transfer-learning", result.task],
        "metrics": list(_figures(result)),
    }
    lines = ["---", *(f"{name}: {json.dumps(value)}" for name, value in known.items() if value)]
    index = [f"model-index: {json.dumps([_indexed(result, pipeline)])}"] if _figures(result) else []
    return [*lines, *index, "---", ""]


def _indexed(result: Result, pipeline: str | None) -> dict[str, Any]:
    """The held-out figures as the hub's leaderboards read them."""
    name = _measured_on(result)
    metrics = [
        {"type": figure, "value": score.value, "name": f"held-out {in_words(figure)}"}
        for figure, score in _figures(result).items()
    ]
    entry = {
        "task": {"type": pipeline or result.task},
        "dataset": {"name": name, "type": re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-") or "data", "split": "test"},
        "metrics": metrics,
    }
    return {"name": _plain(f"{result.shipped} on {name}"), "results": [entry]}


def _text(shipped: Shipped, result: Result) -> list[str]:
    data, route = result.data, next(one for one in result.routes if one.name == result.shipped)
    origin = _measured_on(result)
    classes = [f"{_escaped(name)}" for name in data["classes"]]
    listed = checks.some(classes, NAMED)
    kinds = {block.task for block in blocks(data["classes"])} if result.task == "several" else set()
    more = _escaped("".join(sentence for kind, sentence in MORE.items() if kind in kinds))
    answers = ANSWERS[result.task].format(count=len(classes), names=listed, more=f"{more} " if more else "")
    asked = [f"Columns: {', '.join(map(_escaped, shipped.columns))}.", ""] if shipped.columns else []
    return [
        f"# {_escaped(result.shipped)} on {_escaped(origin)}",
        "",
        answers,
        "",
        *asked,
        "## How to use it",
        "",
        *(f"    {line}" for line in dict.fromkeys([*shipped.how.splitlines(), PREDICT])),
        "",
        "## How good it is",
        "",
        result.verdict.sentence,
        "",
        *([_escaped(result.sharing.sentence), ""] if result.sharing else []),
        *_table(result),
        "",
        "## Limits",
        "",
        *_limits(result),
        "",
        "## How it was made",
        "",
        *_made(shipped, route, result),
        *(["", "Said on the way:", "", *(f"- {_escaped(one)}" for one in result.warnings)] if result.warnings else []),
    ]


def _table(result: Result) -> list[str]:
    if not _figures(result):
        return ["The criteria say which route suits the target best of those tried, and nothing of how well."]
    rows = [
        f"| {in_words(name)} | {one.value:.4f} | {one.low:.4f} to {one.high:.4f} |"
        for name, one in _figures(result).items()
    ]
    rows += [
        f"| {_escaped(one.task)}: {in_words(name)} | {score.value:.4f} | {score.low:.4f} to {score.high:.4f} |"
        for one in (result.sharing.tasks if result.sharing else ())
        if one.route == result.shipped
        for name, score in one.shared.items()
    ]
    seeds = len({one.seed for one in result.routes})
    over = f", means over {seeds} seeds" if seeds > 1 else ""
    return [
        f"On {result.verdict.n:,} {'target' if _adapts(result) else 'held-out'} examples{over}:",
        "",
        "| figure | value | 95 % interval |",
        "|---|---|---|",
        *rows,
    ]


def _limits(result: Result) -> list[str]:
    sizes = result.data["sizes"]
    learnt = sizes["train"] + (sizes["validation"] if result.data["refit"] else 0)
    anyway = "- It answers for whatever it is asked, also for items of none of its classes."
    if result.task == "regress":
        anyway = "- It answers for whatever it is asked, also far from everything that it has learnt from."
    if _adapts(result):
        return [*_across(result, learnt), anyway]
    return [
        f"- It has learnt from {learnt:,} labelled examples, and the figures hold for items of the same origin: other "
        "cameras, years, writers or hospitals have to be measured anew.",
        anyway,
    ]


def _across(result: Result, learnt: int) -> list[str]:
    """What an adapted model has learnt from, and where it holds."""
    source, target = _sides(result)
    shipped = next(one for one in result.routes if one.name == result.shipped)
    known = int(result.data.get("known") or 0)
    told = f"from {learnt - known:,} labelled examples of the source ({_escaped(source)})"
    told += f", {known:,} of the target" if known else ""
    if shipped.tune == TARGET_ONLY:
        told = f"from {known:,} labelled examples of the target alone"
    looked = "adapts nothing to the target"
    if not shipped.floor:
        looked = f"from {result.data['target'] - known:,} of the target without labels"
    return [
        f"- It has learnt {told}, and {looked}.",
        f"- It is for items of the target ({_escaped(target)}), and for those of no third origin.",
        "- It was chosen by criteria that see no label of the target, and these can choose wrongly.",
    ]


def _made(shipped: Shipped, route: Outcome, result: Result) -> list[str]:
    data = result.data
    parts = PARTS if _adapts(result) else {}
    sizes = ", ".join(f"{parts.get(name, name)} {count:,}" for name, count in data["sizes"].items())
    both = " and once more on training and validation part together" if data["refit"] else ""
    facts: Mapping[str, Any] = {
        "data": f"{_escaped(_named(result))}, {data['n']:,} examples ({sizes})",
        "digest of the data": data["digest"],
        "source": _escaped(str(data["source"])) if data["source"] else "",
        "pretrained weights": _escaped(shipped.reference),
        "which weights moved": f"`{route.tune}`",
        "objective": f"`{route.loss}`" if route.loss else "",
        "fitted": f"on the training part{both}, seed {route.seed}",
        "versions": ", ".join(
            f"{name} {result.environment[name]}" for name in ("sterna", "torch", "python") if name in result.environment
        ),
    }
    lines = [f"- {name}: {value}" for name, value in facts.items() if value]
    return [*lines, "- all routes, their figures and what was looked at: `report.html` and `result.json` of the run"]


def _figures(result: Result) -> Mapping[str, Score]:
    shipped = next(one for one in summaries(result.routes) if one.name == result.shipped)
    return shipped.metrics


def _adapts(result: Result) -> bool:
    """Whether the run went from a labelled source to a target."""
    return result.data.get("target") is not None


def _sides(result: Result) -> tuple[str, str]:
    """What source and target are called."""
    left, _, right = str(result.data["origin"]).rpartition(" -> ")
    names = [", ".join(Path(part.strip()).name for part in one.split(",")) for one in (left, right)]
    return names[0] or "source", names[1] or "target"


def _measured_on(result: Result) -> str:
    """What the data are called from which the held-out examples come."""
    return _sides(result)[1] if _adapts(result) else Path(str(result.data["origin"])).name


def _named(result: Result) -> str:
    return " -> ".join(_sides(result)) if _adapts(result) else _measured_on(result)


def _base(reference: str) -> str:
    """What the pretrained weights are called on the hub; "" for those of a folder."""
    origin, _, name = reference.partition(":")
    local = not name or name.startswith(("/", ".", "~")) or Path(name).expanduser().exists()
    return "" if origin not in HUB or local else name if "/" in name else HUB[origin] + name


def _escaped(text: str) -> str:
    """A name from the data as text: no markup, no table or heading of its own."""
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _plain(text: str) -> str:
    return " ".join(text.split())
