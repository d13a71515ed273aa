"""Peak memory of training with a bounded count table, on 10 MB and on 200 MB of ever new words."""

from __future__ import annotations

from benchmarks.compare import Comparison

COMPARISONS: tuple[Comparison, ...] = ()
