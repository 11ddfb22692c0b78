"""Workers that are killed, stopped, short of memory or of files, and started in every way there is."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import CLONE
from tests.helpers.runs import epoch, loader, same
from ultralytics.data import build, handover, workers
from ultralytics.data.dataset import YOLODataset
from ultralytics.engine.safety.interrupt import Interrupts, StopRequest
from ultralytics.utils.errors import LostWorkerError, UserError

forks = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="what is patched reaches forks"
)


@pytest.fixture
def found_text(monkeypatch):
    """What was said, and a clean slate of what was said before."""
    lines = []
    for level in ("warning", "error"):
        monkeypatch.setattr(workers.LOGGER, level, lambda text, *args: lines.append(text % args))
    monkeypatch.setattr(build, "_TOLD", set())
    monkeypatch.setattr(workers, "_UNGUARDED", [])
    return lines


@pytest.fixture
def wanted(toy):
    return epoch(loader(toy, batch=1))


@pytest.fixture
def two(toy, monkeypatch):
    """A loader of twelve batches with two workers."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(2))
    with contextlib.closing(loader(toy, 2, batch=1)) as load:
        if "fork" in multiprocessing.get_all_start_methods():
            load.start_method = "fork"
        yield load


def end(load, worker, signum=signal.SIGKILL):
    """An epoch in which a worker is ended."""
    for _ in load:
        os.kill(load.worker_pids[worker], signum)


# Ends of workers


@forks
@pytest.mark.parametrize(("signum", "hint"), [(signal.SIGKILL, "ran out of memory"), (signal.SIGUSR1, "workers=0")])
def test_a_killed_worker_is_one_line_at_once(two, signum, hint):
    begun = time.monotonic()
    with pytest.raises(LostWorkerError) as caught:
        end(two, 1, signum)
    assert time.monotonic() - begun < 5
    assert f"was ended by {signum.name}" in str(caught.value)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not two.worker_pids


@forks
def test_after_a_lost_worker_an_epoch_can_be_loaded_again(two, wanted):
    with pytest.raises(LostWorkerError):
        end(two, 0)
    assert same(list(two), wanted)


@forks
def test_a_stopped_worker_is_reported_and_goes_on(two, wanted, found_text, monkeypatch):
    monkeypatch.setattr(workers, "LOOK", 0.05)
    monkeypatch.setattr(workers, "REPORTED", 0.2)
    batches = iter(two)
    got = [next(batches)]
    pid = two.worker_pids[1]
    os.kill(pid, signal.SIGSTOP)
    two.attend = lambda waited: waited < 0.5 or os.kill(pid, signal.SIGCONT)
    assert same(got + list(batches), wanted)
    if sys.platform == "linux":
        assert f"process {pid}, stopped; kill -CONT {pid} lets it go on" in found_text[0]


