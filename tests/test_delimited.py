"""Tables in files: encodings, delimiters, quotes and headers told by looking; what is not plain is said or refused."""

from __future__ import annotations

import csv
import gzip
import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from growing import MOST, growth

from sterna import cells, delimited, dialects, parquet
from sterna.errors import DataError, MissingPackageError

arrow = pytest.importorskip("pyarrow")
arrow_parquet = pytest.importorskip("pyarrow.parquet")


def put(place: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    (place / name).write_bytes(text.encode(encoding))
    return place / name


def rows(raw: delimited.Raw) -> list[tuple[str | None, ...]]:
    return list(zip(*raw.columns.values(), strict=True))


def said(raw: delimited.Raw) -> str:
    return " ".join(one.sentence for one in raw.findings)


# Cells


def test_cells_are_a_sequence_of_text_or_none() -> None:
    column = cells.gathered([" a ", None, "", "Füße", "\ud800"])
    assert list(column) == ["a", None, None, "Füße", "?"]
    assert [column[place] for place in range(5)] == list(column)
    assert (column[-2], column[1:4], len(column)) == ("Füße", [None, None, "Füße"], 5)
    assert column.raw(3) == "Füße".encode()
    assert list(column.take(np.array([3, 0, 0]))) == ["Füße", "a", "a"]
    with pytest.raises(IndexError):
        column[5]


# What is plain is read without a word


def test_a_plain_csv_is_read_as_the_standard_library_reads_it(tmp_path: Path) -> None:
    place = put(tmp_path, "t.csv", 'text,label\n"a, ""quoted""\nline",x\nb,y\n\n"",y\n')
    raw = delimited.read(place)
    wanted = [tuple(cell or None for cell in row.values()) for row in csv.DictReader(place.open(newline=""))]
    assert rows(raw) == wanted == [('a, "quoted"\nline', "x"), ("b", "y"), (None, "y")]
    assert (raw.names, raw.findings, raw.rows.tolist(), len(raw)) == (("text", "label"), (), [1, 2, 3], 3)


def test_head_reads_the_first_rows_alone(tmp_path: Path) -> None:
    place = put(tmp_path, "t.csv", "text,label\n" + "a,b\n" * 50)
    assert len(delimited.head(place, 7)) == 7
    assert len(delimited.head(put(tmp_path, "t.jsonl", '{"a": 1}\n' * 50), 7)) == 7


def test_packed_tables_and_progress(tmp_path: Path) -> None:
    place = tmp_path / "t.tsv.gz"
    place.write_bytes(gzip.compress(b"text\tlabel\n" + b"word\tx\n" * 5000))
    told: list[tuple[int, int]] = []
    raw = delimited.read(place, lambda *at: told.append(at))
    assert (len(raw), raw.findings, delimited.suffix(place)) == (5000, (), ".tsv")
    size = place.stat().st_size
    assert told[-1] == (size, size)
    assert all(done <= size == total for done, total in told)


@pytest.mark.parametrize(("delimiter", "name"), [(";", "t.csv"), ("\t", "t.csv"), ("|", "t.csv"), (",", "t.txt")])
def test_an_unusual_delimiter_is_told_and_said(tmp_path: Path, delimiter: str, name: str) -> None:
    lines = ["text" + delimiter + "price", *(f"one, two and {n}{delimiter}1,{n}" for n in range(20))]
    if delimiter == ",":
        lines = ["text,price", *(f"one two {n},1.{n}" for n in range(20))]
    raw = delimited.read(put(tmp_path, name, "\n".join(lines)))
    assert raw.names == ("text", "price")
    assert len(raw) == 20
    assert f"divided by {dialects.DELIMITERS[delimiter]}; save it with commas" in said(raw)


@pytest.mark.parametrize("name", ["t.tsv", "t.txt", "table"])
def test_tabs_are_usual(tmp_path: Path, name: str) -> None:
    assert delimited.read(put(tmp_path, name, "text\tlabel\na, b\tx\nc\ty\n")).findings == ()


# Encodings


@pytest.mark.parametrize(
    ("encoding", "spoken"),
    [
        ("utf-8-sig", ""),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("cp1252", "Windows-1252"),
    ],
)
def test_encodings_are_told_and_said(tmp_path: Path, encoding: str, spoken: str) -> None:
    raw = delimited.read(put(tmp_path, "t.csv", "text,label\ncafé,x\nthé,y\n", encoding))
    assert rows(raw) == [("café", "x"), ("thé", "y")]
    assert said(raw) == (
        f"t.csv is read as {spoken}, not as UTF-8; save it as UTF-8 if letters look wrong." if spoken else ""
    )


def test_a_letter_beyond_utf_8_far_down_changes_the_reading_of_all(tmp_path: Path) -> None:
    place = tmp_path / "t.csv"
    place.write_bytes(b"text,label\n" + b"a,b\n" * 40_000 + b"caf\xe9 \x81,b\n")
    raw = delimited.read(place)
    assert raw.columns["text"][-1] == "café \x81"
    assert "read as Latin-1" in said(raw)


def test_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4)
    assert not delimited.is_text(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"t.csv is not a file of text; give a .csv"):
        delimited.read(tmp_path / "t.csv")
    (tmp_path / "u.csv").write_bytes(b"\xff\xfea\x00\x00\xdc\x00")
    with pytest.raises(DataError, match="is not the UTF-16 or UTF-32 text that it begins like"):
        delimited.read(tmp_path / "u.csv")
    whole = gzip.compress(random.Random(0).randbytes(3000).hex().encode())
    (tmp_path / "t.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"is damaged .* fetch it or pack it again"):
        delimited.read(tmp_path / "t.csv.gz")
    (tmp_path / "v.csv.gz").write_bytes(b"a,b\n")
    with pytest.raises(DataError, match="is damaged"):
        delimited.read(tmp_path / "v.csv.gz")
    assert not delimited.is_text(tmp_path / "v.csv.gz")


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"t.csv is empty; give it a line of column names"):
        delimited.read(put(tmp_path, "t.csv", text))


