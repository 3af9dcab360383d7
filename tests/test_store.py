"""The cache gives what the network gives, computes it once, survives interruptions, and notices damage."""

import dataclasses
import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import convolutional
from standins import NOISE, Pictures, encoder
from torch import nn

from sterna import extraction, fastest, files, folder, opening, reading, shards, store
from sterna.errors import StoreError
from sterna.maths.seeds import derive
from sterna.network import Network, deviation
from sterna.store import Store

VIEWS = ((0, None), (1, NOISE), (2, NOISE))


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    """64 rows in a shard, so that 150 items make three."""
    monkeypatch.setattr(extraction, "LONGEST", 64)


@pytest.fixture(autouse=True)
def _plain_form(monkeypatch):
    """The processor would decide the form, and with it the last digits."""
    with_plan(monkeypatch, fastest.Plan())


def with_plan(monkeypatch, plan):
    monkeypatch.setattr(fastest, "plan", lambda prefix, inputs: plan)


@pytest.fixture
def kept(tmp_path):
    return Store(tmp_path / "cache")


@pytest.fixture
def items():
    return Pictures(150)


def plain(made, items, cut, rows, view=0):
    """The oracle: one item at a time through the network itself."""
    found = []
    for row in rows:
        picture = items.data[row]
        if view:
            with torch.random.fork_rng():
                torch.manual_seed(derive("view", view, items.digest(row)))
                picture = NOISE.pixels(picture)
        inputs = torch.from_numpy(picture)[None].permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            found.append(made.network.eval().prefix(cut)(inputs))
    return torch.cat(found)


def activation_files(folder):
    return sorted((folder / "shards").glob("*.act"))


def test_activations_are_the_outputs_of_the_prefix(kept, items):
    made = encoder()
    found = kept.activations(made, items, [4, 2], views=VIEWS)
    assert set(found) == {(cut, view) for cut in (2, 4) for view in (0, 1, 2)}
    rows = np.array([149, 0, 64, 63, 64, 100])
    for (cut, view), activations in found.items():
        assert len(activations) == 150
        assert activations.shape == {2: (12, 12, 12), 4: (16,)}[cut]
        got = activations.gather(rows)
        assert got.dtype == torch.float32
        assert deviation(got, plain(made, items, cut, rows, view)) < 1e-3
        assert torch.equal(torch.cat(list(activations.slices(40))), activations.gather(np.arange(150)))
    assert not torch.equal(found[4, 1].gather(rows), found[4, 2].gather(rows))


def test_every_cut_comes_from_one_pass_and_a_second_call_costs_none(kept, items):
    made = encoder()
    kept.layout(made, items, np.arange(150))
    made.preparation.seen = 0
    told = []
    first = kept.activations(made, items, [1, 3, 4], progress=lambda done, total: told.append((done, total)))
    assert made.preparation.seen == 150
    assert told == [(32, 150), (64, 150), (96, 150), (128, 150), (150, 150)]
    second = kept.activations(made, items, [1, 3, 4], progress=lambda *_: pytest.fail("nothing to compute"))
    assert made.preparation.seen == 150
    for key, activations in first.items():
        assert torch.equal(activations.gather(np.arange(150)), second[key].gather(np.arange(150)))


def test_a_new_cut_leaves_what_is_there(kept, items):
    made = encoder()
    kept.activations(made, items, [4])
    before = {path: path.stat().st_mtime_ns for path in activation_files(kept.folder)}
    kept.activations(made, items, [4, 2])
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert len(activation_files(kept.folder)) == 6


def test_the_network_is_left_as_it_was(kept, items):
    made = encoder()
    made.network.train()
    before = {name: value.clone() for name, value in made.network.state_dict().items()}
    kept.activations(made, items, [4])
    assert made.network.training
    assert all(torch.equal(value, before[name]) for name, value in made.network.state_dict().items())
    assert all(weight.requires_grad for weight in made.network.parameters())


