"""The network: cuts, what moves, heads that reuse rows, and whether a chain is the model it was made from."""

from __future__ import annotations

import copy
import io
import warnings
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from sterna import network as networks
from sterna.errors import EncoderError
from sterna.network import Network, Stage, matching_rows


def twice(parts: nn.ModuleList, inputs: Tensor) -> Tensor:
    return 2 * parts[0](inputs)


def small(dropout: float = 0.5) -> Network:
    """Four stages with everything that may drift: weights, BatchNorm statistics, dropout."""
    torch.manual_seed(0)
    whole = nn.Sequential(
        nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout)),
        nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(dropout)),
        nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5), nn.ReLU()),
        nn.Dropout(dropout),
        nn.Linear(5, 4),
    )
    for part in whole.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    stages = {"stem": whole[0], "middle": whole[1], "top": whole[2], "pool": whole[3]}
    return Network(stages, whole[4], whole, "4").eval()


def rows(count: int = 12) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))


def train_steps(network: Network, cut: int, batch_norm: bool, steps: int = 5) -> None:
    """Steps in training mode with weight decay, all weights handed to the optimizer, frozen ones too."""
    network.move_from(cut, batch_norm=batch_norm)
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = network(rows()).logits
        nn.functional.cross_entropy(logits, torch.arange(len(logits)) % logits.shape[1]).backward()
        optimizer.step()


def test_prefix_then_suffix_is_the_network_at_every_cut() -> None:
    network = small()
    wanted = network.whole(rows())
    for cut in range(network.depth + 1):
        output = network.suffix(cut)(network.prefix(cut)(rows()))
        assert torch.equal(output.logits, wanted)
        assert torch.equal(output.features, network(rows()).features)


def test_the_suffix_shares_weights_moving_stages_and_wishes() -> None:
    network = small()
    network.wanted = frozenset({"top"})
    network.move_from(1, batch_norm=True)
    rest = network.suffix(1)
    assert rest.moving == (True, True, True)
    assert rest.batch_norm
    assert list(rest(network.prefix(1)(rows())).stages) == ["top"]
    with torch.no_grad():
        rest.stages["top"][0].weight.zero_()
    assert not network.whole[2][0].weight.any()


@pytest.mark.parametrize("cut", [0, 1, 2, 4])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_frozen_stages_drift_by_exactly_zero(cut: int, batch_norm: bool) -> None:
    network = small()
    before = networks.copied_state(network)
    train_steps(network, cut, batch_norm)
    names = list(network.stages)
    for name, value in network.state_dict().items():
        same = torch.equal(value, before[name])
        stage = names.index(name.split(".")[1]) if name.startswith("stages.") else network.depth
        statistic = "running" in name or "num_batches" in name
        assert same == (stage < cut or (statistic and not batch_norm)), name


def test_every_weight_above_the_cut_takes_a_gradient_and_none_below() -> None:
    network = small()
    train_steps(network, 1, batch_norm=True, steps=1)
    for name, weight in network.named_parameters():
        assert (weight.grad is not None) == (not name.startswith("stages.stem")), name


def test_a_frozen_stage_has_no_dropout_in_training_and_a_moving_one_has() -> None:
    network = small()
    network.move_from(2)
    network.train()
    below = network.prefix(2)
    assert torch.equal(below(rows()), below(rows()))
    assert not torch.equal(network(rows()).logits, network(rows()).logits)


def test_thawing_again_lets_gradients_through() -> None:
    network = small()
    network.move_from(4)
    assert not any(weight.requires_grad for weight in network.prefix(4).parameters())
    network.move_from(0)
    assert all(weight.requires_grad for weight in network.parameters())


def test_a_cut_outside_the_network_is_refused() -> None:
    with pytest.raises(EncoderError, match=r"cut must be in \[0, 4\] .* got 5"):
        small().move_from(5)


