"""What asks for examples without labels: which addends and methods do, the same without them, and the second view.

Learning from examples without labels can do harm, so a run tries each objective without them as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sterna import folder, spec
from sterna.errors import SpecError

NEEDS = ("unlabelled", "views")  # what addends need that look at examples without labels
STRONG = {  # augmentation of the strong view for each kind of data, where none is named
    "image": "strong",
    "text": "word_swap + word_deletion",
    "words": "word_swap + word_deletion",
    "audio": "time_shift + gain + noise",
    "row": "jitter",
}
MOVING = "partial"  # a policy that moves stages, to be typed


def looks(method: Any) -> bool:
    """Whether an addend, or a method of `shallow/`, looks at examples without labels."""
    return getattr(method, "needs", "") in NEEDS or bool(getattr(method, "spreads", False))


def alone(losses: Sequence[Any]) -> tuple[Any, ...]:
    """The objective without what looks at examples without labels."""
    return tuple(one for one in losses if not looks(one))


def compared(objectives: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The objectives and, once each, what is left of them without examples without labels."""
    return list(dict.fromkeys([*objectives, *map(alone, objectives)]))


def both(methods: Sequence[Any]) -> list[Any]:
    """Methods of `shallow/`, those that look at examples without labels also as they are without them."""
    return list(dict.fromkeys([*methods, *(replace(one, spread=False) for one in methods if looks(one))]))


def twin(tune: Any, losses: Sequence[Any]) -> tuple[Any, tuple[Any, ...]]:
    """The policy or method, and the objective, of the same route without examples without labels."""
    return (replace(tune, spread=False) if looks(tune) else tune), alone(losses)


def idle(tune: Any, losses: Sequence[Any]) -> bool:
    """Whether addends look at examples without labels under a policy that takes no step of descent."""
    return any(map(looks, losses)) and not any(phase.solver == "descent" for phase in tune.plan([1] * 4))


def check(
    objectives: Sequence[tuple[Any, ...]],
    tunes: Sequence[Any],
    methods: Sequence[Any],
    modality: str,
    there: bool,
    spare: str = "",
) -> None:
    """Raises `SpecError` where such examples are asked for and not there, or there and not asked for.

    Args:
        objectives: the alternatives of the run.
        tunes: the policies that were typed; () where none was.
        methods: of `shallow/`.
        modality: the kind of item.
        there: whether there are examples without labels.
        spare: those that the data bring along, as an option to be typed; "" for none.
    """
    asking = [one for one in (*(term for one in objectives for term in one), *methods) if looks(one)]
    if asking and not there:
        given = f"type {spare}, or give" if spare else "give"
        raise SpecError(
            f"{asking[0]!r} looks at examples without labels, got none; {given} more of these data with --unlabelled, "
            "or another domain to adapt to with --target."
        )
    if there and not asking:
        written = spec.write(objectives[0]) if objectives else "cross_entropy"
        raise SpecError(
            f"nothing in this run looks at the examples of --unlabelled; type --loss '{written} + fixmatch' or "
            "--method label_propagation, or leave --unlabelled out."
        )
    for losses in objectives:
        if tunes and all(idle(tune, losses) for tune in tunes):
            raise SpecError(
                f"{tunes[0]!r} takes no step of descent, so '{spec.write(losses)}' has nothing to change; type --tune "
                f"{MOVING}."
            )
        _check_views([one for one in losses if one.needs == "views"], modality)


def strong(losses: Sequence[Any], modality: str) -> str:
    """The augmentation of the strong view, in the grammar; "" where no addend looks at one."""
    asking = [one.strong for one in losses if one.needs == "views"]
    return next(filter(None, asking), STRONG[modality]) if asking else ""


def ratio(losses: Sequence[Any]) -> int:
    """Unlabelled examples for each labelled one in a batch: the most that an addend asks for."""
    return max((int(getattr(one, "ratio", 1)) for one in losses), default=1)


def _check_views(asking: Sequence[Any], modality: str) -> None:
    """`asking`: the addends of one objective that look at a strong view."""
    if asking and modality not in STRONG:
        raise SpecError(
            f"{asking[0]!r} needs a second view of each example, and {modality} data have no augmentation; type "
            "--method label_propagation."
        )
    named = list(dict.fromkeys(one.strong for one in asking if one.strong))
    if len(named) > 1:
        raise SpecError(
            f"an objective has one strong view, got '{named[0]}' and '{named[1]}'; name one augmentation by strong."
        )
    for written in named:
        folder.resolve("augment", written)
