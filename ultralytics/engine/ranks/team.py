"""Many processes as one run: which of them this one is, and what they tell each other.

`torchrun` starts one process, a rank, per GPU; `launch.launch` does so from within a program. With a single process
every function here does nothing, so the training loop is written once.

Gradients are summed by plain collectives at optimiser steps, not by DistributedDataParallel: micro-batches that only
gather need no exchange, the loss is already scaled for a sum, a rank without images has nothing to wait for, and
parameters keep their names. What that gives up is the overlap with the backward pass: one exchange of the model's size
per step. docs/distributed.md tells the rest.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ultralytics.engine.ranks.collective import PATIENCE, exchange, watch_ranks
from ultralytics.engine.ranks.device import device_names
from ultralytics.engine.ranks.lifeline import leave_when_stuck, leave_with_agent, store, world_size
from ultralytics.engine.ranks.sync_norm import moving_statistics
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.log import silence
from ultralytics.utils.text import counted
from ultralytics.utils.threads import cores
from ultralytics.utils.types import Share

T = TypeVar("T")


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
        """Return True if this is rank 0."""
        return self.rank == 0

    @property
    def many(self) -> bool:
        """Return True if there are other ranks."""
        return self.size > 1

    def share(self, whole: bool = False) -> Share:
        """Return this rank's part of an epoch: of every batch, or `whole` batches."""
        return Share(self.rank, self.size, whole)

    def workers(self, wanted: int) -> int:
        """Return how many loader processes this rank starts: the ranks of a machine share its cores."""
        if not self.many:
            return wanted
        return min(wanted, max(cores() // self.local_size, 1))

    # Devices

    def device_name(self, asked: Any) -> Any:
        """Return what this rank asks `select_device` for: a GPU of its own, or the CPU.

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
        """Run a function on the leader alone and return its result on all; a UserError of it is raised on all."""
        if not self.many:
            return function()
        outcome: list[Any] = [None, None]
        if self.leads:
            try:
                outcome[0] = function()
            except UserError as e:
                outcome[1] = e
        exchange(dist.broadcast_object_list, outcome, src=0, group=self.control)
        if outcome[1] is not None:
            raise outcome[1]
        return cast(T, outcome[0])

    def gather(self, value: T) -> list[T] | None:
        """Return the values of all ranks in their order on the leader, None elsewhere."""
        if not self.many:
            return [value]
        values: list[Any] | None = [None] * self.size if self.leads else None
        exchange(dist.gather_object, value, values, dst=0, group=self.control)
        return values

    def agree(self, wish: bool) -> bool:
        """Return True if any rank wishes it; the same answer for all."""
        return bool(self.most(int(wish)))

    def most(self, number: int) -> int:
        """Return the largest of the ranks' numbers."""
        if not self.many:
            return number
        largest = torch.tensor([number])
        exchange(dist.all_reduce, largest, dist.ReduceOp.MAX, group=self.control)
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
        """Run the block on a machine's first rank before its others, which find what it has left on the disk."""
        if self.many and self.local_rank:
            self.wait()
        yield
        if self.many and not self.local_rank:
            self.wait()

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.many:
            exchange(dist.barrier, group=self.control)

    # Tensors

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over all ranks; without gradient."""
        if not self.many:
            return tensor
        total = tensor.detach().clone()
        exchange(dist.all_reduce, total, group=self.group)
        return total

    def sum_gradients(self, model: nn.Module) -> None:
        """Replace every gradient by its sum over the ranks, in place."""
        if not self.many:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
        # One rank's gradient may be missing where a module chooses its path by what it sees.
        there = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8)
        exchange(dist.all_reduce, there, dist.ReduceOp.MAX, group=self.control)
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
        exchange(dist.all_reduce, seen, group=self.control)
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
            exchange(dist.broadcast, flat, src=0, group=self.group)
            if not self.leads:
                pieces = torch.split(flat, [t.numel() * t.element_size() for t in tensors])
                for t, piece in zip(tensors, pieces, strict=True):
                    t.copy_(piece.clone().view(t.dtype).view(t.shape))

    def _sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for dtype in {t.dtype: None for t in tensors}:
                mine = [t for t in tensors if t.dtype == dtype]
                flat = torch.cat([t.reshape(-1) for t in mine])
                exchange(dist.all_reduce, flat, group=self.group)
                for t, piece in zip(mine, torch.split(flat, [t.numel() for t in mine]), strict=True):
                    t.copy_(piece.view(t.shape))


def join() -> Team:
    """Return the team that torchrun has started this process in, or a team of one.

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
            exchange(dist.init_process_group, "gloo", timeout=PATIENCE)
        else:  # the agent's store outlives the ranks, and must not lead those that are started anew to dead ones
            attempt = f"ultralytics/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{size}"
            mine = dist.PrefixStore(attempt, kept)  # type: ignore[attr-defined]
            exchange(
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
    leave_when_stuck()
    watch_ranks(team.rank, team.size, team.control)
    return team


_TEAMS: weakref.WeakSet[Team] = weakref.WeakSet()


@atexit.register
def _leave_groups() -> None:
    """Let go of all groups before the interpreter takes their threads down, which would end the process by SIGABRT."""
    for team in list(_TEAMS):
        team.control = team.group = None
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def leave(team: Team) -> None:
    """End a run: wait for the others, and part."""
    team.wait()
    if team.many:
        _leave_groups()


def reseed(team: Team, seed: int) -> None:
    """Give ranks above 0 other random streams, so that dropout is not the same on all of them."""
    if team.rank:
        random.seed(seed + team.rank)
        torch.manual_seed((seed + team.rank) % 2**63)
