"""ResNet-50 -> Stanford Dogs: 120 breeds, by the official lists (12,000 training and 8,580 test photos).

    python examples/stanford_dogs.py DOGS

DOGS holds `Images/n02085620-Chihuahua/*.jpg` and `lists/train_list.mat`, `lists/test_list.mat`, as the data set is
published. The photos were taken from ImageNet, on which the encoder was trained: the script says so beside the
verdict, because a gain measured on photos the encoder has seen is larger than one on new photos.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from scipy.io import loadmat

import sterna

OVERLAP = (
    "These photos are part of ImageNet, on which the encoder was trained: read the verdict as an upper bound of what "
    "transfer gives on photos of your own."
)


def listed(place: Path) -> list[str]:
    """The file names of one official list, such as `n02085620-Chihuahua/n02085620_5927.jpg`."""
    return [str(row[0].item()) for row in loadmat(str(place))["file_list"]]


def breed(path: str) -> str:
    """`n02085620-Chihuahua/n02085620_5927.jpg` -> `Chihuahua`."""
    return path.split("/")[0].split("-", 1)[1].replace("_", " ")


def write_table(dogs: Path, place: Path) -> int:
    """A table of path, label and part for `sterna fit`; returns the number of photos."""
    rows = []
    for part in ("train", "test"):
        names = listed(dogs / "lists" / f"{part}_list.mat")
        rows += [(str((dogs / "Images" / name).resolve()), breed(name), part) for name in names]
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text)
        writer.writerow(["path", "label", "split"])
        writer.writerows(rows)
    return len(rows)


def main() -> None:
    """Write the table, fit, print."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    reader.add_argument("dogs", type=Path)
    reader.add_argument("--encoder", default="timm:resnet50.a1_in1k")
    reader.add_argument("--tune", default="probe, gradual(phases=3)")
    reader.add_argument("--loss", default="cross_entropy(smoothing=0.1) + l2sp(weight=0.01)")
    reader.add_argument("--schedule", default="epochs=10, patience=3")
    reader.add_argument("--out", type=Path, default=Path("runs/dogs"))
    given = reader.parse_args()
    table = given.out.with_suffix(".csv")
    count = write_table(given.dogs, table)
    print(f"{count} photos by the official lists; {table}")
    result = sterna.fit(
        table, encoder=given.encoder, tune=given.tune, loss=given.loss, schedule=given.schedule, out=given.out
    )
    print(result)
    print(OVERLAP)


if __name__ == "__main__":
    main()
