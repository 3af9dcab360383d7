"""Adversarial terms of domain adaptation, and `shot`: formulas by hand or by loops, and who gains from a step.

Each game has two players. A step by the first (discriminator, critic, heads) must raise its gain while the features
stand still; a step by the features must lower it while the first stands still. The same is then shown to fail without
the reversal, so that these tests can fail.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sterna import adversary, folder
from sterna.errors import DataError, SpecError, TrainingError
from sterna.network import Network
from sterna.records import Batch, Output, Seen, Setting, Step

CLASSES = ("a", "b", "c")
GAMES = ("dann", "dann(partial=true)", "cdan", "cdan(entropy=true)", "adda", "mcd", "mdd", "wdgrl", "mme", "open_set")
REVERSED = tuple(game for game in GAMES if game != "adda")
ALL = (*GAMES, "mme(temperature=0.05)", "shot")


def seeded(make: Callable[[], Any], seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def small(width: int = 3, classes: int = 3) -> Network:
    return seeded(lambda: Network({"first": nn.Linear(4, width)}, nn.Linear(width, classes)))


def built(written: str, network: Network, unlabelled: int = 20, counts: Sequence[int] = (4, 3, 2)) -> Any:
    (loss,) = folder.resolve("losses", written)
    names = tuple(f"c{number}" for number in range(network.classes))
    setting = Setting(network, np.array([*counts, *([1] * network.classes)])[: network.classes], names, 9, unlabelled)
    return seeded(lambda: loss.build(setting))


SOURCE = seeded(lambda: torch.randn(7, 4))
TARGET = seeded(lambda: torch.randn(5, 4) + torch.tensor([1.5, 0.0, -1.0, 0.5]), 1)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])
WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 1.0, 0.5, 1.0, 3.0])


def seen(network: Network, inputs: Tensor, labels: Tensor, weights: Tensor, leaf: bool = True) -> Seen:
    """What the network makes of inputs; features are leaves of the graph, so that they can be moved by themselves."""
    features = network(inputs).features
    features = features.detach().requires_grad_() if leaf else features
    places = torch.arange(len(inputs))
    return Seen(Batch(inputs, labels, weights, places=places), Output(features, network.head(features)))


def step_of(
    network: Network,
    source: Tensor = SOURCE,
    target: Tensor = TARGET,
    labels: Tensor = LABELS,
    weights: Tensor = WEIGHTS,
    progress: float = 1.0,
    leaf: bool = True,
) -> Step:
    labelled = seen(network, source, labels, weights, leaf)
    unlabelled = seen(network, target, torch.zeros(len(target), dtype=torch.int64), torch.ones(len(target)), leaf)
    return Step(labelled, network, progress, unlabelled)


def features(step: Step) -> tuple[Tensor, Tensor]:
    assert step.unlabelled is not None
    return step.labelled.output.features, step.unlabelled.output.features


def mean_of(values: list[float], weights: Sequence[float] | None = None) -> float:
    return float(np.average(values, weights=weights))


# What is shared


def test_reversal_is_the_identity_with_the_opposite_gradient() -> None:
    values = torch.tensor([1.0, -2.0], requires_grad=True)
    made = adversary.reverse(values, 0.25)
    assert made.tolist() == [1.0, -2.0]
    (made * torch.tensor([3.0, 4.0])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [-0.75, -1.0]


def test_the_gradient_of_a_gradient_passes_as_well() -> None:
    values = torch.tensor(2.0, requires_grad=True)
    (slope,) = torch.autograd.grad(adversary.scaled(values, 5.0) ** 3, values, create_graph=True)
    assert slope.item() == 60  # 5 * 3 * 2^2
    (second,) = torch.autograd.grad(slope, values)
    assert second.item() == 300  # through two passes: 5 * 5 * 6 * 2


def test_ramp_by_hand() -> None:
    assert adversary.ramp(0.0) == 0
    assert adversary.ramp(0.1) == pytest.approx(2 / (1 + math.exp(-1)) - 1)
    assert adversary.ramp(1.0) == pytest.approx(2 / (1 + math.exp(-10)) - 1)
    assert adversary.ramp(0.5, 4.0) == pytest.approx(2 / (1 + math.exp(-2)) - 1)
    assert adversary.ramp(1.0, 1e9) == 1
    assert adversary.ramp(1.0, 0.0) == 0


def test_domain_cross_entropy_by_hand() -> None:
    source, target = torch.tensor([0.0, math.log(3)]), torch.tensor([[0.0], [-math.log(7)], [0.0]])
    plain = ((math.log(2) + math.log(4 / 3)) / 2 + (2 * math.log(2) + math.log(8 / 7)) / 3) / 2
    assert adversary.domain_cross_entropy(source, target).item() == pytest.approx(plain)
    weighted = adversary.domain_cross_entropy(source, target, torch.tensor([1.0, 3.0]), torch.tensor([0.0, 5.0, 0.0]))
    assert weighted.item() == pytest.approx(((math.log(2) + 3 * math.log(4 / 3)) / 4 + math.log(8 / 7)) / 2)


def test_domains_count_half_each_whatever_their_sizes() -> None:
    """The best constant answer is even odds, also for batches of 30 and 2."""
    odds = torch.zeros(1, requires_grad=True)
    adversary.domain_cross_entropy(odds.expand(30), odds.expand(2)).backward()
    assert odds.grad is not None
    assert odds.grad.item() == pytest.approx(0, abs=1e-7)


def test_means_of_nothing_are_0_with_a_gradient() -> None:
    values = torch.ones(2, requires_grad=True)
    (
        adversary.mean(values, torch.zeros(2)) + adversary.mean(values[:0]) + adversary.mean(values[:0], values[:0])
    ).backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0, 0]


def test_the_discriminator_has_two_hidden_layers_and_no_batch_norm() -> None:
    kinds = [type(part).__name__ for part in adversary.discriminator(5, 8)]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    made = adversary.discriminator(5, 8, 0.3)
    assert [type(part).__name__ for part in made] == ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]
    assert [part.weight.shape for part in made if isinstance(part, nn.Linear)] == [(8, 5), (8, 8), (1, 8)]


def test_held_weights_get_no_gradient_and_no_flag_changes() -> None:
    module, inputs = seeded(lambda: adversary.discriminator(3, 4)), torch.ones(2, 3, requires_grad=True)
    (wanted,) = torch.autograd.grad(module(inputs).sum(), inputs)
    adversary.held(module, inputs).sum().backward()
    assert inputs.grad is not None
    assert torch.equal(inputs.grad, wanted)
    assert all(weight.grad is None and weight.requires_grad for weight in module.parameters())


def test_cross_entropy_takes_class_numbers_and_shares() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    wanted = (math.log(4) + 3 * math.log(2)) / 4
    weights = torch.tensor([1.0, 3.0])
    assert adversary.cross_entropy(logits, torch.tensor([0, 1]), weights).item() == pytest.approx(wanted)
    soft = torch.tensor([[1.0, 0.0], [0.3, 0.7]])
    assert adversary.cross_entropy(logits, soft, weights).item() == pytest.approx(wanted)
    assert adversary.entropy(logits).tolist() == pytest.approx([math.log(4) - 0.75 * math.log(3), math.log(2)])
    assert adversary.entropy(torch.tensor([[0.0, 800.0]])).item() == 0


# Games: who gains


def odds_gain(source: Tensor, target: Tensor) -> float:
    """Minus the cross-entropy of log odds, by a loop."""
    as_source = [math.log1p(math.exp(-one)) for one in source.flatten().tolist()]
    as_target = [math.log1p(math.exp(one)) for one in target.flatten().tolist()]
    return -(mean_of(as_source, WEIGHTS.tolist()) + mean_of(as_target)) / 2


def gain(written: str, term: Any, network: Network, source: Tensor, target: Tensor, step: Step) -> float:
    """What the first player wants much of; there is no reversal in it."""
    name = written.split("(")[0]
    head = network.head
    if name in ("dann", "adda"):
        source = network.stages["first"](SOURCE) if name == "adda" else source
        return odds_gain(term.discriminator(source), term.discriminator(target))
    if name == "cdan":
        answers = [one.output.logits.detach().softmax(1) for one in (step.labelled, step.unlabelled)]  # type: ignore[union-attr]
        joined = [torch.einsum("bk,bd->bkd", a, f).flatten(1) for a, f in zip(answers, (source, target), strict=True)]
        return odds_gain(*(term.discriminator(one) for one in joined))
    if name == "mcd":
        return (head(target).softmax(1) - term.second(target).softmax(1)).abs().mean().item()
    if name == "mdd":
        chosen = [one.output.logits.argmax(1) for one in (step.labelled, step.unlabelled)]  # type: ignore[union-attr]
        agree = [math.log(q[c]) for q, c in zip(term.second(source).softmax(1).tolist(), chosen[0], strict=True)]
        rest = [math.log(1 - q[c]) for q, c in zip(term.second(target).softmax(1).tolist(), chosen[1], strict=True)]
        return 4 * mean_of(agree, WEIGHTS.tolist()) + mean_of(rest)
    if name == "wdgrl":
        heights = [term.critic(one).flatten().tolist() for one in (source, target)]
        return mean_of(heights[0], WEIGHTS.tolist()) - mean_of(heights[1])
    if name == "mme":
        return mean_of([-sum(p * math.log(p) for p in row) for row in head(target).softmax(1).tolist()])
    unknown = torch.cat([head(target), term.unknown(target)], 1).softmax(1)[:, -1].tolist()
    return mean_of([(math.log(u) + math.log(1 - u)) / 2 for u in unknown])


def movers(written: str, term: Any, network: Network) -> list[nn.Parameter]:
    """The weights of the first player."""
    own = [w for w in term.parameters() if w.requires_grad] if isinstance(term, nn.Module) else []
    return [*own, *network.head.parameters()] if written in ("mcd", "mme", "open_set") else own


def again(step: Step) -> Step:
    """The same features, answered by the head as it is now."""
    assert step.unlabelled is not None
    sides = [
        replace(one, output=Output(f, step.network.head(f)))
        for one, f in zip((step.labelled, step.unlabelled), features(step), strict=True)
    ]
    return replace(step, labelled=sides[0], unlabelled=sides[1])


def alone(written: str, step: Step) -> Step:
    """Without what a term has beside its game: a second classifier's own loss on labelled examples."""
    step = again(step)
    if written not in ("mcd", "open_set"):
        return step
    batch = replace(step.labelled.batch, weights=torch.zeros(len(LABELS)))
    return replace(step, labelled=replace(step.labelled, batch=batch))


