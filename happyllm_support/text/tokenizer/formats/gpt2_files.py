"""Byte-level vocabularies as other programs write them: strings for tokens, and pairs
of strings for merges.

GPT-2 gives every byte a printable character, so that tokens fit into text files: "!" to
"~" and most of Latin-1 stand for themselves, the other 68 bytes for U+0100 onwards. A
space is written "Ġ", a line end "Ċ".

What is read here is checked as a whole, because a wrong file would otherwise give wrong
ids in silence: every merge must join tokens that exist by then, must have the id that
its place says, and every token must be what its own bytes merge to (otherwise programs
that look up whole pieces and programs that merge would disagree).

Source: openai/gpt-2, src/encoder.py (the table of characters, and the two files).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

from happyllm_support.files import read_json, read_text_blocks
from happyllm_support.text.tokenizer.bpe import BYTE_ORDER, BPEModel
from happyllm_support.text.tokenizer.encoder import bytes_to_ids
from happyllm_support.text.tokenizer.merging import merge_piece
from happyllm_support.text.tokenizer.pretokenize import GPT2_PATTERN

_N_PRINTABLE = 188
BYTE_TO_CHARACTER: dict[int, str] = {
    byte: chr(byte) if rank < _N_PRINTABLE else chr(256 + rank - _N_PRINTABLE)
    for rank, byte in enumerate(BYTE_ORDER)
}
_TO_CHARACTERS = str.maketrans(
    {chr(byte): character for byte, character in BYTE_TO_CHARACTER.items()}
)

GPT2_HEADER = "#version:"
# GPT-2's files do not say which tokens are special; this is how they look.
_MARKER = re.compile(r"<\|?[\w-]+\|?>")


def token_to_string(token: bytes) -> str:
    """Write a token as GPT-2's files do: `b" caf\\xc3\\xa9"` -> `"ĠcafÃ©"`."""
    return token.decode("latin-1").translate(_TO_CHARACTERS)


def load_gpt2_files(
    encoder_json: str | os.PathLike[str], vocab_bpe: str | os.PathLike[str]
) -> BPEModel:
    """Read GPT-2's own vocabulary, `encoder.json` (token -> id) and `vocab.bpe`
    (merges, one a line).

    Raises:
        ValueError: either file is not what it should be, or they do not belong
            together; one line names the file and the first entry at fault.
    """
    vocabulary = check_vocabulary(
        read_json(encoder_json, "a GPT-2 vocabulary"), str(encoder_json)
    )
    lines = "".join(read_text_blocks(vocab_bpe)).split("\n")
    if not lines[0].startswith(GPT2_HEADER):
        raise ValueError(
            f"{vocab_bpe} is no merge file: line 1 is {lines[0][:40]!r}, expected "
            f"'{GPT2_HEADER} 0.2'"
        )
    if lines[-1]:
        raise ValueError(
            f"{vocab_bpe} is cut off: its last line, {len(lines)}, has no line end"
        )
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(lines[1:-1], start=2):
        left, _, right = line.rstrip("\r").partition(" ")
        if not left or not right or " " in right:
            raise ValueError(
                f"{vocab_bpe}, line {number}: {line[:40]!r} is not two tokens with a "
                "space between them"
            )
        pairs.append((left, right))
    problem = f"{vocab_bpe} does not match {encoder_json}"
    return model_from_strings(
        vocabulary, pairs, GPT2_PATTERN, problem, is_special=_MARKER.fullmatch
    )


def model_from_strings(
    vocabulary: dict[str, int],
    merges: Iterable[tuple[str, str]],
    pattern: str,
    problem: str,
    *,
    is_special: Callable[[str], object],
) -> BPEModel:
    """Build a model from tokens and merges written as strings.

    The ids must be laid out as in GPT-2: the bytes first in any order, then the merges
    in theirs, then what is left, the special tokens.

    Args:
        vocabulary: token -> id.
        merges: pairs of tokens in the order learned.
        pattern: the pre-tokenization.
        problem: how an error begins, naming the file or files.
        is_special: whether a token that no merge makes may be a special token.

    Raises:
        ValueError: the first thing that does not fit.
    """
    left_over = dict(vocabulary)
    byte_ids: list[int] = []
    for byte in range(256):
        token = left_over.pop(BYTE_TO_CHARACTER[byte], None)
        if token is None or not 0 <= token < 256:
            raise ValueError(
                f"{problem}: byte 0x{byte:02x} has id {token}; expected the ids 0 to "
                "255 for the 256 bytes"
            )
        byte_ids.append(token)
    pairs: list[tuple[int, int]] = []
    known = {character: byte_ids[byte] for byte, character in BYTE_TO_CHARACTER.items()}
    for rank, (left, right) in enumerate(merges):
        expected = 256 + rank
        here = f"{problem}: merge {rank + 1}, {left!r} with {right!r},"
        for part in (left, right):
            if part not in known:
                raise ValueError(f"{here} uses {part!r}, which no earlier merge makes")
        joined = left + right
        if joined in known:
            raise ValueError(f"{here} makes {joined!r} a second time")
        if vocabulary.get(joined) != expected:
            found = vocabulary.get(joined, "none")
            raise ValueError(
                f"{here} should have id {expected}, but {joined!r} has id {found} in "
                "the vocabulary"
            )
        pairs.append((known[left], known[right]))
        known[joined] = expected
        left_over.pop(joined)
    for text, token in left_over.items():
        if not is_special(text):
            raise ValueError(
                f"{problem}: {text!r} with id {token} is neither a special token nor "
                f"made by one of the {len(pairs):,} "
                f"merges; a vocabulary of {len(vocabulary):,} needs more of them"
            )
    try:
        model = BPEModel(
            merges=tuple(pairs),
            pattern=pattern,
            special_tokens=left_over,
            byte_ids=tuple(byte_ids),
        )
    except ValueError as error:
        raise ValueError(f"{problem}: {error}") from None
    check_merges(model, problem)
    return model


def check_merges(model: BPEModel, problem: str) -> None:
    """Refuse a model in which some token is not what its own bytes merge to (training
    never makes one).

    Raises:
        ValueError: names the first such token; the line begins with `problem`.
    """
    table = {pair: 256 + rank for rank, pair in enumerate(model.merges)}
    to_ids = bytes_to_ids(model.byte_ids)
    for token in range(256, 256 + len(model.merges)):
        data = model.token_bytes[token]
        ids = merge_piece(to_ids(data), table)
        if ids != [token]:
            raise ValueError(
                f"{problem}: token {token}, {data!r}, can never occur; its bytes merge "
                f"to {ids}"
            )


def check_vocabulary(value: Any, source: str) -> dict[str, int]:
    """Check that `value`, read from `source`, maps strings to ids 0 to n - 1, each
    given once.

    Raises:
        ValueError: names the source and the first entry at fault.
    """
    if not isinstance(value, dict):
        raise ValueError(
            f"{source} holds no vocabulary but a {type(value).__name__}; expected an "
            "object token -> id"
        )
    vocabulary = cast("dict[str, Any]", value)
    seen: set[int] = set()
    for text, token in vocabulary.items():
        if type(token) is not int or not 0 <= token < len(vocabulary):
            raise ValueError(
                f"{source}: {text!r} has id {token!r}; expected whole numbers 0 to "
                f"{len(vocabulary) - 1}"
            )
        if token in seen:
            raise ValueError(f"{source}: id {token} of {text!r} is given twice")
        seen.add(token)
    return vocabulary
