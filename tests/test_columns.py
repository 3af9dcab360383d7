"""Rows become numbers by statistics of training rows alone, and models know their columns by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sterna import folder, rows
from sterna.encoders import columns
from sterna.errors import DataError, EncoderError
from sterna.maths import parsing
from sterna.records import Augment, Column, Table
from sterna.rows import Coded, RowItems, RowPreparation, Standardised, words

COLUMNS = (Column("size", "numeric"), Column("colour", "category"), Column("weight", "numeric"))
SIZES = [1.0, 2.0, 3.0, 6.0]
COLOURS = ["red", "red", "blue", None]
WEIGHTS = [10.0, None, 30.0, 50.0]
ROWS = list(zip(SIZES, COLOURS, WEIGHTS, strict=True))


def items(sizes: list[float], colours: list[str | None], weights: list[float | None]) -> RowItems:
    numbers = [np.array([np.nan if value is None else value for value in one]) for one in (sizes, weights)]
    values = (numbers[0], words(colours), numbers[1])
    return RowItems(COLUMNS, values, np.arange(1, len(sizes) + 1))


def table(chosen: list[int] | None = None) -> Table:
    held = items(SIZES, COLOURS, WEIGHTS)
    picked = np.arange(4) if chosen is None else np.array(chosen)
    return Table(held, picked, np.zeros(len(picked), dtype=np.int64), ("no", "yes"))


# Rows -> numbers ---------------------------------------------------------------------------------------------------


def test_a_row_by_hand() -> None:
    """size: mean 3, variance (4 + 1 + 0 + 9) / 4; colour: red twice, so blue is among the others; weight: median 30."""
    made = rows.learnt(ROWS, COLUMNS)
    deviation, spread = np.sqrt(3.5), np.sqrt((400 + 0 + 400) / 3)
    wanted = [
        [(1 - 3) / deviation, 1, 0, 0, (10 - 30) / spread, 0],
        [(2 - 3) / deviation, 1, 0, 0, 0, 1],
        [0, 0, 1, 0, 0, 0],
        [3 / deviation, 0, 0, 1, 20 / spread, 0],
    ]
    np.testing.assert_allclose(made.frames(ROWS), wanted, rtol=1e-6)
    assert made.width == 6
    assert made.columns == COLUMNS
    assert made.frame(ROWS[0]).dtype == np.float32


def test_numbers_and_categories_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    numbers = generator.normal(5, 2, size=(80, 3))
    colours = generator.choice(["a", "b", "c"], size=80)
    plain = tuple(Column(name, "numeric") for name in "xyz")
    given = [(*map(float, row), str(colour)) for row, colour in zip(numbers, colours, strict=True)]
    got = rows.learnt(given, (*plain, Column("colour", "category"))).frames(given)
    np.testing.assert_allclose(got[:, :3], StandardScaler().fit_transform(numbers), atol=1e-6)
    np.testing.assert_array_equal(got[:, 3:6], OneHotEncoder(sparse_output=False).fit_transform(colours[:, None]))
    assert not got[:, 6:].any()
    gaps = numbers.copy()
    gaps[generator.random(gaps.shape) < 0.2] = np.nan
    holed = [tuple(None if np.isnan(value) else float(value) for value in row) for row in gaps]
    learnt = rows.learnt(holed, plain)
    filled = SimpleImputer(strategy="median", add_indicator=True).fit_transform(gaps)
    scaled = (filled[:, :3] - np.nanmean(gaps, axis=0)) / np.nanstd(gaps, axis=0)
    np.testing.assert_allclose(learnt.frames(holed)[:, ::2], scaled, atol=1e-6)
    np.testing.assert_array_equal(learnt.frames(holed)[:, 1::2], filled[:, 3:])


def test_what_training_rows_did_not_show() -> None:
    made = rows.learnt(ROWS[:3], COLUMNS)  # no missing colour among these
    strange = made.frame((None, "green", None))
    np.testing.assert_allclose(strange[:3], [(2 - 2) / 1, 0, 1])  # size: no indicator; its median is its mean
    assert made.frame((2.0, None, 10.0))[2] == 1  # a colour that is missing counts with the others


def test_a_far_value_counts_as_five_deviations() -> None:
    made = rows.learnt([(float(value),) for value in (0, 0, 2, 2)], COLUMNS[:1])
    assert made.frame((1e9,)).tolist() == [5.0]
    assert made.frame((-1e9,)).tolist() == [-5.0]
    assert made.frame((5.0,)).tolist() == [4.0]


@pytest.mark.parametrize("values", [[None, None], [7.0, 7.0], [1e15, 1e15 + 0.125]])
def test_a_column_without_spread_gives_zeros(values: list[float | None]) -> None:
    made = rows.learnt([(value,) for value in values], COLUMNS[:1])
    assert made.frame((9.0,)).tolist() == [0.0]
    assert made.frame((None,)).tolist() == [0.0]


def test_the_most_frequent_categories_get_numbers() -> None:
    levels = [f"level {number:03}" for number in range(rows.MOST + 20)]
    given = [(level,) for place, level in enumerate(levels) for _ in range(2 + (place >= 20))]
    made = rows.learnt(given, COLUMNS[1:2])
    assert made.statistics[0].levels == tuple(levels[20:])  # type: ignore[union-attr]
    assert made.frame((levels[0],))[-1] == 1


def test_an_augmentation_sees_standardised_numbers() -> None:
    seen: list[tuple] = []

    def double(row: tuple) -> tuple:
        seen.append(row)
        return (row[0] * 2, *row[1:])

    made = rows.learnt(ROWS, COLUMNS)
    got = made.frame(ROWS[0], Augment(row=double))
    assert seen == [(pytest.approx(-2 / np.sqrt(3.5)), "red", pytest.approx(-20 / np.sqrt(800 / 3)))]
    assert got[0] == pytest.approx(-4 / np.sqrt(3.5))
    np.testing.assert_array_equal(made.frame(ROWS[0], Augment()), made.frame(ROWS[0]))


def test_the_transformer_is_the_preparation() -> None:
    made = Standardised(COLUMNS).fit(ROWS)
    np.testing.assert_array_equal(made.transform(ROWS), rows.learnt(ROWS, COLUMNS).frames(ROWS))
    assert made.transform([]).shape == (0, 6)


def test_codes_are_places_by_frequency_and_unseen_ones_are_missing() -> None:
    given = [("b", 1.0, None), ("b", None, None), ("a", 3.0, None), (None, 4.0, None)]
    made = Coded((Column("c", "category"), Column("x", "numeric"), Column("empty", "numeric"))).fit(given)
    np.testing.assert_array_equal(made.transform(given), [[0, 1, 0], [0, np.nan, 0], [1, 3, 0], [np.nan, 4, 0]])
    np.testing.assert_array_equal(made.transform([("new", 2.0, 9.0)]), [[np.nan, 2, 0]])


def test_codes_end_where_gradient_boosting_ends() -> None:
    levels = [f"{number}" for number in range(rows.CODES + 30)]
    given = [(level,) for level in levels] + [(level,) for level in levels[30:]]
    codes = Coded(COLUMNS[1:2]).fit(given).transform([(level,) for level in levels])
    assert np.isnan(codes[:30]).all()
    assert sorted(codes[30:, 0]) == list(range(rows.CODES))


# Items and models --------------------------------------------------------------------------------------------------


def test_rows_are_read_as_they_are() -> None:
    held = items(SIZES, COLOURS, WEIGHTS)
    assert [held.read(place) for place in range(4)] == ROWS
    assert (len(held), held.name(2), held.in_memory, held.lengths, held.modality) == (4, "row 3", True, None, "row")
    prefixed = RowItems(COLUMNS, held.values, np.array([5, 6, 1, 2]), words(["a", "a", "b", "b"]))
    assert [prefixed.name(place) for place in (1, 2)] == ["a row 6", "b row 1"]


def test_digests_tell_values_and_columns_apart() -> None:
    held = items([1.0, 1.0, 1.0, 1.0], ["a", "a", None, "b"], [None, None, 2.0, 2.0])
    digests = [held.digest(place) for place in range(4)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    renamed = RowItems((Column("length", "numeric"), *COLUMNS[1:]), held.values, np.arange(4))
    assert renamed.digest(0) != held.digest(0)
    assert held.digest(0) == "0764f40a303e1385a0a8ac7cbe0f2e91"  # on every machine


def raw(**cells: list[str | None]) -> RowItems:
    """As `gather` gives them: everything is words."""
    count = len(next(iter(cells.values())))
    return RowItems(
        [Column(name, "category") for name in cells], [words(one) for one in cells.values()], np.arange(1, count + 1)
    )


def test_new_rows_are_brought_to_the_columns_of_a_model() -> None:
    new = raw(weight=["10", "?", "x"], extra=["1", "2", "3"], colour=["red", "", "007"], size=["1e1", "2.5", "-3"])
    got = new.aligned(COLUMNS)
    assert got.columns == COLUMNS
    assert [got.read(place) for place in range(3)] == [(10.0, "red", 10.0), (2.5, None, None), (-3.0, "007", None)]
    assert got.name(1) == "row 2"
    assert got.aligned(COLUMNS).read(0) == got.read(0)


def test_numbers_become_words_where_a_model_knows_words() -> None:
    got = items([1.0, 2.5, 1e6, 3.0], COLOURS, WEIGHTS).aligned((Column("size", "category"),))
    assert [got.read(place) for place in range(4)] == [("1",), ("2.5",), ("1000000",), ("3",)]
    missing = items(SIZES, COLOURS, WEIGHTS).aligned((Column("weight", "category"),))
    assert missing.read(1) == (None,)


def test_dates_become_the_parts_a_model_knows() -> None:
    wanted = tuple(Column(name, "numeric") for name in rows.date_columns("seen"))
    got = raw(seen=["1970-01-02", "01.03.2024", "", "soon"]).aligned(wanted)
    assert got.read(0) == (1970.0, 1.0, 4.0, 1.0)
    assert got.read(1) == (2024.0, 3.0, 4.0, 19783.0)
    assert got.read(2) == got.read(3) == (None,) * 4


@pytest.mark.parametrize(
    ("held", "lacking"), [(["size"], "columns colour, weight"), (["size", "colour"], "column weight")]
)
def test_a_missing_column_is_named(held: list[str], lacking: str) -> None:
    new = raw(**{name: ["1"] for name in held})
    with pytest.raises(DataError, match=rf"lacks {lacking}, on which the model was trained; add .* \(it has size"):
        new.aligned(COLUMNS)
    many = [Column(f"c{place}", "numeric") for place in range(7)]
    with pytest.raises(DataError, match="lacks columns c0, c1, c2, c3 and 3 more, on"):
        new.aligned(many)


# The encoder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "all"])
def test_statistics_come_from_the_rows_given_alone(name: str) -> None:
    encoder = columns.load(name)
    assert encoder.fitted is not None
    got = encoder.fitted(table([0, 2]))
    assert got.preparation == rows.learnt([ROWS[0], ROWS[2]], COLUMNS)
    assert got.preparation != rows.learnt(ROWS, COLUMNS)
    assert (got.reference, got.pretrained, got.network.width) == ("columns:all", False, got.preparation.width)  # type: ignore[attr-defined]


def test_its_features_are_the_frames() -> None:
    encoder = columns.fitted(table())
    frames = torch.from_numpy(np.stack([encoder.preparation.frame(row) for row in ROWS]))
    network = encoder.network.with_head(2, {})
    output = network(encoder.preparation.tensor(frames))
    assert torch.equal(output.features, frames)
    assert output.logits.shape == (4, 2)
    assert (encoder.preparation.modality, encoder.preparation.ragged, encoder.preparation.hint) == ("row", False, 0)
    assert encoder.fresh().width == encoder.network.width


def test_other_statistics_are_another_encoder() -> None:
    digests = {columns.fitted(table(chosen)).digest for chosen in ([0, 1, 2, 3], [0, 1, 2], [0, 1, 2, 3])}
    assert len(digests) == 2
    made = rows.learnt(ROWS, COLUMNS)
    assert all(repr(value) in repr(made) for value in (made.statistics[0].mean, "red", "colour"))  # type: ignore[union-attr]


def test_a_saved_config_gives_the_encoder_back() -> None:
    encoder = columns.fitted(table())
    config = json.loads(json.dumps({**encoder.config, "num_classes": 2, "label_names": ["no", "yes"]}))
    again = columns.rebuilt(config)
    assert (again.preparation, again.digest, again.config) == (encoder.preparation, encoder.digest, encoder.config)
    np.testing.assert_array_equal(again.preparation.frame(ROWS[1]), encoder.preparation.frame(ROWS[1]))
    assert config["architecture"] == "columns:all"
    assert folder.module("encoders", "columns") is columns


@pytest.mark.parametrize(
    "damaged",
    [
        [{"kind": "numeric", "name": "size"}],
        [{"name": "size"}],
        [3],
        [{"kind": "category", "name": "c", "gaps": True, "levels": None}],
    ],
)
def test_damaged_statistics(damaged: list) -> None:
    with pytest.raises(EncoderError, match=r"the statistics of columns in the model's config are damaged \(.*save the"):
        columns.rebuilt({"columns": damaged})


def test_an_unknown_choice_of_columns() -> None:
    with pytest.raises(EncoderError, match=r"unknown choice of columns 'al'. Did you mean 'all'\? Known: all\."):
        columns.load("al")


def test_items_that_are_no_rows() -> None:
    class Pictures:
        modality = "image"

    with pytest.raises(EncoderError, match="columns: takes the rows of a table, got image items; give another encoder"):
        columns.fitted(Table(Pictures(), np.arange(2), np.zeros(2), ("a", "b")))  # type: ignore[arg-type]


# Cells -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "?", "NA", "n/a", "NaN", "null", None, " nan "])
def test_what_is_missing(text: str | None) -> None:
    assert parsing.missing(text)


@pytest.mark.parametrize("text", ["0", "none", "-", "x", "nane"])
def test_what_is_not_missing_everywhere(text: str) -> None:
    assert not parsing.missing(text)


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["1", "-2.5", "+3e2", ".5", "7."], [1, -2.5, 300, 0.5, 7]),
        (["1,234", "12,345,678.5", "7"], [1234, 12345678.5, 7]),
        (["1,5", "2,25", "3"], [1.5, 2.25, 3]),
        (["1,234", "1,2"], [1.234, 1.2]),
        (["inf", "1e999", "nan", "1_000", "0x1", "", "1,2,3"], [np.nan] * 7),
        (["007", "0", "0.5", "-00", "1.0"], [np.nan, 0, 0.5, np.nan, 1]),
    ],
)
def test_numbers(texts: list[str], wanted: list[float]) -> None:
    np.testing.assert_array_equal(parsing.numbers(texts), np.array(wanted))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2024-02-29", (2024, 2, 3, 19782)),
        ("2024/2/29", (2024, 2, 3, 19782)),
        ("29.2.2024", (2024, 2, 3, 19782)),
        ("2024-02-29T12:00:00Z", (2024, 2, 3, 19782.5)),
        ("2024-02-29 06:00", (2024, 2, 3, 19782.25)),
        ("2024-02-29T18:00:00.123+01:00", (2024, 2, 3, 19782.75)),
        ("1969-12-31", (1969, 12, 2, -1)),
        ("2023-02-29", None),
        ("2/3/2024", None),
        ("2024-02/03", None),
        ("20240229", None),
    ],
)
def test_dates(text: str, wanted: tuple[float, ...] | None) -> None:
    got = parsing.dates([text])[0]
    np.testing.assert_array_equal(got, (np.nan,) * 4 if wanted is None else wanted)


def test_a_plain_folder_holds_no_code(tmp_path: Path) -> None:
    """The statistics go through JSON to the last bit."""
    odd = RowPreparation(
        (rows.Numeric("x", 0.1 + 0.2, 1 / 3, 1e-300, True), rows.Category("é", ("ß", "\u2028"), False))
    )
    (tmp_path / "config.json").write_text(json.dumps(rows.to_config(odd)))
    assert rows.from_config(json.loads((tmp_path / "config.json").read_text())) == odd
