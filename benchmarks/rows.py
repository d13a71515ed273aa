"""Every comparison there is, in the order of the table."""

from __future__ import annotations

from benchmarks import bpe_memory, bpe_training, encoding
from benchmarks.compare import Comparison

COMPARISONS: tuple[Comparison, ...] = (*bpe_training.COMPARISONS, *bpe_memory.COMPARISONS, *encoding.COMPARISONS)
