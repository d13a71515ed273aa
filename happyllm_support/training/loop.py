"""The loop of training: one step after another, to the end of the run or to where it is
to stop.

`train` is the whole run in one call. A run that stops and goes on has its state in
hand (`TrainState`) and calls `continue_training`. Who wants a loop of their own writes

    while state.step < config.steps:
        batches = state.next_micro_batches()
        record = train_step(model, state.optimizer, batches, config, state.step)
        state.step += 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn

from happyllm_support.model.language_model import LanguageModel
from happyllm_support.text.shards.batches import Batch
from happyllm_support.training.ranks import ONE_PROCESS, Ranks
from happyllm_support.training.state import TrainState
from happyllm_support.training.step import StepRecord, TrainConfig, train_step


def train(
    model: LanguageModel | nn.Module,
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
        model: GPT-2, LLaMA2, or whatever has their signature, also wrapped by DDP. The
            batches are moved to its device.
        batches: `steps` x `micro_batches` of them are taken; `TokenBatches` never end
            and start epoch after epoch.
        config: of the run.
        on_step: called after each step, for example to show progress, to evaluate or to
            sample; what it draws or switches changes nothing in the steps that follow.

    Returns:
        One record per step.

    Raises:
        ValueError: too few batches, a step without any target, gradients that are
            switched off, or a device without this precision.
        FloatingPointError: a loss or gradient that is not finite; the weights are those
            before that step.
    """
    return continue_training(model, TrainState(model, batches, config), on_step=on_step)


def continue_training(
    model: LanguageModel | nn.Module,
    state: TrainState,
    *,
    stop_at: int | None = None,
    on_step: Callable[[StepRecord], None] | None = None,
    ranks: Ranks = ONE_PROCESS,
) -> list[StepRecord]:
    """Train on from a state, which moves on with each step.

    Args:
        model: the one that the state is of.
        state: a new one, or one that was loaded.
        stop_at: how many steps of the run are to be done at the end; None: all.
        on_step: as for `train`.
        ranks: the processes that train this model together.

    Returns:
        One record for each step of this call.

    Raises:
        ValueError: as for `train`, or a step to stop at that has passed or that the run
            does not have.
        FloatingPointError: as for `train`; the state is that before the step, but for
            the batches, which were taken.
    """
    steps = state.config.steps
    end = steps if stop_at is None else stop_at
    if not state.step <= end <= steps:
        raise ValueError(f"stop_at is {end}; expected {state.step} to {steps}")
    records: list[StepRecord] = []
    while state.step < end:
        micro_batches = state.next_micro_batches()
        record = train_step(
            model, state.optimizer, micro_batches, state.config, state.step, ranks=ranks
        )
        state.step += 1
        records.append(record)
        if on_step is not None:
            on_step(record)
    state.optimizer.zero_grad()
    return records
