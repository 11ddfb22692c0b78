import sys

import pytest
import torch
from torch import nn

from ultralytics.nn.building import channels_last
from ultralytics.utils.tensors import Readback, count_most, layout


@pytest.mark.parametrize(
    ("platform", "device", "want"),
    [
        ("linux", "cuda", torch.channels_last),
        ("linux", "cpu", torch.channels_last),
        ("win32", "cuda", torch.contiguous_format),
        ("win32", "cpu", torch.channels_last),
    ],
)
def test_maps_lie_as_the_device_is_fastest_with(platform, device, want, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert layout(torch.device(device)) == want


def test_kernels_lie_as_the_maps(monkeypatch):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(2, 3, 3))
    channels_last(net)
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr("ultralytics.nn.building.layout", lambda device: torch.contiguous_format)
    channels_last(net)
    assert net[0].weight.is_contiguous()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_what_was_sent_arrives(device):
    reader = Readback()
    assert reader.latest() is None
    for value in (1.5, 2.5):
        reader.send(torch.tensor([value, 0.0], device=device))
        if device == "cuda":
            torch.cuda.synchronize()
        assert reader.latest() == [value, 0.0]
    reader.forget()
    assert reader.latest() is None


def test_a_count_is_the_hosts_alone():
    assert count_most(torch.tensor([2.0, 0, 2, 5, 2])) == 3
    assert count_most(torch.zeros(0)) == 0
    assert count_most(torch.zeros(3, device="meta")) is None
