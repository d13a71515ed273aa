import hashlib
import json
import os
from itertools import islice
from pathlib import Path

import pytest

from happyllm_support.text.corpora import access as corpora
from happyllm_support.text.corpora.access import (
    Corpus,
    fetch,
    home,
    list_corpora,
    open_corpus,
)
from happyllm_support.text.corpora.download import RemoteFile

CACHE = home()
needs_real_files = pytest.mark.skipif(
    not (CACHE / "chinese-poetry" / "poetry.txt").exists(),
    reason="chinese-poetry/poetry.txt is not in HAPPYLLM_HOME",
)


def entry(tmp_path, name, files, **changes):
    """A registered corpus whose sources are files on this machine."""
    parts = {}
    for part, content in files.items():
        origin = tmp_path / "origin" / name / part
        origin.parent.mkdir(parents=True, exist_ok=True)
        origin.write_bytes(content.encode())
        digest = "sha256:" + hashlib.sha256(content.encode()).hexdigest()
        size = len(content.encode())
        parts[part] = RemoteFile(
            path=f"{name}/{part}", size=size, digest=digest, urls=(origin.as_uri(),)
        )
    fields = {
        "kind": "download",
        "language": "English",
        "licence": "none",
        "description": "A test.",
        "citation": "x",
    }
    return Corpus(**{"name": name, "parts": parts} | fields | changes)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("HAPPYLLM_HOME", str(tmp_path / "home"))
    poems = [
        {"title": "题", "author": "人", "paragraphs": ["一", "二"]},
        {"rhythmic": "R", "paragraphs": ["三"]},
    ]
    entries = [
        entry(
            tmp_path, "Plays", {"train": "a\n\nb\n", "valid": "c\n"}, default=("train",)
        ),
        entry(tmp_path, "tales", {"all": "x<e>y\n\nz<e>"}, separator="<e>"),
        entry(tmp_path, "poems", {"1": json.dumps(poems), "2": "[]"}, content="poems"),
        entry(tmp_path, "weights", {"w": "0"}, content="model"),
        entry(tmp_path, "mine", {"m": "mine"}, kind="local"),
    ]
    known = {corpus.name: corpus for corpus in entries}
    known["storyworld-en"] = corpora.REGISTRY["storyworld-en"]
    known["python-docs"] = corpora.REGISTRY["python-docs"]
    monkeypatch.setattr(corpora, "REGISTRY", known)


def test_home(monkeypatch):
    monkeypatch.setenv("HAPPYLLM_HOME", "~/texts")
    assert home() == Path.home() / "texts"
    monkeypatch.delenv("HAPPYLLM_HOME")
    assert home() == Path.home() / ".cache" / "happyllm"


@pytest.mark.usefixtures("registry")
def test_fetch_then_open():
    seen = []
    assert fetch("plays", progress=lambda *call: seen.append(call)) == home() / "Plays"
    assert seen == [("fetching train", 5, 5), ("fetching valid", 2, 2)]
    assert list(open_corpus("PLAYS")) == ["a", "b"]
    assert list(open_corpus("plays/valid")) == ["c"]
    assert list(open_corpus("plays", split="file")) == ["a\n\nb"]
    assert fetch("tales") == home() / "tales" / "all"
    assert list(open_corpus("tales")) == ["x", "y\n\nz"]
    assert list(open_corpus("tales", separator="y")) == ["x<e>", "\n\nz<e>".strip("\n")]
    assert list(open_corpus("tales", split="blank-line")) == ["x<e>y", "z<e>"]
    fetch("poems")
    assert list(open_corpus("poems")) == ["题 人\n一\n二", "R\n三"]


@pytest.mark.usefixtures("registry")
def test_one_part_is_enough():
    assert fetch("plays/valid") == home() / "Plays" / "valid"
    assert list(open_corpus("plays/valid")) == ["c"]
    with pytest.raises(
        ValueError,
        match=r"Plays/train is not in the cache; .*; in the cache is Plays/valid",
    ):
        open_corpus("plays")
    assert [info.cached for info in list_corpora() if info.name == "Plays"] == [False]


@pytest.mark.usefixtures("registry")
def test_opening_never_downloads_but_says_how():
    with pytest.raises(ValueError) as caught:
        open_corpus("tales")
    message = str(caught.value)
    assert (
        "run `happyllm data fetch tales` (11 bytes) or put the file at" in message
        and "\n" not in message
    )
    assert not home().exists()
    with pytest.raises(
        ValueError,
        match=r"mine is not in the cache; it has no download: put the file at .*mine",
    ):
        open_corpus("mine")


