"""Recordings: every format as mono sound, every check on the smallest folder that deserves it, every message."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sterna.data import _sounds, audio
from sterna.errors import DataError
from sterna.records import Columns, Finding, Loaded

RATE = 8000


def sound(seed: int, count: int = 800, channels: int = 1) -> np.ndarray:
    """A recording unlike those of other seeds, at whole 16-bit steps."""
    steps = np.random.default_rng(seed).integers(-9000, 9000, (count, channels))
    return (steps / 32768).astype(np.float32)


def put(root: Path, *names: str, start: int = 0, rate: int = RATE, count: int = 800) -> Path:
    """A different recording under each name."""
    for seed, name in enumerate(names, start=start):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, sound(seed, count), rate)
    return root


def two_by_three(root: Path) -> Path:
    return put(root, *(f"{kind}/{place}.wav" for kind in ("frog", "owl") for place in range(3)))


def kinds(loaded: Loaded) -> list[str]:
    return [finding.kind for finding in loaded.findings]


def one(loaded: Loaded, kind: str) -> Finding:
    (found,) = [finding for finding in loaded.findings if finding.kind == kind]
    return found


def names(loaded: Loaded) -> list[str]:
    return [loaded.table.items.name(int(row)) for row in loaded.table.rows]


def table(root: Path, header: str, *lines: str, name: str = "list.csv") -> str:
    (root / name).write_text("\n".join([header, *lines]) + "\n")
    return str(root / name)


# What a reference is


def test_claims(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    assert audio.claims(str(tmp_path))
    assert audio.claims(table(tmp_path, "path,label", "frog/0.wav,a", "owl/0.wav,b"))
    assert not audio.claims("sklearn:digits")
    assert not audio.claims(table(tmp_path, "height,label", "1,a", "2,b", name="other.csv"))


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    loaded = audio.load(str(two_by_three(tmp_path)), progress=lambda *at: done.append(at))
    assert kinds(loaded) == ["lengths"]
    assert loaded.origin == str(tmp_path)
    assert (loaded.table.task, loaded.table.classes) == ("classify", ("frog", "owl"))
    assert loaded.table.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert names(loaded) == [f"{kind}/{place}.wav" for kind in ("frog", "owl") for place in range(3)]
    assert loaded.groups.tolist() == list(range(6))
    assert set(loaded.parts.tolist()) == {""}
    assert len(loaded.domains) == 0
    assert done == [(place, 6) for place in range(1, 7)]
    items = loaded.table.items
    assert (items.modality, items.in_memory, len(items)) == ("audio", False, 6)
    assert items.lengths is not None
    assert (items.lengths == 800).all()
    twin = pickle.loads(pickle.dumps(items)).read(4, 0)
    assert (twin.rate, twin.samples.dtype) == (RATE, np.float32)
    assert np.array_equal(twin.samples, sound(4)[:, 0])
    assert len({items.digest(row) for row in range(6)}) == 6


def test_numbers_may_name_class_folders(tmp_path: Path) -> None:
    put(tmp_path, *(f"{kind}/{place}.wav" for kind in range(30) for place in range(2)))
    loaded = audio.load(str(tmp_path))
    assert (loaded.table.task, len(loaded.table.classes)) == ("classify", 30)
    loaded = audio.load(str(tmp_path), columns=Columns(task="regress"))
    assert loaded.table.labels[:3].tolist() == [[0], [0], [1]]
    assert "single example" not in kinds(loaded)


def test_given_parts(tmp_path: Path) -> None:
    put(tmp_path, *(f"{part}/{kind}/{n}.wav" for part in ("Train", "valid", "test") for kind in "ab" for n in range(2)))
    put(tmp_path, "test/no_class.wav", "extra/c/y.wav", start=30)
    loaded = audio.load(str(tmp_path))
    assert loaded.table.classes == ("a", "b")
    assert loaded.parts.tolist() == ["train"] * 4 + ["test"] * 4 + ["validation"] * 4
    assert "Train as train, test as test, valid as validation" in one(loaded, "inferred").sentence
    assert one(loaded, "loose recordings").items == ("extra/c/y.wav", "test/no_class.wav")


def test_a_folder_of_unlabelled_recordings_is_no_class(tmp_path: Path) -> None:
    held = [f"test/{kind}/{n}.wav" for kind in "ab" for n in range(2)]
    put(tmp_path, *held, *(f"train/{kind}/{n}.wav" for kind in ("a", "b", "unlabeled") for n in range(3)))
    loaded = audio.load(str(tmp_path))
    assert loaded.table.classes == ("a", "b")
    assert len(loaded.table) == 10
    assert kinds(loaded) == ["inferred", "unlabelled", "lengths"]
    assert one(loaded, "unlabelled").items == ("unlabeled",)
    assert "1 folder of unlabelled recordings left out" in one(loaded, "unlabelled").sentence


def test_train_may_be_a_sound(tmp_path: Path) -> None:
    put(tmp_path, "train/1.wav", "train/2.wav", "bus/1.wav", "bus/2.wav", "tram/old/1.wav", "tram/new/2.wav")
    loaded = audio.load(str(tmp_path))
    assert loaded.table.classes == ("bus", "train", "tram")
    assert set(loaded.parts.tolist()) == {""}


def test_folders_inside_class_folders_and_links_in_circles(tmp_path: Path) -> None:
    put(two_by_three(tmp_path), "frog/deep/er/x.wav", start=20)
    (tmp_path / "frog" / "deep" / "again").symlink_to(tmp_path / "frog")
    assert names(audio.load(str(tmp_path)))[3] == "frog/deep/er/x.wav"


def test_what_is_no_recording_is_left_out(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    (tmp_path / "frog" / "notes.txt").write_text("croak")
    (tmp_path / "cover.jpg").write_text("")
    (tmp_path / "frog" / ".hidden.wav").write_text("")
    (tmp_path / "newt").mkdir()
    loaded = audio.load(str(tmp_path))
    found = one(loaded, "foreign files")
    assert found.items == ("cover.jpg", "frog/notes.txt")
    assert found.sentence.startswith("2 files left out (1 .jpg, 1 .txt): cover.jpg, frog/notes.txt; convert")
    assert one(loaded, "empty class").items == ("newt",)


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file or folder"):
        audio.load(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="holds no recordings; give a folder with one folder of recordings"):
        audio.load(str(tmp_path))
    put(tmp_path, "a.wav", "b.wav", "c.wav")
    with pytest.raises(DataError, match=r"only 3 loose recordings \(a.wav, b.wav and 1 more\); .* or give a .csv"):
        audio.load(str(tmp_path))
    listed = table(tmp_path, "path,label", "a.wav,x")
    with pytest.raises(DataError, match=f"or type {listed} if that lists them"):
        audio.load(str(tmp_path))
    with pytest.raises(DataError, match=r"a\.wav is a single recording, not a data set"):
        audio.load(str(tmp_path / "a.wav"))
    two_by_three(tmp_path / "all" / "inner")
    with pytest.raises(DataError, match=f"all holds one folder, inner, .* type {tmp_path / 'all' / 'inner'}"):
        audio.load(str(tmp_path / "all"))
    every = "--label, --group, --domain and --text name columns of a table, got --group speaker: leave that out"
    with pytest.raises(DataError, match=f"is a folder, whose class folders are the labels; {every}"):
        audio.load(str(tmp_path / "all" / "inner"), columns=Columns(group="speaker"))


# Files


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [
        ("a.wav", "PCM_16", 0),
        ("a.wav", "PCM_24", 0),
        ("a.wav", "FLOAT", 0),
        ("a.flac", "PCM_16", 0),
        ("a.aiff", "PCM_16", 0),
        ("a.ogg", "VORBIS", 0.05),
        ("a.mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_every_format_is_read_as_the_mean_of_its_channels(
    tmp_path: Path, name: str, subtype: str, error: float, channels: int
) -> None:
    place = tmp_path / name
    times = np.arange(8000) / 8000
    samples = np.stack([0.3 * np.sin(2 * np.pi * (300 + 200 * one) * times) for one in range(channels)], axis=1)
    samples = (np.rint(samples * 32768) / 32768).astype(np.float32)
    soundfile.write(place, samples, RATE, subtype=subtype)
    (scanned,) = _sounds.scan([str(place)])
    assert scanned.problem == ""
    assert (scanned.rate, scanned.channels, scanned.seconds) == (RATE, channels, pytest.approx(1, abs=0.3))
    assert scanned.peak == pytest.approx(np.abs(samples).max(), abs=error + 1e-6)
    read = audio.AudioItems([str(place)], [name], [scanned]).read(0, 0)
    assert (read.rate, read.samples.dtype, read.samples.ndim) == (RATE, np.float32, 1)
    assert np.abs(read.samples[2000:6000] - samples.mean(axis=1)[2000:6000]).max() <= error + 1e-6


def test_long_files_are_scanned_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", sound(0, 1000, 2), RATE)
    whole = _sounds.scan([str(tmp_path / "a.wav")])
    monkeypatch.setattr(_sounds, "_BLOCK", 64)
    assert _sounds.scan([str(tmp_path / "a.wav")]) == whole


def test_what_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    owl = tmp_path / "owl"
    (owl / "a.wav").write_bytes(b"")
    (owl / "b.flac").write_text("no sound at all " * 40)
    soundfile.write(owl / "c.wav", sound(7)[:0], RATE)
    content = (owl / "0.wav").read_bytes()
    (owl / "d.wav").write_bytes(content[: len(content) // 2])
    soundfile.write(owl / "e.flac", sound(8, 20000), RATE)
    content = (owl / "e.flac").read_bytes()
    (owl / "e.flac").write_bytes(content[: len(content) // 2])
    soundfile.write(owl / "f.wav", np.array([0.1, np.nan, 0.2]), RATE, subtype="FLOAT")
    (owl / "g.wav").symlink_to(tmp_path / "gone.wav")
    loaded = audio.load(str(tmp_path))
    found = one(loaded, "unreadable")
    assert found.items == tuple(
        f"owl/{name}" for name in ("a.wav", "b.flac", "c.wav", "d.wav", "e.flac", "f.wav", "g.wav")
    )
    assert found.sentence.startswith("7 files cannot be read and set aside: owl/a.wav (not a recording, whatever its")
    problems = [one.problem for one in _sounds.scan([str(tmp_path / name) for name in found.items])]
    assert problems[1:4] == ["not a recording, whatever its name says", "holds no sound", "cut off before its end"]
    assert problems[4].startswith(("damaged", "cut off"))
    assert problems[5:] == ["holds values that are no numbers", "no such file or directory"]
    assert len(loaded.table) == 6


def test_a_wav_file_from_a_pipe_does_not_know_its_length(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sound(0), RATE)
    content = (tmp_path / "a.wav").read_bytes()
    start = content.index(b"data") + 4
    (tmp_path / "a.wav").write_bytes(content[:start] + struct.pack("<I", 0xFFFFFFFF) + content[start + 4 :])
    (scanned,) = _sounds.scan([str(tmp_path / "a.wav")])
    assert (scanned.problem, scanned.length) == ("", 800)


def test_nothing_can_be_read(tmp_path: Path) -> None:
    for kind in "ab":
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "x.wav").write_text("nothing")
    with pytest.raises(DataError, match=r"none of the 2 sound files .* the first, a/x.wav, is refused because: not a"):
        audio.load(str(tmp_path))


def test_a_file_that_is_gone_later_is_named(tmp_path: Path) -> None:
    items = audio.load(str(two_by_three(tmp_path))).table.items
    (tmp_path / "owl" / "1.wav").unlink()
    with pytest.raises(DataError, match=r"owl/1\.wav was readable and no longer is .* put it back, or start again"):
        items.read(4, 0)


# Checks of what is heard


def test_lengths_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(two_by_three(tmp_path), "owl/long.wav", count=24000, start=9)
    loaded = audio.load(str(tmp_path))
    assert one(loaded, "lengths").sentence == (
        "7 recordings of 0.1 to 3 s, median 0.1 s, mono; each is brought to the rate of the encoder, and padding in "
        "a batch changes no answer."
    )
    assert "long" not in kinds(loaded)
    monkeypatch.setattr(audio.sounds, "LONGEST", 2.0)
    found = one(audio.load(str(tmp_path)), "long")
    assert found.items == ("owl/long.wav",)
    assert found.sentence.startswith(
        "1 recording is longer than 2 s, of which only the beginning is used: owl/long.wav;"
    )


def test_rates_and_channels_are_said(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    put(tmp_path, "owl/high.wav", rate=44100, start=9)
    soundfile.write(tmp_path / "owl" / "wide.wav", sound(10, 800, 2), RATE)
    loaded = audio.load(str(tmp_path))
    assert "the mean of their channels; each is brought" in one(loaded, "lengths").sentence
    assert one(loaded, "rates").sentence.startswith(
        "the recordings differ in rate (7 at 8000 Hz, 1 at 44100 Hz), so those at 8000 Hz hold nothing above 4000 Hz"
    )


def test_silence_and_clipping_are_said(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    soundfile.write(tmp_path / "owl" / "mute.wav", np.zeros(500), RATE)
    soundfile.write(tmp_path / "owl" / "loud.wav", np.clip(20 * sound(9), -1, 1), RATE)
    touching = sound(10, 3000)
    touching[5] = 0.99999
    soundfile.write(tmp_path / "owl" / "touching.wav", touching, RATE)
    loaded = audio.load(str(tmp_path))
    assert one(loaded, "silent").items == ("owl/mute.wav",)
    assert one(loaded, "silent").sentence.startswith("in 1 recording nothing is to be heard: owl/mute.wav;")
    assert one(loaded, "clipped").items == ("owl/loud.wav",)
    assert one(loaded, "clipped").sentence.startswith("1 recording is clipped (at least 0.1 % of the samples stand")
    assert len(loaded.table) == 9


def test_copies_are_found_in_other_formats_and_channels(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    soundfile.write(tmp_path / "owl" / "copy.flac", sound(3), RATE)
    soundfile.write(tmp_path / "owl" / "wide.wav", np.repeat(sound(0), 2, axis=1), RATE)  # of frog/0.wav
    soundfile.write(tmp_path / "owl" / "faster.wav", sound(4), 2 * RATE)
    loaded = audio.load(str(tmp_path))
    assert one(loaded, "duplicate").items == ("frog/0.wav", "owl/wide.wav", "owl/0.wav", "owl/copy.flac")
    assert one(loaded, "conflict").items == ("frog/0.wav", "owl/wide.wav")
    assert "1 recording is there under two labels: frog/0.wav = owl/wide.wav" in one(loaded, "conflict").sentence
    number = dict(zip(names(loaded), loaded.groups.tolist(), strict=True))
    assert number["frog/0.wav"] == number["owl/wide.wav"]
    assert number["owl/0.wav"] == number["owl/copy.flac"]
    assert len(set(number.values())) == 7


def test_copies_across_given_parts_leave_training(tmp_path: Path) -> None:
    put(tmp_path, *(f"{part}/{kind}/{n}.wav" for part in ("train", "test") for kind in "ab" for n in range(3)))
    shutil.copy(tmp_path / "test" / "a" / "1.wav", tmp_path / "train" / "a" / "leak.wav")
    loaded = audio.load(str(tmp_path))
    assert one(loaded, "leak").items == ("train/a/leak.wav",)
    assert "train/a/leak.wav" not in names(loaded)
    assert "test/a/1.wav" in names(loaded)


def test_checks_of_classes(tmp_path: Path) -> None:
    put(tmp_path, *(f"many/{n}.wav" for n in range(20)), "few/1.wav", "few/2.wav", "Few/1.wav")
    loaded = audio.load(str(tmp_path))
    assert {"imbalance", "similar names", "single example"} <= set(kinds(loaded))
    with pytest.raises(DataError, match="two are needed to tell apart"):
        audio.load(str(put(tmp_path / "one", "only/1.wav", "only/2.wav")))


# Tables


def listed(root: Path, *lines: str, header: str = "path,label", said: Columns = Columns()) -> Loaded:  # noqa: B008
    return audio.load(table(root, header, *lines), columns=said)


def test_a_table_of_path_and_label(tmp_path: Path) -> None:
    put(tmp_path, *(f"calls/{n}.wav" for n in range(6)))
    lines = [
        f"calls/{n}.wav,{'owl' if n > 2 else 'frog'},{part},{n // 2}" for n, part in enumerate(["train", "test"] * 3)
    ]
    loaded = listed(tmp_path, *lines, header="Filename,species,split,session_group")
    assert loaded.table.classes == ("frog", "owl")
    assert loaded.table.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert loaded.parts.tolist() == ["train", "test"] * 3
    assert names(loaded) == [f"calls/{n}.wav" for n in range(6)]
    said = [finding.sentence for finding in loaded.findings if finding.kind == "inferred"]
    assert said[0] == (
        "the columns of list.csv are read as path from 'Filename', label from 'species', part from 'split'; type "
        "--label NAME or --group NAME, or rename the column, if that is wrong."
    )
    assert said[1].startswith("the task is classify: 2 classes (frog, owl), from the label column 'species'")


def test_speakers_are_groups_unless_they_are_something_else(tmp_path: Path) -> None:
    put(tmp_path, *(f"{n}.wav" for n in range(8)))
    lines = [f"{n}.wav,{n % 2},{'ann' if n < 3 else 'bob'}" for n in range(8)]
    header = "audio,digit,speaker"
    loaded = listed(tmp_path, *lines, header=header)
    assert loaded.groups.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert "group from 'speaker'" in one_inferred(loaded)
    loaded = listed(tmp_path, *lines, header=header, said=Columns(domain="speaker"))
    assert loaded.groups.tolist() == list(range(8))
    assert loaded.domains.tolist() == ["ann"] * 3 + ["bob"] * 5
    loaded = listed(tmp_path, *lines, header=header, said=Columns(label=("speaker",)))
    assert loaded.table.classes == ("ann", "bob")
    assert loaded.groups.tolist() == list(range(8))
    loaded = listed(tmp_path, *lines, header=header, said=Columns(group="digit", label=("speaker",)))
    assert loaded.groups.tolist() == [0, 1] * 4


def one_inferred(loaded: Loaded) -> str:
    return next(finding.sentence for finding in loaded.findings if finding.kind == "inferred")


def test_given_groups_across_given_parts_are_said(tmp_path: Path) -> None:
    put(tmp_path, *(f"{n}.wav" for n in range(8)))
    lines = [f"{n}.wav,{n % 2},ann,{'train' if n < 5 else 'test'}" for n in range(7)] + ["7.wav,1,bob,test"]
    loaded = listed(tmp_path, *lines, header="path,label,speaker,split")
    assert "1 given group lies in more than one given part" in one(loaded, "group in several parts").sentence


def test_several_labels_and_amounts(tmp_path: Path) -> None:
    put(tmp_path, *(f"{n}.wav" for n in range(8)))
    tags = ["dog", "dog|rain", "rain", "dog", "rain|wind", "wind", "dog", "wind"]
    loaded = listed(tmp_path, *(f"{n}.wav,{tag},{0.5 + n}" for n, tag in enumerate(tags)), header="path,event,level")
    assert (loaded.table.task, loaded.table.classes) == ("multilabel", ("dog", "rain", "wind"))
    assert loaded.table.labels[1].tolist() == [1, 1, 0]
    loaded = audio.load(str(tmp_path / "list.csv"), columns=Columns(label=("level",)))
    assert loaded.table.task == "regress"
    np.testing.assert_allclose(loaded.table.labels[:, 0], np.arange(8) + 0.5)
    assert not {"imbalance", "single example"} & set(kinds(loaded))


def test_of_two_columns_that_say_the_same_the_names_are_taken(tmp_path: Path) -> None:
    put(tmp_path, *(f"{n}.wav" for n in range(6)))
    lines = [f"{n}.wav,{n % 3},{('cat', 'dog', 'hen')[n % 3]},{'ann' if n < 3 else 'bob'}" for n in range(6)]
    loaded = listed(tmp_path, *lines, header="filename,target,category,speaker")
    assert loaded.table.classes == ("cat", "dog", "hen")
    lines[0] = "0.wav,1,cat,ann"
    loaded = listed(tmp_path, *lines, header="filename,target,category,speaker")
    assert loaded.table.classes == ("0", "1", "2")


def test_json_lines(tmp_path: Path) -> None:
    put(tmp_path, *(f"{n}.wav" for n in range(4)))
    rows = [{"clip": f"{n}.wav", "label": "ab"[n % 2]} for n in range(4)]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert audio.load(str(tmp_path / "list.jsonl")).table.classes == ("a", "b")


@pytest.mark.parametrize("home", ["audio", "../audio", ".."])
def test_paths_may_start_from_a_folder_nearby(tmp_path: Path, home: str) -> None:
    place = tmp_path / "meta"
    place.mkdir()
    put(place / home, *(f"{n}.wav" for n in range(4)))
    loaded = listed(place, *(f"{n}.wav,{n % 2}" for n in range(4)))
    assert len(loaded.table) == 4
    assert any("the paths of list.csv are read as starting from" in finding.sentence for finding in loaded.findings)


def test_rows_that_lack_something(tmp_path: Path) -> None:
    put(tmp_path, *(f"{n}.wav" for n in range(6)))
    lines = ["0.wav,a,x", ",a,x", "1.wav,,x", "2.wav,b,", "3.wav,b,y", "4.wav,a,y", "gone.wav,a,y"]
    loaded = listed(tmp_path, *lines, header="path,label,place", said=Columns(domain="place"))
    assert names(loaded) == ["0.wav", "2.wav", "3.wav", "4.wav"]
    assert one(loaded, "no path").items == ("row 2",)
    assert one(loaded, "no path").sentence.startswith("1 row without a path in column 'path' set aside: row 2;")
    assert one(loaded, "unlabelled").items == ("1.wav",)
    assert one(loaded, "unreadable").sentence.startswith("1 file cannot be read and set aside: gone.wav (no such file")
    assert loaded.domains.tolist() == ["x", "unknown", "y", "y"]
    assert one(loaded, "no domain").items == ("2.wav",)
    assert "1 row without a domain are counted to the domain 'unknown': 2.wav" in one(loaded, "no domain").sentence


@pytest.mark.parametrize(
    ("header", "lines", "said", "sentence"),
    [
        (
            "path,label",
            ["0.wav,a", "1.wav,b"],
            Columns(label=("lable",)),
            r"no column 'lable'\. Did you mean 'label'\?",
        ),
        ("path,label", ["0.wav,a", "1.wav,b"], Columns(group="who"), "no column 'who'.* It has path, label; type one"),
        ("path,label", ["0.wav,a", "1.wav,b"], Columns(domain="who"), "no column 'who'"),
        ("path,label", ["0.txt,a", "1.txt,b"], Columns(), "has no column of paths of sound files; it has path, label;"),
        (
            "path,b",
            ["0.wav,1", "1.wav,2"],
            Columns(),
            "no column that is plainly the label, and none that can be; .* --la",
        ),
        (
            "path,b,c",
            ["0.wav,1,x", "1.wav,1,x", "2.wav,2,y"],
            Columns(),
            r"and several that may be \(b, c\); it has path, b, c; type --label NAME",
        ),
        (
            "path,label,split",
            ["0.wav,a,train", "1.wav,b,later"],
            Columns(),
            "says 'later'; it may say train, validation",
        ),
        ("path,label", ["0.wav,a", "1.wav,b"], Columns(task="tag"), "the task tag needs a tag for each word"),
    ],
)
def test_tables_that_cannot_be_used(
    tmp_path: Path, header: str, lines: list[str], said: Columns, sentence: str
) -> None:
    put(tmp_path, "0.wav", "1.wav", "2.wav")
    with pytest.raises(DataError, match=sentence):
        listed(tmp_path, *lines, header=header, said=said)


# New recordings


def test_gather_takes_files_folders_and_patterns(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    (tmp_path / "owl" / "bad.wav").write_text("nothing")
    (tmp_path / "owl" / "notes.txt").write_text("nothing")
    items, bad = audio.gather(
        [str(tmp_path / "frog" / "*.wav"), str(tmp_path / "owl"), str(tmp_path / "frog" / "1.wav")]
    )
    assert [Path(items.name(row)).relative_to(tmp_path).as_posix() for row in range(len(items))] == [
        *(f"frog/{place}.wav" for place in range(3)),
        *(f"owl/{place}.wav" for place in range(3)),
    ]
    assert bad == (str(tmp_path / "owl" / "bad.wav"),)
    assert audio.GATHERS == items.modality == "audio"
    assert np.array_equal(items.read(5, 0).samples, sound(5)[:, 0])
    with pytest.raises(DataError, match="no file fits the pattern"):
        audio.gather([str(tmp_path / "*.flac")])
    with pytest.raises(DataError, match="there is no file or folder"):
        audio.gather([str(tmp_path / "gone.wav")])
