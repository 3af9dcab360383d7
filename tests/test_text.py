"""Texts from tables, folders and tagged words: what is read, what is guessed and said, what is found and refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from growing import MOST, growth

from sterna import opening
from sterna.data import text
from sterna.errors import DataError
from sterna.records import Columns, Loaded

REVIEWS = [
    ("a fine film", "pos"),
    ("a dull film", "neg"),
    ("a grand story", "pos"),
    ("no plot at all", "neg"),
    ("I laughed a lot", "pos"),
    ("I slept very well", "neg"),
]


def put(place: Path, name: str, content: str | bytes) -> str:
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(place / name)


def table(place: Path, header: str, rows: Sequence[Sequence[str]], name: str = "t.csv") -> str:
    return put(place, name, "\n".join([header, *(",".join(row) for row in rows)]))


def said(loaded: Loaded, kind: str = "") -> str:
    return " ".join(one.sentence for one in loaded.findings if kind in ("", one.kind))


def kinds(loaded: Loaded) -> list[str]:
    return [one.kind for one in loaded.findings]


def read(loaded: Loaded) -> list[object]:
    return [loaded.table.items.read(row, 0) for row in loaded.table.rows.tolist()]


# Tables


def test_a_table_of_texts(tmp_path: Path) -> None:
    loaded = text.load(table(tmp_path, "text,label", REVIEWS))
    assert read(loaded) == [one for one, _ in REVIEWS]
    assert loaded.table.classes == ("neg", "pos")
    assert loaded.table.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert (loaded.table.task, loaded.table.items.modality, loaded.table.items.in_memory) == ("classify", "text", True)
    assert loaded.parts.tolist() == [""] * 6
    assert len(set(loaded.groups.tolist())) == 6
    assert loaded.table.items.name(1) == "row 2"
    assert loaded.table.items.lengths is not None
    assert loaded.table.items.lengths.tolist() == [len(one) for one, _ in REVIEWS]
    assert kinds(loaded) == ["inferred", "inferred"]
    assert "read as text from 'text', label from 'label'; type --text NAME or --label NAME if" in said(loaded)
    assert text.claims(table(tmp_path, "text,label", REVIEWS))


def test_what_a_person_says_of_the_columns_is_followed(tmp_path: Path) -> None:
    rows = [(one, label, str(n % 3), f"p{n // 2}", "xy"[n % 2]) for n, (one, label) in enumerate(REVIEWS)]
    reference = table(tmp_path, "text,label,stars,who,site", rows)
    columns = Columns(text=("text",), label=("stars",), group="who", domain="site", task="regress")
    loaded = text.load(reference, columns=columns)
    assert loaded.table.labels.tolist() == [[0.0], [1.0], [2.0], [0.0], [1.0], [2.0]]
    assert loaded.table.classes == ("stars",)
    assert loaded.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert loaded.domains.tolist() == ["x", "y"] * 3
    assert loaded.findings == ()


def test_part_and_group_columns_are_found_and_said(tmp_path: Path) -> None:
    rows = [(one, label, ["train", "dev", "test"][n // 2], f"p{n % 2}") for n, (one, label) in enumerate(REVIEWS)]
    loaded = text.load(table(tmp_path, "text,label,split,patient", rows))
    assert loaded.parts.tolist() == ["train", "train", "validation", "validation", "test", "test"]
    assert loaded.groups.tolist() == [0, 1, 0, 1, 0, 1]
    assert "part from 'split', group from 'patient'; type --text NAME or --label NAME or --group NAME" in said(loaded)
    assert "2 given groups lie in more than one given part" in said(loaded)
    assert text.load(table(tmp_path, "text,label,split", [(*one, "left") for one in REVIEWS])).parts[0] == ""
    rows[3] = (*rows[3][:2], "fold3", "p1")
    with pytest.raises(DataError, match=r"split column of t.csv says 'fold3'; it may say train, validation or test"):
        text.load(table(tmp_path, "text,label,split,patient", rows))


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("sentence1,sentence2,label", ("sentence1", "sentence2")),
        ("premise,hypothesis,label", ("premise", "hypothesis")),
        ("text_a,text_b,label", ("text_a", "text_b")),
        ("#1 String,#2 String,label", ("#1 String", "#2 String")),
        ("title,body,label", ("body",)),  # no pair: the usual name that comes first
        ("one,other,label", ("other",)),  # no usual name: the longer one
    ],
)
def test_pairs(tmp_path: Path, header: str, wanted: tuple[str, ...]) -> None:
    rows = [(one, f"and then {one} again", label) for one, label in REVIEWS]
    loaded = text.load(table(tmp_path, header, rows))
    assert f"text from {' and '.join(map(repr, wanted))}, label" in said(loaded)
    first = read(loaded)[0]
    assert first == (("a fine film", "and then a fine film again") if len(wanted) > 1 else "and then a fine film again")
    lengths = loaded.table.items.lengths
    assert lengths is not None
    assert lengths[0] == (11 + 26 if len(wanted) > 1 else 26)


def test_a_table_without_names(tmp_path: Path) -> None:
    lines = "".join(f"{n}.5\t{one}\tso {one} it is\n" for n, (one, _) in enumerate(REVIEWS))
    loaded = text.load(put(tmp_path, "t.tsv", lines))
    assert loaded.table.task == "regress"
    assert loaded.table.labels[:2].tolist() == [[0.5], [1.5]]
    assert read(loaded)[0] == ("a fine film", "so a fine film it is")


def test_identifiers_are_no_labels(tmp_path: Path) -> None:
    rows = [(f"r{n}", str(n), one, label) for n, (one, label) in enumerate(REVIEWS)]
    loaded = text.load(table(tmp_path, "film_id,number,remark text,mood", rows))
    assert "label from 'mood'" in said(loaded)


def test_several_columns_of_switches_are_several_labels(tmp_path: Path) -> None:
    rows = [(one, str(n % 2), str(n // 3)) for n, (one, _) in enumerate(REVIEWS)]
    loaded = text.load(table(tmp_path, "comment,rude,loud", rows))
    assert (loaded.table.task, loaded.table.classes) == ("multilabel", ("rude", "loud"))
    assert loaded.table.labels[4].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("header", "columns", "sentence"),
    [
        (
            "text,label",
            Columns(label=("lable",)),
            r"t.csv has no column 'lable'.* 'label'.* It has text, label; type one",
        ),
        ("text,label", Columns(text=("text", "label", "text")), "--text takes one column, or two for pairs, got"),
        ("text,label", Columns(task="tag"), "the task tag needs a tag for each word, and these are whole texts"),
        (
            "text,label",
            Columns(label=("text",), text=("text",)),
            "holds 6 different values in 6 rows, so it names rows",
        ),
    ],
)
def test_columns_that_do_not_fit(tmp_path: Path, header: str, columns: Columns, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        text.load(table(tmp_path, header, REVIEWS), columns=columns)


def test_what_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    rows = [(one, label, label) for one, label in REVIEWS]
    with pytest.raises(DataError, match=r"several columns that may be the label \(mood, tone\).*type --label NAME"):
        text.load(table(tmp_path, "text,mood,tone", rows))
    with pytest.raises(DataError, match=r"no column that is plainly the label; it has text; type --label NAME"):
        text.load(table(tmp_path, "text", [(one,) for one, _ in REVIEWS]))
    with pytest.raises(DataError, match=r"no column that is plainly the text; it has age, mood; type --text NAME"):
        text.load(table(tmp_path, "age,mood", [(str(n), label) for n, (_, label) in enumerate(REVIEWS)]))
    with pytest.raises(DataError, match=r"there is no file or folder .*; did you mean .*t\.csv\?"):
        text.load(str(tmp_path / "tt.csv"))


def test_other_files(tmp_path: Path) -> None:
    wanted = [one for one, _ in REVIEWS]
    objects = "\n".join(json.dumps({"text": one, "label": label}) for one, label in REVIEWS)
    lines = "\n".join(f"{label}\t{one}" for one, label in REVIEWS)
    spaced = "\n".join(f"{int(label == 'pos')} {one}" for one, label in REVIEWS)
    for name, content in (
        ("t.jsonl", objects),
        ("t.txt", lines),
        ("t.all", spaced),
        ("u.tsv.gz", gzip.compress(b"text\tlabel\n" + "\n".join("\t".join(one) for one in REVIEWS).encode(), mtime=0)),
    ):
        loaded = text.load(put(tmp_path, name, content))
        assert read(loaded) == wanted
        assert loaded.table.labels.tolist() == [1, 0, 1, 0, 1, 0]
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    content = arrow.table({"text": wanted, "label": [label for _, label in REVIEWS]})
    parquet.write_table(content, tmp_path / "t.parquet")
    assert read(text.load(str(tmp_path / "t.parquet"))) == wanted
    assert text.claims(str(tmp_path / "t.parquet"))


# What is found in texts


def test_empty_texts_are_set_aside(tmp_path: Path) -> None:
    loaded = text.load(table(tmp_path, "text,label", [*REVIEWS[:2], ("", "pos"), ('"  "', "neg"), *REVIEWS[2:]]))
    assert len(loaded.table) == 6
    assert "2 empty texts set aside: row 3, row 4; fill them in or delete them" in said(loaded, "empty text")
    assert loaded.table.items.name(int(loaded.table.rows[2])) == "row 5"
    pairs = [(one, one if n else "", label) for n, (one, label) in enumerate(REVIEWS)]
    pairs.append(("one more here", "and more of it", "pos"))
    loaded = text.load(table(tmp_path, "sentence1,sentence2,label", pairs))
    assert "1 pair with an empty text set aside: row 1;" in said(loaded, "empty text")
    with pytest.raises(DataError, match="holds no text; fill in the text column, or name another with --text"):
        text.load(table(tmp_path, "text,label", [("", "x"), ("", "y")]), columns=Columns(text=("text",)))


def test_rows_without_a_label_are_set_aside(tmp_path: Path) -> None:
    loaded = text.load(table(tmp_path, "text,label", [("not labelled yet", ""), *REVIEWS]))
    assert len(loaded.table) == 6
    assert "1 row without a label in the label column 'label' set aside: row 1;" in said(loaded, "unlabelled")


def test_copies_stay_together_and_contradictions_are_said(tmp_path: Path) -> None:
    rows = [*REVIEWS, ("a fine film", "pos"), ("A  Fine FILM", "neg"), ("I slept very well", "pos")]
    loaded = text.load(table(tmp_path, "text,label", rows))
    assert loaded.groups.tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 5]
    assert "4 texts are exact copies of one another (2 sets): row 1 = row 7, row 6 = row 9" in said(loaded, "duplicate")
    assert "3 texts look the same (1 set): row 1 = row 7 = row 8" in said(loaded, "near duplicate")
    assert "2 texts are there under two labels: row 1 = row 7 = row 8, row 6 = row 9" in said(loaded, "conflict")


def test_amounts_that_vary_are_no_contradiction(tmp_path: Path) -> None:
    rows = [(one, f"{n}.5") for n, (one, _) in enumerate([*REVIEWS, REVIEWS[0]])]
    assert kinds(text.load(table(tmp_path, "text,score", rows))) == ["inferred", "inferred", "duplicate"]
    several = [(one, "a|b" if n % 2 else "a") for n, (one, _) in enumerate([*REVIEWS, ("a dull film", "")])]
    assert "conflict" in kinds(text.load(table(tmp_path, "text,labels", several)))


def test_copies_in_several_given_parts_leave_the_weaker_one(tmp_path: Path) -> None:
    rows = [(*one, "train") for one in REVIEWS]
    rows += [("A fine film", "pos", "test"), ("another dull one", "neg", "test"), ("third one here", "odd", "train")]
    rows += [("Third one here", "odd", "validation")]
    loaded = text.load(table(tmp_path, "text,label,split", rows))
    assert len(loaded.table) == 8
    assert "2 examples were set aside, being in one given part and, the same or nearly so, in another" in said(loaded)
    assert "row 1 (train) = row 7 (test)" in said(loaded, "leak")
    assert "the given train part has no example of odd" in said(loaded, "missing in part")


def test_a_class_that_leaves_with_the_copies_is_numbered_away(tmp_path: Path) -> None:
    rows = [*((*one, "train") for one in REVIEWS), ("only this", "also", "train"), ("only this", "neg", "test")]
    rows += [("one more text", "pos", "test"), ("and one more", "neg", "test")]
    loaded = text.load(table(tmp_path, "text,label,split", rows))
    assert loaded.table.classes == ("neg", "pos")
    assert sorted(set(loaded.table.labels.tolist())) == [0, 1]


def test_a_training_part_that_is_all_in_the_test_part(tmp_path: Path) -> None:
    rows = [(*one, part) for part in ("train", "test") for one in REVIEWS]
    with pytest.raises(DataError, match=r"all 6 training texts of .* are also among those for validation or test"):
        text.load(table(tmp_path, "text,label,split", rows))


def test_checks_on_classes(tmp_path: Path) -> None:
    rows = [(f"text number {n} here", "often") for n in range(20)]
    rows += [("some text here", "Rare"), ("other text here", "rare"), ("third text here", "rare")]
    loaded = text.load(table(tmp_path, "text,label", rows))
    assert kinds(loaded)[2:] == ["similar names", "single example", "imbalance"]


def test_very_long_texts_are_said(tmp_path: Path) -> None:
    rows = [*REVIEWS, ("word " * 2001, "pos"), ("more " * 4000, "neg")]
    loaded = text.load(table(tmp_path, "text,label", rows))
    assert "2 texts are longer than 10,000 letters, the longest, row 8, 19,999; most" in said(loaded, "long text")
    assert [one.items for one in loaded.findings if one.kind == "long text"] == [("row 8", "row 7")]


def test_rows_without_a_domain(tmp_path: Path) -> None:
    rows = [(*one, "x" if n else "") for n, one in enumerate(REVIEWS)]
    loaded = text.load(table(tmp_path, "text,label,site", rows), columns=Columns(domain="site"))
    assert loaded.domains.tolist() == ["unknown", *["x"] * 5]
    assert "1 row without a domain are counted to the domain 'unknown': row 1" in said(loaded, "no domain")


def test_digests_are_those_of_the_bytes(tmp_path: Path) -> None:
    rows = [("one two", "three", "x"), ("one", "two three", "y"), ("one two", "three", "x"), ("One two", "three", "y")]
    items = text.load(table(tmp_path, "text1,text2,label", rows), columns=Columns(text=("text1", "text2"))).table.items
    digests = [items.digest(place) for place in range(4)]
    assert digests[0] == digests[2]
    assert len(set(digests)) == 3
    assert all(len(one) == 32 for one in digests)


# Folders


def test_class_folders(tmp_path: Path) -> None:
    for n, (one, label) in enumerate(REVIEWS):
        put(tmp_path, f"all/{label}/{n}.txt", one)
    put(tmp_path, "all/README.txt", "hello")
    put(tmp_path, "all/pos/café.txt", "caf\xe9".encode("latin-1"))
    (tmp_path / "all" / "neg" / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    told: list[tuple[int, int]] = []
    loaded = text.load(str(tmp_path / "all"), progress=lambda *at: told.append(at))
    assert loaded.table.classes == ("neg", "pos")
    assert [loaded.table.items.name(row) for row in loaded.table.rows.tolist()][:2] == ["neg/1.txt", "neg/3.txt"]
    assert set(read(loaded)) == {*(one for one, _ in REVIEWS), "café"}
    assert told[-1] == (8, 8)
    assert "1 text outside the class folders left out: README.txt" in said(loaded, "loose texts")
    assert "1 file is not UTF-8 and read as Windows-1252" in said(loaded, "encoding")
    assert "1 file cannot be opened and set aside: neg/gone.txt; replace them" in said(loaded, "unreadable")


def test_part_folders(tmp_path: Path) -> None:
    for n, (one, label) in enumerate(REVIEWS):
        put(tmp_path, f"{'train' if n < 4 else 'test'}/{label}/deep/{n}.txt", one)
    put(tmp_path, "more/x/1.txt", "left out")
    loaded = text.load(str(tmp_path))
    assert loaded.parts.tolist() == ["test"] * 2 + ["train"] * 4
    assert loaded.table.classes == ("neg", "pos")
    assert "read as given parts (test as test, train as train), which are kept" in said(loaded)
    assert "more/x/1.txt" in said(loaded, "loose texts")


def test_the_reviews_of_imdb_as_they_unpack(tmp_path: Path) -> None:
    for n, (one, label) in enumerate(REVIEWS):
        put(tmp_path, f"{'train' if n < 4 else 'test'}/{label}/{n}_7.txt", one)
    for n in range(5):
        put(tmp_path, f"train/unsup/{n}_0.txt", f"nobody has said what to think of film number {n}")
    for name in ("README", "imdb.vocab", "train/labeledBow.feat", "train/urls_unsup.txt", "test/urls_pos.txt"):
        put(tmp_path, name, "of no use here")
    told: list[tuple[int, int]] = []
    loaded = opening.open_data(str(tmp_path), progress=lambda *at: told.append(at))
    assert loaded.table.classes == ("neg", "pos")
    assert loaded.parts.tolist() == ["test"] * 2 + ["train"] * 4
    assert told[-1] == (6, 6)  # the others are not even read
    assert said(loaded, "unlabelled") == (
        "1 folder of unlabelled texts left out, being no class of the given test part: unsup (5 texts); rename what is "
        "a class."
    )


def test_columns_are_of_tables(tmp_path: Path) -> None:
    for n, (one, label) in enumerate(REVIEWS):
        put(tmp_path, f"all/{label}/{n}.txt", one)
    for columns, given in ((Columns(label=("kind",)), "--label kind"), (Columns(text=("review",)), "--text review")):
        with pytest.raises(DataError, match=f"all is a folder, whose class folders .* got {given}: leave that out"):
            opening.open_data(str(tmp_path / "all"), columns)
    tagged = put(tmp_path, "t.conll", CONLL)
    with pytest.raises(DataError, match=r"t.conll is a file of words and their tags, .* got --group who: leave that"):
        text.load(tagged, columns=Columns(group="who"))


def test_part_files(tmp_path: Path) -> None:
    table(tmp_path, "text,label", REVIEWS[:4], "films.train.csv")
    table(tmp_path, "text,label", REVIEWS[4:], "films_test_2.csv")
    put(tmp_path, "LICENCE", "do what you like")
    loaded = text.load(str(tmp_path))
    assert loaded.parts.tolist() == ["train"] * 4 + ["test"] * 2
    assert loaded.table.items.name(4) == "films_test_2.csv row 1"
    table(tmp_path, "review,label", REVIEWS[4:], "films_test_2.csv")
    with pytest.raises(
        DataError, match=r"films_test_2.csv has no column 'text', which films.train.csv has; it has review"
    ):
        text.load(str(tmp_path))
    table(tmp_path, "text,label", REVIEWS, "other.train.csv")
    with pytest.raises(DataError, match=r"holds 2 train files \(films.train.csv, other.train.csv\); put each data set"):
        text.load(str(tmp_path))


def test_folders_without_texts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no folders of .txt files and no file called after train; give a table"):
        text.load(str(tmp_path))


# Words


CONLL = "-DOCSTART- O\n\n# a remark\nWe\tO\nsaw\tO\nNew York\tB-place\n\n\nIt\tO\nrains\tO\n\nRome\tB-place\n"


def test_tagged_words(tmp_path: Path) -> None:
    loaded = text.load(put(tmp_path, "t.conll", CONLL))
    assert read(loaded) == [("We", "saw", "New York"), ("It", "rains"), ("Rome",)]
    assert [one.tolist() for one in loaded.table.labels] == [[0, 0, 1], [0, 0], [1]]
    assert (loaded.table.classes, loaded.table.task) == (("O", "B-place"), "tag")
    assert loaded.table.items.modality == "words"
    assert loaded.table.items.lengths is not None
    assert loaded.table.items.lengths.tolist() == [3, 2, 1]
    assert loaded.table.items.name(1) == "sentence 2"
    assert "the task is tag: 2 tags (place), one for each word" in said(loaded)


def test_tagged_words_are_checked(tmp_path: Path) -> None:
    loaded = text.load(put(tmp_path, "t.conll", CONLL + "\nrome\tO\n"))
    assert kinds(loaded) == ["inferred", "near duplicate", "conflict"]
    assert loaded.groups.tolist() == [0, 1, 2, 2]
    with pytest.raises(DataError, match=r"line 2 of .*t.conll has no tag after 'b'; write a word, a tab and a tag"):
        text.load(put(tmp_path, "t.conll", "a\tO\nb\n"))
    with pytest.raises(
        DataError, match="words with a tag each are for the task tag, got --task classify; leave it out"
    ):
        text.load(put(tmp_path, "t.conll", CONLL), columns=Columns(task="classify"))


def test_lists_of_words_and_tags(tmp_path: Path) -> None:
    rows = [{"tokens": ["We", "saw", "Rome"], "ner_tags": ["O", "O", "B-x"]}, {"tokens": ["It"], "ner_tags": ["O"]}]
    loaded = text.load(put(tmp_path, "t.jsonl", "\n".join(map(json.dumps, rows))))
    assert read(loaded) == [("We", "saw", "Rome"), ("It",)]
    assert loaded.table.task == "tag"
    rows[1]["ner_tags"] = []
    with pytest.raises(DataError, match="row 2 has 1 words and 0 tags; give each word one tag"):
        text.load(put(tmp_path, "t.jsonl", "\n".join(map(json.dumps, rows))))
    with pytest.raises(DataError, match=r"'\[x' is not a list of words"):
        text.load(put(tmp_path, "t.jsonl", json.dumps({"tokens": "[x", "tags": "[y"})))


# To predict


def test_gather(tmp_path: Path) -> None:
    put(tmp_path, "new.csv", "id,text\n1,one two three\n2,\n3,four five six\n")
    put(tmp_path, "lines.txt", "First, a text.\n\nThen one, and more.\n")
    put(tmp_path, "docs/a.txt", "a whole\ndocument")
    items, empty = text.gather(
        [str(tmp_path / "new.csv"), str(tmp_path / "lines.txt"), str(tmp_path / "docs"), "as it is"]
    )
    assert [items.read(place, 0) for place in range(len(items))] == [
        *("one two three", "four five six", "First, a text.", "Then one, and more.", "a whole\ndocument", "as it is")
    ]
    assert [items.name(place) for place in range(len(items))] == [
        *("row 1", "row 3", "lines.txt text 1", "lines.txt text 2", "a.txt", "as it is")
    ]
    assert empty == ("row 2",)
    assert items.modality in text.GATHERS.split()
    assert len(text.gather([str(tmp_path / "*.txt")])[0]) == 2
    assert text.gather(["x" * 50 + " " + "y" * 300])[0].name(0) == "x" * 50 + " " + "y" * 9 + "..."
    with pytest.raises(DataError, match="there is no file or folder"):
        text.gather(["lnes.txt"])


def test_gather_pairs(tmp_path: Path) -> None:
    put(tmp_path, "new.csv", "sentence1,sentence2\none two three,four five six\nseven eight nine,\n")
    items, empty = text.gather([str(tmp_path / "new.csv"), "left text\tright text"])
    assert [items.read(place, 0) for place in range(2)] == [
        ("one two three", "four five six"),
        ("left text", "right text"),
    ]
    assert empty == ("row 2",)
    with pytest.raises(DataError, match="some of the given items are texts and some are pairs"):
        text.gather(["a text", "a left\ta right"])


def test_gather_words(tmp_path: Path) -> None:
    tagged = put(tmp_path, "t.conll", CONLL)
    plain = put(tmp_path, "u.conll", "We\nsaw\n\nRome\n")
    lines = put(tmp_path, "v.txt", "It rains , again .\n")
    items, empty = text.gather([tagged, plain, lines, "We saw Rome"], "words")
    assert [items.read(place, 0) for place in (0, 3, 4, 5, 6)] == [
        *(
            ("We", "saw", "New York"),
            ("We", "saw"),
            ("Rome",),
            ("It", "rains", ",", "again", "."),
            ("We", "saw", "Rome"),
        )
    ]
    assert (items.modality, empty) == ("words", ())
    assert items.lengths is not None
    assert items.lengths[:2].tolist() == [3, 2]


# Real data


def test_real_data(data_folder: Path) -> None:
    reviews = text.load(str(data_folder / "imdb"))
    assert reviews.table.classes == ("0", "1")
    assert {part: int((reviews.parts == part).sum()) for part in ("train", "test")} == {"train": 4998, "test": 5000}
    assert "2 examples were set aside" in said(reviews, "leak")
    pairs = text.load(str(data_folder / "sentence_pairs" / "para" / "msr"))
    assert [int((pairs.parts == part).sum()) for part in ("train", "validation", "test")] == [3576, 500, 1725]
    assert np.bincount(pairs.table.labels[pairs.parts == "test"]).tolist() == [578, 1147]  # as published
    names = text.load(str(data_folder / "ner"))
    assert [int((names.parts == part).sum()) for part in ("train", "validation", "test")] == [3394, 1009, 1287]
    assert len(names.table.classes) == 13
    with pytest.raises(DataError, match=r"several columns that may be the label \(relatedness_score, entailment"):
        text.load(str(data_folder / "sentence_pairs" / "sts" / "sick2014"))


def test_time_to_read_grows_with_the_rows_and_not_with_their_square(tmp_path: Path) -> None:
    def prepared(count: int) -> Callable[[], object]:
        body = "".join(f"{n},the text with number {n} and a few words more,{'abc'[n % 3]}\n" for n in range(count))
        place = put(tmp_path, f"{count}.csv", "id,text,label\n" + body)
        return lambda: text.load(place)

    assert growth(prepared, 5_000) < MOST
