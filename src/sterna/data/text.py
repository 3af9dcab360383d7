"""Texts: tables, folders of class folders of .txt, files of tagged words -> a checked table of texts or sentences.

A table is CSV, TSV, JSON lines, Parquet or lines of label and text, packed with gzip or not; its text and label columns
are found by name and content and said. Two text columns make pairs. A folder may hold train, validation and test files.
One word and its tag a line (CoNLL), with blank lines between sentences, is for tagging; with several tags a line, or
lists of words and tags beside labels of whole sentences, for several tasks at once.

Texts stay in memory as one block of bytes. Empty texts are set aside; copies, also those that differ in case or spaces
alone, are found and kept together. When not to use: documents of many pages, of which an encoder reads the first.
"""

from __future__ import annotations

import glob
import hashlib
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sterna import checks, columnwise, delimited, dialects, labelling, peeking
from sterna.cells import Cells, gathered
from sterna.data import _corpus
from sterna.errors import DataError
from sterna.maths import phash
from sterna.records import Columns, Finding, Items, Labels, Loaded, Table

GATHERS = "text words"  # the modalities of the loose items that `gather` takes

LONG = 10_000  # letters of a text, beyond which it is said: encoders read a few hundred words

_UNSAID = Columns()
_SHOWN = 60  # letters of a text that is its own name


class TextItems:
    """Texts, pairs of texts or sentences of words, held as bytes. Satisfies `records.Items`.

    Args:
        texts: one column, or two for pairs; the words of a sentence on lines of one cell.
        names: what a person calls each.
        words: whether the cells are sentences of words.
    """

    def __init__(self, texts: Sequence[Cells], names: Sequence[str], words: bool = False) -> None:
        self.modality: str = "words" if words else "text"
        self.in_memory: bool = True
        self._texts, self._names = tuple(texts), names
        measure = _word_count if words else len
        counts = [np.fromiter((measure(cell or "") for cell in column), np.int64, len(column)) for column in texts]
        self.lengths: np.ndarray | None = np.stack(counts).sum(axis=0)

    def __len__(self) -> int:
        return len(self._texts[0])

    @property
    def paired(self) -> bool:
        """Whether an item is a pair of texts."""
        return len(self._texts) > 1

    def read(self, index: int, hint: int) -> Any:
        """A `str`, a pair of them, or for sentences a tuple of words; `hint` is not used."""
        if self.modality == "words":
            return tuple(_corpus.words_of(self._texts[0][index]))
        read = tuple(column[index] or "" for column in self._texts)
        return read if self.paired else read[0]

    def digest(self, index: int) -> str:
        made = hashlib.blake2b(self.modality.encode(), digest_size=16)
        for column in self._texts:
            raw = column.raw(index)
            made.update(b"%d:" % len(raw))
            made.update(raw)
        return made.hexdigest()

    def name(self, index: int) -> str:
        return self._names[index]


def claims(reference: str, columns: Columns = _UNSAID) -> bool:
    """A table of texts, a folder of .txt files, a file of tagged words."""
    return peeking.kind(reference, columns) == "text"


