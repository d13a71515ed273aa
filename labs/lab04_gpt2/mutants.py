"""Mistakes that people make in lab 04, one file for each kind of piece."""

from . import (
    mutants_block,
    mutants_loading,
    mutants_model,
    mutants_parts,
    mutants_weights,
)

__all__ = [
    "mutants_block",
    "mutants_loading",
    "mutants_model",
    "mutants_parts",
    "mutants_weights",
]
