"""What a run decides while it trains: which stages move, at what rate, and in how many pieces a batch is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import torch
from networks import ArrayFeed, convolutional
from PIL import Image
from test_train import CLASSES, TASK, Frozen, examples, same
from torch import nn

import sterna
from sterna import descent, desk, feeds, folder, passes, pieces, ranging, relative, train
from sterna.errors import TrainingError
from sterna.maths import gradients, range_test
from sterna.network import Network, copied_state
from sterna.recipe import Parts, Recipe, Trained
from sterna.records import Batch, Phase, Setting, Step
from sterna.settings import Settings
from sterna.store import Store
from sterna.wording import schedule

QUICK = "epochs=6, batch=8, patience=9"


class Anew:
    """What lies under a cut, run anew whenever it is read: no store at all."""

    def __init__(self, feed: ArrayFeed, network: Network, cut: int) -> None:
        self.feed, self.below = feed, network.prefix(cut)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.feed, name)

    def __len__(self) -> int:
        return len(self.feed)

    def inputs(self, order: np.ndarray, size: int, epoch: int) -> Any:
        return map(self.run, self.feed.inputs(order, size, epoch))

    def batches(self, order: np.ndarray, size: int, epoch: int, mixed: bool = True) -> Any:
        for batch in self.feed.batches(order, size, epoch, mixed):
            yield Batch(self.run(batch.inputs), batch.labels, batch.weights, places=batch.places)

    @torch.no_grad()
    def run(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.below.eval()(inputs)


def fitted(
    tune: str | tuple[Phase, ...],
    *,
    written: str = QUICK,
    optimizer: str = "adamw(rate=0.003)",
    loss: str = "cross_entropy",
    place: Path | None = None,
    report: Callable[[Any], None] = lambda progress: None,
    below: Callable[[ArrayFeed, Network, int], Any] = lambda feed, network, cut: Frozen(feed, network, cut).feed,
    settled: tuple[tuple[float, ...], ...] = (),
) -> tuple[Network, Trained]:
    network = convolutional()
    phases = tune
    if isinstance(tune, str):
        (policy,) = folder.resolve("tune", tune)
        phases = policy.plan([sum(w.numel() for w in stage.parameters()) for stage in network.stages.values()])
    parts = examples(48), examples(24, seed=1)
    losses, (chosen,) = folder.resolve("losses", loss), folder.resolve("optimizers", optimizer)
    recipe = Recipe(phases, losses, chosen, schedule(written), 0, TASK, fingerprint="one", settled=settled)
    found = train.train(
        network,
        recipe,
        lambda phase: Parts(*(below(feed, network, phase.cut) for feed in parts)),
        Setting(network, np.bincount(parts[0].labels), CLASSES),
        place=place,
        report=report,
    )
    return network, found


def moved(network: Network) -> set[str]:
    """The stages of which a weight is not as it was at the start."""
    start = convolutional().state_dict()
    return {
        name.split(".")[1]
        for name, value in network.state_dict().items()
        if name.startswith("stages") and not torch.equal(value, start[name])
    }


def test_shares_and_changes_by_hand() -> None:
    assert gradients.shares([0.2, 0.8, 0.0]) == [0.25, 1.0, 0.0]
    assert gradients.shares([0.0, 0.0]) == [1.0, 1.0]
    assert gradients.smoothed([], [1.0, 0.5], 0.9) == [1.0, 0.5]
    assert gradients.smoothed([1.0, 0.5], [0.0, 1.0], 0.9) == pytest.approx([0.9, 0.55])
    assert gradients.changes([4.0, 2.0, 0.0, 0.0], [3.0, 3.0, 0.0, 1.0]) == [0.25, 0.5, 0.0, float("inf")]


@pytest.mark.parametrize(
    ("found", "weighs", "cut", "percentile", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], "1111", 0, 50, 2),  # the median is 0.25
        ([0.3, 0.1, 0.2, 0.4], "1111", 0, 50, 0),  # the lowest goes on, so nothing above it may freeze
        ([0.1, 0.4, 0.2, 0.3], "1111", 0, 50, 1),
        ([9.0, 0.1, 0.2, 0.3], "1111", 1, 50, 2),  # what is frozen has no part in the median
        ([0.1, 0.0, 0.2, 0.3], "1011", 0, 50, 2),  # 0.1 is below 0.2; the stage without weights follows
        ([0.1, 0.2, 0.3, 0.0], "1110", 0, 100, 2),  # the largest is not below itself: one always moves
        ([0.2, 0.2, 0.2], "111", 0, 50, 0),
        ([0.1, 0.2, 0.3, 0.4], "1111", 0, 20, 1),  # the 20th percentile is 0.16
        ([0.1, 0.2, float("inf")], "111", 0, 50, 1),
        ([0.1, 0.2], "11", 2, 50, 2),
    ],
)
def test_a_stage_freezes_when_it_changes_less_than_the_median_and_those_below_are_frozen(
    found: list[float], weighs: str, cut: int, percentile: float, expected: int
) -> None:
    assert gradients.settled(found, [one == "1" for one in weighs], cut, percentile) == expected


def linear() -> Network:
    """Two stages of one weight each, 2 and 4, and a head of 1."""
    stages = {"low": nn.Linear(1, 1, bias=False), "high": nn.Linear(1, 1, bias=False)}
    network = Network(stages, nn.Linear(1, 1, bias=False))
    for part, value in zip((*stages.values(), network.head), (2.0, 4.0, 1.0), strict=True):
        nn.init.constant_(part.weight, value)
    return network


def test_relative_norms_and_sums_by_hand() -> None:
    network = linear()
    sums = relative.Sums(network)
    for value in (3.0, -1.0):  # d(2 * 4 * 1 * x)/dw is 4 x and 2 x
        network.zero_grad()
        network(torch.tensor([[value]])).logits.sum().backward()
        sums.add()
        assert relative.norms(network) == pytest.approx([4 * abs(value) / 2, 2 * abs(value) / 4])
    assert sums.taken() == pytest.approx([4 * (3 - 1), 2 * (3 - 1)])  # they cancel, where norms would add up
    assert sums.taken() == [0.0, 0.0]
    network.stages["low"].requires_grad_(False)
    assert relative.norms(network)[0] == 0.0


def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[float, ...], passes.Course]]:
    """The rates of each epoch, as they are handed to it."""
    seen: list[tuple[tuple[float, ...], passes.Course]] = []
    real = passes.epoch

    def epoch(run: Any, course: passes.Course, order: np.ndarray, rates: Any) -> float:
        seen.append((tuple(rates), course))
        return real(run, course, order, rates)

    monkeypatch.setattr(passes, "epoch", epoch)
    return seen


def test_surgical_rates_are_shares_of_the_largest_relative_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch)
    network, found = fitted("surgical(memory=0.5, warm_head=false, batches=2)", written="epochs=3, batch=8")
    told = [entry["shares"] for entry in found.history]
    for (rates, course), shares in zip(seen, told, strict=True):
        assert max(shares) == 1.0
        owner = {id(w): place for place, stage in enumerate(network.stages.values()) for w in stage.parameters()}
        expected = [
            base * (shares[owner[id(group["params"][0])]] if id(group["params"][0]) in owner else 1.0)
            for base, group in zip(course.rates, course.optimizer.param_groups, strict=True)
        ]
        assert rates == pytest.approx(expected, abs=1e-6)
    assert seen[0][1].optimizer is seen[-1][1].optimizer  # its moments are never lost
    assert 0 < min(one for one in told[-1][:3]) < 1
    assert told[0] != told[-1]
    assert found.notes[-1].startswith("surgical: rates of the stages by relative gradient norm, the largest 1: stage0 ")
    assert "pool" not in found.notes[-1]


def test_the_first_measure_is_the_mean_over_batches_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one batch that is the whole training part, without dropout, it is |g| / |w| of the start."""
    monkeypatch.setattr("networks.Flat.forward", lambda self, inputs: inputs.mean(dim=(2, 3)))
    _, found = fitted("surgical(warm_head=false)", written="epochs=1, batch=48")
    network, feed = convolutional(), examples(48)
    network.move_from(0)
    network.eval()
    nn.functional.cross_entropy(network(feed.pictures).logits, torch.from_numpy(feed.labels)).backward()
    ratios = [
        torch.cat([w.grad.flatten() for w in stage.parameters()]).norm()
        / torch.cat([w.detach().flatten() for w in stage.parameters()]).norm()
        for stage in list(network.stages.values())[:3]
    ]
    expected = [float(one / max(ratios)) for one in ratios]
    assert found.history[0]["shares"][:3] == pytest.approx(expected, abs=1e-4)