@pytest.mark.usefixtures("registry")
def test_a_cached_file_that_is_another_is_refused():
    fetch("tales")
    (home() / "tales" / "all").write_text("y<e>x\n\nz<e>")
    with pytest.raises(ValueError, match="all is not the registered file: sha256:"):
        open_corpus("tales")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: open_corpus("tale"),
            r"no file named 'tale' \(did you mean tales\?\); "
            r"expected one of Plays, tales,(?!.*weights)",
        ),
        (
            lambda: open_corpus("none.txt"),
            r"no corpus and no file named 'none.txt'; expected one of Plays",
        ),
        (
            lambda: fetch("plais"),
            r"no corpus named 'plais' \(did you mean Plays\?\); "
            r"expected one of Plays, .*weights",
        ),
        (
            lambda: open_corpus("plays/tests"),
            "Plays has no part 'tests'; its parts are: train, valid",
        ),
        (
            lambda: open_corpus("weights"),
            r"weights is not a corpus but a model's files; .*`happyllm data fetch w",
        ),
        (
            lambda: fetch("python-docs"),
            "python-docs needs no download: it is with Python",
        ),
        (
            lambda: open_corpus("python-docs", split="line"),
            "split and separator are for text files",
        ),
        (
            lambda: open_corpus("storyworld-en", stories=0),
            "stories is 0; expected at least 1",
        ),
        (
            lambda: open_corpus("storyworld-en", seed=-1),
            "seed is -1; expected at least 0",
        ),
        (lambda: open_corpus(""), "the name of a file or folder is empty"),
    ],
)
def test_errors_are_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("registry")
def test_names_go_before_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tales").write_text("mine")
    Path("own.jsonl").write_text('{"body": "own"}\n')
    fetch("tales")
    assert next(open_corpus("tales")) == "x"
    assert list(open_corpus("./tales")) == list(open_corpus(Path("tales"))) == ["mine"]
    assert list(open_corpus("own.jsonl", field="body")) == ["own"]
    with pytest.raises(ValueError, match=r"own\.jsonl:1: no field 'text'"):
        list(open_corpus("own.jsonl"))


def test_list_describes_all_without_reading(tmp_path, monkeypatch):
    monkeypatch.setenv("HAPPYLLM_HOME", str(tmp_path))
    infos = {info.name: info for info in list_corpora()}
    assert list(infos) == list(corpora.REGISTRY)
    assert infos["storyworld-zh"].cached and infos["python-docs"].cached
    assert not infos["tinyshakespeare"].cached
    assert infos["tinyshakespeare"].size_text == "1,115,394 bytes"
    assert infos["wikitext-2"].parts == ("train", "valid", "test")
    os.truncate((tmp_path / "tinyshakespeare.txt").open("wb").name, 1_115_394)
    assert next(
        info for info in list_corpora() if info.name == "tinyshakespeare"
    ).cached


@pytest.mark.parametrize("name", ["storyworld-en", "storyworld-zh", "storyworld"])
def test_story_world(name):
    stories = list(open_corpus(name, stories=4, seed=3))
    assert len(stories) == 4 and stories == list(open_corpus(name, stories=4, seed=3))
    assert stories != list(open_corpus(name, stories=4, seed=4))
    assert any("\u4e00" <= letter <= "\u9fff" for letter in "".join(stories)) == (
        name != "storyworld-en"
    )


def test_python_docs_by_name():
    assert len(next(open_corpus("python-docs"))) > 100


@needs_real_files
def test_real_files_are_found_by_name(monkeypatch):
    monkeypatch.setenv("HAPPYLLM_HOME", str(CACHE))
    cached = {info.name for info in list_corpora() if info.cached}
    assert {"tinyshakespeare", "chinese-poetry", "gpt2-vocabulary"} <= cached
    assert next(open_corpus("tinyshakespeare")).startswith(
        "First Citizen:\nBefore we proceed"
    )
    articles = list(open_corpus("wikitext-2/valid"))
    assert len(articles) == 60 and articles[0].strip().startswith(
        "= Homarus gammarus ="
    )
    assert all(
        document.strip() for document in islice(open_corpus("chinese-poetry"), 100)
    )
    assert fetch("gpt2-vocabulary") == CACHE / "gpt2"
