"""Domain adaptation as estimators of scikit-learn.

Rows of both domains are given to `fit` in one matrix, and `domain` says which is which. Whatever stands before the
estimator in a pipeline then sees both, scales both alike and splits both, and nothing has to be kept beside the data:

    X, y, domain = stack(source, labels, target)
    pipeline = make_pipeline(StandardScaler(), Adapter("coral"))
    pipeline.fit(X, y, adapter__domain=domain)
    pipeline.predict(new_rows_of_the_target)

Labels in `y` of rows whose domain is TARGET are never read, whatever they are, so they may be there for scoring.
Without `domain` all rows are the source, and the estimator is its head alone.

Scores on the source do not say which method is right for the target. Search with `source_folds` and `LabelFree`:

    search = GridSearchCV(
        Adapter(),
        {"method": ["none", "coral", "tca"]},
        scoring=LabelFree("mutual_information", target),
        cv=source_folds(y, domain),
    )
    search.fit(X, y, domain=domain)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from sterna import adapting, folder
from sterna.contracts import Adapted, Pair
from sterna.errors import DataError, SpecError
from sterna.records import Labels

SOURCE, TARGET, KNOWN = 0, 1, 2  # of `domain`: labelled source, target whose label is not read, target whose label is


class Adapter(ClassifierMixin, BaseEstimator):
    """A classifier of the target's rows.

    Args:
        method: one of `adapt/`, such as "coral" or "tca(components=30)", or several with commas, of which
            `adapting.choose` takes the best without target labels.
        head: "logistic", "svm" or "nearest"; methods that answer by themselves have none.
        criterion: of `criteria/`, for several methods; "" for the recommended ones.
        seed: of everything that is drawn.

    Attributes:
        classes_: (k,) the classes, sorted.
        model_: what `adapting.fit` gives, with its `notes`; class numbers are positions in `classes_`.
        chosen_: what `adapting.choose` gives for several methods, else None.
    """

    def __init__(self, method: str = "coral", head: str = "logistic", criterion: str = "", seed: int = 0) -> None:
        self.method = method
        self.head = head
        self.criterion = criterion
        self.seed = seed

    def fit(self, X: Any, y: Any, domain: Any = None) -> Adapter:  # noqa: N803
        """Fit to rows of both domains.

        Args:
            X: (n, d) rows.
            y: (n,) classes; those of TARGET rows are not read.
            domain: (n,) SOURCE (0), TARGET (1) or KNOWN (2) for each row; None where all are the source.

        Raises:
            DataError: domains that are not these, or no source, or what the method cannot use.
            SpecError: an unknown method, head or criterion.
        """
        features, wanted = validate_data(self, X, y, dtype=np.float64)
        rows = _domains(domain, len(features))
        labelled = rows != TARGET
        check_classification_targets(wanted[labelled])
        self.classes_ = np.unique(wanted[labelled])
        numbers = np.zeros(len(features), dtype=np.int64)
        numbers[labelled] = np.searchsorted(self.classes_, wanted[labelled])
        self.model_, self.chosen_ = _fitted(self, _pair(features, numbers, rows, len(self.classes_), self.seed))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """(m, k) shares of the classes of rows (m, d) of the target."""
        check_is_fitted(self)
        return self.model_.answer(validate_data(self, X, reset=False, dtype=np.float64))

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """(m,) the likeliest classes."""
        check_is_fitted(self)
        found: np.ndarray = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found


class AdapterRegressor(RegressorMixin, BaseEstimator):
    """A predictor of values of the target's rows; arguments and attributes as of `Adapter`.

    Args:
        method: one that takes values, or several with commas.
        head: "ridge" or "nearest".
        criterion: for several methods.
        seed: of everything that is drawn.
    """

    def __init__(self, method: str = "coral", head: str = "ridge", criterion: str = "", seed: int = 0) -> None:
        self.method = method
        self.head = head
        self.criterion = criterion
        self.seed = seed

    def fit(self, X: Any, y: Any, domain: Any = None) -> AdapterRegressor:  # noqa: N803
        """Fit to rows of both domains; arguments and errors as of `Adapter.fit`, with values in y."""
        features, wanted = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        rows = _domains(domain, len(features))
        values = np.where(rows == TARGET, 0.0, np.asarray(wanted, dtype=np.float64))
        self.model_, self.chosen_ = _fitted(self, _pair(features, values, rows, 0, self.seed))
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """(m,) values of rows (m, d) of the target."""
        check_is_fitted(self)
        return self.model_.answer(validate_data(self, X, reset=False, dtype=np.float64))


def stack(
    source: Any, labels: Any, target: Any, known: Sequence[int] = (), known_labels: Any = ()
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, y and domain of a source and a target, as `fit` takes them.

    Args:
        source: (n, d) rows.
        labels: (n,) their classes or values.
        target: (m, d) rows.
        known: rows of the target whose labels are known.
        known_labels: theirs.

    Returns:
        (n + m, d), (n + m,) and (n + m,). The label of a target row that is not known is the source's first, a filler
        that is never read.
    """
    labels = np.asarray(labels)
    if len(labels) != len(source) or not len(labels):
        raise DataError(f"labels must be one for each source row, got {len(labels)} for {len(source)} rows.")
    if len(known) != len(known_labels):
        raise DataError(f"known labels must be one for each known row, got {len(known_labels)} for {len(known)}.")
    domain = np.repeat([SOURCE, TARGET], [len(source), len(target)])
    told = np.asarray(known_labels, dtype=None if len(known) else labels.dtype)
    both = np.result_type(labels, told)  # known labels may be longer words
    wanted = np.concatenate([labels, np.repeat(labels[:1], len(target))]).astype(both)
    places = len(labels) + np.asarray(known, dtype=np.int64)
    domain[places] = KNOWN
    wanted[places] = told
    return np.concatenate([np.asarray(source), np.asarray(target)]), wanted, domain


