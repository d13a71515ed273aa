"""The book's frame: contents, links from messages, offline pages, numbers on the
hand-written pages.
"""

from __future__ import annotations

import ast
import doctest
import json
import math
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from happyllm_support import cli
from happyllm_support.machine import problems
from tools import book, sphinx_package

ROOT = book.ROOT
BOOK = ROOT / "book"
PACKAGE = ROOT / "happyllm_support"
TOC = yaml.safe_load((BOOK / "_toc.yml").read_text("utf-8"))
PAGES = sorted(BOOK.rglob("*.md"))


def blocks(path: Path, language: str) -> list[str]:
    """The fenced code blocks of a page in one language, also those inside longer
    fences.
    """
    return re.findall(
        rf"^ *```{language}\n(.*?)^ *```$",
        path.read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )


# Contents.


def test_every_chapter_is_in_the_contents() -> None:
    """A new chapter has to be entered, and an entry has a chapter."""
    chapters = {
        f"chapters/{path.stem}.ipynb" for path in ROOT.glob("chapters/[0-9][0-9]_*.md")
    }
    assert {
        name for name in book.toc_files(TOC) if name.startswith("chapters/")
    } == chapters
    assert chapters, "there are no chapters"


def test_every_page_is_in_the_contents() -> None:
    """No page of the book is unreachable; other pages include generated tables."""
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in PAGES}
    included = {"book/benchmarks_table", "book/labs_table"}
    assert pages - included == {
        name for name in book.toc_files(TOC) if name.startswith("book/")
    }


def test_every_public_module_has_an_api_page() -> None:
    """All modules are documented, those behind others in a section of the same page;
    commands by their help.
    """
    documented = {
        module
        for page in PAGES
        for module in re.findall(r"automodule:: ([\w.]+)", page.read_text("utf-8"))
    }
    modules = set()
    for path in PACKAGE.rglob("*.py"):
        names = path.relative_to(ROOT).with_suffix("").parts
        if "commands" not in names and not any(name.startswith("_") for name in names):
            modules.add(".".join(names))
    assert documented == modules


# From messages to the page that explains them.


