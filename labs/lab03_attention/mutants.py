"""Mistakes that people make in lab 03, one file for each kind."""

from . import (
    mutants_heads,
    mutants_masks,
    mutants_online,
    mutants_scale,
    mutants_sdpa,
    mutants_softmax,
)

__all__ = [
    "mutants_heads",
    "mutants_masks",
    "mutants_online",
    "mutants_scale",
    "mutants_sdpa",
    "mutants_softmax",
]
