"""The processes that train one model together, as one of them sees it.

Nothing here opens a connection: who starts several processes says how a number is added
up over them. With `torch.distributed` and a group on the CPU,

    def total(number: float) -> float:
        sum_of_all = torch.tensor(number, dtype=torch.float64)
        torch.distributed.all_reduce(sum_of_all)
        return sum_of_all.item()

    ranks = Ranks(rank=get_rank(), world_size=get_world_size(), total=total)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _of_one_process(number: float) -> float:
    return number


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """One of W processes. Their gradients are averaged by who wraps the model, such as
    DDP.

    Attributes:
        rank: number of this process, from 0.
        world_size: W.
        total: adds up a number over all of them; every process calls it equally often
            and gets the same result.
    """

    rank: int = 0
    world_size: int = 1
    total: Callable[[float], float] = _of_one_process

    def __post_init__(self) -> None:
        if self.world_size < 1:
            raise ValueError(f"world_size is {self.world_size}; expected at least 1")
        if not 0 <= self.rank < self.world_size:
            allowed = f"0 to {self.world_size - 1} for world_size {self.world_size}"
            raise ValueError(f"rank is {self.rank}; expected {allowed}")
        if self.world_size > 1 and self.total is _of_one_process:
            raise ValueError(
                f"world_size is {self.world_size} and total is not given; expected a "
                "function that adds up over ranks"
            )


ONE_PROCESS = Ranks()
