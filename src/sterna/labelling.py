"""Columns of labels as written -> what a task learns from, and which task that is.

The task is told from the labels where nobody names it: names are classes, numbers with many values or fractions are
amounts, cells that list several names carry several labels. It is always said, with how to have it otherwise.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sterna.errors import DataError
from sterna.records import Columns, Finding, Labels

TASKS = ("classify", "multilabel", "regress", "tag", "several")
CLASSES = 20  # whole numbers of at most so many different values are classes
UNLABELLED = frozenset(("unsup", "unlabeled", "unlabelled"))  # folders of examples that nobody has labelled
UNIQUE = 0.5  # share of different values from which names are those of rows, not of classes

_MISSING = frozenset(("", "nan", "na", "n/a", "null", "none", "?", "-"))  # in a column of numbers
_YES = {"1": 1, "1.0": 1, "true": 1, "yes": 1, "0": 0, "0.0": 0, "false": 0, "no": 0}
_LISTED = re.compile(r"[|;]")
_TOLD = 4


@dataclass(frozen=True)
class Labelled:
    """Labels of the rows that have one."""

    labels: Labels  # (m, ...) as the task has them
    classes: tuple[str, ...]  # names of classes, labels or tags, or of the columns of numbers
    task: str
    findings: tuple[Finding, ...]
    rows: np.ndarray  # (m,) int64: which of the given rows these are; rows without a label are left out


def encode(
    columns: Sequence[Sequence[str | None]], names: Sequence[str], wanted: str = "", called: Sequence[str] | None = None
) -> Labelled:
    """Labels from one or several columns.

    Args:
        columns: the cells, None where there is none.
        names: of the columns.
        wanted: the task a person named; "" tells it from the cells. One column: numbers with a fraction or more than
            20 different values are regress, cells of names joined by `|` or `;` or JSON lists are multilabel, all else
            is classify. Several columns: nothing but 0 and 1 is multilabel, other numbers are regress.
        called: what a person calls the rows; None calls them row 1, row 2, and on.

    Raises `DataError` for an unknown task, for labels that do not fit it, for a label column that names each row, and
    for fewer than two classes.
    """
    if wanted and wanted not in TASKS:
        raise DataError(f"there is no task '{wanted}'; the tasks are {', '.join(TASKS)}.")
    if wanted == "tag":
        raise DataError(
            "the task tag needs a tag for each word, and a column of labels has one for each row; give a file of one "
            "word and its tag a line with blank lines between sentences, or leave --task out."
        )
    task = wanted or (_one(columns[0]) if len(columns) == 1 else _several(columns, names))
    if task == "classify" and len(columns) > 1:
        raise DataError(f"classify takes one label column, got {', '.join(names)}; name one with --label.")
    called = called or [f"row {place}" for place in range(1, len(columns[0]) + 1)]
    rows, missing = _filled(columns, names, task, called)
    cells = [[column[row] or "" for row in rows.tolist()] for column in columns]
    make = {"classify": _classes, "multilabel": _lists if len(columns) == 1 else _switches, "regress": _numbers}[task]
    labels, classes = make(cells, names, [called[row] for row in rows.tolist()])
    said = () if wanted else (_said(task, names, cells[0], classes),)
    return Labelled(labels, classes, task, (*said, *missing), rows)


def tags(sequences: Sequence[Sequence[str]]) -> Labelled:
    """Labels of sentences with a tag for each word; the tag O, for outside, comes first.

    Raises `DataError` where fewer than two tags are used.
    """
    counts = Counter(tag for sequence in sequences for tag in sequence)
    if len(counts) < 2:
        raise DataError(
            f"the words carry {_counted(len(counts), 'tag')}{_in_brackets(counts)}, and two are needed to tell apart; "
            "give sentences whose words carry different tags."
        )
    classes = tuple(sorted(counts, key=lambda tag: (tag != "O", tag[2:], tag[:2])))
    number = {tag: place for place, tag in enumerate(classes)}
    labels = np.empty(len(sequences), dtype=object)
    labels[:] = [np.array([number[tag] for tag in sequence], dtype=np.int64) for sequence in sequences]
    kinds = sorted({tag[2:] for tag in classes if tag[1:2] == "-"})
    sentence = (
        f"the task is tag: {_counted(len(classes), 'tag')}{_in_brackets(kinds)}, one for each word; give a table of "
        "texts to classify whole texts."
    )
    return Labelled(labels, classes, "tag", (Finding("inferred", sentence),), np.arange(len(sequences)))


def no_columns(origin: str, what: str, said: Columns) -> None:
    """Raises `DataError` where a person names columns of data that have none; ignored, they would seem followed.

    Args:
        origin: what the person typed for the data.
        what: what the data are, and where their labels come from, to follow the origin in a sentence.
        said: the columns that were named.
    """
    options = {"label": ",".join(said.label), "group": said.group, "domain": said.domain, "text": ",".join(said.text)}
    given = [f"--{option} {name}" for option, name in options.items() if name]
    if given:
        raise DataError(
            f"{origin} {what}; --label, --group, --domain and --text name columns of a table, got {' '.join(given)}: "
            "leave that out, or give a table such as a .csv."
        )


def only_classes(origin: str, kind: str, said: Columns) -> None:
    """Raises `DataError` for another task than classify, where `kind` ("pictures") is read for no other."""
    if said.task not in ("", "classify"):
        raise DataError(
            f"{origin} holds {kind}, which are read for the task classify, got --task {said.task}; leave it out."
        )


def unlabelled_folders(examples: Iterable[tuple[str, str]], noun: str) -> tuple[frozenset[str], list[Finding]]:
    """Class folders that hold no class but examples without a label, as `train/unsup` of the IMDB reviews does.

    Args:
        examples: the given part and the class folder of each example.
        noun: what an example is: "picture".

    Returns:
        the names of the folders called `unsup`, `unlabeled` or `unlabelled` that the training part has and the given
        test part (without one, the validation part) lacks, and what is said of them.
    """
    counts = Counter(examples)
    held = next((part for part in ("test", "validation") if any(part == one for one, _ in counts)), "")
    there = {name for part, name in counts if part == held}
    found = {
        name: 0 for part, name in counts if part == "train" and name.casefold() in UNLABELLED and name not in there
    }
    if not held or not found:
        return frozenset(), []
    for (_, name), count in counts.items():
        if name in found:
            found[name] += count
    told = ", ".join(f"{name} ({_counted(count, noun)})" for name, count in found.items())
    sentence = (
        f"{_counted(len(found), 'folder')} of unlabelled {noun}s left out, being no class of the given {held} part: "
        f"{told}; rename what is a class."
    )
    return frozenset(found), [Finding("unlabelled", sentence, tuple(found))]


def number(cell: str) -> float | None:
    """The number a cell spells, None for none; infinity and NaN are none."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in cell else None


