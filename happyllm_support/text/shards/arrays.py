"""The arrays of this room: ids as they are stored, and numbers that count or place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.unsignedinteger[Any]]  # token ids, uint16 or uint32
Int64 = npt.NDArray[np.int64]  # lengths, offsets, numbers of documents and rows


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the smallest little-endian type that holds every id of a vocabulary.

    Args:
        vocab_size: ids are below it.

    Returns:
        uint16 up to 65,536 ids, uint32 up to 2^32.

    Raises:
        ValueError: a vocabulary without ids, or with more than 2^32.
    """
    if not 1 <= vocab_size <= 2**32:
        raise ValueError(f"vocab_size is {vocab_size}; expected 1 to {2**32}")
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")
