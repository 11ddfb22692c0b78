import time

import pytest
import torch

from ultralytics.utils.stopwatch import Stopwatch


def test_seconds_of_all_rounds_add_up():
    watch = Stopwatch(torch.device("cpu"))
    assert watch.seconds() == 0
    for _ in range(2):
        with watch:
            time.sleep(0.01)
    assert 0.02 <= watch.seconds() == watch.seconds()


@pytest.mark.gpu
def test_a_gpus_time_is_read_at_the_end_and_waited_for_then_alone():
    watch, other = Stopwatch(torch.device("cuda")), Stopwatch(torch.device("cuda"))
    x = torch.rand(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with watch:
            for _ in range(20):
                x = x @ x / 4096
        with other:
            x += 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watch.seconds() > other.seconds() > 0
    assert watch.seconds() == watch.seconds()
