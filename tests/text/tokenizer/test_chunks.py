"""Chunks: their pieces are the text's, whatever the block size, the special tokens and
the lack of borders.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from happyllm_support.text.tokenizer import chunks
from happyllm_support.text.tokenizer.chunks import Splitter, read_chunks

SPECIALS = ("<|a b|>", "<|a b|><|c|>", "<|c|>", " \n ")


def pieces_of(
    source: chunks.TextSource, splitter: Splitter, **options: bool
) -> list[list[str]]:
    return [
        [p for text in chunk for p in splitter.pieces(text)]
        for chunk in read_chunks(source, splitter, **options)
    ]


def texts(seed: int, length: int) -> str:
    rng = random.Random(seed)
    words = [
        "the",
        " cat",
        " ",
        "  ",
        "\n",
        "。",
        "我们去长安",
        "'ll",
        "1234",
        "!!!",
        "\x1c",
        "x" * 30,
        *SPECIALS,
    ]
    return "".join(rng.choice(words) for _ in range(length))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_CHARS", 64)
    monkeypatch.setattr(chunks, "LONGEST_CHARS", 1024)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("pattern", ["gpt2", "bilingual", r"\w+\s*|\W+"])
@pytest.mark.parametrize("specials", [(), SPECIALS])
@pytest.mark.parametrize("seed", range(8))
def test_cutting_changes_no_piece(
    pattern: str, specials: tuple[str, ...], seed: int
) -> None:
    splitter = Splitter(pattern, specials)
    text = texts(seed, 400)
    whole = splitter.pieces(text)
    cut = pieces_of([text], splitter)
    assert [p for chunk in cut for p in chunk] == whole
    assert splitter.can_cut == (len(cut) > 1)


# Where the end of one piece may depend on what follows it: contractions, marks, white
# space, runs of digits and of Han, and special tokens that look like any of them.
VISIBLE = (
    "' ’ s re 're 's ’ll 'S 'ſ x é e\u0301 \u0301 \u0902 们 我们去 长安 龘 1 ² 12345 "
    "٣ 。 ，！ ... 🙂 \u200d <|a <|a|> |>"
)
SPACES = (" ", "  ", "\n", "\r\n", "\t", "\u3000", "\x85", "\x1c", " \n ")
HARD = (*VISIBLE.split(" "), *SPACES)


@pytest.mark.parametrize("pattern", ["gpt2", "bilingual"])
@pytest.mark.parametrize(
    "specials", [(), ("<|a|>", "<|a|>'s", " \n "), ("'", "re"), ("们'", "\u0301x")]
)
def test_pieces_of_chunks_are_those_of_the_text_around_every_border(
    monkeypatch: pytest.MonkeyPatch, pattern: str, specials: tuple[str, ...]
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_CHARS", 8)
    splitter = Splitter(pattern, specials)
    rng = random.Random(0)
    for _ in range(1500):
        alphabet = rng.sample(HARD, rng.choice([3, 5, len(HARD)]))
        text = "".join(rng.choices(alphabet, k=rng.randint(8, 40)))
        cut = [p for chunk in pieces_of([text], splitter) for p in chunk]
        assert cut == splitter.pieces(text), ascii(text)


def test_a_chunk_does_not_end_where_a_contraction_would_begin_to_match() -> None:
    text = "们" * (chunks.CHUNK_CHARS - 3) + "'re" + "们" * 1000
    splitter = Splitter("bilingual")
    first, second = (p for chunk in pieces_of([text], splitter) for p in [chunk])
    assert first + second == splitter.pieces(text)
    assert "'re" not in first + second


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "text",
    [
        " " * 3000,
        "a" * 3000,
        "。" * 3000,
        "好" * 3000,
        "' " * 1500,
        "\x1c " * 1500,
        "<|c|>" * 600,
    ],
)
def test_runs_without_a_border_stay_exact(text: str) -> None:
    for pattern in ("gpt2", "bilingual"):
        splitter = Splitter(pattern, SPECIALS)
        text = "start" + text + "'ll end"
        assert [
            p for chunk in pieces_of([text], splitter) for p in chunk
        ] == splitter.pieces(text)


@pytest.mark.usefixtures("small_chunks")
def test_bounded_memory_cuts_a_run_that_never_ends() -> None:
    pieces = [
        p
        for chunk in pieces_of(["a" * 3000], Splitter("gpt2"), bounded=True)
        for p in chunk
    ]
    assert list(map(len, pieces)) == [1024, 1024, 952]


@pytest.mark.usefixtures("small_chunks")
def test_chunks_do_not_depend_on_the_size_of_the_blocks() -> None:
    text = texts(3, 600)
    splitter = Splitter("bilingual", SPECIALS)

    def cut(size: int) -> list[str]:
        blocks: Iterator[str] = (text[i : i + size] for i in range(0, len(text), size))
        return list(chunks._cut(blocks, splitter, True))

    assert cut(1) == cut(7) == cut(1000) == cut(10**6)
    assert len(cut(7)) > 10


def test_no_piece_reaches_into_the_next_document(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("two", encoding="utf-8")
    (tmp_path / "c.md").write_text("three", encoding="utf-8")
    assert pieces_of(["on", "e", tmp_path, tmp_path / "b.txt"], Splitter("gpt2")) == [
        ["on", "e", "two", "three", "two"]
    ]
    assert pieces_of(tmp_path / "c.md", Splitter("gpt2")) == [["three"]]


def test_json_lines_are_documents_and_not_their_notation(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"text": "on\\ne"}\n{"id": 7, "text": "two"}\n', encoding="utf-8"
    )
    assert pieces_of(tmp_path, Splitter("gpt2")) == [["on", "\n", "e", "two"]]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, name: str) -> None:
    lines = {
        "a.txt": "one two\n\ufeffthree\n",
        "a.jsonl": '{"text": "one two\\n\ufeffthree\\n"}\n',
    }
    for folder, mark in (("plain", b""), ("marked", b"\xef\xbb\xbf")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(mark + lines[name].encode())
    splitter = Splitter("bilingual")
    plain, marked = (
        pieces_of(tmp_path / folder / name, splitter) for folder in ("plain", "marked")
    )
    assert marked == plain
    assert "\ufeffthree" in "".join(plain[0])  # inside a file it is a character


def test_the_longer_special_token_counts() -> None:
    for specials in (("<a>", "<a><b>"), ("<a><b>", "<a>")):
        assert Splitter("gpt2", specials).pieces("x<a><b>y<a>z") == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("text", "stop", "cut"),
    [
        ("one two three four five six", 9, 7),  # before a space
        (
            "aaaa<|c|>bbbbbbbbbbbbbbbbbb",
            6,
            4,
        ),  # not inside the special token, nor after it
        ("aaaa<|c|>bbbbbbbbbbbbbbbbbb", 9, 9),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaa", 9, None),
        ("一二三四五六七八九十一二三四五六七八九十", 6, 4),
    ],
)
def test_find_cut(text: str, stop: int, cut: int | None) -> None:
    assert Splitter("bilingual", ("<|c|>",)).find_cut(text, stop) == cut


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("text.txt", "source is the string 'text.txt'; expected Path(...) for a file"),
        (
            ["fine", "bad \ud83d"],
            "document 1 is not valid Unicode: lone surrogate U+D83D at character 4",
        ),
        ([Path("absent.txt")], "no such file or folder: absent.txt"),
    ],
)
def test_bad_sources(source: chunks.TextSource, message: str) -> None:
    with pytest.raises(ValueError) as error:
        list(read_chunks(source, Splitter("gpt2")))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(
        ValueError, match=r"latin\.txt is not UTF-8: byte 0xe9 at offset 3"
    ):
        list(read_chunks(tmp_path, Splitter("gpt2")))
