"""Ways over data sets that turn step by step: found, gone by command, and refused where they cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

import sterna
from sterna import cli, detour, files, measuring
from sterna.contracts import Sides
from sterna.errors import DataError, SpecError
from sterna.folder import load
from sterna.records import Columns
from sterna.watching import Watch

ONE, TWO = "here", "there"


def clouds(place, degrees, seed, count=150, names=(ONE, TWO), **more):
    """Two classes on opposite sides of the origin, turned about it; an .npz of vectors."""
    draw, labels = np.random.default_rng(seed), np.arange(count) % 2
    points = (2 * labels - 1)[:, None] * [1.0, 0.0] + draw.normal(0, 0.35, (count, 2))
    angle = np.deg2rad(degrees)
    turned = points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    np.savez(place, x=turned.astype(np.float32), y=np.array(names)[labels], **more)
    return str(place)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A source, stops at 22, 45 and 68 degrees that are not labelled with its classes, and a target at 90."""
    place = tmp_path_factory.mktemp("chain")
    source, target = clouds(place / "source.npz", 0, 1), clouds(place / "target.npz", 90, 2, 300)
    others = [clouds(place / f"at{one}.npz", one, one, names=("a", "b")) for one in (45, 22, 68)]
    return source, others, target


def test_a_target_too_far_is_reached_by_stops_without_labels(chain, tmp_path):
    source, others, target = chain
    found = sterna.way((source, *others, target), out=tmp_path)
    assert found.way.stops == ("source", "at22", "at45", "at68", "target")
    assert found.labelled == (True, False, False, False, False)
    assert found.sizes == (150, 150, 150, 150, 150)  # half of the target is held out
    assert found.travelled.direct < 0.75
    assert found.travelled.reached > 0.9
    assert found.travelled.helps
    assert found.travelled.sentence.startswith("Going by at22, at45, at68 helps: ")
    assert "n = 150 held-out target examples" in found.travelled.sentence
    costs = np.array(found.costs)
    assert (costs == costs.T).all()
    assert not costs.diagonal().any()
    assert found.way.hops == pytest.approx(costs[[0, 2, 1, 3], [2, 1, 3, 4]])
    kept = json.loads((tmp_path / detour.RECORD).read_text())
    assert kept == json.loads(json.dumps(found.as_json()))
    assert kept["way"]["stops"] == list(found.way.stops)
    assert sterna.way((source, *others, target), out=tmp_path) == found


def test_costs_are_those_of_the_distance_on_samples_of_one_size(tmp_path):
    sizes = {"s": (0, 1, 60), "m": (30, 2, 90), "t": (60, 3, 150)}
    paths = [clouds(tmp_path / f"{name}.npz", *given) for name, given in sizes.items()]
    found = detour.way(paths, metric="energy", out=tmp_path / "out")
    source = np.load(paths[0])["x"]
    middle = np.load(paths[1])["x"]
    rows = measuring.thinned(90, 60, detour.SEED, "m")
    seen = []

    def noted(parts, seed, real=measuring.principal):
        seen.extend(parts)
        return real(parts, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "principal", noted)
        again = detour.way(paths, metric="energy", out=tmp_path / "out")
    assert again == found
    assert [len(one) for one in seen] == [60, 60, 60]
    assert seen[0] == pytest.approx(source)
    assert seen[1] == pytest.approx(middle[rows])
    views = measuring.principal(seen, detour.SEED)[0]
    wanted = load("distances", "energy")().measure(Sides(views[0].astype(float), views[1].astype(float), 0)).value
    assert found.costs[0][1] == found.costs[1][0] == pytest.approx(wanted)


def test_the_target_s_labels_serve_the_judging_only(chain, tmp_path):
    """With all labels of the part that is adapted to exchanged, the way and what it learns stay as they are."""
    source, others, target = chain
    found = detour.way((source, *others, target), metric="energy", out=tmp_path / "one")
    arrays = dict(np.load(target))
    parts = np.where(np.arange(300) % 4 < 2, "train", "test")
    np.savez(tmp_path / "target.npz", **arrays, split=parts)
    right = detour.way((source, *others, str(tmp_path / "target.npz")), metric="energy", out=tmp_path / "two")
    wrong = arrays["y"].copy()
    wrong[parts == "train"] = np.where(wrong[parts == "train"] == ONE, TWO, ONE)
    np.savez(tmp_path / "target.npz", x=arrays["x"], y=wrong, split=parts)
    exchanged = detour.way((source, *others, str(tmp_path / "target.npz")), metric="energy", out=tmp_path / "three")
    assert exchanged.travelled == right.travelled
    assert exchanged.costs == right.costs
    assert right.travelled.reached == pytest.approx(found.travelled.reached, abs=0.08)


