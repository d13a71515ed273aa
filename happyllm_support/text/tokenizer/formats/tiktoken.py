"""Our merges as tiktoken's `Encoding`: the same ids there.

Source: openai/tiktoken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from happyllm_support.text.tokenizer.backends import tiktoken_encoding
from happyllm_support.text.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import tiktoken


def to_tiktoken(tokenizer: Tokenizer) -> tiktoken.Encoding:
    """Return the tokenizer as tiktoken's `Encoding`, special tokens included.

    Raises:
        ValueError: a pattern of your own that tiktoken cannot run.
        ModuleNotFoundError: tiktoken is not installed.
    """
    return tiktoken_encoding(tokenizer.model, f"happyllm-{tokenizer.fingerprint[:12]}")