def test_surgical_on_one_stage_moves_no_other() -> None:
    network, found = fitted("surgical(single=true, warm_head=false)", written="epochs=2, batch=8")
    (chosen,) = {tuple(entry["shares"]) for entry in found.history if "shares" in entry}
    assert sorted(chosen) == [0.0, 0.0, 0.0, 1.0]
    assert moved(network) == {f"stage{chosen.index(1.0)}"}


def test_measuring_changes_no_bit() -> None:
    """With a memory that ignores the measures but the first, a run equals one with these rates set by hand."""
    phase = Phase("all", 0, batch_norm=True, relative=2, memory=0.0)
    kept = []
    for measure in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not measure:
                patch.setattr("sterna.adaptive._measured", lambda run, course: [1.0, 1.0, 1.0, 1.0])
            else:
                real = train.adaptive._measured
                patch.setattr(
                    "sterna.adaptive._measured", lambda run, course, real=real: [1.0] * len(real(run, course))
                )
            kept.append(fitted((phase,), written="epochs=2, batch=16")[0])
    assert same(*kept)


def cuts(found: Trained) -> list[int]:
    return [entry["frozen"] for entry in found.history if "frozen" in entry]


EARLY = "early_freezing(percentile=90)"  # so that a network of three stages freezes within six epochs