# Headers


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("63.0,1,2\n67.0,?,4\n", None),  # numbers name nothing
        ("good film\tpos\nbad film\tneg\nfine\tpos\n", None),  # a name that is also a value
        ("age,income\n3,4\n", ("age", "income")),  # numbers below names
        ("colour,shape\nred,round\nblue,flat\n", ("colour", "shape")),
        (",text,label\n0,a,b\n1,c,d\n", ("column1", "text", "label")),  # saved with row numbers
        ("text,label\n", ("text", "label")),
        ("text,text\na,b\n", None),
        ("name,name,\na,b,1\nc,d,2\n", None),
        ("Great, isn't it?!\nnope, sir\n", None),
    ],
)
def test_the_line_of_names(tmp_path: Path, text: str, names: tuple[str, ...] | None) -> None:
    raw = delimited.read(put(tmp_path, "t.csv", text))
    if names is None:
        assert all(name.startswith("column") for name in raw.names)
        assert "has no line of column names, so they are called column1" in said(raw)
        assert len(raw) == text.count("\n")
    else:
        assert raw.names == names
        assert raw.findings == ()


def test_names_are_there_once() -> None:
    assert dialects.distinct(["a", "", "a", " b "]) == ("a", "column2", "a_3", "b")


# Quotes


def test_quotes_that_are_not_quotes_in_tables_with_tabs(tmp_path: Path) -> None:
    text = 'text\tlabel\n"We won," he said.\tx\n"No\ty\n5" disk\tx\n'
    raw = delimited.read(put(tmp_path, "t.tsv", text))
    assert raw.columns["text"][:] == ['"We won," he said.', '"No', '5" disk']


