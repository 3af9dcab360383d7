"""What a person pointed at -> a checked target and, where there is one, its source."""

from __future__ import annotations

import glob
import hashlib
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sterna import artifact, checks, columnwise, files, mixing, opening, targeting, together
from sterna.contracts import Task
from sterna.errors import DataError, SpecError
from sterna.maths import blocks
from sterna.records import Columns, Fitted, Loaded, Split, Table
from sterna.settings import Settings
from sterna.watching import Watch


@dataclass(frozen=True)
class Sides:
    """What a person pointed at."""

    data: str
    source: str = ""  # labelled, to be mixed into the training part
    target: str = ""  # to adapt to; `data` are then the source
    labels: str = ""  # labelled examples of the target
    unlabelled: str = ""  # more examples of the data, without labels
    beside: str = ""  # labelled for another task, to be learnt together

    @property
    def others(self) -> dict[str, str]:
        """All but the data, by the name of the option."""
        return {name: value for name, value in vars(self).items() if name != "data"}


def opened(sides: Sides, columns: Columns, settings: Settings, watch: Watch) -> tuple[Loaded, Loaded | None]:
    """The target and its source, from two data sets or from the domains of one; one data set for an adaptation."""
    data, source, columns = sides.data, sides.source, columnwise.of_tasks(columns)
    if sides.beside and (sides.target or source or settings.domain or sides.unlabelled):
        raise SpecError(
            "--beside names data to be learnt together with DATA; leave --source, --target, --target-domain and "
            "--unlabelled out."
        )
    if sides.target:
        if source or settings.domain or sides.unlabelled:
            raise SpecError(
                "--target names what to adapt to and DATA is its source; leave --source, --target-domain and "
                "--unlabelled out."
            )
        return _crossed(sides, columns, watch), None
    if sides.labels:
        raise SpecError("--labels are some labels of a --target, got no target; name it.")
    if _is_model(data):
        raise DataError(
            f"{data} is a saved model, no data; name examples to adapt it to with --target, or fit data from it with "
            f"--encoder local:{data}."
        )
    loaded = _read(data, columns, watch, "checking the data")
    if sides.beside:
        return _together(loaded, sides, columns, watch), None
    if settings.domain:
        if source:
            raise SpecError(
                "the source is either another data set (--source) or other domains, not both; leave one out."
            )
        target, others = mixing.by_domain(loaded, settings.domain)
        _check_classes(target, settings.domain)
        watch.say(f"{len(target.table)} examples of the domain {settings.domain}, {len(others.table)} of all others.")
        return _with_more(target, sides.unlabelled, columns, watch), others
    loaded = _with_more(loaded, sides.unlabelled, columns, watch)
    return loaded, _read(source, columns, watch, "checking the source") if source else None


def _check_classes(target: Loaded, domain: str) -> None:
    """Raises `DataError` for a domain that lacks examples of a class to learn from and to be tested on."""
    table = target.table
    if table.task != "classify":
        return
    counts = np.bincount(table.labels, minlength=len(table.classes)).tolist()
    scarce = [(name, count) for name, count in zip(table.classes, counts, strict=True) if count < 2]
    if scarce:
        name, count = scarce[0]
        raise DataError(
            f"the domain {domain} has {checks.counted(count, 'example') if count else 'no example'} of class '{name}', "
            "and two are needed, to learn from and to test on; choose another domain, or adapt to this one without its "
            f"labels: --target '{domain}' in place of --target-domain."
        )


def _together(loaded: Loaded, sides: Sides, columns: Columns, watch: Watch) -> Loaded:
    """The data and other labelled data, a task for each."""
    sets, names = [loaded], [columns.label[0] if columns.label else together.called(sides.data)]
    for written in filter(None, (part.strip() for part in sides.beside.split(","))):
        place, between, column = written.rpartition(":")
        if not between or Path(written).expanduser().exists() or not Path(place).expanduser().exists():
            place, column = written, ""
        said = Columns(label=(column,) if column else ())
        sets.append(_read(place, said, watch, "checking the data beside"))
        names.append(column or together.called(place))
    found = together.joined(sets, names)
    watch.say(f"{blocks.told(found.table.classes)}, learnt together.")
    for finding in found.findings[sum(len(one.findings) for one in sets) :]:
        watch.say(finding.sentence)
    return found


