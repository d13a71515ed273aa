"""What a model is worth on text that it has not seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from happyllm_support.model.language_model import LanguageModel, unwrapped
from happyllm_support.model.modes import training_mode
from happyllm_support.text.shards.batches import Batch, Epoch, TokenBatches
from happyllm_support.text.shards.row_order import RowOrder
from happyllm_support.training.loss import batch_loss, read_back
from happyllm_support.training.ranks import ONE_PROCESS, Ranks


@dataclass(frozen=True)
class EvalResult:
    """The cost of a text under a model.

    Attributes:
        nats: of all targets together.
        tokens: targets.
        documents: documents; of one that is cut in pieces, each piece.
    """

    nats: float
    tokens: int
    documents: int

    @property
    def nats_per_token(self) -> float:
        """Mean loss; its exponential is the perplexity."""
        return self.nats / self.tokens

    @property
    def nats_per_document(self) -> float:
        """What a document costs. No model of story-world text, a document per row, gets
        below `StoryWorld.entropy`.
        """
        return self.nats / self.documents


def evaluate(
    model: LanguageModel | nn.Module,
    batches: Iterable[Batch],
    *,
    ranks: Ranks = ONE_PROCESS,
) -> EvalResult:
    """Return what a model pays for a text, without dropout and in the precision of its
    weights; the model is left in the mode that it was in.

    Args:
        model: as for `train`. Of a wrapper such as DDP the model inside is asked, so
            that processes need not evaluate together.
        batches: the text, for example `TokenBatches(...).epoch()` with `shuffle` and
            `drop_last` off.
        ranks: the processes that share the text; the result is that of all.

    Raises:
        ValueError: no target in any batch, batches that never end, or an epoch that
            leaves out a part of the text.
    """
    _check_whole(batches, ranks)
    inner = unwrapped(model)
    losses: list[Tensor] = []
    tokens, documents = 0, 0
    with training_mode(inner, False), torch.no_grad():
        for batch in batches:
            losses.append(batch_loss(inner, batch))
            tokens += batch.n_targets
            documents += batch.n_documents
    nats = sum(read_back(losses))
    nats, tokens, documents = map(ranks.total, (nats, tokens, documents))
    if tokens == 0:
        raise ValueError("nothing to evaluate: no batch has a target")
    return EvalResult(nats, int(tokens), int(documents))


def _check_whole(batches: Iterable[Batch], ranks: Ranks) -> None:
    if isinstance(batches, TokenBatches):
        raise ValueError(
            "TokenBatches never end; evaluate on one epoch, batches.epoch()"
        )
    if isinstance(batches, Epoch):
        _check_epoch(batches.rows, ranks)


def _check_epoch(rows: RowOrder, ranks: Ranks) -> None:
    config, stats = rows.config, rows.plan.stats()
    if config.world_size != ranks.world_size:
        raise ValueError(
            f"the epoch is shared by {config.world_size} ranks; expected "
            f"{ranks.world_size}, those of this evaluation"
        )
    rows_left_out = stats.rows - rows.steps * config.rows_per_step
    if rows_left_out > 0:
        raise ValueError(
            f"the epoch leaves out {rows_left_out} of {stats.rows} rows; expected all "
            "of them, drop_last=False"
        )
    if stats.tokens_dropped:
        raise ValueError(
            f"the epoch leaves out {stats.tokens_dropped} tokens; expected none: a "
            f"seq_len above {config.seq_len}, or mode 'packed' or 'concat'"
        )
