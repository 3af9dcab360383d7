"""Two data sets held against each other: alike, moved as a whole, moved in one class, copied, and of other kinds."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from typer.testing import CliRunner

import sterna
from sterna import cli, compared, comparison, folder, measuring, vantage
from sterna.contracts import Sides
from sterna.errors import DataError, MissingPackageError, SpecError
from sterna.maths.kernels import alignment
from sterna.records import Columns

NAMES = np.array(["cat", "dog", "elk"])
CENTRES = np.array([[0, 0, 0, 0], [4, 0, 0, 0], [0, 4, 0, 0]], dtype=float)


def blobs(place, count, seed, moved=None, shares=(1, 1, 1), names=NAMES):
    """Three classes in four dimensions; `moved` adds a vector to one of them."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), (np.array(shares) * count // 3).astype(int))
    points = CENTRES[labels] + draw.normal(0, 1, (len(labels), 4))
    for number, by in (moved or {}).items():
        points[labels == number] += by
    np.savez(place, x=points.astype(np.float32), y=names[labels])
    return str(place)


def table(place, count, seed, gaps=0.0, extra="", shift=0.0):
    draw = np.random.default_rng(seed)
    lines = [f"age,weight,{extra}colour,ill"]
    for row in range(count):
        weight = "" if draw.random() < gaps else f"{draw.normal(70 + shift, 10):.3f}"
        more = f"{draw.normal():.3f}," if extra else ""
        lines.append(f"{draw.normal(50, 10):.3f},{weight},{more}{draw.choice(['red', 'blue'])},{'yn'[row % 2]}")
    place.write_text("\n".join(lines) + "\n")
    return str(place)


def measure(left, right, tmp_path, **more):
    return comparison.distance(left, right, out=tmp_path / "out", **{"metric": "energy, mmd", **more})


def by_name(found):
    return {one.name: one for one in found.metrics}


def test_samples_of_one_distribution_are_not_told_apart(tmp_path):
    left, right = blobs(tmp_path / "a.npz", 240, 1), blobs(tmp_path / "b.npz", 240, 2)
    found = measure(left, right, tmp_path)
    for one in found.metrics:
        assert one.p > 0.05
        assert 0.6 < one.times < 1.6
        assert one.times == pytest.approx(one.across / one.within)
    assert all(one.p > 0.02 for one in found.classes)
    assert found.half == 120
    assert found.sentences[0].startswith("Nothing says that they are not samples of the same distribution (smallest p")
    assert any("The shares of the classes are not seen to differ" in told for told in found.sentences)
    assert any(told.startswith("No single class is seen to have moved") for told in found.sentences)


def test_the_class_that_moved_is_named_first(tmp_path):
    left = blobs(tmp_path / "a.npz", 240, 1)
    right = blobs(tmp_path / "b.npz", 240, 2, moved={1: [0, 0, 2.5, 0], 2: [0, 0, 0, 0.9]})
    found = measure(left, right, tmp_path)
    assert [one.name for one in found.classes] == ["dog", "elk", "cat"]
    assert found.classes[0].times > 5
    assert found.classes[0].p < 0.01 < found.classes[2].p
    assert abs(found.classes[2].moved) < 0.1 * found.classes[0].moved
    told = next(told for told in found.sentences if "classes have moved" in told)
    assert told.startswith("2 of 3 classes have moved, most of all dog (by ")
    assert found.sentences[0].startswith("They are not samples of the same distribution (p = 0.00")
    assert "after Holm's correction for 2 tests" in found.sentences[0]
    assert f"b lies {by_name(found)['energy'].times:.1f} times as far from a as a's halves" in found.sentences[1]


def test_a_shift_of_everything_is_no_shift_of_a_class(tmp_path):
    by = [0, 0, 2, 2]
    left, right = blobs(tmp_path / "a.npz", 240, 1), blobs(tmp_path / "b.npz", 240, 2, moved={0: by, 1: by, 2: by})
    found = measure(left, right, tmp_path)
    told = next(told for told in found.sentences if "classes have moved" in told)
    assert told.startswith("All 3 classes have moved about alike (by ")


def test_every_distance_of_the_folder_is_measured_and_said(tmp_path):
    left, right = blobs(tmp_path / "a.npz", 60, 1), blobs(tmp_path / "b.npz", 60, 2, moved={0: [6, 6, 6, 0]})
    found = measure(left, right, tmp_path, metric="")
    assert tuple(by_name(found)) == folder.names("distances")
    for one in found.metrics:
        needs = folder.load("distances", one.name).needs
        assert bool(one.reason) == (needs == "pairs")
        if not one.reason:
            assert one.times > 1
            assert np.isfinite(one.value)
            assert f"\n{one.name}  " in f"\n{found}"
    assert "Left out: cka; pairs compare two encoders on the same items; type --encoder E,F" in str(found)


