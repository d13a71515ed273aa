"""Every comparison there is, in the order of the table."""

from __future__ import annotations

from benchmarks import bpe_memory, bpe_training
from benchmarks.compare import Comparison

COMPARISONS: tuple[Comparison, ...] = (*bpe_training.COMPARISONS, *bpe_memory.COMPARISONS)
