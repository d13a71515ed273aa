"""Ordinary text to ids, exactly: in tiktoken's core where that can be, in Python
elsewhere.

tiktoken knows tokens by their bytes and ranks them by id, which is the order of the
merges, so its core gives our ids, several times faster than Python on new text. Two
inputs are dealt with before tiktoken sees them, because it would not give an exact
answer:

- a run of a million whitespace characters overflows the stack of its pattern engine (a
  panic, no exception);
- a lone surrogate (half a UTF-16 pair, which UTF-8 cannot express) would silently
  become U+FFFD.

Source: openai/tiktoken (`Encoding`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

from happyllm_support.text.tokenizer.bpe import BPEModel
from happyllm_support.text.tokenizer.encoder import BPEEncoder
from happyllm_support.text.tokenizer.pretokenize import PATTERNS, compile_pattern

if TYPE_CHECKING:
    import tiktoken

logger = logging.getLogger(__name__)

Backend = Literal["tiktoken", "python"]

# tiktoken panics at a run of about a million whitespace characters. Runs of twice this
# length are always kept from it, runs shorter than this never.
_LONG_RUN = 1 << 18
_SURROGATES = re.compile("[\ud800-\udfff]")
# A pattern that can match the empty string does so in one of these.
_PROBES = ("", "a", " ", "\n", "1", "!", "语")


class OrdinaryEncoder:
    """Encode text in which special tokens are text like any other.

    Args:
        model: merges and pattern.
        backend: see `Tokenizer`.

    Attributes:
        backend: which one runs.
        merge_bytes: bytes that are one piece, valid UTF-8 or not -> ids.
    """

    def __init__(self, model: BPEModel, backend: Backend) -> None:
        if backend not in ("tiktoken", "python"):
            raise ValueError(f"backend is {backend!r}; expected 'tiktoken' or 'python'")
        core = core_of(model) if backend == "tiktoken" else None
        self.backend: Backend = "python" if core is None else "tiktoken"
        self._python = BPEEncoder(
            model, merge_bytes=core.encode_single_piece if core else None
        )
        self.merge_bytes = self._python.merge_bytes
        self._encode: Callable[[str], list[int]] = (
            core.encode_ordinary if core else self._python.encode_ordinary
        )

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`.

        Raises:
            ValueError: a lone surrogate.
        """
        try:
            if len(text) >= 2 * _LONG_RUN and _has_long_run(text):
                return self._python.encode_ordinary(text)
            return self._encode(text)
        except UnicodeEncodeError:
            without_surrogates(text, "strict")
            raise
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # which is no Exception
                raise
            logger.warning(
                "tiktoken's pattern engine gave up on a text of %d characters; ours "
                "takes over",
                len(text),
            )
            return self._python.encode_ordinary(text)


class Core(Protocol):
    """What we use of tiktoken's compiled class."""

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode text without special tokens."""
        ...

    def encode_single_piece(self, piece: bytes) -> list[int]:
        """Merge one piece."""
        ...


def tiktoken_encoding(model: BPEModel, name: str) -> tiktoken.Encoding:
    """Build tiktoken's `Encoding` from `model`.

    Raises:
        ValueError: a pattern that can match nothing at all, or that tiktoken's engine
            does not know.
        ModuleNotFoundError: tiktoken is not installed.
    """
    import tiktoken

    pattern = covering_pattern(model.pattern)
    ranks = {
        token: rank
        for rank, token in enumerate(model.token_bytes[: 256 + len(model.merges)])
    }
    try:
        return tiktoken.Encoding(
            name=name,
            pat_str=pattern,
            mergeable_ranks=ranks,
            special_tokens=dict(model.special_tokens),
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"tiktoken cannot compile the pattern {model.pattern!r}: {reason}"
        ) from None


def covering_pattern(pattern: str) -> str:
    """Extend a pattern so that text between its matches is a piece too, as it is for
    us; tiktoken would drop it.

    Raises:
        ValueError: the pattern can match the empty string, which tiktoken answers by
            dropping characters.
    """
    if pattern in PATTERNS.values():
        return pattern  # covers everything already
    find = compile_pattern(pattern).findall
    if any("" in find(probe) for probe in _PROBES):
        raise ValueError(
            f"pattern {pattern!r} can match the empty string; tiktoken cannot run it"
        )
    return rf"{pattern}|(?:(?!{pattern})[\s\S])+"


def core_of(model: BPEModel) -> Core | None:
    """Return tiktoken's core with the merges of `model`, or None, with a warning, where
    it cannot run them.
    """
    try:
        encoding = tiktoken_encoding(model, "happyllm")
    except (ValueError, ModuleNotFoundError) as error:
        logger.warning("%s; the Python encoder takes over", error)
        return None
    return getattr(encoding, "_core_bpe", None)


def without_surrogates(text: str, errors: str, position: int = 0) -> str:
    """Return `text` if it has no lone surrogate; otherwise replace or refuse them.

    Args:
        text: any string.
        errors: `strict` refuses, `replace` makes each one U+FFFD.
        position: where `text` begins in the text that the error speaks of.

    Raises:
        ValueError: a lone surrogate under `strict`, or an unknown `errors`.
    """
    if errors not in ("strict", "replace"):
        raise ValueError(f"errors is {errors!r}; expected 'strict' or 'replace'")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        if errors == "replace":
            return _SURROGATES.sub("\ufffd", text)
        raise ValueError(
            f"lone surrogate U+{ord(text[error.start]):04X} at position "
            f"{position + error.start}: it is no character "
            "and has no UTF-8; remove it, or pass errors='replace' to make it U+FFFD"
        ) from None
    return text


def _has_long_run(text: str) -> bool:
    """Whether whitespace runs on for about `_LONG_RUN` characters; looks at few
    characters of ordinary text.
    """
    starts = range(0, len(text) - _LONG_RUN + 1, _LONG_RUN)
    return any(
        text[start].isspace() and text[start : start + _LONG_RUN].isspace()
        for start in starts
    )