def test_stops_with_the_classes_of_the_source_are_learnt_from(tmp_path):
    source, target = clouds(tmp_path / "source.npz", 0, 1), clouds(tmp_path / "target.npz", 60, 2)
    labelled = clouds(tmp_path / "turned.npz", 30, 3)
    strange = clouds(tmp_path / "strange.npz", 30, 4, names=(ONE, "elsewhere"))
    misled = clouds(tmp_path / "misled.npz", 45, 5, names=(TWO, ONE))
    good = detour.way((source, labelled, strange, target), in_order=True, out=tmp_path / "out")
    assert good.labelled == (True, True, False, False)
    bad = detour.way((source, misled, target), in_order=True, out=tmp_path / "out")
    assert bad.way.stops == ("source", "misled", "target")
    assert bad.travelled.reached < 0.5 < good.travelled.reached
    assert "Going by misled hurts: " in str(bad)


def test_a_near_target_is_reached_directly(tmp_path):
    near = [clouds(tmp_path / f"{name}.npz", degrees, degrees) for name, degrees in (("s", 0), ("far", 90), ("t", 5))]
    found = detour.way(near, out=tmp_path / "out")
    assert found.way.stops == ("s", "t")
    assert "The direct way is taken" in str(found)
    assert str(found).count("The direct way is taken") == 1


def test_where_everything_is_told_apart_the_cost_is_said_to_be_blind(tmp_path):
    """Sharp clouds: any two domains lie apart, and the stop in between is as far as the target."""
    paths = []
    for name, by in (("s", 0), ("m", 20), ("t", 40)):
        arrays = dict(np.load(clouds(tmp_path / f"{name}.npz", 0, by)))
        np.savez(tmp_path / f"{name}.npz", x=arrays["x"] + np.float32([0, by]), y=arrays["y"])
        paths.append(str(tmp_path / f"{name}.npz"))
    blind = detour.way(paths, metric="a_distance", out=tmp_path / "out")
    assert blind.way.stops == ("s", "t")
    assert "Any two of these data sets can be told apart almost without error, so a_distance" in str(blind)
    seeing = detour.way(paths, out=tmp_path / "out")
    assert seeing.way.stops == ("s", "m", "t")
    assert seeing.notes == ()


def test_the_way_may_be_given_where_no_distance_sees_labels_change_places(tmp_path):
    """Half a turn brings the classes onto each other: source and target look alike."""
    source, target = clouds(tmp_path / "source.npz", 0, 1), clouds(tmp_path / "target.npz", 180, 2, 300)
    others = [clouds(tmp_path / f"at{one}.npz", one, one, names=("a", "b")) for one in (36, 72, 108, 144)]
    found = detour.way((source, *others, target), metric="energy", out=tmp_path / "out")
    assert not found.way.by_others
    assert found.travelled.direct < 0.1
    known = detour.way((source, *others, target), in_order=True, metric="energy", out=tmp_path / "out")
    assert known.way.stops == ("source", "at36", "at72", "at108", "at144", "target")
    assert known.travelled.reached > 0.9


def test_classes_that_the_source_lacks_are_not_judged(tmp_path):
    source, stop = clouds(tmp_path / "source.npz", 0, 1), clouds(tmp_path / "stop.npz", 10, 2)
    draw = np.random.default_rng(0)
    arrays = np.load(clouds(tmp_path / "part.npz", 20, 3))
    np.savez(
        tmp_path / "target.npz",
        x=np.concatenate([arrays["x"], draw.normal(0, 0.3, (40, 2)).astype(np.float32)]),
        y=np.concatenate([arrays["y"], np.repeat("beyond", 40)]),
    )
    found = detour.way((source, stop, str(tmp_path / "target.npz")), out=tmp_path / "out")
    assert found.notes == ("20 held-out target examples of classes that the source lacks are not judged.",)
    assert "of 75 held-out target examples" in found.travelled.sentence or "n = 75" in found.travelled.sentence