def _one(column: Sequence[str | None]) -> str:
    """The task of one column."""
    filled = [cell for cell in column if cell]
    values = [number(cell) for cell in filled if cell.casefold() not in _MISSING]
    numeric = [value for value in values if value is not None]
    if numeric and len(numeric) == len(values):
        different = len(set(numeric))
        few = different <= CLASSES and different <= max(2, UNIQUE * len(numeric))
        return "classify" if few and all(value.is_integer() for value in numeric) else "regress"
    listed = [_split(cell) for cell in filled]
    several = sum(len(names) > 1 for names in listed)
    short = all(len(name) <= 60 for names in listed for name in names)
    again = len({name for names in listed for name in names}) <= UNIQUE * sum(map(len, listed))
    if filled and all(cell.startswith("[") for cell in filled):
        return "multilabel"
    return "multilabel" if several > 0.02 * len(filled) and short and again else "classify"


def _several(columns: Sequence[Sequence[str | None]], names: Sequence[str]) -> str:
    """The task of several columns."""
    cells = {cell.casefold() for column in columns for cell in column if cell}
    if cells and cells <= _YES.keys():
        return "multilabel"
    if all(number(cell) is not None or cell in _MISSING for cell in cells):
        return "regress"
    odd = next(cell for cell in cells if number(cell) is None and cell not in _MISSING)
    raise DataError(
        f"the label columns {', '.join(names)} must all hold 0 or 1 (several labels) or all hold numbers (several "
        f"values), and one says '{odd}'; name fewer with --label, or type --task several to have a task for each."
    )


def _filled(
    columns: Sequence[Sequence[str | None]], names: Sequence[str], task: str, called: Sequence[str]
) -> tuple[np.ndarray, list[Finding]]:
    """The rows with a label in each column, and a finding where there are others."""
    absent = _MISSING if task == "regress" or _numeric(columns) else frozenset(("",))
    there = np.ones(len(columns[0]), dtype=bool)
    for column in columns:
        there &= np.array([(cell or "").casefold() not in absent for cell in column], dtype=bool)
    rows, left = np.flatnonzero(there), np.flatnonzero(~there)
    if not len(rows):
        raise DataError(f"no row has a label in {_column(names)}; fill it in, or name another with --label.")
    if not len(left):
        return rows, []
    told = tuple(called[place] for place in left.tolist())
    more = " ([] stands for none of the labels)" if task == "multilabel" else ""
    sentence = (
        f"{_counted(len(left), 'row')} without a label in {_column(names)} set aside: {_some(told)}; fill them in to "
        f"use them{more}."
    )
    return rows, [Finding("unlabelled", sentence, told)]


