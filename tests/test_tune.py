"""Which stages each policy moves, against a table worked out by hand."""

import pytest

from sterna import folder
from sterna.errors import SpecError
from sterna.maths.cuts import cut_below, heavy, thawing

# A ResNet's stages: stem, four groups, a pooling without weights.
RESNET = (9_536, 215_808, 1_219_584, 7_098_368, 14_964_736, 0)
# A transformer: embedding, four equal blocks, a norm of almost no weights.
TRANSFORMER = (590_592, 7_087_872, 7_087_872, 7_087_872, 7_087_872, 1_536)


def plan(written, parameters=RESNET):
    (policy,) = folder.resolve("tune", written)
    return [(phase.name, phase.cut, phase.solver) for phase in policy.plan(parameters)]


def test_stages_without_weight_do_not_count():
    assert heavy(RESNET) == [2, 3, 4]
    assert heavy(TRANSFORMER) == [0, 1, 2, 3, 4]
    assert heavy((0, 0)) == []


def test_cut_below_counts_heavy_stages_from_the_top():
    assert [cut_below(RESNET, count) for count in (0, 1, 2, 3, 9)] == [6, 4, 3, 0, 0]
    assert cut_below(TRANSFORMER, 1) == 4  # the last block and the norm above it


def test_thawing_starts_at_the_head_and_ends_at_the_input():
    assert thawing(TRANSFORMER, 3) == [6, 2, 0]
    assert thawing(TRANSFORMER, 2) == [6, 0]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("probe", [("head", 6, "logistic")]),
        ("full", [("all", 0, "descent")]),
        ("scratch", [("all", 0, "descent")]),
        ("lp_ft", [("head", 6, "logistic"), ("all", 0, "descent")]),
        ("partial(stages=1)", [("head", 6, "logistic"), ("top", 4, "descent")]),
        ("partial(stages=1, warm_head=false)", [("top", 4, "descent")]),
        ("lora", [("head", 6, "logistic"), ("lora", 0, "descent")]),
        ("dora(stages=1)", [("head", 6, "logistic"), ("dora", 4, "descent")]),
        ("ia3(warm_head=false)", [("ia3", 0, "descent")]),
        ("adapter(stages=1)", [("head", 6, "logistic"), ("adapter", 4, "descent")]),
        ("prompt(warm_head=false)", [("prompt", 0, "descent")]),
        ("prefix", [("head", 6, "logistic"), ("prefix", 0, "descent")]),
        ("prefix(stages=2, warm_head=false)", [("prefix", 3, "descent")]),
        ("bitfit(stages=2)", [("head", 6, "logistic"), ("biases", 3, "descent")]),
        ("norm_only", [("head", 6, "logistic"), ("norms", 0, "descent")]),
        ("soup", [("head", 6, "logistic"), ("all", 0, "descent")]),
        ("surgical", [("head", 6, "logistic"), ("surgical", 0, "descent")]),
        ("early_freezing", [("head", 6, "logistic"), ("freezing", 0, "descent")]),
        ("early_freezing(stages=2, warm_head=false)", [("freezing", 3, "descent")]),
        ("gradual(phases=3)", [("head", 6, "logistic"), ("thaw 1", 3, "descent"), ("thaw 2", 0, "descent")]),
        ("gradual(stages=[0, 1, 2])", [("head", 6, "logistic"), ("thaw 1", 4, "descent"), ("thaw 2", 3, "descent")]),
    ],
)
def test_policies_move_what_the_table_says(written, expected):
    assert plan(written) == expected


def test_gradual_takes_the_epochs_of_each_phase():
    (policy,) = folder.resolve("tune", "gradual(stages=[1, 3], epochs=[4, 7])")
    assert [phase.epochs for phase in policy.plan(RESNET)] == [None, 4, 7]


def test_gradual_says_how_many_epochs_it_needs():
    (policy,) = folder.resolve("tune", "gradual(phases=3, epochs=[4])")
    with pytest.raises(SpecError, match="one number for each of its 2 phases"):
        policy.plan(RESNET)


def test_gradual_of_more_phases_than_stages_thaws_each_stage_once():
    cuts = [cut for _, cut, _ in plan("gradual(phases=12)")]
    assert cuts == sorted(set(cuts), reverse=True)
    assert cuts[0] == 6
    assert cuts[-1] == 0


def test_only_scratch_does_without_pretrained_weights():
    without = {name for name in folder.names("tune") if not folder.load("tune", name).pretrained}
    assert without == {"scratch"}


@pytest.mark.parametrize("written", ["full", "partial", "gradual", "lp_ft", "soup"])
def test_stochastic_normalisation_lets_the_statistics_follow(written):
    (plain,) = folder.resolve("tune", written)
    (policy,) = folder.resolve("tune", f"{written}(stochastic=0.5)")
    moving = [phase for phase in policy.plan(RESNET) if phase.solver == "descent"]
    assert {(phase.batch_norm, phase.stochastic) for phase in moving} == {(True, 0.5)}
    assert not any(phase.batch_norm or phase.stochastic for phase in plain.plan(RESNET))
