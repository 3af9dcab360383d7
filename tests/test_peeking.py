"""What kind of data a reference is: by suffixes, by names of columns, by what stands in the first rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from sterna import peeking
from sterna.records import Columns

TEXTS = ["text,label", "a fine film,pos", "a dull film,neg", "no plot at all,neg"]


def put(place: Path, name: str, lines: Sequence[str]) -> str:
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).write_text("\n".join(lines))
    return str(place / name)


def kind(reference: str | Path, columns: Columns | None = None) -> str:
    return peeking.kind(str(reference), columns or Columns())


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (TEXTS, "text"),
        (["comment,score", "wunderbar,1", "furchtbar,0", "langweilig,0"], "text"),  # short, but called so
        (["title,body,stars", "One,a long story about it,1", "Two,another long story then,2"], "text"),
        (["a,b", "这是一部非常好看的电影我喜欢,1", "这部电影太无聊了我不会再看,0"], "text"),
        (["age,income,job", "31,2.5,cook", "44,3.5,nurse"], "tabular"),
        (["name,age,fare,class", "Braund Mr. Owen Harris,22,7.2500000001,3rd", "Heikkinen Miss Laina,26,71.283,1st"]
         + [f"Mr. Some Body {n},{n + 20},{n}.7250000000012345678,3rd class" for n in range(9)], "tabular"),
        (["date,value", "2020-01-01 10:00:00 UTC,1", "2020-01-02 10:00:00 UTC,2"], "tabular"),
        (["path,label", "a/1.jpg,x", "a/2.PNG,y"], "images"),
        (["id,recording,label", "1,a/1.wav,x", "2,a/2.flac,y"], "audio"),
        (["path,label"], "images"),
        (["age,label"], "tabular"),
        ([""], "tabular"),  # whoever reads it says that it is empty
    ],
)  # fmt: skip
def test_tables(tmp_path: Path, lines: list[str], wanted: str) -> None:
    assert kind(put(tmp_path, "t.csv", lines)) == wanted


def test_paths_without_a_suffix_count_where_they_are_there(tmp_path: Path) -> None:
    for name in ("one", "two"):
        put(tmp_path, name, ["x"])
    assert kind(put(tmp_path, "t.csv", ["what,where", "a,one", "b,two"])) == "images"
    assert kind(put(tmp_path, "t.csv", ["what,where", "a,one", "b,three"])) == "tabular"


def test_what_a_person_says_is_followed(tmp_path: Path) -> None:
    table = put(tmp_path, "t.csv", ["age,job", "31,cook", "44,nurse"])
    assert kind(table) == "tabular"
    assert kind(table, Columns(text=("job",))) == "text"
    assert kind(put(tmp_path, "t.jsonl", [json.dumps({"a": ["x"], "b": ["O"]})]), Columns(task="tag")) == "text"


def test_lines_of_text_and_of_tagged_words(tmp_path: Path) -> None:
    assert kind(put(tmp_path, "t.txt", ["It rains today.", "We saw a film."])) == "text"
    assert kind(put(tmp_path, "train.all", ["0 bad film", "1 good film", "0 worse"])) == "text"
    words = ["We\tO", "saw\tO", "Rome\tB-place", "", "It\tO", "rains\tO"]
    for name in ("t.conll", "t.txt", "annotated"):
        assert kind(put(tmp_path, name, words)) == "text"
        assert peeking.is_tagged(tmp_path / name)
    assert peeking.is_tagged(Path(put(tmp_path, "u", ["We PRP O", "saw VB O", "Rome NNP B-LOC", ""])))
    assert not peeking.is_tagged(Path(put(tmp_path, "v", ["label\ttext", "a\tb"])))
    assert not peeking.is_tagged(Path(put(tmp_path, "w", ["It is", "O we"])))
    assert not peeking.is_tagged(Path(put(tmp_path, "x.csv", words)))
    assert not peeking.is_tagged(Path(put(tmp_path, "y", ["one"])))


def test_folders_are_what_most_of_their_files_are(tmp_path: Path) -> None:
    put(tmp_path, "photos/ant/1.jpg", ["x"])
    put(tmp_path, "photos/ant/2.jpg", ["x"])
    put(tmp_path, "photos/ant/note.txt", ["x"])
    put(tmp_path, "photos/README.txt", ["x"])
    put(tmp_path, "sounds/0/1.wav", ["x"])
    put(tmp_path, "reviews/pos/1.txt", ["x"])
    put(tmp_path, "reviews/labels.csv", TEXTS)
    put(tmp_path, "tables/train.csv", TEXTS)
    put(tmp_path, "tables/notes.md", ["x"])
    put(tmp_path, "hearts/a.data", ["1,2,3", "4,5,6"])
    put(tmp_path, "hearts/.hidden.csv", TEXTS)
    (tmp_path / "empty").mkdir()
    found = {place.name: kind(place) for place in tmp_path.iterdir()}
    assert found == {
        "photos": "images",
        "sounds": "audio",
        "reviews": "text",
        "tables": "text",
        "hearts": "tabular",
        "empty": "images",
    }
    assert kind(tmp_path / "photos", Columns(text=("text",))) == "text"


def test_what_is_not_there_or_of_no_kind(tmp_path: Path) -> None:
    assert kind("no_such_folder") == "images"
    assert kind("no_such.csv") == "images"
    assert kind("sklearn:digits") == ""
    assert kind("some.NPZ") == ""
    assert kind(put(tmp_path, "one.jpg", ["x"])) == ""
    (tmp_path / "blob").write_bytes(bytes(range(256)))
    assert kind(tmp_path / "blob") == ""


def test_real_data(data_folder: Path) -> None:
    wanted = {
        "flowers": "images",
        "spoken_digits": "audio",
        "imdb": "text",
        "ner": "text",
        "sentence_pairs/para/msr": "text",
        "sentences/TREC.train.all": "text",
        "sentences/custrev.all": "text",
        "sentence_pairs/sts/sick2014/SICK_train.txt": "text",
        "ner/emerging.test.annotated": "text",
        "heart": "tabular",
        "heart/processed.va.data": "tabular",
        "digits/MNIST_vs_USPS.mat": "",
    }
    there = {name: kind(data_folder / name) for name in wanted if (data_folder / name).exists()}
    assert there == {name: wanted[name] for name in there}
