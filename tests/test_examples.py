"""The worked cases, run on small local data in the layout of the real ones."""

import json
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from conftest import ROOT
from PIL import Image
from safetensors.torch import save_file
from scipy.io import savemat

BREEDS = ("n02085620-Chihuahua", "n02099601-golden_retriever", "n02110185-Siberian_husky")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder as timm saves them, of a very small Inception-like input size and a small ResNet."""
    place = tmp_path_factory.mktemp("encoder")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", num_classes=10)
    save_file(model.state_dict(), str(place / "model.safetensors"))
    config = {
        "architecture": "test_resnet",
        "num_classes": 10,
        "num_features": model.num_features,
        "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0},
    }
    (place / "config.json").write_text(json.dumps(config))
    return f"local:{place}"


def photo(place, hue, seed):
    place.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    picture = generator.integers(0, 120, (40, 48, 3)).astype(np.uint8)
    picture[..., hue] += 100
    Image.fromarray(picture).save(place)


def listed(names):
    cells = np.empty((len(names), 1), dtype=object)
    for number, name in enumerate(names):
        cells[number, 0] = name
    return {"file_list": cells}


def run(script, *words, cwd):
    command = [sys.executable, str(ROOT / "examples" / script), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def test_stanford_dogs(tmp_path, encoder):
    dogs, names = tmp_path / "dogs", {"train": [], "test": []}
    for hue, folder in enumerate(BREEDS):
        for number in range(14):
            name = f"{folder}/{folder.split('-')[0]}_{number}.jpg"
            photo(dogs / "Images" / name, hue, 100 * hue + number)
            names["train" if number < 8 else "test"].append(name)
    (dogs / "lists").mkdir()
    for part, found in names.items():
        savemat(str(dogs / "lists" / f"{part}_list.mat"), listed(found))
    done = run("stanford_dogs.py", dogs, "--encoder", encoder, "--schedule", "epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "42 photos by the official lists" in done.stdout
    assert "part of ImageNet" in done.stdout
    result = json.loads((tmp_path / "runs/dogs/result.json").read_text())
    assert {route["n"] for route in result["routes"]} == {18}
    assert result["data"]["classes"] == ["Chihuahua", "Siberian husky", "golden retriever"]


def test_five_flowers(tmp_path, encoder):
    flowers = tmp_path / "flowers"
    for hue, name in enumerate(("daisy", "rose", "tulip")):
        for number in range(12):
            photo(flowers / name / f"{number}.jpg", hue, 100 * hue + number)
    done = run("five_flowers.py", flowers, "--encoder", encoder, "--schedule", "epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0.jpg: " in done.stdout
