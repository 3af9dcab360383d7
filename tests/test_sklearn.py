"""The estimators under scikit-learn's own checks, in pipelines, in searches, and against the arrays they stand for."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sterna import adapting, folder
from sterna.contracts import Aligned, Pair
from sterna.errors import DataError, SpecError
from sterna.sklearn import KNOWN, SOURCE, TARGET, Adapter, AdapterRegressor, LabelFree, source_folds, stack
from sterna.spec import Choice, method, option


@method
class Centred:
    """Both domains around their own mean, or around the target's."""

    kind: str = option("each", "whose mean", Choice(("each", "one")))

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    def adapt(self, pair: Pair) -> Aligned:
        middle = pair.target.mean(axis=0)
        own = pair.source.mean(axis=0) if self.kind == "each" else middle
        features, labels = pair.source - own, pair.labels
        if len(pair.known):
            features = np.concatenate([features, pair.target[pair.known] - middle])
            labels = np.concatenate([labels, pair.known_labels])
        return Aligned(
            features, labels, np.ones(len(labels)), lambda rows: rows - middle, (f"{len(pair.known)} known",)
        )


EACH: Any = Centred()
ONE: Any = Centred(kind="one")


def problem(n: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Three words as classes in the plane; the target lies 4 away and its second feature is in other units."""
    draw = np.random.default_rng(0)
    words = np.array(["cat", "dog", "owl"])
    middle = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    own, other = np.arange(n) % 3, draw.integers(3, size=n)
    source = draw.normal(size=(n, 2)) + middle[own]
    target = draw.normal(size=(n, 2)) + middle[other] + 4
    return source, words[own], target, words[other]


@parametrize_with_checks([Adapter(), Adapter(head="nearest"), Adapter(head="svm"), AdapterRegressor()])
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    """Without `domain`: the head alone."""
    check(estimator)


def test_the_estimator_is_the_model_of_the_arrays() -> None:
    source, labels, target, truth = problem()
    X, y, domain = stack(source, labels, target)  # noqa: N806
    found = Adapter(EACH, seed=4).fit(X, y, domain)
    numbers = np.searchsorted(["cat", "dog", "owl"], labels)
    wanted = adapting.fit(EACH, Pair(source, numbers, target, 3, 4))
    assert (found.predict_proba(target) == wanted.answer(target)).all()
    assert found.classes_.tolist() == ["cat", "dog", "owl"]
    assert found.score(target, truth) > 0.9
    assert found.score(target, truth) > Adapter(ONE).fit(X, y, domain).score(target, truth) + 0.2
    assert found.predict(target[:1]) == found.predict(target)[:1]
    assert found.model_.notes == ("0 known",)
    assert found.chosen_ is None


def test_labels_of_the_target_are_not_read() -> None:
    """Whatever stands there, a class of its own included; only KNOWN rows are read."""
    source, labels, target, truth = problem()
    X, y, domain = stack(source, labels, target)  # noqa: N806
    wanted = Adapter(EACH).fit(X, y, domain).predict_proba(target)
    for other in (np.concatenate([labels, truth]), np.concatenate([labels, np.full(len(target), "yak")])):
        found = Adapter(EACH).fit(X, other, domain)
        assert found.classes_.tolist() == ["cat", "dog", "owl"]
        assert (found.predict_proba(target) == wanted).all()


def test_known_labels_are_learnt_from() -> None:
    source, labels, target, _ = problem()
    X, y, domain = stack(source, labels, target, [3, 5], ["a longer word", "cat"])  # noqa: N806
    assert domain.tolist() == [SOURCE] * 90 + [TARGET] * 3 + [KNOWN, TARGET, KNOWN] + [TARGET] * 84
    found = Adapter(EACH).fit(X, y, domain)
    assert found.classes_.tolist() == ["a longer word", "cat", "dog", "owl"]
    assert found.model_.notes == ("2 known",)


def test_the_order_of_rows_does_not_count() -> None:
    source, labels, target, _ = problem()
    X, y, domain = stack(source, labels, target)  # noqa: N806
    turn = np.random.default_rng(1).permutation(len(X))
    one, other = (
        Adapter(EACH, head="nearest").fit(*rows) for rows in ((X, y, domain), (X[turn], y[turn], domain[turn]))
    )
    assert one.predict_proba(target) == pytest.approx(other.predict_proba(target))


def test_a_pipeline_prepares_both_domains() -> None:
    source, labels, target, truth = problem()
    both = stack(source * [1, 1000], labels, target * [1, 1000])
    pipeline = make_pipeline(StandardScaler(), Adapter(EACH, head="nearest"))
    pipeline.fit(both[0], both[1], adapter__domain=both[2])
    assert pipeline.score(target * [1, 1000], truth) > 0.9
    assert pipeline[0].n_samples_seen_ == 180


@pytest.mark.parametrize("routed", [False, True])
def test_a_search_over_methods(routed: bool) -> None:
    """With and without metadata routing; the target's rows are never judged by the fillers of their labels."""
    source, labels, target, truth = problem()
    X, y, domain = stack(source, labels, target)  # noqa: N806
    grid = {"adapter__method": [ONE, EACH], "adapter__head": ["nearest", "logistic"]}
    with sklearn.config_context(enable_metadata_routing=routed):
        adapter = Adapter().set_fit_request(domain=True) if routed else Adapter()
        pipeline = make_pipeline(StandardScaler(), adapter)
        scoring = LabelFree("mutual_information", target)
        search = GridSearchCV(pipeline, grid, scoring=scoring, cv=source_folds(y, domain, folds=3))
        search.fit(X, y, **({"domain": domain} if routed else {"adapter__domain": domain}))
    assert search.best_params_["adapter__method"] is EACH
    assert search.score(target, truth) == pytest.approx(LabelFree("mutual_information", target)(search, target, truth))
    assert (search.predict(target) == truth).mean() > 0.9


def test_cross_validation_without_a_scorer_judges_the_source() -> None:
    source, labels, target, _ = problem()
    X, y, domain = stack(source, labels, target)  # noqa: N806
    cuts = source_folds(y, domain)
    found = cross_validate(Adapter(EACH), X, y, cv=cuts, params={"domain": domain})["test_score"]
    assert found.shape == (5,)
    assert sorted(np.concatenate([judge for _, judge in cuts])) == list(range(90))
    for learn, judge in cuts:
        assert set(range(90, 180)) < set(learn)
        assert not set(learn) & set(judge)
        assert np.unique(y[judge], return_counts=True)[1].tolist() == [6, 6, 6]


def test_scoring_sees_held_out_labels_and_the_target() -> None:
    source, labels, target, _ = problem()
    X, y, domain = stack(source, labels, target)  # noqa: N806
    learn, judge = source_folds(y, domain)[0]
    found = Adapter(EACH).fit(X[learn], y[learn], domain[learn])
    wrong = (found.predict(X[judge]) != y[judge]).mean()
    assert LabelFree("source_risk", target)(found, X[judge], y[judge]) == pytest.approx(-wrong)
    with pytest.raises(DataError, match=r"^a scorer cannot fit in the other direction; choose by this criterion with"):
        LabelFree("circular", target)(found, X[judge], y[judge])
    with pytest.raises(SpecError, match=r"^scoring takes one criterion, got 'entropy \+ snd'; adapting\.choose takes"):
        LabelFree("entropy + snd", target)(found, X[judge], y[judge])


def test_several_methods_are_chosen_from() -> None:
    source, labels, target, truth = problem()
    X, y, domain = stack(source, labels, target)  # noqa: N806
    methods: Any = (ONE, EACH)
    found = Adapter(methods, criterion="mutual_information").fit(X, y, domain)
    assert found.chosen_ is not None
    assert found.chosen_.best == repr(EACH)
    assert found.score(target, truth) > 0.9
    assert clone(found).method == methods


def test_values() -> None:
    source, _, target, _ = problem()
    slope = np.array([1.0, -2.0])
    X, y, domain = stack(source, source @ slope, target)  # noqa: N806
    found = AdapterRegressor(EACH).fit(X, y, domain)
    moved = (target - target.mean(axis=0) + source.mean(axis=0)) @ slope
    assert found.score(target, moved) > 0.99
    assert AdapterRegressor(ONE).fit(X, y, domain).score(target, moved) < 0.9
    cuts = source_folds(y, domain, folds=3)
    search = GridSearchCV(
        AdapterRegressor(), {"method": [EACH, ONE]}, scoring=LabelFree("source_risk", target), cv=cuts
    )
    assert search.fit(X, y, domain=domain).best_score_ <= 0
    helped = AdapterRegressor(EACH).fit(*stack(source, source @ slope, target, [0, 1], [100.0, -100.0]))
    assert helped.model_.notes == ("2 known",)


def test_methods_of_the_folder_are_written_as_text() -> None:
    source, labels, target, _ = problem()
    X, y, domain = stack(source, labels, target)  # noqa: N806
    name = folder.names("adapt")[0]
    with pytest.raises(SpecError, match=rf"unknown adapt method 'x{name}'\. Did you mean '{name}'\?"):
        Adapter(f"x{name}").fit(X, y, domain)


DOMAINS = [
    (np.zeros(3, dtype=int), "domain must be 180 numbers, one for each row: 0 for the source, 1 for the target, 2 for"),
    (np.full(180, 3), "a target row whose label is known; got int64 of shape (180,)."),
    (np.full(180, "source"), "whose label is known; got <U6 of shape (180,)."),
    (np.full(180, np.nan), "whose label is known; got float64 of shape (180,)."),
    (np.ones(180, dtype=int), "domain must mark some rows as the source, 0, got none."),
]


@pytest.mark.parametrize(("domain", "sentence"), DOMAINS)
def test_other_domains_are_refused(domain: np.ndarray, sentence: str) -> None:
    X, y, _ = stack(*problem()[:3])  # noqa: N806
    with pytest.raises(DataError, match=re.escape(sentence)):
        Adapter(EACH).fit(X, y, domain)


def test_what_cannot_be_stacked_is_said() -> None:
    source, labels, target, _ = problem()
    with pytest.raises(DataError, match=r"^labels must be one for each source row, got 89 for 90 rows\.$"):
        stack(source, labels[1:], target)
    with pytest.raises(DataError, match=r"^known labels must be one for each known row, got 1 for 2\.$"):
        stack(source, labels, target, [0, 1], ["cat"])
