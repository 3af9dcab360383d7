"""From written specifications to the routes that a run compares."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sterna import folder, rungs, semi_supervised, spec, valuing, wording
from sterna.errors import SpecError
from sterna.schedule import Schedule
from sterna.settings import Settings
from sterna.valuing import Selection

CLASSICAL = {  # the floor's features for each kind of data, under a linear model
    "image": "classical:hog_colour",
    "audio": "spectrogram:log_mel",
}
AUTO = "auto"  # the rungs of the ladder; also where neither a policy nor a method is named
UNLABELLED = semi_supervised.NEEDS  # what losses need that look at examples without labels
TAUGHT = ("teacher", "maps")  # what losses need that learn from a teacher; the latter also from maps of its stages
DISTILLING = "distill"  # what is added to the objective where a teacher is named and no objective
SHALLOW = {"text": "tfidf", "row": "boosting, linear", "vector": "linear", "words": "window"}  # floors on raw items
NUMBERS = ("row", "vector")  # kinds of data that need no encoder
NETWORKS = ("image", "text", "words", "audio")  # kinds of data that networks with stages are trained on from scratch


@dataclass(frozen=True)
class Route:
    """One way to a model: an encoder, which weights move, what they are asked for."""

    name: str
    encoder: str
    tune: Any
    losses: tuple[Any, ...]
    augment: tuple[Any, ...]
    optimizer: Any
    schedule: Schedule
    floor: bool = False
    select: Selection | None = None  # which examples of the source it learns from; None: all
    sourceless: bool = False  # whether it learns from the known examples of the target alone
    members: tuple[Route, ...] = ()  # routes of which it is the mean, and which it runs in place of itself

    @property
    def shallow(self) -> bool:
        """Whether `tune` is a method on features or raw items, without stages that move."""
        return hasattr(self.tune, "takes") or self.crosses

    @property
    def crosses(self) -> bool:
        """Whether `tune` is a method of `adapt/`."""
        return hasattr(self.tune, "adapt")

    @property
    def pretrained(self) -> bool:
        """Whether it starts from weights or examples that are not the target's; a floor does not."""
        return self.crosses or bool(self.tune.pretrained)

    @property
    def raw(self) -> bool:
        """Whether it needs no encoder."""
        return self.shallow and (not self.encoder if self.apart else self.tune.takes != "features")

    @property
    def apart(self) -> bool:
        """Whether its model is an estimator behind an encoder, or of numbers as they are, and no head of a network."""
        return self.crosses or getattr(self.tune, "takes", "") in ("points", "stages")

    @property
    def gathers(self) -> bool:
        """Whether what it reads of its encoder are the outputs of all stages."""
        return getattr(self.tune, "takes", "") == "stages"

    def written(self) -> dict[str, str]:
        """Every part in the grammar, for results and fingerprints."""
        parts = {"tune": (self.tune,), "loss": self.losses, "augment": self.augment, "optimizer": (self.optimizer,)}
        texts = {key: spec.write(value) for key, value in parts.items()}
        if self.members:
            texts["tune"] = ", ".join(spec.write((one.tune,)) for one in self.members)
        chosen = {"source_select": str(self.select)} if self.select else {}
        return {"name": self.name, "encoder": self.encoder, **texts, "schedule": repr(self.schedule), **chosen}


@dataclass(frozen=True)
class Words:
    """What the person wrote about the methods."""

    encoder: Any
    tune: Any
    loss: Any
    augment: Any
    optimizer: Any
    schedule: Any
    method: Any = ""
    teacher: Any = ""


@dataclass(frozen=True)
class Subject:
    """What the routes are for."""

    modality: str
    task: str
    helped: bool = False  # whether a source data set is given
    unlabelled: bool = False  # whether there are examples without labels
    spare: str = ""  # those that the data bring along, as an option to be typed; "" for none
    few: bool = False  # whether a fifth of the labelled examples is too little to choose by