@forks
def test_a_signal_does_not_wait_for_a_batch(two, monkeypatch):
    monkeypatch.setattr(workers, "CLOSING", 0.2)
    with Interrupts(quiet=True) as interrupts, interrupts.deferred():
        two.attend = interrupts.attend
        batches = iter(two)
        next(batches)
        pids = two.worker_pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGTERM)
        begun = time.monotonic()
        with pytest.raises(StopRequest):
            list(batches)
    assert time.monotonic() - begun < 5
    assert not two.worker_pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def stop_midway(monkeypatch, kind):
    """From its second batch on each worker stops (SIGSTOP) before a message, in its head, in its middle or before the
    memory that follows it, and goes on with what is left."""
    send = handover.Memory.send

    def stop():
        os.kill(os.getpid(), signal.SIGSTOP)

    class Halting:
        def __init__(self, connection):
            self.connection, self.fileno = connection, connection.fileno

        def send(self, message):
            content = workers.ForkingPickler.dumps(message)
            framed = len(content).to_bytes(4, "big") + bytes(content)
            part = {"head": 2, "middle": 4 + len(content) // 2, "memory": len(framed), "bytes": len(framed)}[kind]
            os.write(self.fileno(), framed[:part])
            stop()
            os.write(self.fileno(), framed[part:])

        def send_bytes(self, content):
            self.connection.send_bytes(content)

    def halting(self, connection, ticket, batch):
        self.plain = kind == "bytes"
        send(self, connection if ticket < 2 else Halting(connection), ticket, batch)

    monkeypatch.setattr(handover.Memory, "send", halting)


@forks
@pytest.mark.parametrize("kind", ["head", "middle", "memory", "bytes"])
def test_a_worker_that_stops_midway_through_a_batch_is_reported_and_goes_on(two, wanted, found_text, monkeypatch, kind):
    monkeypatch.setattr(workers, "LOOK", 0.02)
    monkeypatch.setattr(workers, "REPORTED", 0.02)
    stop_midway(monkeypatch, kind)

    def reported():
        return any("Waiting for a batch of loader worker 0" in line for line in found_text)

    two.attend = lambda waited: [os.kill(p, signal.SIGCONT) for p in two.worker_pids if reported() or waited > 10]
    assert same(list(two), wanted)
    assert reported()


@forks
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_batch_that_ends_midway_holds_nothing_up(two, monkeypatch, signum):
    monkeypatch.setattr(workers, "CLOSING", 0.2)
    monkeypatch.setattr(workers, "LOOK", 0.02)
    stop_midway(monkeypatch, "middle")
    begun = time.monotonic()
    with Interrupts(quiet=True) as interrupts, interrupts.deferred():

        def attend(waited):
            if waited > 0.05:  # the run is asked to leave, or the worker is killed
                os.kill(os.getpid() if signum == signal.SIGTERM else two.worker_pids[0], signum)
            interrupts.attend(waited)

        two.attend = attend
        with pytest.raises(StopRequest if signum == signal.SIGTERM else LostWorkerError):
            list(two)
    assert time.monotonic() - begun < 5
    assert not two.worker_pids


# Faults and shortages in workers


@forks
@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [(MemoryError(), UserError, "no memory left"), (ZeroDivisionError("odd"), RuntimeError, "ZeroDivisionError: odd")],
)
def test_what_goes_wrong_in_a_worker_ends_the_epoch(two, monkeypatch, error, kind, words):
    def fail(*_):
        raise error

    monkeypatch.setattr(YOLODataset, "__getitem__", fail)
    with pytest.raises(kind, match=words):
        list(two)


