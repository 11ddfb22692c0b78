"""Many processes as one run: which of them this one is, and what they tell each other.

`torchrun` starts one process, a rank, per GPU; `launch` does so from within a program. With a single process every
function here does nothing, so the training loop is written once.

Gradients are summed by plain collectives at optimiser steps, not by DistributedDataParallel: micro-batches that only
gather need no exchange, the loss is already scaled for a sum, a rank without images has nothing to wait for, and
parameters keep their names. What that gives up is the overlap with the backward pass: one exchange of the model's size
per step. docs/distributed.md tells the rest.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ultralytics.cfg.paths import PACKAGE
from ultralytics.engine.ranks.device import device_names
from ultralytics.utils.errors import ConfigError, LostRankError, UserError
from ultralytics.utils.log import LOGGER, silence
from ultralytics.utils.processes import doing, leave_with
from ultralytics.utils.text import counted
from ultralytics.utils.types import Share

T = TypeVar("T")
PATIENCE = timedelta(hours=6)  # of a rank that waits for others: they may scan a large data set. A dead one ends it.
GRACE = 25.0  # seconds between a request to leave and leaving by force; the agent waits for 30
LOST = "lost the connection to another rank"
WATCHED = 0.2  # seconds between two looks at the ranks
REPORTED = 30.0  # seconds in one exchange between two messages about ranks that are stopped
ALONE = 2.0  # seconds between a rank's looks at whether the process that started it is still there
LAUNCHED = "ULTRALYTICS_LAUNCHED"  # for ranks that `launch` has started, which tells their errors: its process's number


class Team:
    """The processes of a run. The plain `Team()` is a single process, for which every method is the plain thing.

    Attributes:
        rank, size: of all machines; local_rank, local_size: of this one; leads: whether this is rank 0, which alone
        writes files and messages.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, local_size: int = 1) -> None:
        self.rank, self.size, self.local_rank, self.local_size = rank, size, local_rank, local_size
        self.control: Any = None  # for plain data, on the CPU
        self.group: Any = None  # for tensors of the run's device

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def many(self) -> bool:
        """Whether there are other ranks."""
        return self.size > 1

    def share(self, whole: bool = False) -> Share:
        """This rank's part of an epoch: of every batch, or `whole` batches."""
        return Share(self.rank, self.size, whole)

    def workers(self, wanted: int) -> int:
        """Loader processes for this rank: the ranks of a machine share its cores."""
        if not self.many:
            return wanted
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
        return min(wanted, max(cores // self.local_size, 1))

    # Devices

    def device_name(self, asked: Any) -> Any:
        """What this rank asks `select_device` for: a GPU of its own, or the CPU.

        Raises:
            ConfigError: there are not as many devices as ranks.
        """
        names = device_names(asked)
        if not self.many or names == ["cpu"]:
            return asked
        if len(names) > 1:
            if len(names) != self.local_size:
                raise ConfigError(
                    f"device={','.join(names)} names {len(names)} devices, and there are {self.local_size} processes",
                    # at least two
                    hint="leave device out: each process takes the GPU of its number",
                )
            return names[self.local_rank]
        if names and names[0].isdigit() and self.local_size > 1:
            raise ConfigError(
                f"device={names[0]} is one GPU, and there are {self.local_size} processes",  # at least two
                hint="leave device out: each process takes the GPU of its number",
            )
        if names and names[0] not in ("auto", "cuda"):
            return asked
        count = torch.cuda.device_count()
        if not count:
            return asked
        if count < self.local_size:
            raise ConfigError(
                f"{self.local_size} processes and {counted(count, 'GPU')}",  # at least two
                hint=f"start it with --nproc_per_node={count}",
            )
        return str(self.local_rank)

    def bind(self, device: torch.device) -> None:
        """Exchange tensors of this device from now on."""
        if not self.many:
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
            self.group = dist.new_group(backend="nccl", timeout=PATIENCE)
        elif device.type == "cpu":
            self.group = self.control
            if "OMP_NUM_THREADS" not in os.environ:
                torch.set_num_threads(max(torch.get_num_threads() // self.local_size, 1))
        else:
            raise ConfigError(f"several processes cannot share device={device.type}", hint="use GPUs, or device=cpu")

    # Plain data

    def lead(self, function: Callable[[], T]) -> T:
        """What a function returns on the leader, on every rank; it runs there alone, and a UserError of it is raised
        on all."""
        if not self.many:
            return function()
        told: list[Any] = [None, None]
        if self.leads:
            try:
                told[0] = function()
            except UserError as e:
                told[1] = e
        _call(dist.broadcast_object_list, told, src=0, group=self.control)
        if told[1] is not None:
            raise told[1]
        return cast(T, told[0])

    def gather(self, value: T) -> list[T] | None:
        """The values of all ranks in their order on the leader, None elsewhere."""
        if not self.many:
            return [value]
        values: list[Any] | None = [None] * self.size if self.leads else None
        _call(dist.gather_object, value, values, dst=0, group=self.control)
        return values

    def agree(self, wish: bool) -> bool:
        """Whether any rank wishes it; the same answer for all."""
        return bool(self.most(int(wish)))

    def most(self, number: int) -> int:
        """The largest of the ranks' numbers."""
        if not self.many:
            return number
        largest = torch.tensor([number])
        _call(dist.all_reduce, largest, dist.ReduceOp.MAX, group=self.control)
        return int(largest)

    def check_same(self, value: Any, what: str) -> None:
        """Make sure that all ranks have the same.

        Raises:
            ConfigError: on every rank, naming the first that differs.
        """
        values = self.gather(value)
        other = self.lead(lambda: next((r for r, v in enumerate(values or ()) if v != value), None))
        if other is not None:
            raise ConfigError(f"rank {other} has other {what} than rank 0", hint="all machines must see the same files")

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """The first rank of a machine runs the block before its others, which find what it has left on the disk."""
        if self.many and self.local_rank:
            self.wait()
        yield
        if self.many and not self.local_rank:
            self.wait()

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.many:
            _call(dist.barrier, group=self.control)

    # Tensors

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks; without gradient."""
        if not self.many:
            return tensor
        total = tensor.detach().clone()
        _call(dist.all_reduce, total, group=self.group)
        return total

    def sum_gradients(self, model: nn.Module) -> None:
        """Replace every gradient by its sum over the ranks, in place."""
        if not self.many:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
        # One rank's gradient may be missing where a module chooses its path by what it sees.
        there = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8)
        _call(dist.all_reduce, there, dist.ReduceOp.MAX, group=self.control)
        for p, used in zip(parameters, there.tolist(), strict=True):
            if used and p.grad is None:
                p.grad = torch.zeros_like(p)
        self._sum_in_place([p.grad for p in parameters if p.grad is not None])

    def collect_gradients(self, model: nn.Module) -> None:
        """Move gradients that wait for an optimiser step to the leader, as their sum.

        So the state of a run at an epoch's end does not depend on the number of ranks.
        """
        if not self.many or not self.agree(any(p.grad is not None for p in model.parameters())):
            return
        self.sum_gradients(model)
        if not self.leads:
            for p in model.parameters():
                p.grad = None

    def average_statistics(self, model: nn.Module, images: int) -> None:
        """Give all ranks the same buffers: running statistics of batch norms become the mean over ranks, weighted by
        the `images` each has seen since the last time; any other buffer is the leader's."""
        if not self.many:
            return
        seen = torch.tensor([images], dtype=torch.float64)
        _call(dist.all_reduce, seen, group=self.control)
        if not seen.item():
            return
        averaged = moving_statistics(model)
        with torch.no_grad():
            for b in averaged:
                b.mul_(images / seen.item())
            self._sum_in_place(averaged)
        known = {id(b) for b in averaged}
        self.copy_leader([b for b in model.buffers() if id(b) not in known])

    def copy_leader(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors by those of the leader, bit for bit."""
        tensors = [t for t in tensors if t.numel()]
        if not self.many or not tensors:
            return
        with torch.no_grad():
            flat = torch.cat([t.detach().reshape(-1).view(torch.uint8) for t in tensors])
            _call(dist.broadcast, flat, src=0, group=self.group)
            if not self.leads:
                pieces = torch.split(flat, [t.numel() * t.element_size() for t in tensors])
                for t, piece in zip(tensors, pieces, strict=True):
                    t.copy_(piece.clone().view(t.dtype).view(t.shape))

    def _sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for dtype in {t.dtype: None for t in tensors}:
                mine = [t for t in tensors if t.dtype == dtype]
                flat = torch.cat([t.reshape(-1) for t in mine])
                _call(dist.all_reduce, flat, group=self.group)
                for t, piece in zip(mine, torch.split(flat, [t.numel() for t in mine]), strict=True):
                    t.copy_(piece.view(t.shape))


def _call(collective: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """A collective; one that fails because of another process is told as such."""
    _WAITING[:] = [time.monotonic()]
    try:
        collective(*args, **kwargs)
    except RuntimeError as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise LostRankError(f"{LOST} ({reason})") from e
    finally:
        _WAITING.clear()


_WAITING: list[float] = []  # since when this process is in an exchange
_RANKS: dict[int, int] = {}  # the ranks of this machine, this one too, and their process ids


def _watch_ranks(team: Team) -> None:
    """Report ranks of this machine that are stopped (SIGSTOP, Ctrl-Z, a debugger) while this one waits for them."""
    started = bool(_RANKS)
    places: list[Any] = [None] * team.size
    _call(dist.all_gather_object, places, (socket.gethostname(), os.getpid()), group=team.control)
    mine = places[team.rank]
    _RANKS.clear()
    _RANKS.update({rank: place[1] for rank, place in enumerate(places) if place[0] == mine[0]})

    def watch() -> None:
        told = 0.0
        while True:
            time.sleep(REPORTED / 6)
            now, since = time.monotonic(), next(iter(_WAITING), None)
            if since is not None and now - max(since, told) >= REPORTED:
                told = now
                for line in stopped_ranks(_RANKS, os.getpid(), now - since):
                    LOGGER.error(line)

    if not started:
        threading.Thread(target=watch, daemon=True, name="watch the ranks").start()


def stopped_ranks(ranks: Mapping[int, int], process: int, waited: float) -> list[str]:
    """A line for each rank that is stopped, if it is this process's part to tell: the first that is not stopped does.

    Args:
        ranks: process ids of this machine's; process: this one; waited: seconds.
    """
    states = {rank: doing(pid) for rank, pid in ranks.items() if pid != process}
    stopped = [rank for rank, state in states.items() if state.startswith("stopped")]
    if next((pid for rank, pid in sorted(ranks.items()) if rank not in stopped), None) != process:
        return []
    return [f"Waiting for rank {r} (process {ranks[r]}, {states[r]}) for {waited:.0f} s" for r in stopped]


def moving_statistics(model: nn.Module) -> list[Tensor]:
    """Running means and variances that this rank's own images move."""
    return [
        b
        for m in model.modules()
        if isinstance(m, _BatchNorm) and not isinstance(m, nn.SyncBatchNorm | SyncBatchNorm) and m.training
        for b in (m.running_mean, m.running_var)
        if b is not None
    ]


def world_size() -> int:
    """How many processes this one was started as part of."""
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdigit() or not int(text):
        raise ConfigError(f"WORLD_SIZE={text} is no number of processes", hint="start it with torchrun")
    return int(text)


def join() -> Team:
    """The team that torchrun has started this process in, or a team of one.

    Raises:
        ConfigError: the environment names several processes and no place where they meet.
    """
    size = world_size()
    if size == 1:
        return Team()
    leave_with_agent()
    if not dist.is_initialized():
        needed = [k for k in ("RANK", "MASTER_ADDR", "MASTER_PORT") if k not in os.environ]
        if needed:
            raise ConfigError(
                f"WORLD_SIZE={size} without {', '.join(needed)}", hint="start several processes with torchrun"
            )
        kept = store(PATIENCE)
        if kept is None:
            _call(dist.init_process_group, "gloo", timeout=PATIENCE)
        else:  # the agent's store outlives the ranks, and must not lead those that are started anew to dead ones
            attempt = f"ultralytics/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{size}"
            mine = dist.PrefixStore(attempt, kept)  # type: ignore[attr-defined]
            _call(
                dist.init_process_group,
                "gloo",
                store=mine,
                rank=int(os.environ["RANK"]),
                world_size=size,
                timeout=PATIENCE,
            )
    team = Team(
        dist.get_rank(),
        dist.get_world_size(),
        int(os.environ.get("LOCAL_RANK", dist.get_rank())),
        int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size())),
    )
    _TEAMS.add(team)
    # Of its own, so that a script may have joined with any backend.
    team.control = dist.new_group(backend="gloo", timeout=PATIENCE)
    if not team.leads:
        silence()
    _leave_when_stuck()
    _watch_ranks(team)
    return team


_TEAMS: weakref.WeakSet[Team] = weakref.WeakSet()


@atexit.register
def _part() -> None:
    """Let go of all groups before the interpreter takes their threads down, which would end the process by SIGABRT."""
    for team in list(_TEAMS):
        team.control = team.group = None
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


# Batch norm over all ranks


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = x.clone()
        _call(dist.all_reduce, total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous().clone()
        _call(dist.all_reduce, total, group=ctx.group)
        return total, None


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics in training are those of all ranks' images; torch's own needs a GPU."""

    group: Any = None

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        """(B, C, H, W) → the same."""
        if not self.training:
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = x.new_full((1,), float(x.numel() // x.shape[1]))
        total = _SumOverRanks.apply(torch.cat([x.sum((0, 2, 3)), count]), self.group)  # type: ignore[no-untyped-call]
        n, mean = total[-1].detach(), total[:-1] / total[-1].detach()
        centred = x - mean.view(1, -1, 1, 1)
        var = _SumOverRanks.apply(centred.square().sum((0, 2, 3)), self.group) / n  # type: ignore[no-untyped-call]
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                assert self.momentum is not None
                self.running_mean.lerp_(mean.detach(), self.momentum)
                self.running_var.lerp_(var.detach() * (n / (n - 1).clamp(min=1)), self.momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked += 1
        y = centred * (var + self.eps).rsqrt().view(1, -1, 1, 1)
        if self.affine:
            y = y * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return cast(Tensor, y.to(input.dtype))


def synchronise_norms(model: nn.Module, team: Team) -> int:
    """Let the batch norms of a model see all ranks' images; parameters, buffers and their names stay. Returns how
    many."""
    if not team.many:
        return 0
    if next(model.parameters()).device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model, team.group)  # type: ignore[no-untyped-call]  # torch's own
        return sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules())
    count = 0
    for m in model.modules():
        if type(m) is nn.BatchNorm2d:
            m.__class__ = SyncBatchNorm  # the same object, so optimiser, freezing and hooks keep theirs
            cast(SyncBatchNorm, m).group = team.group
            count += 1
    return count


def reseed(team: Team, seed: int) -> None:
    """Other random streams on ranks above 0, so that dropout is not the same on all of them."""
    if team.rank:
        random.seed(seed + team.rank)
        torch.manual_seed((seed + team.rank) % 2**63)


# What a rank leaves behind for the others


def store(timeout: timedelta = timedelta(seconds=10)) -> Any:
    """The key-value store of torchrun's agent, which outlives its ranks; None without one."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return dist.TCPStore(address, port, is_master=False, timeout=timeout)  # type: ignore[attr-defined]
    except (KeyError, ValueError, RuntimeError):
        return None


def remember_run(folder: Path) -> None:
    """Keep the run's folder for ranks that torchrun may have to start anew."""
    kept = store()
    if kept is not None:
        kept.set("ultralytics/run", str(folder.absolute()))


def interrupted_run() -> Path | None:
    """The folder of the run whose ranks torchrun has started anew (`--max-restarts`), else None."""
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return None
    kept = store()
    if kept is None or not kept.check(["ultralytics/run"]):
        return None
    return Path(kept.get("ultralytics/run").decode())


def first_to_fail() -> bool:
    """Whether no other rank of this attempt has told an error yet: only the first is the cause."""
    try:
        kept = store()
        if kept is None:
            return True
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return int(kept.add(f"ultralytics/failed/{attempt}", 1)) == 1
    except RuntimeError:  # the agent has gone
        return True


def leave_trace(error: BaseException, line: str) -> bool:
    """Leave word of this rank's failure for torchrun's summary and for `launch`; whether this is the first of the
    ranks to fail, which alone should print it."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        with contextlib.suppress(OSError):
            about = {"py_callstack": type(error).__name__, "timestamp": str(int(time.time()))}  # what the agent reads
            details = {"message": {"message": line, "extraInfo": about}}
            Path(file).write_text(json.dumps(details), encoding="utf-8")
    return first_to_fail()


def leave(team: Team) -> None:
    """The end of a run: wait for the others, and part."""
    team.wait()
    if team.many:
        _part()


def several_devices(device: Any) -> list[str]:
    """The devices of `device=0,1` in a process that torchrun has not started; empty for one device."""
    names = device_names(device)
    return names if len(names) > 1 and world_size() == 1 else []


def leave_with_agent(last: Callable[[], object] = int) -> None:
    """End this rank soon after the process that started it, torchrun or `launch`, is gone: killed, it can end nobody,
    and its ranks would train on in a run that nobody can reach.

    Args:
        last: is called before the end. Of several calls the first counts.
    """
    if _FOLLOWS or os.name != "posix" or not {LAUNCHED, "TORCHELASTIC_RUN_ID"} & set(os.environ):
        return
    _FOLLOWS.append(True)
    parent = os.getppid()
    launcher = os.environ.get(LAUNCHED, "")
    if launcher.isdigit():
        try:
            os.kill(int(launcher), 0)
        except ProcessLookupError:  # gone already: this process has another parent since
            parent = int(launcher)
        except OSError:
            pass
    leave_with(parent, ALONE, last)


_FOLLOWS: list[bool] = []


def _leave_when_stuck() -> None:
    """End this process GRACE seconds after SIGTERM where it is stuck in a call that never returns, such as an exchange
    with a dead GPU: Python's own handlers wait for the call."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is None:
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    if before != -1:  # someone else watches already
        signal.set_wakeup_fd(before)
        os.close(read)
        os.close(write)
        return

    def watch() -> None:
        while signal.SIGTERM not in os.read(read, 1):
            pass
        threading.Event().wait(GRACE)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="leave when stuck").start()


# Starting ranks


def launch(names: Sequence[str], words: Sequence[str], folder: Path) -> None:
    """Run `python -m ultralytics WORDS` as one rank per device under the agent that torchrun runs, on a port that the
    system chooses, and wait for them.

    Args:
        names: the devices; the ranks find theirs in their own `device=`.
        folder: for what the ranks tell of their errors; the caller's to remove.

    Raises:
        UserError: of a rank, with its number. LostRankError: a rank failed or was killed: which, and how.
        KeyboardInterrupt: Ctrl-C, after the ranks have left.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException  # slow; for this alone
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    root = str(PACKAGE.parent)  # the ranks must find this package as well
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    added = {"PYTHONPATH": path, LAUNCHED: str(os.getpid())}
    kept = {key: os.environ.get(key) for key in added}
    handlers = {s: signal.getsignal(s) for s in _SIGNALS}
    noise = logging.getLogger("torch.distributed.elastic")
    level = noise.level
    caught = 0
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=len(names),
        run_id="ultralytics",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=WATCHED,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
    )
    try:
        os.environ.update(added)
        noise.setLevel(logging.CRITICAL)
        elastic_launch(config, sys.executable)("-m", "ultralytics", *words)
    except ChildFailedError as e:
        raise _cause(e.failures, names) from None
    except SignalException as e:
        caught = int(e.sigval)
    finally:
        noise.setLevel(level)
        for key, value in kept.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        if threading.current_thread() is threading.main_thread():
            for s, handler in handlers.items():
                signal.signal(s, handler)
    if caught == signal.SIGINT:
        raise KeyboardInterrupt
    if caught:
        signal.raise_signal(signal.Signals(caught))


_SIGNALS = [getattr(signal, n) for n in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, n)]


def _cause(failures: Mapping[int, Any], names: Sequence[str]) -> Exception:
    """The failure that the others follow from, as an error of one line."""
    told = {rank: _told(f) for rank, f in failures.items()}

    def order(rank: int) -> tuple[int, int]:
        code, message = failures[rank].exitcode, told[rank]
        follows = message.startswith(f"rank {rank}: {LOST}") or code == -signal.SIGTERM
        return (0 if code == 2 and message else 2 if follows else 1, rank)

    rank = min(failures, key=order)
    code, message = failures[rank].exitcode, told[rank]
    if code == 2 and message:
        return UserError(message)
    where = f"rank {rank} (device {names[rank]})"
    if code < 0:
        how = f"was ended by {signal.Signals(-code).name}"
    else:
        how = f"failed: {message.removeprefix(f'rank {rank}: ')}" if message else f"ended with code {code}"
    return LostRankError(f"{where} {how}")


def _told(failure: Any) -> str:
    """What a rank left in its error file; "" when it left nothing."""
    try:
        data = json.loads(Path(failure.error_file).read_text(encoding="utf-8"))
        return str(data["message"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
