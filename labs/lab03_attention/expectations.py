"""What the checks of lab 03 expect, each time of two oracles: the package, and loops or
PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from happyllm_support.grading.compare import expect, expect_close, expect_equal, kind_of
from happyllm_support.grading.judge import raised_line
from happyllm_support.grading.remote import LearnerRaised, Remote
from happyllm_support.grading.wire import Stream

from . import reference
from .by_hand import (
    Blocks,
    groups_by_loops,
    mask_by_loops,
    random,
    softmax_by_loops,
    some_mask,
    whole_row,
)


def right_softmax(got: Any, scores: Tensor, dim: int, what: str) -> bool:
    """Weights along one axis."""
    tolerance = 1e-8 if scores.dtype == torch.float64 else 1e-5
    return expect_close(
        got, reference.softmax(scores, dim), what, tolerance=tolerance
    ) and expect_close(
        got,
        softmax_by_loops(scores, dim),
        f"{what}, against a loop,",
        tolerance=tolerance,
    )


def right_mask(mask_from_positions: Remote, what: str, *tokens: Tensor) -> bool:
    """The mask of these positions, and segments if there are any."""
    got = mask_from_positions(*tokens)
    what = f"the mask ({what})"
    return expect_equal(
        got, reference.mask_from_positions(*tokens), what
    ) and expect_equal(got, mask_by_loops(*tokens), f"{what}, pair by pair,")


def right_without_mask(sdpa: Remote) -> bool:
    """The scale, the transpose, the axis of the softmax; S = D first, so that a
    forgotten transpose runs.
    """
    q, k, v = (
        random(2, 3, length, 4, seed=10 + i) for i, length in enumerate((5, 4, 4))
    )
    good = right_attention(sdpa(q, k, v), q, k, v, what="the output without a mask")
    q, k, v = (
        random(2, 3, length, 4, seed=13 + i, dtype=torch.float64)
        for i, length in enumerate((5, 7, 7))
    )
    good &= right_attention(
        sdpa(q, k, v), q, k, v, what="the output for 5 queries and 7 keys"
    )
    if not good or not right_attention(
        sdpa(q, k, v, None, 0.3), q, k, v, scale=0.3, what="the output with scale=0.3"
    ):
        return False
    return right_attention(
        sdpa(q, k, v, None, 0.0),
        q,
        k,
        v,
        scale=0.0,
        what="the output with scale=0.0, the mean,",
    )


def right_with_masks(sdpa: Remote) -> bool:
    """Masks of all shapes that broadcast."""
    q, k, v = (random(2, 3, 5, 4, seed=16 + i) for i in range(3))
    mask = some_mask(5, 5, seed=19)
    good = right_attention(
        sdpa(q, k, v, mask),
        q,
        k,
        v,
        mask,
        what="the output with a mask of shape (T, S)",
    )
    k, v = random(2, 3, 7, 4, seed=20), random(2, 3, 7, 4, seed=21)
    mask = some_mask(2, 1, 5, 7, seed=22)
    good &= right_attention(
        sdpa(q, k, v, mask), q, k, v, mask, what="the output with a mask per row"
    )
    mask = some_mask(2, 3, 5, 7, seed=23)
    return good and right_attention(
        sdpa(q, k, v, mask), q, k, v, mask, what="the output with a mask per head"
    )


def right_with_huge_scores(sdpa: Remote) -> bool:
    """All of them high; then a mask, and large scores of either sign."""
    q, k = (
        100 + random(1, 2, 6, 4, seed=27 + i, dtype=torch.float64) for i in range(2)
    )
    v = random(1, 2, 6, 4, seed=29, dtype=torch.float64)
    if not right_attention(
        sdpa(q, k, v), q, k, v, what="the output with scores near 20,000"
    ):
        return False
    good, mask = True, torch.ones(6, 6).tril().bool()
    sizes = (("thousands", 30.0), ("tens of thousands", 300.0), ("billions", 1e5))
    for what, size in sizes:
        q, k = (
            random(1, 2, 6, 4, seed=24 + i, size=size, dtype=torch.float64)
            for i in range(2)
        )
        v = random(1, 2, 6, 4, seed=26, dtype=torch.float64)
        good &= right_attention(
            sdpa(q, k, v, mask),
            q,
            k,
            v,
            mask,
            what=f"the output with scores in the {what}",
        )
    return good


def right_beside_hidden_keys(sdpa: Remote) -> bool:
    """As if a key that no query sees did not exist, however large it and its value are,
    forward and backward.
    """
    q, k, v = (
        random(2, 2, length, 4, seed=30 + i) for i, length in enumerate((4, 6, 6))
    )
    mask = some_mask(2, 1, 4, 6, seed=33)
    mask[0, 0, :, 5] = False
    k[0, :, 5] *= 1000
    v[0, :, 5] = 1e20
    what = "the output beside a large key that no query sees"
    if not right_attention(sdpa(q, k, v, mask), q, k, v, mask, what=what):
        return False
    cotangent = random(2, 2, 4, 4, seed=34)
    output, found, _ = sdpa.gradients(q, k, v, mask, cotangent=cotangent)
    gradients = found[:3]  # the mask has none
    inputs = [x.clone().requires_grad_() for x in (q, k, v)]
    want = reference.sdpa(*inputs, mask)
    want.backward(cotangent)
    good = expect_close(output, want.detach(), "the output when gradients are wanted")
    for name, gradient, leaf in zip("qkv", gradients, inputs, strict=True):
        what = f"the gradient of {name} beside a large key that no query sees"
        good &= expect(gradient is not None, f"no gradient reaches {name}") and (
            expect_close(gradient, leaf.grad, what, tolerance=1e-4)
        )
    return good and expect(
        not any(bool(gradient[0, :, 5].any()) for gradient in gradients[1:]),
        "a gradient reaches a key or value that no query sees",
    )


def right_attention(
    got: Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float | None = None,
    what: str,
) -> bool:
    """One output of `sdpa`."""
    if not expect_close(got, reference.sdpa(q, k, v, mask, scale), what):
        return False
    fused = F.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), mask, scale=scale
    )
    return expect_close(got, fused.to(q.dtype), f"{what}, against PyTorch's,")


def right_groups(
    grouped_attention: Remote,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    when: str,
) -> bool:
    """One output of `grouped_attention`."""
    heads = (
        f"{q.shape[1]} query heads and {k.shape[1]} key "
        f"head{'s' if k.shape[1] > 1 else ''}"
    )
    try:
        got = grouped_attention(q, k, v, *([] if mask is None else [mask]))
    except LearnerRaised as raised:
        if raised.type_name == "RuntimeError":  # sizes that do not fit, most likely
            expect(False, f"given {heads}{when}, {raised_line(raised)}")
        raise
    what = f"the output of {heads}{when}"
    return expect_close(
        got, reference.grouped_attention(q, k, v, mask), what
    ) and expect_close(
        got, groups_by_loops(q, k, v, mask), f"{what}, against head by head,"
    )


def right_steps(attend_online: Remote, q: Tensor, blocks: Blocks, what: str) -> bool:
    """An answer after each block, and before the next is taken."""
    answers = attend_online(q, Stream(list(blocks)))
    if not isinstance(answers, Iterator):
        wanted = "expected is a generator, which yields an answer after each block"
        return expect(False, f"the result is {kind_of(answers)}; {wanted}")
    good = True
    for number, want in enumerate(reference.attend_online(q, iter(blocks)), start=1):
        got = next(answers, None)
        if got is None:
            return expect(
                False,
                f"it ends after {number - 1} answers; there were {len(blocks)} blocks",
            )
        good &= expect_close(got, want, f"{what}the answer after block {number}")
        taken = attend_online.taken()[-1]
        early = (
            f"it has taken {taken} blocks when it gives answer {number}; the next is "
            "taken after the answer"
        )
        if not expect(taken == number, early):
            return False
    good &= expect(
        next(answers, None) is None, "it gives more answers than there were blocks"
    )
    return good and expect_close(
        got, whole_row(q, blocks), f"{what}the last answer, against the whole row,"
    )
