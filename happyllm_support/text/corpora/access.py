"""One door to all text: named corpora and your own files, as documents.

    for document in open_corpus("tinyshakespeare"): ...
    for document in open_corpus("notes.jsonl", field="body"): ...

Opening never downloads; `fetch` does, when asked.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from happyllm_support.progress import Progress
from happyllm_support.text.corpora.documents import Split, read_documents
from happyllm_support.text.corpora.download import (
    DownloadError,
    fetch_file,
    home,
    is_cached,
)
from happyllm_support.text.corpora.named_corpus import Corpus
from happyllm_support.text.corpora.python_docs import python_docs
from happyllm_support.text.corpora.registry import REGISTRY

__all__ = [
    "REGISTRY",
    "Corpus",
    "CorpusInfo",
    "DownloadError",
    "fetch",
    "find_corpus",
    "home",
    "list_corpora",
    "open_corpus",
    "python_docs",
]


@dataclass(frozen=True, kw_only=True)
class CorpusInfo:
    """What there is to know about a corpus before reading it.

    Attributes:
        name: what it is called.
        kind: "built in", "with Python", "download" or "local".
        language: in words.
        size: bytes to download or to have, None where it is not known beforehand.
        size_text: the same in words.
        licence: what it may be used for.
        cached: whether it can be opened without a network, all of its default parts.
        parts: their names.
        where: the folder or file that holds it, empty for what is generated.
        description: one sentence or two.
        citation: who made it.
    """

    name: str
    kind: str
    language: str
    size: int | None
    size_text: str
    licence: str
    cached: bool
    parts: tuple[str, ...]
    where: str
    description: str
    citation: str


def list_corpora() -> list[CorpusInfo]:
    """Describe all named corpora, in the order of the registry; read nothing."""
    return [_describe(corpus) for corpus in REGISTRY.values()]


def open_corpus(
    source: str | os.PathLike[str],
    *,
    split: Split | None = None,
    separator: str | None = None,
    field: str = "text",
    stories: int = 10_000,
    seed: int = 0,
) -> Iterator[str]:
    """Return the documents of a named corpus, of a part of it, or of a file or folder.

    A name of the registry goes before a path of the same spelling; write `./name` for
    the path.

    Args:
        source: a name as `list_corpora` shows it (upper and lower case are the same),
            a part of it such as `wikitext-2/valid`, or a path.
        split: where documents end, see `read_documents`; by default as registered, for
            your own files "blank-line".
        separator: a literal string that ends a document, in place of `split`.
        field: the text's field in JSON Lines files.
        stories: how many stories of the story world.
        seed: which stories of the story world.

    Raises:
        ValueError: an unknown name, a corpus that has not been fetched, a file that is
            not what it should be, an option that this corpus does not have. While
            reading: not UTF-8, no document at all.
    """
    found = find_corpus(source) if isinstance(source, str) else None
    if found is None:
        if not Path(source).exists():
            texts = [name for name, it in REGISTRY.items() if it.content != "model"]
            raise ValueError(_unknown("corpus and no file", str(source), texts))
        return read_documents(
            source, split=split or "blank-line", separator=separator, field=field
        )
    corpus, parts = found
    if corpus.content == "model":
        raise ValueError(
            f"{corpus.name} is not a corpus but a model's files; get them with "
            f"`happyllm data fetch {corpus.name}`"
        )
    if corpus.content != "text" and (split or separator):
        raise ValueError(
            f"{corpus.name} has documents of its own; split and separator are for text "
            "files"
        )
    if corpus.name == "python-docs":
        return python_docs()
    if corpus.content == "generated":
        return _stories(corpus.name, stories, seed)
    paths = _cached_parts(corpus, parts)
    if corpus.content == "poems":
        return (poem for path in paths for poem in _poems(path))
    chosen = corpus.separator if split is None and separator is None else separator
    return read_documents(paths, split=split or corpus.split, separator=chosen)


def fetch(name: str, *, progress: Progress | None = None) -> Path:
    """Download or verify all files of a corpus or part; return its file or folder.

    Args:
        name: a corpus, or one part of it: `gpt2-weights`, `TinyStories/valid`.
        progress: called after each block with the stage `fetching FILE`, in bytes.

    Raises:
        ValueError: an unknown name, a corpus without files, a file with a wrong size or
            hash.
        DownloadError: no network, a broken transfer (kept and resumed by the next
            call), a full disk.
    """
    found = find_corpus(name)
    if found is None:
        with_files = [known for known, corpus in REGISTRY.items() if corpus.parts]
        raise ValueError(_unknown("corpus", name, with_files))
    corpus, parts = found
    if not corpus.parts:
        use = f"use it by its name, as in `happyllm data sample {corpus.name}`"
        raise ValueError(f"{corpus.name} needs no download: it is {corpus.kind}; {use}")
    wanted = parts if "/" in name else tuple(corpus.parts)
    paths = [fetch_file(corpus.parts[part], progress=progress) for part in wanted]
    return paths[0] if len(paths) == 1 else paths[0].parent


def find_corpus(name: str) -> tuple[Corpus, tuple[str, ...]] | None:
    """Look up `corpus` or `corpus/part`, whatever the case, and its parts' names.

    Raises:
        ValueError: a registered corpus that has no such part.
    """
    base, slash, part = name.partition("/")
    by_name = {known.casefold(): corpus for known, corpus in REGISTRY.items()}
    corpus = by_name.get(base.casefold())
    if corpus is None or not slash:
        return corpus and (corpus, corpus.default or tuple(corpus.parts))
    if part in corpus.parts:
        return corpus, (part,)
    if Path(name).exists():
        return None
    known = ", ".join(corpus.parts) or "none"
    raise ValueError(
        f"corpus {corpus.name} has no part {part!r}; its parts are: {known}"
    )


def _cached_parts(corpus: Corpus, parts: tuple[str, ...]) -> list[Path]:
    for part in parts:
        file = corpus.parts[part]
        if not (home() / file.path).exists():
            size = f"an archive of {corpus.size or 0:,} bytes"
            if file.size:
                size = f"{file.size:,} bytes"
            name = corpus.name
            if len(corpus.parts) > 1 and len(parts) == 1:
                name = f"{corpus.name}/{part}"
            get = "it has no download:"
            if corpus.kind == "download":
                get = f"run `happyllm data fetch {name}` ({size}) or"
            others = [
                p for p in corpus.parts if p not in parts and is_cached(corpus.parts[p])
            ]
            hint = f"; in the cache is {corpus.name}/{others[0]}" if others else ""
            raise ValueError(
                f"{name} is not in the cache; {get} put the file at "
                f"{home() / file.path}{hint}"
            )
    return [fetch_file(corpus.parts[part]) for part in parts]


def _stories(name: str, stories: int, seed: int) -> Iterator[str]:
    if stories < 1:
        raise ValueError(f"stories is {stories}; expected at least 1")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected at least 0")
    # builds tables: only when it is needed
    from happyllm_support.text.storyworld.world import StoryWorld

    language = name.partition("-")[2] or "both"
    return StoryWorld().stories(stories, seed=seed, language=language)


def _poems(path: Path) -> Iterator[str]:
    """Yield poems: title and author on the first line, then the poem's lines."""
    poems: list[dict[str, Any]] = json.loads(path.read_bytes())
    for poem in poems:
        title = poem.get("title") or poem.get("rhythmic", "")
        heading = f"{title} {poem.get('author', '')}".strip()
        yield "\n".join([heading, *poem["paragraphs"]])


def _describe(corpus: Corpus) -> CorpusInfo:
    parts = [corpus.parts[part] for part in corpus.default or corpus.parts]
    files = [home() / part.path for part in parts]
    where = files[0] if len(corpus.parts) == 1 else files[0].parent if files else ""
    return CorpusInfo(
        name=corpus.name,
        kind=corpus.kind,
        language=corpus.language,
        size=corpus.size,
        size_text=corpus.size_note or f"{corpus.size:,} bytes",
        licence=corpus.licence,
        cached=all(is_cached(part) for part in parts),
        parts=tuple(corpus.parts),
        where=str(where),
        description=corpus.description,
        citation=corpus.citation,
    )


def _unknown(what: str, name: str, corpora: list[str]) -> str:
    known = {corpus.casefold(): corpus for corpus in REGISTRY}
    close = difflib.get_close_matches(name.casefold().partition("/")[0], known, n=1)
    hint = f" (did you mean {known[close[0]]}?)" if close else ""
    return f"no {what} named {name!r}{hint}; expected one of {', '.join(corpora)}"
