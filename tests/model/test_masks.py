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
    return bool(mask.q_segments[b, t] == mask.k_segments[b, s] != 0)


def random_mask(
    seed: int, n_queries: int = 5, n_keys: int = 7, slopes: torch.Tensor | None = None
) -> AttentionMask:
    g = torch.Generator().manual_seed(seed)
    sizes = ((6, n_queries), (6, n_keys), (3, n_queries), (3, n_keys))
    return AttentionMask(
        *(torch.randint(high, (2, n), generator=g) for high, n in sizes), slopes
    )


def test_left_padding_as_in_the_files_example():
    positions, segments = torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 1, 1]])
    mask = AttentionMask(positions, positions, segments, segments)
    assert mask.allowed().shape == (1, 1, 4, 4)
    assert picture(mask.allowed()[0, 0]) == ["....", ".x..", ".xx.", ".xxx"]
    assert mask.sees_something is not None
    assert mask.sees_something.flatten().tolist() == [False, True, True, True]


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
        "......",
    ]


def test_plain_means_no_look_ahead_and_nothing_else():
    mask = AttentionMask.causal(4)
    assert mask.plain and mask.bias() is None
    assert picture(mask.allowed()[0, 0]) == ["x...", "xx..", "xxx.", "xxxx"]
    assert not AttentionMask(
        mask.q_positions, mask.k_positions
    ).plain  # whoever builds a mask has to claim it


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
    assert torch.equal(mask.dense, whole)


def test_a_query_that_lies_before_all_keys_is_known_to_see_nothing_without_segments():
    mask = AttentionMask(torch.tensor([[0, 2]]), torch.tensor([[1, 2]]))
    assert mask.sees_something is not None
    assert mask.sees_something.flatten().tolist() == [False, True]


def test_alibi_lowers_by_slope_times_distance():
    slopes = torch.tensor([0.5, 0.25])
    mask = AttentionMask(torch.tensor([[2, 3]]), torch.arange(4)[None], slopes=slopes)
    bias = mask.bias()
    assert bias is not None and bias.shape == (1, 2, 2, 4)
    assert bias[0, 0, 0, :3].tolist() == [-1.0, -0.5, 0.0]
    assert bias[0, 1, 1].tolist() == [-0.75, -0.5, -0.25, 0.0]
    assert torch.equal(mask.bias(slice(1, 2), slice(1, 3)), bias[:, :, 1:2, 1:3])


def test_slopes_in_a_plain_mask_are_refused():
    positions, slopes = torch.arange(4)[None], torch.tensor([0.5, 0.25])
    with pytest.raises(
        ValueError,
        match=r"^a plain mask has no slopes, the kernels would ignore them; .*$",
    ):
        AttentionMask(positions, positions, slopes=slopes, plain=True)
    assert AttentionMask(positions, positions, slopes=slopes).bias() is not None
