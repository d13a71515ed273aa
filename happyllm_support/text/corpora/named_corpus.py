"""What is known of a corpus that has a name, before any of it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from happyllm_support.text.corpora.documents import Split
from happyllm_support.text.corpora.download import RemoteFile

Kind = Literal["built in", "with Python", "download", "local"]
Content = Literal["text", "poems", "generated", "model"]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A named corpus, or (content "model") the files of a model under the same care.

    Attributes:
        name: what it is called.
        kind: how one gets it.
        language: in words.
        licence: what it may be used for.
        description: one sentence or two.
        citation: who made it.
        content: what its files hold.
        split: where its documents end, see `read_documents`.
        separator: a literal string that ends a document, in place of `split`.
        parts: its files by the name after the slash: `wikitext-2/valid`.
        default: the parts that the bare name means; empty for all.
        size_note: what to say where a size is not known beforehand.
    """

    name: str
    kind: Kind
    language: str
    licence: str
    description: str
    citation: str
    content: Content = "text"
    split: Split = "blank-line"
    separator: str | None = None
    parts: dict[str, RemoteFile] = field(default_factory=dict[str, RemoteFile])
    default: tuple[str, ...] = ()
    size_note: str = ""

    @property
    def size(self) -> int | None:
        """Bytes to download (or to have), None where it is not known beforehand."""
        needed = {part.archive or part for part in self.parts.values()}
        sizes = [file.size for file in needed if file.size is not None]
        return sum(sizes) if sizes and len(sizes) == len(needed) else None
