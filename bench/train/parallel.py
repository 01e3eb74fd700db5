"""Data parallelism: one run on several devices of a node, each with its rows of every batch.

Every process draws the whole batch (a draw depends on its place alone) and keeps its rows. What is
added up over the processes are sums and counts, never means, so that prompts and positions weigh the
same wherever they are computed:

    gradient of Σ losses, Σ losses, number of losses   →  one sum over all processes  →  divided by the number

The clip then sees the true gradient of the batch, and every process takes the same step. The first
process leads: it looks, evaluates, saves, and tells the others how many steps to take; they follow.
Losses equal those of one device up to the order of additions. Dropout draws from each device's own
stream, which nothing can split alike: a run with dropout is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from bench.run import Run
from bench.stack import Stack
from bench.tasks.task import Prompts

if TYPE_CHECKING:
    from bench.train.loop import TrainingOptions

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others to arrive, or in one sum."""
KEPT = 100
"""Messages that stay readable: no follower is further behind."""


class Abandoned(Exception):
    """The leader is gone, or this process was asked to stop while it waited for it."""


@dataclass
class Group:
    """The processes that train one run together.

    Attributes:
        rank: this one's number; 0 leads.
        size: how many they are.
        store: where the leader leaves its messages.
        stopped: whether this process should wait no longer.
        lost: whether a sum failed, because another process is gone.
    """

    rank: int
    size: int
    store: Any
    stopped: Callable[[], bool]
    lost: bool = False
    _messages: int = 0

    @classmethod
    def join(
        cls, rank: int, size: int, address: str, device: torch.device, stopped: Callable[[], bool]
    ) -> Group:
        """Meet the others at `address` (host:port); NCCL between GPUs, gloo between processors."""
        host, _, port = address.rpartition(":")
        store = TCPStore(host, int(port), size, is_master=rank == 0, timeout=PATIENCE)
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("sums", store),
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
        return cls(rank, size, store, stopped)

    def tell(self, message: int) -> None:
        """Leader: say a number to all others."""
        self.store.set(f"told/{self._messages}", str(message))
        if self._messages >= KEPT:
            self.store.delete_key(f"told/{self._messages - KEPT}")
        self._messages += 1

    def hear(self) -> int:
        """Follower: the leader's next number.

        Raises:
            Abandoned: when there will be none.
        """
        key, began = f"told/{self._messages}", time.monotonic()
        while not self.store.check([key]):
            if self.stopped() and time.monotonic() - began > 60:  # the leader saves first, then says so
                raise Abandoned
            time.sleep(0.001 if time.monotonic() - began < 5 else 0.05)
        self._messages += 1
        return int(self.store.get(key))

    def rows(self, prompts: Prompts) -> Prompts:
        """This process's share of a batch."""
        each, over = divmod(len(prompts.targets), self.size)
        first = self.rank * each + min(self.rank, over)
        return prompts.part(slice(first, first + each + (self.rank < over)))

    def average(self, gradients: Sequence[Tensor], total: Tensor, count: Tensor) -> Tensor:
        """Turn gradients of a sum over own rows into those of the mean over all; returns that mean.

        Args:
            gradients: of `total`; overwritten.
            total: sum of the losses of this process's rows, scalar.
            count: how many losses that is.
        """
        sums = torch.stack((total.detach(), count.to(total.dtype)))
        flat = torch.cat([*(each.reshape(-1) for each in gradients), sums])
        self._together(distributed.all_reduce, flat)
        flat /= flat[-1].clamp(min=1.0)
        sizes = [each.numel() for each in gradients]
        for mine, mean in zip(gradients, torch.split(flat[:-2], sizes), strict=True):
            mine.copy_(mean.view_as(mine))
        return flat[-2]

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Make all tensors what they are for the leader."""
        with torch.no_grad():
            for tensor in tensors:
                self._together(distributed.broadcast, tensor.data, 0)

    def _together(self, operation: Callable[..., Any], *arguments: Any) -> None:
        try:
            operation(*arguments)
        except RuntimeError:
            self.lost = True
            raise

    def leave(self) -> None:
        """Part: the leader says that nothing is left and waits for the others to have heard it."""
        if self.lost:
            return
        if self.rank == 0:
            self.tell(-1)
            deadline = time.monotonic() + 10
            while self.store.add("left", 0) < self.size - 1 and time.monotonic() < deadline:
                time.sleep(0.01)
        else:
            self.store.add("left", 1)
        if distributed.get_backend() == "gloo":  # NCCL's ends with the process: captured graphs still hold it
            distributed.destroy_process_group()


def follow(run: Run, options: TrainingOptions) -> None:
    """Compute this process's rows of a run that another process leads."""
    from bench.train.loop import prepare

    group: Any = options.group
    state = prepare(Stack.of(run), options)
    group.share(list(state.tensors().values()))
    step = options.step(state)
    while (count := group.hear()) > 0:
        for _ in range(count):
            step()
        int(state.step)  # wait for the device before the next message
