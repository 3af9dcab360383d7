"""A rearranged network must compute what the plain one computes, and a form that does not must not be kept."""

import copy

import pytest
import torch
from networks import convolutional
from torch import nn

from sterna import fastest
from sterna.fastest import Plan
from sterna.network import deviation

INPUTS = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def chain(*stages):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Sequential(*[stage() for stage in stages])
        for part in made.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(part.running_mean)
                nn.init.uniform_(part.running_var, 0.5, 2)
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
    return made.eval()


class Normed(nn.BatchNorm2d):
    """Normalises, drops and activates in one layer, as some libraries do."""

    def __init__(self, width):
        super().__init__(width)
        self.drop, self.act = nn.Identity(), nn.Hardtanh(-0.2, 0.2)

    def forward(self, inputs):
        return self.act(self.drop(super().forward(inputs)))


class Odd(nn.BatchNorm2d):
    """A layer of an unknown kind: nobody can know what it does after normalising."""

    def forward(self, inputs):
        return super().forward(inputs) * 3


class Aside(nn.Module):
    """The output of the convolution is read by the normalisation and by someone else."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, inputs):
        made = self.convolution(inputs)
        return self.norm(made) + made


class Twice(nn.Module):
    """One convolution before two normalisations."""

    def __init__(self):
        super().__init__()
        self.convolution, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, inputs):
        return self.second(self.convolution(self.first(self.convolution(inputs))))


def pair(norm=nn.BatchNorm2d, bias=True, groups=1):
    return lambda: nn.Sequential(nn.Conv2d(3, 6, 3, bias=bias, groups=groups), norm(6))


@torch.no_grad()
def test_folding_by_hand():
    """y = ((2x + 1) - 3) * 5 / sqrt(4) + 7 = 5x + 2."""
    stage = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)).eval()
    values = (stage[0].weight, 2), (stage[0].bias, 1), (stage[1].running_mean, 3), (stage[1].running_var, 4)
    for tensor, value in (*values, (stage[1].weight, 5), (stage[1].bias, 7)):
        tensor.fill_(value)
    stages = nn.Sequential(stage)
    assert fastest.fold(stages, torch.ones(1, 1, 2, 2)) == 1
    assert (stage[0].weight.item(), stage[0].bias.item()) == (5, 2)
    assert isinstance(stage[1], nn.Identity)


@pytest.mark.parametrize("stage", [pair(), pair(bias=False), pair(groups=3), pair(Normed)])
@torch.no_grad()
def test_a_folded_pair_computes_the_same(stage):
    plain = chain(stage)
    folded = copy.deepcopy(plain)
    assert fastest.fold(folded, INPUTS[:1]) == 1
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    assert deviation(folded(INPUTS), plain(INPUTS)) < 1e-5


@pytest.mark.parametrize(
    "stages",
    [
        (pair(Odd),),
        (Twice,),
        (lambda: nn.Conv2d(3, 6, 3), lambda: nn.BatchNorm2d(6)),  # a cut lies between them
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.BatchNorm2d(6)),),
    ],
)
@torch.no_grad()
def test_what_may_not_be_folded_stays(stages):
    plain = chain(*stages)
    folded = copy.deepcopy(plain)
    assert fastest.fold(folded, INPUTS[:1]) == 0
    assert torch.equal(folded(INPUTS), plain(INPUTS))


@pytest.fixture
def matrices(monkeypatch):
    """A processor that multiplies bfloat16 matrices, whatever this one does, and no network too small for it."""
    monkeypatch.setattr(fastest, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(fastest, "LARGE", 0)


@torch.no_grad()
@pytest.mark.usefixtures("matrices")
def test_a_wrong_folding_is_not_kept():
    plain = chain(Aside)
    wrong = copy.deepcopy(plain)
    assert fastest.fold(wrong, INPUTS[:1]) == 1
    assert deviation(wrong(INPUTS), plain(INPUTS)) > 0.1
    found = fastest.plan(plain, INPUTS)
    assert not found.folded
    assert found.dtype == "bfloat16"


@pytest.mark.usefixtures("matrices")
def test_the_fastest_form_that_agrees_is_kept():
    prefix = convolutional().prefix(4)
    before = copy.deepcopy(prefix.state_dict())
    found = fastest.plan(prefix, INPUTS)
    assert (found.dtype, found.channels_last, found.folded) == ("bfloat16", True, True)
    assert 1e-4 < found.deviation <= fastest.TOLERANCE
    assert all(torch.equal(value, before[name]) for name, value in prefix.state_dict().items())
    assert prefix[0].training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in prefix.modules())
    form = fastest.prepared(prefix, found, INPUTS)
    plain = fastest.prepared(prefix, Plan())
    assert form(INPUTS).dtype == torch.bfloat16
    assert deviation(form(INPUTS), plain(INPUTS)) == pytest.approx(deviation(form(INPUTS), prefix.eval()(INPUTS)))


@pytest.mark.usefixtures("matrices")
def test_the_tolerance_decides():
    assert fastest.plan(convolutional().prefix(4), INPUTS, tolerance=1e-4).dtype == "float32"
    assert fastest.plan(convolutional().prefix(4), INPUTS, tolerance=0.05).dtype == "bfloat16"
    assert fastest.plan(convolutional().prefix(4), INPUTS, tolerance=0.0) == Plan()


@pytest.mark.parametrize(("capabilities", "dtype"), [({"amx_bf16": True}, "bfloat16"), ({"avx512_f": True}, "float32")])
def test_the_processor_decides_and_no_clock(monkeypatch, capabilities, dtype):
    """Two caches, or two runs at different loads of the machine, give the same bits."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(fastest, "LARGE", 0)
    assert fastest.plan(convolutional().prefix(4), INPUTS).dtype == dtype


