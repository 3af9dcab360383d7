"""Which examples are trained on, which choose between routes, and which are held out for the final report.

Stratified by class, or by what the task puts in its place (ranges of a number, the rarest of several labels). Examples
of one group (copies, one patient) stay together; a given division is followed. The same seed and the same data give the
same split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sterna.errors import DataError
from sterna.maths.seeds import derive
from sterna.records import Loaded, Split, Table

Counts = list[tuple[int, int]]  # of one group: (class, examples of it)

_TRIES = 20  # orders of drawing before groups that hold several classes are held to be inseparable

_STRONGEST = ("test", "validation", "train")  # which part a group without its own follows


Folds = list[tuple[np.ndarray, np.ndarray]]  # positions to learn from and to judge on


@dataclass(frozen=True)
class Strata:
    """What every part of a split should hold in like shares."""

    numbers: np.ndarray  # (n,) int64, for each example of the table
    names: tuple[str, ...]
    strict: bool = True  # each must be in train and in test: a class must, a range of numbers need not


@dataclass(frozen=True)
class _Pool:
    """Examples to be divided, by group."""

    rows: np.ndarray  # (m,) positions in the table
    unit: np.ndarray  # (m,) number of the group, 0, 1, ...
    counts: list[Counts]  # of each group
    totals: np.ndarray  # (k,) examples of each class
    units: np.ndarray  # (k,) groups that hold each class
    classes: tuple[str, ...]
    strict: bool


def by_class(table: Table) -> Strata:
    """The strata of labels that are class numbers."""
    return Strata(table.labels, table.classes)


def split(
    loaded: Loaded,
    *,
    seed: int,
    test: float = 0.2,
    validation: float = 0.2,
    shots: int | None = None,
    strata: Strata | None = None,
) -> Split:
    """Divide a data set into train, validation and test.

    Where the data bring a test part it stays as it is, and so does a validation part; what they do not bring is taken
    from the rest. Examples without a part follow the group they belong to.

    Args:
        loaded: the data set.
        seed: another seed gives another division of what is free to move.
        test: share held out of the examples it is taken from, in [0, 1).
        validation: share of what is not test, in [0, 1).
        shots: train and validation together hold this many examples of each class, `max(1, round(shots * validation))`
            of them for validation; the rest is test, or left out where the data bring a test part. Groups stay whole,
            so where they do not add up to the number, the nearest is taken. Without classes it is the number of
            examples for each stratum.
        strata: what to divide evenly; None takes the classes.

    Raises `DataError` when a class cannot be in both train and test.
    """
    _check(test, validation, shots)
    strata = strata or by_class(loaded.table)
    parts = _followed(loaded.groups, loaded.parts)
    held, watched = np.flatnonzero(parts == "test"), np.flatnonzero(parts == "validation")
    rest = np.flatnonzero((parts != "test") & (parts != "validation"))
    given_test, given_validation = len(held) > 0, len(watched) > 0
    few = min(max(1, round(shots * validation)), shots - 1) if shots and validation else 0
    if shots:
        wanted = shots - few if given_validation else shots
        rest, left = _shots(_pool(loaded, rest, strata), wanted, derive(seed, "shots"), not given_test)
        held = held if given_test else left
        if given_validation:
            watched, _ = _shots(_pool(loaded, watched, strata), few, derive(seed, "validation"), False)
    elif not given_test and test:
        pool = _pool(loaded, rest, strata)
        _both_sides(pool)
        held, rest = _draw(pool, _share(pool.totals, test), derive(seed, "test"), True, True)
    if not given_validation and validation:
        pool = _pool(loaded, rest, strata)
        quota = np.minimum(pool.totals - 1, few).clip(0) if shots else _share(pool.totals, validation)
        watched, rest = _draw(pool, quota, derive(seed, "validation"), False, True)
    if strata.strict:
        _all_learnt(strata, rest)
    return Split(rest, watched, held, seed)


def thinned(split: Split, strata: Strata, share: float) -> Split:
    """The split with a share of its training and validation examples; the held-out part stays.

    Of each stratum the same share, at least one, and smaller shares lie within larger ones.
    """
    kept = []
    for name, rows in (("train", split.train), ("validation", split.validation)):
        order = np.random.default_rng(derive(split.seed, "share", name)).permutation(rows)
        numbers = strata.numbers[order]
        chosen = [order[numbers == one][: max(1, round(share * int((numbers == one).sum())))] for one in set(numbers)]
        kept.append(np.sort(np.concatenate(chosen)) if chosen else rows)
    return Split(kept[0], kept[1], split.test, split.seed)


def folds(loaded: Loaded, rows: np.ndarray, strata: Strata, count: int, seed: int) -> Folds:
    """Positions among `rows` to learn from and to judge on, `count` times; each row is judged on once.

    Groups stay together, and examples of one stratum are dealt out evenly. Fewer folds, or none, where a stratum has
    not enough groups for each fold to learn from it.
    """
    groups, first, place = np.unique(loaded.groups[rows], return_index=True, return_inverse=True)
    numbers = strata.numbers[rows][first]
    sizes = np.unique(numbers, return_counts=True)[1] if strata.strict else [len(groups)]
    count = min([count, *sizes])
    if count < 2:
        return []
    order = np.random.default_rng(derive(seed, "folds")).permutation(len(groups))
    order = order[np.argsort(numbers[order], kind="stable")]
    dealt = np.empty(len(groups), dtype=np.int64)
    dealt[order] = np.arange(len(groups)) % count  # like cards, so neighbours in the order go to different folds
    owner = dealt[place.ravel()]
    return [(np.flatnonzero(owner != fold), np.flatnonzero(owner == fold)) for fold in range(count)]


def to_json(split: Split, loaded: Loaded) -> dict[str, Any]:
    """The split with the name, class and digest of each example, so that it can be held against the data later."""
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    used = np.concatenate(list(parts.values()))
    parts["unused"] = np.setdiff1d(np.arange(len(loaded.table)), used)
    keys = _keys(loaded.table)
    return {"seed": split.seed, "parts": {part: [list(keys[row]) for row in rows] for part, rows in parts.items()}}


def from_json(saved: Mapping[str, Any], loaded: Loaded) -> Split:
    """The split that `to_json` wrote, on data that may lie in another order or under other file names.

    Raises `DataError` when examples are gone, new, changed, or of another class.
    """
    keys = _keys(loaded.table)
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place in reversed(range(len(keys))):
        places[keys[place]].append(place)
    wanted = [(part, tuple(key)) for part, listed in saved["parts"].items() for key in listed]
    found = [places[key].pop() if places[key] else -1 for _, key in wanted]
    # What has another name by now is known by its class and digest.
    renamed: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for key, left in places.items():
        renamed[key[1:]].extend(left)
    for number, (_, key) in enumerate(wanted):
        if found[number] < 0 and renamed[key[1:]]:
            found[number] = renamed[key[1:]].pop()
    gone = [key[0] for (_, key), place in zip(wanted, found, strict=True) if place < 0]
    new = [keys[place][0] for left in renamed.values() for place in left]
    if gone or new:
        raise DataError(
            f"the data have changed since the split was saved: {len(gone)} of {len(wanted)} examples are gone or "
            f"changed{f' (first {gone[0]})' if gone else ''}, {len(new)} are new{f' (first {new[0]})' if new else ''}; "
            "bring the data back as they were, or start a new run with another --out."
        )
    rows: dict[str, list[int]] = defaultdict(list)
    for (part, _), place in zip(wanted, found, strict=True):
        rows[part].append(place)
    train, validation, test = (np.array(sorted(rows[part]), np.int64) for part in ("train", "validation", "test"))
    return Split(train, validation, test, int(saved["seed"]))


def _check(test: float, validation: float, shots: int | None) -> None:
    for name, share in (("test", test), ("validation", validation)):
        if not 0 <= share < 1:
            raise DataError(f"{name} must be a share in [0, 1), got {share}; type for example {name}=0.2.")
    if shots is not None and shots < (2 if validation else 1):
        raise DataError(
            f"shots must be at least {2 if validation else 1}, one to learn from"
            f"{' and one to choose by' if validation else ''}, got {shots}."
        )


def _keys(table: Table) -> list[tuple[str, ...]]:
    """Name, label and digest of each example of the table."""
    items = table.items
    return [
        (items.name(row), _written(label, table), items.digest(row))
        for row, label in zip(table.rows.tolist(), table.labels, strict=True)
    ]


def _written(label: Any, table: Table) -> str:
    """A label in words that stay the same while the data do."""
    if table.labels.dtype != object and table.labels.ndim == 1:
        return table.classes[label]
    return " ".join(format(value, "g") for value in np.ravel(label).tolist())


def _followed(groups: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """The parts, where an example without one follows its group; where that lies in several, the strictest."""
    followed, free = parts.copy(), parts == ""
    for part in reversed(_STRONGEST):
        followed[free & np.isin(groups, groups[parts == part])] = part
    return followed


def _pool(loaded: Loaded, rows: np.ndarray, strata: Strata) -> _Pool:
    labels, classes = strata.numbers[rows], strata.names
    unit = np.unique(loaded.groups[rows], return_inverse=True)[1].ravel()
    codes, sizes = np.unique(unit * len(classes) + labels, return_counts=True)
    counts: list[Counts] = [[] for _ in range(int(unit.max(initial=-1)) + 1)]
    for code, size in zip(codes.tolist(), sizes.tolist(), strict=True):
        counts[code // len(classes)].append((code % len(classes), size))
    totals = np.bincount(labels, minlength=len(classes))
    return _Pool(
        rows, unit, counts, totals, np.bincount(codes % len(classes), minlength=len(classes)), classes, strata.strict
    )


def _share(totals: np.ndarray, share: float) -> np.ndarray:
    """Whole numbers of examples of each class: within 1 of the share, the total right by largest remainders.

    A class of two or more has at least one on either side.
    """
    exact = totals * share
    quota = np.floor(exact).astype(np.int64)
    missing = round(float(exact.sum())) - int(quota.sum())
    quota[np.argsort(quota - exact, kind="stable")[:missing]] += 1
    return np.clip(quota, np.minimum(1, totals - 1), totals - 1).clip(0)


def _shots(pool: _Pool, wanted: int, seed: int, leave: bool) -> tuple[np.ndarray, np.ndarray]:
    """`wanted` examples of each class, and the others, of which there must be one of each class if `leave`."""
    needed = wanted + leave
    scarce = [name for name, total in zip(pool.classes, pool.totals.tolist(), strict=True) if total < needed]
    if scarce and pool.strict:
        total = int(pool.totals[pool.classes.index(scarce[0])])
        raise DataError(
            f"shots needs {needed} examples of each class{', one of them to test on' if leave else ''}, and "
            f"'{scarce[0]}' has {total}; ask for at most {max(0, int(pool.totals.min()) - leave)}, or add examples."
        )
    if leave:
        _both_sides(pool)
    return _draw(pool, np.minimum(wanted, pool.totals), seed, True, leave)


def _both_sides(pool: _Pool) -> None:
    """Raises `DataError` for a class that is whole only on one side."""
    if not pool.strict:
        return
    single = [name for name, units in zip(pool.classes, pool.units.tolist(), strict=True) if units == 1]
    if single:
        total = int(pool.totals[pool.classes.index(single[0])])
        reason = "one example" if total == 1 else f"{total} examples that belong together (copies, or one given group)"
        others = f", and so for {len(single) - 1} more" if len(single) > 1 else ""
        raise DataError(
            f"class '{single[0]}' has {reason} and cannot be both learnt from and tested on{others}; add examples, or "
            "remove the class."
        )


def _draw(pool: _Pool, quota: np.ndarray, seed: int, in_taken: bool, in_left: bool) -> tuple[np.ndarray, np.ndarray]:
    """Take whole groups until the quota of each class is met as nearly as they allow.

    Groups come in random order and are taken when that brings the counts nearer to the quota, so large and small ones,
    copies and single examples, have the same chance.

    Args:
        pool: what to take from.
        quota: (k,) examples of each class to take.
        seed: of the order.
        in_taken, in_left: whether every class of the pool must have an example on that side.

    Returns:
        the rows taken and the rows left, sorted.
    """
    generator = np.random.default_rng(seed)
    in_taken, in_left = in_taken and pool.strict, in_left and pool.strict
    for _ in range(_TRIES):
        order = generator.permutation(len(pool.counts)).tolist()
        taken = _filled(pool, quota, order)
        stuck = _mend(pool, order, taken, in_taken, in_left)
        if not stuck:
            side = np.array(taken, dtype=bool)[pool.unit]
            return pool.rows[side], pool.rows[~side]
    raise DataError(
        f"class '{pool.classes[stuck[0]]}' shares its groups with other classes in such a way that it cannot be both "
        "learnt from and tested on; make the groups smaller, or give the parts yourself."
    )


def _filled(pool: _Pool, quota: np.ndarray, order: Sequence[int]) -> list[bool]:
    """Which groups are taken when they come in this order."""
    places = quota.tolist()
    taken = [False] * len(order)
    for unit in order:
        counts = pool.counts[unit]
        if sum(abs(places[kind] - size) - abs(places[kind]) for kind, size in counts) < 0:
            taken[unit] = True
            for kind, size in counts:
                places[kind] -= size
    return taken


def _mend(pool: _Pool, order: Sequence[int], taken: list[bool], in_taken: bool, in_left: bool) -> list[int]:
    """Move whole groups until each class is on each side where it must be; the classes for which none can be."""
    on = {True: np.zeros(len(pool.classes), np.int64), False: np.zeros(len(pool.classes), np.int64)}
    for unit in order:
        for kind, _ in pool.counts[unit]:
            on[taken[unit]][kind] += 1
    must = {True: in_taken, False: in_left}
    lacking = [(kind, side) for side in (False, True) for kind in np.flatnonzero(pool.units).tolist() if must[side]]
    for kind, side in lacking:
        if on[side][kind]:
            continue
        movable = [
            unit
            for unit in order
            if taken[unit] != side
            and any(one == kind for one, _ in pool.counts[unit])
            and not (must[not side] and any(on[not side][one] < 2 for one, _ in pool.counts[unit]))
        ]
        if not movable:
            return [kind]
        moved = min(movable, key=lambda unit: sum(size for _, size in pool.counts[unit]))
        taken[moved] = side
        for one, _ in pool.counts[moved]:
            on[side][one] += 1
            on[not side][one] -= 1
    return []


def _all_learnt(strata: Strata, train: np.ndarray) -> None:
    absent = np.setdiff1d(np.arange(len(strata.names)), strata.numbers[train])
    if len(absent):
        raise DataError(
            f"class '{strata.names[absent[0]]}' has no example left to learn from, only ones in the given validation "
            "or test part; add training examples, or remove the class."
        )
