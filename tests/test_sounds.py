"""Preparations of sound, against other libraries, sines whose spectrum is known, and sums worked out in loops."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import dct
from transformers import Wav2Vec2FeatureExtractor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from sterna import augmenting, folder, reading, sequences, sounds
from sterna.errors import SpecError
from sterna.records import Augment, Sound


def sine(frequency: float, rate: int, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def amplitude(samples: np.ndarray, rate: int, frequency: float) -> float:
    """Of one frequency in the middle half of a recording."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    window = np.hanning(len(middle))
    turning = np.exp(-2j * np.pi * frequency * np.arange(len(middle)) / rate)
    return float(2 * np.abs((middle * window * turning).sum()) / window.sum())


# Resampling


PAIRS = [(8000, 16000), (44100, 16000), (48000, 16000), (22050, 16000), (16000, 8000), (44101, 16000)]


@pytest.mark.parametrize(("rate", "wanted"), PAIRS)
def test_a_sine_keeps_its_frequency_and_amplitude(rate: int, wanted: int) -> None:
    for frequency in (440.0, 0.85 * min(rate, wanted) / 2):
        made = sounds.resampled(sine(frequency, rate), rate, wanted)
        assert made.dtype == np.float32
        assert abs(len(made) - wanted) <= 1
        assert amplitude(made, wanted, frequency) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(("rate", "wanted"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_nothing_folds_back(rate: int, wanted: int) -> None:
    for times in (1.01, 1.2, 0.98 * rate / wanted):
        made = sounds.resampled(sine(times * wanted / 2, rate, amplitude=1), rate, wanted)
        assert np.abs(made[len(made) // 4 : -len(made) // 4]).max() < 1e-4  # -80 dB


def test_the_same_rate_changes_nothing() -> None:
    given = noise(50)
    assert sounds.resampled(given, 8000, 8000) is given
    assert len(sounds.resampled(given[:7], 8000, 12000)) == 11  # ceil(7 * 1.5)
    assert len(sounds.resampled(given[:0], 8000, 12000)) == 0


# Log-mel bands


@pytest.mark.parametrize(("rate", "length", "hop", "size"), [(16000, 400, 160, 400), (8000, 200, 80, 200)])
def test_log_mel_agrees_with_transformers(rate: int, length: int, hop: int, size: int) -> None:
    given = noise(rate // 2) + sine(300, rate, 0.5)
    theirs = spectrogram(
        given,
        window_function(length, "hann"),
        frame_length=length,
        hop_length=hop,
        fft_length=size,
        power=2.0,
        pad_mode="constant",
        mel_filters=mel_filter_bank(size // 2 + 1, 40, 20.0, rate / 2, rate, norm=None, mel_scale="htk"),
        mel_floor=1e-10,
    )
    ours = sounds.log_mel(given, rate)
    assert ours.shape == (1 + len(given) // hop, 40)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, 10 * np.log10(theirs.T), atol=2e-3)


def test_a_sine_is_loudest_in_its_band() -> None:
    """1000 Hz is 1000.0 mel by HTK's formula; 40 bands divide 31.7 to 2840.0 mel into 41 steps of 68.5."""
    loudness = sounds.log_mel(sine(1000, 16000), 16000).mean(axis=0)
    assert loudness.argmax() == round((1000.0 - 31.7) / 68.5) - 1


def test_what_is_far_below_the_loudest_counts_as_silence() -> None:
    low = sounds.resampled(sine(500, 8000), 8000, 16000)  # holds nothing above 4000 Hz
    bands = sounds.log_mel(low, 16000, depth=60)
    assert bands.min() == pytest.approx(bands.max() - 60, abs=1e-3)
    assert (bands[2:-2, 35:] == bands.min()).all()  # away from the clicks at both ends
    np.testing.assert_allclose(sounds.log_mel(np.zeros(900, dtype=np.float32), 16000), -100, atol=1e-3)
    assert sounds.log_mel(np.zeros(0, dtype=np.float32), 16000).shape == (1, 40)


def test_sounding_cuts_both_ends_and_no_gap() -> None:
    levels = np.array([-90.0, -45, -29, 0, -90, -10, -31, -90])
    bands = np.repeat(levels[:, None], 4, axis=1)
    assert sounds.sounding(bands, 30.0)[:, 0].tolist() == [-29, 0, -90, -10]
    assert len(sounds.sounding(bands * 0, 30.0)) == 8


# The samples themselves


def test_a_waveform_is_what_the_extractor_of_transformers_makes() -> None:
    given = noise(1000) + 0.05
    for normalise in (True, False):
        theirs = Wav2Vec2FeatureExtractor(do_normalize=normalise)(given, sampling_rate=16000).input_values[0]
        ours = sounds.Waveform(normalise=normalise).frame(Sound(given, 16000))
        assert (ours.shape, ours.dtype) == ((1000, 2), np.float32)
        np.testing.assert_allclose(ours[:, 0], theirs, atol=1e-5)
        assert (ours[:, 1] == sequences.TOKEN).all()


def test_waveforms_of_unequal_length_are_packed() -> None:
    class Two:
        modality, in_memory, lengths = "audio", True, None

        def __len__(self) -> int:
            return 2

        def read(self, index: int, hint: int) -> Sound:
            return Sound(noise(500 + 300 * index), 8000)

        def digest(self, index: int) -> str:
            return str(index)

        def name(self, index: int) -> str:
            return str(index)

    prepare = sounds.Waveform(rate=8000)
    (frames,) = reading.frames(Two(), prepare, np.arange(2), size=2, workers=0)
    packed = prepare.tensor(frames)
    assert (packed.shape, packed.dtype) == ((2, 800, 2), torch.float32)
    assert sequences.lengths(packed).tolist() == [500, 800]
    assert prepare.ragged
    assert prepare.hint == 0


def test_long_waveforms_are_cut_and_short_ones_get_silence() -> None:
    prepare = sounds.Waveform(rate=16000, longest_seconds=0.05)
    given = noise(16000)
    assert np.array_equal(prepare.frame(Sound(given, 16000))[:, 0], given[:800])
    assert len(prepare.frame(Sound(given, 8000))) == 800
    short = prepare.frame(Sound(given[:100], 16000))
    assert short.shape == (400, 2)
    assert np.array_equal(short[:100, 0], given[:100])
    assert (short[100:, 0] == 0).all()
    assert (short[:, 1] == 1).all()
    assert (replace(prepare, normalise=True).frame(Sound(given[:0], 16000))[:, 0] == 0).all()


@pytest.mark.parametrize("prepare", [sounds.Waveform(rate=8000), sounds.LogMelStatistics(rate=8000)])
def test_sounds_are_augmented_before_anything_else(prepare: Any) -> None:
    turned = Augment(sound=lambda sound: replace(sound, samples=sound.samples[::-1].copy()))
    given = Sound(noise(4000) * np.linspace(0.2, 1, 4000, dtype=np.float32), 8000)
    backwards = replace(given, samples=given.samples[::-1].copy())
    assert np.array_equal(prepare.frame(given, turned), prepare.frame(backwards))
    assert np.array_equal(prepare.frame(given, Augment()), prepare.frame(given))
    assert not np.array_equal(prepare.frame(given), prepare.frame(backwards))
    assert prepare.modality == "audio"
    assert pickle.loads(pickle.dumps(prepare)) == prepare
    assert eval(repr(prepare), vars(sounds)) == prepare


# Statistics over time


def test_statistics_by_hand() -> None:
    """The whole vector in plain loops, from the bands on."""
    prepare = sounds.LogMelStatistics(rate=16000, mels=12, cepstra=4, segments=3, quantiles=(0.5,), heard=1e9)
    given = noise(2400)
    bands = sounds.log_mel(given, 16000, 12)
    cepstra = np.stack([dct(frame.astype(float), norm="ortho")[:4] for frame in bands])  # 16 frames
    level = sum(cepstra[:, 0]) / 16
    expected = [np.log(0.16)]
    expected += [sum(cepstra[:, column]) / 16 for column in range(1, 4)]
    means = [level, *expected[1:]]
    expected += [
        np.sqrt(sum((value - mean) ** 2 for value in cepstra[:, column]) / 16) for column, mean in enumerate(means)
    ]
    for column in range(4):
        steps = [cepstra[t + 1, column] - cepstra[t, column] for t in range(15)]
        expected.append(np.sqrt(sum((step - sum(steps) / 15) ** 2 for step in steps) / 15))
    for column in range(4):
        ordered = sorted(cepstra[:, column])
        expected.append((ordered[7] + ordered[8]) / 2 - (level if column == 0 else 0))
    for start, end in ((0, 6), (5, 11), (10, 16)):  # thirds of 16 frames, rounded outwards
        expected += [sum(cepstra[start:end, column]) / (end - start) - means[column] for column in range(4)]
    made = prepare.frame(Sound(given, 16000))
    assert (made.shape, made.dtype) == ((prepare.width,), np.float32)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-3)


def test_neither_level_nor_silence_around_nor_rate_counts() -> None:
    prepare = sounds.LogMelStatistics()
    spoken = noise(3200) + sine(700, 8000, 0.4)
    plain = prepare.frame(Sound(spoken, 8000))
    np.testing.assert_allclose(prepare.frame(Sound(spoken / 8, 8000)), plain, atol=0.01)
    silence = np.zeros(1600, dtype=np.float32)
    around = prepare.frame(Sound(np.concatenate([silence, spoken, silence]), 8000))
    # The frames at both ends reach into the silence.
    assert np.abs(around - plain).mean() < 0.15 * np.abs(plain).mean()
    whole = replace(prepare, heard=1e9)
    heard, unheard = whole.frame(Sound(np.concatenate([silence, spoken]), 8000)), whole.frame(Sound(spoken, 8000))
    assert np.abs(heard - unheard).mean() > 0.5 * np.abs(unheard).mean()


def test_the_stretches_keep_the_order() -> None:
    prepare = sounds.LogMelStatistics(segments=2)
    low, high = sine(300, 16000, 0.5), sine(3000, 16000, 0.5)
    forwards = prepare.frame(Sound(np.concatenate([low, high]), 16000))
    backwards = prepare.frame(Sound(np.concatenate([high, low]), 16000))
    first, second = np.split(forwards[-40:], 2)
    np.testing.assert_allclose(backwards[-40:-20], second, atol=1.0)
    np.testing.assert_allclose(backwards[:20], forwards[:20], atol=0.5)
    assert np.abs(first - second).max() > 20


@pytest.mark.parametrize("count", [0, 1, 100, 161])
def test_the_shortest_recordings_have_statistics(count: int) -> None:
    made = sounds.LogMelStatistics().frame(Sound(noise(count), 16000))
    assert made.shape == (200,)
    assert np.isfinite(made).all()


def test_only_the_beginning_of_long_recordings_counts() -> None:
    prepare = sounds.LogMelStatistics(longest_seconds=0.5)
    given = noise(16000)
    assert np.array_equal(prepare.frame(Sound(given, 16000)), prepare.frame(Sound(given[:8000], 16000)))


# Augmentations of sounds


def drawn(seed: int, written: str, sound: Sound) -> Sound:
    (part,) = folder.resolve("augment", written)
    call = pickle.loads(pickle.dumps(part.build())).sound
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: Sound = call(sound)
        return made


def test_gain_changes_the_level_and_nothing_else() -> None:
    given = Sound(noise(500) / 2, 8000)
    changes, large = [], np.abs(given.samples) > 0.02
    for seed in range(60):
        made = drawn(seed, "gain(decibels=12)", given)
        ratio = made.samples[large] / given.samples[large]
        assert np.ptp(ratio) < 1e-5
        assert (made.samples.dtype, made.rate) == (np.float32, 8000)
        changes.append(20 * np.log10(ratio[0]))
    assert max(np.abs(changes)) <= 12
    assert min(changes) < -8
    assert max(changes) > 8
    loud = Sound(np.full(9, 0.9, dtype=np.float32), 8000)
    assert max(drawn(seed, "gain", loud).samples.max() for seed in range(9)) == 1


def test_time_shift_moves_and_fills_with_silence() -> None:
    given = Sound(np.arange(1, 101, dtype=np.float32) / 100, 8000)
    moves = set()
    for seed in range(60):
        made = drawn(seed, "time_shift(share=0.2)", given).samples
        by = int(np.flatnonzero(made)[0]) or 1 - round(100 * made[0])
        expected = np.concatenate([np.zeros(max(by, 0)), given.samples, np.zeros(max(-by, 0))])[max(-by, 0) :][:100]
        assert np.array_equal(made, expected.astype(np.float32))
        moves.add(by)
    assert max(map(abs, moves)) <= 20
    assert min(moves) < -14
    assert max(moves) > 14
    assert len(drawn(0, "time_shift(share=1)", given).samples) == 100
    assert len(drawn(0, "time_shift", Sound(given.samples[:0], 8000)).samples) == 0


def test_augmentations_of_sounds_add_up_and_are_the_same_for_the_same_seed() -> None:
    parts = [part.build() for part in folder.resolve("augment", "gain + time_shift")]
    made = augmenting.combine(parts, "gain + time_shift")
    assert made.single
    assert [part.written for part in parts] == ["gain", "time_shift"]
    given = Sound(noise(300), 8000)
    for written in ("gain", "time_shift"):
        assert np.array_equal(drawn(3, written, given).samples, drawn(3, written, given).samples)
        assert not np.array_equal(drawn(3, written, given).samples, drawn(4, written, given).samples)


@pytest.mark.parametrize("written", ["gain(decibels=-1)", "time_shift(share=1.5)"])
def test_impossible_options_are_refused(written: str) -> None:
    with pytest.raises(SpecError, match="must be"):
        folder.resolve("augment", written)
