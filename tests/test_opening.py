"""References that lead somewhere, and one sentence for those that do not."""

import pytest

from sterna import opening
from sterna.errors import DataError, EncoderError


def test_a_built_in_set_and_a_built_in_encoder():
    loaded = opening.open_data("sklearn:digits")
    assert (len(loaded.table), len(loaded.table.classes)) == (1797, 10)
    assert opening.open_encoder("builtin:glyphs").pretrained
    assert not opening.open_encoder("classical:hog_colour").pretrained


@pytest.mark.parametrize("reference", ["sklearn:nothing", "no/such/folder", "https://somewhere"])
def test_data_that_are_not_there(reference):
    with pytest.raises(DataError, match=r"\w"):
        opening.open_data(reference)


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("resnet50", "an encoder is written origin:name, got 'resnet50'; type one of builtin:NAME"),
        ("timm:", "an encoder is written origin:name, got 'timm:'"),
        ("tim:resnet50", "unknown origin of encoders 'tim'. Did you mean 'timm'?"),
    ],
)
def test_encoders_that_are_not_there(reference, sentence):
    with pytest.raises(EncoderError, match=sentence.replace("?", r"\?")):
        opening.open_encoder(reference)
