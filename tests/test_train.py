"""The loop: it learns, stops, restores, freezes, goes on after an interruption, and gives the same bits twice."""

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from networks import ArrayFeed, convolutional
from torch import nn

from sterna import descent, folder, train
from sterna.errors import TrainingError
from sterna.network import copied_state
from sterna.recipe import Parts, Recipe
from sterna.records import Phase, Setting
from sterna.wording import schedule

CLASSES = ("a", "b", "c")
TASK = folder.load("tasks", "classify")()


def examples(count, seed=0, noise=0.5):
    """Pictures whose colour tells the class, under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    inputs = noise * torch.randn(count, 3, 8, 8, generator=generator)
    inputs[torch.arange(count), torch.from_numpy(labels)] += 1
    return ArrayFeed(inputs, labels)


class Frozen:
    """What lies under a cut, applied to a feed: the plainest store there is."""

    def __init__(self, feed, network, cut):
        with torch.no_grad():
            self.feed = ArrayFeed(network.eval().prefix(cut)(feed.pictures), feed.labels)


def trained(
    tune,
    *,
    seed=0,
    place=None,
    written="epochs=6, batch=8",
    loss="cross_entropy",
    optimizer="adamw(rate=0.003)",
    report=None,
    settled=(),
):
    network = convolutional()
    (policy,) = folder.resolve("tune", tune)
    phases = policy.plan([sum(w.numel() for w in stage.parameters()) for stage in network.stages.values()])
    training, validation = examples(48), examples(24, seed=1)
    losses, (chosen,) = folder.resolve("losses", loss), folder.resolve("optimizers", optimizer)
    recipe = Recipe(phases, losses, chosen, schedule(written), seed, TASK, fingerprint="one", settled=settled)
    counts = np.bincount(training.labels)
    found = train.train(
        network,
        recipe,
        lambda phase: Parts(*(Frozen(feed, network, phase.cut).feed for feed in (training, validation))),
        Setting(network, counts, CLASSES),
        place=place,
        report=report or (lambda progress: None),
    )
    held = examples(60, seed=2)
    figures = TASK.judge(descent.answers(network, held, 20, TASK, CLASSES), held.labels, CLASSES)
    return network, found, (figures["accuracy"], figures["loss"])


def run(tune, **options):
    """The network, its history and its figures."""
    network, found, figures = trained(tune, **options)
    return network, found.history, figures


def same(one, two):
    return all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("tune", ["probe", "partial(stages=1)", "gradual(phases=3)", "lp_ft", "full", "scratch"])
def test_every_policy_beats_chance_by_far(tune):
    _, history, (accuracy, _) = run(tune, written="epochs=15, batch=8")
    assert accuracy > 0.7
    assert all(np.isfinite(entry["objective"]) for entry in history)


@pytest.mark.parametrize("tune", ["probe", "partial(stages=1)", "gradual(phases=3)"])
def test_what_is_frozen_does_not_move_by_a_bit(tune):
    start = copied_state(convolutional())
    network, _, _ = run(tune if tune != "gradual(phases=3)" else "gradual(stages=[0, 1])")
    low = 3 if tune == "probe" else 2
    below = [name for name in start if name.startswith(tuple(f"stages.stage{place}." for place in range(low)))]
    assert below
    assert all(torch.equal(network.state_dict()[name], start[name]) for name in below)


def test_batch_norm_statistics_of_moving_stages_move_only_when_asked():
    start = copied_state(convolutional())
    for written, moves in (("full", False), ("full(batch_norm=true)", True)):
        state = run(written)[0].state_dict()
        changed = not torch.equal(state["stages.stage1.1.running_mean"], start["stages.stage1.1.running_mean"])
        assert changed is moves


def test_the_same_seed_gives_the_same_bits_whatever_the_global_state():
    torch.manual_seed(5)
    one, _, _ = run("full")
    torch.manual_seed(6)
    before = torch.random.get_rng_state()
    two, _, _ = run("full")
    assert same(one, two)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not same(one, run("full", seed=1)[0])


@functools.cache
def undisturbed(written):
    return run("gradual(stages=[0, 1, 3])", written=written)[:2]


@pytest.mark.parametrize("stop", [1, 2, 5])
@pytest.mark.parametrize("written", ["epochs=3, batch=8", "epochs=3, batch=8, average=0.9"])
def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path, monkeypatch, stop, written):
    monkeypatch.setattr(train, "SAVE_EVERY", 0.0)
    straight, history = undisturbed(written)
    told = []

    def interrupting(progress):
        told.append(progress)
        if len(told) == stop:
            raise KeyboardInterrupt

    place = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        run("gradual(stages=[0, 1, 3])", written=written, place=place, report=interrupting)
    resumed, again, _ = run("gradual(stages=[0, 1, 3])", written=written, place=place)
    assert same(straight, resumed)
    assert again == history


def test_a_checkpoint_of_another_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    place = tmp_path / "checkpoint.pt"
    run("probe", place=place)
    state = torch.load(place, weights_only=True)
    torch.save({**state, "fingerprint": "other"}, place)
    with pytest.raises(TrainingError, match="belongs to a run with other options"):
        run("probe", place=place)
    place.write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="cannot be read; remove it"):
        run("probe", place=place)


def test_divergence_is_said_with_what_to_type():
    with pytest.raises(TrainingError, match=r"--optimizer 'sgd\(rate=1e\+37\)'"):
        run("full", optimizer="sgd(rate=1e38)", written="epochs=3, batch=8, clip=0, warmup=0")


def test_a_phase_never_ends_worse_than_it_began():
    # A rate that destroys: the best weights are those of the start, the fitted head's.
    probed, _, before = run("probe")
    shaken, history, after = run(
        "partial(stages=1)", optimizer="adam(rate=0.2)", written="epochs=3, batch=8, clip=0, warmup=0"
    )
    worst = min(entry["accuracy"] for entry in history)
    assert worst < 0.9 * history[0]["accuracy"]
    assert after[0] == before[0]
    assert same(probed, shaken)


def test_early_stopping_waits_as_long_as_it_is_told():
    _, history, _ = run("full", optimizer="sgd(rate=1e-12)", written="epochs=50, patience=3, batch=8")
    assert len(history) == 3


def test_the_probe_is_the_optimum_of_its_convex_problem():
    # A tiny problem: the gradient of mean cross-entropy plus its own L2 term vanishes at the fitted head.
    network, _, (accuracy, _) = run("probe")
    assert accuracy > 0.9
    again, _, _ = run("probe", seed=7)
    assert same(network, again)  # no randomness at all


def test_weight_decay_is_off_where_l2sp_acts():
    seen = []

    class Spy:
        rate, weight_decay = 0.01, 0.5

        def build(self, groups):
            seen.extend(group["weight_decay"] for group in groups)
            return torch.optim.SGD(groups)

    for loss, expected in (("cross_entropy", {0.0, 0.5}), ("cross_entropy + l2sp", {0.0})):
        seen.clear()
        network, feed = convolutional(), examples(12)
        recipe = Recipe(
            (Phase("all", 0),), folder.resolve("losses", loss), Spy(), schedule("epochs=1, batch=4"), 0, TASK
        )
        train.train(network, recipe, lambda phase, feed=feed: Parts(feed, feed), Setting(network, np.ones(3), CLASSES))
        assert set(seen) == expected


def test_a_term_with_weights_of_its_own_is_trained_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.value = nn.Parameter(torch.tensor(3.0))

        def forward(self, step):
            return (self.value - 1).square() + 0 * step.labelled.output.logits.sum()

    class Loss:
        regularises = False

        def build(self, setting):
            made.append(Scale())
            return made[-1]

    made = []
    (chosen,) = folder.resolve("optimizers", "adam(rate=0.1)")
    network, feed, place = convolutional(), examples(12), tmp_path / "checkpoint.pt"
    recipe = Recipe((Phase("all", 0),), (Loss(),), chosen, schedule("epochs=5, batch=4"), 0, TASK)
    train.train(network, recipe, lambda phase: Parts(feed, feed), Setting(network, np.ones(3), CLASSES), place=place)
    assert made[0].value.item() < 2.5
    assert torch.load(place, weights_only=True)["terms"]["0.value"].item() == made[0].value.item()


def test_lp_ft_starts_where_the_probe_ends():
    _, probed, _ = run("probe")
    _, history, _ = run("lp_ft")
    assert history[0] == probed[0]
    assert max(entry["accuracy"] for entry in history) >= probed[0]["accuracy"]


@dataclass(frozen=True)
class Paired:
    """A policy with a phase of its own objective, then the head."""

    steps: int = 7
    passes: int | None = None

    def plan(self, parameters):
        pairs = Phase("pairs", 0, epochs=self.passes, loss="pair_cosine", steps=self.steps)
        return (pairs, Phase("head", len(parameters), solver="logistic"))


def paired(steps=7, seed=0, size=8, place=None, report=None, passes=None):
    network = convolutional()
    training, validation = examples(48), examples(24, seed=1)
    (chosen,) = folder.resolve("optimizers", "adamw(rate=0.003)")
    recipe = Recipe(
        Paired(steps, passes).plan([1] * network.depth),
        folder.resolve("losses", "cross_entropy"),
        chosen,
        schedule(f"batch={size}"),
        seed,
        TASK,
        own={"pair_cosine": folder.resolve("losses", "pair_cosine")},
    )
    history = train.train(
        network,
        recipe,
        lambda phase: Parts(*(Frozen(feed, network, phase.cut).feed for feed in (training, validation))),
        Setting(network, np.bincount(training.labels), CLASSES),
        place=place,
        report=report or (lambda progress: None),
    ).history
    return network, history


def test_a_phase_with_its_own_objective_is_not_judged_and_ends_on_its_last_weights():
    network, history = paired(steps=90)
    pairs = [entry for entry in history if entry["phase"] == "pairs"]
    assert all("accuracy" not in entry for entry in pairs)
    assert "accuracy" in history[-1]
    untouched = convolutional()
    assert not torch.equal(network.stages["stage0"][0].weight, untouched.stages["stage0"][0].weight)
    pulled, spread = (cosines(one) for one in (network, untouched))
    assert pulled > 10 * spread > 0


def cosines(network):
    """How much nearer examples of one class are than those of two, in cosines."""
    feed = examples(48)
    with torch.no_grad():
        features = torch.nn.functional.normalize(network.eval()(feed.pictures).features)
    same = torch.from_numpy(feed.labels[:, None] == feed.labels[None, :])
    found = features @ features.T
    return float(found[same].mean() - found[~same].mean())


@pytest.mark.parametrize(
    ("steps", "passes", "epochs"), [(7, None, 1), (18, None, 3), (3, None, 1), (18, 2, 2), (7, 9, 1)]
)
def test_steps_are_counted_in_place_of_epochs_and_both_are_limits(steps, passes, epochs):
    seen = []
    _, history = paired(steps, report=seen.append, passes=passes)
    assert sum(entry["phase"] == "pairs" for entry in history) == epochs
    assert [progress.value for progress in seen[:epochs]] == [None] * epochs


def test_an_interrupted_phase_of_pairs_ends_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAVE_EVERY", -1.0)
    whole, _ = paired(steps=24)
    calls = []

    def stop(progress):
        calls.append(progress)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paired(steps=24, place=tmp_path / "kept", report=stop)
    resumed, _ = paired(steps=24, place=tmp_path / "kept")
    assert same(whole, resumed)


def test_half_precision_keeps_weights_and_steps_in_float32():
    network, feed = convolutional(), examples(24)
    (chosen,) = folder.resolve("optimizers", "sgd(rate=0.01)")
    seen = []

    class Watching:
        regularises = False

        def build(self, setting):
            def term(step):
                seen.append((step.labelled.output.logits.dtype, step.labelled.output.features.dtype))
                return step.labelled.output.logits.square().mean()

            return term

    for half in (True, False):
        recipe = Recipe((Phase("all", 0),), (Watching(),), chosen, schedule("epochs=1, batch=8"), 0, TASK, half=half)
        train.train(network, recipe, lambda phase: Parts(feed, feed), Setting(network, np.ones(3), CLASSES))
    assert set(seen) == {(torch.float32, torch.float32)}
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("tune", ["probe", "full", "gradual(stages=[0, 1, 3])", "lp_ft", "wise_ft"])
def test_a_settled_run_repeats_what_was_chosen_without_looking_at_the_validation_part(tune):
    """On the same examples it ends on the very weights that the judged run kept."""
    written, optimizer = "epochs=9, patience=2, batch=8", "adamw(rate=0.1)"
    judged, found, _ = trained(tune, written=written, optimizer=optimizer)
    settled, again, _ = trained(tune, written=written, optimizer=optimizer, settled=found.choices)
    # In several phases the optimizer has seen other epochs before.
    assert same(judged, settled) or tune.startswith("gradual")
    assert again.choices == found.choices
    assert all("accuracy" not in entry for entry in again.history)
    # The last epochs of the judged run were in vain, or this would show nothing.
    assert tune == "probe" or len(again.history) < sum(entry["phase"] != "head" for entry in found.history)


@pytest.mark.parametrize("rate", [0.1, 0.003])
def test_the_average_before_and_after_is_the_best_of_the_line(rate):
    options = {"written": "epochs=4, patience=4, batch=8", "optimizer": f"adamw(rate={rate})"}
    probed, _, _ = trained("probe", **options)
    tuned, _, _ = trained("lp_ft", **options)
    averaged, found, _ = trained("wise_ft", **options)
    (place,) = found.choices[-1]
    validation = examples(24, seed=1)

    def judged(at):
        network = convolutional()
        start, end = probed.state_dict(), tuned.state_dict()
        network.load_state_dict(
            {
                name: (1 - at) * start[name] + at * value if value.is_floating_point() else value
                for name, value in end.items()
            }
        )
        network.eval()
        figures = TASK.judge(descent.answers(network, validation, 24, TASK, CLASSES), validation.labels, CLASSES)
        return network, (figures["accuracy"], -figures["loss"])

    by_hand = {tenth / 10: judged(tenth / 10)[1] for tenth in range(11)}
    assert by_hand[place] == pytest.approx(max(by_hand.values()), abs=1e-6)
    expected = judged(place)[0].state_dict()
    assert all(
        torch.allclose(value.float(), expected[name].float(), atol=1e-6)
        for name, value in averaged.state_dict().items()
    )
