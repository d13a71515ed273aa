"""Batches of token ids for training and evaluation: the same for the same seed,
resumable, divisible among ranks.

An epoch is one pass over the rows that a mode makes of a dataset:

    "stream"     windows of T tokens over the documents as they are stored; fewer than T tokens are left out
    "concat"     documents in an order drawn per epoch, end to end, cut every T tokens
    "packed"     whole documents packed into rows of T (best fit)
    "documents"  a document a row; what is longer than T is cut off, and reported by `stats`

With world_size W and batch_size B, step s of an epoch takes the s-th group of B W rows
of an order drawn per epoch; rank r gets every W-th of them, beginning with the r-th. So
W ranks see in a step what one rank with batch_size B W sees.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from happyllm_support.text.shards.in_memory import TokenDocuments
from happyllm_support.text.shards.packing import (
    IGNORE_INDEX,
    PackingStats,
    Plan,
    fill_rows,
    plan_best_fit,
    plan_concatenated,
    plan_one_per_row,
)
from happyllm_support.text.shards.shard import Ids

logger = logging.getLogger(__name__)

Mode = Literal["stream", "concat", "packed", "documents"]
RELEASE_EVERY = (
    1 << 10
)  # documents looked at between two calls that give mapped pages back
STATE_VERSION = 1


@dataclass(frozen=True)
class Batch:
    """B rows of T tokens, as the models take them; `text.packing` explains the four
    arrays.

    Attributes:
        ids: token ids, padded.
        targets: the id to predict at each place, -100 where there is none.
        positions: index of each token within its document.
        segments: number of the document within its row, from 1; 0 is padding.
    """

    ids: Int64[Tensor, "B T"]
    targets: Int64[Tensor, "B T"]
    positions: Int64[Tensor, "B T"]
    segments: Int64[Tensor, "B T"]

    @property
    def n_targets(self) -> int:
        """Places with a target: what to divide a summed loss by (by its sum over ranks
        and micro-batches).
        """
        return int((self.targets != IGNORE_INDEX).sum())

    @property
    def n_documents(self) -> int:
        """Documents in the rows; of one that is cut in pieces, each piece."""
        return int(self.segments.amax(dim=1).sum())

    @property
    def one_document_per_row(self) -> bool:
        """Whether each row is one document from its first place on, and then padding.

        A model then needs neither positions nor segments: no place with a target has
        padding before it.
        """
        count = torch.arange(self.ids.shape[1], device=self.ids.device)
        ones_then_zeros = (self.segments <= 1).all() & (
            self.segments[:, 1:] <= self.segments[:, :-1]
        ).all()
        counted = ((self.positions == count) | (self.segments == 0)).all()
        return bool(ones_then_zeros & counted)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""
        tensors = (self.ids, self.targets, self.positions, self.segments)
        return Batch(
            *(tensor.to(device, non_blocking=non_blocking) for tensor in tensors)
        )


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
        for name, low in (
            ("batch_size", 1),
            ("seq_len", 1),
            ("world_size", 1),
            ("seed", 0),
        ):
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


class TokenBatches:
    """An endless iterator over batches; `epoch()` stops at the end of an epoch.

    Memory: the plan of one epoch (24 bytes per piece of a document and 16 per row),
    whatever the number of tokens.

    Args:
        dataset: an open split (`open_dataset`), or documents in memory
            (`encode_documents`).
        config: how to make batches of it.

    Raises:
        ValueError: the dataset has fewer rows than one step takes.
    """

    def __init__(self, dataset: TokenDocuments, config: BatchConfig) -> None:
        self.dataset, self.config = dataset, config
        self._lengths = dataset.lengths()
        self._looked_at = 0  # documents since pages were given back
        self._begin_epoch(0)
        rows = len(self._plan)
        if rows < config.rows_per_step:
            raise ValueError(
                f"batch_size {config.batch_size} x world_size {config.world_size} is "
                f"more than the {rows} rows of "
                f"{config.seq_len} tokens in {dataset.name}; use smaller batches or "
                "more text"
            )
        if dropped := self.stats().tokens_dropped:
            logger.info("%s: %d tokens lie in no row", dataset.name, dropped)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that each rank gets in an epoch."""
        whole, rest = divmod(len(self._plan), self.config.rows_per_step)
        return whole + (rest > 0 and not self.config.drop_last)

    def stats(self) -> PackingStats:
        """What the rows of an epoch waste, drop and cut (`drop_last` not counted)."""
        return self._plan.stats()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch, of the next epoch where this one has ended."""
        if self._step == self.steps_per_epoch:
            self._begin_epoch(self._epoch + 1)
        rows = self._rows_of_step(self._step)
        self._step += 1
        return self._fill(rows)

    def epoch(self) -> Iterator[Batch]:
        """Yield the batches that are left of this epoch, or those of the next one where
        none is left.
        """
        if self._step == self.steps_per_epoch:
            self._begin_epoch(self._epoch + 1)
        while self._step < self.steps_per_epoch:
            yield next(self)

    def state_dict(self) -> dict[str, Any]:
        """Return what it takes to continue with the next batch; JSON can hold it, and
        it is the same on every rank.
        """
        return {
            "version": STATE_VERSION,
            "dataset": self.dataset.identity,
            "config": _comparable(self.config),
            "epoch": self._epoch,
            "step": self._step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was called, bit for bit.

        Ranks may have changed in number as long as batch_size x world_size has not: the
        steps are then the same.

        Raises:
            ValueError: the state is of another dataset, another configuration or
                another version.
        """
        if state.get("version") != STATE_VERSION:
            raise ValueError(
                f"the batches' state has version {state.get('version')!r}; expected "
                f"{STATE_VERSION}"
            )
        if state.get("dataset") != self.dataset.identity:
            raise ValueError(
                f"the batches' state belongs to dataset {state.get('dataset')}, and "
                f"{self.dataset.name} is "
                f"{self.dataset.identity}"
            )
        _refuse_other_config(_comparable(self.config), state.get("config"))
        epoch, step = state.get("epoch"), state.get("step")
        if (
            type(epoch) is not int
            or type(step) is not int
            or epoch < 0
            or not 0 <= step <= self.steps_per_epoch
        ):
            raise ValueError(
                f"the batches' state is at epoch {epoch}, step {step}; expected a step "
                f"from 0 to {self.steps_per_epoch}"
            )
        self._begin_epoch(epoch)
        self._step = step

    def _begin_epoch(self, epoch: int) -> None:
        config = self.config
        self._epoch, self._step = epoch, 0
        self._plan = _plan(self._lengths, config, epoch)
        rows = len(self._plan)
        self._row_order = (
            _permutation(rows, config.seed, epoch, 1)
            if config.shuffle
            else np.arange(rows)
        )

    def _rows_of_step(self, step: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return this rank's rows, -1 for rows of padding."""
        config = self.config
        group = self._row_order[
            step * config.rows_per_step : (step + 1) * config.rows_per_step
        ]
        padding = np.full(config.rows_per_step - len(group), -1, np.int64)
        return np.concatenate([group, padding])[config.rank :: config.world_size]

    def _fill(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Batch:
        filled = fill_rows(
            self._plan,
            rows,
            self._document,
            cross_document=self.config.cross_document,
            pad_id=self.dataset.pad_id or 0,
        )
        arrays = (filled.ids, filled.targets, filled.positions, filled.segments)
        return Batch(*(torch.from_numpy(array) for array in arrays))

    def _document(self, number: int) -> Ids:
        """Look at a document. Each look can make some 64 KiB of the file resident,
        whatever its length.
        """
        self._looked_at += 1
        if self._looked_at == RELEASE_EVERY:
            self.dataset.release()
            self._looked_at = 0
        return self.dataset.document(number)


def _plan(
    lengths: np.ndarray[Any, np.dtype[np.int64]], config: BatchConfig, epoch: int
) -> Plan:
    if (
        config.mode == "stream"
    ):  # the windows lie elsewhere in every epoch, as far as there are tokens left over
        spare = int(lengths.sum()) % config.seq_len
        skip = (
            int(_random(1, config.seed, epoch, 0)[0] % (spare + 1))
            if config.shuffle
            else 0
        )
        return plan_concatenated(lengths, config.seq_len, skip=skip, whole_rows=True)
    make = {
        "concat": plan_concatenated,
        "packed": plan_best_fit,
        "documents": plan_one_per_row,
    }[config.mode]
    order = (
        _permutation(len(lengths), config.seed, epoch, 0) if config.shuffle else None
    )
    return make(lengths, config.seq_len, order=order)


def _random(
    n: int, seed: int, epoch: int, purpose: int
) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Draw n 64-bit numbers. NumPy promises that these (unlike its shuffles) are the
    same in every release.
    """
    return np.random.PCG64(np.random.SeedSequence([seed, epoch, purpose])).random_raw(n)


def _permutation(
    n: int, seed: int, epoch: int, purpose: int
) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.argsort(_random(n, seed, epoch, purpose), kind="stable")


def _comparable(config: BatchConfig) -> dict[str, Any]:
    """The settings that decide what a step contains."""
    settings = asdict(config)
    del settings["rank"], settings["world_size"], settings["batch_size"]
    return {**settings, "rows_per_step": config.rows_per_step}


def _refuse_other_config(ours: dict[str, Any], saved: object) -> None:
    theirs = cast(dict[str, Any], saved) if isinstance(saved, dict) else {}
    if ours != theirs:
        different = sorted(
            name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)
        )
        changes = ", ".join(
            f"{name} {theirs.get(name)!r} (now {ours.get(name)!r})"
            for name in different
        )
        raise ValueError(
            f"the batches' state was saved with {changes}; continue with the same "
            "configuration"
        )
