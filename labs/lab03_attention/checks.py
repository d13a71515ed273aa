"""What lab 03 asks of each function.

A check stops at the first stage that fails, so that whoever has made two mistakes is
told one of them by name, and not neither of them.
"""

from __future__ import annotations

import math

import torch

from happyllm_support.grading.compare import expect, expect_close, expect_equal
from happyllm_support.grading.labs import Lab
from happyllm_support.grading.remote import Remote

from . import reference
from .bans import FUSED, FUSED_OPERATORS, SOFTMAX
from .by_hand import extreme_blocks, random, some_blocks, some_mask
from .expectations import (
    right_beside_hidden_keys,
    right_groups,
    right_mask,
    right_softmax,
    right_steps,
    right_with_huge_scores,
    right_with_masks,
    right_without_mask,
)

lab = Lab("Attention", minutes=90)

# headings of the chapter
STABLE = "A softmax in one pass"
SCALE = "Why $\\sqrt{D}$, and of what"
BROKEN = "How masks break"
BLIND = "Rows that see nothing"


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
    good &= right_softmax(softmax(square), square, -1, "the softmax of a (4, 4) array")
    good &= right_softmax(softmax(box), box, -1, "the softmax along the last axis")
    good &= right_softmax(softmax(box, 0), box, 0, "the softmax along dim=0")
    good &= right_softmax(softmax(box, dim=1), box, 1, "the softmax along dim=1")
    if not good:
        return
    small = torch.tensor([[0.5, -1.0, 2.0]])
    spread, wider = (
        torch.tensor([[-150.0, 0.0, 3.0]]),
        torch.tensor([[-1000.0, 0.0, 3.0]]),
    )
    good &= right_softmax(
        softmax(small + 1000), small + 1000, -1, "the softmax of scores near 1000"
    )
    good &= right_softmax(
        softmax(spread), spread, -1, "the softmax of scores from -150 to 3"
    )
    good &= right_softmax(
        softmax(wider), wider, -1, "the softmax of scores from -1000 to 3"
    )
    if not good:
        return
    good &= right_softmax(
        softmax(small - 1000), small - 1000, -1, "the softmax of scores near -1000"
    )
    rows = torch.cat([small + 1000, small - 1000])
    good &= right_softmax(
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
    right_softmax(
        softmax(hidden), hidden, -1, "the softmax of a row with excluded places"
    )


@lab.check(
    points=2,
    section="One rule for all masks",
    hints=(
        "Compare every query with every key: put the queries along one axis, the keys "
        "along another, and broadcast.",
        "q_positions[:, :, None] is (B, T, 1), k_positions[:, None, :] is (B, 1, S); "
        "comparing them gives (B, T, S).",
        "Two conditions, joined by &: key position <= query position, and the same "
        "segment. Padding needs no third; it is segment 0.",
        "Without segments, (k_positions[:, None, :] <= q_positions[:, :, None])[:, "
        "None]; with them, & (k_segments[:, None, :] == q_segments[:, :, None]) "
        "before the [:, None].",
    ),
    solution=("happyllm_support.model.masks:AttentionMask.allowed",),
)
def mask_from_positions(mask_from_positions: Remote) -> None:
    """One document; new tokens after a cache; two documents in a row; padding."""
    straight = torch.arange(4).expand(2, 4).contiguous()
    past = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]])
    good = right_mask(mask_from_positions, "one document", straight, straight)
    good &= right_mask(
        mask_from_positions,
        "two queries, six keys",
        torch.tensor([[4, 5], [2, 3]]),
        past,
    )
    good &= right_mask(
        mask_from_positions,
        "three queries, two keys",
        torch.tensor([[3, 0, 1]]),
        torch.tensor([[2, 0]]),
    )
    if not good:
        return
    places = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 0, 1]])
    documents = torch.tensor([[1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2]])
    good &= right_mask(
        mask_from_positions,
        "two documents in a row",
        places,
        places,
        documents,
        documents,
    )
    places = torch.tensor([[0, 0, 0, 1, 2], [0, 1, 2, 0, 1]])  # of padding, any
    padded = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 1, 1]])
    good &= right_mask(
        mask_from_positions, "padding on the left", places, places, padded, padded
    )
    new, one = torch.tensor([[3, 4], [2, 0]]), torch.tensor([[1, 1], [1, 0]])
    good &= right_mask(
        mask_from_positions,
        "new tokens after a padded cache",
        new,
        torch.cat([places, new], dim=1),
        one,
        torch.cat([padded, one], dim=1),
    )
    if good:
        got = mask_from_positions(straight[:1, :3], straight[:1, :3])
        expect_equal(
            got,
            torch.ones(3, 3).tril().bool()[None, None],
            "the mask of a document of three tokens",
        )


@lab.check(
    points=3,
    needs=("softmax",),
    section="For all places at once",
    hints=(
        "Four lines: scores from q and the transposed k, the scale, the mask, then "
        "the softmax times the values.",
        "The transpose is that of the last two axes only: k.transpose(-2, -1). The D "
        "of the scale is q.shape[-1].",
        "A hidden score becomes -infinity before the softmax. -1e9 is a number like "
        "any other: a real score may be lower.",
        "scores = q @ k.transpose(-2, -1) * scale; with a mask, scores = "
        "scores.masked_fill(~mask, -math.inf); and scores.softmax(dim=-1) @ v.",
    ),
    solution=(
        "happyllm_support.model.attention:attention_weights",
        "happyllm_support.model.attention:naive_attention",
    ),
    no_operators=FUSED_OPERATORS,
    no_functions=FUSED,
)
def sdpa(sdpa: Remote) -> None:
    """Without a mask; with one; with huge scores; with a key that nobody sees, forward
    and backward.
    """
    _ = (
        right_without_mask(sdpa)
        and right_with_masks(sdpa)
        and right_with_huge_scores(sdpa)
        and right_beside_hidden_keys(sdpa)
    )


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
    solution=("happyllm_support.model.attention:Attention.project",),
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
    row.
    """
    q = random(2, 6, 3, 4, seed=60)
    good = True
    for n_kv_head in (3, 2, 1, 6):
        k, v = (random(2, n_kv_head, 5, 4, seed=61 + i + n_kv_head) for i in range(2))
        good &= right_groups(grouped_attention, q, k, v, None, "")
    if not good:
        return
    for n_kv_head in (2, 3):
        k, v = (random(2, n_kv_head, 5, 4, seed=68 + i + n_kv_head) for i in range(2))
        mask = some_mask(2, 1, 3, 5, seed=72)
        right_groups(grouped_attention, q, k, v, mask, " with a mask")


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
    if not right_steps(attend_online, q, blocks[:1], "a single block, "):
        return
    if not right_steps(attend_online, q, blocks, "moderate scores, "):
        return
    if not right_steps(attend_online, q, blocks[::-1], "falling scores, "):
        return
    for what, queries, wide in extreme_blocks():
        right_steps(attend_online, queries, wide, what)
