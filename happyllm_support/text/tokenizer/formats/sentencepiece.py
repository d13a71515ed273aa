"""SentencePiece models, read for comparison: LLaMA2's tokenizer is one.

SentencePiece works on characters, not bytes: a space becomes "▁", and a character
outside the vocabulary falls back to its bytes (`<0xE8>`) or, in models without byte
fallback, to `<unk>`, which loses it.

Source: google/sentencepiece; Kudo and Richardson 2018 (arXiv:1808.06226).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class SentencePieceTokenizer:
    """A trained SentencePiece model (BPE or unigram), with the library that made it.

    Args:
        path: the `.model` file.

    Raises:
        ValueError: `path` holds something else.
        OSError: `path` cannot be read.
        ModuleNotFoundError: the library is not installed.

    Attributes:
        vocab_size: number of pieces.
        pieces: by id, as the model writes them.
        scores: by id. Unigram: ln of a piece's probability; BPE: minus the rank of its
            merge.
        unk_id: what a character becomes for which there is no piece.
        byte_fallback: whether there are pieces for the bytes of such a character.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            import sentencepiece
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "SentencePiece models need the sentencepiece library: pip install "
                "'happyllm-support[chapters]'",
                name="sentencepiece",
            ) from None
        data = Path(path).read_bytes()
        processor: Any = sentencepiece.SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(data)
            self.vocab_size = int(processor.GetPieceSize())
        except RuntimeError:
            self.vocab_size = 0
        if not data or not self.vocab_size:
            raise ValueError(
                f"{path} is not a SentencePiece model; expected a .model file"
            )
        self._processor = processor
        self.pieces: list[str] = [
            str(processor.IdToPiece(token)) for token in range(self.vocab_size)
        ]
        self.scores: list[float] = [
            float(processor.GetScore(token)) for token in range(self.vocab_size)
        ]
        self.unk_id = int(processor.unk_id())
        self.byte_fallback = any(
            processor.IsByte(token) for token in range(self.vocab_size)
        )

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, without bos and eos."""
        return list(self._processor.EncodeAsIds(text))

    def encode_as_pieces(self, text: str) -> list[str]:
        """Return the pieces of `text` as the model writes them, "▁" for a space."""
        return list(self._processor.EncodeAsPieces(text))

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; `ValueError` names an id outside the vocabulary."""
        wanted = list(ids)
        for token in wanted:
            if not 0 <= token < self.vocab_size:
                raise ValueError(
                    f"id {token} is out of range; expected 0 to {self.vocab_size - 1}, "
                    f"as vocab_size is {self.vocab_size}"
                )
        return str(self._processor.DecodeIds(wanted))