def routes(words: Words, settings: Settings, subject: Subject) -> tuple[Route, ...]:
    """The routes of a run: every encoder with every policy and every objective, then the floors.

    Raises `SpecError` for anything that cannot be understood, before any computation.
    """
    modality = subject.modality
    encoders = wording.references(words.encoder) if words.encoder or modality not in NUMBERS else ()
    own_way = bool(words.loss or words.teacher)
    ladder = rungs.serving(modality, subject.task, own_way, subject.few)
    written = ", ".join(ladder) if climbs(words) else words.tune
    tunes = [one for (one,) in wording.alternatives("tune", written, single=True)]
    methods = [one for (one,) in wording.alternatives("shallow", words.method, single=True)]
    if climbs(words):
        simplest = wording.alternatives("shallow", ", ".join(rungs.SIMPLEST), single=True)
        methods += [one for (one,) in simplest if subject.task in one.tasks and one not in methods]
    own = folder.load("tasks", subject.task)().loss
    losses = wording.alternatives("losses", words.loss or (f"{own}, {own} + {DISTILLING}" if words.teacher else own))
    if words.teacher and subject.task == "tag":
        raise SpecError("a teacher answers for whole items, and these labels are tags of their words; leave it out.")
    check_heads(tunes)
    check_tasks([*tunes, *methods, *(term for loss in losses for term in loss)], subject.task)
    _check_taken(methods, modality)
    shared = common(words)
    augment = folder.resolve("augment", words.augment)
    _check_objectives(losses, words)
    typed = tunes if words.tune else ()
    semi_supervised.check(losses if tunes else [], typed, methods, modality, subject.unlabelled, subject.spare)
    losses, methods = semi_supervised.compared(losses), semi_supervised.both(methods)
    found = []
    for encoder, tune, written in itertools.product(encoders, tunes, losses):
        loss = _heeded(tune, written)
        names = [encoder] if len(encoders) > 1 else []
        names += [repr(tune)] + ([spec.write(loss)] if len(losses) > 1 else [])
        found.append(shared.route(" / ".join(names), encoder, tune, loss, augment))
    found = [route for route in dict.fromkeys(found) if route.pretrained or learns(route.losses)]
    check_heard(found, words)
    simple = _shallow(shared, methods, encoders)
    found += [one for one in simple if not one.floor]
    floors = [one for one in simple if one.floor]
    floors += _floors(shared, settings, subject, encoders, _plain(losses[0]), augment)
    floors = list({replace(one, name=""): one for one in reversed(floors)}.values())[::-1]
    if subject.helped:
        found += [replace(one, name=f"{one.name} with the source", floor=False) for one in floors if one.raw]
    found += _selecting(found, settings, subject)
    if not found and modality in NUMBERS:
        raise SpecError(
            f"{modality} data alone have nothing to transfer from; give --source with data of the same columns, "
            "--domain COLUMN and --target-domain VALUE, or --unlabelled with --method label_propagation."
        )
    asked = [tune for tune in tunes if not tune.pretrained]
    if not found:
        raise SpecError(
            f"tune must name at least one route that transfers, got {', '.join(map(repr, asked))}; add one, such as "
            "--tune probe."
        )
    return (*found, *floors)


def climbs(words: Words) -> bool:
    """Whether routes are to be found by climbing the ladder."""
    return words.tune == AUTO or not (words.tune or words.method)


def mitigations(chosen: Sequence[Route], losing: Route, subject: Subject) -> tuple[Route, ...]:
    """What is tried before transfer is given up: gentler forms of a route that lost to a floor on the validation part.

    A tenth of the rate, L2-SP (Li et al. 2018), the average of the weights before and after (WiSE-FT, Wortsman et al.
    2022), and the head alone; the better half of a source of classes; without those among the routes already.
    """
    found = [*_gentler(losing)]
    if subject.helped and subject.task == "classify" and losing.select is None:
        found += _twins([losing], Selection(0.5))
    there = [replace(one, name="") for one in chosen]
    return tuple(one for one in found if replace(one, name="") not in there)


