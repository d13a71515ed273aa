"""What a run of training needs, beside the weights, to stop and to go on elsewhere.

    state = TrainState(model, batches, config)
    continue_training(model, state, stop_at=100)
    torch.save({"model": model.state_dict(), "state": state.state_dict()}, path)

and in another process, with model, batches and configuration made as before,

    saved = torch.load(path, weights_only=True)
    model.load_state_dict(saved["model"])
    state = TrainState(model, batches, config)
    state.load_state_dict(saved["state"])
    continue_training(model, state)

The records and weights are then those of a run that was never cut, bit for bit on one
machine with as many threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any, Protocol, cast, runtime_checkable

from torch import nn
from torch.optim import Optimizer

from happyllm_support.model.language_model import LanguageModel
from happyllm_support.model.modes import set_dropout
from happyllm_support.text.shards.batches import Batch
from happyllm_support.training.optim import build_optimizer
from happyllm_support.training.step import TrainConfig

STATE_VERSION = 1


@runtime_checkable
class Resumable(Protocol):
    """Batches that know their position, such as `TokenBatches`."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it takes to continue with the next batch."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was called."""
        ...


class TrainState:
    """A run between two steps; new, it is one before the first.

    The weights are no part of it, they are the model's own.

    Args:
        model: what to train; gets the dropout of the configuration.
        batches: where each step takes its micro-batches from.
        config: of the run.

    Attributes:
        step: how many steps are done, which is the number of the next one.
        optimizer: with its running means.

    Raises:
        ValueError: nothing in the model can be trained.
    """

    def __init__(
        self,
        model: LanguageModel | nn.Module,
        batches: Iterable[Batch],
        config: TrainConfig,
    ) -> None:
        if config.dropout is not None:
            set_dropout(model, config.dropout)
        self.step = 0
        self.optimizer = build_optimizer(model, config)
        self.batches, self.config = batches, config
        self._stream = iter(batches)

    def next_micro_batches(self) -> list[Batch]:
        """Take the batches of the next step.

        Raises:
            ValueError: there are too few.
        """
        wanted = self.config.micro_batches
        taken = list(islice(self._stream, wanted))
        if len(taken) < wanted:
            raise ValueError(
                f"the batches ended in step {self.step} of {self.config.steps} "
                f"({wanted} micro-batches each); give as many as the run takes, or "
                "TokenBatches, which begin again"
            )
        return taken

    def state_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and tensors (not copies), as `torch.load` reads
        them with `weights_only`.

        Batches without a position of their own (a list, a generator) are not in it: who
        goes on hands over those that come next.
        """
        batches = self.batches
        return {
            "version": STATE_VERSION,
            "step": self.step,
            "config": asdict(self.config),
            "optimizer": self.optimizer.state_dict(),
            "batches": batches.state_dict() if isinstance(batches, Resumable) else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be where `state_dict` was called.

        Raises:
            ValueError: the state is of another version, configuration, model or
                dataset, or has no position for batches that need one.
        """
        if state.get("version") != STATE_VERSION:
            raise ValueError(
                f"the training state has version {state.get('version')!r}; expected "
                f"{STATE_VERSION}"
            )
        _refuse_other_config(asdict(self.config), state.get("config"))
        step, steps = state.get("step"), self.config.steps
        if type(step) is not int or not 0 <= step <= steps:
            raise ValueError(
                f"the training state is at step {step!r}; expected 0 to {steps}"
            )
        position = state.get("batches")
        if isinstance(self.batches, Resumable) != (position is not None):
            having, lacking = "the training state", type(self.batches).__name__
            if position is None:
                having, lacking = lacking, having
            raise ValueError(
                f"{having} has a position in the data and {lacking} none; expected "
                "batches of the same kind"
            )
        _refuse_other_model(self.optimizer, state["optimizer"])
        if isinstance(self.batches, Resumable):
            self.batches.load_state_dict(cast(Mapping[str, Any], position))
            self._stream = iter(self.batches)
        self.optimizer.load_state_dict(dict(state["optimizer"]))
        self.step = step


def _refuse_other_model(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """PyTorch compares how many parameters there are, but not their shapes."""
    ours = [p.shape for group in optimizer.param_groups for p in group["params"]]
    theirs: dict[int, Any] = {
        number: None for group in saved["param_groups"] for number in group["params"]
    }
    theirs |= {number: mean["exp_avg"].shape for number, mean in saved["state"].items()}
    if len(ours) != len(theirs) or any(
        shape not in (None, ours[number]) for number, shape in theirs.items()
    ):
        raise ValueError(
            f"the training state is of a model with {len(theirs)} parameters, others "
            f"than the {len(ours)} of this one; expected the same model"
        )


def _refuse_other_config(ours: dict[str, Any], saved: object) -> None:
    theirs = cast(dict[str, Any], saved) if isinstance(saved, Mapping) else {}
    changes = ", ".join(
        f"{name} {theirs.get(name)!r} (now {ours.get(name)!r})"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    )
    if changes:
        raise ValueError(
            f"the training state was saved with {changes}; continue with the same "
            "configuration"
        )
