"""Data parallelism: a run on several devices of a node. Each process computes some rows of every batch.

Every process draws the whole batch and keeps its rows; this works because a draw depends only on its index.
The processes add up sums and counts, never means, so that all prompts and positions have the same weight:

    (∇ Σ losses, Σ losses, number of losses)  →  all-reduce (sum)  →  divide by the number

Clipping therefore uses the true gradient of the batch, and all processes take the same step. Losses equal
those of a single device up to the order of additions. A run with dropout is refused: a process would number
the rows of its masks from 0, so the masks would differ from those of a single device.

The process of rank 0 leads: it evaluates, saves and reports. It tells the followers what to do in numbers:

    place of a run in the list of jobs, number of steps, number of steps, …, 0      for each run
    −1                                                                              after the last run
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from bench.tasks.task import Prompts

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others to join, or in a collective operation."""
LAST_MESSAGE_SECONDS = 60.0
"""How long a follower that is asked to stop waits for the leader, which saves and sends its last message."""
END_OF_RUN, END_OF_RUNS = 0, -1
"""The messages after the steps of a run, and after the last run."""
KEPT_MESSAGES = 100
"""Messages that stay in the store. No follower is this many messages behind: every step needs all
processes."""


class LeaderSilent(Exception):
    """This process was asked to stop, and the leader has sent no message for `LAST_MESSAGE_SECONDS`."""


@dataclass
class Group:
    """The processes that train a run together.

    Attributes:
        rank: number of this process; 0 leads.
        size: number of processes.
        store: key-value store for the leader's messages.
        asked_to_stop: returns whether this process was asked to stop.
        lost: whether another process has ended too early: a collective operation failed, or the leader is
            silent.
    """

    rank: int
    size: int
    store: Any
    asked_to_stop: Callable[[], bool]
    lost: bool = False
    _messages: int = 0

    @classmethod
    def join(
        cls, rank: int, size: int, address: str, device: torch.device, asked_to_stop: Callable[[], bool]
    ) -> Group:
        """Join the group at `address` (host:port); it communicates by NCCL on GPUs, by gloo on CPUs."""
        host, _, port = address.rpartition(":")
        store = TCPStore(host, int(port), size, is_master=rank == 0, timeout=PATIENCE)
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("sums", store),
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
        return cls(rank, size, store, asked_to_stop)

    def tell(self, message: int) -> None:
        """Leader: send a number to all followers."""
        self.store.set(f"told/{self._messages}", str(message))
        if self._messages >= KEPT_MESSAGES:
            self.store.delete_key(f"told/{self._messages - KEPT_MESSAGES}")
        self._messages += 1

    def end_run(self) -> None:
        """Leader: tell all followers that the run has no more steps."""
        self.tell(END_OF_RUN)

    def hear(self) -> int:
        """Follower: wait for the leader's next number.

        Raises:
            LeaderSilent: this process was asked to stop and no number came within `LAST_MESSAGE_SECONDS` of
                it. The leader then counts as lost.
        """
        key, began = f"told/{self._messages}", time.monotonic()
        stop_time = math.inf
        while not self.store.check([key]):
            now = time.monotonic()
            if self.asked_to_stop():
                stop_time = min(stop_time, now)
            if now - stop_time > LAST_MESSAGE_SECONDS:
                self.lost = True
                raise LeaderSilent
            time.sleep(0.001 if now - began < 5 else 0.05)
        self._messages += 1
        return int(self.store.get(key))

    def rows(self, prompts: Prompts) -> Prompts:
        """The rows of a batch that this process computes; shares differ by one row at most."""
        share, remainder = divmod(len(prompts.targets), self.size)
        first = self.rank * share + min(self.rank, remainder)
        return prompts.part(slice(first, first + share + (self.rank < remainder)))

    def average(self, gradients: Sequence[Tensor], total: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Replace gradients of this process's sum by gradients of the mean over all processes.

        Args:
            gradients: gradients of `total`; overwritten.
            total: sum of the losses of this process's rows, scalar.
            count: number of these losses, scalar.

        Returns:
            The sum of the losses of all processes, and their number, scalars.
        """
        # One collective operation instead of one per parameter, because each operation has a latency.
        sums = torch.stack((total.detach(), count.to(total.dtype)))
        flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), sums])
        self._collective(distributed.all_reduce, flat)
        all_total, all_count = flat[-2].clone(), flat[-1].clone()
        flat /= all_count.clamp(min=1.0)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, mean in zip(gradients, torch.split(flat[:-2], sizes), strict=True):
            gradient.copy_(mean.view_as(gradient))
        return all_total, all_count

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite the tensors of all processes with the leader's."""
        with torch.no_grad():
            for tensor in tensors:
                self._collective(distributed.broadcast, tensor.data, 0)

    def _collective(self, operation: Callable[..., Any], *arguments: Any) -> None:
        try:
            operation(*arguments)
        except RuntimeError:
            self.lost = True
            raise

    def leave(self) -> None:
        """Leave the group. The leader announces the end and waits up to 10 s until all followers read it."""
        if self.lost:
            return
        if self.rank == 0:
            self.tell(END_OF_RUNS)
            deadline = time.monotonic() + 10
            while self.store.add("left", 0) < self.size - 1 and time.monotonic() < deadline:
                time.sleep(0.01)
        else:
            self.store.add("left", 1)
        # NCCL's group is not destroyed, because captured graphs still use it. It ends with the process.
        if distributed.get_backend() == "gloo":
            distributed.destroy_process_group()