def computed(kept, made, items, **options):
    """How many rows a call computes."""
    told = [(0, 0)]
    kept.activations(made, items, [4], progress=lambda done, total: told.append((done, total)), **options)
    return told[-1][0]


def test_the_key_holds_all_that_matters_and_nothing_else(kept, items):
    kept.activations(encoder(), items, [4])
    assert computed(kept, encoder(reference="test:renamed"), items) == 0
    assert computed(kept, encoder(digest="weights 2"), items) == 150
    assert computed(kept, encoder(scale=2.0), items) == 150
    renamed = encoder()
    renamed.network.stages = nn.ModuleDict({f"{name}x": part for name, part in renamed.network.stages.items()})
    assert computed(kept, renamed, items) == 150
    assert computed(kept, encoder(), items, views=[(1, NOISE)]) == 150
    assert computed(kept, encoder(), items, views=[(1, dataclasses.replace(NOISE, written="noise(2)"))]) == 150
    items.data[70] = 0
    assert computed(kept, encoder(), items) == 64


def test_some_rows_alone(kept, items):
    made = encoder()
    rows = np.array([140, 3, 77])
    found = kept.activations(made, items, [4], views=[(1, NOISE)], rows=rows)[4, 1]
    assert found.rows.tolist() == [3, 77, 140]
    assert deviation(found.gather(rows), plain(made, items, 4, rows, 1)) < 1e-3
    with pytest.raises(IndexError, match="without activations"):
        found.gather(np.array([3, 4]))


def test_no_rows_and_no_cuts(kept, items):
    found = kept.activations(encoder(), items, [4], rows=np.zeros(0, dtype=np.int64))
    assert len(found[4, 0]) == 0
    assert list(found[4, 0].slices(3)) == []
    assert kept.activations(encoder(), items, []) == {}


def test_a_cut_outside_the_network_is_one_sentence(kept, items):
    with pytest.raises(StoreError, match=r"a cut of test:small must be in \[0, 4\], its number of stages, got 5"):
        kept.activations(encoder(), items, [5])


# The form of the network


def test_what_bfloat16_makes_is_kept_bit_for_bit(kept, items, monkeypatch):
    plan = fastest.Plan("bfloat16", channels_last=True, folded=True)
    with_plan(monkeypatch, plan)
    made = encoder()
    found = kept.activations(made, items, [3])[3, 0]
    assert found.dtype == "bfloat16"
    inputs = made.preparation.tensor(torch.from_numpy(items.data[64:96]))
    form = fastest.prepared(made.network.prefix(3), plan, inputs)
    assert torch.equal(found.gather(np.arange(64, 96)), form(inputs).float())


def test_the_form_is_chosen_once_and_remembered(kept, items, monkeypatch):
    plans = iter([fastest.Plan("bfloat16"), fastest.Plan("float32")])
    monkeypatch.setattr(fastest, "plan", lambda prefix, inputs: next(plans))
    made = encoder()
    first = kept.activations(made, items, [4])[4, 0].gather(np.arange(150))
    for path in activation_files(kept.folder):
        path.unlink()
    assert kept.layout(made, items, np.arange(150)).plan.dtype == "bfloat16"
    assert torch.equal(kept.activations(made, items, [4])[4, 0].gather(np.arange(150)), first)
    torch.set_num_threads(torch.get_num_threads() + 1)  # another machine chooses anew, and keeps its own shards
    try:
        assert kept.layout(made, items, np.arange(150)).plan.dtype == "float32"
        assert computed(kept, made, items) == 150
    finally:
        torch.set_num_threads(torch.get_num_threads() - 1)


