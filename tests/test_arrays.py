"""Arrays: what is built in, what a .npz may hold, and what is refused."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets

from sterna.data import arrays
from sterna.errors import DataError
from sterna.records import Columns, Loaded

X = np.arange(24, dtype=np.float64).reshape(6, 4)
Y = np.array([0, 1, 0, 1, 2, 2])


def saved(place: Path, **named: np.ndarray) -> str:
    np.savez(place / "some.npz", **named)
    return str(place / "some.npz")


def kinds(loaded: Loaded) -> list[str]:
    return [finding.kind for finding in loaded.findings]


def test_claims() -> None:
    assert arrays.claims("sklearn:digits")
    assert arrays.claims("there/is/none.NPZ")
    assert not arrays.claims("photos/")
    assert not arrays.claims("table.csv")


def test_digits_are_pictures_of_the_values_sklearn_has() -> None:
    done: list[tuple[int, int]] = []
    loaded = arrays.load("sklearn:digits", workers=2, progress=lambda *at: done.append(at))
    known = datasets.load_digits()
    table = loaded.table
    assert table.items.modality == "image"
    assert table.items.in_memory
    assert table.classes == tuple("0123456789")
    assert table.labels.tolist() == known.target.tolist()
    assert done == [(1797, 1797)]
    picture = table.items.read(17, 224)
    assert (picture.mode, picture.size) == ("RGB", (8, 8))
    assert np.abs(np.asarray(picture)[..., 1] / 255 * 16 - known.images[17]).max() < 0.04
    assert table.items.name(17) == "row 17"
    assert loaded.findings == ()


@pytest.mark.parametrize(
    ("name", "n", "d", "k"), [("iris", 150, 4, 3), ("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2)]
)
def test_built_in_vectors(name: str, n: int, d: int, k: int) -> None:
    loaded = arrays.load(f"sklearn:{name}")
    assert (len(loaded.table), len(loaded.table.classes)) == (n, k)
    assert loaded.table.items.modality == "vector"
    row = loaded.table.items.read(3, 0)
    assert (row.shape, row.dtype) == ((d,), np.float32)


def test_copied_rows_share_a_group() -> None:
    loaded = arrays.load("sklearn:iris")  # known to hold one row twice
    assert kinds(loaded) == ["duplicate"]
    assert loaded.findings[0].items == ("row 101", "row 142")
    assert loaded.groups[101] == loaded.groups[142]
    assert len(np.unique(loaded.groups)) == 149


def test_items_travel_to_worker_processes_and_digests_tell_rows_apart() -> None:
    items = arrays.load("sklearn:digits").table.items
    twin = pickle.loads(pickle.dumps(items))
    assert [twin.digest(row) for row in range(9)] == [items.digest(row) for row in range(9)]
    assert len({items.digest(row) for row in range(1797)}) == 1797
    zeros = [np.zeros((1, 4), np.float32), np.zeros((1, 2, 2, 1), np.uint8), np.zeros((1, 4, 1, 1), np.uint8)]
    assert len({arrays.ArrayItems(one).digest(0) for one in zeros}) == 3


def test_npz_of_vectors_with_split_groups_and_names(tmp_path: Path) -> None:
    loaded = arrays.load(
        saved(
            tmp_path,
            X=X,
            y=Y.astype(float)[:, None],
            split=np.array(["train", "Test", "val", "", "train", "test"]),
            groups=np.array(["a", "b", "c", "d", "a", "e"]),
            classes=np.array(["ant", "bee", "cat", "dog"]),
        )
    )
    assert loaded.table.classes == ("ant", "bee", "cat")
    assert loaded.table.labels.tolist() == Y.tolist()
    assert loaded.parts.tolist() == ["train", "test", "validation", "", "train", "test"]
    assert loaded.groups.tolist() == [0, 1, 2, 3, 0, 4]
    assert {"inferred", "empty class", "missing in part"} <= set(kinds(loaded))
    assert "vectors, with examples from 'X', labels from 'y'" in loaded.findings[0].sentence


def test_labels_are_sorted_as_numbers_or_as_words(tmp_path: Path) -> None:
    assert arrays.load(saved(tmp_path, x=X, labels=np.array([10, 9, 10, 9, 10, 9]))).table.classes == ("9", "10")
    words = arrays.load(saved(tmp_path, data=X, target=np.array(list("bababa"))))
    assert words.table.classes == ("a", "b")
    assert words.table.labels.tolist() == [1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("shape", "high", "kind"),
    [
        ((6, 5, 7), 255, np.uint8),
        ((6, 5, 7, 3), 255, np.int64),
        ((6, 3, 5, 7), 255, np.float32),
        ((6, 5, 7, 1), 1, np.float64),
        ((6, 5, 7), 1, np.bool_),
        ((6, 1, 5, 7), 1, np.float16),
    ],
)
def test_pictures_of_any_usual_shape_and_range(tmp_path: Path, shape: tuple[int, ...], high: int, kind: type) -> None:
    rng = np.random.default_rng(0)
    values = (rng.integers(0, 256, shape) if high == 255 else rng.random(shape).round()).astype(kind)
    loaded = arrays.load(saved(tmp_path, images=values, y=Y))
    wanted = values[2].astype(float) * (255 / high)
    wanted = wanted.transpose(1, 2, 0) if shape[1] in (1, 3) else wanted
    wanted = np.broadcast_to(wanted if wanted.ndim == 3 else wanted[..., None], (5, 7, 3))
    picture = loaded.table.items.read(2, 0)
    assert picture.mode == "RGB"
    assert np.asarray(picture).tolist() == wanted.tolist()


def test_transparent_pictures_lie_on_white(tmp_path: Path) -> None:
    values = np.zeros((6, 2, 2, 4), np.uint8)
    values[..., 0] = np.arange(6)[:, None, None]
    values[:, 0, 0, 3] = 255
    picture = np.asarray(arrays.load(saved(tmp_path, X=values, y=Y)).table.items.read(3, 0))
    assert picture[0, 0].tolist() == [3, 0, 0]
    assert picture[1, 1].tolist() == [255, 255, 255]


def test_a_copy_in_test_is_set_aside_in_train(tmp_path: Path) -> None:
    values = X.copy()
    values[3] = values[1]
    split = np.array(["train", "train", "train", "test", "test", "train"])
    loaded = arrays.load(saved(tmp_path, X=values, y=Y, split=split))
    assert loaded.table.rows.tolist() == [0, 2, 3, 4, 5]
    assert loaded.parts.tolist() == ["train", "train", "test", "test", "train"]
    assert [(one.kind, one.items) for one in loaded.findings if one.kind == "leak"] == [("leak", ("row 1",))]


def test_the_same_row_under_two_labels(tmp_path: Path) -> None:
    values = X.copy()
    values[1] = values[0]
    loaded = arrays.load(saved(tmp_path, X=values, y=Y))
    assert kinds(loaded) == ["inferred", "duplicate", "conflict"]


NAN = np.where(np.eye(6, 4) > 0, np.nan, X)


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"a": X, "y": Y}, "has no array of examples; name it X or x or images or data; it holds a, y"),
        ({"X": X, "b": Y}, "has no array of labels; name it y"),
        ({"X": X, "y": Y[:5]}, r"6 examples and labels of shape \(5,\)"),
        ({"X": X, "y": np.array(3)}, r"6 examples and labels of shape \(\)"),
        ({"X": X, "y": Y, "groups": Y[:2]}, r"6 examples and groups of shape \(2,\)"),
        ({"X": X, "y": Y, "split": np.array(["train"])}, r"6 examples and split of shape \(1,\)"),
        ({"X": NAN, "y": Y}, "NaN or infinity in 4 examples of .*, row 0 first"),
        ({"X": X * 1e300, "y": Y}, "NaN or infinity"),
        ({"X": X.astype(str), "y": Y}, "are of type <U32; give numbers"),
        ({"X": X.astype(object), "y": Y}, "holds Python objects"),
        ({"X": X[:, 0], "y": Y}, r"have shape \(6,\); give"),
        ({"X": X[:0], "y": Y[:0]}, r"have shape \(0, 4\); give"),
        ({"X": X.reshape(6, 2, 2) - 5, "y": Y}, "values from -5 to 18; scale them"),
        ({"X": X.reshape(6, 2, 2) * 100, "y": Y}, "values from 0 to 2300; scale them"),
        ({"X": np.zeros((6, 5, 5, 2)), "y": Y}, r"have shape \(6, 5, 5, 2\); give .* 1, 3 or 4"),
        ({"X": X, "y": np.eye(6, 3)}, r"labels of .* have shape \(6, 3\)"),
        ({"X": X, "y": Y + 0.5}, "labels of .* type float64; give one whole number"),
        ({"X": X, "y": Y, "classes": np.array(["a", "b"])}, r"2 class names of .* do not fit its labels \(0, 1, 2\)"),
        ({"X": X, "y": Y, "classes": np.array(["a", "b", "a"])}, "3 class names of .* do not fit"),
        ({"X": X, "y": Y, "split": np.array(["fold"] * 6)}, "says 'fold'; it may say train, validation or test"),
        ({"X": X, "y": Y * 0}, r"usable examples of 1 class \(0\)"),
    ],
)
def test_what_is_refused_is_refused_in_a_sentence(tmp_path: Path, named: dict, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        arrays.load(saved(tmp_path, **named))
    assert "\n" not in str(caught.value)


def test_arrays_have_no_columns(tmp_path: Path) -> None:
    file = saved(tmp_path, X=np.eye(4), y=np.array([0, 0, 1, 1]))
    for reference in (file, "sklearn:iris"):
        with pytest.raises(DataError, match=r"holds arrays, which say .* got --label a --text b: leave that out, or"):
            arrays.load(reference, columns=Columns(label=("a",), text=("b",)))
        with pytest.raises(DataError, match="holds arrays, which are read for the task classify, got --task regress"):
            arrays.load(reference, columns=Columns(task="regress"))
        arrays.load(reference, columns=Columns(task="classify"))


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown data set of sklearn 'digit'\. Did you mean 'digits'\?"):
        arrays.load("sklearn:digit")
    saved(tmp_path, X=X, y=Y)
    with pytest.raises(DataError, match=re.escape(f"did you mean {tmp_path / 'some.npz'}?")):
        arrays.load(str(tmp_path / "sone.npz"))
    whole = (tmp_path / "some.npz").read_bytes()
    for content in (b"", b"no archive", whole[:200], whole.replace(X.tobytes(), (X + 1).tobytes())):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.npz is no readable \.npz file"):
            arrays.load(str(tmp_path / "bad.npz"))
    np.save(tmp_path / "one.npy", X)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DataError, match=r"one\.npz is no readable \.npz file"):
        arrays.load(str(tmp_path / "one.npz"))
