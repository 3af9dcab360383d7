"""What a person pointed at -> a checked target and, where there is one, its source."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from sterna import mixing, opening
from sterna.contracts import Task
from sterna.errors import SpecError
from sterna.records import Columns, Loaded, Split
from sterna.settings import Settings
from sterna.watching import Watch


def opened(
    data: str, source: str | Path | None, columns: Columns, settings: Settings, watch: Watch
) -> tuple[Loaded, Loaded | None]:
    """The target and its source, from two data sets or from the domains of one."""
    loaded = _read(data, columns, watch, "checking the data")
    if settings.domain:
        if source:
            raise SpecError(
                "the source is either another data set (--source) or other domains, not both; leave one out."
            )
        target, others = mixing.by_domain(loaded, settings.domain)
        watch.say(f"{len(target.table)} examples of the domain {settings.domain}, {len(others.table)} of all others.")
        return target, others
    return loaded, _read(str(source), columns, watch, "checking the source") if source else None


def _read(reference: str, columns: Columns, watch: Watch, what: str) -> Loaded:
    loaded = opening.open_data(reference, columns, lambda done, total: watch.advance(what, done, total))
    table = loaded.table
    nouns = {"classify": "classes", "multilabel": "labels", "regress": "columns of numbers", "tag": "tags"}
    watch.say(f"{reference}: {len(table)} examples, {len(table.classes)} {nouns[table.task]} (task {table.task}).")
    for finding in loaded.findings:
        watch.say(finding.sentence)
    return loaded


def digest(loaded: Loaded) -> str:
    """A digest of the items, labels and classes of a data set."""
    table = loaded.table
    made = hashlib.blake2b(repr((table.task, table.classes)).encode(), digest_size=16)
    labels = np.concatenate(table.labels) if table.labels.dtype == object else table.labels
    made.update(np.ascontiguousarray(labels).tobytes())
    for row in table.rows:
        made.update(table.items.digest(int(row)).encode())
    return made.hexdigest()


def described(loaded: Loaded, related: Loaded | None, split: Split, task: Task, settings: Settings) -> dict[str, Any]:
    """The `data` entry of `result.json`.

    Args:
        loaded, related: the target and its source.
        split: of the first seed.
        task: what a label is.
        settings: of the run.
    """
    table = loaded.table
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    counts = {
        name: dict(zip(table.classes, task.counts(table.labels[rows], len(table.classes)).tolist(), strict=True))
        for name, rows in parts.items()
    }
    findings = [{"kind": one.kind, "sentence": one.sentence, "items": list(one.items)} for one in loaded.findings]
    return {
        "origin": loaded.origin,
        "n": len(table),
        "task": table.task,
        "sizes": {name: len(rows) for name, rows in parts.items()},
        "classes": list(table.classes),
        "counts": counts,
        "digest": digest(loaded),
        "findings": findings,
        "source": related.origin if related else None,
        "refit": len(split.train) + len(split.validation) <= settings.refit,
    }
