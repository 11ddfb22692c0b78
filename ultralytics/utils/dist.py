"""Processes on several devices, under the reference's names."""

from __future__ import annotations

import socket

from ultralytics.utils.lazy import later

_DEVICE = "train device=0,1 starts a process for each device and waits for them"
__getattr__ = later(
    __name__,
    {"USER_CONFIG_DIR": "ultralytics.utils.environment:USER_CONFIG_DIR"},
    dict.fromkeys(("ddp_cleanup", "generate_ddp_command", "generate_ddp_file"), _DEVICE),
)
TORCH_1_9 = True


def find_free_network_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