def targets(path: Path) -> set[str]:
    """The explicit anchors of a page."""
    return set(re.findall(r"^\(([\w-]+)\)=$", path.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("code", problems.CODES)
def test_every_problem_of_the_doctor_has_a_section(code: str) -> None:
    """`happyllm doctor` names the page and the code of the problem as its anchor."""
    assert code in targets(BOOK / "troubleshooting.md")


def test_links_in_messages_lead_to_a_section() -> None:
    """Whatever anchor of the troubleshooting page our code names is there, and each one
    is named.
    """
    named = {*problems.CODES, *cli.SECTIONS.values()}
    for folder in ("happyllm_support", "tools", "tests", "benchmarks"):
        for path in [*ROOT.glob(f"{folder}/**/*.py"), ROOT / "conftest.py"]:
            text = path.read_text("utf-8")
            named |= set(re.findall(r"troubleshooting(?:\.html|\.md)?#([\w-]+)", text))
            if not {"grading", "labs"} & set(
                path.relative_to(ROOT).parts
            ):  # where a section is one of a chapter
                named |= set(re.findall(r"\bsection=\"([\w-]+)", text))
    assert named == targets(BOOK / "troubleshooting.md")


def literals() -> Iterator[str]:
    """The string constants of our code, with neighbouring literals joined as Python
    joins them.
    """
    for pattern in ("happyllm_support/**/*.py", "tools/*.py", "tests/conftest.py"):
        for path in ROOT.glob(pattern):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_quoted_messages_are_what_the_programs_say() -> None:
    """Each symptom (a block in the language `text`) consists of pieces of messages; …
    stands for what differs.
    """
    said = "\0".join(literals())
    lines = [
        line
        for block in blocks(BOOK / "troubleshooting.md", "text")
        for line in block.splitlines()
    ]
    assert len(lines) > 20
    for line in lines:
        for piece in re.sub(r"^(setup|happyllm): error: ", "", line).split("…"):
            piece = piece.strip(" ;,")
            assert len(piece) < 8 or piece in said, (
                f"{piece!r} of {line!r} is said nowhere"
            )


# Numbers and terms on hand-written pages.


@pytest.mark.parametrize(
    "path", [p for p in PAGES if ">>> " in p.read_text("utf-8")], ids=lambda p: p.stem
)
def test_examples_print_what_the_page_shows(path: Path) -> None:
    """All blocks of a page run in order, in one namespace."""
    source = "\n".join(blocks(path, "pycon"))
    assert source.count(">>> ") == path.read_text("utf-8").count(">>> ")
    report: list[str] = []
    test = doctest.DocTestParser().get_doctest(source, {}, path.name, str(path), 0)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
    assert test.examples and not report, "".join(report)


def test_prose_of_the_self_test_repeats_computed_numbers() -> None:
    """The answers in words, computed once more without the blocks under them."""
    page = (BOOK / "prerequisites.md").read_text("utf-8")
    softmax = [math.exp(z) / sum(map(math.exp, (2, 1, 0))) for z in (2, 1, 0)]
    after = math.log(1 + math.exp(-0.25))
    entropy = 1.5
    said = [
        f"approx {1 / math.log(2):.4f}",
        f"approx {math.log(2):.4f}$",
        f"approx {1 / (1 + math.exp(-0.25)):.4f}$ and $L \\approx {after:.4f}$: it "
        f"fell by\n{math.log(2) - after:.3f}",
        f"{0.1 * (1**2 + 0.5**2):.3f}$; the difference",
        f"{entropy}$ bits, which is {entropy * math.log(2):.2f} nats",
        f"approx {math.log2(3):.3f}$ bits whatever comes. The difference, "
        f"{math.log2(3) - entropy:.3f} bits",
        f"{softmax[0]:.4f}, {softmax[1]:.4f}, {softmax[2]:.2f}. The loss is $-\\ln "
        f"{softmax[0]:.4f} = ",
        f"= {-math.log(softmax[0]):.4f}$",
        f"approx {math.log(8192):.3f}$ nats, which is exactly {math.log2(8192):.0f} "
        "bits",
        f"= {2.0 / math.log(2) / 4.0:.3f}$ bits and Y ${1.5} / \\ln 2 / 2.5 = "
        f"{1.5 / math.log(2) / 2.5:.3f}$",
    ]
    assert [text for text in said if text not in page] == []


def test_ids_in_the_picture_are_those_of_gpt2() -> None:
    """`To be or not to`, and the next token."""
    home = Path(os.environ.get("HAPPYLLM_HOME", Path.home() / ".cache" / "happyllm"))
    found = [
        *home.rglob("encoder.json"),
        *ROOT.parent.glob("shared/data/**/encoder.json"),
    ]
    if not found:
        pytest.skip(
            "GPT-2's encoder.json is not in the cache (happyllm data fetch gpt2)"
        )
    ids = json.loads(found[0].read_text("utf-8"))
    expected = [str(ids[token]) for token in ("To", "Ġbe", "Ġor", "Ġnot", "Ġto")]
    figure = (BOOK / "figures" / "flow.html").read_text("utf-8")
    for drawing in re.findall(r"<svg.*?</svg>", figure, re.DOTALL):
        shown = re.findall(r"hl-mono[^>]*>(\d+)</text>", drawing)
        assert shown == [*expected, str(ids["Ġbe"])]


def test_terms_are_in_the_glossary() -> None:
    """{term}`x` of pages and chapters is an entry, and each English entry has a Chinese
    one under it.
    """
    entries = blocks(BOOK / "glossary.md", r"\{glossary\}")[0]
    terms = [line for line in entries.splitlines() if line and not line.startswith(" ")]
    assert len(terms) % 2 == 0 and len(set(terms)) == len(terms)
    for english, chinese in zip(terms[::2], terms[1::2], strict=True):
        assert english.replace("é", "e").isascii() and re.search(
            r"[\u4e00-\u9fff]", chinese
        ), (english, chinese)
    assert terms[::2] == sorted(terms[::2], key=str.lower)
    used: set[str] = set()
    for path in [*PAGES, *ROOT.glob("chapters/*.md")]:
        for label in re.findall(r"\{term\}`([^`]+)`", path.read_text("utf-8")):
            used.add(label.rpartition("<")[2].rstrip(">").strip().lower())
    assert used <= {term.lower() for term in terms}


def test_commands_of_the_reference_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """The table of the page on the command line has each command, and each command its
    page of help.
    """
    listed = re.findall(
        r"^\| `happyllm ([a-z ]+)` \|",
        (BOOK / "api" / "cli.md").read_text("utf-8"),
        re.MULTILINE,
    )
    groups = [line.split()[0] for line in listed if " " in line]
    assert (
        re.findall(r"command-help:: (.+)", (BOOK / "api" / "cli.md").read_text("utf-8"))
        == listed
    )
    assert len(listed) >= 9
    for command in listed:
        assert cli.main([*command.split(), "--help"]) == 0
        assert "usage: happyllm" in capsys.readouterr().out
    for group in dict.fromkeys(groups):
        cli.main([group, "--help"])
        offered = re.search(r"\{([a-z,]+)\}", capsys.readouterr().out)
        assert offered and {f"{group} {name}" for name in offered[1].split(",")} <= set(
            listed
        )


def test_claims_name_existing_chapters_once_each() -> None:
    """Every row of the table of claims: a claim, a chapter, a result whose numbers
    stand in that chapter.
    """
    table = (BOOK / "claims.md").read_text("utf-8")
    rows = re.findall(
        r"^\* - (.+?)\n  - (.+?)\n  - (.+?)(?=^\* - |^:::)",
        table,
        re.MULTILINE | re.DOTALL,
    )
    claims = [
        row for row in rows if row[0] != "One reads"
    ]  # each part has a table with a head of its own
    assert len(claims) > 4
    for claim, chapter, result in claims:
        name = re.search(r"<\.\./(chapters/\w+)>", chapter)
        assert name and (ROOT / f"{name[1]}.md").is_file(), (claim, chapter)
        text = (
            (ROOT / f"{name[1]}.md")
            .read_text("utf-8")
            .replace("_", "")
            .replace(",", "")
        )
        for number in re.findall(r"\d[\d,.]*\d|\d", result):
            found = re.search(
                rf"(?<![\d.]){re.escape(number.replace(',', ''))}(?![\d.]\d)", text
            )
            assert found, f"{number} of {result!r} is nowhere in {name[1]}.md"
    assert len({claim for claim, _, _ in claims}) == len(claims)


# The rendered pages.


class References(HTMLParser):
    """Addresses that a browser loads by itself when it shows a page, and the anchors of
    the page.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect from one tag."""
        found = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := found.get(key))}
        if tag in ("script", "img", "iframe", "source", "video", "embed") and (
            address := found.get("src")
        ):
            self.loaded.append(address)
        if tag == "link" and found.get("rel") not in (
            "next",
            "prev",
            "canonical",
            "index",
            "search",
            "author",
        ):
            self.loaded.append(found.get("href") or "")
        if tag == "a" and (address := found.get("href")):
            self.links.append(address)


