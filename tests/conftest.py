"""Fixtures for all tests: the command line called in this process, and a browser."""

import io
import os
import shutil
import sys
from pathlib import Path

import pytest

from happyllm_support.cli import main

ENGLISH = (
    "The old man gave the boat to the girl, and the girl gave the boat to the dog.\n\n"
)
CHINESE = "老人把船送给女孩，女孩把船送给小狗。\n\n"


@pytest.fixture(scope="session")
def launcher():
    """One process that starts those of all checks, since it takes seconds to come up.
    Tests of its own beginning and end make another.
    """
    from happyllm_support.grading.processes import Launcher

    with Launcher() as started:
        yield started


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """An empty HAPPYLLM_HOME."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HAPPYLLM_HOME", str(home))
    return home


@pytest.fixture
def run(capsys, monkeypatch, cache):
    """Call `happyllm` in this process: run("data", "list") -> (exit code, stdout,
    stderr).
    """

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(run):
    """Call `happyllm` with a mistake: one line on stderr, exit code 2, nothing on
    stdout; returns the line.
    """

    def call(*arguments, stdin=b"", code=2):
        found, out, err = run(*arguments, stdin=stdin)
        assert found == code, (found, out, err)
        assert (
            err.startswith("happyllm: ") and err.endswith("\n") and err.count("\n") == 1
        ), err
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
    assert (
        main(
            [
                "tokenizer",
                "train",
                str(folder / "corpus.txt"),
                "--vocab-size",
                "320",
                "--output",
                str(path),
            ]
        )
        == 0
    )
    return path


BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
)
BROWSERS += ("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="module")
def browser():
    """A headless browser, installed or Playwright's own; without one a skip that says
    how to get it, or a failure.
    """
    absent = pytest.fail if os.environ.get("HAPPYLLM_REQUIRE_BROWSER") else pytest.skip
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed, run `make setup`")
    installed = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )
    with sync_playwright() as running:
        if installed is None and not Path(running.chromium.executable_path).exists():
            absent(
                "no Chromium or Chrome was found; see "
                "troubleshooting.html#chromium-missing in the book"
            )
        launched = running.chromium.launch(executable_path=installed, args=FLAGS)
        yield launched
        launched.close()
