"""What people get wrong in lab 01, one file for each kind of mistake."""

from . import (
    mutants_counting,
    mutants_decoding,
    mutants_encoding,
    mutants_special,
    mutants_training,
)

__all__ = [
    "mutants_counting",
    "mutants_decoding",
    "mutants_encoding",
    "mutants_special",
    "mutants_training",
]
