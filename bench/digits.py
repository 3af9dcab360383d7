"""Domain adaptation between the digits of MNIST and of USPS, by the split of Long et al. 2013 (ICCV).

    pip install --target DIR --no-deps h5py
    PYTHONPATH=DIR python bench/digits.py

2,000 and 1,800 pictures of 16 x 16, rows of length 1; all of the source is learnt from, all of the target judged, with
one nearest neighbour or, where said, logistic regression on top.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import h5py
import numpy as np
from common import SHARED, show
from office import Domain, measured
from threadpoolctl import threadpool_limits

from sterna import folder

DATA = Path(os.environ.get("STERNA_DATA", SHARED / "data")) / "digits" / "MNIST_vs_USPS.mat"
METHODS = (
    ("none", "nearest"),
    ("pca(components=100)", "nearest"),
    ("tca(penalty=0.1)", "nearest"),
    ("tca(penalty=0.1, primal=true)", "nearest"),
    ("jda(penalty=0.1)", "nearest"),
    ("jda(penalty=0.1, primal=true)", "nearest"),
    ("jda(penalty=0.1, primal=true, centred=false)", "nearest"),
    ("bda(penalty=0.1)", "nearest"),
    ("bda(penalty=0.1, primal=true, centred=false)", "nearest"),
    ("subspace_alignment", "nearest"),
    ("gfk(components=20)", "nearest"),
    ("coral", "nearest"),
    ("optimal_transport", "nearest"),
    ("meda", "its own"),
    ("none", "logistic"),
    ("coral", "logistic"),
    ("jda(penalty=0.1)", "logistic"),
    ("optimal_transport", "logistic"),
    ("em_shift", "its own"),
)
PUBLISHED = {  # USPS to MNIST, MNIST to USPS: Long et al. 2013, table 3
    "none + nearest": (44.70, 65.94),
    "pca(components=100) + nearest": (44.95, 66.22),
    "tca(penalty=0.1) + nearest": (51.05, 56.28),
    "tca(penalty=0.1, primal=true) + nearest": (51.05, 56.28),
    "jda(penalty=0.1) + nearest": (59.65, 67.28),
    "jda(penalty=0.1, primal=true, centred=false) + nearest": (59.65, 67.28),
}


def domains() -> dict[str, Domain]:
    """Both sets: rows of length 1, and class numbers."""
    found = {}
    with h5py.File(DATA) as file:
        for name, letter in (("M", "s"), ("U", "t")):
            rows = np.asarray(file[f"X{letter}"], dtype=np.float64)
            rows = rows if rows.shape[1] == 256 else rows.T
            labels = np.asarray(file[f"Y{letter}"]).ravel().astype(np.int64)
            found[name] = rows / np.linalg.norm(rows, axis=1, keepdims=True), labels - labels.min()
    return found


def main() -> None:
    """Both tasks by every method, beside what was published."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", help="methods as written, with one nearest neighbour")
    given = parser.parse_args()
    both, rows = domains(), []
    with threadpool_limits(1):
        for written, top in [(one, "nearest") for one in given.methods] if given.methods else METHODS:
            (method,) = folder.resolve("adapt", written)
            figures = [measured(method, top, task, both) for task in (("U", "M"), ("M", "U"))]
            told = PUBLISHED.get(f"{written} + {top}")
            known = [f"{one:.2f}" for one in told] if told else ["", ""]
            cells = [cell for (hit, _), one in zip(figures, known, strict=True) for cell in (f"{hit:.2f}", one)]
            rows.append([written, top, *cells, f"{sum(seconds for _, seconds in figures):.1f}"])
    head = ["method", "head", "USPS to MNIST", "published", "MNIST to USPS", "published", "s"]
    show("Digits, per cent of the target that is answered rightly; one thread", head, rows)


if __name__ == "__main__":
    main()
