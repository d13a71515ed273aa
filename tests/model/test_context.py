"""What the blocks of a forward pass are given: positions, segments, masks, and what is
refused before they run.
"""

from __future__ import annotations

import pytest
import torch
from small_models import ListCache
from torch import Tensor

from happyllm_support.model.context import Context, build_context, count_positions
from happyllm_support.model.masks import AttentionMask
from happyllm_support.model.rope import RotaryPositions


def context_of(ids: Tensor, **changes: object) -> Context:
    arguments = {
        "positions": None,
        "segments": None,
        "cache": None,
        "vocab_size": 10,
        "max_seq_len": 8,
    } | changes
    given = {name: arguments.pop(name) for name in ("positions", "segments", "cache")}
    return build_context(
        ids, given["positions"], given["segments"], given["cache"], **arguments
    )


def filled(positions: list[list[int]], segments: list[list[int]]) -> ListCache:
    cache = ListCache(len(positions), 1)
    keys = torch.zeros(len(positions), 1, len(positions[0]), 2)
    cache.reserve(torch.tensor(positions), torch.tensor(segments))
    cache.write(0, keys, keys)
    cache.commit()
    return cache


IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])


def test_alike_rows_share_one_plain_row():
    context = context_of(IDS)
    assert context == Context(context.positions)
    assert context.mask is None and context.rope is None and context.cache is None
    assert context.positions.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("segments", "positions"),
    [
        ([0, 0, 7, 7, 7, 8], [0, 0, 0, 1, 2, 0]),
        ([1, 1, 1, 1, 1, 1], [0, 1, 2, 3, 4, 5]),
        ([2, 1, 1, 2, 0, 0], [0, 0, 1, 0, 0, 0]),
        ([5], [0]),
    ],
)
def test_positions_are_counted_in_each_run(segments, positions):
    assert count_positions(torch.tensor([segments])).tolist() == [positions]
    both = count_positions(torch.tensor([segments, [1] * len(segments)]))
    expected = [positions, list(range(len(segments)))]
    assert both.tolist() == expected, "rows are counted apart"


def test_segments_decide_positions_and_the_mask():
    segments = torch.tensor([[0, 1, 1], [1, 2, 2]])
    context = context_of(IDS, segments=segments)
    assert context.positions.tolist() == [[0, 0, 1], [0, 0, 1]]
    assert context.mask[:, 0].int().tolist() == [
        [[1, 0, 0], [0, 1, 0], [0, 1, 1]],
        [[1, 0, 0], [0, 1, 0], [0, 1, 1]],
    ]
    lazy = context_of(IDS, segments=segments, kernel="online").mask
    assert isinstance(lazy, AttentionMask), "the online kernel asks block by block"
    assert torch.equal(lazy.dense(), context.mask)


@pytest.mark.parametrize("change", ["positions", "segments", "cache"])
def test_only_a_plain_pass_does_without_a_mask(change):
    changes = {
        "positions": torch.arange(3).expand(2, 3),
        "segments": torch.ones(2, 3, dtype=torch.long),
        "cache": ListCache(2, 1),
    }
    mask = context_of(IDS, **{change: changes[change]}).mask
    assert torch.equal(mask, torch.ones(3, 3).tril().bool().expand(2, 1, 3, 3))


def test_new_tokens_count_on_from_the_cache_row_by_row():
    left = filled([[0, 1, 0, 1], [0, 1, 2, 3]], [[0, 0, 1, 1], [1, 1, 1, 1]])
    right = filled([[0, 1, 0, 1], [0, 1, 2, 3]], [[1, 1, 0, 0], [1, 1, 1, 1]])
    for cache in (left, right):
        context = context_of(IDS, cache=cache)
        assert context.positions.tolist() == [[2, 3, 4], [4, 5, 6]]
        assert context.mask.shape == (2, 1, 3, 7)
    assert context_of(IDS, cache=left).mask[0, 0].int().tolist() == [
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 1, 1],
    ]


def test_new_tokens_count_on_in_their_own_segment():
    cache = filled([[0, 1, 2, 3, 0]], [[1, 1, 1, 1, 2]])
    context = context_of(
        torch.tensor([[1, 2, 3]]), segments=torch.tensor([[2, 2, 3]]), cache=cache
    )
    assert context.positions.tolist() == [[1, 2, 0]]
    assert context.mask[0, 0].int().tolist() == [
        [0, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 1],
    ]


def test_places_that_are_not_filled_are_hidden_from_everybody():
    cache = filled([[0, 0, 5], [0, 1, 2]], [[1, -1, -1], [0, 1, -1]])
    for segments in (torch.tensor([[1, 1, 0], [0, 1, 1]]), None):
        context = context_of(IDS, segments=segments, cache=cache)
        hidden = context.mask[:, 0, :, :3][
            (cache.segments < 0)[:, None].expand(2, 3, 3)
        ]
        assert not hidden.any()
    assert context.positions.tolist() == [[1, 2, 3], [2, 3, 4]]


def test_places_are_reserved_for_every_row_and_committed_by_the_model():
    cache = ListCache(2, 1)
    context_of(IDS, cache=cache)
    positions, segments = cache.reserved
    assert positions.tolist() == [[0, 1, 2]] * 2 and segments.tolist() == [[1] * 3] * 2
    assert cache.commits == 0 and cache.positions.shape == (2, 0)


