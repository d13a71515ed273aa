"""What lab 03 asks of each function.

A check stops at the first stage that fails, so that whoever has made two mistakes is
told one of them by name, and not neither of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from happyllm_support.grading.compare import expect, expect_close, expect_equal, kind_of
from happyllm_support.grading.judge import raised_line
from happyllm_support.grading.labs import Lab
from happyllm_support.grading.remote import LearnerRaised, Remote
from happyllm_support.grading.wire import Stream

from . import reference
from .bans import FUSED, FUSED_OPERATORS, SOFTMAX
from .by_hand import (
    Blocks,
    extreme_blocks,
    groups_by_loops,
    mask_by_loops,
    random,
    softmax_by_loops,
    some_blocks,
    some_mask,
    whole_row,
)

lab = Lab("Attention", minutes=90)

# headings of the chapter
STABLE = "A softmax in one pass"
SCALE = "Why $\\sqrt{D}$, and of what"
BROKEN = "How masks break"
BLIND = "Rows that may see nothing"


@lab.check(
    points=1,
    section="An average is a matrix",
    hints=(
        "e^(x - m) / sum of e^(x - m): any number m may be subtracted, it cancels. "
        "Which m keeps the powers in range?",
        "Subtract the largest score of each row. Then the largest power is 1 and the "
        "sum at least 1.",
        "keepdim=True leaves an axis of size 1 where the maximum (or the sum) was "
        "taken, so that it lines up again.",
        "powers = (scores - scores.amax(dim, keepdim=True)).exp(), and divide by "
        "powers.sum(dim, keepdim=True).",
    ),
    solution=("happyllm_support.model.online_attention:online_softmax_sum",),
    no_operators=SOFTMAX,
)
def softmax(softmax: Remote) -> None:
    """Moderate scores along every axis, then huge ones, then excluded ones."""
    square, box = random(4, 4, seed=1), random(2, 3, 5, seed=2, dtype=torch.float64)
    good = expect_close(
        softmax(torch.tensor([0.0, math.log(3)])),
        torch.tensor([0.25, 0.75]),
        "softmax of [0, ln 3]",
    )
    good &= _right_softmax(softmax(square), square, -1, "the softmax of a (4, 4) array")
    good &= _right_softmax(softmax(box), box, -1, "the softmax along the last axis")
    good &= _right_softmax(softmax(box, 0), box, 0, "the softmax along dim=0")
    good &= _right_softmax(softmax(box, dim=1), box, 1, "the softmax along dim=1")
    if not good:
        return
    small = torch.tensor([[0.5, -1.0, 2.0]])
    spread, wider = (
        torch.tensor([[-150.0, 0.0, 3.0]]),
        torch.tensor([[-1000.0, 0.0, 3.0]]),
    )
    good &= _right_softmax(
        softmax(small + 1000), small + 1000, -1, "the softmax of scores near 1000"
    )
    good &= _right_softmax(
        softmax(spread), spread, -1, "the softmax of scores from -150 to 3"
    )
    good &= _right_softmax(
        softmax(wider), wider, -1, "the softmax of scores from -1000 to 3"
    )
    if not good:
        return
    good &= _right_softmax(
        softmax(small - 1000), small - 1000, -1, "the softmax of scores near -1000"
    )
    rows = torch.cat([small + 1000, small - 1000])
    good &= _right_softmax(
        softmax(rows), rows, -1, "the softmax of a row near 1000 and a row near -1000"
    )
    if not good:
        return
    cotangent = random(2, 3, 5, seed=3, dtype=torch.float64)
    _, gradients, _ = softmax.gradients(box, cotangent=cotangent)
    leaf = box.clone().requires_grad_()
    reference.softmax(leaf).backward(cotangent)
    if not expect(gradients[0] is not None, "no gradient reaches the scores"):
        return
    if not expect_close(
        gradients[0], leaf.grad, "the gradient of the scores", tolerance=1e-6
    ):
        return
    hidden = torch.tensor([[1.0, -math.inf, 2.0], [-math.inf, -math.inf, 5.0]])
    _right_softmax(
        softmax(hidden), hidden, -1, "the softmax of a row with excluded places"
    )


def _right_softmax(got: Any, scores: Tensor, dim: int, what: str) -> bool:
    tolerance = 1e-8 if scores.dtype == torch.float64 else 1e-5
    return expect_close(
        got, reference.softmax(scores, dim), what, tolerance=tolerance
    ) and expect_close(
        got,
        softmax_by_loops(scores, dim),
        f"{what}, against a loop,",
        tolerance=tolerance,
    )


@lab.check(
    points=2,
    section="One rule for all masks",
    hints=(
        "Compare every query with every key: put the queries along one axis, the keys "
        "along another, and broadcast.",
        "q_positions[:, :, None] is (B, T, 1), k_positions[:, None, :] is (B, 1, S); "
        "comparing them gives (B, T, S).",
        "Three conditions, joined by &: key position <= query position, same segment, "
        "segment of the query > 0.",
        "With places = k_positions[:, None, :] <= q_positions[:, :, None], and "
        "segments likewise, for which == stands: (places & (k_segments[:, None, :] "
        "== q_segments[:, :, None]) & (q_segments[:, :, None] > 0))[:, None].",
    ),
    solution=("happyllm_support.model.masks:AttentionMask.allowed",),
)
def mask_from_positions(mask_from_positions: Remote) -> None:
    """One document; new tokens after a cache; two documents in a row; padding."""
    straight = torch.arange(4).expand(2, 4).contiguous()
    past = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]])
    good = _right_mask(mask_from_positions, "one document", straight, straight)
    good &= _right_mask(
        mask_from_positions,
        "two queries, six keys",
        torch.tensor([[4, 5], [2, 3]]),
        past,
    )
    good &= _right_mask(
        mask_from_positions,
        "three queries, two keys",
        torch.tensor([[3, 0, 1]]),
        torch.tensor([[2, 1]]),
    )
    if not good:
        return
    places = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 0, 1]])
    documents = torch.tensor([[1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2]])
    good &= _right_mask(
        mask_from_positions,
        "two documents in a row",
        places,
        places,
        documents,
        documents,
    )
    places = torch.tensor([[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]])
    padded = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    good &= _right_mask(
        mask_from_positions, "padding on the left", places, places, padded, padded
    )
    new, one = torch.tensor([[3, 4], [5, 0]]), torch.tensor([[1, 1], [1, 0]])
    good &= _right_mask(
        mask_from_positions, "new tokens after a padded cache", new, places, one, padded
    )
    if good:
        got = mask_from_positions(straight[:1, :3], straight[:1, :3])
        expect_equal(
            got,
            torch.ones(3, 3).tril().bool()[None, None],
            "the mask of a document of three tokens",
        )


def _right_mask(mask_from_positions: Remote, what: str, *tokens: Tensor) -> bool:
    got = mask_from_positions(*tokens)
    what = f"the mask ({what})"
    return expect_equal(
        got, reference.mask_from_positions(*tokens), what
    ) and expect_equal(got, mask_by_loops(*tokens), f"{what}, pair by pair,")


@lab.check(
    points=3,
    needs=("softmax",),
    section="For all places at once",
    hints=(
        "Four lines: scores from q and the transposed k, the scale, the mask, then "
        "the softmax times the values.",
        "The transpose is that of the last two axes only: k.transpose(-2, -1). The D "
        "of the scale is q.shape[-1].",
        "A hidden score becomes -infinity before the softmax: masked_fill(~mask, "
        "...). A row of nothing else is 0 / 0.",
        "Fill with torch.finfo(scores.dtype).min, which stays finite, and set the "
        "weights of such rows to 0 after the softmax: multiply them by "
        "mask.any(dim=-1, keepdim=True).",
    ),
    solution=(
        "happyllm_support.model.attention:attention_weights",
        "happyllm_support.model.attention:naive_attention",
    ),
    no_operators=FUSED_OPERATORS,
    no_functions=FUSED,
)
def sdpa(sdpa: Remote) -> None:
    """Without a mask; with one; with huge scores; with queries that see nothing; the
    same in the gradient.
    """
    if not (_unmasked(sdpa) and _masked(sdpa) and _huge_scores(sdpa)):
        return
    q, k, v = (
        random(2, 2, length, 4, seed=30 + i) for i, length in enumerate((4, 6, 6))
    )
    mask = some_mask(2, 1, 4, 6, seed=33)
    mask[0, 0, 1] = mask[1, 0, :2] = mask[0, 0, :, 5] = (
        False  # and a key that nobody sees
    )
    got = sdpa(q, k, v, mask)
    blind = (~mask.any(dim=-1)).expand(2, 2, 4)
    if not expect_close(
        got, reference.sdpa(q, k, v, mask), "the output where some queries see nothing"
    ):
        return
    expect(
        not bool(got[blind].any()),
        "a query that sees nothing gets something other than zeros",
    )
    cotangent = random(2, 2, 4, 4, seed=34)
    output, gradients, _ = sdpa.gradients(q, k, v, mask, cotangent=cotangent)
    if not expect_close(output, got, "the output when gradients are wanted"):
        return
    inputs = [x.clone().requires_grad_() for x in (q, k, v)]
    reference.sdpa(*inputs, mask).backward(cotangent)
    for name, gradient, leaf in zip("qkv", gradients, inputs, strict=False):
        if expect(gradient is not None, f"no gradient reaches {name}"):
            expect_close(
                gradient,
                leaf.grad,
                f"the gradient of {name} where some queries see nothing",
                tolerance=1e-4,
            )


def _unmasked(sdpa: Remote) -> bool:
    """The scale, the transpose, the axis of the softmax; S = D first, so that a
    forgotten transpose runs.
    """
    q, k, v = (
        random(2, 3, length, 4, seed=10 + i) for i, length in enumerate((5, 4, 4))
    )
    good = _right_attention(sdpa(q, k, v), q, k, v, what="the output without a mask")
    q, k, v = (
        random(2, 3, length, 4, seed=13 + i, dtype=torch.float64)
        for i, length in enumerate((5, 7, 7))
    )
    good &= _right_attention(
        sdpa(q, k, v), q, k, v, what="the output for 5 queries and 7 keys"
    )
    if not good or not _right_attention(
        sdpa(q, k, v, None, 0.3), q, k, v, scale=0.3, what="the output with scale=0.3"
    ):
        return False
    return _right_attention(
        sdpa(q, k, v, None, 0.0),
        q,
        k,
        v,
        scale=0.0,
        what="the output with scale=0.0, the mean,",
    )


def _masked(sdpa: Remote) -> bool:
    q, k, v = (random(2, 3, 5, 4, seed=16 + i) for i in range(3))
    mask = some_mask(5, 5, seed=19)
    good = _right_attention(
        sdpa(q, k, v, mask),
        q,
        k,
        v,
        mask,
        what="the output with a mask of shape (T, S)",
    )
    k, v = random(2, 3, 7, 4, seed=20), random(2, 3, 7, 4, seed=21)
    mask = some_mask(2, 1, 5, 7, seed=22)
    good &= _right_attention(
        sdpa(q, k, v, mask), q, k, v, mask, what="the output with a mask per row"
    )
    mask = some_mask(2, 3, 5, 7, seed=23)
    return good and _right_attention(
        sdpa(q, k, v, mask), q, k, v, mask, what="the output with a mask per head"
    )


def _huge_scores(sdpa: Remote) -> bool:
    """All of them high; then a mask, and large scores of either sign."""
    q, k = (
        100 + random(1, 2, 6, 4, seed=27 + i, dtype=torch.float64) for i in range(2)
    )
    v = random(1, 2, 6, 4, seed=29, dtype=torch.float64)
    if not _right_attention(
        sdpa(q, k, v), q, k, v, what="the output with scores near 20,000"
    ):
        return False
    good, mask = True, torch.ones(6, 6).tril().bool()
    for what, size in (("thousands", 30.0), ("tens of thousands", 300.0)):
        q, k = (
            random(1, 2, 6, 4, seed=24 + i, size=size, dtype=torch.float64)
            for i in range(2)
        )
        v = random(1, 2, 6, 4, seed=26, dtype=torch.float64)
        good &= _right_attention(
            sdpa(q, k, v, mask),
            q,
            k,
            v,
            mask,
            what=f"the output with scores in the {what}",
        )
    return good


def _right_attention(
    got: Any,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float | None = None,
    what: str,
) -> bool:
    if not expect_close(got, reference.sdpa(q, k, v, mask, scale), what):
        return False
    fused = F.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), mask, scale=scale
    )
    return expect_close(got, fused.to(q.dtype), f"{what}, against PyTorch's,")


@lab.check(
    points=1,
    section="Several heads",
    hints=(
        "Two steps: cut the last axis in two, then move an axis. A reshape alone "
        "cannot do it.",
        "Numbers that lie side by side in C belong to one head, so the last axis "
        "becomes (n_head, C / n_head).",
        "x.view(B, T, n_head, C // n_head), and then the axes 1 and 2 exchanged.",
        "B, T, C = x.shape, and then x.view(B, T, n_head, C // n_head).transpose(1, "
        "2).",
    ),
    solution=("happyllm_support.model.attention:Attention._split",),
)
def split_heads(split_heads: Remote) -> None:
    """A worked example, random numbers, and both extremes: one head and C heads."""
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]])
    example = torch.tensor([[[[1.0, 2.0], [5.0, 6.0]], [[3.0, 4.0], [7.0, 8.0]]]])
    expect_close(split_heads(x, 2), example, "split_heads of two tokens for two heads")
    for n_head, shape in ((3, (2, 5, 12)), (1, (2, 3, 4)), (4, (3, 2, 4))):
        x = random(*shape, seed=40 + n_head)
        got = split_heads(x, n_head)
        if (
            expect_close(
                got, reference.split_heads(x, n_head), f"split_heads for {n_head} heads"
            )
            and n_head == 3
        ):
            expect_close(got[:, 1], x[:, :, 4:8], "the numbers of head 1")


@lab.check(
    points=1,
    section="Several heads",
    hints=(
        "The steps of split_heads, backwards: first exchange the axes, then make two "
        "axes one.",
        "The numbers of one token must lie side by side before H and D become one "
        "axis: (B, T, H, D), then (B, T, C).",
        "After a transpose the memory is no longer in order: view refuses, reshape "
        "and flatten make a copy.",
        "x.transpose(1, 2) is (B, T, H, D), and .flatten(2) makes one of its last two "
        "axes.",
    ),
    solution=("happyllm_support.model.attention:Attention.forward",),
)
def join_heads(join_heads: Remote) -> None:
    """A worked example, and what split_heads has split comes back."""
    x = torch.tensor([[[[1.0, 2.0], [5.0, 6.0]], [[3.0, 4.0], [7.0, 8.0]]]])
    example = torch.tensor([[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]])
    expect_close(join_heads(x), example, "join_heads of two tokens and two heads")
    for n_head, shape in ((3, (2, 5, 12)), (1, (2, 3, 4)), (4, (3, 2, 4))):
        x = random(*shape, seed=50 + n_head)
        heads = torch.stack(x.split(shape[2] // n_head, dim=2), dim=1)
        got = join_heads(heads)
        if expect_close(
            got, reference.join_heads(heads), f"join_heads of {n_head} heads"
        ):
            expect_close(got, x, "join_heads of what was split before")


@lab.check(
    points=2,
    needs=("sdpa",),
    section="Fewer keys and values than queries",
    hints=(
        "Give every query head keys and values of its own; then it is the attention "
        "that you have written.",
        "Each key head must come H / K times in a row: 0, 0, 1, 1 and not 0, 1, 0, 1.",
        "x.repeat_interleave(H // K, dim=1) does that, x.repeat(1, H // K, 1, 1) does "
        "the other.",
        "With size = q.shape[1] // k.shape[1], both k and v become their "
        ".repeat_interleave(size, dim=1); then sdpa(q, k, v, mask).",
    ),
    solution=(
        "happyllm_support.model.attention:repeat_heads",
        "happyllm_support.model.attention:naive_attention",
    ),
    no_operators=FUSED_OPERATORS,
    no_functions=FUSED,
)
def grouped_attention(grouped_attention: Remote) -> None:
    """Six query heads on three and on two key heads, on one and on six; with a mask per
    row; blind queries.
    """
    q = random(2, 6, 3, 4, seed=60)
    good = True
    for n_kv_head in (3, 2, 1, 6):
        k, v = (random(2, n_kv_head, 5, 4, seed=61 + i + n_kv_head) for i in range(2))
        good &= _right_groups(grouped_attention, q, k, v, None, "")
    if not good:
        return
    for n_kv_head in (2, 3):
        k, v = (random(2, n_kv_head, 5, 4, seed=68 + i + n_kv_head) for i in range(2))
        good &= _right_groups(
            grouped_attention, q, k, v, some_mask(2, 1, 3, 5, seed=72), " with a mask"
        )
    if good:
        mask = some_mask(2, 1, 3, 5, seed=73)
        mask[0, 0, 1] = mask[1, 0, 0] = False
        _right_groups(
            grouped_attention, q, k, v, mask, " where some queries see nothing"
        )


def _right_groups(
    grouped_attention: Remote,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    when: str,
) -> bool:
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


@lab.check(
    points=3,
    section=STABLE,
    hints=(
        "Keep top (T, 1), total (T, 1) and sums (T, D). A block changes all three; "
        "sums / total is the answer so far.",
        "What has been summed is relative to the old top. When top grows it is too "
        "large by e^(new_top - top).",
        "shrink = exp(top - new_top) multiplies total and sums before the block's "
        "own powers, exp(scores - new_top), are added.",
        "Start with top at -infinity: then the first shrink is e^-infinity = 0. "
        "Every query has a top of its own: amax(dim=-1, keepdim=True). Yield a "
        "quotient, but go on with the sums themselves.",
    ),
    solution=(
        "happyllm_support.model.online_attention:online_softmax_sum",
        "happyllm_support.model.online_attention:_OnlineAttention.forward",
    ),
    no_operators=(*SOFTMAX, *FUSED_OPERATORS, "cat", "stack"),
    no_functions=FUSED,
)
def attend_online(attend_online: Remote) -> None:
    """Moderate scores in unequal blocks, then scores for which a maximum is needed, of
    each query and of all blocks.
    """
    q, blocks = some_blocks()
    if not _right_steps(attend_online, q, blocks[:1], "a single block, "):
        return
    if not _right_steps(attend_online, q, blocks, "moderate scores, "):
        return
    if not _right_steps(attend_online, q, blocks[::-1], "falling scores, "):
        return
    for what, queries, wide in extreme_blocks():
        _right_steps(attend_online, queries, wide, what)


def _right_steps(attend_online: Remote, q: Tensor, blocks: Blocks, what: str) -> bool:
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