def test_the_record_is_written_whole_and_read_back(tmp_path):
    left, right = (
        blobs(tmp_path / "a.npz", 60, 1),
        blobs(tmp_path / "b.npz", 90, 2, names=np.array(["cat", "dog", "emu"])),
    )
    found = sterna.distance(left, right, metric="energy(limit=50), otdd", out=tmp_path / "out")
    kept = json.loads((tmp_path / "out" / comparison.RECORD).read_text())
    assert kept == found.as_json()
    assert compared.load(tmp_path / "out") == found
    assert (kept["n_left"], kept["n_right"]) == (60, 90)
    assert found.labelling.left_only == ("elk",)
    assert found.labelling.right_only == ("emu",)
    assert "b has no example of elk." in found.sentences
    assert "a has no example of emu." in found.sentences
    again = sterna.distance(left, right, metric="energy(limit=50), otdd", out=tmp_path / "again")
    timeless = [tuple(dataclasses.replace(one, seconds=0) for one in each.metrics) for each in (found, again)]
    assert timeless[0] == timeless[1]
    assert again.classes == found.classes
    with pytest.raises(DataError, match=r"holds no comparison: it has no distance.json; run sterna distance"):
        compared.load(tmp_path)


def test_labels_of_one_name_are_one_class_whatever_their_numbers(tmp_path):
    """Otherwise the left side's dogs would be held against the right side's ants."""
    left = blobs(tmp_path / "a.npz", 120, 1)
    right = blobs(tmp_path / "b.npz", 120, 2, names=np.array(["Cat", "ant ", " DOG"]), moved={2: [4, -4, 0, 0]})
    found = measure(left, right, tmp_path)
    assert found.labelling.shared == ("cat", "dog")
    assert {one.name: (one.left, one.right) for one in found.classes} == {"cat": (40, 40), "dog": (40, 40)}
    assert all(one.p > 0.01 for one in found.classes)


def test_the_same_data_are_said_to_be_the_same(tmp_path):
    left = blobs(tmp_path / "a.npz", 60, 1)
    shutil.copy(left, tmp_path / "copy.npz")
    for right in (left, str(tmp_path / "copy.npz")):
        found = measure(left, right, tmp_path)
        assert "are the same data: each of the 60 examples is in both" in found.sentences[0]
        assert len(found.sentences) == 1
        assert all(one.p is None for one in found.metrics)
        assert by_name(found)["energy"].value == pytest.approx(0, abs=1e-8)
        assert all(one.times is None for one in found.metrics)
        assert found.classes == ()


def test_copies_in_both_leave_nothing_to_test(tmp_path):
    left, right = blobs(tmp_path / "a.npz", 90, 1), blobs(tmp_path / "b.npz", 90, 2)
    arrays = dict(np.load(right))
    arrays["x"][:9] = np.load(left)["x"][:9]
    np.savez(right, **arrays)
    found = measure(left, right, tmp_path)
    assert found.copies == 9
    assert found.sentences[0].startswith(
        "9 of 90 examples of b (10 %) are also in a, so the samples are not independent"
    )
    assert all(one.p is None for one in (*found.metrics, *found.classes))
    assert any(told.startswith("Of the classes, most of all") for told in found.sentences)


def test_rows_that_are_alike_by_chance_are_still_tested(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        draw = np.random.default_rng(seed)
        rows = [f"{draw.integers(3)},{draw.integers(3)},{'yn'[place % 2]}" for place in range(60)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["size,doors,sold", *rows]) + "\n")
    found = measure(str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), tmp_path)
    assert found.copies > 30
    assert all(one.p is not None for one in found.metrics)
    assert found.sentences[0].endswith("are also in a; if they are copies, p values come out too high.")


def test_tables_are_compared_on_common_columns_by_the_statistics_of_the_first(tmp_path):
    left, right = table(tmp_path / "a.csv", 80, 1), table(tmp_path / "b.csv", 80, 2, extra="pulse,", shift=30)
    seen = vantage.opened((left, right), Columns(), sterna.watching.Watch())
    first, second = vantage.features(seen.tables, "", None, sterna.watching.Watch(), seen.names)
    weights = [row[1] for row in map(seen.tables[0].items.read, range(80))]
    others = [row[1] for row in map(seen.tables[1].items.read, range(80))]
    assert first[:, 1] == pytest.approx((weights - np.mean(weights)) / np.std(weights), abs=1e-5)
    assert second[:, 1] == pytest.approx(np.clip((others - np.mean(weights)) / np.std(weights), -5, 5), abs=1e-5)
    found = measure(left, right, tmp_path)
    assert found.notes == (
        "Compared are the 3 columns that all tables have, without pulse (absent from one, or the same everywhere in "
        "it).",
    )
    assert by_name(found)["mmd"].p < 0.01


