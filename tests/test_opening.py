"""References that lead somewhere, and one sentence for those that do not."""

import pytest

from sterna import folder, opening
from sterna.errors import DataError, EncoderError, MissingPackageError


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


def test_a_kind_of_data_whose_package_is_absent_stops_nobody_else(monkeypatch, tmp_path):
    read = folder.module

    def without(place, name):
        if name == "audio":
            raise MissingPackageError("audio (in data) needs the package 'soundfile'")
        return read(place, name)

    monkeypatch.setattr(folder, "module", without)
    assert len(opening.open_data("sklearn:digits").table) == 1797
    for number in range(4):
        place = tmp_path / "sounds" / "ab"[number % 2] / f"{number}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"RIFF")
    with pytest.raises(MissingPackageError, match="soundfile"):
        opening.open_data(str(tmp_path / "sounds"))