@pytest.fixture(scope="module")
def pages(html: Path) -> dict[Path, References]:
    """Every rendered page, parsed."""
    return {path: References(path.read_text("utf-8")) for path in html.rglob("*.html")}


def test_no_page_loads_anything_from_outside(
    pages: dict[Path, References], html: Path
) -> None:
    """Scripts, styles, fonts and images all lie in build/html."""
    outside = re.compile(r"^(https?:)?//")
    found = {
        f"{path.name}: {a}"
        for path, page in pages.items()
        for a in page.loaded
        if outside.match(a)
    }
    for path in html.rglob("*.css"):
        css = path.read_text("utf-8")
        found |= {
            f"{path.name}: {a}"
            for a in re.findall(
                r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)", css
            )
        }
    assert not found
    assert len(pages) > 20


def test_links_inside_the_book_arrive(pages: dict[Path, References]) -> None:
    """Each relative link names a file that is there, and its anchor exists."""
    lost: list[str] = []
    for path, page in pages.items():
        for address in page.links:
            if re.match(r"^[a-z]+:|^//", address):
                continue
            name, _, anchor = address.partition("#")
            target = (path.parent / name.partition("?")[0]).resolve() if name else path
            if not target.is_file():
                lost.append(f"{path.name} -> {address}")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                lost.append(f"{path.name} -> {address} (no such anchor)")
    assert not lost, "\n".join(sorted(set(lost))[:20])


