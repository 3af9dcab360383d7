"""Where a network looks: networks and texts whose answer hangs on a known place by construction."""

import base64
import io

import numpy as np
import pytest
import torch
from networks import convolutional
from PIL import Image
from torch import nn

from sterna import attribution, explained, folder, thumbnails
from sterna.network import Network, Stage
from sterna.sequences import mask, values


def _corner(parts, inputs):
    """The mean of the upper left quarter of each map."""
    height, width = inputs.shape[2] // 2, inputs.shape[3] // 2
    return inputs[:, :, :height, :width].mean(dim=(2, 3))


def corner_network(last=nn.Identity):
    """Its second class is the brightness of the upper left quarter of the picture, and of nothing else."""
    convolution = nn.Conv2d(1, 2, 4, stride=4)
    head = nn.Linear(2, 2)
    with torch.no_grad():
        convolution.weight.fill_(1 / 16)
        convolution.bias.zero_()
        head.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        head.bias.zero_()
    return Network({"maps": nn.Sequential(convolution, last()), "pool": Stage([], _corner)}, head).eval()


def _bright(*spots):
    picture = torch.zeros(1, 1, 32, 32)
    for top, left in spots:
        picture[:, :, top : top + 8, left : left + 8] = 1
    return picture


def test_a_network_that_reads_one_corner_lights_up_what_lies_there():
    """Grad-CAM weighs a whole map alike, so the bright spot in the corner it reads is as hot as the map says."""
    found = attribution.visual(corner_network(), _bright((0, 0)), np.array([1]))
    assert found.method == attribution.CAM
    assert found.stage == "maps"
    assert found.places.shape == (1, 8, 8)
    assert found.places[0, :2, :2].min() == 1
    assert found.places[0, 2:].max() == found.places[0, :, 2:].max() == 0


def test_grad_cam_by_hand():
    """Maps A1 = [[1, 2], [3, 4]], A2 = 1: y = mean A1 - 2 mean A2, a = (1, -2) / 4: ReLU(A1 - 2) / 4 = 0, 0, 1, 2."""

    def mean(parts, inputs):
        return inputs.mean(dim=(2, 3))

    head = nn.Linear(2, 1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, -2.0]]))
        head.bias.zero_()
    network = Network({"same": nn.Identity(), "pool": Stage([], mean)}, head).eval()
    inputs = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    found = attribution.visual(network, inputs, np.array([0]))
    np.testing.assert_allclose(found.places[0], [[0, 0], [0.5, 1]], atol=1e-6)


def test_what_speaks_against_a_class_is_not_hot():
    network = corner_network()
    with torch.no_grad():
        network.head.weight.neg_()
    found = attribution.visual(network, _bright((0, 0)), np.array([1]))
    assert found.places.max() == 0


