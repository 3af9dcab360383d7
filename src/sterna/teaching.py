"""Networks that stand still and are learnt from: a teacher, and the encoder as it was before training.

What they say of the training examples is computed once, with features from the store, and never again in an epoch: a
teacher costs a pass over the data, whatever the number of epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sterna import artifact, desk, folder, lessons, network, opening
from sterna.desk import CHUNK, Desk, Tables
from sterna.errors import EncoderError
from sterna.network import matching_rows
from sterna.records import Batch, Encoder, Fitted, Table, Taught, Teacher
from sterna.store import Store


def opened(reference: str, table: Table) -> Teacher:
    """The teacher behind a model folder of a run, or behind `origin:name`.

    Its head is used where it answers the same task and names every class of the target; else only what the head reads
    can be learnt from.

    Raises `EncoderError` for what is neither, for features without weights, and for one that takes other data.
    """
    fitted, facts = _found(reference, table)
    encoder = fitted.encoder
    if fitted.network is not encoder.network or not encoder.pretrained:
        raise EncoderError(f"{reference} is features made by hand, without weights to teach; name another --teacher.")
    if encoder.preparation.modality != table.items.modality:
        raise EncoderError(
            f"the teacher {reference} takes {encoder.preparation.modality} data, but these data are "
            f"{table.items.modality}; name another --teacher."
        )
    rows = matching_rows(table.classes, fitted.classes) if fitted.task == table.task else {}
    head: tuple[Tensor | None, Tensor | None] = (None, None)
    if len(rows) == len(table.classes):
        head = _head(encoder, [rows[number] for number in range(len(table.classes))])
    encoder = replace(encoder, reference=reference)
    return Teacher(encoder, *head, str(facts.get("data", "")), str(facts.get("held_out", "")))


def _found(reference: str, table: Table) -> tuple[Fitted, Mapping[str, Any]]:
    """The model, and what the run that made it wrote down beside it."""
    origin, colon, name = reference.partition(":")
    local = origin == "local"
    if colon and origin in folder.names("encoders") and not local:
        encoder = opening.open_encoder(reference)
        if encoder.pairs and getattr(table.items, "paired", False):
            encoder = encoder.pairs()
        return Fitted(encoder.network, encoder, encoder.source_classes), {}
    place = Path(name if local else reference).expanduser()
    if not (place / "config.json").is_file():
        inside = f"; the model of that run is {place / 'model'}" if (place / "result.json").is_file() else ""
        raise EncoderError(
            f"a teacher is the model folder of a run, or an encoder as origin:name, got {reference}, which is neither"
            f"{inside}; name one with --teacher."
        )
    return artifact.load(place), artifact.facts(place)


def digest(teacher: Teacher | None) -> str:
    """A digest of all that a teacher says; "" for none. It is part of what a run is known by."""
    if teacher is None:
        return ""
    head = [] if teacher.head is None or teacher.bias is None else [teacher.head, teacher.bias]
    return network.digest(teacher.encoder.digest, {str(place): value for place, value in enumerate(head)})


def scaled(teacher: Teacher | None, mean: np.ndarray, spread: np.ndarray) -> Teacher | None:
    """The same teacher, answering in numbers of this mean (k,) and spread (k,) as units."""
    if teacher is None or teacher.head is None or teacher.bias is None:
        return teacher
    middle, unit = (torch.from_numpy(one).to(teacher.head) for one in (mean, spread))
    return replace(teacher, head=teacher.head / unit[:, None], bias=(teacher.bias - middle) / unit)


def taught(teacher: Teacher, at: Desk, maps: bool = False) -> Taught:
    """What the teacher says of the training examples, and where its stages are strong if that is asked for."""
    target = at.training.target
    parts = [one for one in (target, at.training.validation, at.test) if one.items is target.items]
    rows = np.concatenate([one.rows for one in parts])
    features = said(teacher.encoder, target, rows, at.store, at.extracting)
    seen = strengths(teacher.encoder, target, rows, at.store, at.extracting) if maps else ()
    return Taught(features, teacher.head, teacher.bias, () if teacher.head is None else target.classes, seen)


def said(
    encoder: Encoder,
    table: Table,
    rows: np.ndarray,
    store: Store,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """(n, d) float32: what the head of `encoder` reads for each item of `table`, from the store.

    `rows`: of all items of the run; what is stored is found again only for the same ones, and the parts of all seeds
    together are the same where each alone is not.
    """
    depth = encoder.network.depth
    wanted = np.union1d(rows, table.rows)
    kept = store.activations(encoder, table.items, [depth], rows=wanted, progress=progress)[depth, 0]
    parts = [kept.gather(table.rows[start : start + CHUNK]) for start in range(0, len(table), CHUNK)]
    return torch.cat([part.reshape(len(part), -1).float() for part in parts])


def strengths(
    encoder: Encoder,
    table: Table,
    rows: np.ndarray,
    store: Store,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, ...]:
    """(n, h, w) float32 maps of the coarsest stages that give maps, the last stage of each size; args as of `said`.

    Raises `EncoderError` for an encoder without maps.
    """
    wanted = np.union1d(rows, table.rows)
    shapes = store.layout(encoder, table.items, wanted).shapes
    cuts = lessons.coarsest({cut: shape for cut, shape in enumerate(shapes) if cut})
    if not cuts:
        raise EncoderError(
            f"the stages of the teacher {encoder.reference} give no maps of pictures, and attention is where maps are "
            "strong; learn from what its head reads, as --loss 'cross_entropy + feature_distill' does."
        )
    kept = store.activations(encoder, table.items, sorted(cuts), rows=wanted, progress=progress)
    starts = range(0, len(table), CHUNK)
    parts = ([kept[cut, 0].gather(table.rows[start : start + CHUNK]) for start in starts] for cut in cuts)
    return tuple(torch.cat([lessons.strength(part) for part in of_cut]) for of_cut in parts)


def before(encoder: Encoder, at: Desk) -> Taught:
    """What the encoder says of the training examples with its own head, before training."""
    features = desk.features(encoder, at.training.target, at.store, at.extracting)
    return Taught(features, *_head(encoder, range(encoder.network.classes)), encoder.source_classes)


def sampled(tables: Tables, cut: int, size: int) -> Callable[[], Iterator[Batch]]:
    """Clean training examples as stage `cut` takes them, batch by batch."""

    def batches() -> Iterator[Batch]:
        feed = tables.feed(cut, tables.desk.training.target, training=False)
        return feed.batches(np.arange(len(feed)), size, -1, mixed=False)

    return batches


def needed(losses: Sequence[Any]) -> frozenset[str]:
    """What the losses of an objective need."""
    return frozenset(loss.needs for loss in losses)


def check(losses: Sequence[Any], encoder: Encoder, teacher: Teacher | None) -> None:
    """Raises `EncoderError` for a loss that needs a head which encoder or teacher do not have."""
    for loss in losses:
        if loss.needs == "source" and not encoder.network.classes:
            raise EncoderError(
                f"{loss!r} needs the classes that the encoder was trained on, and {encoder.reference} comes without "
                "them; leave the term out, or choose another --encoder."
            )
        if loss.needs == "teacher" and teacher is not None and teacher.head is None and loss.answers:
            raise EncoderError(
                f"{loss!r} learns from the answers of the teacher, and {teacher.encoder.reference} has none for each "
                "class of these data; name a model that was fitted to them, or learn from its features alone, as "
                "--loss 'cross_entropy + feature_distill' does."
            )


def _head(encoder: Encoder, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Rows of a linear head, with zeros for a bias it does not have."""
    head = encoder.network.head
    weight: Tensor = head.weight.detach().float()[list(rows)]  # type: ignore[union-attr,index,operator]
    bias: Tensor | None = head.bias  # type: ignore[assignment]
    return weight, weight.new_zeros(len(weight)) if bias is None else bias.detach().float()[list(rows)]
