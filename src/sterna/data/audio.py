"""Recordings: a folder of class folders, or a table of path and label -> a checked table of mono sounds.

WAV, FLAC, OGG (Vorbis and Opus), MP3, AIFF and AU. A folder may be divided into train, validation and test folders. A
table (CSV, TSV, JSON lines, Parquet) has a column of paths and one or several of labels: names are classes, cells such
as `dog|rain` carry several labels, amounts are learnt as numbers; it may have columns of parts, of groups (recordings
of one speaker, one machine, one session) and of domains.

Each file is read once, in full: what cannot be read is set aside and listed, copies, silence and clipping are found.
The channels of a recording are averaged; the encoder's preparation brings it to its rate. When not to use: to find
where in a recording something is heard.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from sterna import checks, columnwise, labelling, peeking, sounds
from sterna.data import _sounds, _sounds_listing
from sterna.errors import DataError
from sterna.maths import phash
from sterna.records import Columns, Finding, Items, Loaded, Sound, Table

GATHERS = "audio"  # the modality of the loose files that `gather` takes

CLIPPED = 0.001  # share of samples at the end of the range from which a recording is called clipped

_UNSAID = Columns()


class AudioItems:
    """Sound files, opened one at a time. Satisfies `records.Items`.

    Args:
        paths: the files.
        names: what a person calls them.
        scanned: what one pass over them found.
    """

    def __init__(self, paths: Sequence[str], names: Sequence[str], scanned: Sequence[_sounds.Scanned]) -> None:
        self.modality: str = "audio"
        self.in_memory: bool = False
        self.lengths: np.ndarray | None = np.array([one.length for one in scanned], dtype=np.int64)
        self._paths, self._names = tuple(paths), tuple(names)
        self._digests = tuple(one.digest for one in scanned)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int, hint: int) -> Sound:
        """A recording at its own rate, the mean of its channels. `hint`, in pixels, is not used.

        Raises `DataError` when the file has changed for the worse since it was checked.
        """
        try:
            return _sounds.read(self._paths[index])
        # Damaged files raise whatever their decoder stumbles over.
        except Exception as error:
            raise DataError(
                f"{self._names[index]} was readable and no longer is ({error}); put it back, or start again without it."
            ) from error

    def digest(self, index: int) -> str:
        return self._digests[index]

    def name(self, index: int) -> str:
        return self._names[index]


def claims(reference: str, columns: Columns = _UNSAID) -> bool:
    """A folder of recordings, or a table of their paths."""
    return peeking.kind(reference, columns) == "audio"


def load(
    reference: str,
    *,
    columns: Columns = _UNSAID,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Read and check a data set of recordings.

    Args:
        reference: a folder of class folders (or of train, validation and test folders that hold them), or a table of
            path and label.
        columns: which columns of a table mean what; those it leaves open are found by name and content, and stated.
        workers: None takes every core this process may use.
        progress: called with how many files are checked, of how many.

    Raises `DataError` for a path that does not exist, for no recordings, and for labels that do not fit the task.
    """
    listing = _listed(reference, columns)
    scanned = _sounds.scan([entry.path for entry in listing.entries], workers, progress)
    found = _Recordings(listing.entries, scanned)
    findings = [*listing.findings, *found.unreadable()]
    usable = found.take([place for place, one in enumerate(scanned) if not one.problem])
    if not len(usable):
        raise DataError(
            f"none of the {len(scanned)} sound files of {reference} can be read; the first, {listing.entries[0].name}, "
            f"is refused because: {scanned[0].problem}."
        )
    leaked, aside = checks.leaks(usable.same, usable.parts, usable.names)
    usable = usable.take(np.flatnonzero(~aside).tolist())
    task = columns.task or listing.task
    labelled = columnwise.encode(usable.columns(), listing.called, task, usable.names)
    usable = usable.take(labelled.rows.tolist())
    findings += [*leaked, *labelled.findings, *usable.findings(labelled)]
    if labelled.task == "classify":
        findings += checks.empty_classes(listing.classes, labelled.classes)
    table = Table(usable.items(), np.arange(len(usable)), labelled.labels, labelled.classes, labelled.task)
    return Loaded(table, usable.groups(), usable.parts, tuple(findings), reference, usable.domains())


