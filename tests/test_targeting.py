"""A labelled source and a target without labels as one data set: what is learnt from, held out and said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sterna
from sterna import intake, opening, splitting, targeting
from sterna.errors import DataError, SpecError
from sterna.intake import Sides
from sterna.records import Columns, Loaded
from sterna.settings import Settings
from sterna.watching import Watch


def table(place: Path, count: int, seed: int, classes: str = "ab", move: float = 0.0) -> Path:
    """Rows of two numbers and a class."""
    draw = np.random.default_rng(seed)
    lines = ["x,y,label"]
    for number in range(count):
        kind = number % len(classes)
        x, y = draw.normal(3 * kind, 1), draw.normal(move, 1)
        lines.append(f"{x:.4f},{y:.4f},{classes[kind]}")
    place.write_text("\n".join(lines) + "\n")
    return place


def read(place: Path) -> Loaded:
    return opening.open_data(str(place))


def of_both(tmp_path: Path) -> tuple[Loaded, Loaded]:
    return read(table(tmp_path / "s.csv", 20, 0)), read(table(tmp_path / "t.csv", 12, 1))


def test_the_target_is_held_out_whole(tmp_path: Path) -> None:
    source, target = of_both(tmp_path)
    found = targeting.joined(source, target)
    split = splitting.split(found, seed=0)
    rows = [found.table.items.digest(int(row)) for row in found.table.rows]
    theirs = {target.table.items.digest(int(row)) for row in target.table.rows}
    assert {rows[place] for place in split.test} == theirs
    assert not theirs & {rows[place] for place in (*split.train, *split.validation)}
    assert len(split.train) + len(split.validation) == 20
    assert found.unlabelled is not None
    assert len(found.unlabelled) == 12
    assert not len(found.unlabelled.labels)


def test_copies_of_target_examples_are_no_source(tmp_path: Path) -> None:
    _, target = of_both(tmp_path)
    lines = (tmp_path / "s.csv").read_text() + (tmp_path / "t.csv").read_text().split("\n")[1] + "\n"
    (tmp_path / "s.csv").write_text(lines)
    found = targeting.joined(read(tmp_path / "s.csv"), target)
    assert (found.parts == "").sum() == 20
    assert any("1 source examples that are copies" in one.sentence for one in found.findings)


def test_classes_go_by_name_and_unknown_ones_are_adapted_to_and_not_measured(tmp_path: Path) -> None:
    source = read(table(tmp_path / "s.csv", 20, 0))
    target = read(table(tmp_path / "t.csv", 12, 1, "cbA"))
    found = targeting.joined(source, target)
    held = found.table.take(np.flatnonzero(found.parts == "test"))
    assert len(held) == 8
    assert found.unlabelled is not None
    assert len(found.unlabelled) == 12
    labelled = zip(target.table.rows, target.table.labels, strict=True)
    truth = {target.table.items.digest(int(row)): label for row, label in labelled}
    for row, label in zip(held.rows, held.labels, strict=True):
        name = target.table.classes[truth[held.items.digest(int(row))]]
        assert found.table.classes[label] == name.casefold()


def hospitals(place: Path) -> Path:
    """Rows of three domains; of "small" a single class, of "few" two of each."""
    lines = ["x,y,label,hospital"]
    for number, (domain, kind) in enumerate(
        [(("a", "b", "small", "few")[n % 4], "ac"[n % 8 < 4]) for n in range(80) if n % 4 < 2 or n < 16]
    ):
        lines.append(f"{number},{number % 7},{'a' if domain == 'small' else kind},{domain}")
    place.write_text("\n".join(lines) + "\n")
    return place


@pytest.mark.parametrize(
    ("target", "domain", "sentence"),
    [
        ("", "smal", "has no domain 'smal'. Did you mean 'small'\\? Its domains are a, b, few, small.$"),
        ("smal", "", "has no domain 'smal'. Did you mean 'small'\\?"),
        ("gone.csv", "", "there is no file or folder gone.csv"),
        ("", "small", "the domain small has no example of class 'c', and two are needed, .* --target 'small' in place"),
    ],
)
def test_a_target_that_is_named_wrongly(target: str, domain: str, sentence: str, tmp_path: Path) -> None:
    place, columns = hospitals(tmp_path / "h.csv"), Columns(label=("label",), domain="hospital")
    settings = Settings(domain=domain)  # type: ignore[call-arg]
    with pytest.raises(DataError, match=sentence):
        intake.opened(Sides(str(place), target=target), columns, settings, Watch())


def test_a_domain_without_the_column_of_domains(tmp_path: Path) -> None:
    place = hospitals(tmp_path / "h.csv")
    sentence = "there is no file or folder b0; .* For a domain of the data, name its column by --domain.$"
    with pytest.raises(DataError, match=sentence):
        intake.opened(Sides(str(place), target="b0"), Columns(label=("label",)), Settings(), Watch())


def test_too_few_examples_to_choose_by_are_refused(tmp_path: Path) -> None:
    """Two of a class are one to learn from and one to test on."""
    place, columns = hospitals(tmp_path / "h.csv"), Columns(label=("label",), domain="hospital")
    with pytest.raises(DataError, match="4 examples leave none to choose by, beside 2 to learn from and 2 to test on"):
        sterna.fit(place, columns=columns, settings="domain=few, page=false", out=tmp_path / "run")


def test_a_target_without_labels_has_fillers_that_are_marked(tmp_path: Path) -> None:
    source, target = of_both(tmp_path)
    found = targeting.joined(source, targeting.plain(target.table.items, "t"))
    assert found.blind
    assert not found.table.labels[found.parts == "test"].any()
    assert (found.parts == "test").sum() == 12


def test_some_known_labels_are_learnt_from_and_not_measured(tmp_path: Path) -> None:
    source, target = of_both(tmp_path)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join([lines[0], *lines[1:5], "9.5,9.5,b"]) + "\n")
    few = read(tmp_path / "few.csv")
    found = targeting.joined(source, target, few)
    assert (found.parts == "test").sum() == 8
    learnt = found.table.take(np.flatnonzero(found.parts != "test"))
    assert len(learnt) == 25
    split = targeting.settled(splitting.split(found, seed=0), found)
    assert set(np.flatnonzero(found.parts == "train")) <= set(split.train)  # no label of the target chooses an epoch
    assert len(split.train) + len(split.validation) == 25
    assert len(split.validation) >= 3
    assert found.unlabelled is not None
    known = np.isin(learnt.rows, found.unlabelled.rows)
    assert known.sum() == 4  # the fifth is no copy of a target example, and is labelled all the same
    kinds = [line.split(",")[2] for line in lines[1:5]]
    assert [found.table.classes[label] for label in learnt.labels[known]] == kinds


def test_domains_of_one_table_are_source_and_target(tmp_path: Path) -> None:
    place = table(tmp_path / "s.csv", 24, 0)
    lines = place.read_text().splitlines()
    lines = [f"{lines[0]},site", *(f"{line},{'pq'[number // 12]}" for number, line in enumerate(lines[1:]))]
    place.write_text("\n".join(lines) + "\n")
    found, related = intake.opened(Sides(str(place), target="q"), Columns(domain="site"), Settings(), Watch())
    assert related is None
    assert list(found.domains) == ["p"] * 12 + ["q"] * 12
    assert list(found.parts) == [""] * 12 + ["test"] * 12


def test_a_folder_of_loose_files_or_of_other_classes_counts_as_unlabelled(tmp_path: Path) -> None:
    source = table(tmp_path / "s.csv", 20, 0)
    (tmp_path / "u.csv").write_text("x,y\n" + "".join(f"{number}.5,1.5\n" for number in range(8)))
    found, _ = intake.opened(Sides(str(source), target=str(tmp_path / "u.csv")), Columns(), Settings(), Watch())
    assert found.blind
    said: list[str] = []
    other = table(tmp_path / "o.csv", 9, 2, "xyz")
    found, _ = intake.opened(Sides(str(source), target=str(other)), Columns(), Settings(), Watch(said.append))
    assert found.blind
    assert any("none of the source's" in sentence for sentence in said)


def test_what_does_not_go_together_is_said(tmp_path: Path) -> None:
    source, target = of_both(tmp_path)
    tagged = replace(source, table=replace(source.table, task="multilabel"))
    with pytest.raises(DataError, match="adaptation is for the tasks classify and regress"):
        targeting.joined(tagged, target)
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "v.npz", X=draw.normal(size=(20, 3)), y=np.arange(20) % 2)
    vectors = opening.open_data(str(tmp_path / "v.npz"))
    with pytest.raises(DataError, match="must hold the same items, got row and vector"):
        targeting.joined(source, targeting.plain(vectors.table.items, "v"))
    place = str(tmp_path / "s.csv")
    with pytest.raises(SpecError, match="leave --source, --target-domain and --unlabelled out"):
        intake.opened(Sides(place, source=place, target=place), Columns(), Settings(), Watch())
    with pytest.raises(SpecError, match="got no target"):
        intake.opened(Sides(place, labels=place), Columns(), Settings(), Watch())


def test_several_sources_are_domains_of_one(tmp_path: Path) -> None:
    first, target = of_both(tmp_path)
    second = read(table(tmp_path / "u.csv", 9, 4, "xBa"))
    both = targeting.stacked([first, second])
    assert len(both.table) == 20 + 6  # without the class that the first lacks
    assert [both.table.classes[label] for label in both.table.labels[20:]] == ["b", "a"] * 3
    found = targeting.joined(both, target)
    owners = targeting.owners(found)
    assert np.bincount(owners[owners >= 0]).tolist() == [20, 6]
    assert (owners[found.table.rows[found.parts == "test"]] == -1).all()
    names = [found.table.items.name(int(row)) for row in found.table.rows]
    assert len(names) == 26 + 12
    assert len(set(found.groups.tolist())) == 38
