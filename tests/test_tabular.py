"""Tables are read by what is in their cells, and what is odd about them is said."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from growing import MOST, growth
from pyarrow import parquet

from sterna.data import tabular
from sterna.errors import DataError
from sterna.records import Columns, Loaded
from sterna.rows import RowItems

HEART = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal"]
HOSPITALS = {"cleveland": (303, 139), "hungarian": (294, 106), "switzerland": (123, 115), "va": (200, 149)}


def write(path: Path, names: list[str], rows: Iterable[Iterable[object]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return str(path)


def flowers(count: int = 40) -> list[list[object]]:
    """width, colour, when seen, kind."""
    return [
        [round(1.5 + 0.37 * place % 7, 2), ["red", "blue"][place % 3 > 1], f"2024-0{1 + place % 9}-1{place % 7}", kind]
        for place in range(count)
        for kind in [["rose", "daisy"][place % 2]]
    ]


NAMES = ["width", "colour", "seen", "kind"]


def said(loaded: Loaded, kind: str) -> list[str]:
    return [one.sentence for one in loaded.findings if one.kind == kind]


def held(loaded: Loaded) -> RowItems:
    items = loaded.table.items
    assert isinstance(items, RowItems)
    return items


def columns(loaded: Loaded) -> dict[str, str]:
    return {column.name: column.kind for column in held(loaded).columns}


# Reading -----------------------------------------------------------------------------------------------------------


def test_columns_are_read_by_what_is_in_them(tmp_path: Path) -> None:
    loaded = tabular.load(write(tmp_path / "a.csv", NAMES, flowers()))
    parts = ["seen.year", "seen.month", "seen.weekday", "seen.days"]
    assert columns(loaded) == {"width": "numeric", "colour": "category", **dict.fromkeys(parts, "numeric")}
    assert (loaded.table.task, loaded.table.classes) == ("classify", ("daisy", "rose"))
    assert loaded.table.labels[:3].tolist() == [1, 0, 1]
    # 2024-01-10 is a Wednesday, 19,732 days after the first of 1970.
    assert loaded.table.items.read(0, 0) == (1.5, "red", 2024.0, 1.0, 2.0, 19732.0)
    assert loaded.table.items.modality == "row"
    assert any(
        "width as a number; colour as a category; seen as dates (year, month, weekday, days); put a letter" in one
        for one in said(loaded, "inferred")
    )


def write_tsv(path: Path, rows: list[list[object]]) -> Path:
    path.write_text("\n".join("\t".join(map(str, row)) for row in [NAMES, *rows]))
    return path


def write_lines(path: Path, rows: list[list[object]]) -> Path:
    path.write_text("\n".join(json.dumps(dict(zip(NAMES, row, strict=True))) for row in rows))
    return path


def write_parquet(path: Path, rows: list[list[object]]) -> Path:
    parquet.write_table(pa.table({name: [row[place] for row in rows] for place, name in enumerate(NAMES)}), path)
    return path


def write_packed(path: Path, rows: list[list[object]]) -> Path:
    path.write_bytes(gzip.compress("\n".join(",".join(map(str, row)) for row in [NAMES, *rows]).encode()))
    return path


@pytest.mark.parametrize(
    ("name", "writer"),
    [("a.tsv", write_tsv), ("a.jsonl", write_lines), ("a.parquet", write_parquet), ("a.csv.gz", write_packed)],
)
def test_all_kinds_of_files_hold_the_same_table(name: str, writer, tmp_path: Path) -> None:
    wanted = tabular.load(write(tmp_path / "plain.csv", NAMES, flowers()))
    got = tabular.load(str(writer(tmp_path / name, flowers())))
    assert columns(got) == columns(wanted)
    assert [held(got).digest(place) for place in range(40)] == [held(wanted).digest(place) for place in range(40)]
    np.testing.assert_array_equal(got.table.labels, wanted.table.labels)
    assert tabular.claims(str(tmp_path / name), Columns())


def test_missing_cells_are_missing_in_every_spelling(tmp_path: Path) -> None:
    rows = flowers(30)
    for place, mark in enumerate(["?", "NA", "", "NaN", "n/a", "null"]):
        rows[place][0] = mark
        rows[place + 6][1] = mark
    rows[20][0] = "-"  # where the others are numbers
    loaded = tabular.load(write(tmp_path / "a.csv", NAMES, rows))
    assert [held(loaded).read(place)[0] for place in [*range(6), 20]] == [None] * 7
    assert [held(loaded).read(place)[1] for place in range(6, 12)] == [None] * 6
    assert columns(loaded)["width"] == "numeric"
    (sentence,) = said(loaded, "missing cells")
    assert sentence.startswith("cells are missing: width 23 % (empty or '?' or 'NA' or 'NaN'), colour 20 % (")
    assert "numbers are filled with the median of the training rows; fill them in" in sentence


def test_a_few_stray_cells_do_not_turn_numbers_into_categories(tmp_path: Path) -> None:
    rows = [[place % 17, place % 2] for place in range(300)]
    rows[4][0], rows[9][0] = "12 cm", "inf"
    loaded = tabular.load(write(tmp_path / "a.csv", ["size", "label"], rows))
    assert columns(loaded) == {"size": "numeric"}
    assert held(loaded).read(4) == held(loaded).read(9) == (None,)
    assert said(loaded, "stray cells") == [
        "column size holds numbers except for '12 cm', 'inf', read as missing; mend those cells, or put a letter "
        "before every value if they are categories."
    ]
    for row in rows[:30]:
        row[0] = f"{row[0]} cm"
    assert columns(tabular.load(write(tmp_path / "b.csv", ["size", "label"], rows))) == {"size": "category"}


def test_codes_with_leading_zeros_are_categories(tmp_path: Path) -> None:
    rows = [[["01234", "98765", "10001"][place % 3], place % 2] for place in range(300)]
    loaded = tabular.load(write(tmp_path / "a.csv", ["postcode", "label"], rows))
    assert columns(loaded) == {"postcode": "category"}
    assert held(loaded).read(0) == ("01234",)


def test_days_and_months_that_could_be_either_are_not_dates(tmp_path: Path) -> None:
    rows = [[f"0{1 + place % 5}/0{1 + place % 7}/2024", place % 2] for place in range(40)]
    assert columns(tabular.load(write(tmp_path / "a.csv", ["seen", "label"], rows))) == {"seen": "category"}


# Columns that are left out -----------------------------------------------------------------------------------------


def test_columns_that_name_or_count_rows_are_left_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = [
        [1000 + place, f"person {place}", int(generator.integers(10**9)), place % 5, place % 2] for place in range(60)
    ]
    loaded = tabular.load(write(tmp_path / "a.csv", ["counter", "name", "passengerId", "size", "label"], rows))
    assert columns(loaded) == {"size": "numeric"}
    assert said(loaded, "identifying column") == [
        "columns counter, passengerId are each a number of the row and left out, which new rows would not share.",
        "column name is different in nearly every row and left out, so it names rows; name it as a text column if it "
        "is one.",
    ]


def test_a_number_that_differs_everywhere_is_still_a_number(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=60).tolist()
    loaded = tabular.load(write(tmp_path / "a.csv", ["x", "label"], [[x, place % 2] for place, x in enumerate(values)]))
    assert columns(loaded) == {"x": "numeric"}
    assert held(loaded).read(5) == (values[5],)


def test_constant_and_empty_columns_are_left_out(tmp_path: Path) -> None:
    rows = [["same", 3, "", "?", place % 5, place % 2] for place in range(30)]
    loaded = tabular.load(write(tmp_path / "a.csv", ["a", "b", "c", "d", "size", "label"], rows))
    assert columns(loaded) == {"size": "numeric"}
    assert said(loaded, "constant column") == [
        "columns a, b are each the same everywhere and left out, so nothing can be learnt from it.",
        "columns c, d are each empty and left out, so nothing can be learnt from it.",
    ]
    rows = [["same" if place % 3 else "", place % 5, place % 2] for place in range(30)]
    partly = tabular.load(write(tmp_path / "b.csv", ["a", "size", "label"], rows))
    assert columns(partly) == {"a": "category", "size": "numeric"}


def test_a_table_with_nothing_to_learn_from(tmp_path: Path) -> None:
    rows = [["same", place % 2] for place in range(30)]
    with pytest.raises(DataError, match=r"no column to learn from besides label; column a is the same everywhere and"):
        tabular.load(write(tmp_path / "a.csv", ["a", "label"], rows))
    with pytest.raises(DataError, match=r"no column to learn from besides label; add some\."):
        tabular.load(
            write(tmp_path / "b.csv", ["label"], [[place % 2] for place in range(30)]),
            columns=Columns(label=("label",)),
        )


@pytest.mark.parametrize(
    ("column", "tells"),
    [
        (lambda place: "ab"[place % 3 > 0], True),  # a copy under other names
        (lambda place: place % 3, True),  # a stage, of which the label is whether it is above 0
        (lambda place: "ab"[place % 3 > 0] if place else "b", False),  # all but one
        (lambda place: "ab"[place % 3 > 0] if place else "", False),  # one is missing
        (lambda place: place * 1.5 + place % 3, False),  # a number that differs everywhere says nothing yet
    ],
)
def test_a_column_that_gives_the_label_away(column, tells: bool, tmp_path: Path) -> None:
    rows = [[column(place), place % 7, int(place % 3 > 0)] for place in range(90)]
    loaded = tabular.load(write(tmp_path / "a.csv", ["stage", "size", "label"], rows))
    assert bool(said(loaded, "label given away")) == tells
    if tells:
        assert said(loaded, "label given away") == [
            "column stage gives the label away: the one follows from the other in every row; delete it unless the "
            "value is known before the label is."
        ]
    assert "stage" in columns(loaded)


def test_a_straight_line_gives_a_number_away(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=50)
    rows = [[2.5 * x - 1, x + 0.01 * place, x] for place, x in enumerate(values.tolist())]
    loaded = tabular.load(write(tmp_path / "a.csv", ["fahrenheit", "near", "y"], rows))
    assert loaded.table.task == "regress"
    assert [one.items for one in loaded.findings if one.kind == "label given away"] == [("fahrenheit",)]


# Roles -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (["Target", "a", "b"], "Target"),
        (["a", "y", "b"], "y"),
        (["a", "b", "c"], "c"),
        (["class", "a", "label"], "label"),
    ],
)
def test_the_label_column_is_found_and_said(names: list[str], label: str, tmp_path: Path) -> None:
    rows = [[(place // 2) % 3, place % 2, (place // 3) % 2] for place in range(30)]
    loaded = tabular.load(write(tmp_path / "a.csv", names, rows))
    assert set(columns(loaded)) == set(names) - {label}
    assert any(
        f"the table is read with label from column '{label}'; type --label NAME" in one
        for one in said(loaded, "inferred")
    )


def test_named_columns_are_followed_and_nothing_is_guessed(tmp_path: Path) -> None:
    rows = [[f"p{place // 2}", place % 2, place % 3, place % 5] for place in range(60)]
    path = write(tmp_path / "a.csv", ["who", "sick", "size", "label"], rows)
    loaded = tabular.load(path, columns=Columns(label=("sick",), group="who", task="classify"))
    assert set(columns(loaded)) == {"size", "label"}
    assert len(np.unique(loaded.groups)) <= 30
    assert loaded.groups[0] == loaded.groups[1]
    assert not any("the table is read with" in one for one in said(loaded, "inferred"))
    guessed = tabular.load(write(tmp_path / "b.csv", ["patient", "sick", "size", "label"], rows))
    assert "patient" not in columns(guessed)
    assert any("groups from column 'patient'" in one for one in said(guessed, "inferred"))


def test_a_treatment_group_is_something_to_learn_from(tmp_path: Path) -> None:
    rows = [["placebo" if place % 3 else "drug", place % 5, place % 2] for place in range(60)]
    assert "group" in columns(tabular.load(write(tmp_path / "a.csv", ["group", "size", "label"], rows)))


def test_several_labels_and_several_values(tmp_path: Path) -> None:
    rows = [[place % 7, place % 2, (place // 2) % 2] for place in range(40)]
    path = write(tmp_path / "a.csv", ["size", "red", "round"], rows)
    loaded = tabular.load(path, columns=Columns(label=("red", "round")))
    assert (loaded.table.task, loaded.table.classes, loaded.table.labels.shape) == (
        "multilabel",
        ("red", "round"),
        (40, 2),
    )
    values = tabular.load(path, columns=Columns(label=("red", "round"), task="regress"))
    assert (values.table.task, values.table.labels.dtype) == ("regress", np.float64)


def test_rows_without_a_label_keep_the_names_of_the_others(tmp_path: Path) -> None:
    rows = flowers(20)
    rows[2][3] = ""
    loaded = tabular.load(write(tmp_path / "a.csv", NAMES, rows))
    assert len(loaded.table) == 19
    assert [held(loaded).name(place) for place in (1, 2)] == ["row 2", "row 4"]
    assert held(loaded).read(2)[0] == rows[3][0]
    assert said(loaded, "unlabelled")[0].startswith(
        "1 row without a label in the label column 'kind' set aside: row 3;"
    )


def test_given_parts(tmp_path: Path) -> None:
    rows = [[*row, ["train", "Test", "valid"][place % 3]] for place, row in enumerate(flowers())]
    loaded = tabular.load(write(tmp_path / "a.csv", [*NAMES, "split"], rows))
    assert loaded.parts[:3].tolist() == ["train", "test", "validation"]
    assert "split" not in columns(loaded)
    assert any("label from column 'kind', parts from column 'split'" in one for one in said(loaded, "inferred"))
    hair = [[*row, ["middle", "side"][place % 2]] for place, row in enumerate(flowers())]
    assert "split" in columns(tabular.load(write(tmp_path / "b.csv", ["w", "c", "s", "label", "split"], hair)))


def test_the_same_row_in_two_parts_stays_in_test(tmp_path: Path) -> None:
    rows = [[place // 2 + 0.5, place % 3, place % 2, "train"] for place in range(40)]
    rows.append([*rows[4][:3], "test"])
    loaded = tabular.load(write(tmp_path / "a.csv", ["x", "z", "label", "split"], rows))
    assert len(loaded.table) == 40
    assert "row 5 (train) = row 41 (test)" in said(loaded, "leak")[0]


def test_copies_and_conflicts_are_said_and_kept_together(tmp_path: Path) -> None:
    rows = [[place * 1.1, "ab"[place % 2], place % 2] for place in range(30)]
    rows += [rows[3], [*rows[8][:2], 1]]
    loaded = tabular.load(write(tmp_path / "a.csv", ["x", "c", "label"], rows))
    assert loaded.groups[3] == loaded.groups[30]
    assert loaded.groups[8] == loaded.groups[31]
    assert len(np.unique(loaded.groups)) == 30
    assert (
        "4 rows are exact copies of one another (2 sets): row 4 = row 31, row 9 = row 32"
        in said(loaded, "duplicate")[0]
    )
    assert said(loaded, "conflict")[0].startswith("1 row is there under two labels: row 9 = row 32;")


def test_missing_and_zero_are_no_copies(tmp_path: Path) -> None:
    rows = [["" if place % 2 else 0, place // 2, (place // 2) % 2] for place in range(40)]
    loaded = tabular.load(
        write(tmp_path / "a.csv", ["x", "z", "label"], [[*row[:1], f"v{row[1] % 9}", row[2]] for row in rows])
    )
    assert len(np.unique(loaded.groups)) == len({held(loaded).digest(place) for place in range(40)})


# Domains -----------------------------------------------------------------------------------------------------------


def hospital(data_folder: Path, name: str) -> list[list[str]]:
    lines = (data_folder / "heart" / f"processed.{name}.data").read_text().split()
    rows = [line.split(",") for line in lines if line]
    return [[*row[:13], "sick" if float(row[13]) > 0 else "healthy"] for row in rows]


def test_four_hospitals_in_one_table(data_folder: Path, tmp_path: Path) -> None:
    rows = [[name, *row] for name in HOSPITALS for row in hospital(data_folder, name)]
    path = write(tmp_path / "heart.csv", ["hospital", *HEART, "disease"], rows)
    assert tabular.claims(path, Columns())
    loaded = tabular.load(path, columns=Columns(domain="hospital"))
    sick = loaded.table.classes.index("sick")
    found = {
        name: (int((loaded.domains == name).sum()), int((loaded.table.labels[loaded.domains == name] == sick).sum()))
        for name in HOSPITALS
    }
    assert found == HOSPITALS
    assert columns(loaded) == dict.fromkeys(HEART, "numeric")
    assert said(loaded, "domains") == [
        "domains are told by column 'hospital': cleveland 303, hungarian 294, switzerland 123, va 200; type "
        "--target-domain NAME for the one to learn about."
    ]
    assert "ca 66 % ('?'), thal 53 % ('?'), slope 34 % ('?')" in said(loaded, "missing cells")[0]
    assert loaded.table.items.read(0, 0) == (63.0, 1.0, 1.0, 145.0, 233.0, 1.0, 2.0, 150.0, 0.0, 2.3, 3.0, 0.0, 6.0)
    assert "hospital" in columns(tabular.load(path))


def test_four_hospitals_in_a_folder(data_folder: Path, tmp_path: Path) -> None:
    for name in HOSPITALS:
        write(tmp_path / f"{name}.csv", [*HEART, "disease"], hospital(data_folder, name))
    assert tabular.claims(str(tmp_path), Columns())
    loaded = tabular.load(str(tmp_path))
    assert dict(zip(*np.unique(loaded.domains, return_counts=True), strict=True)) == {
        name: count for name, (count, _) in HOSPITALS.items()
    }
    assert held(loaded).name(303) == "hungarian row 1"
    assert said(loaded, "domains")[0].startswith("domains are told by the names of the files: cleveland 303")


def test_files_called_after_parts_are_parts(tmp_path: Path) -> None:
    rows = flowers(40)
    write(tmp_path / "train.csv", NAMES, rows[:30])
    write(tmp_path / "test.csv", NAMES, rows[30:])
    loaded = tabular.load(str(tmp_path))
    assert dict(zip(*np.unique(loaded.parts, return_counts=True), strict=True)) == {"train": 30, "test": 10}
    assert len(loaded.domains) == 0
    assert any(
        "read as given parts (test as test, train as train), which are kept" in one for one in said(loaded, "inferred")
    )


def test_a_counter_of_each_file_counts(tmp_path: Path) -> None:
    for name in ("north", "south"):
        write(tmp_path / f"{name}.csv", ["n", "x", "label"], [[place, place % 7, place % 2] for place in range(20)])
    assert set(columns(tabular.load(str(tmp_path)))) == {"x"}


def test_a_row_without_a_domain(tmp_path: Path) -> None:
    rows = [[["here", "there"][place % 2] if place != 3 else "?", place % 7, place % 2] for place in range(20)]
    path = write(tmp_path / "a.csv", ["place", "x", "label"], rows)
    with pytest.raises(
        DataError, match=r"column 'place' is empty in 1 row \(row 4\), and each row must say its domain; fill"
    ):
        tabular.load(path, columns=Columns(domain="place"))


# New rows ----------------------------------------------------------------------------------------------------------


def test_new_rows_need_no_label_and_no_order(tmp_path: Path) -> None:
    loaded = tabular.load(write(tmp_path / "a.csv", NAMES, flowers()))
    new = write(
        tmp_path / "new.csv",
        ["note", "seen", "colour", "width"],
        [["x", "2024-01-10", "red", 1.5], ["y", "", "pink", "?"]],
    )
    items, bad = tabular.gather([new])
    assert bad == ()
    assert isinstance(items, RowItems)
    got = items.aligned(held(loaded).columns)
    assert got.read(0) == held(loaded).read(0)
    assert got.read(1) == (None, "pink", None, None, None, None)
    assert got.digest(0) == held(loaded).digest(0)
    assert got.name(1) == "row 2"


def test_new_rows_of_several_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / f"{name}.csv", ["x", "c"], [[1, "a"], [2, "b"]])
    items, _ = tabular.gather([str(tmp_path / "one.csv"), str(tmp_path / "two.csv")])
    assert [items.name(place) for place in range(4)] == ["one row 1", "one row 2", "two row 1", "two row 2"]
    whole, _ = tabular.gather([str(tmp_path)])
    assert len(whole) == 4


# What cannot be used -----------------------------------------------------------------------------------------------


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", NAMES, flowers())
    for wrong, option in (
        (Columns(label=("kinds",)), "label"),
        (Columns(group="kinds"), "group"),
        (Columns(domain="kinds"), "domain"),
    ):
        with pytest.raises(
            DataError, match=rf"no column 'kinds' for --{option}. Did you mean 'kind'\? The columns are wid"
        ):
            tabular.load(path, columns=wrong)


def test_files_whose_columns_differ(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", NAMES, flowers())
    write(tmp_path / "b.csv", [*NAMES[:3], "type"], flowers())
    with pytest.raises(DataError, match=r"b.csv and a.csv differ in columns \(kind, type\), and files of one data set"):
        tabular.load(str(tmp_path))


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    write(tmp_path / "flowers.csv", NAMES, flowers())
    with pytest.raises(DataError, match=r"there is no file or folder .*flower.csv; did you mean .*flowers.csv\?"):
        tabular.load(str(tmp_path / "flower.csv"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no tables; give a table, or a folder of tables \(.csv, .tsv,"):
        tabular.load(str(tmp_path / "empty"))


def test_a_table_without_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.csv has column names and no rows; add a line for each example\."):
        tabular.load(write(tmp_path / "a.csv", NAMES, []))


def test_a_table_whose_columns_are_all_taken(tmp_path: Path) -> None:
    rows = [[f"ward {place // 2}", ["north", "south"][place % 2]] for place in range(60)]
    path = write(tmp_path / "a.csv", ["patient", "hospital"], rows)
    with pytest.raises(DataError, match=r"no column is left for the label; the columns are patient, hospital\."):
        tabular.load(path, columns=Columns(domain="hospital"))


def test_unevenness_and_rare_classes_are_said(tmp_path: Path) -> None:
    rows = [[place % 7, "rare" if place == 5 else "common" if place % 30 else "Common"] for place in range(90)]
    loaded = tabular.load(write(tmp_path / "a.csv", ["x", "label"], rows))
    assert {one.kind for one in loaded.findings} >= {"similar names", "single example", "imbalance"}


# Size --------------------------------------------------------------------------------------------------------------


def _large(place: Path, count: int) -> str:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(count, 8)).round(4)
    words = generator.choice(["alpha", "beta", "gamma", "?"], size=(count, 2))
    rows = [[*row, *word, int(row[0] > 0)] for row, word in zip(values.tolist(), words.tolist(), strict=True)]
    return write(place / f"{count}.csv", [*(f"n{place}" for place in range(8)), "u", "v", "label"], rows)


def test_time_to_read_grows_with_the_rows_and_not_with_their_square(tmp_path: Path) -> None:
    def prepared(count: int) -> Callable[[], object]:
        path = _large(tmp_path, count)
        return lambda: tabular.load(path)

    assert growth(prepared, 2_000) < MOST


def test_a_large_table_is_read_and_checked(tmp_path: Path) -> None:
    path = _large(tmp_path, 20_000)
    values = np.random.default_rng(0).normal(size=(20_000, 8)).round(4)
    seen: list[int] = []
    loaded = tabular.load(path, progress=lambda done, whole: seen.append(done))
    assert len(loaded.table) == 20_000
    assert seen[-1] == Path(path).stat().st_size
    np.testing.assert_array_equal([held(loaded).read(place)[:8] for place in range(0, 20_000, 999)], values[::999])
