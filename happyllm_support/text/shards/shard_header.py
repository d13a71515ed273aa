"""The first 512 bytes of a token shard: what it holds, as text that `head -n 2` shows.

Byte by byte:

    offset 0     "happyllm-tokens\\n" (16 bytes, the magic)
    offset 16    one line of JSON, padded with spaces to end with "\\n" at byte 511:
                 version, dtype, vocab_size, vocabulary (the tokenizer's fingerprint),
                 n_tokens, n_documents
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from happyllm_support.text.shards.arrays import token_dtype

MAGIC = b"happyllm-tokens\n"
VERSION = 1
HEADER_BYTES = 512
ALIGNMENT = 64


@dataclass(frozen=True, kw_only=True)
class ShardHeader:
    """What a shard says of itself; the sizes of its parts follow from it.

    Attributes:
        vocab_size: ids are below it.
        vocabulary: `Tokenizer.fingerprint`, 64 hexadecimal digits.
        n_tokens: of all documents.
        n_documents: each of at least one token.
    """

    vocab_size: int
    vocabulary: str
    n_tokens: int
    n_documents: int

    def __post_init__(self) -> None:
        for name, low in (("vocab_size", 1), ("n_tokens", 0), ("n_documents", 0)):
            value: object = getattr(self, name)
            if type(value) is not int or value < low:
                raise ValueError(
                    f"{name} is {value!r}; expected an integer of at least {low}"
                )
        text: object = self.vocabulary
        if type(text) is not str or not re.fullmatch("[0-9a-f]{64}", text):
            raise ValueError(
                f"vocabulary is {self.vocabulary!r}; expected a fingerprint of 64 "
                "hexadecimal digits"
            )
        token_dtype(self.vocab_size)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The type of one token id."""
        return token_dtype(self.vocab_size)

    @property
    def offsets_at(self) -> int:
        """Byte at which the document offsets begin."""
        end = HEADER_BYTES + self.n_tokens * self.dtype.itemsize
        return -(-end // ALIGNMENT) * ALIGNMENT

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return self.offsets_at + 8 * (self.n_documents + 1)

    def to_bytes(self) -> bytes:
        """Return the 512 bytes that open the file."""
        fields = {"version": VERSION, "dtype": self.dtype.name, **asdict(self)}
        line = json.dumps(fields).encode("ascii")
        return MAGIC + line.ljust(HEADER_BYTES - len(MAGIC) - 1) + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> ShardHeader:
        """Parse the first 512 bytes of a file that nobody vouches for.

        Raises:
            ValueError: they are not a header of this version; the message lacks the
                file's name, which the caller adds.
        """
        if not raw.startswith(MAGIC):
            raise ValueError(
                f"is no token shard: it begins with {raw[:16]!r} instead of {MAGIC!r}"
            )
        if len(raw) < HEADER_BYTES:
            raise ValueError(
                f"is truncated: {len(raw)} bytes, and the header alone has "
                f"{HEADER_BYTES}"
            )
        try:
            fields: Any = json.loads(raw[len(MAGIC) : HEADER_BYTES])
        except ValueError:
            line = "has a damaged header: its second line is not JSON"
            raise ValueError(line) from None
        if not isinstance(fields, dict):
            raise ValueError(
                "has a damaged header: its second line is not a JSON object"
            )
        fields = cast(dict[str, Any], fields)
        version, dtype = fields.pop("version", None), fields.pop("dtype", None)
        if version != VERSION:
            raise ValueError(
                f"has format version {version!r}; this release reads version "
                f"{VERSION}: prepare it again"
            )
        if set(fields) != {"vocab_size", "vocabulary", "n_tokens", "n_documents"}:
            raise ValueError(f"has a damaged header: its fields are {sorted(fields)}")
        try:
            header = cls(**fields)
        except ValueError as error:
            raise ValueError(f"has a damaged header: {error}") from None
        if dtype != header.dtype.name:
            raise ValueError(
                f"has a damaged header: dtype {dtype!r}, expected {header.dtype.name} "
                f"for {header.vocab_size} ids"
            )
        return header
