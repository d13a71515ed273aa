"""AdamW, which weights decay, and the learning rate of each step.

Source: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", 2019
(AdamW) and "SGDR", 2017, equation 5 (cosine); T. Brown et al., "Language Models are
Few-Shot Learners", 2020, appendix B (warm-up, a floor of a tenth of the peak, betas,
decay 0.1); A. Karpathy, nanoGPT, `configure_optimizers` (what decays).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from happyllm_support.model.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Settings of AdamW.

    Attributes:
        lr: peak learning rate.
        betas: decay per step of the running means of the gradient and of its square.
        eps: added to the root of the mean square.
        weight_decay: of matrices; a step multiplies them by 1 - lr weight_decay.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        for name in ("lr", "eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; expected a positive number"
                )
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay is {self.weight_decay}; expected 0 or more")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(
                f"betas is {self.betas}; expected two numbers from 0 to below 1"
            )


def build_optimizer(
    model: LanguageModel | nn.Module, config: OptimizerConfig
) -> torch.optim.AdamW:
    """Return AdamW over a model's trainable parameters, in two groups.

    Matrices decay: the weights of linear layers and, as in nanoGPT, embeddings. Biases
    and the gains of norms, which have one axis, do not. A tied weight is one parameter,
    found and updated once.

    The update is PyTorch's fused one: on one CPU thread 3 times as fast as a loop over
    parameters.

    Args:
        model: what to train.
        config: of the optimizer.

    Raises:
        ValueError: nothing in the model can be trained.
    """
    parameters = [
        parameter for parameter in model.parameters() if parameter.requires_grad
    ]
    if not parameters:
        raise ValueError(
            "the model has no parameter that requires a gradient: nothing to train"
        )
    groups = [
        {
            "params": [p for p in parameters if p.ndim >= 2],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Let the next step of every parameter group use this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def learning_rate(
    step: int,
    *,
    steps: int,
    lr: float,
    warmup_steps: int = 0,
    min_lr_ratio: float = 0.1,
) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a cosine from the
    peak to a floor.

        step < W   lr (step + 1) / (W + 1)
        else       lr (r + (1 - r) (1 + cos(pi p)) / 2)

        p = (step - W) / (steps - 1 - W)

    W is `warmup_steps`, r is `min_lr_ratio`. Step W is at the peak, the last one,
    `steps - 1`, at the floor:

    >>> [round(learning_rate(t, steps=7, lr=1.0, warmup_steps=2), 3) for t in range(7)]
    [0.333, 0.667, 1.0, 0.868, 0.55, 0.232, 0.1]

    Args:
        step: the optimizer step, from 0.
        steps: how many there are.
        lr: peak.
        warmup_steps: how many steps before the peak.
        min_lr_ratio: r, the floor as a share of the peak.

    Raises:
        ValueError: a step outside the run, or a warm-up that leaves no step at the
            peak.
    """
    check_schedule(steps, warmup_steps, min_lr_ratio)
    if not 0 <= step < steps:
        raise ValueError(f"step is {step}; expected 0 to {steps - 1}")
    if step < warmup_steps:
        return lr * (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, steps - 1 - warmup_steps)
    return lr * (
        min_lr_ratio + (1 - min_lr_ratio) * (1 + math.cos(math.pi * progress)) / 2
    )


def check_schedule(steps: int, warmup_steps: int, min_lr_ratio: float) -> None:
    """Raise ValueError where `learning_rate` has no answer."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected at least 1")
    if not 0 <= warmup_steps < steps:
        raise ValueError(
            f"warmup_steps is {warmup_steps}; expected 0 to {steps - 1} for {steps} "
            "steps"
        )
    if not 0 <= min_lr_ratio <= 1:
        raise ValueError(f"min_lr_ratio is {min_lr_ratio}; expected 0 to 1")
