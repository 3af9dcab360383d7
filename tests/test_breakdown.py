"""The verdict in parts: what an average hides, and no more than chance allows."""

import numpy as np
import pytest
from scipy.stats import binomtest

from sterna import breakdown
from sterna.stats import holm
from sterna.verdict import Evidence


def evidence(name, merits):
    return Evidence(name, [np.arange(len(merits))], [np.asarray(merits, float)], [1 - np.asarray(merits, float)])


def test_holm_by_hand():
    # Holm 1979: 0.01 x 4, 0.02 x 3, 0.03 x 2, then never smaller than one before.
    assert holm([0.03, 0.01, 0.02, 0.04]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_class_that_loses_is_told_though_the_average_gains():
    names = np.repeat(["common", "rare", "single"], [300, 40, 2])
    route = np.where(names == "common", 1.0, 0.0)
    floor = np.where(names == "common", np.arange(342) % 2, 1.0)
    found = breakdown.gains(evidence("full", route), evidence("scratch", floor), {"class": [names]}, seed=0)
    assert [(one.name, one.n) for one in found] == [("common", 300), ("rare", 40)]  # two examples tell nothing
    common, rare = found
    assert common.gain == pytest.approx(0.5)
    assert common.low > 0.4
    assert rare.gain == -1
    assert rare.p_value == pytest.approx(binomtest(0, 40).pvalue)
    assert rare.adjusted == pytest.approx(2 * max(rare.p_value, 0), rel=1e-6) or rare.adjusted >= rare.p_value
    told = breakdown.sentence(found, "full")
    assert told == "Under full some lose: class rare by 100.0 points (p < 0.05 after Holm's correction)."


def test_twenty_equal_classes_are_not_told():
    """Without a difference, some part is wrongly told in at most about one run of twenty."""
    told = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        names = np.repeat([f"c{number}" for number in range(20)], 30)
        route, floor = (generator.random(600) < 0.8 for _ in range(2))
        found = breakdown.gains(evidence("a", route), evidence("b", floor), {"class": [names]}, seed=seed)
        told += bool(breakdown.sentence(found, "a"))
    assert told <= 4


def test_seeds_that_miss_a_class_and_kinds_of_one_part():
    rows = [np.arange(20), np.arange(20, 40)]
    names = [np.repeat(["a", "b"], 10), np.repeat(["a", "c"], 10)]
    merits = [np.ones(20), np.zeros(20)]
    route = Evidence("route", rows, merits, merits)
    floor = Evidence("floor", rows, [np.zeros(20)] * 2, merits)
    found = breakdown.gains(route, floor, {"class": names, "domain": [np.full(20, "x")] * 2}, seed=0)
    assert {one.name: (one.n, one.gain) for one in found} == {"a": (20, 0.5), "b": (10, 1.0), "c": (10, 0.0)}
