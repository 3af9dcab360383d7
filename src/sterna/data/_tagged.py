"""Words and their tags as written: one word and its tags a line, or lists of words beside lists of tags."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sterna import columnwise, delimited
from sterna.cells import Builder, Cells
from sterna.errors import DataError
from sterna.maths.blocks import TAG
from sterna.records import Columns, Finding

LAST = -1  # the cell of a line that is its tag, where nobody says
FIRST = 200  # lines in which the first word of a file is looked for
LOOKED = 50  # cells by which a column is told to be one of lists
_BETWEEN = "\n"  # stands between the words of a sentence: no word holds it


@dataclass(frozen=True)
class Listed:
    """A table of lists of words."""

    words: Cells
    labels: tuple[Cells, ...]  # those of tags first
    order: tuple[int, ...]  # which of the label columns each was
    tagged: int  # how many are of tags


def words_of(cell: str | None) -> list[str]:
    """The words of a sentence, or their tags."""
    return cell.split(_BETWEEN) if cell else []


def sentences(place: Path, columns: Sequence[int] = (LAST,)) -> tuple[Cells, tuple[Cells, ...], tuple[Finding, ...]]:
    """Words and tags of a file of one word and its tags a line, with blank lines between sentences.

    The word is the first cell of a line. `columns`: the places of the cells that are tags, each a column. Raises
    `DataError` for a word without one.
    """
    raw = delimited.lines(place)
    words, tags = Builder(), [Builder() for _ in columns]
    sentence: list[list[str]] = []
    for number, line in enumerate(chain(raw.columns["line"], (None,)), start=1):
        if line is None or line.startswith("-DOCSTART-"):
            if sentence:
                words.add(_BETWEEN.join(cells[0] for cells in sentence))
                for builder, column in zip(tags, columns, strict=True):
                    builder.add(_BETWEEN.join(cells[column] for cells in sentence))
            sentence = []
        elif not _comment(line, sentence):
            cells = _cells(line)
            if columns and len(cells) < 2:
                raise DataError(
                    f"line {number} of {place} has no tag after '{cells[0]}'; write a word, a tab and a tag."
                )
            if len(cells) <= max(columns, default=0):
                raise DataError(
                    f"line {number} of {place} has {len(cells)} cells, and a tag is asked for from column "
                    f"{max(columns) + 1}; give each word all its tags, or name fewer columns with --task."
                )
            sentence.append(cells)
    return words.done(), tuple(one.done() for one in tags), raw.findings


def _cells(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _comment(line: str, sentence: Sequence[list[str]]) -> bool:
    """Whether a line before a sentence is a note on it."""
    return line.startswith("# ") and not sentence and "\t" not in line


def columns_of(place: Path, columns: Columns) -> dict[str, int]:
    """The columns of tags by name, and their places in a line; the last one alone unless a task for each is wanted.

    Raises `DataError` for the name of a column that the first word does not have.
    """
    if not columnwise.asks(columns.task):
        return {"tag": LAST}
    lines = (line for line in delimited.lines(place, FIRST).columns["line"] if line)
    words = [_cells(line) for line in lines if not (line.startswith("-DOCSTART-") or _comment(line, ()))]
    known = {f"column{place}": place - 1 for place in range(2, len(words[0]) + 1)} if words else {}
    odd = next((name for name in columns.label if name not in known), None)
    if odd is not None:
        raise DataError(
            f"{place} has no column '{odd}' of tags; behind the words, which are column1, it has {', '.join(known)}; "
            f"type --task 'column2={TAG}, column3={TAG}' or others of these."
        )
    return {name: known[name] for name in columns.label} or known


def listed(texts: Sequence[Cells], labels: Sequence[Cells], names: Sequence[str], task: str) -> Listed | None:
    """Sentences whose words and tags are JSON lists; None for a table of whole texts.

    Args:
        texts: the text columns.
        labels: the label columns. Where a task for each is asked for, those are tags whose lists are as long as the
            lists of words, in most rows; the others are labels of whole sentences.
        names: of the rows.
        task: as a person named it.

    Raises `DataError` where the task is tag and there are no lists, and for a row with more words than tags or fewer.
    """
    every = [one for one, cells in enumerate(labels) if _lists(cells)]
    if columnwise.asks(task):
        own = [one for one in every if _fits(texts[0], labels[one])] if len(texts) == 1 and _lists(texts[0]) else []
    else:
        own = [0] if len(texts) == len(labels) == len(every) == 1 and _lists(texts[0]) else []
    if not own and task == TAG:
        raise DataError(
            "the task tag needs a tag for each word, and these are whole texts; give a file of one word and its "
            "tag a line, or columns that hold lists of words and lists of tags."
        )
    if not own:
        return None
    made = [Builder() for _ in range(1 + len(own))]
    for place, row in enumerate(zip(texts[0], *(labels[one] for one in own), strict=True)):
        words, *tags = (_list(cell) for cell in row)
        for one in tags:
            if len(one) != len(words) and (len(own) == len(labels) == 1 or one):
                raise DataError(f"{names[place]} has {len(words)} words and {len(one)} tags; give each word one tag.")
        for builder, one in zip(made, (words, *tags), strict=True):
            builder.add(_BETWEEN.join(one))
    order = (*own, *(one for one in range(len(labels)) if one not in own))
    kept = (*(one.done() for one in made[1:]), *(labels[one] for one in order[len(own) :]))
    return Listed(made[0].done(), kept, order, len(own))


def _lists(cells: Cells) -> bool:
    """Whether the cells of a column are lists."""
    return all((cell or "[").startswith("[") for cell in cells[:LOOKED])


def _fits(words: Cells, tags: Cells) -> bool:
    """Whether most lists of one column are as long as those of the other."""
    alike = [len(_list(one)) == len(_list(other)) for one, other in zip(words, tags, strict=True) if one and other]
    return 2 * sum(alike) > len(alike)


def _list(cell: str | None) -> list[str]:
    try:
        return [str(one).replace(_BETWEEN, " ").strip() or "_" for one in json.loads(cell or "[]")]
    except (ValueError, TypeError) as error:
        raise DataError(f'\'{cell}\' is not a list of words; write it as ["a", "b"].') from error
