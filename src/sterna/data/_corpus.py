"""Where texts come from: tables, folders of class folders, files of tagged words -> cells and what is said of them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import overload

import numpy as np

from sterna import charsets, checks, columnwise, delimited, labelling, peeking
from sterna.cells import Builder, Cells, gathered
from sterna.data import _roles, _tagged
from sterna.errors import DataError
from sterna.records import Columns, Finding

Progress = Callable[[int, int], None]

_TEXT = ".txt"


words_of, sentences = _tagged.words_of, _tagged.sentences


class Names(Sequence[str]):
    """What a person calls examples: the file where there are several, and the row.

    Args:
        origins: of files; "" where there is only one.
        which: (n,) the file of each example.
        numbers: (n,) its row in that file.
        noun: "row" or "sentence".
    """

    def __init__(self, origins: Sequence[str], which: np.ndarray, numbers: np.ndarray, noun: str = "row") -> None:
        self._origins, self._which, self._numbers, self._noun = tuple(origins), which, numbers, noun

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        origin = self._origins[int(self._which[index])]
        return f"{origin} {self._noun} {self._numbers[index]}".strip()


@dataclass(frozen=True)
class Corpus:
    """Examples as written."""

    texts: tuple[Cells, ...]  # one column, or two for pairs; the words of a sentence stand on lines of one cell
    names: Sequence[str]
    labels: tuple[Cells, ...] = ()  # by label column; those of tags come first, with a tag a line
    called: tuple[str, ...] = ()  # the label columns
    words: bool = False
    tagged: int = 0  # how many of the label columns hold tags of words
    parts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype="<U10"))
    groups: Sequence[str | None] = ()
    domains: Sequence[str | None] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Source:
    """One file, and the part its name gives."""

    place: Path
    part: str = ""


def read(place: Path, columns: Columns, progress: Progress | None = None) -> Corpus:
    """The examples of a table, of a folder of class folders of .txt, of train, validation and test files, or of files
    of tagged words.
    """
    if not place.is_dir():
        return _files([_Source(place)], columns, progress)
    if any(path.is_dir() and _texts_below(path) for path in _visible(place)):
        labelling.no_columns(str(place), "is a folder, whose class folders are the labels", columns)
        return class_folders(place, progress)
    return _files(_part_files(place, columns), columns, progress)


def class_folders(root: Path, progress: Progress | None = None, labelled: bool = True) -> Corpus:
    """The .txt files of class folders, which train, validation and test folders may hold; each file is one text."""
    parts = _part_folders(root) if labelled else {}
    files = [path for path in _below(root) if path.suffix.lower() == _TEXT]
    listed = [(path, path.relative_to(root).parts) for path in files]
    depth = 1 if parts else 0
    kept = [(path, names) for path, names in listed if len(names) > depth + 1 or not labelled]
    loose = [path for path, names in listed if len(names) <= depth + 1 and labelled]
    if parts:
        loose += [path for path, names in kept if names[0] not in parts]
        kept = [(path, names) for path, names in kept if names[0] in parts]
    without, unlabelled = labelling.unlabelled_folders(
        ((parts[names[0]], names[1]) for _, names in kept if parts), "text"
    )
    kept = [(path, names) for path, names in kept if names[depth] not in without] if without else kept
    texts, encodings, bad = _texts([path for path, _ in kept], progress)
    kept = [(path, names) for path, names in kept if path not in set(bad)] if bad else kept
    return Corpus(
        (texts,),
        [path.relative_to(root).as_posix() for path, _ in kept],
        (gathered(names[depth] for _, names in kept),) if labelled else (),
        ("folder",) if labelled else (),
        parts=np.array([parts[names[0]] if parts else "" for _, names in kept], dtype="<U10"),
        findings=(*_folder_findings(root, parts, loose, encodings, bad), *unlabelled),
    )


def tables(sources: Sequence[tuple[Path, str]], columns: Columns, progress: Progress | None, labelled: bool) -> Corpus:
    """The rows of one or several tables of the same columns, each with the part its name gives."""
    raws = [delimited.read(place, progress) for place, _ in sources]
    origin = sources[0][0].name
    seen = _roles.Seen(origin, raws[0].columns)
    roles, told = _roles.find(seen, columns, labelled)
    for (place, _), raw in zip(sources, raws, strict=True):
        absent = [name for name in (*roles.text, roles.domain) if name and name not in raw.names]
        if absent:
            raise DataError(
                f"{place.name} has no column '{absent[0]}', which {origin} has; it has {', '.join(raw.names)}; give "
                "both the same column names."
            )

    def joined(name: str) -> Cells:
        if len(raws) == 1 and isinstance(raws[0].columns[name], Cells):
            return raws[0].columns[name]  # type: ignore[return-value]
        return gathered(chain.from_iterable(raw.columns.get(name, [None] * len(raw)) for raw in raws))

    which = np.repeat(np.arange(len(raws)), [len(raw) for raw in raws])
    names = Names(
        [place.name for place, _ in sources] if len(raws) > 1 else [""],
        which,
        np.concatenate([raw.rows for raw in raws]),
    )
    parts = np.array([part for _, part in sources], dtype="<U10")[which]
    if roles.part:
        parts = _parts(joined(roles.part), parts, origin)
    made = Corpus(
        tuple(joined(name) for name in roles.text),
        names,
        tuple(joined(name) for name in roles.label),
        roles.label,
        parts=parts,
        groups=joined(roles.group) if roles.group else (),
        domains=joined(roles.domain) if roles.domain else (),
        findings=(*(one for raw in raws for one in raw.findings), *told),
    )
    return _listed_words(made, columns)


def _files(sources: Sequence[_Source], columns: Columns, progress: Progress | None) -> Corpus:
    if not peeking.is_tagged(sources[0].place):
        return tables([(one.place, one.part) for one in sources], columns, progress, True)
    tags = _tagged.columns_of(sources[0].place, columns)
    said = replace(columns, label=()) if columnwise.asks(columns.task) else columns
    labelling.no_columns(str(sources[0].place), "is a file of words and their tags, without names of columns", said)
    read = [_tagged.sentences(one.place, tuple(tags.values())) for one in sources]
    counts = [len(words) for words, _, _ in read]
    which = np.repeat(np.arange(len(read)), counts)
    several = [one.place.name for one in sources] if len(read) > 1 else [""]
    if progress is not None:
        progress(sum(counts), sum(counts))
    return Corpus(
        (gathered(chain.from_iterable(words for words, _, _ in read)),),
        Names(several, which, np.concatenate([np.arange(1, count + 1) for count in counts]), "sentence"),
        tuple(gathered(chain.from_iterable(tags[place] for _, tags, _ in read)) for place in range(len(tags))),
        tuple(tags),
        words=True,
        tagged=len(tags),
        parts=np.array([one.part for one in sources], dtype="<U10")[which],
        findings=tuple(one for _, _, findings in read for one in findings),
    )


def _listed_words(corpus: Corpus, columns: Columns) -> Corpus:
    """Sentences whose words and tags are JSON lists, as data sets in Parquet and JSON lines often have them."""
    found = _tagged.listed(corpus.texts, corpus.labels, corpus.names, columns.task)
    if found is None:
        return corpus
    called = tuple(corpus.called[place] for place in found.order)
    return replace(corpus, texts=(found.words,), labels=found.labels, called=called, words=True, tagged=found.tagged)


def _parts(cells: Iterable[str | None], given: np.ndarray, origin: str) -> np.ndarray:
    found = given.copy()
    for place, cell in enumerate(cells):
        if cell:
            part = checks.PART_NAMES.get(cell.casefold())
            if part is None:
                raise DataError(f"the split column of {origin} says '{cell}'; it may say train, validation or test.")
            found[place] = part
    return found


def _part_files(root: Path, columns: Columns) -> list[_Source]:
    """The files of a folder that are called after a part; a training file comes first."""
    named: dict[str, list[Path]] = {}
    for path in _visible(root):
        tokens = [checks.PART_NAMES.get(token) for token in re.split(r"[^a-z]+", path.name.casefold())]
        part = next((token for token in tokens if token), None)
        if part and path.is_file() and (path.suffix == ".parquet" or delimited.is_text(path)):
            named.setdefault(part, []).append(path)
    if "train" not in named:
        if any(path.is_dir() for path in _visible(root)):
            labelling.no_columns(str(root), "is a folder, whose class folders are the labels", columns)
        raise DataError(
            f"{root} holds no folders of .txt files and no file called after train; give a table, a folder with one "
            "folder of .txt files for each class, or train, validation and test files."
        )
    for part, paths in named.items():
        if len(paths) > 1:
            raise DataError(
                f"{root} holds {len(paths)} {part} files ({checks.some(path.name for path in paths)}); put each data "
                "set into a folder of its own."
            )
    return [_Source(named[part][0], part) for part in checks.PARTS if part in named]


def _part_folders(root: Path) -> dict[str, str]:
    """Folder name -> part, where the folders of `root` are parts and not classes."""
    inner = [path for path in _visible(root) if path.is_dir() and _texts_below(path)]
    named = {
        path.name: checks.PART_NAMES[path.name.casefold()]
        for path in inner
        if path.name.casefold() in checks.PART_NAMES
    }
    deep = any(path.is_dir() for name, part in named.items() if part == "train" for path in _visible(root / name))
    return named if deep and (len(named) > 1 or len(inner) == 1) else {}


def _visible(place: Path) -> list[Path]:
    return [place / name for name in sorted(os.listdir(place)) if not name.startswith(".")]


def _below(place: Path) -> Iterator[Path]:
    """All files below a folder, sorted; linked folders are not entered."""
    for path in _visible(place):
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)
        elif not path.is_dir():
            yield path


def _texts_below(place: Path) -> bool:
    return any(path.suffix.lower() == _TEXT for path in _below(place))


def _texts(paths: Sequence[Path], progress: Progress | None) -> tuple[Cells, Counter[str], list[Path]]:
    """The texts of files, how many are in which encoding, and the files that cannot be opened."""
    texts, encodings, bad = Builder(), Counter[str](), []
    others: tuple[str, ...] = ()
    for number, path in enumerate(paths):
        content = _content(path)
        if content is None:
            bad.append(path)
        else:
            encoding = charsets.plain(content)
            if not encoding:
                others = others or charsets.likely(_lines_beyond(paths[number:]))
                encoding = charsets.of(content, others)
            encodings[encoding] += 1
            texts.add(content.decode(encoding))
        if progress is not None:
            progress(number + 1, len(paths))
    return texts.done(), encodings, bad


def _lines_beyond(paths: Sequence[Path]) -> Iterator[bytes]:
    """The lines of those files that are not plainly UTF-8 or another encoding."""
    for content in map(_content, paths):
        if content is not None and not charsets.plain(content):
            yield from content.splitlines(keepends=True)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _folder_findings(
    root: Path, parts: dict[str, str], loose: Sequence[Path], encodings: Counter[str], bad: Sequence[Path]
) -> Iterator[Finding]:
    if parts:
        named = ", ".join(f"{name} as {part}" for name, part in parts.items())
        yield Finding(
            "inferred",
            f"the folders are read as given parts ({named}), which are kept; put the class folders side by side to "
            "have them divided anew.",
        )
    if loose:
        names = tuple(path.relative_to(root).as_posix() for path in loose)
        yield Finding(
            "loose texts",
            f"{checks.counted(len(names), 'text')} outside the class folders left out: {checks.some(names)}; move each "
            "into its class.",
            names,
        )
    other = Counter[str]()
    for one, count in encodings.items():
        if one in charsets.SPOKEN:
            other[charsets.SPOKEN[one]] += count
    if other:
        read = ", ".join(f"{name} ({count})" if len(other) > 1 else name for name, count in other.most_common())
        yield Finding(
            "encoding",
            f"{checks.counted(other.total(), 'file is', 'files are')} not UTF-8 and read as {read}; save as UTF-8 if "
            "letters look wrong.",
        )
    if bad:
        names = tuple(path.relative_to(root).as_posix() for path in bad)
        sentence = (
            f"{checks.counted(len(bad), 'file')} cannot be opened and set aside: {checks.some(names)}; replace them."
        )
        yield Finding("unreadable", sentence, names)