def played(written: str) -> tuple[float, float]:
    """What the first player gains by its own steps, and what it gains by a step of the features."""
    network = small()
    term = built("wdgrl(penalty=0)" if written == "wdgrl" else written, network)
    step = step_of(network)
    source, target = features(step)
    weights = movers(written, term, network)
    first = gain(written, term, network, source, target, step)
    for _ in range(5):
        term_gradients = torch.autograd.grad(term(alone(written, step)), weights, allow_unused=True)
        with torch.no_grad():
            for weight, slope in zip(weights, term_gradients, strict=True):
                if slope is not None:
                    weight -= 0.02 * slope
    second = gain(written, term, network, source, target, step)
    slopes = torch.autograd.grad(term(alone(written, step)), [source, target], allow_unused=True)
    norm = sum(float(slope.square().sum()) for slope in slopes if slope is not None) ** 0.5
    moved = [
        one.detach() - (0.05 / norm * slope if slope is not None else 0.0)
        for one, slope in zip((source, target), slopes, strict=True)
    ]
    return second - first, gain(written, term, network, *moved, step) - second


@pytest.mark.parametrize("written", GAMES)
def test_the_first_player_gains_and_the_features_take_it_away(written: str) -> None:
    own, theirs = played(written)
    assert own > 1e-5
    assert theirs < -1e-5


