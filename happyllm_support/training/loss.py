"""Cross-entropy of the next token: what a model pays, in nats, for each token that
comes.

    loss[b, t] = -ln softmax(logits[b, t])[targets[b, t]]

Targets are those of `text.shards.batches`: already shifted, so place t of `targets`
holds the token after place t of `ids`, and -100 where there is nothing to predict. A
model that knows nothing pays ln V.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from happyllm_support.model.language_model import LanguageModel, device_of
from happyllm_support.text.shards.batches import Batch
from happyllm_support.text.shards.packing import IGNORE_INDEX

Reduction = Literal["mean", "sum"]
Precision = Literal["fp32", "bf16"]


def next_token_loss(
    logits: Float[Tensor, "B T V"],
    targets: Int64[Tensor, "B T"],
    *,
    reduction: Reduction = "mean",
) -> Float[Tensor, ""]:
    """Return the cross-entropy over all places that have a target.

    Args:
        logits: of any floating dtype; the loss is computed in fp32.
        targets: ids below V, -100 at places that do not count.
        reduction: "mean" over places with a target, or their "sum": what parts of one
            batch add up to (0 for a part without targets), to be divided by the number
            of targets of all parts.

    Returns:
        A scalar in nats, fp32.

    Raises:
        ValueError: shapes that do not fit, or a mean over no target.
    """
    _check_shapes(logits, targets)
    if reduction not in get_args(Reduction):
        raise ValueError(
            f"reduction is {reduction!r}; expected one of "
            f"{', '.join(get_args(Reduction))}"
        )
    if reduction == "mean" and not (targets != IGNORE_INDEX).any():
        raise ValueError(
            f"none of the {targets.numel()} places has a target: all are {IGNORE_INDEX}"
        )
    return F.cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=IGNORE_INDEX,
        reduction=reduction,
    )


def batch_loss(
    model: LanguageModel | nn.Module, batch: Batch, precision: Precision = "fp32"
) -> Float[Tensor, ""]:
    """Return the summed loss of a batch, computed on the model's device.

    Args:
        model: as for `train`.
        batch: on any device.
        precision: what matrices are multiplied in: "fp32" is the dtype of the weights,
            "bf16" rounds what enters each product. The loss is in fp32.

    Returns:
        A scalar in nats, fp32.

    Raises:
        ValueError: bf16 on a device other than cpu and cuda.
    """
    device = device_of(model)
    one_document_per_row = batch.one_document_per_row
    batch = batch.to(device)
    with _autocast(device, precision):
        if one_document_per_row:  # the plain causal mask is enough, and faster
            logits = model(batch.ids)
        else:
            logits = model(
                batch.ids, positions=batch.positions, segments=batch.segments
            )
    return next_token_loss(logits, batch.targets, reduction="sum")


def token_losses(
    logits: Float[Tensor, "B T V"], targets: Int64[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Return the loss at each place, for example to plot it by position.

    Args:
        logits: of any floating dtype; the loss is computed in fp32.
        targets: ids below V, -100 at places that do not count.

    Returns:
        (B, T) nats, fp32; 0 where there is no target.

    Raises:
        ValueError: shapes that do not fit.
    """
    _check_shapes(logits, targets)
    losses = F.cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=IGNORE_INDEX,
        reduction="none",
    )
    return losses.view(targets.shape)  # (B, T)


def read_back(scalars: Sequence[Float[Tensor, ""]]) -> list[float]:
    """Return the numbers in some scalars; an accelerator is waited for once."""
    return cast(list[float], torch.stack(list(scalars)).tolist()) if scalars else []


def _autocast(
    device: torch.device, precision: Precision
) -> AbstractContextManager[object]:
    if precision == "fp32":
        return nullcontext()
    if device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"precision is {precision} on device {device.type}; expected fp32, or a "
            "model on cpu or cuda"
        )
    return torch.autocast(device.type, torch.bfloat16)


def _check_shapes(logits: Tensor, targets: Tensor) -> None:
    if logits.ndim != 3 or targets.shape != logits.shape[:2]:
        shapes = (
            f"logits have shape {tuple(logits.shape)} and targets "
            f"{tuple(targets.shape)}"
        )
        raise ValueError(
            f"{shapes}; expected (batch, tokens, vocabulary) and (batch, tokens)"
        )
