import numpy as np
import pytest

from happyllm_support.text.shards.arrays import token_dtype


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(1, "<u2"), (65_536, "<u2"), (65_537, "<u4"), (2**32, "<u4")],
)
def test_dtype_is_the_smallest_that_holds_the_vocabulary(vocab_size, dtype):
    assert token_dtype(vocab_size) == np.dtype(dtype)


@pytest.mark.parametrize("vocab_size", [0, 2**32 + 1])
def test_a_vocabulary_that_no_type_holds_is_refused(vocab_size):
    message = rf"^vocab_size is {vocab_size}; expected 1 to 4294967296$"
    with pytest.raises(ValueError, match=message):
        token_dtype(vocab_size)
