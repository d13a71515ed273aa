"""Calling the command line in this process, for all tests of it."""

import io
import sys

import pytest

from happyllm_support.cli import main

ENGLISH = "The old man gave the boat to the girl, and the girl gave the boat to the dog.\n\n"
CHINESE = "老人把船送给女孩，女孩把船送给小狗。\n\n"


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """An empty HAPPYLLM_HOME."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HAPPYLLM_HOME", str(home))
    return home


@pytest.fixture
def run(capsys, monkeypatch, cache):
    """Call `happyllm` in this process: run("data", "list") -> (exit code, stdout, stderr)."""

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(run):
    """Call `happyllm` with a mistake: one line on stderr, exit code 2, nothing on stdout; returns the line."""

    def call(*arguments, stdin=b"", code=2):
        found, out, err = run(*arguments, stdin=stdin)
        assert found == code, (found, out, err)
        assert err.startswith("happyllm: ") and err.endswith("\n") and err.count("\n") == 1, err
        assert "Traceback" not in err and not out, (out, err)
        return err

    return call


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text((ENGLISH + CHINESE) * 20, "utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small tokenizer, trained through the command line."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "corpus.txt").write_text((ENGLISH + CHINESE) * 20, "utf-8")
    path = folder / "tokenizer.json"
    assert main(["tokenizer", "train", str(folder / "corpus.txt"), "--vocab-size", "320", "--output", str(path)]) == 0
    return path