def test_stages_freeze_from_below_and_then_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, states = watched(monkeypatch), []

    def keep(progress: Any) -> None:
        states.append(copied_state(network[0]))

    network: list[Network] = []
    monkeypatch.setattr(train, "Run", lambda *args, **more: network.append(args[0]) or Run(*args, **more))
    _, found = fitted(EARLY, report=keep)
    places = cuts(found)
    assert places == sorted(places)
    assert places[:2] == [0, 0]  # two epochs are needed to see a change
    assert 0 < places[-1] < 3  # the last stage with weights, and the head, go on
    first = places.index(places[-1]) + 1  # with the head's own phase before it
    frozen = [name for name in states[-1] if name.startswith("stages.stage0")]
    assert all(torch.equal(states[first - 1][name], states[-1][name]) for name in frozen)
    assert not torch.equal(states[1]["stages.stage0.0.weight"], states[-1]["stages.stage0.0.weight"])
    assert seen[-1][1].cut == places[-1]
    assert len(seen[-1][1].optimizer.param_groups) < len(seen[0][1].optimizer.param_groups)
    assert f"freezing: of 4 stages stood still, from below, {places[-1]} from epoch" in found.notes[-1]


Run = train.Run


def test_nothing_freezes_in_two_epochs() -> None:
    _, found = fitted(EARLY, written="epochs=2, batch=8")
    assert cuts(found) == [0, 0]
    assert found.notes == ("freezing: of 4 stages none stood still within 2 epochs.",)