class Scaled(nn.Module):
    """Multiplies from the item on whose first pixel is zero, so that a shard begins harmless."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, inputs):
        factors = torch.where(inputs[:, :1, :1, :1] == 0, self.factor, 1.0)
        return inputs * factors


@pytest.mark.parametrize("factor", [1e7, 1e-9])
def test_numbers_too_large_or_small_for_16_bits_take_32(kept, items, factor):
    items.data[:, 0, 0, 0] = 1
    items.data[96:128, 0, 0, 0] = 0
    made = encoder(Network({"scaled": Scaled(factor)}, nn.Linear(1, 2)))
    found = kept.activations(made, items, [1])[1, 0]
    assert [shard.dtype for shard in found.shards] == ["float16", "float32", "float16"]
    assert found.dtype == "float32"
    assert torch.equal(found.gather(np.arange(96, 128)), plain(made, items, 1, range(96, 128)))
    assert deviation(found.gather(np.arange(150)), plain(made, items, 1, range(150))) < 1e-3
    assert computed_at(kept, made, items, 1) == 0


def computed_at(kept, made, items, cut):
    before = made.preparation.seen
    kept.activations(made, items, [cut])
    return made.preparation.seen - before


# Interruptions, other processes, damage


def test_an_interrupted_extraction_goes_on_after_the_last_finished_shard(tmp_path, items):
    def stop(done, total):
        if done == 96:
            raise KeyboardInterrupt

    kept, undisturbed = Store(tmp_path / "a"), Store(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        kept.activations(encoder(), items, [4], progress=stop)
    assert len(activation_files(kept.folder)) == 1
    assert [path for path in kept.folder.rglob("*") if path.name.endswith(files.UNFINISHED)] == []
    assert computed(kept, encoder(), items) == 86
    assert computed(undisturbed, encoder(), items) == 150
    got, wanted = (one.activations(encoder(), items, [4])[4, 0] for one in (kept, undisturbed))
    assert torch.equal(got.gather(np.arange(150)), wanted.gather(np.arange(150)))


EXTRACT = """
    import sys, time, pathlib
    sys.path.insert(0, sys.argv[1])
    from standins import NOISE, Pictures, encoder
    from sterna import extraction, store
    extraction.LONGEST = 64
    made, pause = encoder(), float(sys.argv[3])
    def slow(done, total):
        print("done", done, flush=True)
        time.sleep(pause)
    found = store.Store(pathlib.Path(sys.argv[2])).activations(made, Pictures(150), [2, 4], progress=slow)
    print("sum", found[4, 0].gather(found[4, 0].rows).double().sum().item(), flush=True)
