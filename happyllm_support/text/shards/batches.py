"""Batches of token ids for training and evaluation: the same for the same seed,
resumable, divisible among ranks.

    batches = TokenBatches(dataset, BatchConfig(batch_size=16, seq_len=256))
    next(batches)                   # training: on and on, epoch after epoch
    for batch in batches.epoch():   # evaluation: a whole epoch, always from its start

Which rows lie in which step is decided in `row_order`; here they become tensors.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Int64
from torch import Tensor

from happyllm_support.text.shards.arrays import Ids
from happyllm_support.text.shards.in_memory import TokenDocuments
from happyllm_support.text.shards.packing import IGNORE_INDEX, PackingStats, fill_rows
from happyllm_support.text.shards.row_order import BatchConfig, RowOrder

__all__ = ["Batch", "BatchConfig", "Epoch", "TokenBatches"]

logger = logging.getLogger(__name__)

RELEASE_EVERY = 1 << 10  # documents looked at before mapped pages are given back
STATE_VERSION = 1


@dataclass(frozen=True)
class Batch:
    """B rows of T tokens, as the models take them; `packing` explains the four arrays.

    Attributes:
        ids: token ids, padded.
        targets: the id to predict at each place, -100 where there is none.
        positions: index of each token within its document.
        segments: number of the document within its row, from 1; 0 is padding.
        documents: how many lie in each row; of one that is cut in pieces, each piece.
            Segments do not tell where a model may look across documents.
    """

    ids: Int64[Tensor, "B T"]
    targets: Int64[Tensor, "B T"]
    positions: Int64[Tensor, "B T"]
    segments: Int64[Tensor, "B T"]
    documents: Int64[Tensor, " B"]

    @property
    def n_targets(self) -> int:
        """Places with a target: what to divide a summed loss by (by its sum over ranks
        and micro-batches).
        """
        return int((self.targets != IGNORE_INDEX).sum())

    @property
    def n_documents(self) -> int:
        """Documents in the rows; of one that is cut in pieces, each piece."""
        return int(self.documents.sum())

    @property
    def one_document_per_row(self) -> bool:
        """Whether each row is one text from its first place on, and then padding.

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

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return Batch(
            ids=moved(self.ids),
            targets=moved(self.targets),
            positions=moved(self.positions),
            segments=moved(self.segments),
            documents=moved(self.documents),
        )


class TokenBatches:
    """An endless iterator over batches, which also knows whole epochs (`epoch`).

    Args:
        dataset: an open split (`open_dataset`), or documents in memory
            (`encode_documents`).
        config: how to make batches of it.

    Raises:
        ValueError: no rows at all, or with `drop_last` fewer than one step takes.
    """

    def __init__(self, dataset: TokenDocuments, config: BatchConfig) -> None:
        self.dataset, self.config = dataset, config
        self._lengths = dataset.lengths()
        self._looked_at = 0  # documents since pages were given back
        self._begin_epoch(0)
        if self.steps_per_epoch == 0:
            raise ValueError(_too_few_rows(len(self._rows.plan), dataset.name, config))
        if dropped := self.stats().tokens_dropped:
            logger.info("%s: %d tokens lie in no row", dataset.name, dropped)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that each rank gets in an epoch."""
        return self._rows.steps

    def stats(self) -> PackingStats:
        """What the rows of an epoch waste, drop and cut (`drop_last` not counted)."""
        return self._rows.plan.stats()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch, of the next epoch where this one has ended."""
        if self._step == self.steps_per_epoch:
            self._begin_epoch(self._epoch + 1)
        self._step += 1
        return self._batch(self._rows, self._step - 1)

    def epoch(self, number: int = 0) -> Epoch:
        """Return one whole epoch, whatever has been taken from the iterator, which
        stays where it is.

        Args:
            number: which one, from 0; without `shuffle` all are the same.

        Raises:
            ValueError: a negative number.
        """
        if number < 0:
            raise ValueError(f"epoch is {number}; expected at least 0")
        return Epoch(self._rows_of_epoch(number), self._batch)

    def state_dict(self) -> dict[str, Any]:
        """Return what it takes to continue with the next batch; JSON can hold it, and
        it is the same on every rank.
        """
        return {
            "version": STATE_VERSION,
            "dataset": self.dataset.identity,
            "config": self.config.of_all_ranks(),
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
                f"{self.dataset.name} is {self.dataset.identity}"
            )
        _refuse_other_config(self.config.of_all_ranks(), state.get("config"))
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

    def _begin_epoch(self, number: int) -> None:
        self._epoch, self._step = number, 0
        self._rows = self._rows_of_epoch(number)

    def _rows_of_epoch(self, number: int) -> RowOrder:
        return RowOrder(self._lengths, self.config, number)

    def _batch(self, rows: RowOrder, step: int) -> Batch:
        numbers = rows.rows(step)
        filled = fill_rows(
            rows.plan,
            numbers,
            self._document,
            cross_document=self.config.cross_document,
            pad_id=self.dataset.pad_id or 0,
        )
        return Batch(
            ids=torch.from_numpy(filled.ids),
            targets=torch.from_numpy(filled.targets),
            positions=torch.from_numpy(filled.positions),
            segments=torch.from_numpy(filled.segments),
            documents=torch.from_numpy(rows.plan.n_pieces(numbers)),
        )

    def _document(self, number: int) -> Ids:
        """Look at a document. Each look can make some 64 KiB of the file resident,
        whatever its length.
        """
        self._looked_at += 1
        if self._looked_at == RELEASE_EVERY:
            self.dataset.release()
            self._looked_at = 0
        return self.dataset.document(number)


@dataclass(frozen=True)
class Epoch:
    """The batches of one epoch: all of them, from the first, each time it is iterated.

    Attributes:
        rows: which rows its steps take.
        make_batch: gives the batch of a step.
    """

    rows: RowOrder
    make_batch: Callable[[RowOrder, int], Batch]

    def __iter__(self) -> Iterator[Batch]:
        return (self.make_batch(self.rows, step) for step in range(len(self)))

    def __len__(self) -> int:
        return self.rows.steps


def _too_few_rows(rows: int, name: str, config: BatchConfig) -> str:
    advice = "use more text"
    if rows:
        advice = "use smaller batches, more text, or drop_last=False"
    return (
        f"batch_size {config.batch_size} x world_size {config.world_size} is more than "
        f"the {rows} rows of {config.seq_len} tokens in {name}; {advice}"
    )


def _refuse_other_config(ours: dict[str, Any], saved: object) -> None:
    theirs = cast(dict[str, Any], saved) if isinstance(saved, dict) else {}
    different = sorted(
        name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)
    )
    if different:
        changes = ", ".join(
            f"{name} {theirs.get(name)!r} (now {ours.get(name)!r})"
            for name in different
        )
        raise ValueError(
            f"the batches' state was saved with {changes}; continue with the same "
            "configuration"
        )