@pytest.mark.parametrize(
    ("tune", "written"),
    [(EARLY, QUICK + ", average=0.9"), ("early_freezing(percentile=90, batch_norm=true, warm_head=false)", QUICK)],
)
def test_stored_outputs_of_frozen_stages_give_the_weights_that_running_them_anew_gives(tune: str, written: str) -> None:
    stored, one = fitted(tune, written=written)
    anew, other = fitted(tune, written=written, below=Anew)
    assert cuts(one) == cuts(other)
    assert cuts(one)[-1] > 0
    for name, value in stored.state_dict().items():
        assert torch.allclose(value, anew.state_dict()[name], atol=1e-6), name
    assert one.choices == other.choices


@pytest.mark.parametrize(
    ("tune", "written", "stops"),
    [
        ("surgical(memory=0.5, batches=2)", "epochs=3, batch=16", (2,)),
        (EARLY, QUICK, (2, 5)),
        (EARLY, QUICK + ", average=0.9", (6,)),
        ("full", "epochs=2, batch=16, find_rate=true", (1, 2)),
    ],
)
def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tune: str, written: str, stops: tuple[int, ...]
) -> None:
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    straight, one = fitted(tune, written=written)
    place = tmp_path / "checkpoint.pt"
    for stop in stops:
        told: list[Any] = []

        def interrupting(progress: Any, told: list[Any] = told, stop: int = stop) -> None:
            told.append(progress)
            if progress.epoch == stop and progress.phase != "head":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fitted(tune, written=written, place=place, report=interrupting)
    resumed, again = fitted(tune, written=written, place=place)
    assert same(straight, resumed)
    assert (again.history, again.notes, again.choices) == (one.history, one.notes, one.choices)


@pytest.mark.parametrize("tune", ["surgical", EARLY])
def test_a_settled_run_repeats_what_was_chosen(tune: str) -> None:
    judged, found = fitted(tune, written="epochs=6, patience=2, batch=8", optimizer="adamw(rate=0.1)")
    settled, again = fitted(tune, written="epochs=6, batch=8", optimizer="adamw(rate=0.1)", settled=found.choices)
    assert again.notes == ()
    if found.choices[-1] == (float(len([one for one in found.history if one["phase"] != "head"])),):
        assert same(judged, settled)
    assert again.choices == found.choices


# -- the learning rate -------------------------------------------------------------------------------------------------


