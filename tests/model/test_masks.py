"""Masks: the worked example of the file, the rows that packing makes, keys without
queries, ALiBi, and blocks.
"""

from __future__ import annotations

import pytest
import torch

from happyllm_support.model.masks import AttentionMask
from happyllm_support.text.shards.packing import fill_rows, plan_best_fit


def picture(allowed: torch.Tensor) -> list[str]:
    return ["".join(".x"[int(seen)] for seen in row) for row in allowed]


def by_rule(mask: AttentionMask, b: int, t: int, s: int) -> bool:
    """The rule in words, one query and one key at a time."""
    if mask.k_positions[b, s] > mask.q_positions[b, t]:
        return False
    if mask.q_segments is None:
        return True
    assert mask.k_segments is not None
    return bool(mask.q_segments[b, t] == mask.k_segments[b, s])


def random_mask(
    seed: int, n_queries: int = 5, n_keys: int = 7, slopes: torch.Tensor | None = None
) -> AttentionMask:
    g = torch.Generator().manual_seed(seed)
    sizes = ((6, n_queries), (6, n_keys), (3, n_queries), (3, n_keys))
    return AttentionMask(
        *(torch.randint(high, (2, n), generator=g) for high, n in sizes), slopes
    )


def test_left_padding_as_in_the_files_example():
    positions, segments = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 1, 1]])
    mask = AttentionMask(positions, positions, segments, segments)
    assert mask.allowed().shape == (1, 1, 4, 4)
    assert picture(mask.allowed()[0, 0]) == ["xx..", "xx..", "..x.", "..xx"]


def test_the_row_that_packing_describes():
    rows = fill_rows(
        plan_best_fit([3, 2], 6), [0], lambda number: torch.arange(3 - number).numpy()
    )
    positions, segments = (
        torch.from_numpy(rows.positions),
        torch.from_numpy(rows.segments),
    )
    assert positions.tolist() == [[0, 1, 2, 0, 1, 0]] and segments.tolist() == [
        [1, 1, 1, 2, 2, 0]
    ]
    mask = AttentionMask(positions, positions, segments, segments)
    assert picture(mask.allowed()[0, 0]) == [
        "x.....",
        "xx....",
        "xxx...",
        "...x..",
        "...xx.",
        ".....x",
    ]


def test_causal_means_no_look_ahead_and_nothing_else():
    mask = AttentionMask.causal(4)
    assert mask.bias() is None
    assert picture(mask.allowed()[0, 0]) == ["x...", "xx..", "xxx.", "xxxx"]


@pytest.mark.parametrize("seed", range(5))
def test_every_query_sees_itself(seed):
    """Whatever positions and segments are: so no softmax is taken over nothing."""
    g = torch.Generator().manual_seed(seed)
    positions, segments = torch.randint(6, (2, 3, 8), generator=g)
    allowed = AttentionMask(positions, positions, segments, segments).allowed()
    assert allowed.diagonal(dim1=-2, dim2=-1).all()


def test_segments_of_one_side_are_refused():
    places = torch.arange(3)[None]
    for given, name in (
        (dict(q_segments=places), "queries"),
        (dict(k_segments=places), "keys"),
    ):
        with pytest.raises(
            ValueError, match=f"^only the {name} have segments; expected both or none$"
        ):
            AttentionMask(places, places, **given)


def test_new_tokens_see_all_of_the_past_and_not_only_the_first_keys():
    mask = AttentionMask(torch.tensor([[3, 4]]), torch.arange(5)[None])
    assert picture(mask.allowed()[0, 0]) == ["xxxx.", "xxxxx"]


def test_rows_of_unequal_past():
    """Two requests with 3 and 1 cached tokens: the second row's cache has two places of
    padding.
    """
    k_positions, k_segments = (
        torch.tensor([[0, 1, 2, 3], [0, 0, 0, 1]]),
        torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]]),
    )
    mask = AttentionMask(k_positions[:, 3:], k_positions, k_segments[:, 3:], k_segments)
    assert [picture(row[0]) for row in mask.allowed()] == [["xxxx"], ["..xx"]]


@pytest.mark.parametrize("seed", range(3))
def test_every_entry_follows_the_rule_whole_and_in_blocks(seed):
    mask = random_mask(seed)
    whole = mask.allowed()
    expected = [
        [[[by_rule(mask, b, t, s) for s in range(7)] for t in range(5)]]
        for b in range(2)
    ]
    assert whole.tolist() == expected and 0 < whole.sum() < whole.numel()
    assert torch.equal(mask.allowed(slice(1, 4), slice(2, 7)), whole[:, :, 1:4, 2:7])
    assert torch.equal(mask.dense(), whole)


def test_alibi_lowers_by_slope_times_distance():
    slopes = torch.tensor([0.5, 0.25])
    mask = AttentionMask(torch.tensor([[2, 3]]), torch.arange(4)[None], slopes=slopes)
    bias = mask.bias()
    assert bias is not None and bias.shape == (1, 2, 2, 4)
    assert bias[0, 0, 0, :3].tolist() == [-1.0, -0.5, 0.0]
    assert bias[0, 1, 1].tolist() == [-0.75, -0.5, -0.25, 0.0]
    assert torch.equal(mask.bias(slice(1, 2), slice(1, 3)), bias[:, :, 1:2, 1:3])


def test_with_slopes_the_dense_mask_is_added_to_scores():
    slopes = torch.tensor([0.5, 0.25])
    mask = random_mask(0, slopes=slopes)
    dense, hidden = mask.dense(), ~mask.allowed().expand(2, 2, 5, 7)
    assert dense.shape == (2, 2, 5, 7) and 0 < hidden.sum() < hidden.numel()
    assert (dense[hidden] == -torch.inf).all()
    assert torch.equal(dense[~hidden], mask.bias()[~hidden])
