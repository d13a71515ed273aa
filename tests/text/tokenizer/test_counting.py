"""Counting: the same for any number of workers, and bounded where asked."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import psutil
import pytest

from happyllm_support.text.tokenizer import chunks
from happyllm_support.text.tokenizer.counting import PretokenCounts, count_pretokens
from happyllm_support.text.tokenizer.pretokenize import pretokenize


def corpus(n_words: int, seed: int = 0) -> str:
    rng = random.Random(seed)
    digits = str.maketrans("0123456789", "abcdefghij")
    return " ".join(
        f"{int(rng.paretovariate(0.3)) % 100_000}".translate(digits)
        for _ in range(n_words)
    )


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_CHARS", 4096)


def test_counts_of_a_sentence() -> None:
    counted = count_pretokens(
        ["the cat, the<|x|> cat"], "gpt2", special_tokens=("<|x|>",)
    )
    assert counted.counts == {"the": 1, " cat": 2, ",": 1, " the": 1}
    assert (counted.n_pretokens, counted.n_bytes, counted.dropped_unique) == (5, 21, 0)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("max_unique", [None, 1000])
def test_workers_change_nothing(tmp_path: Path, max_unique: int | None) -> None:
    path = tmp_path / "words.txt"
    path.write_text(corpus(30_000), encoding="utf-8")
    alone, apart = (
        count_pretokens(
            [path, "and 一份 document"], "bilingual", workers=n, max_unique=max_unique
        )
        for n in (1, 3)
    )
    assert alone == apart
    assert list(alone.counts) == list(apart.counts)
    if max_unique is None:
        text = path.read_text(encoding="utf-8")
        assert alone.counts == Counter(
            pretokenize(text, "bilingual")
            + pretokenize("and 一份 document", "bilingual")
        )


@pytest.mark.usefixtures("small_chunks")
def test_max_unique_bounds_the_table_and_reports_what_it_dropped() -> None:
    everything = count_pretokens([corpus(30_000)], "gpt2")
    bounded = count_pretokens([corpus(30_000)], "gpt2", max_unique=500)
    assert len(everything.counts) > 3000
    assert len(bounded.counts) <= 500
    assert bounded.dropped_unique > 2500
    assert bounded.n_pretokens == everything.n_pretokens
    assert all(n <= everything.counts[piece] for piece, n in bounded.counts.items())
    frequent = [piece for piece, _ in Counter(everything.counts).most_common(50)]
    assert [bounded.counts[piece] for piece in frequent] == [
        everything.counts[piece] for piece in frequent
    ]


@pytest.mark.usefixtures("small_chunks")
def test_max_unique_bounds_long_pieces_too() -> None:
    documents = [
        *(chr(ord("A") + i) + "x" * 5000 for i in range(40)),
        *["short words"] * 40,
    ]
    bounded = count_pretokens(documents, "gpt2", max_unique=100)
    assert sum(map(len, bounded.counts)) <= 64 * 100
    assert bounded.counts["short"] == bounded.counts[" words"] == 40
    assert bounded.dropped_unique >= 39


def test_a_million_spaces_and_100_kb_without_a_border() -> None:
    text = " " * 1_000_000 + "x" * 100_000 + "好" * 300_000
    for pattern in ("gpt2", "bilingual"):
        assert count_pretokens([text], pattern, workers=2).counts == Counter(
            pretokenize(text, pattern)
        )


def test_progress_reaches_the_size_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("长安 " * 200_000, encoding="utf-8")
    calls: list[tuple[str, int, int | None]] = []
    count_pretokens(path, "gpt2", progress=lambda *call: calls.append(call))
    assert len(calls) >= 2
    assert calls[-1] == ("counting", path.stat().st_size, path.stat().st_size)
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


@pytest.mark.parametrize("options", [{"workers": 0}, {"max_unique": 0}])
def test_bad_numbers(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="is 0; expected at least 1"):
        count_pretokens(["text"], "gpt2", **options)


def test_an_error_in_the_source_ends_the_workers() -> None:
    def documents() -> object:
        yield from ["words and words " * 50_000] * 4
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="the source broke"):
        count_pretokens(documents(), "gpt2", workers=2)  # type: ignore[arg-type]
    assert not [
        child
        for child in psutil.Process().children()
        if "happyllm_support.parallel" in " ".join(child.cmdline())
    ]


def test_counts_know_what_they_were_made_with() -> None:
    counted = count_pretokens(["a"], "a+", special_tokens=("<s>",))
    assert counted == PretokenCounts(
        counts={"a": 1}, pattern="a+", special_tokens=("<s>",), n_bytes=1
    )