@pytest.mark.parametrize("written", REVERSED)
def test_no_reversal_would_be_seen(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the identity in place of the reversal both players pull alike, and the test above fails for this term."""
    monkeypatch.setattr(adversary, "reverse", lambda values, factor=1.0: values)
    own, theirs = played(written)
    assert own > 1e-5
    assert theirs > 1e-5


def test_labels_that_are_not_inverted_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes the place of the reversal in `adda`."""
    plain = adversary.held
    monkeypatch.setattr(adversary, "held", lambda module, inputs: -plain(module, inputs))
    own, theirs = played("adda")
    assert own > 1e-5
    assert theirs > 1e-5


@pytest.mark.parametrize("written", ["dann", "cdan", "mdd", "wdgrl", "adda"])
def test_a_game_brings_the_domains_together(written: str) -> None:
    """Only the target may move, by one vector. The source has two classes, and the target lies 3 beside it."""
    network = small(2, 2)
    labels = torch.arange(60) % 2
    source = seeded(lambda: torch.randn(60, 2)) + 2.0 * labels[:, None]
    target = seeded(lambda: torch.randn(40, 2), 5) + 2.0 * (torch.arange(40) % 2)[:, None]
    identity = Network({"first": nn.Identity()}, network.head)
    options = "(hidden=16, strength=1)" if written in ("mdd", "wdgrl", "adda") else "(hidden=16)"
    term, shift = built(written + options, identity), torch.tensor([3.0, -3.0], requires_grad=True)
    optimizer = torch.optim.Adam([*term.parameters()], lr=0.01)
    slow = torch.optim.SGD([shift], lr={"cdan": 0.2, "wdgrl": 0.02}.get(written, 0.1))
    distances = []
    with torch.random.fork_rng():
        for _ in range(400):
            step = step_of(identity, source, target, labels, torch.ones(60))
            assert step.unlabelled is not None
            moved = target + shift
            step = replace(step, unlabelled=replace(step.unlabelled, output=Output(moved, network.head(moved))))
            optimizer.zero_grad()
            slow.zero_grad()
            term(step).backward()
            optimizer.step()
            slow.step()
            distances.append(float((source.mean(0) - moved.detach().mean(0)).norm()))
    assert distances[0] > 3.5
    assert min(distances) < 1.0
    assert np.mean(distances[200:]) < 2.5


@pytest.mark.parametrize("written", ["dann", "cdan", "mdd", "wdgrl", "adda"])
def test_at_the_start_only_the_first_player_moves(written: str) -> None:
    network = small()
    term, step = built(written, network), step_of(network, progress=0.0)
    term(step).backward()
    assert all(float(one.grad.abs().sum()) == 0 for one in features(step) if one.grad is not None)
    assert sum(float(weight.grad.abs().sum()) for weight in term.parameters() if weight.grad is not None) > 0


# What holds for all


@pytest.mark.parametrize("written", ALL)
def test_labels_of_the_target_are_never_read(written: str) -> None:
    network = small()
    plain = step_of(network)
    assert plain.unlabelled is not None
    batch = replace(plain.unlabelled.batch, labels=torch.full((5,), 10**6), weights=torch.full((5,), math.nan))
    poisoned = replace(plain, unlabelled=replace(plain.unlabelled, batch=batch))
    values = [seeded(lambda one=one: built(written, network)(one)) for one in (plain, poisoned)]
    assert torch.equal(values[0], values[1])


@pytest.mark.parametrize("written", [one for one in ALL if one != "wdgrl"])
def test_nothing_is_drawn_at_a_step(written: str) -> None:
    network = small()
    values = [seeded(lambda: built(written, network)(step_of(network)), seed) for seed in (1, 2)]
    assert torch.equal(values[0], values[1])


@pytest.mark.parametrize("written", ALL)
def test_no_weight_is_no_example(written: str) -> None:
    network = small()
    weights = torch.tensor([1.0, 0.0, 2.0, 0.0, 1.0, 1.0, 0.0])
    kept = weights > 0
    whole = step_of(network, weights=weights)
    part = step_of(network, SOURCE[kept], labels=LABELS[kept], weights=weights[kept])
    values = [seeded(lambda one=one: built(written, network)(one)) for one in (whole, part)]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5)


@pytest.mark.parametrize("written", [one for one in ALL if one != "wdgrl"])  # there, each of the two has its own point
def test_a_weight_of_two_is_an_example_twice(written: str) -> None:
    network = small()
    twice = torch.cat([SOURCE, SOURCE[:1]]), torch.cat([LABELS, LABELS[:1]])
    heavy = step_of(network, weights=torch.tensor([2.0, 1, 1, 1, 1, 1, 1]))
    double = step_of(network, twice[0], labels=twice[1], weights=torch.ones(8))
    values = [built(written, network)(one).item() for one in (heavy, double)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize("written", ALL)
@pytest.mark.parametrize(("rows", "others"), [(1, 1), (7, 1), (1, 5), (7, 0)])
def test_tiny_batches_give_numbers(written: str, rows: int, others: int) -> None:
    network = small()
    step = step_of(network, SOURCE[:rows], TARGET[:others], LABELS[:rows], WEIGHTS[:rows])
    value = seeded(lambda: built(written, network)(step))
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(one.grad).all() for one in features(step) if one.grad is not None)


@pytest.mark.parametrize("written", ALL)
def test_extreme_features_give_numbers(written: str) -> None:
    network = small()
    value = seeded(lambda: built(written, network)(step_of(network, 1e4 * SOURCE, -1e4 * TARGET, leaf=False)))
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters() if weight.grad is not None)


@pytest.mark.parametrize("written", ALL)
def test_the_weight_is_a_factor(written: str) -> None:
    network, name = small(), written.split("(")[0]
    (default,) = folder.resolve("losses", name)
    values = [
        seeded(lambda weight=weight: built(f"{name}(weight={weight})", network)(step_of(network))).item()
        for weight in (default.weight, 3 * default.weight, 0)
    ]
    assert values[1] == pytest.approx(3 * values[0], rel=1e-5)
    assert values[2] == 0


