"""Where a teacher's stages are strong: maps by hand, which of them are compared, and from the store to a fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import convolutional
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import sterna
from sterna import folder, lessons, opening, teaching
from sterna.errors import EncoderError, SpecError, TrainingError
from sterna.losses.attention_transfer import Built, apart
from sterna.network import Network
from sterna.records import Batch, Output, Seen, Setting, Step, Taught
from sterna.settings import Settings
from sterna.store import Store

CHEAP: dict[str, Any] = {"floors": "classical", "mitigate": False, "page": False, "refit": 0, "shots": 8}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def step(network: Network, inputs: Tensor, weights: Tensor | None = None, places: Tensor | None = None) -> Step:
    """What the loop would give: the outputs of the stages that the term has asked for."""
    given, stages = inputs, {}
    for name, stage in network.stages.items():
        given = stage(given)
        if name in network.wanted:
            stages[name] = given
    count = len(inputs)
    places = torch.arange(count) if places is None else places
    batch = Batch(inputs, torch.zeros(count).long(), torch.ones(count) if weights is None else weights, places=places)
    return Step(Seen(batch, Output(given, network.head(given), stages)), network, 0.5)


def term(network: Network, maps: tuple[Tensor, ...], written: str = "attention_transfer", cut: int = 0) -> Built:
    (loss,) = folder.resolve("losses", written)
    inputs = drawn(2, 3, 8, 8)
    for stage in list(network.stages.values())[:cut]:
        inputs = stage(inputs)
    sample = [Batch(inputs, torch.zeros(2).long(), torch.ones(2), places=torch.arange(2))]
    taught = Taught(drawn(6, 4), None, None, maps=maps)
    setting = Setting(network, np.array([3, 3]), ("a", "b"), 6, cut=cut, teacher=taught, sample=lambda: iter(sample))
    made: Built = loss.build(setting)
    return made


# one pair of maps


def test_two_maps_by_hand() -> None:
    """(9, 0, 0, 16) / sqrt(337) against a half everywhere."""
    student = lessons.strength(torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]]))
    assert student.tolist() == [[[9, 0], [0, 16]]]
    wanted = (9 / 337**0.5 - 0.5) ** 2 + 0.25 + 0.25 + (16 / 337**0.5 - 0.5) ** 2
    assert apart(student, torch.full((1, 2, 2), 7.0)).item() == pytest.approx(wanted, rel=1e-6)


def test_only_the_proportions_between_places_count() -> None:
    value = drawn(4, 5, 6, 6)
    one = lessons.strength(value)
    assert apart(one, lessons.strength(torch.cat([3 * value, -3 * value], dim=1))).max() < 1e-10
    assert apart(one, lessons.strength(value.roll(1, dims=3))).min() > 0.05
    assert torch.allclose(lessons.strength(value.movedim(1, -1)), one)  # channels last


def test_the_larger_map_is_averaged_down_to_the_places_of_the_smaller() -> None:
    fine = drawn(3, 4, 6).square()
    blocks = fine.reshape(3, 2, 2, 3, 2).mean(dim=(2, 4))
    assert torch.allclose(apart(fine, torch.ones(3, 2, 3)), apart(blocks, torch.ones(3, 2, 3)))
    assert torch.allclose(apart(torch.ones(3, 2, 3), fine), apart(fine, torch.ones(3, 2, 3)))


def test_opposite_places_are_two_apart_and_a_dead_map_moves_nothing() -> None:
    one, other = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 5.0]]])
    assert apart(one, other).item() == pytest.approx(2)
    dead = torch.zeros(1, 1, 2, requires_grad=True)
    apart(dead, other).sum().backward()
    assert dead.grad is not None
    assert dead.grad.isfinite().all()


# which maps


def test_the_last_stage_of_each_size_counts_from_the_coarsest_on() -> None:
    shapes = {"a": (8, 32, 32), "b": (8, 16, 16), "c": (9, 16, 16), "d": (8, 8, 64), "e": (64, 4, 4), "f": (64,)}
    assert lessons.coarsest(shapes) == ["e", "d", "c"]  # d has its channels last
    assert lessons.coarsest(shapes, 1) == ["e"]
    assert lessons.coarsest({"a": (64, 1, 1), "b": (10, 16)}) == []


def test_a_map_of_the_student_meets_the_teachers_of_its_rank() -> None:
    stages = {"fine": nn.Conv2d(3, 4, 1), "coarse": nn.AvgPool2d(2), "flat": nn.Flatten()}
    network = Network(stages, nn.Linear(64, 2))
    maps = (drawn(6, 2, 2).square(), drawn(6, 4, 4).square(), drawn(6, 8, 8).square())
    made = term(network, maps)
    assert {name: tuple(one.shape) for name, one in made.taught.items()} == {"coarse": (6, 2, 2), "fine": (6, 4, 4)}
    assert set(made.taught) <= network.wanted
    assert list(term(network, maps, "attention_transfer(maps=1)").taught) == ["coarse"]


# the term


def test_the_term_is_the_weighted_mean_over_examples_and_pairs_by_place() -> None:
    network, maps = convolutional().eval(), (drawn(6, 8, 8).square(),)
    made, inputs = term(network, maps, "attention_transfer(weight=3)"), drawn(4, 3, 8, 8, seed=1)
    places, weights = torch.tensor([5, 0, 3, 1]), torch.tensor([1.0, 0.0, 2.0, 1.0])
    value = inputs
    for name in ("stage0", "stage1", "stage2"):
        value = network.stages[name](value)
    squares = value.square().sum(dim=1).flatten(1)
    total = 0.0
    for row, place in enumerate(places.tolist()):
        one, other = squares[row].detach().numpy(), maps[0][place].flatten().numpy()
        gap = one / np.linalg.norm(one) - other / np.linalg.norm(other)
        total += weights[row].item() * float(gap @ gap)
    assert made(step(network, inputs, weights, places)).item() == pytest.approx(3 * total / 4, rel=1e-5)


def test_a_student_learns_to_look_where_the_teacher_looks() -> None:
    teacher, student, inputs = convolutional(seed=1).eval(), convolutional(seed=2).eval(), drawn(6, 3, 8, 8)
    value = inputs
    with torch.no_grad():
        for name in ("stage0", "stage1", "stage2"):
            value = teacher.stages[name](value)
    made = term(student, (lessons.strength(value),))
    optimizer = torch.optim.Adam(student.stages.parameters(), lr=0.02)
    before = made(step(student, inputs)).item()
    for _ in range(150):
        optimizer.zero_grad()
        made(step(student, inputs)).backward()
        optimizer.step()
    assert made(step(student, inputs)).item() < 0.1 * before


def test_stages_below_the_cut_and_the_head_get_no_gradient() -> None:
    network = convolutional().eval()
    made = term(network, (drawn(6, 8, 8).square(),), cut=1)
    made(step(network, drawn(4, 3, 8, 8))).backward()
    assert network.head.weight.grad is None
    assert network.stages["stage2"][0].weight.grad is not None


def test_a_phase_that_moves_none_of_the_stages_has_a_term_of_0() -> None:
    network = convolutional().eval()
    made, given = term(network, (drawn(6, 8, 8).square(),)), step(network, drawn(4, 3, 8, 8))
    value = made(replace(given, cut=4))
    assert (value.item(), value.requires_grad) == (0, True)


def test_outputs_that_nobody_handed_out_are_made_again() -> None:
    network = convolutional().eval()
    made, given = term(network, (drawn(6, 8, 8).square(),)), step(network, drawn(4, 3, 8, 8))
    bare = replace(given, labelled=replace(given.labelled, output=replace(given.labelled.output, stages={})))
    assert torch.equal(made(bare), made(given))


def test_stages_without_maps_are_refused() -> None:
    network = Network({"flat": nn.Flatten()}, nn.Linear(192, 2))
    with pytest.raises(TrainingError, match=r"none of the stages that move gives any; .* feature_distill"):
        term(network, (drawn(6, 8, 8),))


# from the store to a fit


def digits(place: Path) -> Path:
    found = load_digits()
    np.savez(place / "digits.npz", images=found.images[:400], labels=found.target[:400])
    return place / "digits.npz"


def test_the_maps_of_a_teacher_are_those_of_its_own_stages(tmp_path: Path) -> None:
    table = opening.open_data(str(digits(tmp_path))).table
    encoder = opening.open_encoder("builtin:glyphs")
    found = teaching.strengths(encoder, table, table.rows, Store(tmp_path / "cache"))
    assert all(len(one) == len(table) for one in found)
    assert [one.shape[1] for one in found] == sorted({one.shape[1] for one in found})
    frames = torch.from_numpy(np.stack([encoder.preparation.frame(table.items.read(row, 0)) for row in range(5)]))
    value, maps = encoder.preparation.tensor(frames), {}
    with torch.no_grad():
        for stage in encoder.network.eval().stages.values():
            value = stage(value)
            if value.dim() == 4:
                maps[value.shape[2:]] = value.square().sum(dim=1)
    for one in found:
        wanted = maps[one.shape[1:]]
        cosines = functional.cosine_similarity(one[:5].flatten(1), wanted.flatten(1))
        assert cosines.min() > 0.999


def test_a_teacher_without_maps_is_refused(tmp_path: Path, text_encoder: Any) -> None:
    lines = ["text,label", *(f"words {n} of it,{'ab'[n % 2]}" for n in range(8))]
    (tmp_path / "texts.csv").write_text("\n".join(lines))
    table = opening.open_data(str(tmp_path / "texts.csv")).table
    with pytest.raises(EncoderError, match="give no maps of pictures"):
        teaching.strengths(text_encoder("bert"), table, table.rows, Store(tmp_path / "cache"))


def test_the_whole_way_the_same_twice(tmp_path: Path) -> None:
    data, answers = digits(tmp_path), []
    for out in ("one", "two"):
        found = sterna.fit(
            data,
            encoder="builtin:glyphs",
            teacher="builtin:glyphs",
            tune="full",
            loss="cross_entropy, cross_entropy + attention_transfer",
            schedule="epochs=2",
            out=tmp_path / out,
            settings=Settings(**CHEAP),
            store=Store(tmp_path / "cache"),
        )
        (folder_of,) = (tmp_path / out / "routes").glob("*attention_transfer*-0")
        answers.append(np.load(folder_of / "predictions.npz")["test"])
    assert np.array_equal(*answers)
    assert found.students is not None
    assert {one.role for one in found.students.learners} == {"teacher", "student", "alone"}
    (plain,) = (one for one in (tmp_path / "two" / "routes").glob("full*-0") if one.name != folder_of.name)
    assert not np.array_equal(np.load(plain / "predictions.npz")["test"], answers[0])


def test_without_a_teacher_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="learns from a teacher, got none; name a model folder or encoder with"):
        sterna.fit(digits(tmp_path), encoder="builtin:glyphs", tune="full", loss="cross_entropy + attention_transfer")