def _gentler(losing: Route) -> list[Route]:
    """A route that moves no stage has no gentler form."""
    (probe,), (average,) = (folder.resolve("tune", name) for name in ("probe", "wise_ft"))
    (l2sp,) = folder.resolve("losses", "l2sp")
    if losing.shallow or losing.tune == probe:
        return []
    slower = replace(losing.optimizer, rate=losing.optimizer.rate / 10)
    found = [replace(losing, name=f"{losing.name} at a tenth of the rate", optimizer=slower)]
    if not any(isinstance(loss, type(l2sp)) for loss in losing.losses):
        found.append(replace(losing, name=f"{losing.name} with l2sp", losses=(*losing.losses, l2sp)))
    encoder = losing.name.removesuffix(repr(losing.tune)) if losing.name.endswith(repr(losing.tune)) else ""
    losses = losing.losses
    others = [(average, losses), (probe, _heeded(probe, losses))]
    return found + [replace(losing, name=f"{encoder}{tune!r}", tune=tune, losses=kept) for tune, kept in others]


def _selecting(found: Sequence[Route], settings: Settings, subject: Subject) -> list[Route]:
    """Each route again on the best part of the source, where asked for: beside the whole, to tell if it helped."""
    if not settings.source_select:
        return []
    selection = valuing.parse(settings.source_select)
    if not subject.helped or settings.source_weight == 0:
        raise SpecError(
            f"source-select chooses among the examples of a source, got {selection} without one to learn from; give "
            "--source, or leave it out."
        )
    if subject.task == "tag":
        raise SpecError("source-select values whole items, and these labels are tags of their words; leave it out.")
    if selection.method == "gradient" and subject.task != "classify":
        raise SpecError(
            f"source-select by gradient needs items of one class each, got labels for {subject.task}; type "
            f"best:{selection.share:g}:similarity."
        )
    return _twins(found, selection)


def _twins(found: Sequence[Route], selection: Selection) -> list[Route]:
    return [replace(one, name=f"{one.name} from {selection}", select=selection) for one in found if not one.floor]


def fingerprint(chosen: Sequence[Route], settings: Settings, data_digest: str) -> str:
    """A digest of everything that determines a run's numbers."""
    text = repr([route.written() for route in chosen]) + repr(settings) + data_digest
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Common:
    """What all routes of a run share."""

    optimizer: Any
    schedule: Schedule

    def route(
        self, name: str, encoder: str, tune: Any, losses: tuple[Any, ...], augment: tuple[Any, ...], floor: bool = False
    ) -> Route:
        return Route(name, encoder, tune, losses, augment, self.optimizer, self.schedule, floor)


def common(words: Words) -> Common:
    """What all routes of a run share."""
    return Common(wording.single("optimizer", words.optimizer), wording.schedule(words.schedule))


def _shallow(common: Common, methods: Sequence[Any], encoders: Sequence[str]) -> list[Route]:
    """Methods on the features of each encoder, and methods on raw items, once."""
    found = []
    for method in methods:
        for encoder in {"features": encoders, "stages": encoders, "points": encoders or ("",)}.get(method.takes, ("",)):
            name = f"{encoder} / {method!r}" if encoder and len(encoders) > 1 else repr(method)
            found.append(common.route(name, encoder, method, (), (), floor=not method.pretrained))
    return found


def _floors(
    common: Common,
    settings: Settings,
    subject: Subject,
    encoders: Sequence[str],
    losses: tuple[Any, ...],
    augment: Any,
) -> list[Route]:
    """The no-transfer floors: each architecture from random weights, and simple models of the raw items."""
    found = []
    modality = subject.modality
    if settings.floors in ("all", "scratch") and modality in NETWORKS:
        (scratch,) = folder.resolve("tune", "scratch")
        for encoder in encoders:
            name = f"{encoder} / scratch" if len(encoders) > 1 else "scratch"
            found.append(common.route(name, encoder, scratch, losses, augment, floor=True))
    if settings.floors not in ("all", "classical"):
        return found
    if modality in CLASSICAL and subject.task != "tag":
        (probe,) = folder.resolve("tune", "probe")
        reference = CLASSICAL[modality]
        found.append(common.route(reference.partition(":")[2], reference, probe, losses, (), floor=True))
    for (method,) in wording.alternatives("shallow", SHALLOW[modality], single=True) if modality in SHALLOW else ():
        if subject.task in method.tasks:
            found.append(common.route(repr(method).removesuffix("()"), "", method, (), (), floor=True))
    return found