"""


def extracting(folder, pause):
    command = [sys.executable, "-c", textwrap.dedent(EXTRACT), str(Path(__file__).parent), str(folder), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_extraction_goes_on(tmp_path, items):
    kept = Store(tmp_path)
    process = extracting(tmp_path, 0.2)
    while process.stdout.readline().split() != ["done", "96"]:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(activation_files(tmp_path)) == 2
    assert computed(kept, encoder(), items) == 86


def test_two_processes_may_compute_the_same_at_once(tmp_path, items):
    both = [extracting(tmp_path, 0.05) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0][-1].startswith("sum ")
    assert said[0][-1] == said[1][-1]
    assert computed(Store(tmp_path), encoder(), items) == 0
    assert [path for path in tmp_path.rglob("*") if path.name.endswith(files.UNFINISHED)] == []


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def overwrite(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def garble(path):
    with open(path, "r+b") as file:
        file.write(b"\xff garbage")


def lie(path):
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"float16"', b'"float99"', 1))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, overwrite, garble, lie, empty, Path.unlink])
def test_a_damaged_shard_is_computed_again(kept, items, damage):
    made = encoder()
    before = kept.activations(made, items, [4])[4, 0].gather(np.arange(150))
    path = activation_files(kept.folder)[0]
    os.utime(path, (0, path.stat().st_mtime))
    damage(path)
    if damage is not Path.unlink:
        os.utime(path, (time.time(), time.time() + 5))  # damage within the same two seconds is told by nothing
    assert computed(kept, made, items) in (64, 22)
    assert torch.equal(kept.activations(made, items, [4])[4, 0].gather(np.arange(150)), before)


def test_a_copied_shard_is_checked_once_and_kept(kept, items, monkeypatch):
    made = encoder()
    kept.activations(made, items, [4])
    checked = []
    monkeypatch.setattr(shards, "_payload", lambda path, check=shards._payload: checked.append(path) or check(path))
    for path in activation_files(kept.folder):
        os.utime(path, (time.time(), time.time() + 1000))
    assert computed(kept, made, items) == 0
    assert computed(kept, made, items) == 0
    assert len(checked) == 3


# Reading


def total(activations):
    return activations.gather(activations.rows).double().sum().item()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_activations_go_to_other_processes_by_their_path(kept, items, start):
    activations = kept.activations(encoder(), items, [4])[4, 0]
    assert len(pickle.dumps(activations)) < 8000
    with multiprocessing.get_context(start).Pool(1) as pool:
        assert pool.apply(total, (activations,)) == total(activations)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_reading_does_not_pile_up_open_files(kept):
    items = Pictures(64 * 40)
    activations = kept.activations(encoder(), items, [4])[4, 0]
    assert len(activations.shards) == 40
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        activations.gather(np.random.default_rng(0).permutation(len(items)))
    assert len(os.listdir("/proc/self/fd")) <= before + shards.MAPPED


def test_what_was_given_out_may_be_written_to(kept, items):
    activations = kept.activations(encoder(), items, [4])[4, 0]
    before = activations.gather(np.arange(5)).clone()
    activations.gather(np.arange(5)).zero_()
    assert torch.equal(activations.gather(np.arange(5)), before)


def test_activations_removed_while_in_use_are_one_sentence(kept, items):
    activations = kept.activations(encoder(), items, [4])[4, 0]
    kept.clear()
    with pytest.raises(StoreError, match="removed or damaged while they were in use; run the same command again"):
        activations.gather(np.arange(3))


# Room


def test_entries_and_clear(kept, items):
    assert kept.entries() == ()
    kept.activations(encoder(), items, [4])
    kept.activations(encoder(), items, [2], views=[(1, NOISE)])
    entries = kept.entries()
    assert {entry.name for entry in entries} == {
        "test:small, 4 of 4 stages, clean",
        "test:small, 2 of 4 stages, 1 noise",
    }
    assert sum(entry.bytes for entry in entries) == sum(path.stat().st_size for path in activation_files(kept.folder))
    assert all(abs(entry.used - time.time()) < 60 for entry in entries)
    assert entries[0].used >= entries[-1].used
    aged(kept, 1000)
    assert [entry.used for entry in kept.entries()] == [entry.used for entry in kept.entries()]
    assert kept.entries()[0].used < time.time() - 500
    (kept.folder / "shards" / "broken.act").write_bytes(b"?")
    assert len(kept.entries()) == len(entries)
    forms = sorted((kept.folder / "plans").glob("*.json"))
    kept.clear()
    assert kept.entries() == ()
    assert sorted((kept.folder / "plans").glob("*.json")) == forms != []  # so that results keep their last digits
    assert activation_files(kept.folder) == []
    assert computed(kept, encoder(), items) == 150


def aged(kept, seconds):
    for path in activation_files(kept.folder):
        stat = path.stat()
        os.utime(path, (stat.st_atime - seconds, stat.st_mtime))


def test_what_was_used_longest_ago_goes_first(tmp_path, items):
    kept = Store(tmp_path)
    for digest in ("a", "b", "c"):
        aged(kept, 1000)
        kept.activations(encoder(digest=digest), items, [4])
    kept.activations(encoder(digest="a"), items, [4])  # used again: the oldest is now b
    size = sum(entry.bytes for entry in kept.entries()) // 3
    kept.limit = size * 3 + 100
    kept.activations(encoder(digest="d"), items, [4])
    assert sum(entry.bytes for entry in kept.entries()) <= kept.limit
    kept.limit *= 10
    assert [computed(kept, encoder(digest=digest), items) for digest in "acdb"] == [0, 0, 0, 150]


def test_what_is_in_use_stays(tmp_path, items):
    kept = Store(tmp_path)
    mine = kept.activations(encoder(digest="mine"), items, [4])[4, 0]
    kept.activations(encoder(digest="theirs, now"), items, [4])
    kept.limit = sum(entry.bytes for entry in kept.entries()) // 2
    kept.activations(encoder(digest="new"), items, [4])
    assert len(activation_files(tmp_path)) == 9
    aged(kept, 1000)
    kept.activations(encoder(digest="newer"), items, [4])
    assert len(activation_files(tmp_path)) == 6
    assert mine.gather(np.arange(150)).shape == (150, 16)


def test_readers_tell_that_they_read(kept, items):
    activations = kept.activations(encoder(), items, [4])[4, 0]
    activations.gather(np.arange(150))
    aged(kept, 1000)
    activations.gather(np.arange(3))
    assert max(entry.used for entry in kept.entries()) < time.time() - 500
    activations._touched -= 60
    activations.gather(np.arange(3))
    assert min(entry.used for entry in kept.entries()) > time.time() - 100


def test_files_of_killed_processes_are_swept(kept, items):
    kept.activations(encoder(), items, [4])
    for name, age in (("old", 2 * store.ABANDONED), ("young", 10)):
        path = kept.folder / "shards" / f".{name}{files.UNFINISHED}"
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    kept.activations(encoder(digest="b"), items, [4])
    left = [path.name for path in (kept.folder / "shards").iterdir() if path.name.endswith(files.UNFINISHED)]
    assert left == [f".young{files.UNFINISHED}"]


def test_more_than_the_limit_is_one_sentence(tmp_path, items):
    made, kept = encoder(), Store(tmp_path, limit=10_000)
    with pytest.raises(StoreError, match=r"activations asked for take .* GiB, and the cache in .* may hold .* fewer"):
        kept.activations(made, items, [2], views=VIEWS)
    assert activation_files(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, items):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*taken.*; free some space or choose another folder"):
        Store(tmp_path / "taken").activations(encoder(), items, [4])


def test_a_full_disk_is_one_sentence_and_leaves_no_part(kept, items, monkeypatch):
    kept.layout(encoder(), items, np.arange(150))

    def full(self, batch, places):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards.Writer, "add", full)
    with pytest.raises(StoreError, match="No space left on device; free some space"):
        kept.activations(encoder(), items, [2, 4])
    assert list((kept.folder / "shards").iterdir()) == []


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("STERNA_CACHE", str(tmp_path / "here"))
    assert Store().folder == tmp_path / "here"
    monkeypatch.delenv("STERNA_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert Store().folder == tmp_path / "there" / "sterna"
    assert not (tmp_path / "there").exists()


def test_errors_of_items_come_through(kept):
    items = Pictures(150, bad=(140,))
    with pytest.raises(reading.DataError, match="cannot read picture 140"):
        kept.activations(encoder(), items, [4])


def test_batch_norm_and_dropout_run_as_in_evaluation(kept, items):
    """The small network has both; in training mode its outputs would depend on the batch."""
    made = encoder(convolutional().train())
    found = kept.activations(made, items, [4])[4, 0]
    assert deviation(found.gather(np.arange(40)), plain(made, items, 4, range(40))) < 1e-3


def test_real_photos_through_a_real_network(kept, data_folder, weights_folder, monkeypatch):
    """The form that timing chooses agrees within the tolerance, at every cut that is kept."""
    monkeypatch.undo()
    photos, _ = folder.module("data", "images").gather(
        [str(path) for path in sorted((data_folder / "flowers" / "tulip").iterdir())[:8]]
    )
    made = opening.open_encoder(f"local:{weights_folder / 'mobilenetv2'}")
    depth = made.network.depth
    found = kept.activations(made, photos, [depth - 2, depth])
    frames = next(reading.frames(photos, made.preparation, np.arange(8), size=8))
    for cut in (depth - 2, depth):
        with torch.no_grad():
            wanted = made.network.eval().prefix(cut)(made.preparation.tensor(frames))
        assert deviation(found[cut, 0].gather(np.arange(8)), wanted) <= 1.5 * fastest.TOLERANCE
