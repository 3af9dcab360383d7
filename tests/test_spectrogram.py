"""The floor on sounds: fixed features without weights, and what they are worth on real recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sterna import reading
from sterna.data import audio
from sterna.encoders import spectrogram
from sterna.errors import EncoderError
from sterna.maths import logistic
from sterna.records import Columns, Loaded, Sound


def test_features_of_a_spectrogram_have_a_fixed_size_and_no_weights() -> None:
    encoder = spectrogram.load("log_mel")
    prepare = encoder.preparation
    generator = np.random.default_rng(0)
    frames = [
        prepare.frame(Sound(0.1 * generator.standard_normal(count).astype(np.float32), rate))
        for count, rate in ((5000, 8000), (300, 16000), (44100, 44100))
    ]
    features = prepare.tensor(torch.from_numpy(np.stack(frames)))
    output = encoder.network(features)
    assert torch.equal(output.features, features)
    assert (features.shape, features.dtype) == ((3, 200), torch.float32)
    assert output.logits.shape == (3, 0)
    assert list(encoder.network.stages) == ["features"]
    assert sum(weight.numel() for weight in encoder.network.parameters()) == 0
    assert (encoder.pretrained, encoder.source_classes) == (False, ())
    assert (prepare.modality, prepare.ragged) == ("audio", False)
    assert encoder.fresh()(features).features.equal(features)
    assert encoder.network.with_head(3, {})(features).logits.shape == (3, 3)
    assert encoder.reference == "spectrogram:log_mel"
    assert encoder.config == {"library": "sterna", "architecture": "spectrogram:log_mel", "num_features": 200}
    assert encoder.digest == spectrogram.load("log_mel").digest


def test_unknown_features_are_refused() -> None:
    with pytest.raises(EncoderError, match=r"unknown features of a spectrogram 'logmel'\. Did you mean 'log_mel'\?"):
        spectrogram.load("logmel")


def spoken_digits(root: Path, table: Path) -> Loaded:
    lines = ["path,label,speaker"]
    for path in sorted((root / "spoken_digits" / "recordings").glob("*.wav")):
        digit, speaker, number = path.stem.split("_")
        if int(number) < 12:
            lines.append(f"{path},{digit},{speaker}")
    table.write_text("\n".join(lines))
    return audio.load(str(table), columns=Columns(domain="speaker"))


def test_digits_of_an_unheard_speaker_are_told_apart(data_folder: Path, tmp_path: Path) -> None:
    """72 recordings a digit; chance is 10 %. With all 1,500 it is 86 %."""
    loaded = spoken_digits(data_folder, tmp_path / "digits.csv")
    prepare, rows = spectrogram.load("log_mel").preparation, loaded.table.rows
    features = torch.cat(list(reading.frames(loaded.table.items, prepare, rows, size=64))).numpy()
    right = []
    for speaker in ("george", "theo", "yweweler"):
        heard = loaded.domains != speaker
        known, labels = features[heard], loaded.table.labels[heard]
        *_, fit = logistic.fit_path(
            lambda _, known=known: iter([known]), labels, np.ones(len(labels)), 10, (1e-3, 1e-2)
        )
        answers = (features[~heard] @ fit.weight.T + fit.bias).argmax(axis=1)
        right.append((answers == loaded.table.labels[~heard]).mean())
    assert np.mean(right) > 0.7, right
