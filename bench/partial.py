"""One epoch of training the last stages: the frozen prefix cached, and computed anew for each batch.

Both start from the same weights and see the same batches in the same order. The recomputed prefix is the plain float32
network without gradients, fed by the same reader.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import parser, pictures, show, spread
from torch import Tensor, nn

from sterna import folder, opening, reading
from sterna.maths.seeds import derive
from sterna.network import Network
from sterna.records import Encoder, Items
from sterna.store import Store

Inputs = Callable[[np.ndarray], "list[Tensor]"]


def epochs(
    network: Network,
    labels: np.ndarray,
    parts: tuple[np.ndarray, np.ndarray],
    batches: Callable[[np.ndarray], object],
    options: argparse.Namespace,
) -> tuple[list[float], float]:
    """Seconds of each epoch, and the accuracy on the test part after the last."""
    train, test = parts
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=options.rate)
    seconds = []
    for epoch in range(options.repeats):
        order = np.random.default_rng([options.seed, epoch]).permutation(train)
        start = time.perf_counter()
        network.train()
        for place, inputs in enumerate(batches(order)):  # type: ignore[arg-type, var-annotated]
            wanted = torch.from_numpy(labels[order[place * options.batch : (place + 1) * options.batch]])
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs).logits, wanted).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    network.eval()
    with torch.no_grad():
        answers = torch.cat([network(inputs).logits.argmax(1) for inputs in batches(test)])  # type: ignore[attr-defined]
    return seconds, float((answers.numpy() == labels[test]).mean())


def fresh(encoder: Encoder, classes: int, cut: int, seed: int) -> Network:
    """The whole network with a new head, frozen below the cut."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "network"))
        network = encoder.network.with_head(classes, {})
    network.move_from(cut)
    return network


def run(items: Items, labels: np.ndarray, encoder: Encoder, options: argparse.Namespace, scratch: Path) -> None:
    sizes = [sum(weight.numel() for weight in stage.parameters()) for stage in encoder.network.stages.values()]
    cut = folder.resolve("tune", f"partial(stages={options.stages})")[0].plan(sizes)[-1].cut
    order = np.random.default_rng(options.seed).permutation(len(items))
    parts = np.split(order, [int(0.6 * len(order))])
    classes = int(labels.max()) + 1

    start = time.perf_counter()
    activations = Store(scratch).activations(encoder, items, [cut])[cut, 0]
    extraction = time.perf_counter() - start

    def cached(rows: np.ndarray) -> object:
        return (activations.gather(rows[i : i + options.batch]) for i in range(0, len(rows), options.batch))

    whole = fresh(encoder, classes, cut, options.seed)
    prefix = whole.prefix(cut)

    def recomputed(rows: np.ndarray) -> object:
        for frames in reading.frames(items, encoder.preparation, rows, size=options.batch):
            with torch.no_grad():
                inputs = prefix(encoder.preparation.tensor(frames))
            yield inputs

    pair = (parts[0], parts[1])
    quick = epochs(fresh(encoder, classes, cut, options.seed).suffix(cut), labels, pair, cached, options)
    slow = epochs(whole.suffix(cut), labels, pair, recomputed, options)
    rows = [
        [name, spread(seconds, 2), f"{100 * right:.1f} %", str(len(seconds))]
        for name, (seconds, right) in {"cached": quick, "recomputed": slow}.items()
    ]
    size = np.prod(activations.shape) * (2 if activations.dtype != "float32" else 4) / 2**20
    times = [a / b for a, b in zip(slow[0], quick[0], strict=True)]
    show(
        f"An epoch of the last {encoder.network.depth - cut} of {encoder.network.depth} stages: "
        f"{len(parts[0])} training pictures, {len(parts[1])} test",
        ("prefix", "seconds an epoch", f"test accuracy after {options.repeats} epochs", "epochs"),
        rows,
        [
            f"times faster: {spread(times)}; filling the cache once took {extraction:.1f} s, "
            f"{size:.3f} MiB a picture in {activations.dtype}, shape {activations.shape}",
        ],
    )


def main() -> None:
    options = parser(__doc__.split("\n")[0], images=1000)
    options.add_argument("--stages", type=int, default=1, help="how many of the last stages that hold weights move")
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--rate", type=float, default=1e-3)
    chosen = options.parse_args()
    paths = pictures(chosen.data, chosen.images, chosen.seed)
    items, _ = folder.module("data", "images").gather([str(path) for path in paths])
    names = sorted({path.parent.name for path in paths})
    labels = np.array([names.index(Path(items.name(row)).parent.name) for row in range(len(items))])
    with tempfile.TemporaryDirectory() as scratch:
        run(items, labels, opening.open_encoder(f"local:{chosen.weights}"), chosen, Path(scratch))


if __name__ == "__main__":
    main()
