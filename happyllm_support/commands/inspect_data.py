"""`happyllm data inspect`: what lies in a prepared dataset, and whether it is whole and
of the right vocabulary.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from happyllm_support.commands.output import format_table, visible
from happyllm_support.commands.sources import load_tokenizer

if TYPE_CHECKING:
    from happyllm_support.text.shards.dataset import Dataset
    from happyllm_support.text.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class InspectData:
    """Describe a prepared dataset; refuse it where a shard is damaged, or another
    tokenizer made it.

    Example: happyllm data inspect story-data --tokenizer story.json --verify
    """

    dataset: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATASET")]
    """The folder that `data prepare` made."""
    tokenizer: Annotated[str | None, tyro.conf.arg(metavar="TOKENIZER")] = None
    """Refuse the dataset if it was not made with this tokenizer (a file, a folder, or
    gpt2).
    """
    verify: bool = False
    """Read every shard, compare its SHA-256 with the index and check the range of its
    ids.
    """

    def run(self) -> int:
        """Print the description."""
        from happyllm_support.text.shards.dataset import (
            TOKENIZER_NAME,
            open_dataset,
            read_index,
        )

        index = read_index(self.dataset)
        wanted = (
            None
            if self.tokenizer is None
            else load_tokenizer(self.tokenizer).fingerprint
        )
        parts = {
            name: open_dataset(
                self.dataset, name, vocabulary=wanted, verify=self.verify
            )
            for name, entry in index["splits"].items()
            if entry["shards"]
        }
        own = self.dataset / TOKENIZER_NAME
        tokenizer, listed = load_tokenizer(str(own)), index["tokenizer"]["fingerprint"]
        if tokenizer.fingerprint != listed:
            raise ValueError(
                f"{own} has fingerprint {tokenizer.fingerprint[:12]}, and the shards "
                f"were written with vocabulary {listed[:12]}; put their tokenizer "
                "back or prepare the dataset again"
            )
        paragraphs = [
            _description(index, tokenizer),
            _table({name: parts.get(name) for name in index["splits"]}),
        ]
        paragraphs += [
            f"{name} begins: {_beginning(part, tokenizer)}"
            for name, part in parts.items()
        ]
        if self.verify:
            paragraphs.append(
                "verified: every shard has the SHA-256 of the index, every id lies in "
                "the vocabulary"
            )
        print("\n\n".join(paragraphs))
        return 0


def _description(index: dict[str, Any], tokenizer: Tokenizer) -> str:
    rows = [
        ("vocabulary", f"{tokenizer.vocab_size:,} ids"),
        ("fingerprint", tokenizer.fingerprint),
        (
            "prepared with",
            visible(json.dumps(index.get("options", {}), ensure_ascii=False)),
        ),
    ]
    return format_table(rows)


def _table(parts: dict[str, Dataset | None]) -> str:
    rows = [
        (
            "split",
            "documents",
            "tokens",
            "bytes",
            "tokens/byte",
            "longest document",
            "shards",
        )
    ]
    for name, part in parts.items():
        if part is None:
            rows.append((name, "0", "0", "0", "-", "-", "0"))
            continue
        counts = f"{len(part):,}", f"{part.n_tokens:,}", f"{part.n_bytes:,}"
        share = f"{part.n_tokens / part.n_bytes:.3f}" if part.n_bytes else "-"
        rows.append(
            (
                name,
                *counts,
                share,
                f"{int(part.lengths().max()):,}",
                str(len(part.shards)),
            )
        )
    return format_table(rows, right=range(1, 7))


def _beginning(part: Dataset, tokenizer: Tokenizer, width: int = 100) -> str:
    ids = part.document(0)[
        : 4 * width
    ].tolist()  # a character has at most four bytes, a token at least one
    try:
        text = visible(tokenizer.decode(ids))
    except ValueError as error:
        raise ValueError(f"{part.shards[0].path}, document 0: {error}") from None
    return text if len(text) <= width else text[: width - 3] + "..."
