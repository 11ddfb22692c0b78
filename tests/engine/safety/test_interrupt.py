import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ultralytics.engine.safety.interrupt import Interrupts, StopRequest, Watched


def send(signum=signal.SIGTERM):
    os.kill(os.getpid(), signum)


def test_a_signal_stops_at_once_or_at_the_next_poll():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        interrupts.poll()
        with pytest.raises(StopRequest) as caught:
            send()
        assert caught.value.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    with Interrupts() as interrupts:
        with interrupts.deferred():
            send()
            send()  # batch systems send it more than once
        with pytest.raises(StopRequest):
            interrupts.poll()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="terminals of POSIX")
def test_a_terminal_that_goes_away_stops_a_run_unless_it_was_to_be_ignored():
    with Interrupts() as interrupts:
        with pytest.raises(StopRequest):
            send(signal.SIGHUP)
        assert interrupts.pending == signal.SIGHUP
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Interrupts() as interrupts:
            send(signal.SIGHUP)
            interrupts.poll()
    finally:
        signal.signal(signal.SIGHUP, before)
    with pytest.raises(SystemExit) as caught:
        Interrupts().deliver_again(signal.SIGHUP)
    assert caught.value.code == 129


def test_while_a_batch_is_waited_for_a_signal_is_looked_for():
    with Interrupts(quiet=True) as interrupts, interrupts.deferred():
        interrupts.attend(1000.0)
        send()
        with pytest.raises(StopRequest) as caught:
            interrupts.attend(0.5)
        assert caught.value.agreed
        interrupts.attend(0.5, many=True)  # the other ranks will come to the end of the batch
        with pytest.raises(StopRequest) as caught:
            interrupts.attend(60.0, many=True)
        assert not caught.value.agreed


def test_a_second_ctrl_c_is_not_deferred():
    with Interrupts() as interrupts, interrupts.deferred():
        send()
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_ignored_signals_stay_ignored():
    """As `nohup` and a shell's background jobs want it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            send(signal.SIGINT)
            interrupts.poll()
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_of_the_main_thread_nothing_is_touched():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter():
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX's")
def test_a_forked_child_does_not_act_on_it():
    with Interrupts():
        pid = os.fork()
        if pid == 0:
            try:
                send()
            except BaseException:
                os._exit(1)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_stop_request_passes_what_catches_exceptions():
    assert not issubclass(StopRequest, Exception)


def test_a_watched_loader_polls_between_batches():
    interrupts = Interrupts()
    loader = Watched([1, 2, 3], interrupts)
    assert (len(loader), list(loader), loader.index(2)) == (3, [1, 2, 3], 1)
    interrupts.pending = signal.SIGTERM
    with pytest.raises(StopRequest):
        next(iter(loader))


def test_it_ends_as_the_signal_ends_a_program():
    interrupts = Interrupts()
    with pytest.raises(KeyboardInterrupt):
        interrupts.deliver_again(signal.SIGINT)
    with pytest.raises(SystemExit) as caught:
        interrupts.deliver_again(signal.SIGTERM)
    assert caught.value.code == 143


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a program begins with ignored signals on POSIX alone")
def test_the_tests_pass_in_the_background_too():
    """`nohup scripts/test.sh &` starts them with Ctrl-C ignored, which the package leaves so, as it should."""
    words = [
        "bash",
        "-c",
        'trap "" INT; exec "$@"',
        "bash",
        sys.executable,
        "-m",
        "pytest",
        __file__,
        "-k",
        "second_ctrl_c",
    ]
    done = subprocess.run(
        words, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
