"""Heads against naive fits and scikit-learn's, and the choice among methods that are made to be right or wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.io import loadmat
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from sterna import adapting, folder
from sterna.contracts import Aligned, Answering, Pair
from sterna.errors import DataError, SpecError
from sterna.maths import adapted_heads as heads
from sterna.spec import Choice, method, option

KINDS = ("same", "moved", "wrecked", "short", "answers", "memory", "fails", "blank", "weightless", "needy", "nan")


@method
class Stub:
    """Methods of known worth: the target of `pair` is the source plus 5."""

    kind: str = option("same", "what it does", Choice(KINDS))

    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")

    @property
    def needs(self) -> str:
        return "labels" if self.kind == "needy" else ""

    def adapt(self, pair: Pair) -> Aligned | Answering:
        source, weights = pair.source, np.ones(len(pair.labels))
        if self.kind == "fails":
            raise DataError("this one never works; use another.")
        if self.kind in ("answers", "memory"):
            return Answering(lambda rows: remembered(pair, rows, 5.0 if self.kind == "answers" else 0.0), ("told",))
        if self.kind == "blank":
            return Aligned(np.full_like(source, np.nan), pair.labels, weights, lambda rows: rows)
        if self.kind == "weightless":
            return Aligned(source, pair.labels, np.zeros(len(source)), lambda rows: rows)
        if self.kind == "nan":
            return Answering(lambda rows: np.full((len(rows), pair.classes), np.nan))
        if self.kind == "wrecked":  # everything lies in one place
            return Aligned(source * 0, pair.labels, weights, lambda rows: rows * 0)
        if self.kind == "short":
            return Aligned(source[1:], pair.labels[1:], weights[1:], lambda rows: rows - 5)
        amount = 5.0 if self.kind == "moved" else 0.0
        return Aligned(source, pair.labels, weights, lambda rows: rows - amount, ("exact",))


@method
class ForValues:
    """One that takes values alone."""

    needs: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("regress",)

    def adapt(self, pair: Pair) -> Aligned:
        return Aligned(pair.source, pair.labels, np.ones(len(pair.labels)), lambda rows: rows)


def remembered(pair: Pair, rows: np.ndarray, amount: float) -> np.ndarray:
    """Shares by the nearest source example, as if the target lay `amount` away."""
    places = ((rows[:, None] - amount - pair.source) ** 2).sum(axis=2).argmin(axis=1)
    found: np.ndarray = np.eye(pair.classes)[pair.labels[places]] * 0.98 + 0.01
    return found


def problem(n: int = 120, seed: int = 0) -> tuple[Pair, np.ndarray]:
    """Three classes in the plane, the target 5 away along each feature; and the target's labels, for the test alone."""
    draw = np.random.default_rng(seed)
    middle = np.array([[0.0, 0.0], [5.0, 0.0], [10.0, 0.0]])
    labels, other = np.arange(n) % 3, draw.integers(3, size=n)
    source, target = draw.normal(size=(n, 2)) + middle[labels], draw.normal(size=(n, 2)) + middle[other] + 5
    return Pair(source, labels, target, 3, 7), other


def learnt(n: int, d: int, classes: int, seed: int = 0) -> heads.Learnt:
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(n, d)) * (1 + np.arange(d)) ** -0.5 * 3 + 2
    raw = features[:, 0] + features[:, 1 % d] ** 2 / 5 + draw.normal(size=n)
    order = np.argsort(np.argsort(raw))
    labels: Any = (order * classes) // n if classes else raw
    return heads.Learnt(features, labels, draw.exponential(size=n) * (draw.random(n) < 0.8), classes, 3)


def test_the_nearest_neighbour_is_the_loop() -> None:
    given = learnt(80, 4, 3)
    rows = np.random.default_rng(1).normal(size=(50, 4)) + 2
    used = given.weights > 0
    found = heads.nearest(given).answers(rows)
    pairs = list(zip(given.features, used, strict=True))
    for row, shares in zip(rows, found, strict=True):
        squares = [float(((row - one) ** 2).sum()) if use else np.inf for one, use in pairs]
        assert shares.argmax() == given.labels[int(np.argmin(squares))]
        assert shares.sum() == pytest.approx(1)
    values = heads.nearest(replace(given, labels=given.features[:, 0], classes=0)).answers(given.features[used])
    assert values == pytest.approx(given.features[used, 0])