def gather(given: Sequence[str], modality: str = GATHERS, columns: Columns = _UNSAID) -> tuple[Items, tuple[str, ...]]:
    """Loose files, folders and patterns such as `calls/*.wav` -> items, and the names of files that cannot be read.

    Raises `DataError` for a path that does not exist or a pattern that fits nothing.
    """
    paths = list(dict.fromkeys(path for one in given for path in _meant(one)))
    scanned = _sounds.scan(paths)
    read = [place for place, one in enumerate(scanned) if not one.problem]
    names = [paths[place] for place in read]
    bad = tuple(path for path, one in zip(paths, scanned, strict=True) if one.problem)
    return AudioItems(names, names, [scanned[place] for place in read]), bad


class _Recordings:
    """The listed files with what one pass over them found."""

    def __init__(self, entries: Sequence[_sounds_listing.Entry], scanned: Sequence[_sounds.Scanned]) -> None:
        self.entries, self.scanned = entries, scanned
        self.names = [entry.name for entry in entries]
        self.parts = np.array([entry.part for entry in entries], dtype="<U10")
        self.same = np.unique([one.heard for one in scanned], return_inverse=True)[1].ravel()

    def __len__(self) -> int:
        return len(self.entries)

    def take(self, places: Sequence[int]) -> _Recordings:
        return _Recordings([self.entries[place] for place in places], [self.scanned[place] for place in places])

    def columns(self) -> list[tuple[str | None, ...]]:
        """The cells of the label columns."""
        return list(zip(*(entry.labels for entry in self.entries), strict=True))

    def items(self) -> AudioItems:
        return AudioItems([entry.path for entry in self.entries], self.names, self.scanned)

    def given(self) -> np.ndarray:
        """Numbers of the groups as written; a recording without one is a group of its own."""
        own = [(entry.group, -1) if entry.group else ("", place) for place, entry in enumerate(self.entries)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(own))}
        return np.array([numbers[key] for key in own], dtype=np.int64)

    def groups(self) -> np.ndarray:
        return phash.merged(self.same, self.given())

    def domains(self) -> np.ndarray:
        """By name, (0,) without domains."""
        names = [entry.domain for entry in self.entries]
        return np.array([name or "unknown" for name in names]) if any(names) else np.zeros(0, dtype="<U1")

    def unreadable(self) -> Iterator[Finding]:
        bad = [(name, one.problem) for name, one in zip(self.names, self.scanned, strict=True) if one.problem]
        if bad:
            told = checks.some(f"{name} ({problem})" for name, problem in bad)
            sentence = (
                f"{checks.counted(len(bad), 'file')} cannot be read and set aside: {told}; replace or delete them."
            )
            yield Finding("unreadable", sentence, tuple(name for name, _ in bad))

    def findings(self, labelled: labelling.Labelled) -> list[Finding]:
        labels, classes = labelled.labels, labelled.classes
        found = [*self._lengths(), *self._rates(), *self._silent(), *self._clipped()]
        if labelled.task == "classify":
            found += [
                *checks.similar_names(classes),
                *checks.singletons(labels, classes),
                *checks.missing_in_parts(labels, self.parts, classes),
                *checks.imbalance(labels, classes),
            ]
        known = np.zeros(len(labels)) if labelled.task == "several" else labels  # which may lack what a copy has
        copies = checks.duplicates(self.same, self.same, known, self.names, "recording")
        return [*found, *self._unplaced(), *checks.straddling(self.given(), self.parts), *copies]

    def _unplaced(self) -> Iterator[Finding]:
        names = tuple(entry.name for entry in self.entries if not entry.domain)
        if names and len(names) < len(self):
            sentence = (
                f"{checks.counted(len(names), 'row')} without a domain are counted to the domain 'unknown': "
                f"{checks.some(names)}; fill them in if that is wrong."
            )
            yield Finding("no domain", sentence, names)

    def _lengths(self) -> Iterator[Finding]:
        seconds = np.array([one.seconds for one in self.scanned])
        channels = "mono" if all(one.channels == 1 for one in self.scanned) else "the mean of their channels"
        sentence = (
            f"{checks.counted(len(self), 'recording')} of {seconds.min():.3g} to {seconds.max():.3g} s, median "
            f"{np.median(seconds):.3g} s, {channels}; each is brought to the rate of the encoder, and padding in a "
            "batch changes no answer."
        )
        yield Finding("lengths", sentence)
        long = [name for name, one in zip(self.names, seconds, strict=True) if one > sounds.LONGEST]
        if long:
            sentence = (
                f"{checks.counted(len(long), 'recording is', 'recordings are')} longer than {sounds.LONGEST:g} s, of "
                f"which only the beginning is used: {checks.some(long)}; cut them into pieces to use all of them."
            )
            yield Finding("long", sentence, tuple(long))

    def _rates(self) -> Iterator[Finding]:
        rates = Counter(one.rate for one in self.scanned)
        if len(rates) > 1:
            told = ", ".join(f"{count} at {rate} Hz" for rate, count in sorted(rates.items()))
            sentence = (
                f"the recordings differ in rate ({told}), so those at {min(rates)} Hz hold nothing above "
                f"{min(rates) // 2} Hz and can be told from the others by that alone; where the rate goes with the "
                f"label, bring all to {min(rates)} Hz."
            )
            yield Finding("rates", sentence)

    def _silent(self) -> Iterator[Finding]:
        silent = [name for name, one in zip(self.names, self.scanned, strict=True) if one.peak < _sounds.SILENT]
        if silent:
            sentence = (
                f"in {checks.counted(len(silent), 'recording')} nothing is to be heard: {checks.some(silent)}; replace "
                "or delete them, unless silence is what the label says."
            )
            yield Finding("silent", sentence, tuple(silent))

    def _clipped(self) -> Iterator[Finding]:
        every = zip(self.names, self.scanned, strict=True)
        clipped = [name for name, one in every if one.full >= max(CLIPPED * one.length, 2)]
        if clipped:
            sentence = (
                f"{checks.counted(len(clipped), 'recording is', 'recordings are')} clipped (at least 0.1 % of the "
                f"samples stand at the end of the range): {checks.some(clipped)}; record at a lower level where the "
                "distortion may matter."
            )
            yield Finding("clipped", sentence, tuple(clipped))


def _listed(reference: str, columns: Columns) -> _sounds_listing.Listing:
    place = Path(reference).expanduser()
    if not place.exists():
        raise checks.no_such_path(place)
    if place.is_dir():
        labelling.no_columns(reference, "is a folder, whose class folders are the labels", columns)
        return _sounds_listing.folder(place)
    if place.suffix.lower() in peeking.SOUNDS:
        raise DataError(
            f"{reference} is a single recording, not a data set; give a folder of class folders or a .csv of path and "
            "label."
        )
    return _sounds_listing.table(place, columns)


def _meant(given: str) -> list[str]:
    place = Path(given).expanduser()
    if place.is_dir():
        return _sounds_listing.sounds_below(place)
    if place.exists():
        return [str(place)]
    found = sorted(path for path in glob.glob(str(place), recursive=True) if Path(path).is_file())
    if not found and glob.has_magic(given):
        raise DataError(f"no file fits the pattern {given}; in a shell, put quotes around it or none at all.")
    if not found:
        raise checks.no_such_path(place)
    return found
