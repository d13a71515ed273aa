"""Render the book: sources in `book/` and `chapters/` to `build/html/`, offline,
warnings as errors.

    python tools/book.py            # build/html/index.html, replaced when all succeeded
    python tools/book.py --draft    # while writing: warnings shown, gaps left out
    SCALE=gpu python tools/book.py  # build/gpu/chapters into build/gpu/html

Chapters are rendered from the outputs that their notebooks store; nothing is executed
here. MathJax is taken from the installed package sphinx-mathjax-offline, so that no
page needs a network. HAPPYLLM_REPOSITORY, or `repository: url` in `book/_config.yml`,
switches on the source and Colab buttons; without one no page has such a button.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from happyllm_support.experiments import chosen_scale
from happyllm_support.grading.page import write_into_book

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "build" / "html"
STAMP = (
    ROOT / "build" / "html.sha256"
)  # of the sources that build/html was rendered from
LOG = ROOT / "build" / "book.log"
STATIC = ROOT / "build" / "static"  # what `html_static_path` adds to book/_static

ADVICE = "see book/troubleshooting.md#book-warnings"

# Of MathJax: the combined component, its web fonts, and the extensions that it loads
# when a formula asks for them.
MATHJAX_PARTS = (
    "tex-mml-chtml.js",
    "output/chtml/fonts/woff-v2",
    "input/tex/extensions",
)


class BookError(Exception):
    """What stopped the build, in one line."""


def copy_mathjax() -> None:
    """Place MathJax below build/static, from the installed package; a copy of the same
    size is kept.
    """
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or not spec.submodule_search_locations:
        raise BookError(
            "the package sphinx-mathjax-offline is not installed; run `make setup`"
        )
    source = Path(spec.submodule_search_locations[0]) / "static" / "mathjax"
    for part in MATHJAX_PARTS:
        origin, target = source / part, STATIC / "mathjax" / part
        if not origin.exists():
            raise BookError(
                f"sphinx-mathjax-offline has no {part}; install the pinned version "
                "with `make setup`"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(origin, target)


def toc_files(toc: dict[str, Any]) -> list[str]:
    """Every document that the table of contents names, in reading order."""
    return [
        toc["root"],
        *(entry["file"] for part in toc["parts"] for entry in _walk(part["chapters"])),
    ]


def _walk(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        yield entry
        yield from _walk(entry.get("sections", []))


def source_of(document: str) -> Path | None:
    """The file behind a name of the table of contents, or None when there is none."""
    candidates = (
        [ROOT / document]
        if Path(document).suffix
        else [ROOT / f"{document}{s}" for s in (".md", ".ipynb")]
    )
    return next((path for path in candidates if path.is_file()), None)


def fingerprint() -> str:
    """SHA-256 over every source of the book: pages, notebooks, docstrings, and the
    settings of this run.
    """
    digest = hashlib.sha256(os.environ.get("HAPPYLLM_REPOSITORY", "").encode())
    paths = [
        *ROOT.glob("book/**/*"),
        *ROOT.glob("chapters/*.ipynb"),
        *ROOT.glob("happyllm_support/**/*.py"),
    ]
    paths += [Path(__file__), Path(__file__).with_name("sphinx_package.py")]
    for path in sorted(paths):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.relative_to(ROOT).as_posix().encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def is_current() -> bool:
    """Whether build/html was rendered from the sources as they are now."""
    return (
        (HTML / "index.html").is_file()
        and STAMP.is_file()
        and STAMP.read_text("utf-8").strip() == fingerprint()
    )


def settings() -> dict[str, Any]:
    """book/_config.yml, with the buttons that need a repository URL switched on when
    there is one.
    """
    config = yaml.safe_load((ROOT / "book" / "_config.yml").read_text("utf-8"))
    url = os.environ.get("HAPPYLLM_REPOSITORY", "") or config["repository"]["url"] or ""
    if url and not re.fullmatch(r"https?://[^/\s]+/\S+", url):
        raise BookError(
            f"repository URL {url!r} is not of the form https://host/owner/name"
        )
    config["repository"]["url"] = url.rstrip("/")
    if url:
        config["html"] |= {"use_repository_button": True, "use_issues_button": True}
        colab = "https://colab.research.google.com"
        config["launch_buttons"] = {
            "notebook_interface": "jupyterlab",
            "colab_url": colab,
        }
    return config


def contents(*, draft: bool) -> dict[str, Any]:
    """book/_toc.yml; a missing page is an error, or with `draft` left out and named."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf-8"))
    missing = [document for document in toc_files(toc) if source_of(document) is None]
    if missing and not draft:
        raise BookError(
            f"book/_toc.yml names pages that do not exist: {', '.join(missing)}; "
            f"{ADVICE}"
        )

    def present(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = [entry for entry in entries if entry["file"] not in missing]
        return [
            entry | {"sections": present(entry["sections"])}
            if "sections" in entry
            else entry
            for entry in kept
        ]

    if missing:
        print(f"draft: left out, not written yet: {', '.join(missing)}", flush=True)
        parts = [
            part | {"chapters": present(part["chapters"])} for part in toc["parts"]
        ]
        toc["parts"] = [part for part in parts if part["chapters"]]
    return toc


def gpu_sources(folder: Path) -> Path:
    """A copy of the book's sources in which the chapters that a GPU run has executed
    replace the committed ones.
    """
    executed = ROOT / "build" / "gpu" / "chapters"
    if not list(executed.glob("*.ipynb")):
        raise BookError(
            "build/gpu/chapters has no executed chapters; run `SCALE=gpu make execute` "
            "first"
        )
    shutil.copytree(ROOT / "book", folder / "book")
    shutil.copytree(ROOT / "chapters", folder / "chapters")
    shutil.copytree(executed, folder / "chapters", dirs_exist_ok=True)
    shutil.copytree(STATIC, folder / "build" / "static")
    return folder


def render(*, draft: bool = False, gpu: bool = False) -> Path:
    """Render the whole book into build/html, or with `gpu` into build/gpu/html, and
    return its first page.

    The pages are written elsewhere first: a failing build leaves the earlier book as it
    was, and a successful one leaves no page of an earlier book behind.

    Raises:
        BookError: a missing page or package, or a warning of Sphinx.
    """
    stamp = fingerprint()
    work = ROOT / "build" / f".book-{os.getpid()}"
    work.mkdir(parents=True)
    try:
        copy_mathjax()
        sources = gpu_sources(work / "sources") if gpu else ROOT
        config, toc = work / "_config.yml", work / "_toc.yml"
        config.write_text(yaml.safe_dump(settings(), allow_unicode=True), "utf-8")
        toc.write_text(
            yaml.safe_dump(contents(draft=draft), allow_unicode=True, sort_keys=False),
            "utf-8",
        )
        command = [
            sys.executable,
            "-c",
            "from jupyter_book.cli.main import main; main()",
            "build",
            ".",
        ]
        command += ["--toc", str(toc), "--config", str(config)]
        command += [
            "--path-output",
            str(work),
            "-n",
            "--all",
            *([] if draft else ["-W", "--keep-going"]),
        ]
        environment = os.environ | {
            "PYTHONUTF8": "1",
            "NO_COLOR": "1",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            command, cwd=sources, env=environment, capture_output=True, encoding="utf-8"
        )
        LOG.write_text(done.stdout + done.stderr, "utf-8")
        errors = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)
        warnings = [
            line
            for line in errors.splitlines()
            if re.search(r"WARNING|ERROR|CRITICAL|SEVERE|Error", line)
        ]
        if warnings:
            print("\n".join(warnings), file=sys.stderr)
        if done.returncode or not (work / "_build" / "html" / "index.html").is_file():
            count = f"{len(warnings)} warnings" if warnings else "an error"
            raise BookError(
                f"Sphinx reported {count}; the whole output is in "
                f"{LOG.relative_to(ROOT)}; {ADVICE}"
            )
        write_into_book(ROOT / "labs", work / "_build" / "html")
        target = ROOT / "build" / "gpu" / "html" if gpu else HTML
        shutil.rmtree(target, ignore_errors=True)
        os.replace(work / "_build" / "html", target)
        if not gpu and not draft:
            STAMP.write_text(stamp + "\n", "utf-8")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target / "index.html"


def wants_gpu() -> bool:
    """Whether SCALE asks for the chapters of a GPU run."""
    try:
        return chosen_scale() == "gpu"
    except ValueError as error:
        raise BookError(str(error)) from None


def main() -> int:
    """Command line: render, then say where the book is."""
    parser = argparse.ArgumentParser(description="Render the book into build/html.")
    parser.add_argument(
        "--draft",
        action="store_true",
        help="leave out missing pages, do not stop at warnings",
    )
    options = parser.parse_args()
    started = time.perf_counter()
    print("rendering the book ...", flush=True)
    try:
        first = render(draft=options.draft, gpu=wants_gpu())
    except BookError as error:
        print(f"book: error: {error}", file=sys.stderr)
        return 1
    pages = sum(1 for _ in first.parent.rglob("*.html"))
    print(
        f"{pages} pages in {time.perf_counter() - started:.0f} s. Open in a browser:\n "
        f" {first}\n  {first.as_uri()}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
