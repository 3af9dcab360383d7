"""The command line as a person uses it: what it prints, and one sentence and status 2 for each mistake."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from terminal import sterna

from sterna import shards

MISTAKES = [
    (["fit", "nowhere", "--encoder", "builtin:glyphs"], "nowhere"),
    (["fit", "sklearn:digits", "--encoder", "glyphs"], "an encoder is written origin:name, got 'glyphs'"),
    (["fit", "sklearn:digits", "--encoder", "buildin:glyphs"], "Did you mean 'builtin'?"),
    (["fit", "sklearn:digits", "--encoder", "builtin:glyph"], "Did you mean 'glyphs'?"),
    (["fit", "sklearn:digits", "--encoder", "builtin:glyphs", "--tune", "prob"], "Did you mean 'probe'?"),
    (["fit", "sklearn:digits", "--encoder", "builtin:glyphs", "--tune", "partial(2)"], "options are written key=value"),
    (["fit", "sklearn:digits", "--encoder", "builtin:glyphs", "--loss", "l2sp(weigth=1)"], "Did you mean 'weight'?"),
    (["fit", "sklearn:digits", "--encoder", "builtin:glyphs", "--seeds", "0"], "seeds of settings must be in [1, 100]"),
    (["fit", "sklearn:digits", "--encoder", "builtin:glyphs", "--schedule", "epoch=3"], "Did you mean 'epochs'?"),
    (["fit", "sklearn:wine", "--encoder", "builtin:glyphs"], "takes image data, but these data are vector"),
    (["fit", "sklearn:digits", "--encoder", "classical:hog_colour"], "has no pretrained weights to transfer"),
    (["fit", "sklearn:digits"], "encoder"),
    (["predict", "nowhere", "photo.jpg"], "nowhere is not a model folder"),
    (["methods", "l2ps"], "Did you mean 'l2sp'?"),
    (["fitt"], "fitt"),
]


def process(*words, cwd):
    """As a person types it: a Python of its own."""
    command = [sys.executable, "-m", "sterna", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "sentence"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_mistakes_are_one_sentence_and_status_two(words, sentence, tmp_path):
    done = sterna(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [["fit", "nowhere", "--encoder", "builtin:glyphs"], ["methods", "l2ps"]])
def test_a_process_of_its_own_says_and_returns_the_same(words, tmp_path):
    """Which the other tests of the command line rest on, as they stay in this process."""
    alone, here = process(*words, cwd=tmp_path), sterna(*words, cwd=tmp_path)
    assert alone.returncode == here.returncode == 2
    assert alone.stdout == here.stdout == ""
    assert alone.stderr == here.stderr


def test_help_names_every_command(tmp_path):
    done = process("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("fit", "demo", "predict", "methods", "cache"))


def test_methods_lists_and_explains():
    assert "l2sp" in sterna("methods").stdout
    page = sterna("methods", "l2sp").stdout
    assert all(word in page for word in ("Explicit Inductive Bias", "w0", "When not to use", "weight", "0.01"))


def test_a_folder_that_is_not_a_run_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    words = ["fit", "sklearn:digits", "--encoder", "builtin:glyphs", "--shots", "5", "--out", "mine"]
    done = sterna(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "is not empty and holds no run" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_cache_shows_and_clears(tmp_path, monkeypatch):
    monkeypatch.setenv("STERNA_CACHE", str(tmp_path))
    (tmp_path / "shards").mkdir()
    with (tmp_path / "shards" / "a.act").open("w+b") as file:
        kept = shards.Writer(file, "a", "features", (3,), torch.float16)
        kept.add(torch.ones(2, 3), np.arange(2))
        kept.finish()
    assert "1 files" in sterna("cache").stdout
    assert "cleared" in sterna("cache", "--clear").stdout
    assert "0 files" in sterna("cache").stdout


def test_a_folder_with_one_class_is_refused(tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Image.new("RGB", (20, 20)).save(tmp_path / "photos" / "cat" / "a.png")
    done = sterna("fit", "photos", "--encoder", "builtin:glyphs", cwd=tmp_path)
    assert done.returncode == 2
    assert "class" in done.stderr
