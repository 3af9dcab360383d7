"""From written specifications to the routes of an adaptation: from a labelled source to a target without labels.

Every route has its floor beside it, the same without a look at the target, so that adaptation that hurts can be seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sterna import crossing, folder, plan, spec, wording
from sterna.errors import SpecError
from sterna.plan import Route, Subject, Words
from sterna.records import Loaded
from sterna.settings import Settings

AUTO = "auto"
METHODS = "coral, subspace_alignment, tca, jda, optimal_transport"  # what `auto` tries on features
LOSSES = ("dan", "cdan", "mcc", "adabn")  # what it adds to the task's own objective, where a network can be trained
SOURCELESS = "shot"  # what it tries where a saved model is all there is of the source
TUNE = "partial"  # the frozen stages below are computed once
ALONE = "source only"
ADAPTING = ("statistics", *plan.UNLABELLED)  # what losses need that adapt
FLOORS = {"none": ALONE, "target_only": "target only"}  # methods of `adapt/` that do not transfer across, as routes


def planned(words: Words, subject: Subject, settings: Settings, loaded: Loaded, known: bool) -> tuple[Route, ...]:
    """The routes of a run: of an adaptation where the labelled examples are of another domain, else of the target."""
    if loaded.model is not None:
        return alone(words, subject, settings, loaded.model.reference)
    return routes(words, subject, known) if loaded.crossed else plan.routes(words, settings, subject)


def alone(words: Words, subject: Subject, settings: Settings, model: str) -> tuple[Route, ...]:
    """The routes of a saved model that is adapted without its source, then the model as it is.

    Args:
        words: what the person wrote; `loss` holds addends that ask nothing of source examples, `tune` policies, of
            which the phases that descend are run: the head is the model's own.
        model: its reference as an encoder.

    Raises `SpecError` for what cannot serve, before any computation.
    """
    _check_alone(words, settings)
    objectives = wording.alternatives("losses", SOURCELESS if words.loss in ("", AUTO) else words.loss)
    tunes = _policies(words)
    common, augment = plan.common(words), folder.resolve("augment", words.augment)
    (still,) = folder.resolve("tune", "none")
    found: dict[tuple[Any, ...], Route] = {}
    for loss, tune in itertools.product(objectives, tunes):
        _check_terms(loss)
        if any(term.needs == "unlabelled" for term in loss):
            _check_policy(tune, loss)
        else:
            tune = still  # statistics alone change
        name = " / ".join(([repr(tune)] if len(tunes) > 1 and tune != still else []) + [spec.write(loss)])
        found.setdefault((tune, loss), common.route(name, model, tune, loss, augment))
    plan.check_tasks([part for one in found.values() for part in one.losses], subject.task)
    return (*found.values(), common.route(ALONE, model, still, (), (), True))


def _policies(words: Words) -> list[Any]:
    """Which weights move, as the person wrote it or by default."""
    written = TUNE if words.tune in ("", AUTO) else words.tune
    return [one for (one,) in wording.alternatives("tune", written, single=True)]


def _check_alone(words: Words, settings: Settings) -> None:
    """Raises `SpecError` for options that need labelled examples."""
    if words.encoder:
        raise SpecError(f"a saved model brings its own encoder and head, got --encoder {words.encoder}; leave it out.")
    if words.method or words.teacher:
        said = f"--method {words.method}" if words.method else f"--teacher {words.teacher}"
        raise SpecError(f"{said} learns from labelled examples, and a saved model comes without; type --loss shot.")
    for name, value in (("shots", settings.shots), ("curve", settings.curve), ("budget", settings.budget)):
        if value:
            raise SpecError(
                f"--{name.replace('_', '-')} is for runs that learn from labels, and here nothing does; leave it out."
            )
    crossing.criteria(settings.criterion, True, alone=True)


def _check_terms(loss: tuple[Any, ...]) -> None:
    """Raises `SpecError` for an objective that asks for examples of the source, or for nothing."""
    for term in loss:
        if not getattr(term, "sourceless", False):
            what = "learns from labels" if term.supervised else "needs labelled examples of the source"
            raise SpecError(
                f"{term!r} {what}, and a saved model comes without; leave it out, as --loss shot does, or give the "
                "source's data in place of the model."
            )
    if all(term.needs not in ADAPTING for term in loss):
        raise SpecError(f"'{spec.write(loss)}' looks at no example of the target; add a term that does, such as shot.")


def _check_policy(tune: Any, loss: tuple[Any, ...]) -> None:
    """Raises `SpecError` for a policy that moves no stage, or cannot be followed without labels."""
    phases = tune.plan([1] * 4)
    labelled = [one for one in phases if one.loss or one.rates or one.solver == "interpolation"]
    if labelled or not tune.pretrained:
        why = "chooses or learns by labels" if labelled else "starts from random weights"
        raise SpecError(f"{tune!r} {why}, and a saved model is adapted without; type --tune {TUNE} or --tune full.")
    _check_moves(tune, loss)


def routes(words: Words, subject: Subject, known: bool = False) -> tuple[Route, ...]:
    """The routes of an adaptation, then those that see the source alone.

    Args:
        words: what the person wrote; `method` names files of `adapt/`, `loss` holds an addend that looks at unlabelled
            examples, and either may be "auto". Without both, methods on features are tried.
        subject: what it is for.
        known: whether some labels of the target are.

    Raises `SpecError` for anything that cannot be understood, before any computation.
    """
    rows = subject.modality in ("row", "vector")
    if rows and (words.loss or words.tune not in ("", AUTO)):
        raise SpecError(
            f"{subject.modality} data are adapted by methods on features, got a --loss or --tune; type --method auto."
        )
    if not (words.encoder or rows):
        raise SpecError(f"{subject.modality} data are adapted as an encoder sees them; type --encoder ORIGIN:NAME.")
    encoders = wording.references(words.encoder) if words.encoder else ("",)
    method = words.method or ("" if words.loss else AUTO)
    found = [*_on_features(words, method, encoders, known), *_in_network(words, subject, encoders, known)]
    plan.check_heard(found, words)
    plan.check_tasks([part for one in found for part in (one.tune, *one.losses)], subject.task)
    wanting = [one for one in found if one.crosses and one.tune.needs == "labels"]
    if wanting and not known:
        raise SpecError(f"{wanting[0].tune!r} needs some labelled examples of the target, got none; give --labels.")
    if all(one.floor for one in found):
        raise SpecError("an adaptation must look at the target, got none that does; type --method auto.")
    return tuple(sorted(found, key=lambda one: one.floor))


def _on_features(words: Words, method: Any, encoders: Sequence[str], known: bool) -> list[Route]:
    """Methods of `adapt/` behind each encoder, and the head alone: on the source, on what is known of the target."""
    if not method:
        return []
    chosen = [one for (one,) in wording.alternatives("adapt", METHODS if method == AUTO else method, single=True)]
    floors = {one: name for name in _floors(known) for one in folder.resolve("adapt", name)}
    common = plan.common(words)
    found = []
    for encoder, one in itertools.product(encoders, [*(one for one in chosen if one not in floors), *floors]):
        floor = one in floors
        name = f"{FLOORS[floors[one]]} / head" if floor else repr(one)
        found.append(common.route(_named(encoders, encoder, name), encoder, one, (), (), floor))
    return found


def _floors(known: bool) -> dict[str, str]:
    """Those of `FLOORS` that there are: one learns from what is known of the target alone."""
    return {name: told for name, told in FLOORS.items() if known or told == ALONE}


def _in_network(words: Words, subject: Subject, encoders: Sequence[str], known: bool) -> list[Route]:
    """Each objective with each policy and encoder; floors see the source alone, or the known examples of the target."""
    if not words.loss:
        return []
    own = folder.load("tasks", subject.task)().loss
    written = ", ".join(f"{own} + {one}" for one in LOSSES) if words.loss == AUTO else words.loss
    objectives = wording.alternatives("losses", written)
    tunes = _policies(words)
    plan.check_heads(tunes)
    common, augment = plan.common(words), folder.resolve("augment", words.augment)
    found: dict[tuple[Any, ...], Route] = {}
    for encoder, tune, loss in itertools.product(encoders, tunes, objectives):
        adapting = tuple(term for term in loss if term.needs in ADAPTING)
        alone = tuple(term for term in loss if term.needs not in ADAPTING)
        plan.check_taught(loss, words)
        _check(loss, alone, tune)
        policy = repr(tune) if len(tunes) > 1 else ""
        name = " / ".join(filter(None, (policy, spec.write(adapting))))
        if adapting:
            route = common.route(_named(encoders, encoder, name), encoder, tune, loss, augment)
            found[encoder, tune, loss] = route
        for told in _floors(known).values():
            floor = common.route(_named(encoders, encoder, f"{told} / {tune!r}"), encoder, tune, alone, augment, True)
            found.setdefault((encoder, tune, alone, told), replace(floor, sourceless=told != ALONE))
    return _distinct(list(found.values()))


def _check(loss: tuple[Any, ...], alone: tuple[Any, ...], tune: Any) -> None:
    if not any(term.supervised for term in alone):
        raise SpecError(
            f"an objective needs an addend that learns from the source's labels, got '{spec.write(loss)}'; add "
            "cross_entropy."
        )
    if any(term.needs in plan.UNLABELLED for term in loss):
        _check_moves(tune, loss)


def _check_moves(tune: Any, loss: tuple[Any, ...]) -> None:
    """Raises `SpecError` for a policy that moves no stage."""
    if not any(phase.solver == "descent" for phase in tune.plan([1] * 4)):
        raise SpecError(f"{tune!r} moves no stage, so '{spec.write(loss)}' has nothing to change; type --tune {TUNE}.")


def _named(encoders: Sequence[str], encoder: str, name: str) -> str:
    return f"{encoder} / {name}" if len(encoders) > 1 else name


def _distinct(found: list[Route]) -> list[Route]:
    """Floors of several objectives have one name only where they are one."""
    names = [one.name for one in found]
    return [
        replace(one, name=f"{one.name} / {spec.write(one.losses)}") if names.count(one.name) > 1 else one
        for one in found
    ]
