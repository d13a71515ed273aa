import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happyllm_support.text.corpora import documents
from happyllm_support.text.corpora.documents import SPLITS, read_documents, read_jsonl

TEXT = "\ufeffone\r\ntwo\r\n\r\n \n三\n\n\n = Head = \n \n body\n"


@pytest.fixture
def text_file(tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT.encode())
    return tmp_path / "a.txt"


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("blank-line", ["one\r\ntwo", "三", " = Head = ", " body"]),
        ("line", ["one", "two", "三", " = Head = ", " body"]),
        ("file", [TEXT.removeprefix("\ufeff").strip("\r\n")]),
        ("article", ["one\r\ntwo\r\n\r\n \n三", " = Head = \n \n body"]),
    ],
)
def test_splits(text_file, split, expected):
    assert list(read_documents(text_file, split=split)) == expected


def test_a_byte_order_mark_is_no_text(text_file):
    first = next(read_documents(text_file, separator="\r\n"))
    assert first == "one"


def test_article_headings_are_only_those_of_the_top_level(tmp_path):
    text = (
        " \n = First = \n \n text \n = no heading = \n \n = = Section = = \n \n x\n"
        " "
        "\n = A : B ( 2 ) = \n \n y\n"
    )
    (tmp_path / "w.txt").write_text(text)
    heads = [
        document.strip().split("\n")[0].strip()
        for document in read_documents(tmp_path / "w.txt", split="article")
    ]
    assert heads == ["= First =", "= A : B ( 2 ) ="]


@settings(deadline=None, max_examples=60)
@given(
    pieces=st.lists(st.text(alphabet="a<|\n", max_size=12), min_size=1, max_size=6),
    block=st.integers(1, 9),
)
def test_separator_is_found_wherever_blocks_end(tmp_path_factory, pieces, block):
    separator = "<|x|>"
    path = tmp_path_factory.mktemp("s") / "s.txt"
    path.write_text(separator.join(pieces))
    blocks = documents.read_text_blocks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "read_text_blocks", lambda p: blocks(p, block))
        assert list(documents._pieces(path, separator)) == pieces


@pytest.mark.parametrize("block", [1, 2, 3, 1 << 20])
def test_lines_do_not_depend_on_blocks(text_file, monkeypatch, block):
    blocks = documents.read_text_blocks
    monkeypatch.setattr(documents, "read_text_blocks", lambda p: blocks(p, block))
    assert (
        list(documents._lines(text_file))
        == TEXT.removeprefix("\ufeff").split("\n")[:-1]
    )


def test_only_a_line_feed_ends_a_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("a\x0bb\u2028c\x85d".encode())
    assert list(read_documents(tmp_path / "a.txt", split="line")) == [
        "a\x0bb\u2028c\x85d"
    ]


def test_folder_is_read_in_sorted_order_with_its_jsonl(tmp_path):
    (tmp_path / "b.txt").write_text("from b")
    (tmp_path / "a.jsonl").write_text(
        '{"text": "from a"}\n\n{"text": "  "}\n{"text": "again 语"}\n'
    )
    assert list(read_documents(tmp_path)) == ["from a", "again 语", "from b"]
    assert list(read_documents([tmp_path / "b.txt", tmp_path / "a.jsonl"])) == [
        "from b",
        "from a",
        "again 语",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"body": "x"}', r"d\.jsonl:2: no field 'text'; the object has 'body'"),
        ('{"text": 3}', r"d\.jsonl:2: field 'text' holds int; a string is needed"),
        ('["text"]', r"d\.jsonl:2: a JSON list, not an object"),
        ('{"text": "x', r"d\.jsonl:2: not a JSON object on one line"),
        ('{"text": ' + "[" * 200_000, r"d\.jsonl:2: this JSON cannot be read"),
        ('{"text": ' + "1" * 5000 + "}", r"d\.jsonl:2: this JSON cannot be read"),
        (
            '{"text": "a\\ud800"}',
            r"d\.jsonl:2: field 'text' holds the lone surrogate \\ud800",
        ),
    ],
)
def test_jsonl_errors_name_file_and_line(tmp_path, line, message):
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": "fine"}) + "\n" + line + "\n")
    with pytest.raises(ValueError, match=message) as caught:
        list(read_jsonl(tmp_path / "d.jsonl"))
    assert "\n" not in str(caught.value)


def test_errors(tmp_path, text_file):
    with pytest.raises(
        ValueError,
        match="unknown split 'lines'; choose one of blank-line, line, file, article",
    ):
        read_documents(text_file, split="lines")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="separator is empty"):
        read_documents(text_file, separator="")
    with pytest.raises(ValueError, match="no such file or folder"):
        read_documents(tmp_path / "missing.txt")
    (tmp_path / "x.txt.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(ValueError, match=r"x\.txt\.gz is compressed; unpack it first"):
        read_documents(tmp_path / "x.txt.gz")
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9 \n")
    with pytest.raises(
        ValueError, match=r"latin1\.txt is not UTF-8: byte 0xe9 at offset 3"
    ):
        list(read_documents(tmp_path / "latin1.txt"))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("content", ["", "\n \n\t\n"])
def test_empty_corpus_is_an_error(tmp_path, split, content):
    (tmp_path / "empty.txt").write_text(content)
    with pytest.raises(ValueError, match=r"empty corpus: .*empty\.txt holds no text"):
        list(read_documents(tmp_path / "empty.txt", split=split))


def test_reading_needs_memory_for_one_document_only(tmp_path):
    import tracemalloc

    path = tmp_path / "big.txt"
    with open(path, "w") as file:
        for number in range(4000):
            file.write(f"document {number} " + "word " * 1000 + "\n\n")
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    assert sum(1 for _ in read_documents(path)) == 4000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
