"""How well the scores of `ranking/` order real encoders: against the accuracy that each reaches when it is fine-tuned.

The encoders are those at hand (two MobileNetV2, SqueezeNet, two CIFAR ResNets, the built-in one), and decoys made from
them: the same architecture with random weights, and with the entries of the weights of its upper half permuted within
each tensor. For each set of images some are drawn, as many of each class as of any other; half is held out. A score
sees the rest at most, through `sterna rank`; the truth is the accuracy on the held-out half after `sterna fit --tune
partial` on the rest. Order is judged by weighted Kendall tau (scipy's, rank=True: the mean of both rank orders), and a
pick by the points that its first place loses (regret).

With so few held-out images the truth has a standard error of some points: differences of tau below 0.1 say nothing.
Everything that is done is kept in the working folder, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import SHARED, pictures, show
from safetensors.torch import load_file, save_file
from scipy.stats import weightedtau

import sterna
from sterna import opening, shortlist
from sterna.maths.seeds import derive
from sterna.ranked import Ranked
from sterna.settings import Settings
from sterna.sizes import Sizes
from sterna.store import Store

ENCODERS = ("mobilenetv2", "mobilenetv2_b", "squeezenet1_1", "cifar_resnet20", "cifar_resnet56")
DECOYS = ("mobilenetv2", "squeezenet1_1", "cifar_resnet56")  # of which random and scrambled copies are made
SETS = ("flowers", "digits", "amazon", "webcam")
COMBINED = "mean rank of " + ", ".join(shortlist.DEFAULT)
BY_SIZE = "number of weights"


def scrambled(state: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """The entries of each weight of the upper half of the tensors in random order, the classifier's left alone."""
    layers = [name for name, value in state.items() if value.ndim > 1][:-1]
    made = dict(state)
    for name in layers[len(layers) // 2 :]:
        order = torch.from_numpy(np.random.default_rng(derive(seed, name)).permutation(state[name].numel()))
        made[name] = state[name].flatten()[order].reshape(state[name].shape).contiguous()
    return made


def fresh(place: Path, seed: int) -> dict[str, torch.Tensor]:
    """The weights with which training from scratch begins."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "random"))
        network = opening.open_encoder(f"local:{place}").fresh()
    return {name: value.detach().clone().contiguous() for name, value in network.whole.state_dict().items()}


def zoo(options: argparse.Namespace) -> tuple[str, ...]:
    """References of all encoders; the decoys, and copies with a smaller input, are folders made once."""
    found = []
    for name in options.encoders:
        for kind in ("", *(("random", "scrambled") if name in DECOYS else ())):
            place = options.work / "zoo" / "-".join(one for one in (name, kind) if one)
            found.append(f"local:{place}")
            if not (place / "config.json").exists():
                copied(options, name, kind, place)
    return (*found, "builtin:glyphs")


def copied(options: argparse.Namespace, name: str, kind: str, place: Path) -> None:
    """One folder of the zoo; its config is written last."""
    source = options.weights / name
    place.mkdir(parents=True, exist_ok=True)
    if kind:
        made = fresh(source, options.seed) if kind == "random" else scrambled(load(source), options.seed)
        save_file(made, str(place / "model.safetensors"))
    else:
        shutil.copyfile(source / "model.safetensors", place / "model.safetensors")
    config = json.loads((source / "config.json").read_text("utf-8"))
    for part in (config, config.get("pretrained_cfg") or {}):
        if options.side and "input_size" in part:
            part["input_size"] = [3, *(min(options.side, side) for side in part["input_size"][1:])]
    (place / "config.json").write_text(json.dumps(config))


def load(place: Path) -> dict[str, torch.Tensor]:
    """The weights in their own order, which is from the input on; a file keeps them by name."""
    state = load_file(str(place / "model.safetensors"))
    order = list(opening.open_encoder(f"local:{place}").network.whole.state_dict())
    return {name: state[name] for name in order if name in state}


def data(name: str, options: argparse.Namespace) -> Path:
    """The set as a folder of class folders, or as arrays, made once."""
    place = options.work / "data" / f"{name}-{options.images}-{options.seed}"
    if name == "digits":
        return digits(place.with_suffix(".npz"), options)
    folder = options.data / "flowers" if name == "flowers" else options.data / "office" / "images" / name
    if not place.exists():
        making = place.with_name(f".{place.name}")
        shutil.rmtree(making, ignore_errors=True)
        for picture in pictures(folder, options.images, options.seed):
            (making / picture.parent.name).mkdir(parents=True, exist_ok=True)
            (making / picture.parent.name / picture.name).symlink_to(picture.resolve())
        making.rename(place)
    return place


def digits(place: Path, options: argparse.Namespace) -> Path:
    """Handwritten digits of USPS, 16 x 16, bright on dark."""
    if not place.exists():
        with gzip.open(next((options.data / "digits").glob("zip.train*")), "rt") as text:
            values = np.loadtxt(text, max_rows=4000)
        labels, each = values[:, 0].astype(int), -(-options.images // 10)
        draw = np.random.default_rng(options.seed)
        rows = np.concatenate([draw.permutation(np.flatnonzero(labels == one))[:each] for one in range(10)])
        images = np.rint((values[rows, 1:].reshape(-1, 16, 16) + 1) * 127.5).clip(0, 255).astype(np.uint8)
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez(place, x=images, y=labels[rows].astype(str))
    return place


def truth(name: str, reference: str, options: argparse.Namespace, store: Store) -> float:
    """Accuracy in points on the held-out half, the mean over the seeds of training's split."""
    short = reference.rpartition("/")[2].replace(":", "-")
    result = sterna.fit(
        data(name, options),
        encoder=reference,
        tune=options.tune,
        schedule=f"epochs={options.epochs}",
        settings=Settings(test=0.5, floors="classical", mitigate=False, refit=0, seeds=options.seeds),
        out=options.work / "truth" / f"{name}-{options.images}-{options.epochs}-{options.seeds}" / short,
        store=store,
    )
    return 100 * float(np.mean([one.metrics["accuracy"].value for one in result.routes if not one.floor]))


def ranked(name: str, references: tuple[str, ...], options: argparse.Namespace, store: Store) -> Ranked:
    return shortlist.rank(
        data(name, options),
        encoder=references,
        score=options.score,
        settings=Settings(test=0.5),
        sizes=Sizes(draws=options.draws),
        out=options.work / "rank" / f"{name}-{options.images}",
        store=store,
    )


def columns(found: Ranked, references: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Every way to order the encoders, higher is better; NaN where a score does not apply."""
    rows = {one.reference: one for one in found.candidates}
    mine = [rows[reference] for reference in references]
    made = {
        name: np.array([one.scores[name].get("value", np.nan) for one in mine], dtype=np.float64)
        for name in found.candidates[0].scores
    }
    made[COMBINED] = np.array([-one.mean_rank for one in mine])
    made[BY_SIZE] = np.array([float(one.weights) for one in mine])
    return made


def judged(values: np.ndarray, accuracy: np.ndarray) -> tuple[float, float, int]:
    """Weighted tau, regret in points, and how many encoders the score applies to."""
    known = ~np.isnan(values)
    if known.sum() < 3 or np.ptp(values[known]) == 0:
        return float("nan"), float("nan"), int(known.sum())
    tau = weightedtau(accuracy[known], values[known], rank=True).statistic
    return float(tau), float(accuracy.max() - accuracy[known][values[known].argmax()]), int(known.sum())


def table(found: dict[str, dict[str, np.ndarray]], accuracy: dict[str, np.ndarray]) -> list[list[str]]:
    """A row for each way to order: tau for each set, its mean, the mean regret."""
    rows = []
    for way in next(iter(found.values())):
        results = [judged(found[name][way], accuracy[name]) for name in found]
        taus, lost = [one[0] for one in results], [one[1] for one in results]
        shown = [f"{tau:.2f}" for tau in (*taus, np.mean(taus))]
        rows.append([way, *shown, f"{np.mean(lost):.1f}", str(results[0][2])])
    return sorted(rows, key=lambda row: -float(row[-3]) if row[-3] != "nan" else 9.0)


def decoys_first(values: np.ndarray, references: tuple[str, ...]) -> int:
    """How many decoys are among the first three."""
    first = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:3]
    return sum(references[place].endswith(("-random", "-scrambled")) for place in first)


def parsed() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--data", type=Path, default=Path(os.environ.get("STERNA_DATA", SHARED / "data")))
    made.add_argument("--weights", type=Path, default=Path(os.environ.get("STERNA_WEIGHTS", SHARED / "weights")))
    made.add_argument("--encoders", nargs="+", default=list(ENCODERS), choices=ENCODERS)
    made.add_argument("--sets", nargs="+", default=list(SETS[:3]), choices=SETS)
    made.add_argument("--images", type=int, default=300, help="of each set, half of which is held out")
    made.add_argument("--side", type=int, default=0, help="px: the largest input of an encoder; 0: its own")
    made.add_argument("--tune", default="partial", help="how the truth is reached")
    made.add_argument("--epochs", type=int, default=10)
    made.add_argument("--seeds", type=int, default=1, help="of the truth; the ranking sees the first split")
    made.add_argument("--score", default="all")
    made.add_argument("--draws", type=int, default=50)
    made.add_argument("--seed", type=int, default=0, help="of the images and of the decoys")
    made.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sterna-zoo-encoders")
    return made.parse_args()


def each(names: list[str], work: Callable[[str], None]) -> None:
    for name in names:
        work(name)
        print(f"{name}: done", flush=True)


def main() -> None:
    options = parsed()
    store, references = Store(options.work / "cache"), zoo(options)
    found: dict[str, dict[str, np.ndarray]] = {}
    accuracy: dict[str, np.ndarray] = {}

    def work(name: str) -> None:
        found[name] = columns(ranked(name, references, options, store), references)
        accuracy[name] = np.array([truth(name, one, options, store) for one in references])

    each(options.sets, work)
    short = [one.rpartition("/")[2] for one in references]
    show(
        f"Accuracy in % by {options.tune}, {options.epochs} epochs, {options.images} images of each set, half held out",
        ("encoder", *options.sets),
        [[name, *(f"{accuracy[one][place]:.1f}" for one in options.sets)] for place, name in enumerate(short)],
    )
    firsts = [decoys_first(found[name][COMBINED], references) for name in options.sets]
    show(
        f"Order of {len(references)} encoders: weighted Kendall tau (rank=True) with that accuracy",
        ("score", *options.sets, "mean", "mean regret, points", "encoders"),
        table(found, accuracy),
        [f"decoys among the first three of the {COMBINED}: {', '.join(map(str, firsts))}"],
    )


if __name__ == "__main__":
    main()