@pytest.mark.parametrize("written", ["dann(partial=true)", "mcd", "open_set"])
def test_soft_labels_do_as_well(written: str) -> None:
    network = small()
    soft = nn.functional.one_hot(LABELS, 3).float()
    values = [built(written, network)(step_of(network, labels=one)).item() for one in (LABELS, soft)]
    assert values[0] == pytest.approx(values[1])
    mixed = built(written, network)(step_of(network, labels=0.7 * soft + 0.1)).item()
    assert mixed != pytest.approx(values[0])


@pytest.mark.parametrize(
    ("written", "moves"),
    [(game, game in ("mcd", "mme", "open_set")) for game in ALL if game != "mme(temperature=0.05)"],
)
def test_only_games_of_heads_move_the_head(written: str, moves: bool) -> None:
    network = small()
    seeded(lambda: built(written, network)(step_of(network, leaf=False))).backward()
    reached = network.head.weight.grad is not None and bool(network.head.weight.grad.abs().sum() > 0)  # type: ignore[union-attr]
    assert reached == moves
    assert network.stages["first"].weight.grad.abs().sum() > 0  # type: ignore[union-attr,operator]


def test_what_they_ask_for() -> None:
    for name in {written.split("(")[0] for written in ALL}:
        (loss,) = folder.resolve("losses", name)
        assert (loss.supervised, loss.needs, loss.regularises) == (False, "unlabelled", False)
        assert "classify" in loss.tasks


def test_wrong_options_are_refused() -> None:
    for written in (
        "dann(dropout=1)",
        "cdan(products=0)",
        "mdd(gamma=0.5)",
        "open_set(border=1)",
        "mme(temperature=0)",
    ):
        with pytest.raises(SpecError):
            folder.resolve("losses", written)


# One by one


def test_dann_by_a_loop() -> None:
    network = small()
    term, step = built("dann(weight=2)", network), step_of(network)
    assert term(step).item() == pytest.approx(-2 * gain("dann", term, network, *features(step), step), rel=1e-5)


def test_dann_reverses_by_the_ramp() -> None:
    """The gradient on the features is minus lambda times what it is without reversal."""
    network = small()
    term, slopes = built("dann(steepness=4)", network), []
    for progress in (0.25, 1.0):
        step = step_of(network, progress=progress)
        term(step).backward()
        slopes.append(features(step)[1].grad)
    step = step_of(network)
    source, target = features(step)
    (plain,) = torch.autograd.grad(
        adversary.domain_cross_entropy(term.discriminator(source), term.discriminator(target), WEIGHTS), target
    )
    for slope, strength in zip(slopes, (math.tanh(0.5), math.tanh(2)), strict=True):
        assert slope is not None
        assert torch.allclose(slope, -strength * plain, rtol=1e-4, atol=1e-8)


