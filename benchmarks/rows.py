"""Every comparison there is, in the order of the table."""

from __future__ import annotations

from benchmarks import (
    attention_memory,
    bpe_memory,
    bpe_training,
    encoding,
    loading,
    model_speed,
)
from benchmarks.compare import Comparison

COMPARISONS: tuple[Comparison, ...] = (
    *bpe_training.COMPARISONS,
    *bpe_memory.COMPARISONS,
    *encoding.COMPARISONS,
    *model_speed.COMPARISONS,
    *attention_memory.COMPARISONS,
    *loading.COMPARISONS,
)
