"""Training: a step, a run of steps, and what a model is worth on text it has not seen.

An optimizer step takes one or more micro-batches. Its gradient is that of

    sum of the losses of all places with a target / number of such places

over all of its micro-batches together, so that cutting a batch into parts, however
unequal, changes nothing but the memory it takes. (The mean of the parts' means is
another number wherever parts have unequal numbers of targets.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor, nn

from happyllm_support.model.modes import training_mode
from happyllm_support.text.shards.batches import Batch, TokenBatches
from happyllm_support.training.loss import next_token_loss
from happyllm_support.training.optim import (
    OptimizerConfig,
    build_optimizer,
    check_schedule,
    learning_rate,
    set_learning_rate,
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(OptimizerConfig):
    """A run of training; the settings of `OptimizerConfig` belong to it.

    Attributes:
        steps: optimizer steps.
        warmup_steps: steps before the peak of the learning rate (see `learning_rate`).
        min_lr_ratio: the last step's learning rate as a share of the peak.
        grad_clip: gradients of a larger norm, over all parameters, are scaled down to
            it; `math.inf` for never.
        micro_batches: batches that make one step.
        seed: of dropout. The initial weights and the order of the batches have seeds of
            their own.
    """

    steps: int
    warmup_steps: int = 0
    min_lr_ratio: float = 0.1
    grad_clip: float = 1.0
    micro_batches: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule(self.steps, self.warmup_steps, self.min_lr_ratio)
        if not self.grad_clip > 0:
            raise ValueError(
                f"grad_clip is {self.grad_clip}; expected a positive number, inf for "
                "no clipping"
            )
        if self.micro_batches < 1:
            raise ValueError(
                f"micro_batches is {self.micro_batches}; expected at least 1"
            )


@dataclass(frozen=True)
class StepRecord:
    """What happened in one step.

    Attributes:
        step: its number, from 0.
        loss: nats per target, before the update.
        lr: learning rate of the update.
        grad_norm: of the gradient, before clipping.
        tokens: targets in all of its micro-batches.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int


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


def train(
    model: nn.Module,
    batches: Iterable[Batch],
    config: TrainConfig,
    *,
    on_step: Callable[[StepRecord], None] | None = None,
) -> list[StepRecord]:
    """Train a model in place; it is left in the mode, training or evaluation, that it
    was in.

    The same weights, batches and configuration give the same records, bit for bit on
    one machine with as many threads.

    Args:
        model: GPT-2, LLaMA2, or whatever has their signature. The batches are moved to
            its device.
        batches: `steps` x `micro_batches` of them are taken; `TokenBatches` never end
            and start epoch after epoch.
        config: of the run.
        on_step: called after each step, for example to show progress or to evaluate.

    Returns:
        One record per step.

    Raises:
        ValueError: too few batches, a step without any target, or gradients that are
            switched off.
        FloatingPointError: a loss or gradient that is not finite; the weights are those
            before that step.
    """
    if not torch.is_grad_enabled():
        raise ValueError(
            "gradients are switched off (torch.no_grad or set_grad_enabled); training "
            "needs them"
        )
    optimizer = build_optimizer(model, config)
    stream = iter(batches)
    records: list[StepRecord] = []
    with training_mode(model, True), _seeded(config.seed, device_of(model)):
        for step in range(config.steps):
            micro_batches = list(islice(stream, config.micro_batches))
            if len(micro_batches) < config.micro_batches:
                raise ValueError(
                    f"the batches ended in step {step} of {config.steps} "
                    f"({config.micro_batches} micro-batches each); "
                    "give as many as the run takes, or TokenBatches, which begin again"
                )
            lr = learning_rate(
                step,
                steps=config.steps,
                lr=config.lr,
                warmup_steps=config.warmup_steps,
                min_lr_ratio=config.min_lr_ratio,
            )
            set_learning_rate(optimizer, lr)
            loss, grad_norm, tokens = _step(
                model, optimizer, micro_batches, config.grad_clip, step
            )
            records.append(StepRecord(step, loss, lr, grad_norm, tokens))
            if on_step is not None:
                on_step(records[-1])
    optimizer.zero_grad()
    return records


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    micro_batches: Sequence[Batch],
    grad_clip: float,
    step: int,
) -> tuple[float, float, int]:
    """Update the weights once; return loss, norm of the gradient and number of targets."""
    tokens = sum(batch.n_targets for batch in micro_batches)
    if tokens == 0:
        raise ValueError(f"no place of the batches of step {step} has a target")
    # here and not after the step, so that `on_step` can look at the gradients
    optimizer.zero_grad()
    loss = accumulate_gradients(model, micro_batches, tokens)
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss} in step {step}; lower the learning rate or warm up "
            "longer"
        )
    grad_norm = nn.utils.clip_grad_norm_(model.parameters(), grad_clip).item()
    if not math.isfinite(grad_norm):
        raise FloatingPointError(
            f"the gradient's norm is {grad_norm} in step {step}, and the loss {loss}"
        )
    optimizer.step()
    return loss, grad_norm, tokens


def accumulate_gradients(
    model: nn.Module, micro_batches: Iterable[Batch], tokens: int
) -> float:
    """Add to the gradients those of (summed loss of the micro-batches) / tokens, and
    return that loss in nats.
    """
    total = 0.0
    for batch in micro_batches:
        loss = batch_loss(model, batch) / tokens
        loss.backward()
        total += loss.item()
    return total


def batch_loss(model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
    """Return the summed loss of a batch, computed on the model's device."""
    alike = (
        batch.one_document_per_row
    )  # then the plain causal mask is enough, and the faster one
    batch = batch.to(device_of(model))
    where = {} if alike else {"positions": batch.positions, "segments": batch.segments}
    return next_token_loss(model(batch.ids, **where), batch.targets, reduction="sum")


def evaluate(model: nn.Module, batches: Iterable[Batch]) -> EvalResult:
    """Return what a model pays for a text, without dropout; the model is left in the
    mode that it was in.

    Args:
        model: as for `train`.
        batches: the text, for example `TokenBatches(...).epoch()` with `shuffle` and
            `drop_last` off.

    Raises:
        ValueError: no target in any batch, or batches that never end.
    """
    if isinstance(batches, TokenBatches):
        raise ValueError(
            "TokenBatches never end; evaluate on one epoch, batches.epoch()"
        )
    nats, tokens, documents = 0.0, 0, 0
    with training_mode(model, False), torch.no_grad():
        for batch in batches:
            nats += batch_loss(model, batch).item()
            tokens += batch.n_targets
            documents += batch.n_documents
    if tokens == 0:
        raise ValueError("nothing to evaluate: no batch has a target")
    return EvalResult(nats, tokens, documents)


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's parameters are."""
    return next(model.parameters()).device


@contextmanager
def _seeded(seed: int, device: torch.device) -> Generator[None]:
    """Seed torch's own generators, which dropout draws from, and put them back at the
    end.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