def test_formulas_come_from_the_book_itself(html: Path) -> None:
    """MathJax and its fonts are copied, and the page with formulas names the copy."""
    assert (html / "_static" / "mathjax" / "tex-mml-chtml.js").is_file()
    assert list(
        (html / "_static" / "mathjax" / "output" / "chtml" / "fonts" / "woff-v2").glob(
            "*.woff"
        )
    )
    assert "_static/mathjax/tex-mml-chtml.js" in (
        html / "book" / "prerequisites.html"
    ).read_text("utf-8")


def test_benchmark_table_is_shown(html: Path) -> None:
    """Each row of benchmarks/results.json stands on the page."""
    rows = json.loads((ROOT / "benchmarks" / "results.json").read_text("utf-8"))["rows"]
    shown = re.sub(
        r"<[^>]+>", "", (html / "book" / "benchmarks.html").read_text("utf-8")
    )
    assert rows and [row["row"] for row in rows if row["row"] not in shown] == []


def test_without_a_repository_there_are_no_repository_buttons(
    pages: dict[Path, References],
) -> None:
    """No button leads to an address that was made up; a source may be cited, in the
    text of a tooltip.
    """
    for path, page in pages.items():
        if path.parent.name == "chapters":
            text = path.read_text("utf-8")
            assert "colab.research.google.com" not in text and "btn-source" not in text
            assert not [address for address in page.links if "github.com" in address]


# The render step.


def test_repository_switches_the_buttons_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """One setting, from the environment or the file, decides over source, issue and
    Colab buttons.
    """
    monkeypatch.delenv("HAPPYLLM_REPOSITORY", raising=False)
    plain = book.settings()
    assert "launch_buttons" not in plain and not plain["html"].get(
        "use_repository_button"
    )
    monkeypatch.setenv("HAPPYLLM_REPOSITORY", "https://example.org/owner/name/")
    found = book.settings()
    assert found["repository"]["url"] == "https://example.org/owner/name"
    assert (
        found["launch_buttons"]["colab_url"] and found["html"]["use_repository_button"]
    )
    monkeypatch.setenv("HAPPYLLM_REPOSITORY", "owner/name")
    with pytest.raises(book.BookError, match="'owner/name' is not of the form"):
        book.settings()


def test_missing_page_is_an_error_and_left_out_of_a_draft(
    monkeypatch: Any, tmp_path: Path, capsys: Any
) -> None:
    """A name in the contents without a file behind it."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "index.md").write_text("# Title\n")
    toc = {
        "format": "jb-book",
        "root": "book/index",
        "parts": [{"caption": "A", "chapters": [{"file": "book/b"}]}],
    }
    (tmp_path / "book" / "_toc.yml").write_text(yaml.safe_dump(toc))
    monkeypatch.setattr(book, "ROOT", tmp_path)
    with pytest.raises(book.BookError, match="book/b"):
        book.contents(draft=False)
    assert book.contents(draft=True)["parts"] == []
    assert "book/b" in capsys.readouterr().out


def test_fingerprint_follows_the_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A change of a page, a notebook or the repository makes the rendered book out of
    date; a cache file does not.
    """
    for name in ("book/index.md", "chapters/00_a.ipynb", "happyllm_support/a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(book, "ROOT", tmp_path)
    monkeypatch.setattr(book, "__file__", str(tmp_path / "happyllm_support" / "a.py"))
    monkeypatch.delenv("HAPPYLLM_REPOSITORY", raising=False)
    seen = [book.fingerprint()]
    for name in ("book/index.md", "chapters/00_a.ipynb", "happyllm_support/a.py"):
        (tmp_path / name).write_text("two")
        seen.append(book.fingerprint())
    monkeypatch.setenv("HAPPYLLM_REPOSITORY", "https://example.org/a/b")
    seen.append(book.fingerprint())
    assert len(set(seen)) == 5
    cache = tmp_path / "happyllm_support" / "__pycache__"
    cache.mkdir()
    (cache / "a.py").write_text("")
    assert book.fingerprint() == seen[-1]


def test_docstrings_are_read_as_markdown() -> None:
    """The examples in the extension's own docstrings."""
    assert doctest.testmod(sphinx_package).failed == 0
    lines = ["What was kept: `int`s by script."]
    sphinx_package.process(None, "attribute", "", None, None, lines)
    assert lines == ["..", "", "What was kept: ``int``\\ s by script."]