def test_shares_of_neighbours_by_hand() -> None:
    """Class 1 twice as far as class 0: distances 1 and 2, and neighbours 3 apart, so that s^2 = 9 / 2."""
    given = heads.Learnt(np.array([[0.0], [3.0]]), np.array([0, 1]), np.ones(2), 2, 0)
    found = heads.nearest(given).answers(np.array([[1.0]]))
    assert found[0, 0] == pytest.approx(1 / (1 + np.exp((1 - 4) / 9)))
    missing = heads.nearest(replace(given, classes=3)).answers(np.array([[1.0]]))
    assert missing[0] == pytest.approx([*found[0], 0])
    one = heads.nearest(heads.Learnt(np.zeros((2, 1)), np.array([1, 1]), np.ones(2), 2, 0))
    assert one.answers(np.ones((1, 1))).tolist() == [[0, 1]]


def test_blocks_of_neighbours_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    given = learnt(60, 3, 3)
    whole = heads.nearest(given)
    found = whole.answers(given.features)
    monkeypatch.setattr(heads, "_CELLS", 200)
    assert heads.nearest(given).width == pytest.approx(whole.width)
    assert whole.answers(given.features) == pytest.approx(found)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_logistic_head_is_scikit_learns(classes: int) -> None:
    given = learnt(150, 5, classes)
    found = heads.linear(heads.logistic, given)
    share = given.weights / given.weights.sum()
    moved = given.features - share @ given.features
    moved /= np.sqrt((share[:, None] * moved**2).sum())
    # Scikit-learn's two classes share one row of weights, whose squares are half of those of two.
    model = LogisticRegression(C=found.strength * (2 if classes == 2 else 1), tol=1e-10, max_iter=10_000)
    wanted = model.fit(moved, given.labels, sample_weight=given.weights).predict_proba(moved)
    assert found.answers(given.features) == pytest.approx(wanted, abs=0.005)


def naive(given: heads.Learnt, strength: float, model: Any, share_of: Any) -> float:
    """The weighted loss of examples that are left out, at one strength."""
    used = np.flatnonzero(given.weights > 0)
    seed = heads.derive("head", given.seed)
    task = "classify" if given.classes else "regress"
    total = 0.0
    for learn, judge in heads.folds(given.labels[used], np.ones(len(used)), task, seed):
        for place in judge:
            head = model(given.part(used[learn]), strength)
            total += given.weights[used[place]] * share_of(head, given.features[used[place]], given.labels[used[place]])
    return total


def test_the_penalty_is_chosen_by_weighted_cross_validation() -> None:
    """The strength of ridge regression, fitted once more for each example left out."""
    given = learnt(30, 4, 0)
    share = given.weights / given.weights.sum()
    moved = given.features - share @ given.features
    scaled = replace(given, features=moved / np.sqrt((share[:, None] * moved**2).sum()))

    def model(part: heads.Learnt, strength: float) -> Any:
        return Ridge(alpha=1 / strength).fit(part.features, part.labels, sample_weight=part.weights)

    def squared(head: Any, row: np.ndarray, label: float) -> float:
        return float((head.predict(row[None])[0] - label) ** 2)

    found = heads.linear(heads.ridge, given, strengths=heads.RIDGE)
    totals = [naive(scaled, strength, model, squared) for strength in heads.RIDGE]
    assert found.strength == heads.RIDGE[int(np.argmin(totals))]
    wanted = model(scaled, found.strength).predict(scaled.features)
    assert found.answers(given.features) == pytest.approx(wanted)


def test_ridge_of_more_features_than_examples() -> None:
    given = learnt(20, 60, 0)
    (found,) = heads.ridge(given, [3.0])
    model = Ridge(alpha=1 / 3).fit(given.features, given.labels, sample_weight=given.weights)
    assert found[0, :-1] == pytest.approx(model.coef_, abs=1e-8)
    assert found[0, -1] == pytest.approx(model.intercept_, abs=1e-8)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_linear_machine_is_scikit_learns(classes: int) -> None:
    given = learnt(150, 4, classes)
    (found,) = adapting._margins(given, [1.0])
    rows = given.features
    model = LinearSVC(C=1.0, dual="auto", random_state=0).fit(rows, given.labels, sample_weight=given.weights)
    answers = heads.Linear(found, classes, 1.0).answers(rows)
    assert (answers.argmax(axis=1) == model.predict(rows)).mean() > 0.98


