"""One optimizer step, from micro-batches to new weights.

A step takes one or more micro-batches. Its gradient is that of

    sum of the losses of all places with a target / number of such places

over all micro-batches, and all ranks, together, so that cutting a batch into parts,
however unequal, changes nothing but the memory it takes. (The mean of the parts' means
is another number wherever parts have unequal numbers of targets.)

What dropout drops is decided by (seed, step, rank) alone: no generator is carried from
step to step, so that a run may be cut anywhere, and whoever samples in between changes
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from happyllm_support.model.language_model import LanguageModel, device_of
from happyllm_support.model.modes import check_dropout, training_mode
from happyllm_support.text.shards.batches import Batch
from happyllm_support.training.loss import Precision, batch_loss, read_back
from happyllm_support.training.optim import (
    OptimizerConfig,
    check_schedule,
    learning_rate,
    set_learning_rate,
)
from happyllm_support.training.ranks import ONE_PROCESS, Ranks


@dataclass(frozen=True, kw_only=True)
class TrainConfig(OptimizerConfig):
    """A run of training; the settings of `OptimizerConfig` belong to it.

    Attributes:
        steps: optimizer steps.
        warmup_steps: steps before the peak of the learning rate (see `learning_rate`).
        min_lr_ratio: the last step's learning rate as a share of the peak.
        grad_clip: gradients of a larger norm, over all parameters, are scaled down to
            it; `math.inf` for never.
        micro_batches: batches that make one step (of each rank).
        precision: "fp32", or "bf16": matrices are multiplied in bf16, while weights,
            gradients, norms and the loss stay in fp32.
        dropout: probability that the model drops numbers (see `modes.set_dropout`);
            None leaves it as it is.
        seed: of dropout. The initial weights and the order of the batches have seeds of
            their own.
    """

    steps: int
    warmup_steps: int = 0
    min_lr_ratio: float = 0.1
    grad_clip: float = 1.0
    micro_batches: int = 1
    precision: Precision = "fp32"
    dropout: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule(self.steps, self.warmup_steps, self.min_lr_ratio)
        if not self.grad_clip > 0:
            raise ValueError(
                f"grad_clip is {self.grad_clip}; expected a positive number, inf for "
                "no clipping"
            )
        for name, least in (("micro_batches", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; expected at least {least}"
                )
        if self.dropout is not None:
            check_dropout(self.dropout)
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision is {self.precision!r}; expected one of "
                f"{', '.join(get_args(Precision))}"
            )


@dataclass(frozen=True)
class StepRecord:
    """What happened in one step.

    Attributes:
        step: its number, from 0.
        loss: nats per target, before the update.
        lr: learning rate of the update.
        grad_norm: of the gradient, before clipping.
        tokens: targets in all of its micro-batches, of all ranks.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int


def train_step(
    model: LanguageModel | nn.Module,
    optimizer: torch.optim.Optimizer,
    micro_batches: Sequence[Batch],
    config: TrainConfig,
    step: int,
    *,
    ranks: Ranks = ONE_PROCESS,
) -> StepRecord:
    """Update the weights once, in training mode; the model is left in the mode that it
    was in.

    The gradients stay until the next step, to be looked at. An accelerator is waited
    for once, when loss and norm are read.

    Args:
        model: as for `train`.
        optimizer: of its weights, for example `build_optimizer(model, config)`.
        micro_batches: of this step, and of this rank.
        config: of the run.
        step: number of the step, from 0; decides the learning rate and what dropout
            drops.
        ranks: the processes that take this step together.

    Raises:
        ValueError: no target at all, a step outside the run, gradients that are
            switched off, or a device without this precision.
        FloatingPointError: a loss or gradient that is not finite; the weights are those
            before the step.
    """
    if not torch.is_grad_enabled():
        raise ValueError(
            "gradients are switched off (torch.no_grad or set_grad_enabled); training "
            "needs them"
        )
    tokens = int(ranks.total(sum(batch.n_targets for batch in micro_batches)))
    if tokens == 0:
        raise ValueError(f"no place of the batches of step {step} has a target")
    lr = learning_rate(
        step,
        steps=config.steps,
        lr=config.lr,
        warmup_steps=config.warmup_steps,
        min_lr_ratio=config.min_lr_ratio,
    )
    set_learning_rate(optimizer, lr)
    optimizer.zero_grad()
    seed = dropout_seed(config.seed, step, ranks.rank)
    # DDP averages the gradients of the ranks, where their sum is wanted
    share = tokens / ranks.world_size
    with training_mode(model, True), _seeded(seed, device_of(model)):
        losses = accumulate_gradients(model, micro_batches, share, config.precision)
    norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
    *of_parts, grad_norm = read_back([*losses, norm])
    loss = ranks.total(sum(of_parts)) / ranks.world_size
    _check_finite(step, loss, grad_norm)
    optimizer.step()
    return StepRecord(step, loss, lr, grad_norm, tokens)


def accumulate_gradients(
    model: LanguageModel | nn.Module,
    micro_batches: Iterable[Batch],
    tokens: float,
    precision: Precision = "fp32",
) -> list[Tensor]:
    """Add to the gradients those of (summed loss of the micro-batches) / tokens, and
    return the terms of that loss, one per micro-batch, in nats.
    """
    losses: list[Tensor] = []
    for batch in micro_batches:
        loss = batch_loss(model, batch, precision) / tokens
        loss.backward()
        losses.append(loss.detach())
    return losses


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of what one rank drops in one step, 64 bits mixed from the three.

    NumPy promises not to change how its `SeedSequence` mixes.
    """
    mixed = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    return int(mixed[0])


@contextmanager
def _seeded(seed: int, device: torch.device) -> Generator[None]:
    """Seed torch's own generators, which dropout draws from, and put them back at the
    end.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _check_finite(step: int, loss: float, grad_norm: float) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss} in step {step}; lower the learning rate or warm up "
            "longer"
        )
    if not math.isfinite(grad_norm):
        raise FloatingPointError(
            f"the gradient's norm is {grad_norm} in step {step}, and the loss {loss}"
        )
