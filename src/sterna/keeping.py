"""What a route leaves in the folder of a run, so that an interrupted run goes on and the page can be made."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from sterna import addition, crossing, estimators, files, shipping
from sterna.crossing import Sight
from sterna.errors import SpecError
from sterna.network import Network
from sterna.result import Result, load
from sterna.route import Ran

CHECKPOINT = "checkpoint.pt"
DONE = "done.json"  # seconds, notes and what criteria say of a route
DOMAINS = "domains.npz"  # some examples of source and target as the head of a route sees them
ROUTES = "routes"  # a folder for each route at each seed
PLAN = "plan.json"  # the routes as understood, and the fingerprint by which a run knows its folder


def folder(place: Path, route: str, seed: int, share: float = 1.0) -> Path:
    """Where a route at a seed, with a share of the labels, has its files."""
    part = f"-{share:g}" if share < 1 else ""
    return place / ROUTES / f"{slug(route)}-{seed}{part}"


def keep(ran: Ran, folder: Path) -> None:
    """Write what a route gave; `DONE` comes last and says that the rest is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    reached = {} if ran.reached is None else {"reached": ran.reached}
    files.write_arrays(folder / "predictions.npz", {"test": ran.test, "validation": ran.validation, **reached})
    if ran.sight is not None:
        seen = {"source": ran.sight.source, "target": ran.sight.target, **_sides("rows", ran.sight.rows)}
        files.write_arrays(folder / DOMAINS, {**seen, **_sides("raw", ran.sight.before)})
    if isinstance(ran.model, torch.nn.Module):
        state = ran.model.state_dict()
        weights = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
        files.write_bytes(folder / "weights.safetensors", save(weights))
        if isinstance(ran.model, Network):
            addition.write(ran.model, folder / addition.FOLDER)
    else:
        estimators.save(ran.model, folder / shipping.ESTIMATOR)
    files.write_json(folder / "history.json", ran.history)
    judged = [[name, None if np.isnan(value) else value] for name, value in ran.judged]
    files.write_json(folder / DONE, {"seconds": ran.seconds, "notes": list(ran.notes), "judged": judged})
    for checkpoint in folder.glob("*.pt"):
        checkpoint.unlink()


@dataclass(frozen=True)
class Kept:
    """What a route that was run has left: its answers, and what is said of them."""

    test: np.ndarray  # (n, k)
    validation: np.ndarray  # (m, k)
    reached: np.ndarray | None  # as in `Ran`
    seconds: float
    notes: tuple[str, ...]
    judged: crossing.Values


def found(folder: Path) -> Kept | None:
    """What `keep` wrote; None where it has not come to its end."""
    if not (folder / DONE).exists():
        return None
    done = files.read_json(folder / DONE)
    judged = tuple((name, float("nan") if value is None else float(value)) for name, value in done["judged"])
    with np.load(folder / "predictions.npz", allow_pickle=False) as arrays:
        reached = arrays.get("reached")
        parts = arrays["test"], arrays["validation"], reached
    return Kept(*parts, float(done["seconds"]), tuple(done["notes"]), judged)


def mean(members: Sequence[Kept]) -> Kept:
    """What routes answer together: the mean of their answers, in the time of all of them."""
    test, validation = (np.mean([getattr(one, part) for one in members], axis=0) for part in ("test", "validation"))
    return Kept(test, validation, None, sum(one.seconds for one in members), (), ())


def sight(folder: Path) -> Sight | None:
    """Some examples of both domains as a route sees them; None where it has none."""
    if not (folder / DOMAINS).exists():
        return None
    with np.load(folder / DOMAINS, allow_pickle=False) as kept:
        before = (kept["raw_source"], kept["raw_target"]) if "raw_source" in kept else None
        return Sight(kept["source"], kept["target"], (kept["rows_source"], kept["rows_target"]), before)


def _sides(name: str, arrays: tuple[np.ndarray, np.ndarray] | None) -> dict[str, np.ndarray]:
    return {} if arrays is None else {f"{name}_source": arrays[0], f"{name}_target": arrays[1]}


def slug(name: str) -> str:
    """A file name from a route's name: readable, and different for different names."""
    plain = re.sub(r"[^A-Za-z0-9_.=-]+", "-", name).strip("-.") or "run"
    if plain == name:
        return plain
    return f"{plain[:60]}-{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"


def finished(place: Path, mark: str) -> Result | None:
    """The result of this very run, when it lies finished at `place`.

    Raises `SpecError` when the folder belongs to a run with other options or data, or to something else.
    """
    if not (place / PLAN).exists():
        if place.exists() and any(place.iterdir()):
            raise SpecError(f"{place} is not empty and holds no run of sterna; choose another --out.")
        return None
    if files.read_json(place / PLAN)["fingerprint"] != mark:
        raise SpecError(f"{place} holds a run with other options or data; choose another --out, or remove it.")
    return load(place) if (place / "result.json").exists() else None
