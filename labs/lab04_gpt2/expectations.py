"""What the checks of lab 04 expect of many tensors at once."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from happyllm_support.grading.compare import expect, expect_close, kind_of, right_so_far
from happyllm_support.grading.judge import raised_line
from happyllm_support.grading.remote import LearnerRaised, Remote

from .by_hand import SIZES, Shapes, Weights, normal, seeded, table_gradient


def expect_names(got: Any, want: Any, what: str) -> bool:
    """Expect a dict with exactly these names."""
    if not expect(
        isinstance(got, dict), f"{what} is {kind_of(got)}; expected is a dict"
    ):
        return False
    missing, extra = (
        [name for name in want if name not in got],
        [str(name) for name in got if name not in want],
    )
    return expect(not missing, f"{what} lacks {_some(missing)}") and expect(
        not extra, f"{what} holds {_some(extra)}, which does not belong there"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )


def expect_drawn(values: Any, shapes: Shapes, n_layer: int, std: float) -> bool:
    """Expect the right kind of numbers under every name."""
    if not expect_names(values, shapes, "the result"):
        return False
    parts: list[Tensor] = []
    for name, shape in shapes.items():
        value = values[name]
        fits = (
            isinstance(value, Tensor)
            and tuple(value.shape) == shape
            and value.dtype == torch.float32
        )
        if not expect(
            fits,
            f"{name} is {kind_of(value)}; expected is a float32 tensor of shape "
            f"{shape}",
        ):
            return False
        if len(shape) == 1:
            constant = (
                torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
            )
            expect_close(value, constant, name, trivial=True)
            continue
        writer = name.endswith(("o_proj.weight", "down_proj.weight"))
        want = (
            std / math.sqrt(2 * n_layer)
            if writer
            else std / 2
            if name == "pos_emb.weight"
            else std
        )
        expect_close(
            value.std().item(),
            want,
            f"the standard deviation of {name}",
            tolerance=0.08,
        )
        limit = 5.5 * want / math.sqrt(value.numel())
        expect(
            abs(value.mean().item()) < limit,
            f"the mean of {name} is {value.mean():.4g}, too far from 0",
        )
        parts.append(value.flatten() / want)
    drawn = torch.cat(parts).abs()
    for limit, low, high, normally in (
        (2, 0.035, 0.056, "4.6"),
        (3, 0.001, 0.005, "0.27"),
    ):
        share = (drawn > limit).double().mean().item()
        beyond = (
            f"{100 * share:.2f} % of all weights lie beyond {limit} standard deviations"
        )
        expect(
            low < share < high, f"{beyond}; of normal ones, not cut off, {normally} %"
        )
    return right_so_far()


def expect_order(initialise: Remote) -> bool:
    """Expect tensors to be drawn one after the other in the order of `shapes`."""
    q, k, up = (
        "blocks.0.attn.q_proj.weight",
        "blocks.0.attn.k_proj.weight",
        "blocks.0.mlp.up_proj.weight",
    )
    orders = [[q], [q, up, k], [k, q, up]]
    alone, one, other = (
        initialise(dict.fromkeys(order, (20, 20)), 8, seeded(4)) for order in orders
    )
    for drawn, order in zip((alone, one, other), orders, strict=True):
        if not expect_names(drawn, order, "the result for square matrices"):
            return False
    same = torch.equal(alone[q], one[q]) and all(
        torch.equal(one[a], other[b]) for a, b in zip(orders[1], orders[2], strict=True)
    )
    return expect(
        same,
        "the same seed does not always give the first name in shapes the same "
        "numbers: draw in the order of shapes",
    )


def expect_one_table(model: Remote, ids: Tensor, weights: Weights, when: str) -> bool:
    """Expect head and embedding to be one parameter: one gradient, the sum of both
    uses.

    Attention is silent in this. The gradient of a key's bias is zero but for rounding,
    which differs from one right program to the next, and the answers to a check should
    not.
    """
    silent = {
        name: torch.zeros_like(value)
        for name, value in weights.items()
        if "o_proj.weight" in name
    }
    model.load_parameters(silent)
    cotangent = normal(*ids.shape, SIZES["vocab_size"], seed=9)
    _, _, grads = model.gradients(ids, cotangent=cotangent)
    model.load_parameters({name: weights[name] for name in silent})
    found = [name for name in ("tok_emb.weight", "lm_head.weight") if name in grads]
    two = (
        f"{when}, tok_emb.weight and lm_head.weight are two parameters, each with a "
        "gradient of its own"
    )
    if not expect(len(found) < 2, two):
        return False
    if not expect(
        bool(found) and grads[found[0]] is not None,
        f"{when}, no gradient reaches the table of embeddings",
    ):
        return False
    want = table_gradient(ids, {**weights, **silent}, cotangent)
    return expect_close(
        grads[found[0]], want, f"{when}, the gradient of the table", tolerance=1e-4
    )


def expect_tensors(got: Any, want: Weights, what: str) -> bool:
    """Expect exactly these tensors under exactly these names."""
    return expect_names(got, want, what) and all(
        [
            expect_close(got[name], value, f"{name} of {what}")
            for name, value in want.items()
        ]
    )


def translated(load_conv1d: Remote, theirs: Weights, n_layer: int, what: str) -> Any:
    """What a checkpoint becomes that is whole; None when it is refused, which has been
    noted.
    """
    try:
        return load_conv1d(theirs, n_layer)
    except LearnerRaised as raised:
        if raised.type_name == "NotYet":
            raise
        swallowed = "c_attn.bias" in raised.message
        why = (
            "; does a rule for h.0.attn.bias catch h.0.attn.c_attn.bias, too?"
            if swallowed
            else ""
        )
        expect(False, f"{what} is not understood: {raised_line(raised)}{why}")
    return None


def expect_refused(
    load_conv1d: Remote, theirs: Weights, n_layer: int, name: str, what: str
) -> bool:
    """Expect a ValueError that holds `name`."""
    try:
        load_conv1d(theirs, n_layer)
    except LearnerRaised as raised:
        if raised.type_name == "NotYet":
            raise
        kind = f"{what}: {raised_line(raised)}; a ValueError is asked for"
        return expect("ValueError" in raised.bases, kind) and expect(
            name in raised.message,
            f"{what}: the error ({raised.message}) does not name {name}",
        )
    return expect(
        False,
        f"{what} is accepted; it is to be refused with a ValueError that names it",
    )
