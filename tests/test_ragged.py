"""Items of unequal length in the store: kept without padding, found again whatever the order, the same as alone."""

import os

import numpy as np
import pytest
import torch
from torch import nn

from sterna import extraction, fastest, sequences
from sterna.fastest import Prepared
from sterna.network import Network, Stage
from sterna.records import Encoder
from sterna.store import Store


class Texts:
    """Strings in memory."""

    modality = "text"
    in_memory = True

    def __init__(self, texts):
        self.texts = texts
        self.lengths = np.array([len(text) for text in texts], dtype=np.int64)

    def __len__(self):
        return len(self.texts)

    def read(self, index, hint):
        return self.texts[index]

    def digest(self, index):
        return self.texts[index]

    def name(self, index):
        return f"text {index}"


class Letters:
    """A token for each letter but the spaces; every fifth begins a word."""

    modality, ragged, hint = "text", True, 0

    def __repr__(self):
        return "letters"

    def frame(self, item, augment=None):
        codes = [ord(letter) - 96 for letter in item if letter != " "]
        kinds = [sequences.WORD if place % 5 == 0 else sequences.TOKEN for place in range(len(codes))]
        return np.array([codes, kinds], dtype=np.int32).T

    def tensor(self, frames):
        return frames.long()


def embed(parts, inputs):
    return sequences.pack(parts[0](sequences.values(inputs)[..., 0]), sequences.kinds(inputs))


def mix(parts, packed):
    """Each token sees the mean of its text, so that padding would show."""
    mask = sequences.mask(packed).unsqueeze(-1)
    values = sequences.values(packed)
    mean = (values * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
    return sequences.pack(torch.tanh(parts[0](values + mean)), sequences.kinds(packed))


def pool(parts, packed):
    mask = sequences.mask(packed).unsqueeze(-1)
    return (sequences.values(packed) * mask).sum(dim=1) / mask.sum(dim=1)


def last_words(parts, packed):
    return sequences.words(packed)


@pytest.fixture
def texts():
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 60, size=300)
    letters = [generator.integers(97, 123, size=length) for length in lengths]
    return Texts(["".join(map(chr, one)) for one in letters])


def encoder(last=pool):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages = {
            "stem": Stage([nn.Embedding(27, 6)], embed),
            "layer": Stage([nn.Linear(6, 6)], mix),
            "end": Stage([], last),
        }
        network = Network(stages, nn.Linear(6, 2)).eval()
    return Encoder("test:letters", network, Letters(), (), f"letters {last.__name__}", {}, lambda: network)


@pytest.fixture(autouse=True)
def _plain_form_and_small_shards(monkeypatch):
    monkeypatch.setattr(fastest, "plan", lambda prefix, inputs: fastest.Plan())
    monkeypatch.setattr(extraction, "RAGGED", 128)


def alone(made, items, cut, row):
    """The oracle: one text by itself."""
    frame = made.preparation.tensor(torch.from_numpy(made.preparation.frame(items.read(row, 0))[None]))
    with torch.no_grad():
        return made.network.prefix(cut)(frame)[0]


@pytest.mark.parametrize("last", [pool, last_words])
def test_every_cut_holds_what_each_text_gives_alone(tmp_path, texts, last):
    made = encoder(last)
    found = Store(tmp_path).activations(made, texts, [0, 1, 2, 3])
    rows = np.array([17, 3, 299, 150, 0])
    for cut in range(4):
        got = found[cut, 0].gather(rows)
        for value, row in zip(got, rows, strict=True):
            wanted = alone(made, texts, cut, row)
            length = len(wanted) if got.dim() == 3 else len(value)
            assert torch.allclose(value[:length].float(), wanted.float(), rtol=2e-3, atol=2e-3), (cut, row)
            assert not value[length:].any()


def test_nothing_of_what_is_kept_is_padding(tmp_path, texts):
    found = Store(tmp_path).activations(encoder(), texts, [0, 2])
    assert np.array_equal(found[2, 0].lengths, texts.lengths)
    assert found[0, 0].dtype == "int32"
    size = sum(path.stat().st_size for path in tmp_path.glob("shards/*"))
    tokens = int(texts.lengths.sum())
    shards_made = 2 * 3
    assert size == tokens * (2 * 4 + 7 * 2) + 16 * 2 * 300 + 4096 * shards_made


def test_a_second_call_reads_and_a_row_more_computes_only_its_shard(tmp_path, texts):
    store, seen = Store(tmp_path), []
    for rows in (np.arange(300), np.arange(300), np.arange(128)):
        store.activations(encoder(), texts, [3], rows=rows, progress=lambda done, total: seen.append(total))
        seen.append("next")
    assert seen[-2:] == ["next", "next"]
    assert set(seen[: seen.index("next")]) == {300}


def test_batches_hold_texts_of_like_length(tmp_path, texts, monkeypatch):
    extracted = []
    at = Prepared.at

    def watched(self, inputs, cuts):
        extracted.append((inputs.shape[0] * inputs.shape[1], int((inputs[..., -1] > 0).sum())))
        return at(self, inputs, cuts)

    store = Store(tmp_path)
    store.layout(encoder(), texts, np.arange(300))
    monkeypatch.setattr(Prepared, "at", watched)
    monkeypatch.setattr(extraction, "POSITIONS", 400)
    monkeypatch.setattr(sequences, "START", 8)
    store.activations(encoder(), texts, [3])
    places, tokens = np.array(extracted).T
    assert places.max() <= 400
    assert places.sum() < 1.05 * tokens.sum()


def test_the_same_texts_give_the_same_bits_in_any_process_order(tmp_path, texts):
    one = Store(tmp_path / "one").activations(encoder(), texts, [1, 3])
    two = Store(tmp_path / "two")
    two.activations(encoder(), texts, [3])
    again = two.activations(encoder(), texts, [1, 3])
    for key in one:
        assert torch.equal(one[key].gather(np.arange(300)), again[key].gather(np.arange(300)))


def test_a_damaged_index_is_noticed(tmp_path, texts):
    store = Store(tmp_path)
    wanted = store.activations(encoder(), texts, [2])[2, 0].gather(np.arange(300))
    for path in tmp_path.glob("shards/*.act"):
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data)
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 60))
    counted = []
    found = store.activations(encoder(), texts, [2], progress=lambda done, total: counted.append(done))
    assert counted
    assert counted[-1] == 300
    assert torch.equal(found[2, 0].gather(np.arange(300)), wanted)