def test_rotation_and_kernel_are_passed_on():
    rotary = RotaryPositions(4)
    positions = torch.tensor([[0, 1, 2], [3, 5, 7]])
    context = context_of(IDS, positions=positions, rotary=rotary, kernel="naive")
    assert context.kernel == "naive"
    pairs = zip(context.rope, rotary(positions), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert context_of(IDS, rotary=rotary).rope[0].shape == (1, 1, 3, 4)


@pytest.mark.parametrize(
    ("ids", "changes", "message"),
    [
        (
            torch.tensor([1, 2]),
            {},
            r"ids have shape \(2,\); expected \(batch, tokens\) with at least one "
            r"token",
        ),
        (
            torch.zeros(2, 0, dtype=torch.long),
            {},
            r"ids have shape \(2, 0\); expected \(batch, tokens\) with .*",
        ),
        (
            torch.zeros(0, 2, dtype=torch.long),
            {},
            r"ids have shape \(0, 2\); expected \(batch, tokens\) with .*",
        ),
        (
            IDS.float(),
            {},
            r"ids are torch\.float32; expected torch\.int64 or torch\.int32",
        ),
        (
            IDS,
            {"vocab_size": 6},
            "ids reach from 1 to 6; expected 0 to vocab_size - 1, which is 5",
        ),
        (
            IDS - 2,
            {},
            "ids reach from -1 to 4; expected 0 to vocab_size - 1, which is 9",
        ),
        (
            IDS,
            {"positions": IDS[:1]},
            r"positions have shape \(1, 3\); expected that of ids, \(2, 3\)",
        ),
        (
            IDS,
            {"segments": IDS[:, :2]},
            r"segments have shape \(2, 2\); expected that of ids, \(2, 3\)",
        ),
        (
            IDS,
            {"max_seq_len": 2},
            "a sequence of 3 tokens is longer than the model's max_seq_len 2",
        ),
        (
            IDS,
            {"cache": filled([[*range(6)]] * 2, [[1] * 6] * 2)},
            "a sequence of 9 tokens is longer than the model's max_seq_len 8",
        ),
        (
            IDS,
            {"cache": filled([[0]] * 3, [[1]] * 3)},
            "a cache of 3 rows cannot continue with ids of 2 rows",
        ),
        (
            IDS,
            {"positions": IDS + 2},
            "positions reach from 3 to 8; expected 0 to max_seq_len - 1, which is 7",
        ),
        (
            IDS,
            {"positions": IDS.float()},
            r"positions are torch\.float32; expected torch\.int64 or .*",
        ),
        (
            IDS,
            {"segments": IDS > 0},
            r"segments are torch\.bool; expected torch\.int64 or torch\.int32",
        ),
        (
            IDS,
            {"segments": IDS - 2},
            "segments reach from -1 to 4; expected 0, for padding, or more",
        ),
        (
            IDS,
            {"segments": torch.ones_like(IDS), "max_seq_len": 2},
            "a sequence of 3 tokens is longer than the model's max_seq_len 2",
        ),
        (
            IDS,
            {
                "segments": torch.ones_like(IDS),
                "cache": filled([[*range(6)]] * 2, [[1] * 6] * 2),
            },
            "a sequence of 9 tokens is longer than the model's max_seq_len 8",
        ),
        (
            IDS,
            {"cache": filled([[0, 0]] * 2, [[1, 1], [1, 2]])},
            "the cache holds several documents per row; give .*",
        ),
        (
            IDS,
            {"cache": filled([[0, 0]] * 2, [[1, 1], [1, 2]]), "positions": IDS},
            "the cache holds several documents per row; give segments, which say whom "
            "new tokens continue",
        ),
        ([[1, 2]], {}, "ids are of type list; expected a tensor"),
        (IDS, {"segments": [[1] * 3] * 2}, "segments are of type list; expected a .*"),
        (
            IDS,
            {"positions": IDS - 2},
            "positions reach from -1 to 4; expected 0 to max_seq_len - 1, which is 7",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(ids, changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        context_of(ids, **changes)


def test_a_row_may_be_longer_than_a_document_may():
    ids = torch.ones(1, 12, dtype=torch.long)
    for segments, positions in (
        ([0] * 9 + [1] * 3, [0] * 9 + [0, 1, 2]),
        ([1] * 8 + [2] * 4, [*range(8), *range(4)]),
    ):
        assert context_of(
            ids, segments=torch.tensor([segments])
        ).positions.tolist() == [positions]
    padded = filled([[0] * 4 + [0, 1]], [[0] * 4 + [1, 1]])
    assert context_of(ids[:, :6], cache=padded).positions.tolist() == [
        [2, 3, 4, 5, 6, 7]
    ]
    with pytest.raises(ValueError, match="a sequence of 9 tokens"):
        context_of(ids[:, :7], cache=padded)
    beside = torch.tensor([[0] * 6 + [1]])  # padding counts on from nothing
    assert context_of(ids[:, :7], cache=padded, segments=beside).positions.tolist() == [
        [0] * 6 + [2]
    ]
    assert (
        context_of(
            ids, positions=torch.tensor([[*range(8), *range(4)]])
        ).positions.max()
        == 7
    )


def test_numbers_are_not_read_while_they_have_none():
    meta = torch.zeros(1, 6, dtype=torch.long, device="meta")
    assert context_of(meta, segments=meta).positions.is_meta
    with pytest.raises(ValueError, match="a sequence of 6 tokens"):
        context_of(meta, max_seq_len=5)


def test_limits_are_allowed():
    assert context_of(IDS, vocab_size=7, max_seq_len=3).positions.tolist() == [
        [0, 1, 2]
    ]
    assert context_of(IDS, positions=IDS + 1).positions.max() == 7
    assert context_of(IDS.int()).mask is None