def test_kept_stage_outputs_survive_an_operation_in_place() -> None:
    network = Network({"a": nn.Linear(6, 3), "b": nn.ReLU(inplace=True)}, nn.Linear(3, 2)).eval()
    network.wanted = frozenset({"a"})
    output = network(rows())
    assert torch.equal(output.stages["a"], network.stages["a"](rows()))
    output.logits.sum().backward()
    assert network.stages["a"].weight.grad.abs().sum() > 0


def test_the_library_model_follows_training_mode_and_dtype() -> None:
    network = small()
    network.whole.register_buffer("outside", torch.zeros(2))
    network.train()
    assert network.whole.training
    network.eval()
    assert not network.whole.training
    network.double()
    assert network.whole.outside.dtype == torch.float64
    assert network.whole(rows().double()).dtype == torch.float64


def test_a_copy_is_apart_from_the_original_and_its_whole_shares_its_modules() -> None:
    network = small()
    twin = copy.deepcopy(network)
    with torch.no_grad():
        twin.stages["stem"][0].weight.zero_()
    assert not twin.whole[0][0].weight.any()
    assert network.whole[0][0].weight.any()
    assert torch.equal(twin(rows()).logits, twin.whole(rows()))


def test_a_pickled_network_gives_the_same() -> None:
    network = Network({"a": Stage([nn.Linear(6, 3)], twice)}, nn.Linear(3, 2)).eval()
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again(rows()).logits, network(rows()).logits)


def test_with_head_reuses_rows_and_draws_the_others() -> None:
    network = small()
    torch.manual_seed(3)
    twin = network.with_head(3, {0: 2, 2: 1})
    torch.manual_seed(3)
    drawn = nn.Linear(5, 3)
    for target, (weight, bias) in enumerate(zip(twin.head.weight, twin.head.bias, strict=True)):
        source = {0: 2, 2: 1}.get(target)
        wanted = (drawn.weight[1], drawn.bias[1]) if source is None else (network.head.weight[source],)
        assert torch.equal(weight, wanted[0])
        assert torch.equal(bias, network.head.bias[source] if source is not None else wanted[1])
    assert twin.whole[4] is twin.head
    assert network.whole[4] is network.head
    assert network.classes == 4
    assert twin.classes == 3
    assert torch.equal(twin(rows()).logits, twin.whole(rows()))


def test_with_head_of_a_source_without_bias_starts_rows_at_zero() -> None:
    network = Network({"a": nn.Identity()}, nn.Linear(6, 2, bias=False))
    assert network.with_head(1, {0: 1}).head.bias.item() == 0


def test_an_empty_head_gives_no_logits_and_draws_nothing() -> None:
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = Network({"a": nn.Identity()}, networks.empty_head(6))
    assert torch.equal(torch.get_rng_state(), state)
    assert network(rows()).logits.shape == (12, 0)
    assert network.classes == 0
    assert network.width == 6
    assert network.with_head(3, {})(rows()).logits.shape == (12, 3)


@pytest.mark.parametrize(
    ("target", "source", "found"),
    [
        (["daisy", "tulip"], ["tench, Tinca tinca", "daisy"], {0: 1}),
        (["Tinca_Tinca"], ["tench, Tinca tinca"], {0: 0}),
        (["great-white shark"], ["x", "great white shark, white shark"], {0: 1}),
        (["crane"], ["crane", "crane"], {}),
        (["crane"], ["crane, bird", "crane"], {}),
        (["dais"], ["daisy"], {}),
        (["a", "b"], [], {}),
        (["ÉCLAIR"], ["éclair"], {0: 0}),
    ],
)
def test_matching_rows(target: list[str], source: list[str], found: dict[int, int]) -> None:
    assert matching_rows(target, source) == found


def test_deviation_is_relative_and_never_passes_over_nan() -> None:
    assert networks.deviation(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.1)
    assert networks.deviation(torch.tensor([0.5]), torch.tensor([0.0])) == 0.5
    assert networks.deviation(torch.tensor([float("nan")]), torch.tensor([1.0])) == float("inf")


