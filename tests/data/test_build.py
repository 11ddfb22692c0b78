import gc
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.runs import epoch, loader, same
from ultralytics.utils.errors import DatasetError


@pytest.fixture
def baseline(toy):
    return [epoch(loader(toy), n) for n in range(2)]


@pytest.mark.parametrize("cache", [False, "ram", "disk"])
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_batches_are_bit_equal_for_any_workers_and_cache(toy, baseline, workers, cache, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(4))  # no fewer workers than asked for
    load = loader(toy, workers, cache=cache, batch=3) if workers == 4 else loader(toy, workers, cache=cache)
    if workers == 4:
        baseline = [epoch(loader(toy, batch=3), n) for n in range(2)]
    assert load.num_workers == workers
    for number, want in enumerate(baseline):
        assert same(epoch(load, number), want)


def test_an_epoch_can_be_repeated_and_another_differs(toy, baseline):
    load = loader(toy)
    assert same(epoch(load, 1), baseline[1])  # without having drawn epoch 0
    assert same(epoch(load, 0), baseline[0])
    assert not same(baseline[0], baseline[1])
    assert not same(epoch(loader(toy, seed=1)), baseline[0])


def test_an_epoch_shows_every_image_once(toy):
    batches = epoch(loader(toy))
    files = [f for b in batches for f in b["im_file"]]
    assert len(files) == len(set(files)) == 12
    assert [len(b["im_file"]) for b in batches] == [5, 5, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_closing_the_mosaic_reaches_the_workers(toy, workers):
    load = loader(toy, workers, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0, translate=0.0, scale=0.0, fliplr=0.0)
    mosaic = epoch(load, 3)
    load.close_mosaic()
    closed = epoch(load, 3)
    assert not same(mosaic, closed)
    plain = loader(toy, mode="val")
    by_file = {f: b["img"][i] for b in plain for i, f in enumerate(b["im_file"])}
    for batch in closed:
        for i, file in enumerate(batch["im_file"]):
            # Without mosaic, jitter or shift a training sample is the letterboxed image.
            assert (batch["img"][i].int() - by_file[file].int()).abs().max() <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_users_error_in_a_worker_comes_as_itself(toy, workers):
    load = loader(toy, workers, mode="val")
    for file in (toy.parent / "images" / "train").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match="can no longer be read") as caught:
        list(load)
    assert "Traceback" not in str(caught.value)


def test_workers_stop_at_once_after_an_error(toy, monkeypatch):
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 100.0)  # what each is given to stop
    load = loader(toy, 2, mode="val")
    for file in (toy.parent / "images" / "train").iterdir():
        file.unlink()
    gc.collect()
    with pytest.raises(DatasetError) as caught:
        list(load)
    del caught
    started = time.perf_counter()
    gc.collect()
    assert time.perf_counter() - started < 60


def test_validation_is_in_order(toy):
    load = loader(toy, mode="val")
    files = [f for b in load for f in b["im_file"]]
    assert files == sorted(files)


def test_a_batch_larger_than_the_split_is_one_batch(toy):
    assert [len(b["im_file"]) for b in epoch(loader(toy, batch=64))] == [12]


def test_partners_of_a_large_split_are_near_ones(toy, monkeypatch):
    monkeypatch.setattr("ultralytics.data.build.WHOLE_SPLIT", 4)
    monkeypatch.setattr("ultralytics.data.build.WORKER_CYCLE", 1)
    load = loader(toy)
    load.set_epoch(0)
    keys = list(load.sampler)
    shown = set()
    for batch in keys:
        shown |= {k.index for k in batch}
        assert set(batch[0].partners) <= shown
    assert same(epoch(load), epoch(loader(toy, 2)))


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_workers_of_a_run_that_is_killed_while_they_start_end(toy, tmp_path):
    """The run is killed by the worker itself, before its watch begins."""
    program = f"""
import os, signal, time
from ultralytics.data import workers
from tests.helpers.runs import loader, epoch
from pathlib import Path
def orphaned(run, *args, leave_with=workers.leave_with, **kwargs):
    os.kill(run, signal.SIGKILL)
    time.sleep(0.5)
    Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
    leave_with(run, 0.2)
    time.sleep(60)  # so that it is the watch that ends it
workers.leave_with = orphaned
epoch(loader(Path({str(toy)!r}), workers=1))
"""
    clone = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=clone, check=False).returncode == -9
    for _ in range(600):
        time.sleep(0.1)
        if (tmp_path / "pid").exists() and not Path("/proc", (tmp_path / "pid").read_text()).exists():
            return
    raise AssertionError("the worker is still there")