@pytest.mark.parametrize("head", ["nearest", "logistic", "svm"])
def test_classes_without_examples_get_no_share(head: str) -> None:
    pair, _ = problem()
    model = adapting.fit(Stub(), replace(pair, classes=5), head)
    answers = model.answer(pair.source)
    assert answers.shape == (len(pair.source), 5)
    assert answers.sum(axis=1) == pytest.approx(1)
    assert set(answers.argmax(axis=1)) == {0, 1, 2}
    only = replace(pair, labels=np.full(len(pair.labels), 2))
    assert set(adapting.fit(Stub(), only, head).answer(pair.target).argmax(axis=1)) == {2}


@pytest.mark.parametrize("head", ["nearest", "logistic", "svm"])
def test_a_model_sees_rows_as_the_method_does(head: str) -> None:
    pair, truth = problem()
    hits = {
        kind: (adapting.fit(Stub(kind=kind), pair, head).answer(pair.target).argmax(axis=1) == truth).mean()
        for kind in ("same", "moved")
    }
    assert hits["same"] < 0.7
    assert hits["moved"] > 0.9
    model = adapting.fit(Stub(kind="moved"), pair, head)
    assert (model.method, model.head, model.notes) == ("test_adapting(kind=moved)", head, ("exact",))
    assert model.answer(pair.target[:1]) == pytest.approx(model.answer(pair.target)[:1])
    assert model.answer(np.zeros((0, 2))).shape == (0, 3)
    assert (adapting.fit(Stub(kind="moved"), pair, head).answer(pair.target) == model.answer(pair.target)).all()


def test_methods_that_answer_have_no_head() -> None:
    pair, truth = problem()
    model = adapting.fit(Stub(kind="answers"), pair)
    assert (model.head, model.notes) == ("", ("told",))
    assert (model.answer(pair.target).argmax(axis=1) == truth).mean() > 0.9


@pytest.mark.parametrize("head", ["nearest", "ridge"])
def test_values(head: str) -> None:
    pair, _ = problem()
    values = replace(pair, labels=pair.source @ [1.0, 2.0], classes=0)
    model = adapting.fit(Stub(kind="moved"), values, head)
    wanted = (pair.target - 5) @ [1.0, 2.0]
    assert np.mean((model.answer(pair.target) - wanted) ** 2) < 0.15 * wanted.var()
    assert model.answer(np.zeros((0, 2))).shape == (0,)
    chosen = adapting.choose(
        [Stub(kind="wrecked"), Stub(kind="moved")], values, "source_risk + importance_weighted", head
    )
    assert chosen.best == "test_adapting(kind=moved)"


def test_the_head_alone() -> None:
    pair, _ = problem()
    model = adapting.plain(replace(pair, target=np.zeros((0, 2))))
    assert (model.answer(pair.source).argmax(axis=1) == pair.labels).mean() > 0.9
    assert (model.method, model.notes) == ("", ())


def test_the_right_method_is_chosen() -> None:
    pair, _ = problem()
    methods = [Stub(kind=kind) for kind in ("wrecked", "same", "fails", "moved", "needy")]
    chosen = adapting.choose(methods, pair, "mutual_information")
    assert chosen.best == "test_adapting(kind=moved)" == chosen.model.method
    assert [one.method for one in chosen.ranking][-1] == "test_adapting(kind=wrecked)"
    assert [one.rank for one in chosen.ranking] == sorted(one.rank for one in chosen.ranking)
    assert [name for name, _ in chosen.ranking[0].values] == ["mutual_information"]
    told = dict(chosen.left_out)
    assert told["test_adapting(kind=fails)"] == "this one never works; use another."
    assert "needs some known labels of the target, got none" in told["test_adapting(kind=needy)"]
    assert chosen.sentence.startswith("test_adapting(kind=moved) is chosen without a label of the target; of 3 methods")
    assert chosen.sentence.endswith("2 could not be fitted.")
    again = adapting.choose(methods, pair, "mutual_information")
    assert again.ranking == chosen.ranking
    assert (again.model.answer(pair.target) == chosen.model.answer(pair.target)).all()


def test_criteria_of_their_own_accord() -> None:
    pair, _ = problem()
    shares, values = adapting.choose([Stub()], pair), adapting.choose([Stub()], replace(pair, classes=0), head="ridge")
    assert [name for name, _ in shares.ranking[0].values] == adapting.ENSEMBLE.split(" + ")
    assert [name for name, _ in values.ranking[0].values] == adapting.ENSEMBLE.split(" + ")


def test_the_model_of_the_choice_has_learnt_from_the_whole_source() -> None:
    pair, _ = problem()
    chosen = adapting.choose([Stub(kind="moved")], pair)
    whole = adapting.fit(Stub(kind="moved"), pair)
    assert (chosen.model.answer(pair.target) == whole.answer(pair.target)).all()


