"""Rows of a table as numbers: the identity for tables, without weights.

`columns:all` standardises numbers and makes an indicator of each category. What is missing becomes the median of the
training rows, beside an indicator that it was missing; a category seen fewer than twice, or never, has an indicator
shared by all such. A number further than five standard deviations from the mean counts as five.

All statistics come from the training rows: `Encoder.fitted` takes them, and nothing else can. When not to use: free
text in cells, which is better a text column of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from sterna import folder, network, rows
from sterna.errors import EncoderError
from sterna.network import Network, Stage, empty_head, no_op
from sterna.records import Column, Encoder, Table
from sterna.rows import RowPreparation

NAMES = ("all",)


def load(name: str) -> Encoder:
    """The encoder before it has seen a row: `fitted` gives the one to use.

    Raises `EncoderError` for a name other than `all`.
    """
    if name not in ("", *NAMES):
        raise EncoderError(folder.unknown("choice of columns", name, NAMES))
    return _encoder(RowPreparation(()))


def rebuilt(config: Mapping[str, Any]) -> Encoder:
    """The encoder of a saved model, from the statistics in its config.

    Raises `EncoderError` when they are damaged.
    """
    return _encoder(rows.from_config(config.get("columns") or ()))


def fitted(table: Table) -> Encoder:
    """The encoder with the statistics of these training rows.

    Raises `EncoderError` for items that are no rows of a table.
    """
    columns: tuple[Column, ...] | None = getattr(table.items, "columns", None)
    if table.items.modality != "row" or columns is None:
        raise EncoderError(
            f"columns: takes the rows of a table, got {table.items.modality} items; give another encoder, or a table."
        )
    return _encoder(rows.learnt([table.items.read(row, 0) for row in table.rows.tolist()], columns))


def _encoder(preparation: RowPreparation) -> Encoder:
    made = partial(_network, preparation.width)
    return Encoder(
        reference="columns:all",
        network=made(),
        preparation=preparation,
        source_classes=(),
        digest=network.digest(f"columns:all {preparation!r}", {}),
        config={
            "library": "sterna",
            "architecture": "columns:all",
            "num_features": preparation.width,
            "columns": rows.to_config(preparation),
        },
        fresh=made,
        pretrained=False,
        fitted=fitted,
    )


def _network(width: int) -> Network:
    # Before a row is seen there are no features, and torch has no head on none.
    return Network({"features": Stage([], no_op)}, empty_head(max(width, 1))).eval()
