"""Stepping stones: ways by hand, domains that turn step by step, and chains that lead nowhere."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import make_moons

from sterna import stepping
from sterna.errors import DataError
from sterna.stepping import Domain

MIDDLE = np.array([0.5, 0.25])  # of two moons
UNKNOWN = np.zeros(0, dtype=np.int64)


def mean_distance(one, other):
    """Between the means; enough where domains are shifted."""
    return float(np.linalg.norm(one.mean(axis=0) - other.mean(axis=0)))


def discrepancy(one, other):
    """Unbiased squared maximum mean discrepancy with one Gaussian kernel."""
    both, n, m = np.concatenate([one, other]), len(one), len(other)
    away = ((both[:, None] - both[None]) ** 2).sum(axis=-1)
    kernel = np.exp(-away / np.median(away[away > 0]))
    within = (kernel[:n, :n].sum() - n) / (n * n - n) + (kernel[n:, n:].sum() - m) / (m * m - m)
    return float(within - 2 * kernel[:n, n:].mean())


def turned(features, degrees):
    angle = np.deg2rad(degrees)
    return features @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def clouds(degrees, seed, n=150):
    """Two classes on opposite sides of the origin, turned about it."""
    draw, labels = np.random.default_rng(seed), np.arange(n) % 2
    return turned((2 * labels - 1)[:, None] * [1.0, 0.0] + draw.normal(0, 0.35, (n, 2)), degrees), labels


def curved(features):
    """What an encoder would see of two moons: coordinates in which a plane can divide them."""
    x, y = (features - MIDDLE).T
    return np.stack([x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3], axis=1)


def moons(degrees, seed, n=150):
    features, labels = make_moons(n, noise=0.08, random_state=seed)
    return curved(turned(features - MIDDLE, degrees) + MIDDLE), labels


def chain(make, degrees, labelled, seed=0):
    """Source, five stops in another order, target without labels, and held-out target examples."""
    stops = [(one, *make(one, 10 * seed + place + 1)) for place, one in enumerate(np.linspace(0, degrees, 7)[1:-1])]
    others = [Domain(f"at {one:g}", features, labels if labelled else UNKNOWN) for one, features, labels in stops]
    source, target = Domain("source", *make(0, 10 * seed)), Domain("target", make(degrees, 10 * seed + 6)[0], UNKNOWN)
    return source, [others[place] for place in (3, 0, 4, 2, 1)], target, make(degrees, 10 * seed + 7)


def gone(way, domains, held, seed=0):
    moved, features, head = stepping.on_coordinates(domains, held[0], 2)
    return stepping.travel(way, moved, features, held[1], head, seed)


@pytest.mark.parametrize(
    ("make", "degrees", "labelled"),
    [(clouds, 90, False), (clouds, 120, False), (clouds, 120, True), (moons, 60, False), (moons, 90, True)],
)
def test_a_target_too_far_is_reached_in_steps(make, degrees, labelled):
    source, others, target, held = chain(make, degrees, labelled)
    way = stepping.find(source, target, others, discrepancy)
    assert way.by_others
    inner = [float(name.split()[1]) for name in way.stops[1:-1]]
    assert inner == sorted(inner)
    assert len(inner) >= 3
    found = gone(way, [source, *others, target], held)
    assert found.direct < 0.7
    assert found.reached > 0.85
    assert found.helps
    assert 0 < found.low <= found.gain <= found.high
    assert found.gain == pytest.approx(found.reached - found.direct)
    assert found.p_value < 0.001
    assert found.sentence.startswith(f"Going by {', '.join(way.stops[1:-1])} helps: ")


def test_unrelated_domains_do_not_help():
    """Labels that nothing says anything about, by a way that is taken whatever its hops."""
    helped = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        domains = [Domain(name, draw.normal(draw.normal(0, 1, 5), 1, (60, 5)), UNKNOWN) for name in "sabct"]
        domains[0] = Domain("s", domains[0].features, draw.integers(0, 2, 60))
        held = domains[-1].features[:40] + draw.normal(0, 0.3, (40, 5)), draw.integers(0, 2, 40)
        way = stepping.given(domains[0], domains[-1], domains[1:-1], mean_distance)
        assert way.stops == tuple("sabct")
        found = gone(way, domains, held, seed)
        assert found.helps == ("helps" in found.sentence)
        helped += found.helps
    assert helped <= 2  # 2.5 % of 20 is one half


def test_a_stop_with_wrong_labels_hurts():
    source, _, target, held = chain(clouds, 20, False)
    features, labels = clouds(10, 3)
    misled = Domain("misled", features, 1 - labels)
    found = gone(stepping.given(source, target, [misled], discrepancy), [source, misled, target], held)
    assert found.direct > 0.9
    assert found.reached < 0.5
    assert not found.helps
    assert "Going by misled hurts: " in found.sentence


def test_a_near_target_is_reached_directly():
    source, others, _, _ = chain(clouds, 120, False)
    target, held = Domain("target", clouds(5, 91)[0], UNKNOWN), clouds(5, 92)
    way = stepping.find(source, target, others, discrepancy)
    assert way.stops == ("source", "target")
    assert not way.by_others
    found = gone(way, [source, *others, target], held)
    assert (found.gain, found.low <= 0 <= found.high, found.helps) == (0, True, False)
    assert found.sentence.startswith("The direct way is taken: no other domain lies between, at a cost of ")
    assert found.sentence.endswith(f"It reaches {100 * found.direct:.1f} % of 150 held-out target examples.")


def test_the_shortest_way_is_the_best_of_all_ways():
    draw = np.random.default_rng(0)
    for _ in range(20):
        half = np.triu(draw.uniform(0.1, 2, (5, 5)), 1)
        between = half + half.T
        ways = [(0, *inner, 4) for size in range(4) for inner in itertools.permutations((1, 2, 3), size)]
        lengths = [sum(between[a, b] ** 2 for a, b in itertools.pairwise(way)) for way in ways]
        assert stepping.shortest(between, 0, 4) == ways[int(np.argmin(lengths))]


def test_ways_by_hand():
    line = np.abs(np.subtract.outer([0.0, 1, 2, 9, 3], [0.0, 1, 2, 9, 3]))
    assert stepping.shortest(line, 0, 4) == (0, 1, 2, 4)  # 3 against 9; place 3 is a detour
    assert stepping.shortest(np.zeros((3, 3)), 0, 2) == (0, 2)  # ties go to fewer hops
    apart = np.full((3, 3), np.inf)
    assert stepping.shortest(apart, 0, 2) == (0, 2)


@pytest.mark.parametrize(
    ("place", "stops", "said"),
    [
        (5.0, ("s", "m", "t"), "By m the longest hop is 5, against 10 directly."),
        (7.9, ("s", "m", "t"), "By m the longest hop is 7.9, against 10 directly."),
        (
            8.1,
            ("s", "t"),
            "The direct way is taken: the longest hop by m is 8.1, against 10 directly, and below 0.8 of",
        ),
        (20.0, ("s", "t"), "The direct way is taken: no other domain lies between, at a cost of 10 directly."),
    ],
)
def test_a_way_is_taken_where_its_longest_hop_is_short(place, stops, said):
    s, m, t = (Domain(name, np.array([[at]]), np.array([0])) for name, at in (("s", 0.0), ("m", place), ("t", 10.0)))
    way = stepping.find(s, t, [m], mean_distance)
    assert way.stops == stops
    assert way.direct == 10
    assert sum(way.hops) >= 10
    assert way.sentence.startswith(said)


def test_costs_are_symmetric_and_not_negative():
    domains = [Domain(name, np.array([[at]]), UNKNOWN) for name, at in (("a", 0.0), ("b", 2.0), ("c", -1.0))]
    found = stepping.costs(domains, lambda one, other: float(other.mean() - one.mean()))
    assert found.tolist() == [[0, 2, 0], [2, 0, 0], [0, 0, 0]]


def test_what_is_learnt_from_at_each_stop():
    seen = []

    def head(features, labels, weights):
        seen.append((features[:, 0].tolist(), labels.tolist(), weights.tolist()))
        # Surest of class 1 far to the right.
        return lambda judged: np.stack([1 - judged[:, 0] / 100, judged[:, 0] / 100], axis=1)

    column = np.arange(10.0)[:, None] * 10
    stops = [
        Domain("a", np.array([[1.0], [2.0]]), np.array([0, 1])),
        Domain("b", np.array([[3.0]]), np.array([1])),
        Domain("c", column, UNKNOWN),
        Domain("d", np.array([[4.0]]), np.array([0])),
    ]
    stepping.follow(stops, head)
    assert seen[0] == ([1, 2], [0, 1], [1, 1])
    assert seen[1] == ([1, 2, 3], [0, 1, 1], [0.5, 0.5, 1])
    # Nine of the ten it is surest of; 50 is left out.
    assert seen[2] == ([0, 10, 20, 30, 40, 60, 70, 80, 90], [0] * 5 + [1] * 4, [1.0] * 9)
    assert seen[3][0][-1] == 4
    assert seen[3][2] == pytest.approx([1 / 9] * 9 + [1])


def test_held_out_examples_have_no_part_in_the_coordinates():
    source, others, target, held = chain(clouds, 90, False)
    domains = [source, *others, target]
    one, features, _ = stepping.on_coordinates(domains, held[0], 2)
    other, far, _ = stepping.on_coordinates(domains, 1e3 * held[0], 2)
    assert all(np.array_equal(a.features, b.features) for a, b in zip(one, other, strict=True))
    assert features.shape == far.shape == held[0].shape


def test_what_is_no_way_is_said():
    source, others, target, held = chain(clouds, 90, False)
    with pytest.raises(DataError, match="got target twice; rename one folder"):
        stepping.find(source, target, [*others, target], discrepancy)
    with pytest.raises(DataError, match="needs examples, and empty has none; leave it out"):
        stepping.given(source, target, [Domain("empty", np.zeros((0, 2)), UNKNOWN)], discrepancy)
    with pytest.raises(DataError, match="starts at labelled examples, and target has none"):
        stepping.follow([target, source], None)
    way = stepping.find(source, target, others, discrepancy)
    with pytest.raises(DataError, match="judged on held-out target examples, got none; label more"):
        gone(way, [source, *others, target], (held[0][:0], held[1][:0]))


def test_the_same_seed_gives_the_same_bits():
    source, others, target, held = chain(moons, 90, False)
    way = stepping.find(source, target, others, discrepancy)
    assert gone(way, [source, *others, target], held, 4) == gone(way, [source, *others, target], held, 4)