def test_dann_drops_units_where_told() -> None:
    network = small()
    term = built("dann(dropout=0.5)", network)
    values = [seeded(lambda: term(step_of(network)), seed).item() for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_partial_counts_source_classes_by_their_share_in_the_target() -> None:
    network = small()
    term, step = built("dann(partial=true, memory=0.25)", network), step_of(network)
    assert step.unlabelled is not None
    logits = torch.tensor([[0.0, 0.0, -1e9], [0.0, math.log(3), -1e9]])
    step = replace(step, unlabelled=replace(step.unlabelled, output=Output(torch.zeros(2, 3), logits)))
    first, second = (term(step).item() for _ in range(2))
    shares = np.full(3, 1 / 3)
    for got in (first, second):
        shares = 0.25 * shares + 0.75 * np.array([3 / 8, 5 / 8, 0])
        weights = WEIGHTS.numpy() * shares[LABELS.numpy()]
        source, target = (term.discriminator(one).flatten().tolist() for one in features(step))
        wanted = np.average(np.log1p(np.exp(-np.array(source))), weights=weights) + np.log1p(np.exp(target)).mean()
        assert got == pytest.approx(wanted / 2, rel=1e-5)
    assert first != second
    assert term.shares.numpy() == pytest.approx(shares, rel=1e-5)
    assert not term.shares.requires_grad
    twin = built("dann(partial=true)", network)
    twin.load_state_dict(term.state_dict())
    assert torch.equal(twin.shares, term.shares)


def test_partial_needs_classes() -> None:
    with pytest.raises(TrainingError, match=r"^dann\(partial=true\) weighs classes .* got numbers; type dann\.$"):
        built("dann(partial=true)", small(), counts=(0, 0, 0))
    assert built("dann", small(), counts=(0, 0, 0)) is not None


@pytest.mark.parametrize("sure", [False, True])
def test_cdan_by_a_loop(sure: bool) -> None:
    network = small()
    term, step = built(f"cdan(entropy={str(sure).lower()})", network), step_of(network)
    total = 0.0
    for one, sign, weights in ((step.labelled, -1, WEIGHTS), (step.unlabelled, 1, torch.ones(5))):
        assert one is not None
        values, counts = [], []
        for f, logits, weight in zip(one.output.features, one.output.logits.detach(), weights, strict=True):
            g = logits.softmax(0)
            joined = torch.tensor([[(a * b).item() for b in f] for a in g]).flatten()
            values.append(math.log1p(math.exp(sign * term.discriminator(joined[None]).item())))
            certainty = 1 + math.exp(float((g * g.log()).sum()))
            counts.append(float(weight) * (certainty if sure else 1.0))
        total += mean_of(values, counts) / 2
    assert term(step).item() == pytest.approx(total, rel=1e-5)


def test_entropy_counts_a_sure_answer_up_to_twice() -> None:
    network = small()
    term, step = built("cdan(entropy=true)", network), step_of(network)
    sure, unsure = torch.tensor([[50.0, 0.0, 0.0]]), torch.zeros(1, 3)
    output = Output(torch.zeros(2, 3), torch.cat([sure, unsure]))
    assert term._sure(replace(step.labelled, output=output)).tolist() == pytest.approx([2, 1 + 1 / 3])


def test_cdan_takes_the_full_map_up_to_4096_products_and_then_a_random_one() -> None:
    full, beyond = built("cdan(hidden=4)", small(64, 64)), built("cdan(hidden=4, products=50)", small(64, 65))
    assert full.of_features.numel() == full.of_answers.numel() == 0
    assert full.discriminator[0].in_features == 4096
    assert (beyond.of_features.shape, beyond.of_answers.shape) == ((50, 64), (50, 65))
    assert beyond.discriminator[0].in_features == 50
    assert {"of_features", "of_answers"} <= set(beyond.state_dict())
    assert not any(name.startswith("of_") for name, _ in beyond.named_parameters())


def test_the_random_map_keeps_inner_products() -> None:
    network = small(64, 65)
    term, step = built("cdan(hidden=1, products=40000)", network), step_of(network)
    joined = term._joined(step.labelled, 1.0).detach()
    f, g = step.labelled.output.features.detach(), step.labelled.output.logits.softmax(1).detach()
    exact = (f @ f.T) * (g @ g.T)
    assert (joined @ joined.T - exact).abs().max() < 0.06 * exact.diagonal().max()
    seeded(lambda: term(step)).backward()
    assert step.labelled.output.features.grad is not None


def test_adda_by_a_loop_and_its_two_losses() -> None:
    network = small()
    term, step = built("adda", network), step_of(network)
    source, target = network.stages["first"](SOURCE), features(step)[1]
    told = -gain("adda", term, network, source, target, step)
    mapped = mean_of([math.log1p(math.exp(-one)) for one in term.discriminator(target).flatten().tolist()])
    assert term(step).item() == pytest.approx(told + mapped, rel=1e-5)
    term(step).backward()
    own = adversary.domain_cross_entropy(
        term.discriminator(source.detach()), term.discriminator(target.detach()), WEIGHTS
    )
    weights = list(term.discriminator.parameters())
    for weight, wanted in zip(weights, torch.autograd.grad(own, weights), strict=True):
        assert torch.allclose(weight.grad, wanted, atol=1e-7), "the mapping moves the discriminator"
    assert step.labelled.output.features.grad is None
    mapping = nn.functional.softplus(-term.discriminator(target)).mean()
    (pull,) = torch.autograd.grad(mapping, target)
    assert target.grad is not None
    assert torch.allclose(target.grad, 0.1 * math.tanh(5) * pull, rtol=1e-4, atol=1e-9), "they help the discriminator"


def two_stages() -> Network:
    stages = {"low": nn.Linear(4, 4), "high": nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3), nn.Dropout(0.5))}
    return seeded(lambda: Network(stages, nn.Linear(3, 3)))


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_addas_frozen_copy_starts_at_the_lowest_stage_that_moves(cut: int) -> None:
    network = two_stages()
    term = built("adda", network)
    with torch.no_grad():
        at_start = copy.deepcopy(network).eval()
        for weight in network.parameters():
            weight += 1
    network.move_from(cut)
    network.train()
    inputs = (SOURCE, SOURCE - 0.1, SOURCE[:, :3])[cut]
    kept = inputs.clone()
    step = step_of(at_start)
    batch = replace(step.labelled.batch, inputs=inputs)
    step = replace(step, network=network, labelled=replace(step.labelled, batch=batch))
    assert torch.equal(term._source(step), at_start.suffix(cut)(inputs.clone()).features)
    assert torch.equal(inputs, kept), "a stage that works in place has changed the batch"


def test_addas_copy_stands_still() -> None:
    network = two_stages()
    term = built("adda", network)
    assert not term.train().frozen.training
    assert term.discriminator.training
    before = copy.deepcopy(term.frozen.state_dict())
    optimizer = torch.optim.AdamW(term.parameters(), lr=0.1, weight_decay=0.1)
    term(step_of(network, leaf=False)).backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in term.frozen.state_dict().items())
    assert network.stages["low"].weight.grad is not None, "the copy must not share weights with the network"
    assert any(name.startswith("frozen.") for name in term.state_dict())
    assert not any(weight.requires_grad for weight in term.frozen.parameters())


def test_mcd_by_hand() -> None:
    """p_1 = (1/2, 1/2) and p_2 = (1/4, 3/4): the discrepancy is 1/4; losses of the second are ln 4 and ln 4/3."""
    network = small(1, 2)
    term = built("mcd", network)
    with torch.no_grad():
        for part in (network.head, term.second):
            part.weight.zero_()  # type: ignore[union-attr,operator]
            part.bias.zero_()  # type: ignore[union-attr,operator]
        term.second.bias[1] = math.log(3)
    step = step_of(network, SOURCE[:2], labels=torch.tensor([0, 1]), weights=torch.tensor([1.0, 3.0]))
    assert term(step).item() == pytest.approx((math.log(4) + 3 * math.log(4 / 3)) / 4 - 0.25, rel=1e-5)


def test_mcd_of_equal_classifiers_has_no_discrepancy_and_a_finite_gradient() -> None:
    network = small()
    term, step = built("mcd", network), alone("mcd", step_of(network))
    term.second.load_state_dict(network.head.state_dict())
    value = term(step)
    value.backward()
    assert value.item() == 0
    assert features(step)[1].grad is not None
    assert features(step)[1].grad.abs().sum() == 0  # type: ignore[union-attr]


