"""A study file -> its data sets and routes, checked: what is written wrong is said before anything runs.

The file is TOML: `[defaults]`, any number of `[[data]]` and any number of `[[route]]`; docs/study.md describes it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sterna import across, checks, folder, keeping, spec, wording
from sterna.errors import DataError, SpecError, SternaError
from sterna.intake import Sides
from sterna.records import Columns
from sterna.settings import Settings

ROUTE = ("tune", "method")  # what makes a route; one of them
SHARED = ("encoder", "loss", "augment", "optimizer", "schedule")  # what several routes of one run have in common
SIDES = ("source", "target", "labels")  # other data beside those of `path`
METHODS = ("shallow", "adapt")  # the folders of what `method` names
WEIGHING = ("source_weight",)  # settings of which routes of one data set may differ: no split depends on them
COLUMNS = ("text", "label", "group", "domain", "task")
FLAGS = {"target_domain": "domain"}  # settings whose key has another name, as on the command line
SETTINGS = {**{item.name: item.name for item in spec.options(Settings) if item.name != "domain"}, **FLAGS}
ALLOWED = {
    "[defaults]": (*ROUTE, *SHARED, *SIDES, *COLUMNS, *SETTINGS),
    "[[data]]": ("path", "name", *SIDES, *SHARED, *COLUMNS, *SETTINGS),
    "[[route]]": ("name", *ROUTE, *SHARED, *WEIGHING),
}
PARTS = {"defaults": "[defaults]", "data": "[[data]]", "route": "[[route]]"}
EXAMPLE = {"[[data]]": '[[data]] with path = "flowers"', "[[route]]": '[[route]] with tune = "probe"'}


@dataclass(frozen=True)
class DataSet:
    """One `[[data]]`, with the defaults filled in."""

    name: str
    sides: Sides  # as `sterna.fit` is given them
    columns: Columns
    settings: Settings
    words: Mapping[str, str]  # of `SHARED`, where the routes do not say

    @property
    def helped(self) -> bool:
        """Whether it has a source that is mixed into the training part."""
        return bool(self.sides.source or self.settings.domain)


@dataclass(frozen=True)
class Wanted:
    """One `[[route]]`, with the defaults of `ROUTE` filled in."""

    name: str
    words: Mapping[str, str]
    home: str  # the folder of its method
    made: Any  # its method
    settings: Mapping[str, Any]  # of `WEIGHING`, where it says more than its data set


@dataclass(frozen=True)
class Fit:
    """One call of `sterna.fit`: routes of one data set that differ in what moves and in nothing else."""

    shared: Mapping[str, str]
    settings: Settings
    routes: tuple[Wanted, ...]

    def words(self) -> dict[str, str]:
        """What `sterna.fit` is asked."""
        each = {key: ", ".join(one.words[key] for one in self.routes if one.words.get(key)) for key in ROUTE}
        return {**self.shared, **{key: value for key, value in each.items() if value}}

    def named(self) -> dict[str, str]:
        """From their methods, as a result writes them, to their names in the study."""
        return {repr(one.made): one.name for one in self.routes}


@dataclass(frozen=True)
class Agenda:
    """A study file, understood."""

    name: str
    text: str  # of the file
    data: tuple[DataSet, ...]
    routes: tuple[Wanted, ...]

    def fits(self, data: DataSet) -> tuple[Fit, ...]:
        """The runs that all routes on one data set take: as few as can be, so that floors are shared."""
        found: dict[tuple[str, ...], Fit] = {}
        for one in self.routes:
            # What trains a network is nothing to a method of `adapt/`, and a loss would be routes of its own.
            keys = SHARED[:1] if one.home == "adapt" else SHARED
            shared = {key: one.words.get(key) or data.words.get(key, "") for key in keys}
            settings = replace(data.settings, **one.settings)  # type: ignore[type-var]
            mark = (repr(settings), *(_meant(key, value) for key, value in shared.items()))
            known = found.get(mark, Fit({key: value for key, value in shared.items() if value}, settings, ()))
            found[mark] = replace(known, routes=(*known.routes, one))
        return tuple(found.values())

    def asked(self, data: DataSet) -> dict[str, Any]:
        """All that a data set is asked, to tell whether what lies in a folder is an answer to it."""
        fits = [
            {**one.words(), "settings": repr(one.settings), "names": [route.name for route in one.routes]}
            for one in self.fits(data)
        ]
        return {**asdict(data.sides), "columns": repr(asdict(data.columns)), "fits": fits}


def read(file: Path) -> Agenda:
    """The study in a TOML file.

    Paths in it are relative to the file. A `[[route]]` says more than a `[[data]]`, and that more than `[defaults]`.

    Raises `SpecError`, with one sentence, for anything that can be told wrong without opening the data.
    """
    text = _text(file)
    parts = _Parts(file, _parsed(file, text))
    defaults = parts.defaults()
    data = tuple(parts.each("data", lambda given, place: _data(file, {**defaults, **given}, place)))
    routes = tuple(parts.each("route", lambda given, place: _route(file, given, defaults, place)))
    for part, named in (("[[data]]", [one.name for one in data]), ("[[route]]", [one.name for one in routes])):
        _distinct(file, part, named)
    agenda = Agenda(file.stem, text, data, routes)
    for one in data:
        _no_twins(file, agenda.fits(one))
        for route in routes:
            _check_served(file, one, route)
    return agenda


def _text(file: Path) -> str:
    if not file.is_file():
        try:
            raise checks.no_such_path(file) if not file.exists() else DataError(f"{file} is a folder.")
        except DataError as error:
            raise SpecError(f"a study is a TOML file, and {error}") from error
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{file} is not written in UTF-8, which TOML is; save it as UTF-8.") from error


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        return dict(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(
            f'{file} is not TOML: {error}; write key = "text", key = 3, key = true, [defaults], [[data]], [[route]].'
        ) from error


@dataclass
class _Parts:
    """The parts of a file, each checked for what it may hold."""

    file: Path
    written: Mapping[str, Any]

    def __post_init__(self) -> None:
        for key in self.written:
            if key not in PARTS:
                raise SpecError(
                    f"{self.file} has '{key}' outside of any part.{spec.did_you_mean(key, tuple(PARTS))} Its parts: "
                    f"{', '.join(PARTS.values())}."
                )

    def defaults(self) -> dict[str, Any]:
        """What holds where nothing else is said."""
        given = self.written.get("defaults", {})
        if not isinstance(given, dict):
            raise SpecError(f"[defaults] of {self.file} is a table of options, got {given!r}; write [defaults].")
        place = f"{self.file}, [defaults]"
        _settings(_typed(given, "[defaults]", place), place)
        _shared(self.file, given, place)
        return dict(given)

    def each(self, part: str, make: Callable[[dict[str, Any], str], Any]) -> Iterator[Any]:
        """What is made of each of the parts of one kind, given what it says and what to call it in a sentence."""
        given, title = self.written.get(part, []), PARTS[part]
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            raise SpecError(f"{self.file} must hold {part} as tables in double brackets; write {EXAMPLE[title]}.")
        if not given:
            raise SpecError(f"{self.file} has no {title}, and at least one is needed; add {EXAMPLE[title]}.")
        for number, one in enumerate(given, 1):
            known = one.get("name") or one.get("path") or ""
            place = f"{self.file}, {title} {number}" + (f" ({known})" if isinstance(known, str) and known else "")
            yield make(_typed(one, title, place), place)


def _typed(given: Mapping[str, Any], title: str, place: str) -> dict[str, Any]:
    """The options of one part; settings are checked where they are made."""
    for key, value in given.items():
        if key not in ALLOWED[title]:
            raise SpecError(f"{place} has no option '{key}'.{_where(key, title)}")
        lists = key in ("text", "label") and isinstance(value, list) and all(isinstance(one, str) for one in value)
        if key not in SETTINGS and not isinstance(value, str) and not lists:
            raise SpecError(f'{place}: {key} must be text, got {value!r}; write {key} = "...".')
    return dict(given)


def _where(key: str, title: str) -> str:
    """What to do about an option that does not belong here."""
    homes = [part for part, keys in ALLOWED.items() if key in keys]
    if homes:
        why = ", because all routes of a data set share its examples and their split" if title == "[[route]]" else ""
        return f" It belongs into {' or '.join(homes)}{why}."
    return f"{spec.did_you_mean(key, ALLOWED[title])} Its options: {', '.join(ALLOWED[title])}."


def _data(file: Path, given: Mapping[str, Any], place: str) -> DataSet:
    if not given.get("path"):
        raise SpecError(f'{place} has no path; write path = "flowers", or path = "sklearn:digits".')
    columns = Columns(
        _listed(given.get("text", "")),
        _listed(given.get("label", "")),
        *(given.get(key, "") for key in ("group", "domain", "task")),
    )
    sides = _sides(file, given, place)
    name = given.get("name") or _called(given["path"], sides.data)
    return DataSet(name, sides, columns, _settings(given, place), _shared(file, given, place))


def _sides(file: Path, given: Mapping[str, Any], place: str) -> Sides:
    """Where the data and those beside them lie; a target may be the name of a domain instead."""
    several = given["path"].split(",") if given.get("target") else [given["path"]]
    found = {key: given.get(key, "") for key in SIDES}
    named = found["target"] if given.get("domain") and not (file.parent / found["target"]).is_file() else ""
    found = {key: _path(file, value, place) if value and value != named else value for key, value in found.items()}
    return Sides(", ".join(_path(file, one.strip(), place) for one in several), **found)


def _settings(given: Mapping[str, Any], place: str) -> Settings:
    """Of one part; the routes of a study are those that it names, so no gentler forms are tried unless asked for."""
    chosen = {SETTINGS[key]: value for key, value in given.items() if key in SETTINGS}
    made: Settings = _said(place, lambda: Settings(**{"mitigate": False, **chosen}))
    return made


def _route(file: Path, given: Mapping[str, Any], defaults: Mapping[str, Any], place: str) -> Wanted:
    asked = {key: given[key] for key in ROUTE if given.get(key)}
    asked = asked or {key: defaults[key] for key in ROUTE if defaults.get(key)}
    if len(asked) != 1:
        raise SpecError(
            f"{place} must name either a tune or a method, got {' and '.join(asked) or 'neither'}; write "
            'tune = "probe", or method = "prototypes".'
        )
    ((key, text),) = asked.items()
    home, made = _said(place, lambda: _one(key, text))
    if (home == "adapt" and spec.name_of(type(made)) in across.FLOORS) or (home == "tune" and not made.pretrained):
        why = "looks at no target" if home == "adapt" else "uses no pretrained weights"
        raise SpecError(
            f"{place}: {made!r} {why}, so it is no route but a floor, and every run has its floors; leave it out."
        )
    shared = _shared(file, given, place)
    weighing = {key: given[key] for key in WEIGHING if key in given}
    _settings(weighing, place)
    told = [repr(made), *shared.values(), *(f"{name}={value}" for name, value in weighing.items())]
    return Wanted(given.get("name") or " / ".join(told), {key: text, **shared}, home, made, weighing)


def _one(key: str, text: str) -> tuple[str, Any]:
    """The one method that a text names, after its folder."""
    found = spec.parse_alternatives(text)
    if len(found) != 1 or len(found[0]) != 1:
        raise SpecError(f"a [[route]] is one route, got '{text}'; write a [[route]] for each.")
    (call,) = found[0]
    homes = {name: home for home in METHODS for name in folder.names(home)} if key == "method" else {call.name: key}
    if call.name not in homes:
        raise SpecError(folder.unknown(key, call.name, sorted(homes)))
    return homes[call.name], folder.build(homes[call.name], call)


def _check_served(file: Path, data: DataSet, one: Wanted) -> None:
    """Raises `SpecError` for a route that cannot serve a data set, as far as the file tells."""
    why, target = "", data.sides.target
    if one.home == "adapt" and not target:
        why = 'it adapts to a target, and none is named there; write target = "..." or leave the route out'
    elif one.home == "shallow" and target:
        why = 'that has a target, to which methods of adapt/ adapt; write method = "coral", or source for target'
    elif one.home == "tune" and target and not (one.words.get("loss") or data.words.get("loss")):
        why = 'that has a target, and a network adapts by its loss; write loss = "cross_entropy + mcc"'
    elif one.home == "shallow" and not (one.made.pretrained or data.helped):
        why = 'without a source it is a floor, which every run has; write source = "...", or domain and target_domain'
    elif one.settings and not data.helped:
        why = f'{", ".join(one.settings)} is for a source; write source = "...", or domain and target_domain'
    if why:
        raise SpecError(f"{file}: the route {one.name} cannot serve the data set {data.name}: {why}.")


def _shared(file: Path, given: Mapping[str, Any], place: str) -> dict[str, str]:
    """What is said of `SHARED`, checked."""
    words = {key: str(given[key]).strip() for key in SHARED if given.get(key)}
    if "encoder" in words:
        words["encoder"] = _encoder(file, words["encoder"], place)
    for key in words:
        _said(place, partial(_meant, key, words[key]))
    return words


def _meant(key: str, text: str) -> str:
    """What a text means, written in one way, so that the same is known as the same."""
    if key == "encoder" or not text:
        return text
    if key == "schedule":
        return repr(wording.schedule(text))
    kind = {"loss": "losses", "optimizer": "optimizers", "augment": "augment"}[key]
    found = spec.parse_alternatives(text)
    if len(found) != 1:
        raise SpecError(f"{key} takes one sum and no alternatives here, got '{text}'; write a [[route]] for each.")
    return spec.write([folder.build(kind, call) for call in found[0]])


def _encoder(file: Path, text: str, place: str) -> str:
    """The reference of an encoder; a folder beside the file is found there."""
    origin, colon, name = text.partition(":")
    origins = folder.names("encoders")
    if "," in text or not colon or not name:
        raise SpecError(
            f"{place}: encoder must be one origin:name, got '{text}'; write a [[route]] for each, such as encoder = "
            '"timm:resnet18".'
        )
    if origin not in origins:
        raise SpecError(f"{place}: {folder.unknown('origin of encoders', origin, origins)}")
    return f"{origin}:{file.parent / name}" if (file.parent / name).is_dir() else text


def _path(file: Path, text: str, place: str) -> str:
    """Where data lie: beside the file, or in a library, written `sklearn:digits`."""
    found = file.parent / Path(text).expanduser()
    if not found.exists() and ":" in text:
        return text
    if not found.exists():
        raise SpecError(f"{place}: {checks.no_such_path(found)}")
    return str(found)


def _called(written: str, path: str) -> str:
    """A folder by its name, a file without its ending, a set of a library without its origin."""
    place = Path(path)
    if not place.exists():
        return written.rpartition(":")[2] or written
    return place.stem if place.is_file() else place.resolve().name


def _distinct(file: Path, part: str, names: Sequence[str]) -> None:
    """Names are folders too, and some file systems do not tell capitals apart."""
    seen: dict[str, str] = {}
    for name in names:
        slug = keeping.slug(name).casefold()
        if slug in seen:
            raise SpecError(f'{file} has two {part} called {name}; give one of them another name = "...".')
        seen[slug] = name


def _no_twins(file: Path, fits: Sequence[Fit]) -> None:
    for one in fits:
        for place, route in enumerate(one.routes):
            twin = next((other for other in one.routes[:place] if other.made == route.made), None)
            if twin:
                raise SpecError(
                    f"{file}: the routes {twin.name} and {route.name} ask for the same; change or remove one of them."
                )


def _said(place: str, make: Callable[[], Any]) -> Any:
    """What `make` makes; where it cannot, its sentence with the place in the file before it."""
    try:
        return make()
    except SternaError as error:
        raise SpecError(f"{place}: {error}") from error


def _listed(written: str | Sequence[str]) -> tuple[str, ...]:
    """Names of columns; in a text they are separated by commas, as on the command line."""
    parts = written.split(",") if isinstance(written, str) else written
    return tuple(part.strip() for part in parts if part.strip())
