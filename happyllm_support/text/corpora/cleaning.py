"""Cleaning a stream of documents, and reporting all that it removed.

The steps, in this order: repair (control and zero-width characters, optionally Unicode
normalization), length, script (the balance of Chinese and English), exact duplicates,
near duplicates. Each document leaves the stream for one reason only, the first that
applies, so that the counts of the report add up. The same documents in the same order
give the same result.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import regex

from happyllm_support.text.corpora.near_duplicates import NearDuplicateIndex

SCRIPTS = ("han", "latin", "mixed", "other")
REASONS = ("too short", "too long", "script", "exact duplicate", "near duplicate")

# Everything that Unicode calls a control character except tab and line feed, and halves
# of surrogate pairs, which no file can hold; zero-width characters without a meaning of
# their own (joiners have one, in Persian and in emoji).
_CONTROL = regex.compile(r"[[\p{Cc}\p{Cs}]--[\t\n]]", regex.V1)
_ZERO_WIDTH = regex.compile("[\u200b\u2060\ufeff]")
_HAN = regex.compile(r"\p{Han}")
_LATIN = regex.compile(r"\p{Latin}")


@dataclass(frozen=True, kw_only=True)
class CleaningConfig:
    """What to repair and what to leave out, by default exact duplicates only.

    Attributes:
        strip_control: remove control and zero-width characters; `\\r\\n` and `\\r`
            become `\\n`.
        normalization: of Unicode. NFC joins letters and their accents; NFKC also makes
            `Ａ` to `A`.
        min_chars: shorter documents are left out (counted after the repair, white space
            around the text aside).
        max_chars: longer documents are left out.
        scripts: keep only these of "han", "latin", "mixed", "other" (see `script_of`);
            None keeps all.
        exact_duplicates: leave out repetitions of a document; 16 bytes of hash are kept
            in memory for each.
        near_duplicates: leave out documents of at least this Jaccard similarity to an
            earlier one, such as 0.8; needs datasketch.
        shingle: characters per n-gram of the near-duplicate search.
        examples: per reason in the report.
    """

    strip_control: bool = True
    normalization: Literal["NFC", "NFKC"] | None = None
    min_chars: int = 1
    max_chars: int | None = None
    scripts: tuple[str, ...] | None = None
    exact_duplicates: bool = True
    near_duplicates: float | None = None
    shingle: int = 5
    examples: int = 3

    def __post_init__(self) -> None:
        if self.min_chars < 0 or self.examples < 0:
            raise ValueError(
                f"min_chars {self.min_chars} and examples {self.examples} cannot be "
                "negative"
            )
        if self.max_chars is not None and self.max_chars < max(1, self.min_chars):
            raise ValueError(
                f"max_chars {self.max_chars} is below min_chars {self.min_chars}; no "
                "document would be left"
            )
        if self.normalization not in (None, "NFC", "NFKC"):
            raise ValueError(
                f"unknown normalization {self.normalization!r}; choose NFC, NFKC or "
                "None"
            )
        unknown = [name for name in self.scripts or () if name not in SCRIPTS]
        if unknown or self.scripts == ():
            raise ValueError(
                f"unknown scripts {unknown}; choose from {', '.join(SCRIPTS)}, or None "
                "for all"
            )
        if self.near_duplicates is not None and not 0.0 < self.near_duplicates < 1.0:
            raise ValueError(
                f"near_duplicates {self.near_duplicates} is out of range; expected "
                "between 0 and 1, or None"
            )


@dataclass
class Tally:
    """Documents and their UTF-8 bytes."""

    documents: int = 0
    bytes: int = 0

    def add(self, document: str) -> None:
        """Count one document."""
        self.documents += 1
        self.bytes += len(document.encode("utf-8", "surrogatepass"))


@dataclass
class CleaningReport:
    """What a cleaning pass received, removed and kept; complete at the stream's end.

    Attributes:
        received: all documents.
        kept: those that stayed.
        removed: the others, by reason.
        examples: beginnings of removed documents by reason; a near duplicate is
            followed by the beginning of what it resembles.
        characters_removed: control and zero-width characters taken out of documents, by
            code point.
        repaired: documents that the repair changed.
        scripts: what was kept, by script: the balance of the languages.
    """

    received: Tally = field(default_factory=Tally)
    kept: Tally = field(default_factory=Tally)
    removed: dict[str, Tally] = field(
        default_factory=lambda: {reason: Tally() for reason in REASONS}
    )
    examples: dict[str, list[str]] = field(
        default_factory=lambda: {reason: [] for reason in REASONS}
    )
    characters_removed: Counter[str] = field(default_factory=Counter[str])
    repaired: int = 0
    scripts: dict[str, Tally] = field(
        default_factory=lambda: {name: Tally() for name in SCRIPTS}
    )

    def __str__(self) -> str:
        rows = {"received": self.received}
        rows |= {name: tally for name, tally in self.removed.items() if tally.documents}
        rows["kept"] = self.kept
        scripts = {
            f"kept, {name}": tally
            for name, tally in self.scripts.items()
            if tally.documents
        }
        characters = sum(self.characters_removed.values())
        repaired = f"{'repaired':<16}{self.repaired:>10,} documents "
        return "\n".join(
            [
                *(_row(name, tally) for name, tally in rows.items()),
                f"{repaired}{characters:>14,} characters",
                *(_row(name, tally) for name, tally in scripts.items()),
            ]
        )


def _row(name: str, tally: Tally) -> str:
    return f"{name:<16}{tally.documents:>10,} documents {tally.bytes:>14,} bytes"


def clean(
    documents: Iterable[str], config: CleaningConfig | None = None
) -> tuple[Iterator[str], CleaningReport]:
    """Return the cleaned documents as a stream, and a report that fills meanwhile.

    Args:
        documents: any number of documents; one is in memory at a time.
        config: the steps; by default `CleaningConfig()`.

    Raises:
        ValueError: near duplicates are asked for and `datasketch` is not installed.
    """
    config = config or CleaningConfig()
    near = None
    if config.near_duplicates is not None:
        near = NearDuplicateIndex(config.near_duplicates, shingle=config.shingle)
    report = CleaningReport()
    return _cleaned(documents, config, near, report), report


def script_of(document: str) -> str:
    """Tell what a document is written in: "han", "latin", "mixed" or "other".

    Of h Han characters and l Latin letters, "han" needs h >= 0.8 (h + l) and "latin" l
    >= 0.98 (h + l); what lies between is "mixed". The bounds differ because a Han
    character stands for more text than a letter. In "other", fewer than one in four
    characters (white space aside) is either of them.
    """
    han, latin = len(_HAN.findall(document)), len(_LATIN.findall(document))
    if han + latin == 0 or (han + latin) * 4 < len("".join(document.split())):
        return "other"
    if han >= 0.8 * (han + latin):
        return "han"
    return "latin" if latin >= 0.98 * (han + latin) else "mixed"


def _cleaned(
    documents: Iterable[str],
    config: CleaningConfig,
    near: NearDuplicateIndex | None,
    report: CleaningReport,
) -> Iterator[str]:
    seen: set[bytes] = set()
    for original in documents:
        report.received.add(original)
        document = _repair(original, config, report)
        script = script_of(document)
        reason, resembles = _reason_to_drop(document, script, config, seen, near)
        if reason is None:
            report.kept.add(document)
            report.scripts[script].add(document)
            yield document
            continue
        report.removed[reason].add(original)
        if len(report.examples[reason]) < config.examples:
            example = _beginning(document)
            report.examples[reason].append(
                f"{example} ~ {resembles}" if resembles else example
            )


def _repair(document: str, config: CleaningConfig, report: CleaningReport) -> str:
    text = document
    if config.strip_control:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        for pattern in (_CONTROL, _ZERO_WIDTH):
            if found := pattern.findall(text):
                report.characters_removed.update(
                    f"U+{ord(character):04X}" for character in found
                )
                text = pattern.sub("", text)
    if config.normalization is not None:
        text = unicodedata.normalize(config.normalization, text)
    report.repaired += text != document
    return text


def _reason_to_drop(
    document: str,
    script: str,
    config: CleaningConfig,
    seen: set[bytes],
    near: NearDuplicateIndex | None,
) -> tuple[str | None, str | None]:
    length = len(document.strip())
    if length < config.min_chars:
        return "too short", None
    if config.max_chars is not None and length > config.max_chars:
        return "too long", None
    if config.scripts is not None and script not in config.scripts:
        return "script", None
    if config.exact_duplicates:
        key = hashlib.blake2b(
            document.encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()
        if key in seen:
            return "exact duplicate", None
        seen.add(key)
    if near is not None:
        resembles = near.match(document, label=_beginning(document))
        if resembles is not None:
            return "near duplicate", resembles
    return None, None


def _beginning(document: str) -> str:
    text = " ".join(document.split())
    return text if len(text) <= 60 else text[:59] + "…"
