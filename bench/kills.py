"""Runs killed at random moments and begun again: do they end with the same bits as a run left alone?

    python bench/kills.py --kills 20

A run of each policy on small made photos is timed and left alone once. Then it is begun again and again, each time
killed by SIGKILL after a random share of that time, and continued by the same command until it ends. Compared are the
model's weights, the held-out predictions and every figure. Checkpoints are written after every epoch, not every ten
seconds, so that kills fall between them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from common import show
from PIL import Image
from safetensors.torch import save_file

POLICIES = ("probe", "partial", "gradual", "full", "lora", "auto")
CHILD = """
import sys, sterna
from sterna import train
from sterna.store import Store
train.SAVE_EVERY = 0.0
place, tune = sys.argv[1:]
sterna.fit(
    place + "/photos", encoder="local:" + place + "/encoder", tune=tune, augment="flip", out=place + "/run",
    schedule="epochs=6, batch=8", store=Store(place + "/cache"),
    settings="page=false, test=0.4, floors=classical, mitigate=false",
)
"""


def prepared(place: Path) -> None:
    """Photos of three colours under noise, and a small network."""
    for number, name in enumerate(("blue", "green", "red")):
        (place / "photos" / name).mkdir(parents=True)
        for one in range(20):
            generator = np.random.default_rng([number, one])
            picture = generator.integers(0, 200, (32, 32, 3))
            picture[..., 2 - number] += 20
            Image.fromarray(picture.astype(np.uint8)).save(place / "photos" / name / f"{one}.png")
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=4)
    (place / "encoder").mkdir()
    save_file(model.state_dict(), str(place / "encoder" / "model.safetensors"))
    cfg = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 1.0}
    config = {"architecture": "test_resnet", "num_classes": 4, "pretrained_cfg": cfg}
    (place / "encoder" / "config.json").write_text(json.dumps(config))


def run(place: Path, tune: str, limit: float | None = None) -> bool:
    """Whether the run came to its end within the limit; it is killed there."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(place), tune], stderr=subprocess.PIPE, text=True)
    try:
        _, told = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return False
    if child.returncode:
        raise RuntimeError(told)
    return True


def ended(place: Path) -> str:
    """A digest of the model, the predictions and the figures of a finished run."""
    made = hashlib.blake2b()
    for path in sorted((place / "run" / "model").rglob("*.safetensors")):
        made.update(path.read_bytes())
    made.update((place / "run" / "predictions.csv").read_bytes())
    result = json.loads((place / "run" / "result.json").read_text())
    made.update(repr([(one["name"], one["metrics"], one["validation"]) for one in result["routes"]]).encode())
    made.update(repr(result["verdict"]).encode())
    return made.hexdigest()


def cleared(place: Path) -> None:
    """Without the run and its activations; the form in which those are computed was found by timing and stays."""
    for name in ("run", "cache/shards"):
        shutil.rmtree(place / name, ignore_errors=True)


def killed(place: Path, tune: str, kills: int, draw: random.Random) -> tuple[int, int, float]:
    """How many of the runs that were killed ended like one left alone, how many there were, and what that one took."""
    cleared(place)
    begin = time.monotonic()
    run(place, tune)
    took, wanted = time.monotonic() - begin, ended(place)
    same = done = fallen = 0
    while fallen < kills:
        cleared(place)
        while fallen < kills and not run(place, tune, draw.uniform(0.2, 1.0) * took):
            fallen += 1
        run(place, tune)
        done += 1
        same += ended(place) == wanted
    return same, done, took


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--kills", type=int, default=20, help="of each policy")
    made.add_argument("--policies", nargs="+", default=list(POLICIES))
    made.add_argument("--seed", type=int, default=0, help="of the moments")
    options = made.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        prepared(place)
        for tune in options.policies:
            same, done, took = killed(place, tune, options.kills, random.Random(f"{options.seed} {tune}"))
            rows.append([tune, str(options.kills), str(done), str(same), f"{took:.1f}"])
            print(*rows[-1], flush=True)
    show("Runs killed at random moments", ("policy", "kills", "runs", "same end", "seconds left alone"), rows)


if __name__ == "__main__":
    main()