def load(
    reference: str,
    *,
    columns: Columns = _UNSAID,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Read and check a data set of texts.

    Args:
        reference: a table, a file of tagged words, a folder of class folders of .txt (or of train, validation and test
            folders that hold them), or a folder of train, validation and test files.
        columns: which columns mean what; what it leaves open is found by looking, and said.
        workers: not used: texts are read faster than they could be sent between processes.
        progress: called with how many bytes or files are read, of how many.

    Raises `DataError` for a path or a column that does not exist, where the text or the label cannot be told, and for
    labels that cannot be learnt.
    """
    place = Path(reference).expanduser()
    if not place.exists():
        raise checks.no_such_path(place)
    corpus = _corpus.read(place, columns, progress)
    there, empty = _filled(corpus, reference)
    labelled = _labelled(corpus, there, columns.task)
    rows = there[labelled.rows]
    exact, alike = _alike(corpus, rows)
    leaked, aside = checks.leaks(alike, corpus.parts[rows], [corpus.names[row] for row in rows.tolist()])
    if leaked:
        kept = np.flatnonzero(~aside)
        _some_to_learn(corpus.parts[rows], corpus.parts[rows[kept]], reference)
        rows, exact, alike = rows[kept], exact[kept], alike[kept]
        # What is left may lack a class, and is numbered anew.
        labelled = replace(_labelled(corpus, rows, columns.task or labelled.task), findings=labelled.findings)
    items = TextItems(corpus.texts, corpus.names, corpus.words)
    table = Table(items, rows, labelled.labels, labelled.classes, labelled.task)
    parts, given = corpus.parts[rows], _given(corpus, rows)
    domains, unplaced = _domains(corpus, rows)
    findings = [*corpus.findings, *empty, *labelled.findings, *leaked, *_label_findings(table, parts)]
    findings += [*checks.straddling(given, parts), *_copies(table, exact, alike), *_long(table), *unplaced]
    return Loaded(table, phash.merged(alike, given), parts, tuple(findings), reference, domains)


def gather(given: Sequence[str], modality: str = "text", columns: Columns = _UNSAID) -> tuple[Items, tuple[str, ...]]:
    """Texts to predict -> items, and the names of those that are empty.

    Args:
        given: tables (the text column is found as in training), other files of one text a line, folders of .txt files
            of one text each, patterns of files; or texts themselves, which a string is that holds a space and is no
            path. Two texts with a tab between are a pair.
        modality: "text", or "words" for sentences to tag: files of one word a line with blank lines between sentences;
            of texts, the words are what stands between spaces.
        columns: which columns of tables hold the texts; what else it says is not looked at.

    Raises `DataError` for a path that does not exist, and where texts and pairs are mixed.
    """
    words = modality == "words"
    corpora = [corpus for one in given for corpus in _meant(one, words, Columns(text=columns.text))]
    if len({len(one.texts) for one in corpora}) > 1:
        raise DataError("some of the given items are texts and some are pairs of texts; give one kind at a time.")
    names = [name for one in corpora for name in one.names]
    sources = zip(*(one.texts for one in corpora), strict=True)
    texts = [gathered(cell for column in columns for cell in column) for columns in sources]
    there = [place for place, row in enumerate(zip(*texts, strict=True)) if all(row)]
    empty = tuple(names[place] for place in sorted(set(range(len(names))).difference(there)))
    kept = [column.take(np.array(there, dtype=np.int64)) for column in texts] or [gathered(())]
    return TextItems(kept, [names[place] for place in there], words), empty


def _meant(given: str, words: bool, said: Columns) -> list[_corpus.Corpus]:
    """The texts that one string stands for."""
    place = Path(given).expanduser()
    if _is_path(place):
        return [_of_file(place, words, said)]
    found = sorted(path for path in glob.glob(str(place), recursive=True) if Path(path).is_file())
    if found:
        return [_of_file(Path(path), words, said) for path in found]
    if " " not in given.strip():
        raise checks.no_such_path(place)
    name = given if len(given) <= _SHOWN else f"{given[:_SHOWN]}..."
    cells = given.split("\t", 1)
    return [_spaced(_corpus.Corpus(tuple(gathered([cell]) for cell in cells), [name]), words)]


def _is_path(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # a long text is no name of a file
        return False


def _of_file(place: Path, words: bool, said: Columns) -> _corpus.Corpus:
    """The texts of a folder of .txt files, of a table, of a file of words a line or of texts a line."""
    if place.is_dir():
        return _spaced(_corpus.class_folders(place, labelled=False), words)
    if words and peeking.is_tagged(place):
        cells = _corpus.sentences(place, ())[0]
        return _corpus.Corpus((cells,), _numbered(place.name, len(cells), "sentence"), words=True)
    head = delimited.head(place)
    known = any(dialects.plain(name) in dialects.USUAL["text"] for name in head.names)
    known = known or bool(said.text and set(said.text) <= set(head.names))
    if delimited.suffix(place) in delimited.TABLES or (known and len(head.names) > 1):
        return _spaced(_corpus.tables([(place, "")], said, None, labelled=False), words)
    lines = delimited.lines(place).columns["line"]
    filled = gathered(line for line in lines if line)
    return _spaced(_corpus.Corpus((filled,), _numbered(place.name, len(filled), "text")), words)


def _numbered(origin: str, count: int, noun: str) -> Sequence[str]:
    return _corpus.Names([origin], np.zeros(count, dtype=np.int64), np.arange(1, count + 1), noun)


def _spaced(corpus: _corpus.Corpus, words: bool) -> _corpus.Corpus:
    """The same as sentences of words, divided at spaces, where words are wanted."""
    if not words or corpus.words:
        return corpus
    cells = gathered("\n".join((cell or "").split()) for cell in corpus.texts[0])
    return replace(corpus, texts=(cells,), words=True)


def _word_count(cell: str) -> int:
    return len(_corpus.words_of(cell))


def _filled(corpus: _corpus.Corpus, origin: str) -> tuple[np.ndarray, list[Finding]]:
    """The rows that have a text, or both of a pair."""
    missing = [[cell is None for cell in column] for column in corpus.texts]
    empty = np.any(np.array(missing, dtype=bool).reshape(len(corpus.texts), -1), axis=0)
    if empty.all():
        raise DataError(f"{origin} holds no text; fill in the text column, or name another with --text.")
    if not empty.any():
        return np.arange(len(empty)), []
    names = tuple(corpus.names[place] for place in np.flatnonzero(empty).tolist())
    what = "pair with an empty text" if len(corpus.texts) > 1 else "empty text"
    plural = "pairs with an empty text" if len(corpus.texts) > 1 else "empty texts"
    sentence = (
        f"{checks.counted(len(names), what, plural)} set aside: {checks.some(names)}; fill them in or delete them."
    )
    return np.flatnonzero(~empty), [Finding("empty text", sentence, names)]


def _labelled(corpus: _corpus.Corpus, rows: np.ndarray, wanted: str) -> labelling.Labelled:
    columns = [[column[row] for row in rows.tolist()] for column in corpus.labels]
    if not corpus.words:
        called = [corpus.names[row] for row in rows.tolist()]
        return columnwise.encode(columns, corpus.called, wanted, called)
    tagged = [[_corpus.words_of(cell) for cell in column] for column in columns[: corpus.tagged]]
    counts = np.array([_word_count(corpus.texts[0][row] or "") for row in rows.tolist()], dtype=np.int64)
    called = [corpus.names[row] for row in rows.tolist()]
    return columnwise.of_words(columns[corpus.tagged :], corpus.called, tagged, counts, wanted, called)


def _some_to_learn(before: np.ndarray, after: np.ndarray, origin: str) -> None:
    """Raises `DataError` where every example for training is also in a part that is held out."""
    if (before == "train").any() and not np.isin(after, ("train", "")).any():
        raise DataError(
            f"all {int((before == 'train').sum())} training texts of {origin} are also among those for validation or "
            "test; give files that have none in common, or one file alone to have it divided."
        )


def _alike(corpus: _corpus.Corpus, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (m,) that are equal for texts of the same bytes, and for texts the same but for case and spaces."""

    def number(parts: list[str]) -> int:
        content = "\0".join(parts).encode()
        return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")

    made = np.empty((2, len(rows)), dtype=np.uint64)
    for place, row in enumerate(rows.tolist()):
        parts = [column[row] or "" for column in corpus.texts]
        plain = [" ".join(unicodedata.normalize("NFKC", part).casefold().split()) for part in parts]
        made[:, place] = number(parts), number(plain)
    return phash.by_appearance(made[0]), phash.by_appearance(made[1])


def _given(corpus: _corpus.Corpus, rows: np.ndarray) -> np.ndarray:
    """Numbers of the groups as written; a row without one is a group of its own."""
    if not len(corpus.groups):
        return np.arange(len(rows))
    keys: dict[str | int, int] = {}
    written = [corpus.groups[row] or row for row in rows.tolist()]
    return np.array([keys.setdefault(key, len(keys)) for key in written], dtype=np.int64)


def _domains(corpus: _corpus.Corpus, rows: np.ndarray) -> tuple[np.ndarray, list[Finding]]:
    """The domain of each row by name, () without domains."""
    written = [corpus.domains[row] for row in rows.tolist()] if len(corpus.domains) else []
    names = [corpus.names[row] for row, name in zip(rows.tolist(), written, strict=False) if name is None]
    made = np.array([name or "unknown" for name in written], dtype=str)
    if not names:
        return made, []
    sentence = (
        f"{checks.counted(len(names), 'row')} without a domain are counted to the domain 'unknown': "
        f"{checks.some(names)}; fill them in."
    )
    return made, [Finding("no domain", sentence, tuple(names))]


def _label_findings(table: Table, parts: np.ndarray) -> Iterator[Finding]:
    if table.task == "classify":
        yield from checks.similar_names(table.classes)
        yield from checks.singletons(table.labels, table.classes)
        yield from checks.missing_in_parts(table.labels, parts, table.classes)
        yield from checks.imbalance(table.labels, table.classes)
    elif table.task == "multilabel":
        yield from checks.similar_names(table.classes)


def _copies(table: Table, exact: np.ndarray, alike: np.ndarray) -> list[Finding]:
    noun = "sentence" if table.by_word else "text"
    names = [table.items.name(row) for row in table.rows.tolist()]
    return checks.duplicates(exact, alike, _codes(table.labels, table.task), names, noun)


def _codes(labels: Labels, task: str) -> np.ndarray:
    """Numbers that differ where labels contradict one another: amounts never do, they only vary."""
    if task in ("regress", "several"):  # of several, a copy may have what the other lacks
        return np.zeros(len(labels), dtype=np.int64)
    if task == "classify":
        return labels
    keys: dict[bytes, int] = {}
    return np.array([keys.setdefault(one.tobytes(), len(keys)) for one in labels], dtype=np.int64)


def _long(table: Table) -> list[Finding]:
    lengths = table.items.lengths
    if table.by_word or lengths is None or not (lengths[table.rows] > LONG).any():
        return []
    rows = table.rows[np.argsort(-lengths[table.rows], kind="stable")]
    names = tuple(table.items.name(row) for row in rows[lengths[rows] > LONG].tolist())
    sentence = (
        f"{checks.counted(len(names), 'text is', 'texts are')} longer than {LONG:,} letters, the longest, {names[0]}, "
        f"{int(lengths[rows[0]]):,}; most encoders read the first few hundred words of a text and no more, so divide "
        "long ones."
    )
    return [Finding("long text", sentence, names)]
