"""Cross-entropy of the next token: what a model pays, in nats, for each token that
comes.

    loss[b, t] = -ln softmax(logits[b, t])[targets[b, t]]

Targets are those of `text.batches`: already shifted, so place t of `targets` holds the
token after place t of `ids`, and -100 where there is nothing to predict. A model that
knows nothing pays ln V.
"""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from happyllm_support.text.shards.packing import IGNORE_INDEX

Reduction = Literal["mean", "sum"]


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


def _check_shapes(logits: Tensor, targets: Tensor) -> None:
    if logits.ndim != 3 or targets.shape != logits.shape[:2]:
        shapes = (
            f"logits have shape {tuple(logits.shape)} and targets "
            f"{tuple(targets.shape)}"
        )
        raise ValueError(
            f"{shapes}; expected (batch, tokens, vocabulary) and (batch, tokens)"
        )
