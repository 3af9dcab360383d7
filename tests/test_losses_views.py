"""Losses of two views of unlabelled examples: hand values, thresholds, where gradients go, ramps and the teacher."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from networks import ArrayFeed, convolutional
from torch import Tensor, nn
from torch.nn import functional

from sterna import folder, train
from sterna.errors import SpecError, TrainingError
from sterna.losses.flexmatch import NEVER, Flexmatch, thresholds
from sterna.losses.mean_teacher import factor
from sterna.losses.uda import limit
from sterna.network import Network, copied_state
from sterna.recipe import Parts, Recipe
from sterna.records import Batch, Output, Phase, Seen, Setting, Step
from sterna.wording import schedule

MANY = 10


def network(classes: int = 3) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Network({"below": nn.Linear(4, 4), "above": nn.Linear(4, 4)}, nn.Linear(4, classes))


def built(written: str, net: Network | None = None, cut: int = 0) -> Any:
    (loss,) = folder.resolve("losses", written)
    return loss.build(Setting(net or network(), np.full(3, 4), ("a", "b", "c"), 12, MANY, cut))


def logs(probabilities: list[list[float]]) -> Tensor:
    return torch.tensor(probabilities).log()


def seen(logits: Tensor, places: Tensor | None = None, labels: Tensor | None = None) -> Seen:
    count = len(logits)
    labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels
    batch = Batch(torch.zeros(count, 4), labels, torch.ones(count), places=places)
    return Seen(batch, Output(torch.zeros(count, 4), logits))


def step(weak: Tensor, strong: Tensor, progress: float = 0.5, **more: Any) -> Step:
    labelled = more.get("labelled") or seen(torch.zeros(2, weak.shape[1]))
    places = more.get("places", torch.arange(len(weak)))
    return Step(labelled, network(), progress, seen(weak, places), seen(strong, places))


WEAK = [[0.96, 0.03, 0.01], [0.05, 0.94, 0.01], [0.01, 0.02, 0.97], [0.4, 0.3, 0.3]]
STRONG = [[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [1 / 3, 1 / 3, 1 / 3]]


def test_fixmatch_by_hand() -> None:
    value = built("fixmatch")(step(logs(WEAK), logs(STRONG)))
    assert value.item() == pytest.approx((-math.log(0.5) - math.log(0.2)) / 4)
    value = built("fixmatch(threshold=0.9, weight=2)")(step(logs(WEAK), logs(STRONG)))
    assert value.item() == pytest.approx(2 * (-math.log(0.5) - math.log(0.8) - math.log(0.2)) / 4)


def test_the_threshold_itself_passes_in_fixmatch_and_nothing_below() -> None:
    weak = logs([[0.75, 0.25]])
    assert built("fixmatch(threshold=0.75)")(step(weak, logs([[0.5, 0.5]]))).item() == pytest.approx(math.log(2))
    assert built("fixmatch(threshold=0.7501)")(step(weak, logs([[0.5, 0.5]]))).item() == 0


@pytest.mark.parametrize("written", ["fixmatch", "flexmatch(warm_up=false)", "uda", "mean_teacher"])
def test_no_gradient_goes_through_the_weak_view(written: str) -> None:
    weak, strong = logs(WEAK).requires_grad_(), logs(STRONG).requires_grad_()
    built(written)(step(weak, strong)).backward()
    assert weak.grad is None
    assert strong.grad is not None
    assert strong.grad.abs().max() > 0


def test_descent_makes_the_strong_view_agree() -> None:
    strong = logs(STRONG).requires_grad_()
    built("fixmatch")(step(logs(WEAK), strong)).backward()
    assert strong.grad is not None
    assert strong.grad[0, 0] < 0  # towards class 0, as the weak view has it
    assert strong.grad[2, 2] < 0
    assert strong.grad[[1, 3]].abs().max() == 0  # not sure enough


def options(written: str) -> Flexmatch:
    (found,) = folder.resolve("losses", written)
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize(("mapping", "half"), [("convex", 1 / 3), ("linear", 0.5), ("concave", math.log2(1.5))])
def test_flexmatchs_thresholds_by_hand(mapping: str, half: float) -> None:
    passed = torch.tensor([0, 0, 0, 0, 1, 1, NEVER, NEVER])
    found = thresholds(passed, 3, options(f"flexmatch(threshold=0.8, mapping={mapping})"))
    assert torch.allclose(found, 0.8 * torch.tensor([1.0, half, 0.0]))


def test_flexmatch_warms_up_while_most_examples_have_never_passed() -> None:
    passed = torch.tensor([0, 0, 1] + 5 * [NEVER])
    warm = thresholds(passed, 3, options("flexmatch(mapping=linear, threshold=1)"))
    assert torch.allclose(warm, torch.tensor([2 / 5, 1 / 5, 0.0]))
    cold = thresholds(passed, 3, options("flexmatch(mapping=linear, threshold=1, warm_up=false)"))
    assert torch.allclose(cold, torch.tensor([1.0, 0.5, 0.0]))
    nobody = thresholds(torch.full((4,), NEVER), 3, options("flexmatch(warm_up=false)"))
    assert torch.equal(nobody, torch.zeros(3))  # nothing is learnt yet, so everything is let through


def test_flexmatch_remembers_who_passed_and_never_forgets() -> None:
    term = built("flexmatch")
    places = torch.tensor([7, 2, 5, 0])
    term(step(logs(WEAK), logs(STRONG), places=places))
    wanted = torch.full((MANY,), NEVER)
    wanted[7], wanted[5] = 0, 2
    assert torch.equal(term.passed, wanted)
    unsure = logs([[0.4, 0.3, 0.3], [0.1, 0.1, 0.8]])
    term(step(unsure, logs(STRONG[:2]), places=torch.tensor([7, 2])))
    assert torch.equal(term.passed, wanted)
    other = logs([[0.01, 0.98, 0.01]])
    term(step(other, logs(STRONG[:1]), places=torch.tensor([7])))
    assert term.passed[7] == 1
    fresh = built("flexmatch")
    fresh.load_state_dict(term.state_dict())
    assert torch.equal(fresh.passed, term.passed)


def test_flexmatch_uses_the_thresholds_from_before_the_batch() -> None:
    term = built("flexmatch(warm_up=false, mapping=linear, threshold=0.9)")
    term.passed[:3] = torch.tensor([0, 0, 1])
    value = term(step(logs(WEAK), logs(STRONG)))  # thresholds 0.9, 0.45, 0
    passing = [-math.log(0.5), -math.log(0.8), -math.log(0.2)]  # the last: 0.4 is below 0.9
    assert value.item() == pytest.approx(sum(passing) / 4)


def test_flexmatch_with_all_classes_alike_is_fixmatch() -> None:
    term = built("flexmatch")
    term.passed[:] = torch.tensor([0, 1, 2] * 3 + [NEVER])
    flexible = term(step(logs(WEAK), logs(STRONG)))
    assert flexible.item() == pytest.approx(built("fixmatch")(step(logs(WEAK), logs(STRONG))).item())


def test_uda_by_hand() -> None:
    value = built("uda(threshold=0.95, temperature=0.5)")(step(logs(WEAK), logs(STRONG)))
    total = 0.0
    for weak, strong in ((WEAK[0], STRONG[0]), (WEAK[2], STRONG[2])):
        sharp = np.array(weak) ** 2 / (np.array(weak) ** 2).sum()
        total += float((sharp * np.log(sharp / np.array(strong))).sum())
    assert value.item() == pytest.approx(total / 4, rel=1e-5)


def test_uda_is_0_where_the_strong_view_says_the_sharpened_answer() -> None:
    weak = logs(WEAK)
    sharp = functional.log_softmax(weak / 0.4, dim=1)
    assert built("uda(threshold=0)")(step(weak, sharp)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("annealing", "middle"), [("linear", 0.5), ("log", 1 - math.exp(-2.5)), ("exp", math.exp(-2.5))]
)
def test_annealing_by_hand(annealing: str, middle: float) -> None:
    assert limit(0.5, annealing, 4) == pytest.approx(middle * 0.75 + 0.25)
    assert limit(1.0, annealing, 4) == pytest.approx(1.0, abs=6e-3)  # 1 - e^-5 for log
    assert limit(0.0, annealing, 4) == pytest.approx(0.25, abs=6e-3)


def test_annealing_takes_sure_labelled_examples_out_of_the_cross_entropy() -> None:
    probabilities = [[0.9, 0.05, 0.05], [0.2, 0.3, 0.5], [0.3, 0.6, 0.1]]
    labels = torch.tensor([0, 1, 1])
    logits = logs(probabilities).requires_grad_()
    labelled = seen(logits, labels=labels)
    given = step(logs([WEAK[3]]), logs([STRONG[3]]), labelled=labelled)
    both = built("uda(annealing=linear)")(given) + built("cross_entropy")(given)
    # eta = 0.5 * 2/3 + 1/3 = 2/3: the first example alone is sure
    assert both.item() == pytest.approx((-math.log(0.3) - math.log(0.6)) / 3, rel=1e-5)
    both.backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().max() < 1e-7
    assert logits.grad[1].abs().max() > 0.1


def test_the_ramp_by_hand() -> None:
    assert factor(0.0, 0.4) == pytest.approx(math.exp(-5))
    assert factor(0.2, 0.4) == pytest.approx(math.exp(-5 / 4))
    assert factor(0.4, 0.4) == factor(0.9, 0.4) == factor(0.0, 0.0) == 1


def run(net: Network, progress: float, inputs: Tensor, cut: int = 0) -> Step:
    """A step in which both views are the same inputs."""
    batch = Batch(inputs, torch.zeros(len(inputs), dtype=torch.int64), torch.ones(len(inputs)))
    one = Seen(batch, net.suffix(cut)(inputs))
    return Step(one, net, progress, one, one, cut)


def test_the_teacher_is_the_running_average_by_hand() -> None:
    net = network()
    term = built("mean_teacher(decay=0.6)", net)
    weight, inputs = net.head.weight, torch.randn(5, 4, generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr]
    wanted: Tensor = torch.zeros(())
    for count, progress in enumerate((0.0, 0.25, 0.5, 0.75)):
        with torch.no_grad():
            weight += 0.1 * (count + 1)  # type: ignore[operator]
        kept = min(0.6, 1 - 1 / (count + 1))  # 0, 1/2, 0.6, 0.6
        wanted = kept * wanted + (1 - kept) * weight.detach().clone()  # type: ignore[operator]
        term(run(net, progress, inputs))
        assert torch.allclose(term.teacher.head.weight, wanted)
    term(run(net, 0.0, inputs))  # a phase begins
    assert torch.equal(term.teacher.head.weight, weight)
    assert int(term.steps) == 1


def test_mean_teacher_is_the_squared_distance_of_probabilities_times_the_ramp() -> None:
    net = network()
    term = built("mean_teacher(weight=3, ramp=0.5, decay=1)", net)
    inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first = net(inputs).logits.softmax(dim=1)
    assert term(run(net, 0.0, inputs)).item() == pytest.approx(0, abs=1e-9)  # the teacher is the network
    with torch.no_grad():
        net.head.weight += 0.5 * torch.eye(3, 4)  # type: ignore[union-attr,operator]
        second = net(inputs).logits.softmax(dim=1)
        middle = copy.deepcopy(net)
        middle.head.weight -= 0.25 * torch.eye(3, 4)  # type: ignore[union-attr,operator]
        teacher = middle(inputs).logits.softmax(dim=1)
    assert not torch.allclose(first, second)
    value = term(run(net, 0.25, inputs))
    wanted = 3 * math.exp(-5 * 0.25) * float((second - teacher).square().sum(dim=1).mean())
    assert value.item() == pytest.approx(wanted, rel=1e-5)


def test_the_teacher_is_shown_the_view_that_is_named() -> None:
    net = network()
    inputs = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
    for shown, differs in (("weak", True), ("strong", False)):
        term = built(f"mean_teacher(shown={shown})", net)
        given = run(net, 0.0, inputs)
        assert given.unlabelled is not None
        other = replace(given.unlabelled, batch=replace(given.unlabelled.batch, inputs=inputs + 1))
        assert (term(replace(given, unlabelled=other)).item() > 1e-6) == differs


def test_the_teacher_has_no_weights_to_train_and_starts_at_the_lowest_cut() -> None:
    net = network()
    term = built("mean_teacher", net, cut=1)
    assert list(term.teacher.stages) == ["above"]
    assert not any(weight.requires_grad for weight in term.parameters())
    inputs = torch.randn(4, 4, generator=torch.Generator().manual_seed(3))
    assert term(run(net, 0.0, inputs, cut=2)).item() == pytest.approx(0, abs=1e-9)  # a phase of the head alone
    term.train()
    assert not term.teacher.training


def test_layers_that_a_policy_has_added_are_no_weights_of_stages() -> None:
    net = network()
    term = built("mean_teacher", net)
    inputs = torch.randn(4, 4, generator=torch.Generator().manual_seed(3))
    net.stages["above"] = nn.Sequential(net.stages["above"])
    with pytest.raises(TrainingError, match="mean_teacher averages the weights of stages"):
        term(run(net, 0.0, inputs))


def test_weight_0_is_no_term_and_batch_order_does_not_count() -> None:
    order = torch.tensor([2, 0, 3, 1])
    for name in ("fixmatch", "flexmatch", "uda"):
        assert built(f"{name}(weight=0)")(step(logs(WEAK), logs(STRONG))).item() == 0
        straight = built(name)(step(logs(WEAK), logs(STRONG)))
        mixed = built(name)(step(logs(WEAK)[order], logs(STRONG)[order], places=order))
        assert straight.item() == pytest.approx(mixed.item())


@pytest.mark.parametrize("written", ["fixmatch(threshold=1.5)", "uda(temperature=0)", "flexmatch(mapping=round)"])
def test_wrong_options_are_refused(written: str) -> None:
    with pytest.raises(SpecError):
        folder.resolve("losses", written)


def pictures(count: int, seed: int, noise: float = 0.5) -> ArrayFeed:
    generator = torch.Generator().manual_seed(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    inputs = noise * torch.randn(count, 3, 8, 8, generator=generator)
    inputs[torch.arange(count), torch.from_numpy(labels)] += 1
    return ArrayFeed(inputs, labels)


@pytest.mark.parametrize("written", ["fixmatch(threshold=0.6)", "flexmatch", "mean_teacher", "uda", "mcc"])
def test_a_batch_holds_as_many_unlabelled_examples_as_are_asked_for(written: str) -> None:
    """A real fit, which ends finite and lets the network learn."""
    losses = folder.resolve("losses", f"cross_entropy + {written}")
    sizes: list[int] = []

    class Watching:
        needs, regularises = "", False

        def build(self, setting: Setting) -> Any:
            def term(step: Step) -> Tensor:
                assert step.unlabelled is not None
                sizes.append(len(step.unlabelled.batch.labels))
                assert step.network.training  # what a term runs again is in the mode of the step
                return step.labelled.output.logits.sum() * 0

            return term

    (chosen,) = folder.resolve("optimizers", "adam(rate=0.02)")
    ratio = max(getattr(loss, "ratio", 1) for loss in losses)
    phases = (Phase("all", 0),)
    recipe = Recipe(
        phases,
        (*losses, Watching()),
        chosen,
        schedule("epochs=25, patience=25, batch=4"),
        0,
        folder.load("tasks", "classify")(),
        ratio=ratio,
    )
    weak = pictures(60, 2)
    strong = ArrayFeed(weak.pictures + 0.2, weak.labels)
    parts = Parts(pictures(12, 0), pictures(9, 1), weak, strong)
    net = convolutional()
    setting = Setting(net, np.full(3, 4), ("a", "b", "c"), 12, 60)
    trained = train.train(net, recipe, lambda phase: parts, setting)
    assert set(sizes) == {4 * ratio}
    assert max(entry["accuracy"] for entry in trained.history) > 0.8
    assert all(torch.isfinite(value).all() for value in copied_state(net).values())