def source_folds(y: Any, domain: Any, folds: int = 5, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """The `cv` of a search: source rows are judged in turn, rows of the target are always learnt from.

    Args:
        y: (n,) labels; classes are spread evenly over folds, values at random.
        domain: (n,) as `fit` takes it.
        folds: how many.
        seed: of the order.
    """
    rows, wanted = _domains(domain, len(y)), np.asarray(y)
    source, others = np.flatnonzero(rows == SOURCE), np.flatnonzero(rows != SOURCE)
    values = type_of_target(wanted[source]).startswith("continuous")
    splitter = (KFold if values else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    return [
        (np.sort(np.concatenate([source[learn], others])), source[judge])
        for learn, judge in splitter.split(source, wanted[source])
    ]


@dataclass(frozen=True, eq=False)
class LabelFree:
    """The `scoring` of a search, by a criterion that sees no label of the target.

    The features that criteria compare are the rows as the search is given them: what a pipeline makes of them is its
    own affair.

    Args:
        criterion: one of `criteria/`, written as in the grammar.
        target: (m, d) rows of the target, as the search is given them.
        seed: of what the criterion draws.
    """

    criterion: str
    target: Any
    seed: int = 0

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:  # noqa: N803
        """The criterion's value of a fitted estimator; X and y are held-out source rows, as of `source_folds`."""
        found = folder.resolve("criteria", self.criterion)
        if len(found) != 1:
            raise SpecError(f"scoring takes one criterion, got '{self.criterion}'; adapting.choose takes several.")
        source, target = (np.asarray(side, dtype=np.float64) for side in (X, self.target))
        classes = getattr(estimator, "classes_", None)
        answer = estimator.predict if classes is None else estimator.predict_proba
        labels = np.asarray(y) if classes is None else np.searchsorted(classes, y)
        sides = (source, target)
        seen = Adapted(source, labels, answer(X), target, answer(self.target), sides, _no_way_back, self.seed)
        return float(found[0].judge(seen))


def _no_way_back(source: np.ndarray, labels: Labels, target: np.ndarray) -> np.ndarray:
    raise DataError("a scorer cannot fit in the other direction; choose by this criterion with adapting.choose.")


def _domains(domain: Any, count: int) -> np.ndarray:
    """(n,) int64; raises `DataError` for anything but the three domains, and where there is no source."""
    if domain is None:
        return np.full(count, SOURCE)
    found = np.asarray(domain)
    if found.shape != (count,) or found.dtype.kind not in "biu" or not np.isin(found, (SOURCE, TARGET, KNOWN)).all():
        raise DataError(
            f"domain must be {count} numbers, one for each row: 0 for the source, 1 for the target, 2 for a target row "
            f"whose label is known; got {found.dtype} of shape {found.shape}."
        )
    if not (found == SOURCE).any():
        raise DataError("domain must mark some rows as the source, 0, got none.")
    return found.astype(np.int64)


def _pair(features: np.ndarray, labels: Labels, rows: np.ndarray, classes: int, seed: int) -> Pair:
    source, target = rows == SOURCE, np.flatnonzero(rows != SOURCE)
    known = np.flatnonzero(rows[target] == KNOWN)
    return Pair(features[source], labels[source], features[target], classes, seed, known, labels[target][known])


def _fitted(estimator: Any, pair: Pair) -> tuple[adapting.Model, adapting.Chosen | None]:
    methods = adapting.alternatives(estimator.method)
    if not len(pair.target):
        return adapting.plain(pair, estimator.head), None
    if len(methods) == 1:
        return adapting.fit(methods[0], pair, estimator.head), None
    chosen = adapting.choose(methods, pair, estimator.criterion, estimator.head)
    return chosen.model, chosen
