"""What a route starts from: its encoder as the data need it, checked, and the network under a head for the classes."""

from __future__ import annotations

import copy

import torch

from sterna import adaptable, teaching
from sterna.desk import Desk
from sterna.errors import EncoderError, SpecError
from sterna.maths.seeds import derive
from sterna.network import Network, matching_rows
from sterna.plan import TAUGHT, Route
from sterna.records import Encoder, Table, Teacher


def check(route: Route, encoder: Encoder, table: Table, helped: bool, teacher: Teacher | None = None) -> None:
    """Raises `EncoderError` or `SpecError` when the parts of a route do not fit the data or one another.

    `helped`: whether a source data set is given, which can be transferred without pretrained weights. `teacher`: whom
    losses learn from, where there is one.
    """
    wanted, modality = encoder.preparation.modality, table.items.modality
    if modality == "words" and encoder.words is not None:
        wanted = "words"
    if wanted != modality:
        raise EncoderError(
            f"the encoder {encoder.reference} takes {wanted} data, but these data are {modality}; "
            "choose another --encoder."
        )
    if not (route.floor or encoder.pretrained or helped):
        raise EncoderError(
            f"the encoder {encoder.reference} has no pretrained weights to transfer; it runs as a floor anyway, "
            "choose another --encoder, or give --source."
        )
    ragged = encoder.preparation.ragged
    for part in route.augment:
        fits = [_fitting(place, modality, ragged) for place in part.places]
        if fits and not any(fits):
            raise SpecError(f"the augmentation {part!r} does nothing to {modality} data; leave it out.")
    teaching.check(route.losses, encoder, teacher)
    remembering = [loss for loss in route.losses if loss.needs in (*TAUGHT, "source")]
    mixing = [part for part in route.augment if "mix" in part.places]
    if table.task == "several" and mixing:
        raise SpecError(
            f"{mixing[0]!r} mixes the labels of two examples, and with several tasks one may lack what the other has; "
            "leave it out."
        )
    if remembering and mixing:
        raise SpecError(
            f"{remembering[0]!r} looks up what was said of each example, and {mixing[0]!r} mixes them; leave one out."
        )


def _fitting(place: str, modality: str, ragged: bool) -> bool:
    """Whether an augmentation that acts at a place acts on this kind of data."""
    if place == "mix":
        return not ragged
    kinds = {"crop": ("image",), "pixels": ("image",), "text": ("text", "words"), "row": ("row",), "sound": ("audio",)}
    return modality in kinds[place]


def opened(encoder: Encoder, table: Table) -> Encoder:
    """The encoder as these data need it: with features for each word, to tag words; reading two texts apart.

    Raises `EncoderError` for one that has none for words.
    """
    if not table.by_word:
        return encoder.pairs() if encoder.pairs and getattr(table.items, "paired", False) else encoder
    if encoder.words is None:
        raise EncoderError(
            f"the encoder {encoder.reference} gives one answer for an item, and tags need one for each word; choose "
            "one whose stages keep the words, such as hf:bert-base-cased."
        )
    return encoder.words()


def serves(route: Route, encoder: Encoder, climbing: bool) -> bool:
    """Whether a route that was not asked for by name makes sense behind an encoder.

    Features without weights have nothing that could start at random, and nothing that could move; vectors of words have
    no layer that something could be added to; class names can only be looked at where the encoder takes texts into the
    space of its features.
    """
    if not weighs(encoder):
        return bool(route.pretrained) and not (climbing and moves(route))
    if climbing and moves(route) and any(phase.adapter for phase in route.tune.plan([1] * 8)):
        return bool(adaptable.fitting(encoder.network, 0, adaptable.PRODUCTS))
    describing = climbing and getattr(route.tune, "needs", "") == "descriptions"
    return not describing or encoder.describe is not None


def moves(route: Route) -> bool:
    """Whether a route descends: all but methods on features and heads fitted to their optimum."""
    return not route.shallow and any(phase.solver == "descent" for phase in route.tune.plan([1] * 8))


def weighs(encoder: Encoder) -> bool:
    """Whether the encoder's stages hold weights."""
    return any(True for _ in encoder.network.stages.parameters())


def fitted(encoder: Encoder, table: Table) -> Encoder:
    """The encoder with statistics of these training rows, where it has any."""
    return encoder if encoder.fitted is None else encoder.fitted(table)


def start(route: Route, encoder: Encoder, desk: Desk) -> Network:
    """The network as training finds it: source weights or random ones, under a head for the target's classes."""
    if desk.alone:
        return copy.deepcopy(encoder.network)  # the head is its own
    classes = desk.training.classes
    with torch.random.fork_rng():
        torch.manual_seed(derive(desk.seed, "network"))
        if not route.pretrained and not route.shallow:
            return encoder.fresh().with_head(len(classes), {})
        rows = matching_rows(classes, encoder.source_classes)
        if rows:
            named = ", ".join(classes[number] for number in list(rows)[:5])
            desk.notes.append(f"{len(rows)} of {len(classes)} head rows start from the source's: {named}.")
        return encoder.network.with_head(len(classes), rows)