def spare(loaded: Loaded) -> str:
    """The option that has a run learn from what the data set itself holds without labels; "" where it holds none.

    Folders of unlabelled examples lie in the folder of a part, and rows without a label in the table itself.
    """
    names = [name for one in loaded.findings if one.kind == "unlabelled" for name in one.items]
    root = Path(loaded.origin).expanduser()
    if not names:
        return ""
    if root.is_file():
        return f"--unlabelled {shlex.quote(loaded.origin)}"
    places = sorted(place for name in names for place in root.glob(f"*/{glob.escape(name)}") if place.is_dir())
    return f"--unlabelled {shlex.quote(str(places[0]))}" if places else ""


def _with_more(loaded: Loaded, unlabelled: str, columns: Columns, watch: Watch) -> Loaded:
    """The data with more items beside them whose labels, if there are any, are not looked at."""
    if not unlabelled:
        told = spare(loaded)
        if told:
            watch.say(
                f"What has no label can be learnt from all the same: type {told} with --loss 'cross_entropy + fixmatch'"
                " or --method label_propagation."
            )
        return loaded
    _check_there(unlabelled)
    items, unreadable = opening.gather([unlabelled], loaded.table.items.modality, columns)
    found = targeting.beside(loaded, targeting.plain(items, unlabelled))
    left = f"; {len(unreadable)} cannot be read and are left out" if unreadable else ""
    assert found.unlabelled is not None
    watch.say(f"{unlabelled}: {len(found.unlabelled)} examples without labels{left}.")
    for finding in found.findings[len(loaded.findings) :]:
        watch.say(finding.sentence)
    return found


def _check_there(reference: str, more: str = "") -> None:
    """Raises `DataError` for what is no file, folder, pattern or name of a set: it would be taken for a text.

    `more`: what else it might have been.
    """
    if not _named(reference):
        raise DataError(f"{checks.no_such_path(Path(reference).expanduser())}{more}")


def _named(reference: str) -> bool:
    """Whether it is a file, a folder, a pattern or the name of a set."""
    return reference.startswith("sklearn:") or glob.has_magic(reference) or Path(reference).expanduser().exists()


def _alone(sides: Sides, columns: Columns, watch: Watch) -> Loaded:
    """A saved model and what it is to be adapted to, as one data set; see `targeting.alone`."""
    if columns.domain:
        raise SpecError(
            f"--domain {columns.domain} tells sources apart, and a saved model is the source; leave it out."
        )
    model = _model(Path(sides.data).expanduser())
    source = targeting.behind(model)
    classes = f"{len(model.classes)} classes ({checks.some(model.classes, 8)})"
    watch.say(f"{sides.data}: a saved model of {classes}; it is adapted without its source.")
    target = _unlabelled(sides.target, source, columns, watch)
    given = replace(columns, task=columns.task or model.task)
    judging = _read(sides.labels, given, watch, "checking the labels") if sides.labels else None
    for one in filter(None, (target, judging)):
        modality = one.table.items.modality
        if modality != source.table.items.modality:
            raise DataError(
                f"the model {sides.data} takes {source.table.items.modality} data, but those of {one.origin} are "
                f"{modality}; give others."
            )
    found = replace(targeting.alone(source, target, judging), origin=f"{sides.data} -> {sides.target}")
    for finding in found.findings:
        watch.say(finding.sentence)
    return found


def _model(place: Path) -> Fitted:
    """The saved model of a folder. Raises `DataError` for one that cannot be adapted without its source."""
    config = files.read_json(place / "config.json")
    if config.get("library") in ("sterna", "scikit-learn"):
        raise DataError(
            f"the model {place} has no stages that could move: it is a method on features; give the model of a route "
            "that is a network, such as --tune partial makes, or adapt the source's data themselves."
        )
    fitted = artifact.load(place)
    if fitted.task != "classify":
        raise DataError(
            f"adaptation without a source is for classes, and the model {place} answers the task {fitted.task}; give "
            "the source's data in place of the model."
        )
    if not fitted.classes or len(fitted.classes) != fitted.network.classes:
        raise DataError(
            f"the model {place} does not name the classes that its head answers, so it cannot answer for a target; "
            "write them as label_names into its config.json."
        )
    return fitted