def _numeric(columns: Sequence[Sequence[str | None]]) -> bool:
    return all(number(cell) is not None or cell.casefold() in _MISSING for column in columns for cell in column if cell)


def _classes(cells: list[list[str]], names: Sequence[str], called: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    written, numeric = _plain(cells[0])
    classes = tuple(sorted(set(written), key=float if numeric else None))
    if len(classes) > max(2, UNIQUE * len(written)):
        raise DataError(
            f"{_column(names)} holds {len(classes)} different values in {len(written)} rows, so it names rows rather "
            f"than classes ({_some(classes)}); name another with --label"
            f"{', or type --task regress' if numeric else ''}."
        )
    if len(classes) < 2:
        raise DataError(
            f"{_column(names)} holds one value only ({classes[0]}), and two are needed to tell apart; add examples of "
            "another class, or name another column with --label."
        )
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place[name] for name in written], dtype=np.int64), classes


def _plain(cells: Sequence[str]) -> tuple[list[str], bool]:
    """Names of classes, with 1.0 and 1 as one; and whether all are numbers."""
    values = [number(cell) for cell in cells]
    if any(value is None for value in values):
        return list(cells), False
    return [f"{value:.0f}" if value.is_integer() else repr(value) for value in values if value is not None], True


def _lists(cells: list[list[str]], names: Sequence[str], called: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    listed = [_split(cell) for cell in cells[0]]
    classes = tuple(sorted({name for one in listed for name in one}))
    if len(classes) > max(2, UNIQUE * sum(map(len, listed))) or not classes:
        raise DataError(
            f"{_column(names)} lists {len(classes)} different labels in {len(listed)} rows{_in_brackets(classes)}, so "
            "few can be learnt; name another column with --label, or type --task classify."
        )
    place = {name: number for number, name in enumerate(classes)}
    labels = np.zeros((len(listed), len(classes)), dtype=np.uint8)
    for row, one in enumerate(listed):
        labels[row, [place[name] for name in one]] = 1
    return labels, classes


def _switches(
    cells: list[list[str]], names: Sequence[str], called: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    for name, column in zip(names, cells, strict=True):
        odd = next((place for place, cell in enumerate(column) if cell.casefold() not in _YES), None)
        if odd is not None:
            raise DataError(
                f"column '{name}' says '{column[odd]}' in {called[odd]}, and a column for one of several labels "
                "may say 0 or 1; mend it, or leave the column out of --label."
            )
    labels = np.array([[_YES[cell.casefold()] for cell in column] for column in cells], dtype=np.uint8).T
    return np.ascontiguousarray(labels), tuple(names)


def _numbers(cells: list[list[str]], names: Sequence[str], called: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    made = np.empty((len(called), len(cells)), dtype=np.float64)
    for place, (name, column) in enumerate(zip(names, cells, strict=True)):
        values = [number(cell) for cell in column]
        odd = next((row for row, value in enumerate(values) if value is None), None)
        if odd is not None:
            raise DataError(
                f"column '{name}' says '{column[odd]}' in {called[odd]}, which is no number; mend it, or type "
                "--task classify."
            )
        made[:, place] = np.array(values, dtype=np.float64)
        if len(values) > 1 and made[:, place].min() == made[:, place].max():
            raise DataError(f"column '{name}' holds the same number everywhere ({made[0, place]:g}); name another.")
    return made, tuple(names)


def _split(cell: str) -> list[str]:
    """The names a cell lists."""
    if cell.startswith("["):
        try:
            return list(dict.fromkeys(str(one).strip() for one in json.loads(cell)))
        except ValueError:
            pass  # written by another program, or a name in brackets
    return list(dict.fromkeys(one.strip() for one in _LISTED.split(cell) if one.strip()))


def _said(task: str, names: Sequence[str], cells: Sequence[str], classes: Sequence[str]) -> Finding:
    if task == "classify":
        what = f"{len(classes)} classes{_in_brackets(classes)}"
        other = "--task regress if its numbers are amounts" if _plain(cells)[1] else "--label NAME for another column"
    elif task == "multilabel":
        what = f"any of {len(classes)} labels{_in_brackets(classes)}"
        other = (
            "--task classify to have each combination be a class" if len(names) == 1 else "--task regress for amounts"
        )
    else:
        what = f"{_counted(len(classes), 'number')} to predict"
        other = "--task classify to have each value be a class"
    return Finding("inferred", f"the task is {task}: {what}, from {_column(names)}; type {other}.")


def _column(names: Sequence[str]) -> str:
    return f"{'the label column' if len(names) == 1 else 'the label columns'} {', '.join(map(repr, names))}"


def _in_brackets(names: Iterable[str]) -> str:
    told = _some(list(names))
    return f" ({told})" if told else ""


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _TOLD
    return ", ".join(names[:_TOLD]) + (f" and {rest} more" if rest > 0 else "")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