def test_cells_that_only_one_side_lacks_set_it_apart(tmp_path):
    left, right = table(tmp_path / "a.csv", 120, 1), table(tmp_path / "b.csv", 120, 2, gaps=0.5)
    assert by_name(measure(left, right, tmp_path))["energy"].p < 0.01


def test_principal_components_are_those_of_the_pool():
    draw = np.random.default_rng(0)
    left = draw.normal(0, 1, (300, 6)) @ np.diag([9, 5, 1, 1, 1, 1]) @ draw.normal(0, 1, (6, 6)) + 5
    right = draw.normal(0, 3, (200, 6))
    (first, second), share = measuring.principal((left, right), 0)
    pool = np.concatenate([left, right])
    oracle = PCA(6).fit((pool - pool.mean(axis=0)) / pool.std(axis=0))
    made = oracle.transform((pool - pool.mean(axis=0)) / pool.std(axis=0)) / np.sqrt(6)
    got = np.concatenate([first, second])
    assert np.abs(got) == pytest.approx(np.abs(made), abs=1e-4)
    assert got.var(axis=0).sum() == pytest.approx(1, abs=1e-4)
    assert share == pytest.approx(1)
    (few, _), part = measuring.principal((left[:30], right[:30]), 0)
    small = np.concatenate([left[:30], right[:30]])
    fewer = PCA(3).fit((small - small.mean(axis=0)) / small.std(axis=0))
    assert few.shape == (30, 3)  # one for every ten examples of the smaller side
    assert part == pytest.approx(fewer.explained_variance_ratio_.sum(), abs=1e-6)


def test_principal_components_of_more_features_than_examples_and_of_none():
    draw = np.random.default_rng(0)
    wide = draw.normal(0, 1, (60, 200))
    (first, second), share = measuring.principal((wide[:30], wide[30:]), 0)
    oracle = PCA(3).fit((wide - wide.mean(axis=0)) / wide.std(axis=0))
    assert share == pytest.approx(oracle.explained_variance_ratio_.sum(), abs=1e-6)
    made = oracle.transform((wide - wide.mean(axis=0)) / wide.std(axis=0))
    assert np.abs(np.concatenate([first, second])) == pytest.approx(
        np.abs(made / np.sqrt(made.var(axis=0).sum())), abs=1e-4
    )
    (flat, _), _ = measuring.principal((np.ones((20, 3)), np.ones((20, 3))), 0)
    assert not flat.any()


def test_shares_of_classes_agree_with_the_g_test_where_counts_are_large():
    for left, right in (([50, 60, 40], [45, 70, 60]), ([200, 210], [230, 180]), ([30, 30, 30], [30, 30, 30])):
        wanted = chi2_contingency([left, right], correction=False, lambda_="log-likelihood").pvalue
        assert measuring.shares(np.array(left), np.array(right), 0) == pytest.approx(wanted, abs=0.015)
    assert measuring.shares(np.array([3, 0]), np.array([0, 3]), 0) == pytest.approx(2 / 20, abs=0.01)  # Fisher's


def test_one_shift_of_shares_is_said(tmp_path):
    left, right = blobs(tmp_path / "a.npz", 180, 1), blobs(tmp_path / "b.npz", 180, 2, shares=(2, 0.75, 0.25))
    found = measure(left, right, tmp_path)
    assert found.labelling.p < 0.001
    told = next(told for told in found.sentences if "shares of the classes differ" in told)
    assert told.endswith("most for cat: 33 % of a, 67 % of b.")


def test_halves_are_drawn_at_the_sizes_of_the_smaller_side(tmp_path):
    """Fifteen examples on the right: halves of fifteen, not of a hundred and twenty."""
    left, right = blobs(tmp_path / "a.npz", 240, 1), blobs(tmp_path / "b.npz", 15, 2)
    seen = []

    class Counting:
        needs, scale, reduced = "features", "", False

        def measure(self, sides: Sides):
            seen.append((len(sides.left), len(sides.right), sides.tested))
            return folder.load("distances", "energy")().measure(sides)

    found = measure(left, right, tmp_path)
    assert found.half == 15
    given = measuring.samples(np.load(left)["x"], np.load(right)["x"])
    measuring.measured("counting", Counting(), given)
    assert seen[0] == (240, 15, True)
    assert seen[1:] == [(15, 15, False)] * (2 * measuring.HALVINGS)