@pytest.mark.parametrize("kind", ["moved", "short", "memory"])
def test_held_out_examples_are_not_learnt_from(kind: str) -> None:
    """Labels at random: whoever has seen those of held-out rows knows them, by their nearest neighbour."""
    pair, _ = problem(200)
    labels = np.random.default_rng(0).integers(2, size=200)
    chosen = adapting.choose([Stub(kind=kind)], replace(pair, labels=labels, classes=2), "source_risk", "nearest")
    assert dict(chosen.ranking[0].values)["source_risk"] < -0.3


def test_the_way_back_is_fitted_without_known_labels() -> None:
    pair, truth = problem()
    helped = replace(pair, known=np.arange(9), known_labels=truth[:9])
    (one, other) = adapting.choose([Stub(kind="needy"), Stub(kind="moved")], helped, "circular").ranking
    assert one.method == "test_adapting(kind=moved)"
    assert np.isnan(dict(other.values)["circular"])
    assert other.rank == 1


def test_mean_ranks_by_hand() -> None:
    nan = np.nan
    values = np.array([[3.0, 1.0, nan], [2.0, 1.0, 5.0], [1.0, 4.0, nan], [nan, nan, nan]])
    assert adapting.mean_ranks(values) == pytest.approx([(0 + 0.75) / 2, (0.5 + 0.75 + 0) / 3, (1 + 0) / 2, 1])
    assert adapting.mean_ranks(np.array([[1.0]])) == 0


def test_alternatives_are_read_as_everywhere() -> None:
    name = folder.names("adapt")[0]
    assert [repr(one) for one in adapting.alternatives(f"{name}, {name}")] == [name]
    assert [repr(one) for one in adapting.alternatives([name, Stub()])] == [name, "test_adapting"]


def test_arguments_stay_as_they_are() -> None:
    pair, _ = problem()
    before = [pair.source.copy(), pair.labels.copy(), pair.target.copy()]
    state = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    for head in ("nearest", "logistic", "svm"):
        adapting.choose([Stub(kind="moved"), Stub(kind="answers")], pair, head=head)
    after = [pair.source, pair.labels, pair.target]
    assert all((one == two).all() for one, two in zip(before, after, strict=True))
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index, union-attr]


PAIR = problem()[0]
WRONG: list[tuple[Pair, str]] = [
    (replace(PAIR, source=PAIR.source[:, :1]), "source and target must have the same features, got 1 and 2 of them."),
    (replace(PAIR, target=PAIR.target[:0]), "source and target must have an example and a feature each, got (120, 2)"),
    (replace(PAIR, source=PAIR.source[:, 0]), "the source must be a matrix of rows and features, got 1 dimensions."),
    (replace(PAIR, target=PAIR.target * np.nan), "the target must be finite numbers, got some that are not; fill"),
    (replace(PAIR, labels=PAIR.labels[1:]), "labels of the source must be 120, one for each row, got (119,)."),
    (replace(PAIR, labels=PAIR.labels + 1), "labels of the source must be class numbers from 0 to 2, got 1 to 3."),
    (replace(PAIR, labels=PAIR.labels / 2), "labels of the source must be class numbers from 0 to 2, got 0.0 to 1.0."),
    (replace(PAIR, known=np.array([0])), "known labels of the target must be 1, one for each row, got (0,)."),
    (replace(PAIR, known=np.array([120]), known_labels=np.array([0])), "known must be rows of the target, from 0 to"),
]


@pytest.mark.parametrize(("pair", "sentence"), WRONG, ids=[sentence[:30] for _, sentence in WRONG])
def test_what_does_not_fit_together_is_said(pair: Pair, sentence: str) -> None:
    with pytest.raises(DataError, match=re.escape(sentence)):
        adapting.fit(Stub(), pair)


def test_values_that_are_not_finite_are_said() -> None:
    with pytest.raises(DataError, match=r"^labels of the source must be finite numbers, got some that are not\.$"):
        adapting.fit(Stub(), replace(PAIR, classes=0, labels=PAIR.labels * np.nan), "ridge")


