"""Training byte-level BPE, against Hugging Face's Rust trainer and against the textbook."""

from __future__ import annotations

from benchmarks.compare import Comparison

COMPARISONS: tuple[Comparison, ...] = ()