def test_an_older_torch_that_cannot_tell_stays_exact(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(fastest, "LARGE", 0)
    assert fastest.plan(convolutional().prefix(4), INPUTS).dtype == "float32"


class Across(nn.Module):
    """A linear layer across channels, as ConvNeXt has them."""

    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(512, width), nn.Linear(width, 512)

    def forward(self, inputs):
        return self.down(self.up(inputs.movedim(1, -1))).movedim(-1, 1)


class Cancelling(nn.Module):
    """The small difference of large numbers: eight bits of a mantissa cannot hold it."""

    def forward(self, inputs):
        return (inputs + 100) - 100


class Overflowing(nn.Module):
    """Infinite in bfloat16 alone."""

    def forward(self, inputs):
        return inputs / (inputs.dtype == torch.float32)


class Refusing(nn.Module):
    """An operation that does not exist for bfloat16."""

    def forward(self, inputs):
        if inputs.dtype != torch.float32:
            raise RuntimeError("not implemented for 'BFloat16'")
        return inputs


@pytest.mark.usefixtures("matrices")
@pytest.mark.parametrize("stage", [Cancelling, Overflowing, Refusing])
def test_a_form_that_deviates_or_fails_is_refused(stage):
    assert fastest.plan(chain(stage), INPUTS).dtype == "float32"


@pytest.mark.usefixtures("matrices")
def test_a_deviation_below_the_last_stage_counts():
    """Any cut may be asked for, so agreement at the end is not enough."""

    class Constant(nn.Module):
        def forward(self, inputs):
            return torch.ones_like(inputs)

    assert fastest.plan(chain(Cancelling, Constant), INPUTS).dtype == "float32"


@pytest.mark.parametrize(
    ("stages", "dtype"),
    [
        ([lambda: nn.Linear(1024, 1024)], "bfloat16"),
        ([lambda: nn.Linear(512, 512)], "float32"),
        ([lambda: nn.Conv2d(1024, 1024, 1)], "bfloat16"),
        ([lambda: nn.Conv2d(1024, 1024, 1), lambda: nn.Conv2d(1024, 1024, 3, padding=1, groups=1024)], "float32"),
        ([lambda: nn.Conv2d(512, 512, 3, padding=1, groups=512), lambda: Across(1100)], "bfloat16"),
    ],
)
def test_bfloat16_is_for_large_matrices(monkeypatch, stages, dtype):
    monkeypatch.setattr(fastest, "multiplies_bfloat16", lambda: True)
    network = chain(*stages)
    width = next(part.weight.shape[1] for part in network.modules() if isinstance(part, (nn.Linear, nn.Conv2d)))
    width = 512 if width == 1 else width
    inputs = torch.rand(2, width) if isinstance(network[0], nn.Linear) else torch.rand(2, width, 2, 2)
    assert fastest.plan(network, inputs).dtype == dtype


def test_only_pictures_have_channels_to_put_last():
    assert fastest.plan(chain(lambda: nn.Linear(4, 4)), torch.rand(5, 4)).channels_last is False


def test_outputs_below_survive_operations_in_place():
    prefix = chain(lambda: nn.Conv2d(3, 4, 1), lambda: nn.ReLU(inplace=True))
    found = fastest.prepared(prefix, Plan()).at(INPUTS, [0, 1, 2])
    assert torch.equal(found[0], INPUTS)
    with torch.no_grad():
        assert torch.equal(found[1], prefix[0](INPUTS))
    assert found[1].min() < 0 <= found[2].min()


def test_a_pass_ends_at_the_highest_cut_asked_for():
    prefix = chain(nn.ReLU, Refusing)
    assert list(fastest.prepared(prefix, Plan("bfloat16")).at(INPUTS, [1])) == [1]


def test_a_folded_plan_needs_a_sample():
    with pytest.raises(ValueError, match="sample"):
        fastest.prepared(chain(pair()), Plan(folded=True))


def test_the_weights_of_a_form_are_its_own_and_those_that_were_shared_still_are():
    one = nn.Linear(4, 4)
    prefix = nn.Sequential(one, nn.Sequential(one, nn.Linear(4, 4)))
    for plan in (Plan(), Plan("bfloat16")):
        stages = fastest.prepared(prefix, plan).stages
        assert stages[0].weight is stages[1][0].weight
        assert {weight.dtype for weight in stages.parameters()} == {getattr(torch, plan.dtype)}
        assert not {w.data_ptr() for w in stages.parameters()} & {w.data_ptr() for w in prefix.parameters()}
        assert not any(weight.requires_grad for weight in stages.parameters())
    assert all(weight.requires_grad and weight.dtype == torch.float32 for weight in prefix.parameters())
