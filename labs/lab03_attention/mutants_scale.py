"""Mistakes in `sdpa` with the scale: by what the scores are divided, and when."""

from __future__ import annotations

from .checks import SCALE, lab
from .mutants_sdpa import average, scores_of


@lab.mutant("sdpa", "the scores are not divided by sqrt(head_dim)", section=SCALE)
def unscaled(q, k, v, mask=None, scale=None):
    return average(scores_of(q, k, 1.0 if scale is None else scale), v, mask)


@lab.mutant(
    "sdpa",
    "the scores are divided by sqrt(d_model), the width of all heads together",
    section=SCALE,
)
def by_d_model(q, k, v, mask=None, scale=None):
    return average(
        scores_of(q, k, (q.shape[1] * q.shape[-1]) ** -0.5 if scale is None else scale),
        v,
        mask,
    )


@lab.mutant("sdpa", "the scores are divided by the number of heads", section=SCALE)
def by_n_head(q, k, v, mask=None, scale=None):
    return average(scores_of(q, k, 1 / q.shape[1] if scale is None else scale), v, mask)


@lab.mutant(
    "sdpa", "the scores are divided by the root of the number of heads", section=SCALE
)
def by_root_of_n_head(q, k, v, mask=None, scale=None):
    return average(
        scores_of(q, k, q.shape[1] ** -0.5 if scale is None else scale), v, mask
    )


@lab.mutant(
    "sdpa", "the scores are divided by head_dim, without the root", section=SCALE
)
def without_root(q, k, v, mask=None, scale=None):
    return average(
        scores_of(q, k, 1 / q.shape[-1] if scale is None else scale), v, mask
    )


@lab.mutant(
    "sdpa",
    "the scores are multiplied by sqrt(head_dim), not divided by it",
    section=SCALE,
)
def multiplied(q, k, v, mask=None, scale=None):
    return average(
        scores_of(q, k, q.shape[-1] ** 0.5 if scale is None else scale), v, mask
    )


@lab.mutant(
    "sdpa",
    "the scores are divided by the root of the number of keys, an axis too early",
    section=SCALE,
)
def by_number_of_keys(q, k, v, mask=None, scale=None):
    return average(
        scores_of(q, k, k.shape[-2] ** -0.5 if scale is None else scale), v, mask
    )


@lab.mutant(
    "sdpa",
    "the scores are divided by the root of the number of queries, an axis too early",
    section=SCALE,
)
def by_number_of_queries(q, k, v, mask=None, scale=None):
    return average(
        scores_of(q, k, q.shape[-2] ** -0.5 if scale is None else scale), v, mask
    )


@lab.mutant(
    "sdpa",
    "the scale comes after the softmax, where it makes weights that do not sum to 1",
    section=SCALE,
)
def scaled_after_softmax(q, k, v, mask=None, scale=None):
    return average(scores_of(q, k, 1.0), v, mask) * (
        q.shape[-1] ** -0.5 if scale is None else scale
    )


@lab.mutant("sdpa", "the argument scale is ignored", section=SCALE)
def scale_ignored(q, k, v, mask=None, scale=None):
    return average(scores_of(q, k, None), v, mask)


@lab.mutant(
    "sdpa",
    "a given scale is applied on top of 1 / sqrt(head_dim), not in its place",
    section=SCALE,
)
def scaled_twice(q, k, v, mask=None, scale=None):
    return average(scores_of(q, k, None) * (1.0 if scale is None else scale), v, mask)


@lab.mutant(
    "sdpa", "the scores are divided by a given scale; it is a factor", section=SCALE
)
def divided_by_scale(q, k, v, mask=None, scale=None):
    return average(scores_of(q, k, None if scale is None else 1 / scale), v, mask)


@lab.mutant(
    "sdpa",
    "a scale of 0 counts as not given (scale or ...); None alone means that",
    section=SCALE,
)
def zero_is_none(q, k, v, mask=None, scale=None):
    return average(scores_of(q, k, scale or None), v, mask)