def test_slow_distances_that_no_one_chose_see_fewer(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "SHOWN", 40)
    left, right = blobs(tmp_path / "a.npz", 90, 1), blobs(tmp_path / "b.npz", 60, 2)
    whole, part = measure(left, right, tmp_path, metric=""), measure(left, right, tmp_path, metric="wasserstein")
    assert by_name(whole)["wasserstein"].notes[0] == "Measured on 40 and 40 examples, drawn at random."
    assert by_name(whole)["energy"].notes == by_name(whole)["coral"].notes == by_name(part)["wasserstein"].notes == ()


def test_only_so_many_examples_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(vantage, "MOST", 50)
    left, right = blobs(tmp_path / "a.npz", 90, 1), blobs(tmp_path / "b.npz", 48, 2)
    found = measure(left, right, tmp_path)
    assert (found.n_left, found.n_right) == (50, 48)
    assert found.notes == ("Of a, 50 of 90 examples are looked at, drawn at random.",)


def test_a_distance_whose_package_is_absent_is_left_out_unless_it_was_named(tmp_path, monkeypatch):
    load = folder.load

    def without(place, name):
        if name in ("wasserstein", "a_distance", "kullback_leibler", "jensen_shannon", "otdd"):
            raise MissingPackageError(f"{name} needs the package 'pot', which is not installed: type pip install pot.")
        return load(place, name)

    monkeypatch.setattr(folder, "load", without)
    left, right = blobs(tmp_path / "a.npz", 60, 1), blobs(tmp_path / "b.npz", 60, 2)
    found = measure(left, right, tmp_path, metric="")
    assert "Left out: wasserstein; wasserstein needs the package 'pot'" in str(found)
    assert by_name(found)["energy"].value is not None
    with pytest.raises(MissingPackageError):
        measure(left, right, tmp_path, metric="wasserstein")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    place = tmp_path_factory.mktemp("digits") / "digits.npz"
    found = load_digits()
    rows = np.flatnonzero(found.target < 4)[:120]
    images = np.rint(found.images[rows] * (255 / 16)).astype(np.uint8)[..., None].repeat(3, axis=-1)
    np.savez(place, x=images, y=found.target[rows])
    return str(place)


def test_two_encoders_on_one_data_set_are_compared_by_alignment(digits, tmp_path):
    both = "builtin:glyphs, classical:hog_colour"
    found = comparison.distance(digits, digits, encoder=both, out=tmp_path)
    seen = vantage.opened((digits,), Columns(), sterna.watching.Watch())
    store = sterna.store.Store()
    views = [
        vantage.features(seen.tables, one, store, sterna.watching.Watch(), seen.names)[0].astype(float)
        for one in ("builtin:glyphs", "classical:hog_colour")
    ]
    assert by_name(found)["cka"].value == pytest.approx(1 - alignment(*views), abs=1e-6)
    assert 0 < by_name(found)["cka"].value < 1
    assert all(one.reason.startswith("two encoders give other") for one in found.metrics if one.name != "cka")
    assert found.sentences == (
        f"builtin:glyphs and classical:hog_colour see the 120 items at a distance of {by_name(found)['cka'].value:.2f} "
        "by cka (1 - alignment: 0 for the same up to rotation and scale, about 1 for unrelated).",
    )
    assert compared.load(tmp_path) == found
    same = comparison.distance(digits, digits, encoder="builtin:glyphs, builtin:glyphs", out=tmp_path, metric="cka")
    assert same.metrics[0].value == pytest.approx(0, abs=1e-6)