def test_quotes_that_stop_being_quotes_far_down(tmp_path: Path) -> None:
    text = 'text\tlabel\n"a"\tx\n' + "b\ty\n" * 600 + '"No\ty\n'
    raw = delimited.read(put(tmp_path, "t.tsv", text))
    assert raw.columns["text"][-1] == '"No'
    assert len(raw) == 602


def test_an_open_quote_is_refused_with_its_line(tmp_path: Path) -> None:
    text = "text,label\n" + '"a, b",x\n' * 600 + '"a, b,x\n' + '"a, b",x\n' * 3
    with pytest.raises(DataError, match=r"cannot be read as a table \(line 602: .*look there for a quote"):
        delimited.read(put(tmp_path, "t.csv", text))


def test_a_cell_longer_than_the_csv_module_allows(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    raw = delimited.read(put(tmp_path, "t.csv", f'text,label\n"{"x" * 400_000}",a\nb,c\n'))
    assert len(raw.columns["text"][0] or "") == 400_000
    assert csv.field_size_limit() == before


# Rows of another width


def test_a_few_ragged_rows_are_set_aside_and_named(tmp_path: Path) -> None:
    lines = ["text,label", '"two\nlines",x', *["a,b"] * 60, "a,b,c", "a"]
    raw = delimited.read(put(tmp_path, "t.csv", "\n".join(lines)))
    assert len(raw) == 61
    assert [one.items for one in raw.findings] == [("line 64 (of 3)", "line 65 (of 1)")]
    assert "2 rows of t.csv with another number of cells than 2 set aside: line 64 (of 3), line 65" in said(raw)
    assert raw.rows[-1] == 61
    middle = delimited.read(put(tmp_path, "u.csv", "\n".join(["text,label", "a,b,c", *["a,b"] * 60])))
    assert middle.rows[:2].tolist() == [2, 3]


def test_many_ragged_rows_are_refused(tmp_path: Path) -> None:
    lines = ["text,label", *["a,b"] * 9, "a,b,c"]
    with pytest.raises(DataError, match=r"line 11 of .*t.csv has 3 cells where 2 are expected, and 1 of its 10 rows"):
        delimited.read(put(tmp_path, "t.csv", "\n".join(lines)))


# Lines of label and text


def test_lines_of_label_and_text(tmp_path: Path) -> None:
    raw = delimited.read(put(tmp_path, "train.all", "0 a , b\n1 What ; is it ?\n0 c\n1 d , e , f\n0 g\n"))
    assert raw.names == ("label", "text")
    assert rows(raw)[:2] == [("0", "a , b"), ("1", "What ; is it ?")]
    assert "each line of train.all is read as a label, a space and a text" in said(raw)


def test_fast_text_labels_become_one_cell(tmp_path: Path) -> None:
    raw = delimited.read(put(tmp_path, "t.txt", "__label__a __label__b one two\n__label__a three\n" * 5))
    assert rows(raw)[:2] == [("a|b", "one two"), ("a", "three")]


def test_prose_is_no_list_of_labels(tmp_path: Path) -> None:
    raw = delimited.read(put(tmp_path, "t.txt", "It rains today.\nWe saw a film, it was fine.\nNo\n"))
    assert raw.names == ("column1",)
    assert "has no line of column names, so they are called column1; put" in said(raw)


# JSON lines and Parquet


def test_json_lines(tmp_path: Path) -> None:
    values = [{"text": "a\n", "n": 1, "ok": True}, {"text": None, "tags": ["x", "y"], "n": 1.5}, {"text": ""}]
    raw = delimited.read(put(tmp_path, "t.jsonl", "\n\n".join(map(json.dumps, values))))
    assert raw.names == ("text", "n", "ok", "tags")
    assert rows(raw) == [("a", "1", "true", None), (None, "1.5", None, '["x", "y"]'), (None, None, None, None)]
    assert raw.rows.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"a": 1}\n\n{', "line 3 of .* is not JSON; write one object a line"),
        ("[1]", r'line 1 of .* is not a JSON object; write one a line, such as \{"text"'),
    ],
)
def test_json_lines_that_are_none(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        delimited.read(put(tmp_path, "t.jsonl", text))


def test_parquet(tmp_path: Path) -> None:
    table = arrow.table(
        {"text": ["a", None, " c "], "n": [1.5, float("nan"), 2.0], "k": [[1], [], None], "b": [b"x", b"", None]}
    )
    arrow_parquet.write_table(table, tmp_path / "t.parquet")
    raw = delimited.read(tmp_path / "t.parquet")
    assert raw.columns["text"][:] == ["a", None, "c"]
    assert raw.columns["n"][:] == ["1.5", None, "2.0"]
    assert raw.columns["k"][:] == ["[1]", "[]", None]
    assert raw.columns["b"][:] == ["x", None, None]
    assert len(delimited.head(tmp_path / "t.parquet", 2)) == 2


def test_parquet_that_is_none_or_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = put(tmp_path, "t.parquet", "text,label\n")
    with pytest.raises(DataError, match=r"t.parquet is no readable Parquet file .* write it again"):
        delimited.read(place)
    monkeypatch.setattr(parquet, "library", None)
    with pytest.raises(MissingPackageError, match=r"needs the package 'pyarrow'.* pip install 'sterna\[texts\]'"):
        delimited.read(place)
    assert len(delimited.read(put(tmp_path, "t.csv", "text,label\na,b\n"))) == 1


def test_lines_keep_blank_ones(tmp_path: Path) -> None:
    raw = delimited.lines(put(tmp_path, "t", "a\u2028b\n\nc, d\r\n"))
    assert raw.columns["line"][:] == ["a\u2028b", None, "c, d"]
    assert len(delimited.lines(tmp_path / "t", 1)) == 1


# Size


def test_time_grows_with_the_file_and_not_with_its_square(tmp_path: Path) -> None:
    def prepared(count: int) -> Callable[[], object]:
        body = "".join(f"{n},{'word ' * 60}{n},{n % 3}\n" for n in range(count))
        place = put(tmp_path, f"{count}.csv", "id,text,label\n" + body)
        return lambda: delimited.read(place)

    assert growth(prepared, 2_500) < MOST


def test_memory_is_about_that_of_the_file(tmp_path: Path) -> None:
    body = "".join(f"{n},{'word ' * 60}{n},{n % 3}\n" for n in range(20_000))
    place = put(tmp_path, "t.csv", "id,text,label\n" + body)
    tracemalloc.start()
    try:
        raw = delimited.read(place)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(raw) == 20_000
    assert peak < 2 * place.stat().st_size


# Real files


def test_real_tables(data_folder: Path) -> None:
    pairs = data_folder / "sentence_pairs"
    paraphrases = [delimited.read(pairs / "para" / "msr" / f"msr-para-{part}.tsv") for part in ("train", "val", "test")]
    # The published corpus has 4,076 training pairs, here in two files, and 1,725 for test.
    assert [len(one) for one in paraphrases] == [3576, 500, 1725]
    assert all(set(one.columns["Quality"]) == {"0", "1"} for one in paraphrases)
    hearts = delimited.read(data_folder / "heart" / "processed.cleveland.data")
    assert (len(hearts), len(hearts.names)) == (303, 14)
    assert sum(cell != "0" for cell in hearts.columns["column14"]) == 139
    questions = delimited.read(data_folder / "sentences" / "TREC.train.all")
    assert (len(questions), questions.names) == (5452, ("label", "text"))
    assert "Windows-1252" in said(questions)
    reviews = delimited.read(data_folder / "imdb" / "imdb_train_2500_per_class.tsv.gz")
    assert sum(cell == "1" for cell in reviews.columns["label"]) == 2500
    assert reviews.findings == ()
