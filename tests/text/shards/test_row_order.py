import numpy as np
import pytest

from happyllm_support.text.shards import row_order
from happyllm_support.text.shards.row_order import BatchConfig, RowOrder

LENGTHS = np.array([3, 9, 1, 4, 17, 2, 2, 8])  # 46 tokens


def test_random_numbers_are_those_of_pcg64():
    expected = np.random.PCG64(np.random.SeedSequence([1, 2, 3])).random_raw(4)
    assert np.array_equal(row_order._random(4, 1, 2, 3), expected)


def test_rows_of_ranks_and_padding_in_the_last_step():
    options = {"batch_size": 2, "seq_len": 20, "mode": "documents", "world_size": 3}
    orders = [
        RowOrder(LENGTHS, BatchConfig(**options, rank=rank, drop_last=False), epoch=4)
        for rank in range(3)
    ]
    assert [order.steps for order in orders] == [2, 2, 2]
    first, second = (
        np.stack([order.rows(step) for order in orders], axis=1).ravel().tolist()
        for step in (0, 1)
    )
    assert sorted(first + second[:2]) == list(range(8)) and second[2:] == [-1] * 4
    assert RowOrder(LENGTHS, BatchConfig(**options), epoch=4).steps == 1


@pytest.mark.parametrize("mode", ["stream", "concat", "packed", "documents"])
def test_the_stored_order_is_the_same_in_every_epoch(mode):
    config = BatchConfig(batch_size=1, seq_len=5, mode=mode, shuffle=False)
    rows = [
        [order.rows(step).tolist() for step in range(order.steps)]
        for order in (RowOrder(LENGTHS, config, epoch) for epoch in range(2))
    ]
    assert rows[0] == rows[1] == [[row] for row in range(len(rows[0]))]
