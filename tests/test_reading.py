"""The same frames for any number of workers; errors name their item; nothing outlives the reader."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from standins import NOISE, Pictures, Preparation

from sterna import reading
from sterna.errors import DataError
from sterna.records import Augment

ROWS = np.array([7, 3, 3, 19, 0, 11, 5, 2, 17, 13, 1])
SEEDS = np.arange(100, 111)


def read(items=None, rows=ROWS, size=4, preparation=None, **options):
    items = Pictures(20) if items is None else items
    return list(reading.frames(items, preparation or Preparation(), rows, size=size, **options))


@pytest.mark.parametrize("workers", [None, 0, 1, 2, 5])
@pytest.mark.parametrize("in_memory", [True, False])
def test_plain_frames_are_the_items_in_order(workers, in_memory):
    items = Pictures(20, in_memory=in_memory)
    chunks = read(items, workers=workers)
    assert [len(chunk) for chunk in chunks] == [4, 4, 3]
    assert np.array_equal(torch.cat(chunks).numpy(), items.data[ROWS])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [None, 0, 1, 2, 5])
@pytest.mark.parametrize("in_memory", [True, False])
def test_augmented_frames_do_not_depend_on_the_workers(workers, in_memory):
    items = Pictures(20, in_memory=in_memory)
    found = torch.cat(read(items, workers=workers, augment=NOISE, seeds=SEEDS))
    for place, (row, seed) in enumerate(zip(ROWS, SEEDS, strict=True)):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            assert np.array_equal(found[place].numpy(), NOISE.pixels(items.data[row]))


def test_an_augmented_frame_depends_on_its_seed_alone():
    turned = torch.cat(read(rows=ROWS[::-1], size=3, workers=0, augment=NOISE, seeds=SEEDS[::-1].copy()))
    assert torch.equal(turned.flip(0), torch.cat(read(workers=0, augment=NOISE, seeds=SEEDS)))
    other = torch.cat(read(workers=0, augment=NOISE, seeds=SEEDS + 1))
    assert not torch.equal(other, turned.flip(0))


def blurred(picture):
    """Sums of floats, whose last bits depend on how they are split between threads."""
    weights = torch.rand(64, 64, 3, 3)
    made = torch.nn.functional.conv2d(torch.rand(1, 64, 40, 40), weights).double().sum().item()
    return np.frombuffer(np.float64(made).tobytes() * (picture.size // 8), dtype=np.uint8).reshape(picture.shape)


def test_augmenting_computes_with_one_thread_everywhere():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        options = {"rows": ROWS[:4], "augment": Augment(pixels=blurred), "seeds": SEEDS[:4]}
        assert torch.equal(torch.cat(read(workers=0, **options)), torch.cat(read(workers=2, **options)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("options", [{}, {"augment": NOISE, "seeds": SEEDS}])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generator_does_not_move(options, workers):
    before = torch.get_rng_state()
    read(workers=workers, **options)
    assert torch.equal(torch.get_rng_state(), before)


def test_mixing_alone_leaves_frames_plain():
    mixing = Augment(mix=lambda batch, classes: batch)
    assert torch.equal(torch.cat(read(augment=mixing)), torch.cat(read()))


def test_seeds_are_needed():
    with pytest.raises(ValueError, match="one seed for each row, got 0 for 11 rows"):
        read(augment=NOISE)


def test_no_rows_give_no_frames():
    assert read(rows=np.zeros(0, dtype=np.int64)) == []
    assert read(rows=np.zeros(0, dtype=np.int64), augment=NOISE, seeds=np.zeros(0, dtype=np.int64)) == []


@pytest.mark.parametrize("options", [{}, {"augment": NOISE, "seeds": SEEDS}])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_item_is_named(options, workers):
    with pytest.raises(DataError, match=r"cannot read picture 11: broken data stream; mend it or take it out"):
        read(Pictures(20, bad=(11,)), workers=workers, **options)


class Refusing(Preparation):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def frame(self, item, augment=None):
        raise self.error


@pytest.mark.parametrize("options", [{}, {"augment": NOISE, "seeds": SEEDS}])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("error", "kind"), [(DataError("too small"), DataError), (KeyError("x"), RuntimeError)])
def test_an_item_that_cannot_be_prepared_is_named(options, workers, error, kind):
    """A sentence stays one; a bug stays a bug."""
    with pytest.raises(kind, match=r"cannot prepare picture 7: .*(too small|x)"):
        read(preparation=Refusing(error), workers=workers, **options)


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("reading")]


def test_a_reader_left_early_leaves_no_threads():
    frames = reading.frames(Pictures(20), Preparation(), ROWS, size=2, workers=2)
    next(frames)
    assert readers()
    frames.close()
    assert not readers()


def test_the_next_chunk_is_read_while_the_caller_works():
    class Watched(Pictures):
        read_so_far = 0

        def read(self, index, hint):
            self.read_so_far += 1
            return super().read(index, hint)

    items = Watched(20)
    frames = reading.frames(items, Preparation(), ROWS, size=2, workers=2)
    next(frames)
    end = time.monotonic() + 10
    while items.read_so_far < 4 and time.monotonic() < end:
        time.sleep(0.01)
    assert items.read_so_far == 4  # one chunk ahead, and no more


LONG = """
    import sys, time
    sys.path.insert(0, sys.argv[1])
    import numpy as np
    from standins import NOISE, Pictures, Preparation
    from sterna import reading
    rows = np.arange(20).repeat(10)
    for chunk in reading.frames(Pictures(20), Preparation(), rows, size=2, augment=NOISE, seeds=rows, workers=2):
        print("ready", flush=True)
        time.sleep(0.2)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the list of processes from /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_process(how):
    code = textwrap.dedent(LONG)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline().strip() == "ready"
    workers = [int(found) for found in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert len(workers) >= 2
    process.send_signal(how)
    process.wait(timeout=20)
    process.stdout.close()
    end = time.monotonic() + 15  # torch's workers look for their parent every five seconds
    while any(alive(worker) for worker in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(alive(worker) for worker in workers)


def alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
