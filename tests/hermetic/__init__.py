"""Run the suite as on a machine without a network, with a read-only home folder and read-only packages:

    ULTRALYTICS_HERMETIC=1 python -m pytest …

Python's audit hook refuses sockets to anywhere but this machine, and opening for writing outside the temporary folder,
which is where tests keep their runs and data. (Permission bits would do less: root passes them.) It holds in the test
process, in processes that it forks, and by `sitecustomize` in those it starts, whatever environment they are given.
Compiled code (torch, OpenCV) that opens a file or socket by itself raises no audit event; `unshare --net` covers its
sockets.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SWITCH = "ULTRALYTICS_HERMETIC"
HERE = Path(__file__).resolve().parent
LOCAL = ("127.0.0.1", "::1", "localhost", "", None)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Which argument of an event is a path that is changed.
CHANGES = {
    "os.mkdir": (0,), "os.rename": (0, 1), "os.remove": (0,), "os.rmdir": (0,), "os.link": (1,), "os.symlink": (1,),
    "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,), "os.setxattr": (0,),
}  # fmt: skip


class RefusedError(PermissionError):
    """What a read-only file system would say, and who asked."""


def refuse(event: str, args: tuple[Any, ...]) -> None:
    """The audit hook."""
    if event == "open":
        path, _, flags = args
        paths = [path] if isinstance(flags, int) and flags & WRITING else []
    else:
        paths = [args[i] for i in CHANGES.get(event, ())]
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike):
            _check(path, event)
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"):
        address = args[1]
        if isinstance(address, tuple) and address[0] not in LOCAL:
            raise RefusedError(f"{event} to {address}: there is no network here")
    if event in ("socket.getaddrinfo", "socket.gethostbyname") and args[0] not in (*LOCAL, b"127.0.0.1", b"localhost"):
        raise RefusedError(f"{event} of {args[0]!r}: there is no network here")


def _check(path: Any, event: str) -> None:
    name = os.path.abspath(os.fsdecode(path))
    name = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
    home = os.environ.get(f"{SWITCH}_HOME", "")
    if not name.startswith(_writable()) or (home and name.startswith(home)):
        raise RefusedError(30, f"{event}: a read-only file system", name)


def _writable() -> tuple[str, ...]:
    return (os.environ.get(f"{SWITCH}_TMP") or os.path.realpath(tempfile.gettempdir()), "/dev/", "/proc/self/")


def install() -> None:
    """Switch it on in this process, if the environment asks for it."""
    if not os.environ.get(SWITCH) or getattr(sys, "_hermetic", False):
        return
    sys._hermetic = True  # the module may be imported under two names
    sys.dont_write_bytecode = True
    temporary = os.environ.setdefault(f"{SWITCH}_TMP", os.path.realpath(tempfile.gettempdir()))
    home = os.environ.get(f"{SWITCH}_HOME")
    if home is None:
        home = os.environ[f"{SWITCH}_HOME"] = os.path.join(temporary, f"hermetic-home-{os.getpid()}")
        os.makedirs(home)
        os.chmod(home, 0o555)
    os.environ["HOME"] = home
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        os.environ.pop(name, None)
    _follow()
    sys.addaudithook(refuse)


def _follow() -> None:
    """Every Python that is started gets the same, also where a test gives it an environment of its own."""
    start = subprocess.Popen.__init__

    def hermetic(self: Any, *args: Any, **kwargs: Any) -> None:
        given = dict(os.environ if kwargs.get("env") is None else kwargs["env"])
        paths = [str(HERE), *given.get("PYTHONPATH", "").split(os.pathsep)]
        given["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(p for p in paths if p))
        own = {k: v for k, v in os.environ.items() if k.startswith(SWITCH) or k in ("HOME", "TMPDIR")}
        given = own | {"PYTHONDONTWRITEBYTECODE": "1"} | given
        kwargs["env"] = given
        start(self, *args, **kwargs)

    subprocess.Popen.__init__ = hermetic