def test_verified_gives_the_deviation_or_refuses() -> None:
    network = small()
    assert networks.verified(network, network.whole, rows()) == 0
    part = Network({name: stage for name, stage in network.stages.items() if name != "middle"}, network.head)
    with pytest.raises(EncoderError, match="do not reproduce the network: relative difference"):
        networks.verified(part, network.whole, rows())


def test_the_digest_sees_every_change_and_nothing_else() -> None:
    state = {"a": torch.arange(6.0), "b": torch.zeros(2, dtype=torch.int64)}
    known = networks.digest("net", state)
    assert networks.digest("net", dict(reversed(state.items()))) == known
    assert networks.digest("net", {**state, "a": torch.arange(12.0)[::2] / 2}) == known  # equal values, other strides
    others = [
        networks.digest("net2", state),
        networks.digest("net", {**state, "a": state["a"] + 1e-6}),
        networks.digest("net", {**state, "a": state["a"].reshape(2, 3)}),
        networks.digest("net", {**state, "b": torch.zeros(2, dtype=torch.float64)}),
        networks.digest("net", {"a": state["a"], "c": state["b"]}),
    ]
    assert len({known, *others}) == 6


class Remembering(nn.Module):
    """Hands a number to a later part behind the chain's back."""

    def __init__(self, first: nn.Module, store: dict[str, Tensor], write: bool) -> None:
        super().__init__()
        self.first, self.store, self.write = first, store, write

    def forward(self, inputs: Tensor) -> Tensor:
        if self.write:
            self.store["mean"] = inputs.mean()
            return self.first(inputs)
        return self.first(inputs) + self.store["mean"]


def bare(network: Network) -> nn.Module:
    """The model of `small` without its classifier, sharing modules."""
    return nn.Sequential(*list(network.whole)[:-1], nn.Identity())


def test_a_chain_of_the_model_itself_is_sound() -> None:
    network = small()
    before = networks.copied_state(network)
    generator = torch.get_rng_state()
    assert networks.sound(network, bare(network), rows())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert network.batch_norm
    assert not network.training


def spoil(network: Network, kind: str) -> Network:
    """The network with one thing wrong with it."""
    stages = dict(network.stages.items())
    if kind == "a stage left out":
        del stages["middle"]
    elif kind == "dropout left out":
        stages["pool"] = nn.Identity()
    elif kind == "two stages exchanged":
        stages["middle"], stages["top"] = stages["top"], stages["middle"]
    elif kind == "an operation added":
        stages["pool"] = nn.Sequential(stages["pool"], nn.Tanh())
    elif kind == "a weight in two stages":
        stages["again"] = Stage([network.stages["top"]], partial(lambda parts, inputs: inputs))
    elif kind == "a weight in no stage":
        hidden = stages["middle"]
        stages["middle"] = Stage([], lambda parts, inputs: hidden(inputs))
    elif kind == "another head":
        return Network(stages, nn.Linear(5, 4), network.whole, "4")
    return Network(stages, network.head, network.whole, "4")


@pytest.mark.parametrize(
    "kind",
    [
        "a stage left out",
        "dropout left out",
        "two stages exchanged",
        "an operation added",
        "a weight in two stages",
        "a weight in no stage",
        "another head",
    ],
)
def test_a_chain_with_one_thing_wrong_is_not_sound(kind: str) -> None:
    network = small()
    assert not networks.sound(spoil(network, kind), bare(network), rows())


def test_stages_that_remember_are_not_sound() -> None:
    store: dict[str, Tensor] = {}
    whole = nn.Sequential(
        Remembering(nn.Linear(6, 5), store, write=True),
        Remembering(nn.Linear(5, 5), store, write=False),
        nn.Linear(5, 4),
    ).eval()
    network = Network({"a": whole[0], "b": whole[1]}, whole[2], whole, "2")
    assert torch.equal(network(rows()).logits, whole(rows()))  # alike at first sight
    assert not networks.sound(network, nn.Sequential(whole[0], whole[1]), rows())