def mistakes(place, digits):
    good = blobs(place / "good.npz", 60, 1)
    few = blobs(place / "few.npz", 6, 1)
    rows = table(place / "rows.csv", 20, 1)
    (place / "other.csv").write_text("a,b,label\n" + "".join(f"{n},{n * n % 7},{'yn'[n % 2]}\n" for n in range(20)))
    (place / "tags.conll").write_text("Anna B-PER\nsings O\n\nBob B-PER\nsleeps O\n\n" * 10)
    np.savez(place / "long.npz", x=np.random.default_rng(0).normal(size=(30, 5)), y=np.arange(30) % 2)
    other = blobs(place / "others.npz", 60, 4)
    return [
        ((digits, digits, {}), SpecError, r"image data are compared as an encoder sees them, got no encoder; type"),
        ((good, rows, {}), DataError, r"of one kind .* holds vector items where .*rows.csv holds row items; give"),
        ((str(place / "tags.conll"),) * 2 + ({},), DataError, r"has a tag for each word, and whole items are compared"),
        (
            (rows, str(place / "other.csv"), {}),
            DataError,
            r"have no column in common: the first has age, weight, colour",
        ),
        ((good, str(place / "long.npz"), {}), DataError, r"good has 4 numbers where long has 5; give features of one"),
        ((good, few, {}), DataError, r"at least 10 examples on each side, got 60 and 6; add examples"),
        ((good, other, {"metric": "mmd + energy"}), SpecError, r"got a sum in 'mmd \+ energy'; type a comma for \+"),
        ((good, other, {"metric": "mmdd"}), SpecError, r"Did you mean 'mmd'\?"),
        ((good, other, {"encoder": "a:b, c:d, e:f"}), SpecError, r"got a:b, c:d, e:f; type one or two"),
        (
            (good, other, {"encoder": "a:b, c:d"}),
            SpecError,
            r"two encoders are compared on one data set, got good and ot",
        ),
    ]


def test_mistakes_are_one_sentence_and_leave_nothing_behind(tmp_path, digits):
    for (left, right, more), kind, sentence in mistakes(tmp_path, digits):
        with pytest.raises(kind, match=sentence):
            comparison.distance(left, right, out=tmp_path / "out", **more)
        assert not (tmp_path / "out").exists()


def test_distances_that_do_not_apply_say_why(tmp_path):
    left, right = blobs(tmp_path / "a.npz", 60, 1), table(tmp_path / "c.csv", 40, 1)
    amounts = tmp_path / "amounts.csv"
    amounts.write_text(
        "age,weight,colour,price\n" + "".join(f"{n % 9},{n * n % 11},red,{n * 1.37:.2f}\n" for n in range(40))
    )
    found = measure(right, str(amounts), tmp_path, metric="energy, otdd")
    assert by_name(found)["otdd"].reason == "it needs one class for each example on both sides"
    assert found.classes == ()
    assert not any("class" in told for told in found.sentences)
    few = blobs(tmp_path / "b.npz", 12, 1)
    got = by_name(measure(left, few, tmp_path, metric="energy, mmd(estimate=linear)"))
    assert all(one.reason == "" for one in got.values())


def test_times_are_bounded_and_alike_is_one():
    assert measuring._times(0.0, 0.0) == 1
    assert measuring._times(0.0, 0.1) == 0
    assert measuring._times(5.0, 0.0) == measuring.MOST
    assert measuring._times(3.0, 1.5) == 2


def test_the_command_prints_the_table_and_the_sentences(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left, right = blobs(tmp_path / "a.npz", 60, 1), blobs(tmp_path / "b.npz", 60, 2, moved={0: [0, 0, 5, 0]})
    done = CliRunner().invoke(cli.app, ["distance", left, right, "--metric", "energy, mmd(biased=true)"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "runs" / "a_vs_b" / "distance.json").is_file()
    lines = done.output.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("distance"))
    assert lines[start].split() == [
        "distance",
        "value",
        "p",
        "×",
        "split-half",
        "seconds",
        "what",
        "the",
        "value",
        "is",
    ]
    assert [line.split()[0] for line in lines[start + 1 : start + 3]] == ["energy", "mmd(biased=true)"]
    assert "1 of 3 classes have moved, most of all cat (by" in done.output


def test_hospitals_differ_and_halves_of_one_do_not(data_folder, tmp_path):
    """Cleveland measures what Hungary leaves out; its patients in two halves are alike."""
    cleveland, hungary = (data_folder / "heart" / f"processed.{name}.data" for name in ("cleveland", "hungarian"))
    found = measure(str(cleveland), str(hungary), tmp_path, metric="energy, mmd, nearest")
    assert all(one.p < 0.01 and one.times > 10 for one in found.metrics)
    assert found.labelling.left_only == ("2", "3", "4")
    lines = np.array(cleveland.read_text().split())
    lines = lines[np.random.default_rng(0).permutation(len(lines))]
    for name, part in (("one", lines[:150]), ("two", lines[150:])):
        (tmp_path / f"{name}.data").write_text("\n".join(part) + "\n")
    halves = measure(str(tmp_path / "one.data"), str(tmp_path / "two.data"), tmp_path, metric="energy, mmd, nearest")
    assert min(one.p for one in halves.metrics) > 0.05
    assert 0.5 < by_name(halves)["energy"].times < 2