def _is_model(reference: str) -> bool:
    """Whether it is a folder of a saved model. Raises `DataError` for the folder of a run, whose model lies inside."""
    place = Path(reference).expanduser()
    if (place / "result.json").is_file() and (place / "model" / "config.json").is_file():
        raise DataError(f"{reference} is the folder of a run; its model is {Path(reference) / 'model'}, give that.")
    return (place / "config.json").is_file()


def _crossed(sides: Sides, columns: Columns, watch: Watch) -> Loaded:
    """A labelled source and the target of an adaptation, as one data set; see `targeting.joined`."""
    if _is_model(sides.data):
        return _alone(sides, columns, watch)
    target, labels = sides.target, sides.labels
    several = [part.strip() for part in sides.data.split(",") if part.strip()]
    sources = [_read(part, columns, watch, "checking the data") for part in several]
    source = sources[0] if len(sources) == 1 else targeting.stacked(sources)
    plain = not (_named(target) or Path(target).suffix or Path(target).name != target)  # nobody would call a file so
    if columns.domain and (plain or target in source.domains.tolist()):
        other, source = mixing.by_domain(source, target)
        watch.say(f"{len(other.table)} examples of the domain {target}, {len(source.table)} of all others.")
    else:
        other = _unlabelled(target, source, columns, watch)
    few = _read(labels, columns, watch, "checking the labels") if labels else None
    found = targeting.joined(source, other, few)
    for finding in found.findings[len(source.findings) :]:
        watch.say(finding.sentence)
    return found


def _unlabelled(target: str, source: Loaded, columns: Columns, watch: Watch) -> Loaded:
    """The target, with labels only where they are the source's classes."""
    try:
        found = _read(target, replace(columns, task=columns.task or source.table.task), watch, "checking the target")
    except DataError:
        _check_there(
            target,
            ""
            if columns.domain or not Path(source.origin).is_file()
            else " For a domain of the data, name its column by --domain.",
        )
        items, unreadable = opening.gather([target], source.table.items.modality, columns)
        left = f"; {len(unreadable)} cannot be read and are left out" if unreadable else ""
        watch.say(f"{target}: {len(items)} examples without labels{left}.")
        return targeting.plain(items, target)
    try:
        mixing.usable(found.table, source.table)
    except DataError:
        whose = "model" if source.model is not None else "source"
        watch.say(f"The labels of {target} are none of the {whose}'s, so its examples count as unlabelled.")
        return targeting.plain(found.table.items, target)
    return found


def _read(reference: str, columns: Columns, watch: Watch, what: str) -> Loaded:
    loaded = opening.open_data(reference, columns, lambda done, total: watch.advance(what, done, total))
    table = loaded.table
    nouns = {
        "classify": "classes",
        "multilabel": "labels",
        "regress": "columns of numbers",
        "tag": "tags",
        "several": "rows",
    }
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
    if loaded.model is not None:
        made.update(loaded.model.digest.encode())
    others = () if loaded.unlabelled is None else loaded.unlabelled.rows
    for row in (*table.rows, *others):
        made.update(table.items.digest(int(row)).encode())
    return made.hexdigest()


def items_digest(table: Table) -> str:
    """A digest of the items of a table, whatever their order and labels."""
    made = hashlib.blake2b(digest_size=16)
    for one in sorted(table.items.digest(int(row)) for row in table.rows):
        made.update(one.encode())
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
        if not (loaded.blind and name == "test")
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
        "target": len(loaded.unlabelled) if loaded.crossed and loaded.unlabelled is not None else None,
        "known": int((loaded.parts == "train").sum()) if loaded.crossed else 0,
        "unlabelled": 0 if loaded.crossed or loaded.unlabelled is None else len(loaded.unlabelled),
        "refit": len(split.train) + len(split.validation) <= settings.refit,
    }