def test_mcds_second_classifier_learns_the_source() -> None:
    network = small()
    term, step = built("mcd(weight=1)", network), step_of(network, labels=(SOURCE[:, 0] > 0).long())
    optimizer = torch.optim.Adam(term.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss = adversary.cross_entropy(term.second(features(step)[0]), step.labelled.batch.labels, WEIGHTS)
        term(step).backward()
        optimizer.step()
    assert loss.item() < 0.5


@pytest.mark.parametrize("name", ["mcd", "mdd", "wdgrl", "adda"])
def test_the_strength_reaches_the_features_alone(name: str) -> None:
    network = small()
    slopes, own = [], []
    for strength in (1, 3):
        term, step = built(f"{name}(strength={strength})", network), alone(name, step_of(network))
        seeded(lambda term=term, step=step: term(step)).backward()
        slopes.append(features(step)[1].grad)
        own.append([weight.grad for weight in term.parameters() if weight.grad is not None])
    assert slopes[0] is not None
    assert torch.allclose(3 * slopes[0], slopes[1])
    assert all(torch.equal(one, other) for one, other in zip(*own, strict=True))


@pytest.mark.parametrize("name", ["cdan", "mdd", "wdgrl", "adda"])
def test_the_ramp_multiplies_the_features_gradient(name: str) -> None:
    network = small()
    slopes = []
    for progress in (0.25, 0.75):
        step = step_of(network, progress=progress)
        seeded(lambda step=step: built(f"{name}(steepness=4)", network)(step)).backward()
        slopes.append(features(step)[1].grad)
    assert slopes[0] is not None
    assert torch.allclose(slopes[0] / math.tanh(0.5), slopes[1] / math.tanh(1.5), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 4.0])
def test_mdd_by_a_loop(gamma: float) -> None:
    network = small()
    term, step = built(f"mdd(gamma={gamma})", network), step_of(network)
    chosen = [one.output.logits.argmax(1) for one in (step.labelled, step.unlabelled)]  # type: ignore[union-attr]
    answers = [term.second(one).softmax(1).tolist() for one in features(step)]
    agree = [-math.log(q[c]) for q, c in zip(answers[0], chosen[0], strict=True)]
    rest = [math.log(1 - q[c]) for q, c in zip(answers[1], chosen[1], strict=True)]
    assert term(step).item() == pytest.approx(gamma * mean_of(agree, WEIGHTS.tolist()) - mean_of(rest), rel=1e-5)


def test_mdd_of_equal_domains_settles_at_the_papers_share() -> None:
    """The best second head has gamma / (1 + gamma) on the chosen class; a different factor or margin moves it."""
    network = small()
    term = built("mdd(gamma=4, hidden=8)", network)
    optimizer = torch.optim.Adam(term.parameters(), lr=0.05)
    one = torch.ones(4, 4)
    step = step_of(network, one, one, torch.zeros(4, dtype=torch.int64), torch.ones(4), progress=0.0)
    for _ in range(300):
        optimizer.zero_grad()
        term(step).backward()
        optimizer.step()
    chosen = step.labelled.output.logits[0].argmax()
    assert term.second(features(step)[0])[0].softmax(0)[chosen].item() == pytest.approx(0.8, abs=0.005)


def test_mdds_logarithm_of_the_rest_is_exact_near_1() -> None:
    network = small()
    term = built("mdd(hidden=1)", network)
    with torch.no_grad():
        for part in (term.second[0], term.second[2]):
            part.weight.zero_()
            part.bias.zero_()
        step = step_of(network, SOURCE[:1], TARGET[:1], LABELS[:1], torch.ones(1))
        assert step.unlabelled is not None
        said = int(step.unlabelled.output.logits[0].argmax())
        term.second[2].bias[said] = 60.0
    at_source = 0.0 if int(step.labelled.output.logits[0].argmax()) == said else 60.0
    assert term(step).item() == pytest.approx(4 * at_source - (math.log(2) - 60), rel=1e-5)


def steep(term: Any, slope: float) -> None:
    """The critic c(x) = slope x_0."""
    with torch.no_grad():
        for weight in term.critic.parameters():
            weight.zero_()
        term.critic[0].weight[:2, 0] = torch.tensor([1.0, -1.0])
        term.critic[2].weight[0, :2] = torch.tensor([slope, -slope])


@pytest.mark.parametrize(("slope", "penalty"), [(1.0, 0.0), (3.0, 40.0), (0.0, 10.0)])
def test_wdgrl_by_hand(slope: float, penalty: float) -> None:
    """A linear critic has one slope everywhere: the penalty is 10 (slope - 1)^2, and the rest the gap of the means."""
    network = small()
    term, step = built("wdgrl(strength=1, steepness=100)", network), step_of(network)
    steep(term, slope)
    source, target = features(step)
    gap = np.average(source[:, 0].tolist(), weights=WEIGHTS.numpy()) - target[:, 0].mean().item()
    value = seeded(lambda: term(step))
    assert value.item() == pytest.approx(penalty - slope * gap, rel=1e-4, abs=1e-5)
    value.backward()
    assert source.grad is not None
    # Reversed: descent moves the mean of the source down and that of the target up; the penalty moves neither.
    assert source.grad[:, 0].tolist() == pytest.approx((slope * WEIGHTS / WEIGHTS.sum()).tolist(), abs=1e-6)
    assert target.grad[:, 0].tolist() == pytest.approx([-slope / 5] * 5, abs=1e-6)  # type: ignore[index]
    assert all(torch.isfinite(weight.grad).all() for weight in term.parameters())


def test_wdgrls_penalty_looks_at_both_ends_and_between() -> None:
    """c(x) = relu(x_0) has slope 1 right of 0 and 0 left of it: penalty 10 times the weighted share of points there."""
    network = small()
    term, step = built("wdgrl", network), step_of(network)
    with torch.no_grad():
        for weight in term.critic.parameters():
            weight.zero_()
        term.critic[0].weight[0, 0] = term.critic[2].weight[0, 0] = 1.0
    source, target = torch.full((3, 3), 2.0), torch.full((2, 3), -2.0)
    for one, values in ((step.labelled, source), (step.unlabelled, target)):
        assert one is not None
        object.__setattr__(one, "output", Output(values.requires_grad_(), torch.zeros(len(values), 3)))
    batch = replace(step.labelled.batch, weights=torch.tensor([0.5, 2.0, 0.5]))
    step = replace(step, labelled=replace(step.labelled, batch=batch))
    places = seeded(lambda: torch.rand(3, 1), 4).flatten().tolist()  # of the source, for pairs (0,0), (1,1), (2,0)
    left = [place < 0.5 for place in places]
    assert 0 < sum(left) < 3
    share = (2 + sum(w * one for w, one in zip([0.5, 2.0, 0.5], left, strict=True))) / 8
    assert seeded(lambda: term(step), 4).item() == pytest.approx(10 * share - 2.0, rel=1e-4)


