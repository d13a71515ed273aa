"""The tokenizer that everything else uses: text to ids and back, exactly.

By default our merges run in tiktoken's core, several times faster than Python on new
text; `backend="python"` is the encoder written for this course. Both give the same ids,
with one reservation: which code points count as letters is decided by the Unicode
tables of the libraries, and for letters that entered Unicode in the last years these
may differ. Decoding never depends on that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from numbers import Integral
from os import PathLike
from typing import Literal

from happyllm_support.text.tokenizer.backends import (
    Backend,
    OrdinaryEncoder,
    without_surrogates,
)
from happyllm_support.text.tokenizer.bpe import BPEModel
from happyllm_support.text.tokenizer.formats.gpt2_files import load_gpt2_files
from happyllm_support.text.tokenizer.streaming import (
    SettledText,
    SpecialSplitter,
    Utf8Stream,
)
from happyllm_support.text.tokenizer.tokenizer_file import (
    fingerprint,
    load_model,
    save_model,
)

AllowedSpecial = Literal["all"] | Collection[str]

# what the error handler "surrogateescape" makes of invalid bytes
_ESCAPED_BYTES = re.compile("([\udc80-\udcff]+)")


class Tokenizer:
    """Encode text to ids and decode ids to text by a trained or loaded model of merges.

    Args:
        model: merges, pattern and special tokens.
        backend: `tiktoken` (its core runs our merges) or `python` (ours). Where
            tiktoken is not installed, or cannot run the model's pattern, the Python
            encoder takes over; the attribute `backend` says which one runs.

    Raises:
        ValueError: an unknown backend, or merges of which two make the same token.
    """

    def __init__(self, model: BPEModel, backend: Backend = "tiktoken") -> None:
        self.model = model
        self.special_tokens = dict(
            sorted(model.special_tokens.items(), key=lambda item: item[1])
        )
        self.vocab_size = model.vocab_size
        self.pad_id = self.special_tokens.get("<|pad|>")
        self.bos_id = self.special_tokens.get("<|bos|>")
        self.eos_id = self.special_tokens.get(
            "<|eos|>", self.special_tokens.get("<|endoftext|>")
        )
        # a list would take negative ids
        self._bytes = dict(enumerate(model.token_bytes))
        n_ordinary = 256 + len(model.merges)
        if len(set(model.token_bytes[:n_ordinary])) < n_ordinary:
            raise ValueError(
                "two merges make the same token; expected one merge for each token"
            )
        self._ordinary = OrdinaryEncoder(model, backend)
        self._encode_ordinary = self._ordinary.encode
        self.backend: Backend = self._ordinary.backend

    @classmethod
    def load(
        cls, path: str | PathLike[str], backend: Backend = "tiktoken"
    ) -> Tokenizer:
        """Read a tokenizer that `save` wrote; `ValueError` in one line if the file is
        anything else.
        """
        return cls(load_model(path), backend)

    @classmethod
    def from_gpt2(
        cls,
        encoder_json: str | PathLike[str],
        vocab_bpe: str | PathLike[str],
        backend: Backend = "tiktoken",
    ) -> Tokenizer:
        """Read GPT-2's own two files; `ValueError` names the first entry in which they
        do not match.
        """
        return cls(load_gpt2_files(encoder_json, vocab_bpe), backend)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the tokenizer to one JSON file, whole or not at all."""
        save_model(self.model, path)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides ids; token shards carry it, so that they refuse
        another vocabulary.
        """
        return fingerprint(self.model)

    # ---- text to ids ----

    def encode(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = (),
        add_bos: bool = False,
        add_eos: bool = False,
        errors: str = "strict",
    ) -> list[int]:
        """Encode `text`.

        Args:
            text: any text.
            allowed_special: special tokens that are recognised in `text`, or "all". All
                others are ordinary text there, so that what a user types cannot smuggle
                in a marker.
            add_bos: put the id of `<|bos|>` in front.
            add_eos: put the id of `<|eos|>` at the end.
            errors: `strict` refuses lone surrogates, `replace` makes each one U+FFFD.

        Returns:
            Ids, each below `vocab_size`.

        Raises:
            ValueError: a lone surrogate, an unknown special token, or bos or eos wanted
                where the vocabulary has none.
        """
        plain = not (allowed_special or add_bos or add_eos) and errors == "strict"
        if plain:  # the common case, on the shortest way
            return self._encode_ordinary(text)
        allowed = self._allowed(allowed_special)
        ids = [self._required("<|bos|>", self.bos_id)] if add_bos else []
        text = without_surrogates(text, errors)
        for part in SpecialSplitter(allowed).split(text) if allowed else (text,):
            if isinstance(part, str):
                ids += self._encode_ordinary(part)
            else:
                ids.append(part)
        if add_eos:
            ids.append(self._required("<|eos|>", self.eos_id))
        return ids

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        allowed_special: AllowedSpecial = (),
        add_bos: bool = False,
        add_eos: bool = False,
        errors: str = "strict",
    ) -> list[list[int]]:
        """Encode several texts; see `encode`."""
        return [
            self.encode(
                text,
                allowed_special=allowed_special,
                add_bos=add_bos,
                add_eos=add_eos,
                errors=errors,
            )
            for text in texts
        ]

    def encode_iterable(
        self,
        chunks: Iterable[str],
        *,
        allowed_special: AllowedSpecial = (),
        add_bos: bool = False,
        add_eos: bool = False,
        errors: str = "strict",
    ) -> Iterator[int]:
        """Encode text that arrives in chunks: the ids of the joined text, in memory
        that does not grow with it.

        Text waits until it is certain where a piece ends: about a block of 64 Ki
        characters in ordinary text, more only where there is nothing to cut at, or
        where the pattern is one of your own. Arguments and errors are those of
        `encode`; the errors come when the first id is asked for, or when the text at
        fault is reached.
        """
        allowed = self._allowed(allowed_special)
        eos = (self._required("<|eos|>", self.eos_id),) if add_eos else ()
        if add_bos:
            yield self._required("<|bos|>", self.bos_id)
        settled = SettledText(self.model.pattern)
        for part in _parts(chunks, allowed, errors):
            if isinstance(part, str):
                yield from self._encode_ordinary(settled.push(part))
            else:
                yield from self._encode_ordinary(settled.flush())
                yield part
        yield from self._encode_ordinary(settled.flush())
        yield from eos

    def encode_bytes(self, data: bytes) -> list[int]:
        """Encode any bytes; `decode_bytes` gives them back.

        Valid UTF-8 is encoded as text. Each run of other bytes is a piece of its own.
        """
        ids: list[int] = []
        for number, part in enumerate(
            _ESCAPED_BYTES.split(data.decode("utf-8", "surrogateescape"))
        ):
            if number % 2 == 0:
                ids += self._encode_ordinary(part)
            else:
                ids += self._ordinary.merge_bytes(
                    part.encode("utf-8", "surrogateescape")
                )
        return ids

    # ---- ids to text ----

    def decode(
        self, ids: Iterable[int], *, errors: str = "replace", skip_special: bool = False
    ) -> str:
        """Return the text of `ids`.

        Args:
            ids: any ids of the vocabulary, also such as break a character in two.
            errors: for bytes that are no UTF-8, as in `bytes.decode`.
            skip_special: leave special tokens out.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        if skip_special:
            specials = set(self.special_tokens.values())
            ids = [token for token in ids if token not in specials]
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of `ids`; `ValueError` names one outside the vocabulary."""
        try:
            return b"".join(map(self._bytes.__getitem__, ids))
        except KeyError as error:
            raise ValueError(self._range_message(error.args[0])) from None

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield text as soon as `ids` complete it; joined, it is `decode(ids)`."""
        stream = Utf8Stream()
        for token in ids:
            if text := stream.push(self.token_bytes(token)):
                yield text
        if text := stream.flush():
            yield text

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of one id; `ValueError` if it is outside the vocabulary."""
        try:
            return self._bytes[token]
        except KeyError:
            raise ValueError(self._range_message(token)) from None

    # ---- inside ----

    def _allowed(self, allowed_special: AllowedSpecial) -> dict[str, int]:
        if allowed_special == "all":
            return self.special_tokens
        known = ", ".join(self.special_tokens) or "none"
        if isinstance(allowed_special, str):
            raise ValueError(
                f"allowed_special is {allowed_special!r}; expected 'all' or a "
                f"collection of: {known}"
            )
        for token in allowed_special:
            if token not in self.special_tokens:
                raise ValueError(f"unknown special token {token!r}; expected {known}")
        return {token: self.special_tokens[token] for token in allowed_special}

    def _required(self, name: str, token: int | None) -> int:
        if token is None:
            known = ", ".join(self.special_tokens) or "none"
            raise ValueError(
                f"this vocabulary has no {name}; its special tokens: {known}"
            )
        return token

    def _range_message(self, token: object) -> str:
        if not isinstance(token, Integral):  # iterating over a tensor gives tensors
            return (
                f"{token!r} is a {type(token).__name__} and no id; expected whole "
                "numbers, as `.tolist()` returns them"
            )
        return (
            f"id {token!r} is out of range; expected 0 to {self.vocab_size - 1}, as "
            f"vocab_size is {self.vocab_size}"
        )

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size}, backend={self.backend!r})"

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[BPEModel, Backend]]:
        # the compiled core is built again in the other process
        return Tokenizer, (self.model, self.backend)


def _parts(
    chunks: Iterable[str], allowed: dict[str, int], errors: str
) -> Iterator[str | int]:
    """Yield the text of `chunks` with the allowed special tokens as ids."""
    splitter = SpecialSplitter(allowed) if allowed else None
    position = 0
    for chunk in chunks:
        text = without_surrogates(chunk, errors, position)
        position += len(chunk)
        if splitter:
            yield from splitter.push(text)
        else:
            yield text
    if splitter:
        yield from splitter.flush()
