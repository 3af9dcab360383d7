"""How much of its source a route learns from: a fixed weight, or what the target's own labels say.

Distances cannot see that a source calls the same things by other names; only held-out target examples can, so the
weight is chosen by cross-validation on them (see `gate`), on frozen features, before anything is trained.
"""

from __future__ import annotations

from sterna import desk, gate, mixing
from sterna.gate import Chosen
from sterna.records import Encoder, Table
from sterna.rows import Standardised
from sterna.store import Store

# Standard errors by which less source may fall behind. More of them protect better and gain less: over four hospitals
# and four seeds with some forty to sixty labels, 1 left nearly all sources out, 0 let one in that cost five points.
ERRORS = 0.5
TASKS = ("classify", "multilabel", "regress")


def weighed(target: Table, source: Table, encoder: Encoder | None, store: Store, seed: int) -> Chosen | None:
    """The weight of the source by cross-validation on the target's training examples; None where it cannot be had.

    Args:
        target: the training part of one seed.
        source: all of it.
        encoder: whose features are compared, with statistics of the training rows; None for rows of a table, which are
            standardised by those of the target.
        store: of activations.
        seed: of the folds.

    Tags are not weighed: the gate compares items.
    """
    positions, labels = mixing.usable(source, target)
    if target.task not in TASKS or not len(positions) or (encoder is None and target.items.modality != "row"):
        return None
    related = source.take(positions)
    if encoder is None:
        encoding = Standardised(getattr(target.items, "columns", ())).fit(_read(target))
        sides = [encoding.transform(_read(part)) for part in (target, related)]
    else:
        sides = [desk.features(encoder, part, store).double().numpy() for part in (target, related)]
    return gate.on_features(sides[0], target.labels, sides[1], labels, seed=seed, errors=ERRORS)


def _read(table: Table) -> list[tuple]:
    return [table.items.read(int(row), 0) for row in table.rows]