def test_wdgrls_critic_measures_the_distance_of_two_shifted_samples() -> None:
    """A sample moved by 3 lies 3 away. A slope s costs 10 (s - 1)^2 and gains 3 s, so the best s is 1 + 3/20."""
    network = Network({"first": nn.Identity()}, nn.Linear(2, 2))
    term = built("wdgrl(hidden=32)", network)
    optimizer = torch.optim.Adam(term.parameters(), lr=0.01)
    source = seeded(lambda: torch.randn(64, 2))
    step = step_of(
        network, source, source + torch.tensor([3.0, 0.0]), torch.zeros(64, dtype=torch.int64), torch.ones(64)
    )
    with torch.random.fork_rng():
        for _ in range(400):
            optimizer.zero_grad()
            term(step).backward()
            optimizer.step()
    heights = [term.critic(one).mean().item() for one in features(step)]
    assert heights[0] - heights[1] == pytest.approx(3.45, abs=0.03)


def test_wdgrls_pace_is_the_critics_alone() -> None:
    network = small()
    found = []
    for pace in (1, 5):
        term, step = built(f"wdgrl(pace={pace})", network), step_of(network)
        value = seeded(lambda term=term, step=step: term(step))
        value.backward()
        found.append((value.item(), features(step)[1].grad, [weight.grad for weight in term.parameters()]))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])
    for slow, fast in zip(found[0][2], found[1][2], strict=True):
        assert torch.allclose(5 * slow, fast, rtol=1e-4, atol=1e-6)