def test_what_a_method_cannot_do_is_said() -> None:
    with pytest.raises(DataError, match=r"is for labels that are values, got classes\.$"):
        adapting.fit(ForValues(), PAIR)
    with pytest.raises(DataError, match=r"needs some known labels of the target, got none\.$"):
        adapting.fit(Stub(kind="needy"), PAIR)
    with pytest.raises(DataError, match=r"^the method made features that are not finite; scale the features, or use"):
        adapting.fit(Stub(kind="blank"), PAIR)
    with pytest.raises(DataError, match=r"^the method gave every example the weight 0; use another method\.$"):
        adapting.fit(Stub(kind="weightless"), PAIR)
    model = adapting.fit(Stub(kind="nan"), PAIR)
    with pytest.raises(DataError, match=r"gave answers that are not finite; scale the features, or use another"):
        model.answer(PAIR.target)
    with pytest.raises(DataError, match=r"^rows must have the 2 features of the target, got 1\.$"):
        model.answer(PAIR.target[:, :1])


def test_what_cannot_be_chosen_is_said() -> None:
    with pytest.raises(DataError, match=r"^no method could be fitted, give others: this one never works; use another"):
        adapting.choose([Stub(kind="fails")], PAIR)
    with pytest.raises(DataError, match=r"^no method could be fitted, give others: .* gave answers that are not fin"):
        adapting.choose([Stub(kind="nan")], PAIR)
    with pytest.raises(DataError, match=r"^a part of the source must be held out to choose by, got 3 examples; give"):
        adapting.choose([Stub()], replace(PAIR, source=PAIR.source[:3], labels=PAIR.labels[:3]))
    with pytest.raises(DataError, match=r"^snd reads shares of classes, got values"):
        adapting.choose([Stub()], replace(PAIR, classes=0, labels=PAIR.source[:, 0]), "snd", "ridge")


def test_words_that_mean_nothing_are_said() -> None:
    with pytest.raises(SpecError, match=r"^unknown head 'logistics'\. Did you mean 'logistic'\? Known: nearest, "):
        adapting.fit(Stub(), PAIR, "logistics")
    with pytest.raises(SpecError, match=r"^head ridge is not for classes; type one of 'nearest', 'logistic', 'svm'\.$"):
        adapting.fit(Stub(), PAIR, "ridge")
    with pytest.raises(SpecError, match=r"^head svm is not for values; type one of 'nearest', 'ridge'\.$"):
        adapting.choose([Stub()], replace(PAIR, classes=0), head="svm")
    with pytest.raises(SpecError, match=r"^methods must name at least one, got none; type '"):
        adapting.choose([], PAIR)
    with pytest.raises(SpecError, match=r"^one method of adaptation at a time, got '.* \+ .*'; write several with"):
        adapting.fit([Stub(), Stub(kind="moved")], PAIR)
    with pytest.raises(SpecError, match=r"^unknown criteria method 'entropi'\. Did you mean 'entropy'\?"):
        adapting.choose([Stub()], PAIR, "entropi")


def office(data_folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """One domain of Office-Caltech as in the literature: rows divided by their sum, columns z-scored."""
    read = loadmat(data_folder / "office" / "surf" / f"{name}_SURF_L10.mat")
    features = read["fts"] / read["fts"].sum(axis=1, keepdims=True)
    deviation = features.std(axis=0)
    return (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1), read["labels"].ravel() - 1


def test_published_figures_of_the_nearest_neighbour(data_folder: Path) -> None:
    """Long, Wang, Ding, Sun and Yu 2013 (ICCV): 59.24 % from webcam to dslr, 63.39 % back."""
    (source, labels), (target, truth) = office(data_folder, "webcam"), office(data_folder, "dslr")
    for own, given, other, right, published in (
        (source, labels, target, truth, 59.24),
        (target, truth, source, labels, 63.39),
    ):
        model = adapting.fit("none", Pair(own, given.astype(np.int64), other, 10, 0), "nearest")
        hits = (model.answer(other).argmax(axis=1) == right).mean()
        assert 100 * hits == pytest.approx(published, abs=0.005)


def test_a_choice_on_real_data_gains_and_leaves_out_what_harms(data_folder: Path) -> None:
    (source, labels), (target, truth) = office(data_folder, "webcam"), office(data_folder, "dslr")
    pair = Pair(source, labels.astype(np.int64), target, 10, 0)
    chosen = adapting.choose("none, coral, tca, subspace_alignment(components=5)", pair, head="nearest")
    hits = {
        one.method: (adapting.fit(one.method, pair, "nearest").answer(target).argmax(axis=1) == truth).mean()
        for one in chosen.ranking
    }
    assert hits[chosen.best] > hits["none"] + 0.15
    assert hits[chosen.best] > max(hits.values()) - 0.05
