"""What the checks of lab 05 do with a learner's module: load it, look at its
parameters, its gradients, its angles.
"""

from __future__ import annotations

import cmath
from typing import Any

import torch
from torch import Tensor

from happyllm_support.grading.compare import expect, expect_close, kind_of
from happyllm_support.grading.remote import LearnerRaised, Remote

from . import reference
from .by_hand import frequencies_by_hand


def reached(gradient: Tensor | None, name: str) -> bool:
    """Whether there is a gradient."""
    what = (
        f"no gradient reaches {name}: it is not used, or detach, no_grad or .data "
        "cuts its way"
    )
    return expect(isinstance(gradient, Tensor), what)


def loaded(module: Remote, weights: dict[str, Tensor]) -> bool:
    """Load weights by name; what is missing or has another shape is the failure, in one
    line.
    """
    try:
        module.load_parameters(weights)
    except LearnerRaised as raised:
        if raised.type_name not in ("AttributeError", "ValueError"):
            raise
        return expect(
            False,
            f"{raised.message.partition(';')[0]}; the docstring lists the names and "
            "shapes",
        )
    return True


def gradients_of(
    model: Remote, ids: Tensor, cotangent: Tensor
) -> dict[str, Tensor] | None:
    """The gradients of all parameters; None, and a failure that says why, when a tensor
    was overwritten.
    """
    try:
        return model.gradients(ids, cotangent=cotangent)[2]
    except LearnerRaised as raised:
        if "inplace operation" not in raised.message:
            raise
        what = (
            "the backward pass fails: a tensor that it needs was changed in place, "
            "as by x += ...; write x = x + ..."
        )
        expect(False, what)
        return None


def expect_names(found: dict[str, Tensor], wanted: set[str]) -> bool:
    """Expect parameters of these names, and no others."""
    surplus, missing = sorted(set(found) - wanted), sorted(wanted - set(found))
    if surplus:
        biases = (
            "; LLaMA2 has no biases"
            if all(name.endswith("bias") for name in surplus)
            else ""
        )
        return expect(
            False,
            "it has parameters that it should not have: "
            f"{', '.join(surplus[:3])}{biases}",
        )
    if missing:
        return expect(
            False, f"it has no parameters of its own for {', '.join(missing[:3])}"
        )
    return expect(True, "")


def expect_angles(
    got: Any,
    positions: Tensor,
    head_dim: int,
    settings: dict[str, Any],
    *,
    tolerance: float,
) -> None:
    """Expect the cosines and sines of these positions."""
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        missing = "; is a return missing?" if got is None else ""
        expect(
            False,
            f"the result is {kind_of(got)}; expected is a pair, cosines and "
            f"sines{missing}",
        )
        return
    cos, sin = got
    want_cos, want_sin = reference.RotaryPositions(head_dim, **settings)(positions)
    expect_close(cos, want_cos, "cos", tolerance=tolerance)
    expect_close(sin, want_sin, "sin", tolerance=tolerance)
    angles = {"theta": 10_000.0, **settings}
    f = frequencies_by_hand(head_dim, angles.pop("theta"), **angles)
    turns = [
        [[cmath.exp(1j * p * w) for w in f] * 2 for p in row]
        for row in positions.tolist()
    ]
    want = torch.tensor(turns)[:, None]  # (B, 1, T, D) complex
    expect_close(cos, want.real.float().contiguous(), "cos", tolerance=tolerance)
    expect_close(sin, want.imag.float().contiguous(), "sin", tolerance=tolerance)