def check_heads(tunes: Sequence[Any]) -> None:
    """Raises `SpecError` for a policy that leaves even the head as it is, where one must be learnt."""
    for tune in tunes:
        if not tune.plan([1] * 4):
            raise SpecError(
                f"{tune!r} leaves the head as it is, and one for these labels must be learnt; type --tune probe."
            )


def check_tasks(methods: Sequence[Any], task: str) -> None:
    """Raises `SpecError` for a method that is not for this task."""
    for method in methods:
        tasks = getattr(method, "tasks", ())
        if tasks and task not in tasks:
            raise SpecError(
                f"{method!r} serves the task {' or '.join(tasks)}, and these labels are for {task}; leave it out, or "
                "say what the labels are with --task."
            )


def _check_taken(methods: Sequence[Any], modality: str) -> None:
    """Raises `SpecError` for a method on raw items of another kind; what takes rows takes vectors."""
    for method in methods:
        if method.takes not in ("features", "points", "stages", modality) and (method.takes, modality) != (
            "row",
            "vector",
        ):
            raise SpecError(f"{method!r} takes {method.takes} data, and these are {modality}; leave it out.")


def _plain(losses: tuple[Any, ...]) -> tuple[Any, ...]:
    """The addends that make sense without pretrained weights: those that look at labels."""
    return tuple(loss for loss in losses if loss.supervised)


def _check_objectives(losses: Sequence[tuple[Any, ...]], words: Words) -> None:
    for loss in losses:
        if not any(term.supervised for term in loss):
            raise SpecError(
                f"the objective '{spec.write(loss)}' never looks at the labels; add a term that does, such as "
                f"--loss 'cross_entropy + {spec.write(loss)}'."
            )
        for term in loss:
            if term.needs == "statistics":
                raise SpecError(f"{term!r} adapts to a target of another domain, got none; name it with --target.")
        check_taught(loss, words)
    if words.teacher and not any(term.needs in TAUGHT for loss in losses for term in loss):
        raise SpecError(
            f"no objective learns from the teacher {words.teacher}; add a term that does, such as --loss "
            f"'{spec.write(losses[0])} + {DISTILLING}'."
        )


def _heeded(tune: Any, loss: tuple[Any, ...]) -> tuple[Any, ...]:
    """The addends that a policy heeds: a head that is fitted to its optimum asks the labels alone."""
    if any(phase.solver == "descent" for phase in tune.plan([1] * 4)):
        return loss
    return tuple(term for term in semi_supervised.alone(loss) if term.needs not in TAUGHT)


def learns(losses: Sequence[Any]) -> bool:
    """Whether an objective learns from a teacher."""
    return any(term.needs in TAUGHT for term in losses)


def check_heard(found: Sequence[Route], words: Words) -> None:
    """Raises `SpecError` for a teacher whom no route heeds."""
    if words.teacher and not any(learns(one.losses) for one in found):
        raise SpecError(
            f"no route learns from the teacher {words.teacher}: a probe and methods on features ask the labels alone; "
            f"let stages move, as --tune partial does, with an objective such as 'cross_entropy + {DISTILLING}'."
        )


def check_taught(loss: Sequence[Any], words: Words) -> None:
    """Raises `SpecError` for a term that learns from a teacher where none is named."""
    taught = [term for term in loss if term.needs in TAUGHT]
    if taught and not words.teacher:
        raise SpecError(
            f"{taught[0]!r} learns from a teacher, got none; name a model folder or encoder with --teacher."
        )