def quadratic(curvature: float, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Losses h x^2 / 2 of gradient descent from x = 1 whose rates rise; the stable rates are below 2 / h."""
    rates, x = range_test.rising(60), 1.0
    drawn = np.random.default_rng(seed).normal(0, 1, 60)
    losses: list[float] = []
    for rate, one in zip(rates, drawn, strict=True):
        losses.append((0.5 * curvature * x**2 + 0.1) * (1 + noise * one))
        x -= rate * curvature * x
        if range_test.exploded(losses):
            break
    return rates[: len(losses)], np.array(losses)


@pytest.mark.parametrize("curvature", [3.0, 30.0, 300.0, 3000.0])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_rate_found_on_a_quadratic_is_stable_and_not_timid(curvature: float, noise: float) -> None:
    for seed in range(5):
        found = range_test.suggested(*quadratic(curvature, noise, seed))
        assert found is not None
        assert 0.02 / curvature < found < 2 / curvature


def test_a_spike_changes_nothing_and_ends_nothing() -> None:
    rates, losses = quadratic(30.0)
    before = range_test.suggested(rates, losses)
    for place in (3, 20, 30):
        spiked = losses.copy()
        spiked[place] *= 100
        assert range_test.suggested(rates, spiked) == pytest.approx(before, rel=0.5)
        assert not range_test.exploded(spiked[: place + 1].tolist())
    assert not range_test.exploded([])
    assert range_test.exploded([1.0, float("nan")])
    assert range_test.exploded([1.0] * 8 + [50.0] * 3)
    assert len(quadratic(3000.0)[0]) < 60  # it ended when the loss exploded


def test_a_rate_is_at_most_a_third_of_the_one_at_the_least_loss() -> None:
    rates = range_test.rising(60)
    losses = np.where(np.arange(60) < 40, 2.0, 1.0)  # a cliff, and then level
    found = range_test.suggested(rates, losses)
    assert found is not None
    assert found <= rates[range_test.smoothed(losses).argmin()] / 3


def test_nothing_is_read_from_noise() -> None:
    rates = range_test.rising(60)
    silent = [
        range_test.suggested(rates, 1 + 0.1 * np.random.default_rng(seed).normal(size=60)) is None
        for seed in range(100)
    ]
    assert np.mean(silent) > 0.9
    assert range_test.suggested(rates, np.ones(60)) is None
    assert range_test.suggested(rates[:3], np.array([3.0, 2.0, 1.0])) is None


def test_smoothing_keeps_a_level_and_does_not_lag() -> None:
    assert range_test.smoothed(np.full(20, 3.0)) == pytest.approx(np.full(20, 3.0))
    valley = (np.arange(61) - 30.0) ** 2
    assert abs(int(range_test.smoothed(valley).argmin()) - 30) <= 1


@pytest.mark.parametrize(
    ("tune", "loss"), [("full(batch_norm=true)", "cross_entropy + l2sp"), ("surgical(batches=1)", "cross_entropy")]
)
def test_a_range_test_that_gives_the_own_rate_leaves_every_bit(
    monkeypatch: pytest.MonkeyPatch, tune: str, loss: str
) -> None:
    """Its steps end in rates of 1; weights, statistics, terms, moments and random numbers are as before."""
    short = "epochs=1, batch=8"
    plain, one = fitted(tune, loss=loss, written=short)
    before = torch.random.get_rng_state()
    tried: list[np.ndarray] = []

    def suggested(rates: np.ndarray, losses: np.ndarray) -> float:
        tried.append(losses)
        return 0.003

    monkeypatch.setattr(range_test, "suggested", suggested)
    tested, other = fitted(tune, loss=loss, written=short + ", find_rate=true")
    assert len(tried) == 1
    assert len(set(tried[0].tolist())) > 30  # it had moved
    assert same(plain, tested)
    assert other.history == one.history
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_found_rate_is_used_and_said() -> None:
    network, found = fitted("full", optimizer="adamw(rate=1e-8)", written=QUICK + ", find_rate=true")
    (note,) = found.notes
    rate = float(note.split("learning rate ")[1].split(",")[0])
    assert note == f"all: learning rate {rate:.2g}, found by a range test of 60 batches." or "batches." in note
    assert 1e-4 < rate < 0.3
    assert moved(network) == {"stage0", "stage1", "stage2"}
    assert max(entry["accuracy"] for entry in found.history) > 0.9


def test_a_rate_stays_where_the_loss_cannot_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_test, "suggested", lambda rates, losses: None)
    plain, _ = fitted("full", written="epochs=1, batch=16")
    network, found = fitted("full", written="epochs=1, batch=16, find_rate=true")
    assert same(plain, network)
    assert "learning rate 0.003 as given, since the loss did not fall" in found.notes[0]
    assert ranging.BATCHES == 60


# -- memory ------------------------------------------------------------------------------------------------------------


class Tight:
    """Cross-entropy that runs out of memory above a number of examples, as torch says so."""

    regularises, needs = False, ""

    def __init__(self, most: int, error: Exception) -> None:
        self.most, self.error, self.failed = most, error, 0

    def build(self, setting: Setting) -> Callable[[Step], torch.Tensor]:
        def term(step: Step) -> torch.Tensor:
            if len(step.labelled.batch.labels) > self.most:
                self.failed += 1
                raise self.error
            return whole(step)

        whole = folder.resolve("losses", "cross_entropy")[0].build(setting)
        return term


def tight(most: int, error: Exception, weights: np.ndarray | None = None) -> tuple[Network, Trained, Tight]:
    network, feed = convolutional(), examples(36)
    network.stages["pool"].dropout.p = 0.0
    if weights is not None:
        feed.weights = weights
    (chosen,) = folder.resolve("optimizers", "adamw(rate=0.003)")
    loss = Tight(most, error)
    recipe = Recipe((Phase("all", 0),), (loss,), chosen, schedule("epochs=3, batch=12"), 0, TASK)
    found = train.train(network, recipe, lambda phase: Parts(feed, feed), Setting(network, np.full(3, 12), CLASSES))
    return network, found, loss


CPU = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(("most", "error", "count"), [(6, CPU, 2), (5, CUDA, 4), (1, CUDA, 16)])
def test_a_step_in_pieces_is_the_step_on_the_whole(most: int, error: Exception, count: int) -> None:
    weights = np.linspace(0.5, 1.5, 36).astype(np.float32)
    whole, _, _ = tight(99, error, weights)
    halved, found, loss = tight(most, error, weights)
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, halved.state_dict()[name], atol=1e-4), name
    (note,) = found.notes
    assert f"a step on 12 examples takes them in {count} pieces" in note
    assert loss.failed == {2: 1, 4: 2, 16: 4}[count]  # found once, and kept


def test_an_example_that_does_not_fit_and_other_errors_are_said() -> None:
    with pytest.raises(TrainingError, match=r"single example does not fit into memory; move fewer stages"):
        tight(0, CUDA)
    with pytest.raises(RuntimeError, match="shapes do not agree"):
        tight(6, RuntimeError("shapes do not agree"))


@pytest.mark.parametrize("error", [CPU, CUDA])
def test_answers_and_features_need_no_more_memory_than_there_is(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, feed = convolutional(), examples(36)
    wanted = descent.answers(network, feed, 16, TASK, CLASSES), descent.features(network, feed, 16)
    forward, most, sizes = network.forward, 5, []

    def narrow(inputs: torch.Tensor) -> Any:
        sizes.append(len(inputs))
        if len(inputs) > most:
            raise error
        return forward(inputs)

    monkeypatch.setattr(network, "forward", narrow)
    np.testing.assert_allclose(descent.answers(network, feed, 16, TASK, CLASSES), wanted[0], atol=1e-6)
    assert sizes == [16, 8] + [4] * 9
    np.testing.assert_allclose(descent.features(network, feed, 16), wanted[1], atol=1e-5)
    most = 0
    network.train()
    with pytest.raises(TrainingError, match=r"a single example does not fit into memory; choose a smaller --encoder"):
        descent.answers(network, feed, 16, TASK, CLASSES)
    assert network.training  # what goes on with a smaller batch goes on as it was


def test_pieces_hold_every_example_once_and_small_batches_repeat() -> None:
    batch = Batch(torch.arange(7), torch.arange(7), torch.ones(7), places=torch.arange(7))
    parts = pieces.cut(batch, 3)
    assert torch.cat([part.places for part in parts if part.places is not None]).tolist() == list(range(7))
    assert sum(map(pieces.weight, parts)) == pieces.weight(batch) == 7
    assert [len(part.labels) for part in pieces.cut(batch, 8)] == [1] * 8
    words = Batch(
        torch.zeros(2, 3, 1), torch.zeros(2, 3), torch.tensor([1.0, 2.0]), torch.tensor([[1, 1, 0], [1, 0, 0]])
    )
    assert pieces.weight(words) == 4


# -- in a whole run ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, data = tmp_path_factory.mktemp("digits"), sklearn.datasets.load_digits()
    for number in range(60):
        path = place / str(data.target[number]) / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((data.images[number] * 15).astype(np.uint8)).convert("RGB").save(path)
    return place


def ran(digits: Path, out: Path, tune: str, written: str, augment: str = "none") -> sterna.Result:
    settings = Settings(floors="classical", page=False, refit=0, mitigate=False)
    store = Store(out / "store")
    return sterna.fit(
        digits,
        encoder="builtin:glyphs",
        out=out / "run",
        tune=tune,
        schedule=written,
        augment=augment,
        settings=settings,
        store=store,
    )


def two(found: Any, weighs: Any, cut: int, percentile: float) -> int:
    """A rule by which the two lowest stages freeze as soon as any may."""
    return 2


def test_adaptive_policies_on_real_digits(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Any] = []

    def kept(below: Any, stages: Any, size: int, limit: int) -> Any:
        held.append(feeds.kept(below, stages, size, limit))
        order = np.arange(len(below))[::-1][:5]
        (one,), (other,) = (feed.inputs(order, 5, 1) for feed in (held[-1], feeds.RunFeed(below, stages)))
        assert torch.allclose(one, other, atol=1e-5)
        return held[-1]

    monkeypatch.setattr(desk, "kept", kept)
    monkeypatch.setattr(gradients, "settled", two)
    written = "epochs=3, batch=4, find_rate=true"
    result = ran(digits, tmp_path, "surgical(batches=1), early_freezing", written)
    assert all(route.metrics["accuracy"].value > 0.5 for route in result.routes)
    said = " ".join(result.warnings)
    assert "by relative gradient norm" in said
    assert "learning rate" in said
    assert "stood still, from below, 2 from epoch 3." in said
    assert {type(one) for one in held} == {feeds.KeptFeed}


def test_items_that_differ_in_each_epoch_are_run_anew(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "settled", two)
    result = ran(digits, tmp_path, "early_freezing", "epochs=3, batch=32", "light")
    assert "inputs differ from epoch to epoch, so stages that freeze are run anew" in " ".join(result.warnings)


class Rows:
    """Packed sequences of unequal length in two views."""

    def __init__(self, views: int = 0) -> None:
        self.lengths, self.views, self.words = np.array([1, 3, 2]), views, None
        self.labels, self.weights = np.arange(3), np.ones(3, dtype=np.float32)

    def __len__(self) -> int:
        return 3

    def inputs(self, order: np.ndarray, size: int, epoch: int) -> Any:
        for start in range(0, 3, size):
            rows = [torch.ones(int(self.lengths[row]), 2) for row in order[start : start + size]]
            for row, place in zip(rows, order[start : start + size], strict=True):
                row[:, 0] = 10 * max(epoch, 0) + float(place)
            yield torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def test_kept_outputs_have_their_own_lengths_and_views() -> None:
    found = feeds.kept(Rows(), lambda inputs: 2 * inputs, 2, 10**6)
    assert found is not None
    (batch,) = found.batches(np.array([2, 0]), 2, 5)
    assert batch.inputs[..., 0].tolist() == [[4.0, 4.0], [0.0, 0.0]]
    assert batch.inputs[..., 1].tolist() == [[2.0, 2.0], [2.0, 0.0]]  # padding is as long as it must be, and zero
    assert batch.labels.tolist() == [2, 0]
    assert batch.places is not None
    assert batch.places.tolist() == [2, 0]
    seen = feeds.kept(Rows(views=2), lambda inputs: inputs, 2, 10**6)
    assert seen is not None
    values = [next(iter(seen.inputs(np.array([1]), 1, epoch)))[0, 0, 0].item() for epoch in (-1, 0, 1, 2, 3)]
    assert values == [1, 1, 11, 1, 11]


def test_outputs_that_are_too_large_are_not_kept() -> None:
    run: list[int] = []

    def stages(inputs: torch.Tensor) -> torch.Tensor:
        run.append(len(inputs))
        return inputs

    feed = examples(48)
    size = feed.pictures.numel() * 4
    assert feeds.kept(feed, stages, 8, size) is not None
    run.clear()
    assert feeds.kept(feed, stages, 8, size - 1) is None
    assert run == [8]  # the first batch tells
    assert feeds.kept(Rows(), lambda inputs: inputs, 2, 47) is None