def test_wdgrl_draws_from_the_global_generator() -> None:
    network = small()
    term = built("wdgrl", network)
    values = [seeded(lambda: term(step_of(network)), seed).item() for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("temperature", [None, 0.05, 2.0])
def test_mme_by_a_loop(temperature: float | None) -> None:
    network = small()
    term, step = built(f"mme(temperature={'none' if temperature is None else temperature})", network), step_of(network)
    weight, bias = network.head.weight.tolist(), network.head.bias.tolist()  # type: ignore[union-attr,operator]
    entropies = []
    for row in features(step)[1].tolist():
        length = math.sqrt(sum(one * one for one in row))
        logits = [sum(w * f for w, f in zip(line, row, strict=True)) for line in weight]
        if temperature is None:
            logits = [one + b for one, b in zip(logits, bias, strict=True)]
        else:
            logits = [one / length / temperature for one in logits]
        total = sum(map(math.exp, logits))
        entropies.append(-sum(math.exp(one) / total * (one - math.log(total)) for one in logits))
    assert term(step).item() == pytest.approx(-0.1 * mean_of(entropies), rel=1e-4)


def test_open_set_by_hand() -> None:
    """Equal logits of 2 classes and unknown: u = 1/3 on the target, and each answer has 1/3 on the source."""
    network = small(1, 2)
    term = built("open_set", network)
    with torch.no_grad():
        for part in (network.head, term.unknown):
            part.weight.zero_()  # type: ignore[union-attr,operator]
            part.bias.zero_()  # type: ignore[union-attr,operator]
    step = step_of(network, labels=LABELS % 2)
    at_border = -(math.log(1 / 3) + math.log(2 / 3)) / 2
    assert term(step).item() == pytest.approx(math.log(3) + at_border, rel=1e-5)
    other = built("open_set(border=0.2)", network)
    other.load_state_dict(term.state_dict())
    assert other(step).item() == pytest.approx(math.log(3) - 0.2 * math.log(1 / 3) - 0.8 * math.log(2 / 3), rel=1e-5)


def test_open_sets_border_is_where_the_classifier_settles() -> None:
    network = small()
    term = built("open_set(border=0.3)", network)
    step = alone("open_set", step_of(network, target=TARGET[:1]))
    optimizer = torch.optim.Adam(term.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        term(again(step)).backward()
        optimizer.step()
    target = features(step)[1]
    share = torch.cat([network.head(target), term.unknown(target)], 1).softmax(1)[0, -1]
    assert share.item() == pytest.approx(0.3, abs=0.005)


# shot


def answered(network: Network, made: Tensor, places: Sequence[int]) -> Step:
    """A step whose unlabelled features are given; the labelled part is poison."""
    step = step_of(network, SOURCE * math.nan, labels=LABELS - 100, weights=WEIGHTS * math.nan)
    batch = Batch(made, torch.zeros(len(made)), torch.ones(len(made)), places=torch.tensor(places))
    return replace(step, unlabelled=Seen(batch, Output(made, torch.full((len(made), 3), math.nan))))


def naive_centroids(rows: np.ndarray, answers: np.ndarray) -> dict[int, np.ndarray]:
    classes = range(answers.shape[1])
    soft = {c: sum(a[c] * f for a, f in zip(answers, rows, strict=True)) / answers[:, c].sum() for c in classes}

    def nearest(row: np.ndarray) -> int:
        return max(classes, key=lambda c: row @ soft[c] / np.linalg.norm(row) / np.linalg.norm(soft[c]))

    labels = np.array([nearest(row) for row in rows])
    return {c: rows[labels == c].mean(0) for c in classes if (labels == c).any()}


def test_shots_information_by_hand() -> None:
    """Answers (1, 0, 0) and (1/3, 1/3, 1/3): mean entropy ln(3) / 2, entropy of the mean (2/3, 1/6, 1/6)."""
    network = small()
    with torch.no_grad():
        network.head.weight.copy_(torch.eye(3))  # type: ignore[union-attr,operator]
        network.head.bias.zero_()  # type: ignore[union-attr,operator]
    made = torch.tensor([[200.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    common = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 6))
    step = answered(network, made, [0, 1])
    assert built("shot(beta=0)", network)(step).item() == pytest.approx(math.log(3) / 2 - common, rel=1e-5)
    plain = built("shot(beta=0, diversity=0)", network)(step).item()
    assert plain == pytest.approx(math.log(3) / 2, rel=1e-5)


def test_shots_centroids_by_a_loop() -> None:
    network = small()
    made = seeded(lambda: torch.randn(12, 3), 3).requires_grad_()
    term = built("shot(diversity=0.5)", network, unlabelled=12)
    value = term(answered(network, made, list(range(12))))
    logits = network.head(made).detach()
    answers = logits.double().softmax(1).numpy()
    rows = made.detach().double().numpy()
    wanted = naive_centroids(rows, answers)
    cosine = {c: rows @ one / np.linalg.norm(one) / np.linalg.norm(rows, axis=1) for c, one in wanted.items()}
    labels = [max(wanted, key=lambda c: cosine[c][row]) for row in range(12)]
    parts = -(answers * np.log(answers)).sum(1).mean(), (answers.mean(0) * np.log(answers.mean(0))).sum()
    pseudo = -np.mean([np.log(answers[row, label]) for row, label in enumerate(labels)])
    assert value.item() == pytest.approx(parts[0] + 0.5 * parts[1] + 0.3 * pseudo, rel=1e-4)
    for c, one in wanted.items():
        assert term.centroids[c].numpy() == pytest.approx(one, rel=1e-4)
    assert term.taken.tolist() == [c in wanted for c in range(3)]


def test_shot_lowers_entropy_and_leaves_the_head() -> None:
    network = small()
    made = seeded(lambda: torch.randn(12, 3), 3).requires_grad_()
    term, values = built("shot", network, unlabelled=12), []
    for _ in range(20):
        value = term(answered(network, made, list(range(12))))
        (slope,) = torch.autograd.grad(value, made)
        values.append(adversary.entropy(network.head(made)).mean().item())
        with torch.no_grad():
            made -= 5 * slope
    assert values[-1] < 0.8 * values[0]
    assert all(weight.grad is None and weight.requires_grad for weight in network.head.parameters())
    assert list(term.parameters()) == []


def test_a_class_that_nothing_is_nearest_to_is_never_given() -> None:
    network = small()
    term = built("shot", network, unlabelled=4)
    with torch.no_grad():
        network.head.weight.copy_(torch.eye(3))  # type: ignore[union-attr,operator]
        network.head.bias.copy_(torch.tensor([0.0, 0.0, -200.0]))  # type: ignore[union-attr,operator]
    made = torch.tensor([[9.0, 0.0, 0.0], [8.0, 1.0, 0.0], [0.0, 9.0, 0.0], [0.0, 8.0, 0.5]])
    value = term(answered(network, made, [0, 1, 2, 3]))
    assert term.taken.tolist() == [True, True, False]
    assert value.item() < -0.6  # ln 2 but for what is unsure


def test_shot_remembers_by_place_and_makes_centroids_when_as_many_have_passed() -> None:
    network = small()
    term = built("shot", network, unlabelled=6)
    batches = [seeded(lambda: torch.randn(2, 3), seed) for seed in range(7)]
    places = [[0, 3], [1, 4], [2, 5], [0, 1], [2, 3], [4, 5], [0, 1]]
    remade = []
    for batch, where in zip(batches, places, strict=True):
        before = term.centroids.clone()
        term(answered(network, batch, where))
        remade.append(not torch.equal(before, term.centroids))
        assert torch.equal(term.features[where], batch)
    # After 2; after 2 more (4 known); after 4 more (all 6 known); and then after 6 more.
    assert remade == [True, True, False, True, False, False, True]
    assert term.known.all()
    assert torch.equal(term.features[2], batches[4][0])


def test_unseen_examples_have_no_part_in_centroids() -> None:
    network = small()
    made = seeded(lambda: torch.randn(6, 3), 3)
    few, many = built("shot", network, unlabelled=6), built("shot", network, unlabelled=500)
    values = [term(answered(network, made, list(range(6)))).item() for term in (few, many)]
    assert values[0] == values[1]
    assert torch.allclose(few.centroids, many.centroids, atol=1e-6)
    assert torch.equal(few.taken, many.taken)


def test_shots_memory_survives() -> None:
    network = small()
    made = seeded(lambda: torch.randn(6, 3), 3)
    term = built("shot", network, unlabelled=6)
    term(answered(network, made, list(range(6))))
    twin = built("shot", network, unlabelled=6)
    twin.load_state_dict(term.state_dict())
    assert term(answered(network, made[:2] + 1, [4, 5])).item() == twin(answered(network, made[:2] + 1, [4, 5])).item()
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in term.state_dict().items())


def test_shot_says_what_it_misses() -> None:
    network = small()
    step = answered(network, torch.ones(2, 3), [0, 1])
    assert step.unlabelled is not None
    bare = replace(step, unlabelled=replace(step.unlabelled, batch=replace(step.unlabelled.batch, places=None)))
    sentence = r"^shot remembers unlabelled examples by their places, and this run gives none; type shot\(beta=0\)\.$"
    with pytest.raises(TrainingError, match=sentence):
        built("shot", network)(bare)
    with pytest.raises(TrainingError, match=sentence):
        built("shot", network, unlabelled=0)(step)
    assert torch.isfinite(built("shot(beta=0)", network)(bare))
    with pytest.raises(
        DataError, match=r"^shot needs a memory of 10,000,000,000 .* GB, .*; type shot\(beta=0\), .*\.$"
    ):
        built("shot", network, unlabelled=10**10)
    assert built("shot(beta=0)", network, unlabelled=10**10).features.numel() == 0
