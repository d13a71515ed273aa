"""Lab 03: attention, from the softmax to an attention that never holds a row of
weights.

Replace each `raise NotYet` and run `make labs LAB=03`. Axes are those of the chapter: B
rows of a batch, T queries, S keys, C width of the model, H query heads, K key and value
heads, D = C / H. Arguments stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from happyllm_support.grading import NotYet


def softmax(scores: Tensor, dim: int = -1) -> Tensor:
    """Turn scores into weights: positive numbers that sum to 1 along `dim`.

        weight_i = e^(score_i) / sum_j e^(score_j)

    Scores may be as large or as small as 1000 or -1000, in one row or in different
    rows, where e^score itself is infinity or 0. A score of -infinity gets the weight 0.
    (A row of nothing but -infinity will not come.) Results are as exact as their dtype,
    and gradients flow back to the scores.

    Example: softmax(tensor([[0, ln 3], [1000, 1000]])) -> [[0.25, 0.75], [0.5, 0.5]].

    Not allowed here: torch's own softmax in any form, and `logsumexp`.

    Args:
        scores: floating-point, any number of axes.
        dim: the axis along which the weights sum to 1.

    Returns:
        Weights, shape and dtype of `scores`.
    """
    raise NotYet


def mask_from_positions(
    q_positions: Tensor,
    k_positions: Tensor,
    q_segments: Tensor | None = None,
    k_segments: Tensor | None = None,
) -> Tensor:
    """Say which keys each query may see: those of its segment whose position is not
    later.

    A position is the index of a token in its document, from 0; a segment is the number
    of its document in the row. Segment 0 is padding, and a segment like the others:
    padding sees padding, and no token of a document does. Queries and keys need not be
    the same tokens, so T and S may differ.

    Example (one row, a place of padding before a document of two tokens):
        positions [[0, 0, 1]] and segments [[0, 1, 1]], of queries and keys ->
        [[[[True, False, False], [False, True, False], [False, True, True]]]], shape
        (1, 1, 3, 3).

    Args:
        q_positions: (B, T), whole numbers.
        k_positions: (B, S), whole numbers.
        q_segments: (B, T), or None when each row is one document without padding.
        k_segments: (B, S), or None together with `q_segments`.

    Returns:
        Boolean (B, 1, T, S), True where the query (row) may see the key (column); the 1
        is for the heads.
    """
    raise NotYet


def sdpa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Scaled dot-product attention: a weighted average of the values, for each query.

        weights = softmax over the keys of (scale q k^T)        output = weights v

    A query does not see a key where the mask is False: the weight of that key is
    exactly 0, and all else is what it would be if the key did not exist, gradients
    too. Scores may be large, 10,000 or 10^10, in either direction, hidden ones as well.

    Example (B = H = T = D = 1, S = 2): q = 1, k = [0, ln 3], v = [10, 20] -> 17.5;
    masked [True, False] -> 10.

    Not allowed here: `torch.nn.functional.scaled_dot_product_attention` and
    `multi_head_attention_forward`, and what they call in `torch.ops.aten`. Your own
    `softmax`, or torch's, is welcome.

    Args:
        q: (B, H, T, D) queries.
        k: (B, H, S, D) keys.
        v: (B, H, S, D) values.
        mask: boolean, True = may see, of a shape that broadcasts to (B, H, T, S); every
            query sees at least one key. None: every key is seen.
        scale: factor on the scores; None: 1 / sqrt(D). 0 is a factor, too: every
            visible key weighs the same.

    Returns:
        (B, H, T, D) in the dtype of `q`.
    """
    raise NotYet


def split_heads(x: Tensor, n_head: int) -> Tensor:
    """Cut the C numbers of each token into H groups of D, one per head, and put the
    heads beside the batch.

    Head h gets the numbers h D to (h + 1) D - 1 of every token.

    Example (B = 1, T = 2, C = 4, two heads): [[[1, 2, 3, 4], [5, 6, 7, 8]]]
        -> [[[[1, 2], [5, 6]], [[3, 4], [7, 8]]]].

    Args:
        x: (B, T, C).
        n_head: H; it divides C.

    Returns:
        (B, H, T, D) with D = C / H.
    """
    raise NotYet


def join_heads(x: Tensor) -> Tensor:
    """Lay the outputs of the heads end to end again, for each token: what `split_heads`
    did, undone.

    Example: [[[[1, 2], [5, 6]], [[3, 4], [7, 8]]]] -> [[[1, 2, 3, 4], [5, 6, 7, 8]]].

    Args:
        x: (B, H, T, D).

    Returns:
        (B, T, C) with C = H D.
    """
    raise NotYet


def grouped_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Attention with fewer key and value heads than query heads: H / K neighbours read
    from the same keys and values.

    Query head h uses key and value head h // (H / K). With K = H this is `sdpa`, with K
    = 1 multi-query attention.

    Example (H = 4, K = 2): the query heads 0, 1, 2, 3 read the key and value heads 0,
    0, 1, 1.

    Not allowed here: what `sdpa` forbids. Your own `sdpa` is meant to be used.

    Args:
        q: (B, H, T, D) queries.
        k: (B, K, S, D) keys; K divides H.
        v: (B, K, S, D) values.
        mask: boolean, True = may see, of a shape that broadcasts to (B, 1, T, S); every
            query sees at least one key. None: every key is seen.

    Returns:
        (B, H, T, D).
    """
    raise NotYet


def attend_online(
    q: Tensor, blocks: Iterator[tuple[Tensor, Tensor]]
) -> Iterator[Tensor]:
    """Attend to keys and values that come a block at a time, each seen once, in memory
    that does not grow with S.

    After each block, and before it takes the next, this yields the output over all keys
    so far,

        softmax(q k^T / sqrt(D)) v        (no mask)

    For this it keeps three things per query: the largest score so far, the sum of the
    exponentials relative to it, and the same sum with each exponential times its value.
    Scores may be as large or small as 1000 or -1000, may rise or fall from block to
    block, and may differ as much between queries. What has been yielded belongs to the
    caller and stays as it was, so go on with tensors of your own.

    Example (T = D = 1): q = [[1]]; a block with keys [[0]], values [[10]] -> yields
    [[10]]; then one with keys [[ln 3]], values [[20]] -> yields [[17.5]].

    Not allowed here: torch's softmax, `logsumexp` and attention, and `torch.cat` and
    `torch.stack`, which would put the row together again.

    Args:
        q: (T, D) queries.
        blocks: yields pairs (keys (s, D), values (s, D)); s is at least 1 and may
            change from block to block.

    Yields:
        (T, D) in the dtype of `q`, once per block.
    """
    raise NotYet