@forks
def test_a_worker_without_memory_to_hand_over_sends_bytes(two, wanted, found_text, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(handover, "_nameless", full)
    assert same(list(two), wanted)
    assert found_text == ["Batches go through pipes from now on, which is slower: No space left on device"]
    assert [b["img"].stride() for b in list(two)] == [b["img"].stride() for b in wanted]


@forks
def test_a_batch_whose_memory_does_not_arrive_is_made_here(two, wanted, found_text, monkeypatch):
    received = handover._received

    def lose(connection):
        os.close(received(connection))
        return -1

    monkeypatch.setattr(handover, "_received", lose)
    assert same(list(two), wanted)
    assert found_text == ["Batches go through pipes from now on, which is slower: its memory did not arrive"]
    assert two.worker_pids


@forks
def test_without_memory_of_no_name_torch_shares_it(two, wanted, found_text, monkeypatch):
    monkeypatch.setattr(handover, "NAMELESS", False)
    assert same(list(two), wanted)
    assert not found_text


@pytest.mark.skipif(sys.platform != "linux", reason="Linux' memory without a name")
def test_a_container_may_forbid_it(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    file = handover._nameless(1000)
    assert os.fstat(file).st_size == 1000
    os.close(file)


@forks
def test_an_iteration_that_was_left_does_not_reach_into_the_next(two, wanted, toy):
    for _ in two:
        break
    assert same(list(two), wanted)
    two.set_epoch(1)
    next(iter(two))
    assert same(epoch(two, 2), epoch(loader(toy, batch=1), 2))


@forks
def test_pinned_batches_come_in_order_and_errors_at_their_place(two, wanted, toy, monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(workers, "_gpu", lambda: ())
    monkeypatch.setattr(workers, "pinned", lambda batch: pinned.append(batch) or batch)
    assert same(list(two), wanted)
    assert len(pinned) == len(wanted)
    two.close()
    gone = wanted[3]["im_file"][0]
    two.dataset.augmentation.mosaic_p = 0.0
    shutil.move(gone, gone + ".gone")
    batches = iter(two)
    for _ in range(3):
        next(batches)
        time.sleep(0.02)  # until the next one is there early
    with pytest.raises(UserError, match="can no longer be read"):
        next(batches)


# What cannot be had


def test_too_few_files_load_in_the_run(two, wanted, found_text, monkeypatch):
    monkeypatch.setattr(build, "spare_handles", lambda: build.SPARE_HANDLES)
    assert same(list(two), wanted)
    assert (two.num_workers, len(found_text)) == (0, 1)
    assert "only 20 more files can be opened" in found_text[0]
    assert "ulimit -n" in found_text[0]


@forks
def test_fewer_batches_ahead_and_fewer_workers_where_memory_is_short(two, wanted, found_text, monkeypatch):
    monkeypatch.setattr(build, "available_memory", lambda: 2 * 64 * 64 * 3 * 5)
    assert same(list(two), wanted)
    assert "2 workers (workers=2) load 2 batches ahead each instead of 4" in found_text[0]
    monkeypatch.setattr(build, "available_memory", lambda: 0)
    two.close()
    assert same(list(two), wanted)
    assert two.num_workers == 1


def test_no_process_that_can_be_started_is_told_once(two, wanted, found_text, monkeypatch):
    def none(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=none)
    monkeypatch.setattr(workers.multiprocessing, "get_context", lambda _: context)
    assert same(list(two), wanted)
    assert same(list(two), wanted)
    want = "No loader workers, batches are made in this process (workers=0): loader workers cannot start: Resource"
    assert [line.startswith(want) for line in found_text] == [True]


# The ways to start


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("cache", [False, "ram"])
def test_batches_are_bit_equal_however_workers_start(toy, two, wanted, found_text, method, cache):
    load = loader(toy, 2, batch=1, cache=cache)
    load.start_method = method
    if cache:  # workers must have the memory: there is nothing that they could decode
        shutil.rmtree(toy.parent / "images")
    with contextlib.closing(load):
        assert same(list(load), wanted)
        assert len(load.worker_pids) == 2
    assert not found_text


@forks
def test_iterations_that_are_left_and_iterations_inside_others_wait_for_nothing(toy, two, found_text):
    wanted = list(loader(toy, batch=1))
    with contextlib.closing(loader(toy, 2, batch=1)) as load:
        for _ in range(150):  # each leaves tasks behind, and answers that nobody takes
            assert same([next(iter(load))], wanted[:1])
        assert load._workers._kept == {}
        assert all(w.given <= load._workers.ahead for w in load._workers._workers)
        seen, inner = [], []
        for batch in load:
            seen.append(batch)
            inner.append(next(iter(load)))
        assert same(seen, wanted)
        assert all(same([b], wanted[:1]) for b in inner)
        assert same(list(load), wanted)
        first, second = iter(load), iter(load)
        pairs = list(zip(first, second, strict=True))
        assert same([a for a, _ in pairs], wanted)
        assert same([b for _, b in pairs], wanted)
        assert load._workers._kept == {}
    assert not found_text


SCRIPT = """
import multiprocessing, sys
from pathlib import Path
from tests.helpers.runs import epoch, loader, same
if multiprocessing.get_start_method(allow_none=True) is None:
    multiprocessing.set_start_method(sys.argv[1])
toy = Path(sys.argv[2])
print("once")
{guard}
    load = loader(toy, 2, batch=1)
    assert same(epoch(load), epoch(loader(toy, batch=1)))
    assert same(epoch(load, 1), epoch(loader(toy, batch=1), 1))
    print("workers", load.num_workers)
    load.close()
"""


def run_script(tmp_path, toy, method, guard, from_stdin=False):
    text = SCRIPT.format(guard=guard)
    (tmp_path / "script.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-" if from_stdin else str(tmp_path / "script.py"), method, str(toy)],
        env={**os.environ, "PYTHONPATH": str(CLONE)}, input=text if from_stdin else None, text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip


several_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is one core")


@pytest.mark.slow
@several_cores
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_script_without_a_guard_gets_one_line_and_does_its_work_once(tmp_path, toy, method):
    done = run_script(tmp_path, toy, method, "if True:")
    assert done.returncode == 0, done.stderr
    assert "workers 0" in done.stdout
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "__main__" in line]
    assert len(lines) == 1
    assert "script.py, line " in lines[0]
    assert "would start anew in every worker that imports it" in lines[0]
    assert "Traceback" not in done.stderr


LARGE = """
import multiprocessing
from tests.helpers.runs import Large
from ultralytics.data.workers import NoWorkersError, Workers
multiprocessing.set_start_method({method!r}, force=True)
try:
    for batch in Workers(Large(), 2).batches([1, 2, 3]):
        print("batch", batch["cls"].tolist())
except NoWorkersError as e:
    print("none:", e)
"""


@pytest.mark.slow
@several_cores
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("guarded", [False, True])
def test_a_worker_that_ends_before_it_reads_a_large_dataset_is_noticed(tmp_path, method, guarded):
    source = LARGE.format(method=method)
    if guarded:
        source = "def main():\n" + textwrap.indent(source, "    ") + '\nif __name__ == "__main__":\n    main()\n'
    (tmp_path / "script.py").write_text(source, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(CLONE)}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], env=environment, text=True, capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if guarded:
        assert done.stdout == "batch [1]\nbatch [2]\nbatch [3]\n"
    else:
        assert "none: " in done.stdout


@pytest.mark.slow
@several_cores
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("from_stdin", [False, True])
def test_a_guarded_script_and_one_from_standard_input_have_workers(tmp_path, toy, method, from_stdin):
    guard = "if True:" if from_stdin else 'if __name__ == "__main__":'
    done = run_script(tmp_path, toy, method, guard, from_stdin)
    assert done.returncode == 0, done.stderr
    assert "workers 2" in done.stdout


# Real limits

LOAD = """
import sys
from pathlib import Path
from tests.helpers.runs import epoch, loader, same
from ultralytics.utils.log import setup_console
def main():
    setup_console()
    toy = Path(sys.argv[1])
    load = loader(toy, 2, batch=2, cache=sys.argv[2] if len(sys.argv) > 2 else False)
    assert same(epoch(load), epoch(loader(toy, batch=2)))
    print("workers", load.num_workers)
    load.close()
main()
"""


def under(limit, toy, *more):
    command = ["bash", "-c", f'{limit} && exec "$0" -c "$@"', sys.executable, LOAD, str(toy), *more]
    return subprocess.run(
        ["unshare", "-m", *command] if "mount" in limit else command,
        cwd=CLONE, text=True, capture_output=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.slow
@several_cores
def test_a_limit_of_open_files_is_raised_or_told(toy):
    raised = under("ulimit -Sn 20", toy)
    assert (raised.returncode, "workers 2" in raised.stdout) == (0, True), raised.stderr
    found_text = under("ulimit -n 22", toy)
    assert found_text.returncode == 0, found_text.stderr
    assert "ulimit -n" in found_text.stdout
    assert "Traceback" not in found_text.stderr


def may_mount():
    return shutil.which("unshare") and not subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], capture_output=True, check=False
    ).returncode  # fmt: skip


@pytest.mark.slow
@several_cores
@pytest.mark.parametrize("options", ["size=64k", "size=64k,ro", "noexec", "mode=000", "nr_inodes=1"])
@pytest.mark.parametrize("cache", ["", "ram"])
def test_no_dev_shm_is_too_small_for_workers(toy, options, cache):
    if not may_mount():
        pytest.skip("mounting a small /dev/shm takes root")
    done = under(f"mount -t tmpfs -o {options} tmpfs /dev/shm", toy, *filter(None, [cache]))
    assert done.returncode == 0, done.stderr
    assert "workers 2" in done.stdout
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if cache and options.startswith("size"):
        assert "cache=ram: /dev/shm: " in done.stdout
