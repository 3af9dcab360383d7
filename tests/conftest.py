"""Where tests find real data and real weights; they skip with a reason where these are absent."""

import functools
import importlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


def _place(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable, ROOT.parent / "shared" / default))


@pytest.fixture(autouse=True)
def _numbers_of_its_own() -> Iterator[None]:
    """What a test draws without a generator does not depend on the tests that ran before it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    place = _place("STERNA_DATA", "data")
    if not place.is_dir():
        pytest.skip(f"no real data at {place}; set STERNA_DATA to a folder that holds it")
    return place


@pytest.fixture(scope="session")
def weights_folder() -> Path:
    place = _place("STERNA_WEIGHTS", "weights")
    if not place.is_dir():
        pytest.skip(f"no pretrained weights at {place}; set STERNA_WEIGHTS to a folder that holds them")
    return place


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never touch the cache of the person who runs them.

    For the whole session: a fixture of a module is made before those of its tests, and must find the same cache.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STERNA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """Intervals of figures from 200 resamples instead of 2,000, which take as long as a small fit.

    For tests of whole runs that are not about the width of an interval: `pytestmark` names it.
    """
    measure = importlib.import_module("sterna.score").measure
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(measure.__kwdefaults__, "draws", 200)
        yield


@pytest.fixture(scope="session")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Tiny classifiers of texts with random weights, by the kind of their transformer; nothing may change them."""
    transformers, standins = importlib.import_module("transformers"), importlib.import_module("standins_text")

    @functools.cache
    def of(kind: str) -> Any:
        place = tmp_path_factory.mktemp("standin") / kind
        auto = transformers.AutoModelForSequenceClassification
        standins.folder(place, kind, auto, id2label={0: "x", 1: "y", 2: "z"})
        return importlib.import_module("sterna.encoders.hf").load(str(place))

    return of


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Shells start background jobs with Ctrl-C ignored, and children inherit that; tests of Ctrl-C need it heard."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