class _FirstToken(nn.Module):
    """Patches of 8 x 8 after a token of the class; the class token then reads the patch at `place`."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def forward(self, tokens):
        first = tokens[:, 1 + self.place : 2 + self.place]
        return torch.cat([first, tokens[:, 1:]], dim=1)


def _patches(parts, inputs):
    means = nn.functional.avg_pool2d(inputs, 4).flatten(2).transpose(1, 2)  # (b, t, 1)
    return torch.cat([torch.zeros_like(means[:, :1]), means], dim=1).repeat(1, 1, 3)


def _class_token(parts, inputs):
    return inputs[:, 0]


@pytest.mark.parametrize("place", [0, 9, 63])
def test_a_transformer_that_reads_its_class_token_is_read_a_stage_before(place):
    stages = {"stem": Stage([], _patches), "layer": _FirstToken(place), "pool": Stage([], _class_token)}
    head = nn.Linear(3, 2)
    with torch.no_grad():
        head.weight.fill_(1.0)
    inputs = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) + 0.1
    found = attribution.visual(Network(stages, head).eval(), inputs, np.array([0, 1]))
    assert (found.stage, found.method) == ("stem", attribution.PATCHES)
    assert found.places.shape == (2, 8, 8)
    assert (found.places.reshape(2, -1).argmax(axis=1) == place).all()
    assert ((found.places > 0).sum(axis=(1, 2)) == 1).all()


def test_maps_with_channels_last_and_pictures_that_are_not_square():
    def last(parts, inputs):
        return inputs.permute(0, 2, 3, 1)

    def first(parts, inputs):
        return inputs.permute(0, 3, 1, 2)

    torch_seed = torch.Generator().manual_seed(0)
    inputs = torch.rand(1, 3, 16, 32, generator=torch_seed)
    plain = convolutional().eval()
    stages = dict(plain.stages.items())
    pool = stages.pop("pool")
    turned = Network({**stages, "turned": Stage([], last), "back": Stage([], first), "pool": pool}, plain.head).eval()
    wanted = attribution.visual(plain, inputs, np.array([2]))
    assert wanted.places.shape == (1, 16, 32)
    stop = Network({**stages, "turned": Stage([], last), "pool": nn.Sequential(Stage([], first), pool)}, plain.head)
    for network in (turned, stop.eval()):
        np.testing.assert_allclose(attribution.visual(network, inputs, np.array([2])).places, wanted.places, atol=1e-5)


def test_an_earlier_stage_is_read_where_the_last_maps_are_too_coarse():
    plain = convolutional().eval()
    stages = dict(plain.stages.items())
    small = {**stages}
    pool = small.pop("pool")
    network = Network({**small, "shrunk": nn.AvgPool2d(8), "pool": pool}, plain.head).eval()
    inputs = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert attribution.visual(network, inputs, np.array([0])).stage == "stage2"
    assert attribution.visual(network, inputs[:, :, :16, :16], np.array([0])).places.shape == (1, 16, 16)


def test_networks_without_places_have_no_heat():
    flat = Network({"features": nn.Flatten()}, nn.Linear(4, 2)).eval()
    assert attribution.visual(flat, torch.rand(1, 1, 2, 2), np.array([0])) is None


def test_weights_of_the_network_are_left_as_they_are():
    network = convolutional().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    attribution.visual(network, torch.rand(2, 3, 8, 8), np.array([0, 1]))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())


def by_word(texts):
    """The probability of the second class is 0.9 with the word «good», 0.4 less with «not», from 0.5 without any."""
    found = []
    for text in texts:
        words = (text if isinstance(text, str) else " ".join(text)).split()
        value = 0.5 + 0.4 * ("good" in words) - 0.2 * ("not" in words)
        found.append([1 - value, value])
    return np.array(found)


def test_the_word_on_which_a_text_hangs_weighs_most():
    found = attribution.words(by_word, "this film is not so good", 1, 64)
    assert [word for word, _ in found] == ["this", "film", "is", "not", "so", "good"]
    np.testing.assert_allclose([weight for _, weight in found], [0, 0, 0, -0.5, 0, 1], atol=1e-12)


def test_words_of_long_texts_are_left_out_in_runs():
    text = " ".join(["so"] * 9 + ["good"] + ["so"] * 10)
    found = attribution.words(by_word, text, 1, 5)
    assert [len(run.split()) for run, _ in found] == [4] * 5
    assert [weight for _, weight in found] == [0, 0, 1, 0, 0]


def test_pairs_of_texts_are_told_apart():
    found = attribution.words(by_word, ("what is good", "not this"), 1, 64)
    assert [word for word, _ in found] == ["what", "is", "good", "|", "not", "this"]
    assert dict(found)["good"] == 1
    assert dict(found)["not"] == pytest.approx(-0.5)


def test_single_words_and_indifferent_models_say_nothing():
    assert attribution.words(by_word, "good", 1, 64) == []
    assert attribution.words(by_word, "", 1, 64) == []
    assert [weight for _, weight in attribution.words(by_word, "one two", 1, 64)] == [0, 0]


def _picture(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")))))


def test_heat_is_drawn_where_it_is():
    frame = np.full((224, 224, 3), 128, dtype=np.uint8)
    heat = np.zeros((7, 7))
    heat[0, 0] = 1
    drawn = _picture(thumbnails.heated(frame, heat)).astype(int)
    assert drawn.shape == (96, 96, 3)
    assert drawn[4, 4, 0] > 180 > 100 > drawn[4, 4, 2]
    assert np.abs(drawn[60:, 60:] - 128).max() <= 3
    assert _picture(thumbnails.heated(frame[:, :100, :1], heat)).shape[:2] == (96, 43)


def test_pictures_are_small_and_tiny_ones_are_enlarged():
    assert _picture(thumbnails.uri(Image.new("RGB", (400, 200)))).shape == (48, 96, 3)
    assert _picture(thumbnails.uri(Image.new("L", (8, 8)), 48)).shape == (48, 48, 3)
    assert _picture(thumbnails.uri(Image.new("RGBA", (3, 900)))).shape[0] == 96


class _Letters:
    """Frames (t, 3) of a text: the number of the letters in each word, a zero, and that there is a token."""

    ragged, modality, hint = True, "text", 0

    def frame(self, item, augment=None):
        texts = (item,) if isinstance(item, str) else item
        words = " ".join(texts).split() or [""]
        return np.array([[len(word), 0, 1] for word in words], dtype=np.int32)

    def tensor(self, frames):
        return frames.float()


def _longest(parts, inputs):
    """(b, 1): the letters of the longest word."""
    return torch.where(mask(inputs), values(inputs)[..., 0], 0).amax(dim=1, keepdim=True)


class _Texts:
    modality, in_memory, lengths = "text", True, None

    def __init__(self, texts):
        self.texts = texts

    def read(self, index, hint):
        return self.texts[index]


def test_texts_are_explained_by_the_network_itself_within_what_may_be_spent(monkeypatch):
    head = nn.Linear(1, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0], [0.1]]))
        head.bias.copy_(torch.tensor([0.0, -1.0]))
    network = Network({"longest": Stage([], _longest)}, head).eval()
    reader = explained.Reader(network, _Letters(), folder.load("tasks", "classify")())
    np.testing.assert_allclose(reader.answer(["no more", "one enormously"])[:, 1], [1 / (1 + np.exp(1 - 0.4)), 0.5])
    items = _Texts(["a tremendous film", "word", "it is extraordinarily bad"])
    made = explained.texts(reader, items, np.arange(3), np.array([1, 1, 1]))
    assert [max(one["tokens"], key=lambda pair: pair[1])[0] for one in (made.found[0], made.found[2])] == [
        "tremendous",
        "extraordinarily",
    ]
    assert made.found[1] == {}
    assert "falls where the word is left out" in made.method
    # With little to spend, the first text is explained all the same and the last one is not.
    monkeypatch.setattr(explained, "WORK", 40)
    made = explained.texts(reader, items, np.array([2, 0]), np.array([1, 1]))
    assert [bool(one) for one in made.found] == [True, False]
    assert explained.texts(reader, items, np.array([1]), np.array([1])).method == ""
