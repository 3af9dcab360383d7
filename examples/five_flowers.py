"""Inception-v3 -> five flowers: daisy, dandelion, rose, sunflower, tulip, at the encoder's own 299 px.

    python examples/five_flowers.py FLOWERS

FLOWERS is a folder of five class folders. The size, the crop and the normalisation come from the encoder's own
config, travel with the model, and are the same in training, validation, test and prediction.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import sterna


def main() -> None:
    """Fit, print, predict one photo with the saved model."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    reader.add_argument("flowers", type=Path)
    reader.add_argument("--encoder", default="timm:inception_v3.tv_in1k")
    reader.add_argument("--tune", default="probe, partial(stages=2), lp_ft")
    reader.add_argument("--schedule", default="epochs=10, patience=3")
    reader.add_argument("--out", type=Path, default=Path("runs/five_flowers"))
    given = reader.parse_args()
    result = sterna.fit(
        given.flowers, encoder=given.encoder, tune=given.tune, augment="light", schedule=given.schedule, out=given.out
    )
    print(result)
    photo = next(iter(sorted(given.flowers.glob("*/*.jpg"))))
    answer = sterna.predict(given.out / "model", photo)
    print(f"{photo.name}: {answer.labels[0]} ({answer.probabilities.max():.2f})")


if __name__ == "__main__":
    main()
