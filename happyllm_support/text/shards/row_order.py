"""Which rows lie in which step of an epoch, decided by a seed and the number of the
epoch alone.

An epoch is one pass over the rows that a mode makes of a dataset:

    "stream"     windows of T tokens over the documents as they are stored; fewer than
                 T tokens are left out
    "concat"     documents in an order drawn per epoch, end to end, cut every T tokens
    "packed"     whole documents packed into rows of T (best fit)
    "documents"  a document a row; what is longer than T is cut off, and reported

With world_size W and batch_size B, step s of an epoch takes the s-th group of B W rows
of an order drawn per epoch; rank r gets every W-th of them, beginning with the r-th. So
W ranks see in a step what one rank with batch_size B W sees.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from happyllm_support.text.shards.arrays import Int64
from happyllm_support.text.shards.packing import (
    Plan,
    plan_best_fit,
    plan_concatenated,
    plan_one_per_row,
)

Mode = Literal["stream", "concat", "packed", "documents"]


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """How rows and batches are made of a dataset.

    Attributes:
        batch_size: B, rows per rank and step.
        seq_len: T, places in a row.
        mode: see the top of this file.
        cross_document: attend, count positions and predict across documents, as a plain
            GPT stream does.
        shuffle: draw a new order of documents and rows for every epoch; else the stored
            order, every epoch the same.
        drop_last: leave out the last rows of an epoch that fill no step. Else rows of
            padding fill it up, so that every batch has B rows and every rank the same
            number of steps; such a row has no targets.
        seed: of every order.
        rank: number of this process.
        world_size: W, number of processes.
    """

    batch_size: int
    seq_len: int
    mode: Mode = "packed"
    cross_document: bool = False
    shuffle: bool = True
    drop_last: bool = True
    seed: int = 0
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(
                f"mode is {self.mode!r}; expected one of {', '.join(get_args(Mode))}"
            )
        least = {"batch_size": 1, "seq_len": 1, "world_size": 1, "seed": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; expected at least {low}"
                )
        if not 0 <= self.rank < self.world_size:
            allowed = f"0 to {self.world_size - 1} for world_size {self.world_size}"
            raise ValueError(f"rank is {self.rank}; expected {allowed}")

    @property
    def rows_per_step(self) -> int:
        """Rows of all ranks in a step, B W."""
        return self.batch_size * self.world_size

    def of_all_ranks(self) -> dict[str, Any]:
        """Return the settings that decide what a step contains, alike on all ranks."""
        settings = asdict(self)
        del settings["rank"], settings["world_size"], settings["batch_size"]
        return {**settings, "rows_per_step": self.rows_per_step}


class RowOrder:
    """The rows of one epoch, in the order in which its steps take them.

    Memory: 24 bytes per piece of a document and 16 per row, whatever the number of
    tokens.

    Args:
        lengths: (n_documents,) tokens of each document.
        config: how to make rows and steps of them.
        epoch: number of the epoch, from 0.
    """

    def __init__(self, lengths: Int64, config: BatchConfig, epoch: int) -> None:
        self.config = config
        self.plan = _plan(lengths, config, epoch)
        rows = len(self.plan)
        self._order = (
            _permutation(rows, config.seed, epoch, 1)
            if config.shuffle
            else np.arange(rows)
        )

    @property
    def steps(self) -> int:
        """Batches that each rank gets."""
        whole, rest = divmod(len(self._order), self.config.rows_per_step)
        return whole + (rest > 0 and not self.config.drop_last)

    def rows(self, step: int) -> Int64:
        """Return the rows of this rank in a step, (B,); -1 is a row of padding."""
        of_all = self.config.rows_per_step
        group = self._order[step * of_all : (step + 1) * of_all]
        padding = np.full(of_all - len(group), -1, np.int64)
        filled = np.concatenate([group, padding])
        return filled[self.config.rank :: self.config.world_size]


def _plan(lengths: Int64, config: BatchConfig, epoch: int) -> Plan:
    order = None
    if config.mode == "stream":
        skip = 0
        if config.shuffle:  # the windows lie elsewhere in every epoch
            left_over = int(lengths.sum()) % config.seq_len
            skip = int(_random(1, config.seed, epoch, 0)[0] % (left_over + 1))
        return plan_concatenated(lengths, config.seq_len, skip=skip, whole_rows=True)
    if config.shuffle:
        order = _permutation(len(lengths), config.seed, epoch, 0)
    make = {
        "concat": plan_concatenated,
        "packed": plan_best_fit,
        "documents": plan_one_per_row,
    }[config.mode]
    return make(lengths, config.seq_len, order=order)


def _permutation(n: int, seed: int, epoch: int, purpose: int) -> Int64:
    return np.argsort(_random(n, seed, epoch, purpose), kind="stable")


def _random(n: int, seed: int, epoch: int, purpose: int) -> npt.NDArray[np.uint64]:
    """Draw n 64-bit numbers; NumPy promises (not of its shuffles) to keep them."""
    return np.random.PCG64(np.random.SeedSequence([seed, epoch, purpose])).random_raw(n)
