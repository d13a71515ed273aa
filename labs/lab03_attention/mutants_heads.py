"""Mistakes with heads: split, joined and shared."""

from __future__ import annotations

from . import reference
from .checks import BROKEN, lab
from .mutants_sdpa import average, scores_of


@lab.mutant(
    "split_heads",
    "view makes (B, H, T, D) at once, so that a head gets all of some tokens",
    section=BROKEN,
)
def split_by_view(x, n_head):
    return x.view(x.shape[0], n_head, x.shape[1], x.shape[2] // n_head)


@lab.mutant(
    "split_heads", "a head gets every n_head-th number of a token, not D neighbours"
)
def split_interleaved(x, n_head):
    return x.view(*x.shape[:2], -1, n_head).permute(0, 3, 1, 2)


@lab.mutant(
    "split_heads", "the axes are not exchanged after the view: (B, T, H, D) is returned"
)
def split_not_transposed(x, n_head):
    return x.view(*x.shape[:2], n_head, -1)


@lab.mutant("split_heads", "n_head is taken for the size of a head")
def split_by_size(x, n_head):
    return x.view(*x.shape[:2], -1, n_head).transpose(1, 2)


@lab.mutant("split_heads", "the heads come before the batch: (H, B, T, D) is returned")
def split_heads_first(x, n_head):
    return x.view(*x.shape[:2], n_head, -1).permute(2, 0, 1, 3)


@lab.mutant("split_heads", "the last two axes are exchanged: (B, H, D, T) is returned")
def split_as_columns(x, n_head):
    return x.view(*x.shape[:2], n_head, -1).permute(0, 2, 3, 1)


@lab.mutant(
    "split_heads",
    "after the view, H and D are exchanged instead of T and H: (B, T, D, H) is "
    "returned",
)
def split_wrong_axes(x, n_head):
    return x.view(*x.shape[:2], n_head, -1).transpose(2, 3)


@lab.mutant(
    "join_heads",
    "the axes are not exchanged back before H and D are merged",
    section=BROKEN,
)
def join_by_reshape(x):
    return x.reshape(x.shape[0], x.shape[2], -1)


@lab.mutant(
    "join_heads",
    "the numbers of the heads alternate: D stands before H when the two are merged",
)
def join_interleaved(x):
    return x.permute(0, 2, 3, 1).flatten(2)


@lab.mutant(
    "join_heads", "the last two axes are exchanged, T and D, where T and H should be"
)
def join_wrong_axes(x):
    return x.transpose(-1, -2).reshape(x.shape[0], x.shape[2], -1)


@lab.mutant(
    "join_heads",
    "the heads lie one behind the other along the places, not side by side",
)
def join_along_places(x):
    return x.flatten(1, 2)


@lab.mutant("join_heads", "the heads are averaged, not laid end to end")
def join_by_mean(x):
    return x.mean(1)


@lab.mutant("join_heads", "the heads are summed, not laid end to end")
def join_by_sum(x):
    return x.sum(1)


# grouped_attention


def _repeated(x, n_head):
    return x.repeat_interleave(n_head // x.shape[1], dim=1)


def _tiled(x, n_head):
    return x.repeat(1, n_head // x.shape[1], 1, 1)


@lab.mutant(
    "grouped_attention",
    "the key and value heads are tiled 0, 1, 0, 1 (h % K), not repeated 0, 0, 1, 1",
)
def tiled(q, k, v, mask=None):
    return reference.sdpa(q, _tiled(k, q.shape[1]), _tiled(v, q.shape[1]), mask)


@lab.mutant(
    "grouped_attention",
    "the keys are tiled 0, 1, 0, 1, and only the values repeated 0, 0, 1, 1",
)
def keys_tiled(q, k, v, mask=None):
    return reference.sdpa(q, _tiled(k, q.shape[1]), _repeated(v, q.shape[1]), mask)


@lab.mutant(
    "grouped_attention",
    "the values are tiled 0, 1, 0, 1, and only the keys repeated 0, 0, 1, 1",
)
def values_tiled(q, k, v, mask=None):
    return reference.sdpa(q, _repeated(k, q.shape[1]), _tiled(v, q.shape[1]), mask)


@lab.mutant("grouped_attention", "all query heads read the first key and value head")
def first_head_only(q, k, v, mask=None):
    return reference.sdpa(q, k[:, :1], v[:, :1], mask)


@lab.mutant("grouped_attention", "query head h reads key head h // K, not h // (H / K)")
def divided_by_k(q, k, v, mask=None):
    heads = [h // k.shape[1] for h in range(q.shape[1])]
    return reference.sdpa(q, k[:, heads], v[:, heads], mask)


@lab.mutant(
    "grouped_attention",
    "the order of the heads in the result is that of (H / K, K), not of (K, H / K)",
)
def result_reordered(q, k, v, mask=None):
    out = reference.sdpa(q, k, v, mask)
    return out.unflatten(1, (k.shape[1], -1)).transpose(1, 2).flatten(1, 2)


@lab.mutant(
    "grouped_attention",
    "the queries of a group are averaged, so that its heads all answer the same",
)
def queries_averaged(q, k, v, mask=None):
    means = q.unflatten(1, (k.shape[1], -1)).mean(2)
    return _repeated(reference.sdpa(means, k, v, mask), q.shape[1])


@lab.mutant("grouped_attention", "the key and value heads are averaged into one")
def keys_averaged(q, k, v, mask=None):
    return reference.sdpa(q, k.mean(1, keepdim=True), v.mean(1, keepdim=True), mask)


@lab.mutant("grouped_attention", "the mask is not passed on", section=BROKEN)
def mask_forgotten(q, k, v, mask=None):
    return reference.sdpa(q, k, v)


@lab.mutant(
    "grouped_attention",
    "keys or values still have K heads when they are used: nothing is repeated along "
    "that axis",
)
def not_repeated(q, k, v, mask=None):
    return average(scores_of(q, k, None), v, mask)


@lab.mutant(
    "grouped_attention",
    "each key and value head is repeated K times; it takes H / K times",
)
def repeated_k_times(q, k, v, mask=None):
    k, v = (x.repeat_interleave(x.shape[1], dim=1) for x in (k, v))
    return average(scores_of(q, k, None), v, mask)