def test_pictures_go_by_the_features_of_an_encoder(tmp_path):
    digits = load_digits()
    rows = np.flatnonzero(digits.target < 3)
    places = []
    for number, noise in enumerate((0, 60, 120)):
        chosen = rows[number * 90 : number * 90 + 90]
        draw = np.random.default_rng(number)
        images = digits.images[chosen] * (255 / 16) + draw.normal(0, 1, (90, 8, 8)) * noise
        np.savez(tmp_path / f"noise{noise}.npz", x=images.clip(0, 255).astype(np.uint8), y=digits.target[chosen])
        places.append(str(tmp_path / f"noise{noise}.npz"))
    found = detour.way(places, encoder="builtin:glyphs", metric="energy", out=tmp_path / "out")
    assert found.costs[0][1] < found.costs[0][2]
    assert found.encoder == "builtin:glyphs"
    assert found.way.by_others
    assert found.travelled.reached > 0.4


def mistakes(place):
    good, stop, target = (clouds(place / f"{name}.npz", 0, seed) for seed, name in enumerate(("s", "m", "t")))
    amounts = place / "amounts.csv"
    amounts.write_text("a,b,price\n" + "".join(f"{n % 9},{n * n % 11},{n * 1.37:.2f}\n" for n in range(40)))
    names = place / "names.csv"
    names.write_text("a,b,kind\n" + "".join(f"{n % 9},{n * n % 11},{'xy'[n % 2]}\n" for n in range(40)))
    strange = clouds(place / "strange.npz", 0, 7, names=("a", "b"))
    half = clouds(place / "half.npz", 0, 8, names=(ONE, "other"))
    return [
        ((good, target), {}, SpecError, r"from a source to a target by others, got 2 data sets; type --via A,B,C"),
        ((good, stop, target), {"metric": "otdd"}, SpecError, r"and OTDD needs labels|and otdd needs labels"),
        (
            (good, stop, target),
            {"metric": "mmd + energy"},
            SpecError,
            r"a hop has one cost, got 2 distances in 'mmd \+ e",
        ),
        ((good, stop, target), {"metric": "a_distanc"}, SpecError, r"Did you mean 'a_distance'\?"),
        (
            (str(names), str(names), str(amounts)),
            {},
            DataError,
            r"judged by classes, and amounts has labels for regress",
        ),
        ((strange, stop, target), {}, DataError, r"the source has none of the target's classes: it has a, b; rename"),
        ((half, stop, target), {}, DataError, r"half and t share the class here only, and two are needed"),
        ((good, good, target), {}, DataError, r"needs a name of its own, got s twice; rename one folder"),
        (
            (good, str(names), target),
            {},
            DataError,
            r"only data of one kind can be compared, and .* vector .* row items",
        ),
    ]


def test_mistakes_are_one_sentence_and_leave_nothing_behind(tmp_path):
    for stops, more, kind, sentence in mistakes(tmp_path):
        with pytest.raises(kind, match=sentence):
            detour.way(stops, out=tmp_path / "out", **more)
        assert not (tmp_path / "out").exists()


def test_nothing_is_left_half_written(chain, tmp_path, monkeypatch):
    def torn(place, content):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write_bytes", torn)
    source, others, target = chain
    with pytest.raises(KeyboardInterrupt):
        detour.way((source, *others[:1], target), metric="energy", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_prints_costs_way_and_sentence(chain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, others, target = chain
    done = CliRunner().invoke(cli.app, ["route", source, target, "--via", ",".join(others), "--metric", "energy"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "runs" / "source_to_target" / "route.json").is_file()
    lines = done.output.splitlines()
    start = next(place for place, line in enumerate(lines) if line.split()[-2:] == ["examples", "labels"])
    assert lines[start].split() == ["source", "at45", "at22", "at68", "target", "examples", "labels"]
    assert lines[start + 1].split()[0] == "source"
    assert lines[start + 1].endswith("150       known")
    assert lines[start + 5].endswith("150       not used")
    assert "Way: source -> at22 -> at45 -> at68 -> target, hops " in done.output
    assert "Going by at22, at45, at68 helps: " in done.output
    ordered = CliRunner().invoke(cli.app, ["route", source, target, "--via", ",".join(others), "--in-order"])
    assert "Way: source -> at45 -> at22 -> at68 -> target" in ordered.output


def test_costs_are_said_with_their_meaning(chain, tmp_path):
    told = []
    source, others, target = chain
    detour.way((source, others[0], target), columns=Columns(), out=tmp_path, watch=Watch(say=told.append))
    assert "Costs are energy on 150 examples of each (in units of the features" in "\n".join(told)
