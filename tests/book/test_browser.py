"""Every page in a browser, without a network: both themes, desktop and phone.

A page fails for a message on the console, a request that fails or that leaves this
machine, an image without a text, or something that makes the page scroll sideways. The
browser is an installed Chromium or Chrome (CHROMIUM names another), else Playwright's
own; without any the tests are skipped by name (fail with HAPPYLLM_REQUIRE_BROWSER set).
"""

from __future__ import annotations

import functools
import http.server
import itertools
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from happyllm_support.grading.diagnosis import Diagnosis
from happyllm_support.grading.judge import Status, Verdict
from happyllm_support.grading.page import render
from happyllm_support.grading.progress import LabRecord
from happyllm_support.grading.selection import load_all
from tools import book

pytestmark = pytest.mark.browser

THEMES = ("light", "dark")
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
# Pages that Sphinx makes besides those of the table of contents.
GENERATED = ["genindex", "py-modindex", "search"]
PROGRESS = "labs/progress"  # made by the grader, in its own style

SIDEWAYS = """() => {
  const page = document.scrollingElement, edge = page.clientWidth + 1;
  if (page.scrollWidth < edge) return null;
  const wide = [...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > edge);
  const names = wide.slice(0, 12)
    .map(e => [e.tagName.toLowerCase(), ...e.classList].join('.'));
  return `scrolls sideways, ${page.scrollWidth} in ${page.clientWidth} pixels: ` +
    names.join(', ');
}"""
CUT_OFF = """() => {
  const links = '.prev-next-area a, .bd-header a, .bd-article h1';
  const edge = window.innerWidth + 1;
  const out = [...document.querySelectorAll(links)]
    .filter(e => e.offsetParent && e.getBoundingClientRect().right > edge);
  return out.map(e => `cut off at the right: ${e.textContent.trim().slice(0, 60)}`);
}"""
LISTINGS = """() => {
  document.querySelectorAll('details').forEach(e => { e.open = true; });
  const wide = [...document.querySelectorAll('.bd-article div.highlight pre')]
    .filter(e => e.scrollWidth > e.clientWidth);
  return wide.map(e => `a listing scrolls sideways, ${e.scrollWidth} in ` +
    `${e.clientWidth} pixels: ${e.textContent.trim().slice(0, 60)}`);
}"""
NO_ALT = """() => [...document.querySelectorAll('img')]
  .filter(e => !(e.getAttribute('alt') || '').trim())
  .map(e => `image without a text: ${e.getAttribute('src').slice(0, 80)}`)"""
UNSET_MATH = """() => {
  const [asked, set] = ['.math', 'mjx-container']
    .map(name => document.querySelector('.bd-article ' + name));
  return asked && !set ? 'formulas were not set' : null;
}"""
SETTLED = """async () => {
  await document.fonts.ready;
  if (window.MathJax && window.MathJax.startup) await window.MathJax.startup.promise;
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
THEME = "document.documentElement.dataset.theme"


class QuietServer(http.server.SimpleHTTPRequestHandler):
    """Serves files without writing a line for each."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def base_url(html: Path) -> Iterator[str]:
    """The book over http on the loopback address."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(QuietServer, directory=str(html))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


class View:
    """A window of one theme and size, with everything that went wrong on the page that
    it shows.
    """

    def __init__(
        self, browser: Any, base: str, *, theme: str = "light", size: str = "desktop"
    ) -> None:
        width, height = WIDTHS[size]
        viewport = {"width": width, "height": height}
        self.context = browser.new_context(
            viewport=viewport, color_scheme=theme, is_mobile=size == "phone"
        )
        self.base, self.theme, self.size = base, theme, size
        self.problems: list[str] = []
        self.context.route("**/*", self._stay_inside)
        self.page = self.context.new_page()
        self.page.on("console", self._note_message)
        self.page.on(
            "pageerror",
            lambda error: self.problems.append(f"error in a script: {error}"),
        )
        self.page.on("requestfailed", self._note_failure)
        self.page.on("response", self._note_status)

    def _stay_inside(self, route: Any) -> None:
        if route.request.url.startswith(self.base):
            route.continue_()
        else:
            self.problems.append(f"outside request: {route.request.url}")
            route.abort()

    def _note_failure(self, request: Any) -> None:
        # A page that is left while its icon is loading gives the request up; refused
        # ones are noted above.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"request failed: {request.url} ({request.failure})")

    def _note_message(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console {message.type}: {message.text}")

    def _note_status(self, response: Any) -> None:
        if response.status >= 400:
            self.problems.append(f"status {response.status}: {response.url}")

    def open(self, address: str) -> Any:
        """Load a page, and wait until its fonts are there, its formulas set and its
        layout done.
        """
        self.problems.clear()
        self.page.goto(self.base + address, wait_until="load")
        self.page.evaluate(SETTLED)
        return self.page


@contextmanager
def opened(*arguments: Any, **options: Any) -> Iterator[View]:
    """A view that is closed at the end of the block."""
    view = View(*arguments, **options)
    try:
        yield view
    finally:
        view.context.close()


@pytest.fixture(scope="module")
def views(browser: Any, base_url: str) -> Iterator[list[View]]:
    """One window for each theme and size, used by all pages in turn."""
    with ExitStack() as stack:
        kinds = itertools.product(THEMES, WIDTHS)
        yield [
            stack.enter_context(opened(browser, base_url, theme=theme, size=size))
            for theme, size in kinds
        ]


def documents() -> list[str]:
    """Addresses of all pages of the table of contents, without the suffix."""
    toc = yaml.safe_load((book.ROOT / "book" / "_toc.yml").read_text("utf-8"))
    return [str(Path(name).with_suffix("")) for name in book.toc_files(toc)]


def test_no_page_is_left_out(html: Path) -> None:
    """What the tests below open is all there is, apart from the listings of source
    code.
    """
    there = {
        path.relative_to(html).with_suffix("").as_posix()
        for path in html.rglob("*.html")
    }
    expected = {*documents(), *GENERATED}
    assert {
        name for name in there if not name.startswith(("_modules/", "_static/"))
    } == {*expected, "index", PROGRESS}


@pytest.mark.parametrize("document", [*documents(), *GENERATED])
def test_page(views: list[View], document: str) -> None:
    """No complaint of the browser in any of the four views."""
    problems: list[str] = []
    for view in views:
        page = view.open(f"{document}.html")
        found = [
            page.evaluate(SIDEWAYS),
            page.evaluate(UNSET_MATH),
            *page.evaluate(CUT_OFF),
            *page.evaluate(NO_ALT),
        ]
        if view.size == "desktop":
            found += page.evaluate(LISTINGS)
        shown = page.evaluate(THEME)
        found += [f"the theme is {shown!r}"] if shown != view.theme else []
        problems += [
            f"{view.theme}, {view.size}: {problem}"
            for problem in view.problems + found
            if problem
        ]
    assert not problems, "\n".join(problems)


def test_listings_of_source_code(browser: Any, base_url: str, html: Path) -> None:
    """The pages behind the [source] links, which all look alike: in one view each."""
    with opened(browser, base_url, theme="dark", size="phone") as view:
        for path in sorted((html / "_modules").rglob("*.html")):
            sideways = view.open(path.relative_to(html).as_posix()).evaluate(SIDEWAYS)
            assert not view.problems and not sideways, (
                f"{path.name}: {view.problems} {sideways}"
            )
    with opened(browser, base_url) as view:
        # Here a note for the type checker makes a line longer than 88 columns.
        page = view.open("_modules/happyllm_support/plots.html")
        assert page.evaluate(LISTINGS) == []


@pytest.mark.parametrize("width", [1280, 1440, 1920])
def test_a_line_of_88_columns_fits(browser: Any, base_url: str, width: int) -> None:
    """In every kind of listing, with a typeface whose letters are 0.61 em wide."""
    widen = """() => {
      for (const pre of document.querySelectorAll('.bd-article div.highlight pre')) {
        const size = parseFloat(getComputedStyle(pre).fontSize);
        const line = document.createElement('div');
        line.style.width = `${88 * 0.61 * size}px`;
        line.textContent = 'a line of 88 columns';
        pre.replaceChildren(line);
      }
    }"""
    with opened(browser, base_url) as view:
        view.page.set_viewport_size({"width": width, "height": 900})
        for address in (
            "chapters/04_gpt2.html",
            "book/teachers.html",
            "_modules/happyllm_support/files.html",
        ):
            page = view.open(address)
            assert page.evaluate(f"({widen})() || ({LISTINGS})()") == [], address


def test_first_page_leads_to_the_book(browser: Any, base_url: str) -> None:
    """build/html/index.html is where `make book` sends the reader."""
    with opened(browser, base_url) as view:
        view.page.goto(f"{base_url}index.html")
        view.page.wait_for_url("**/book/index.html")
        assert view.page.title().startswith("Happy-LLM from Scratch")
        assert not [
            problem
            for problem in view.problems
            if "outside" in problem or "status" in problem
        ]


def sample_of_progress(folder: Path, html: Path) -> Path:
    """A page of progress with everything that can be on it, beside nothing else."""
    labs = load_all(book.ROOT / "labs")[0]
    record = LabRecord()
    lines = [
        "This is what comes out when the scores are not divided by sqrt(head_dim).",
        "x" * 300,
    ]
    for minute in range(30):
        for lab in labs:
            verdicts = []
            for number, check in enumerate(lab.checks.values()):
                status = list(Status)[(minute + number) % 4]
                points = check.points if status is Status.PASS else 0
                found = (
                    Diagnosis(symptom=lines[number % 2])
                    if status in (Status.FAIL, Status.BLOCKED)
                    else None
                )
                verdicts.append(
                    Verdict(
                        id=check.id,
                        status=status,
                        points=points,
                        of=check.points,
                        diagnosis=found,
                    )
                )
            record.add_verdicts(
                lab.id,
                list(lab.checks),
                verdicts,
                time=f"2026-01-31T12:{minute:02d}:00Z",
            )
    path = folder / "progress.html"
    path.write_text(
        render(
            labs,
            record,
            book=html,
            to_book=f"{html.as_uri()}/",
            note="One line. " * 30,
        ),
        "utf-8",
    )
    return path


@pytest.mark.parametrize("size", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_progress_page(
    browser: Any, base_url: str, html: Path, tmp_path: Path, theme: str, size: str
) -> None:
    """As the grader writes it, and with much on it: no complaint, in the theme of the
    system, readable.
    """
    sample = sample_of_progress(tmp_path, html)
    for base, address in (
        (base_url, f"{PROGRESS}.html"),
        (f"{tmp_path.as_uri()}/", sample.name),
    ):
        with opened(browser, base, theme=theme, size=size) as view:
            page = view.open(address)
            assert not view.problems and not page.evaluate(SIDEWAYS), (
                view.problems,
                page.evaluate(SIDEWAYS),
            )
            red = page.evaluate(
                "getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]"
            )
            assert (int(red) > 200) == (theme == "light")
            assert (
                page.locator("section tbody tr").count() >= 20
                and page.locator("script").count() == 0
            )
    statuses = {status.value for status in Status}
    assert {
        row.partition("'>")[2]
        for row in re.findall(r"class='status [^<]+", sample.read_text("utf-8"))
    } == statuses


def test_the_page_on_the_labs_leads_to_the_progress(
    browser: Any, base_url: str
) -> None:
    """There and back again."""
    with opened(browser, base_url) as view:
        view.open("book/labs.html").get_by_role("link", name="Your progress").click()
        view.page.wait_for_url(f"**/{PROGRESS}.html")
        view.page.get_by_role("link", name="How the labs work").click()
        view.page.wait_for_url("**/book/labs.html")
        assert not view.problems


def test_theme_button(browser: Any, base_url: str) -> None:
    """The button changes the theme, and the next page remembers it."""
    with opened(browser, base_url, theme="light") as view:
        page = view.open("book/index.html")
        for _ in range(3):  # auto, dark, light, or the other way round
            page.locator("button.theme-switch-button:visible").first.click()
            if page.evaluate(THEME) == "dark":
                break
        assert page.evaluate(THEME) == "dark"
        assert view.open("book/notation.html").evaluate(THEME) == "dark"
        assert not view.problems


def test_search_finds_a_page(browser: Any, base_url: str) -> None:
    """The search works without a network."""
    with opened(browser, base_url) as view:
        page = view.open("search.html?q=perplexity")
        page.wait_for_selector("#search-results li a")
        found = page.locator("#search-results li a").evaluate_all(
            "all => all.map(a => a.getAttribute('href'))"
        )
        assert any("prerequisites" in address for address in found), found
        assert not view.problems


def test_answers_unfold(browser: Any, base_url: str) -> None:
    """The answers of the self-test are hidden until asked for."""
    with opened(browser, base_url) as view:
        answer = (
            view.open("book/prerequisites.html").locator("div.solution.dropdown").first
        )
        text = answer.locator("p:not(.admonition-title)").first
        assert not text.is_visible()
        answer.locator(".toggle-button").first.click()
        text.wait_for(state="visible")


def test_opened_as_files(browser: Any, html: Path) -> None:
    """Without any server: a double click on a page shows it with style, theme and
    formulas.
    """
    with opened(browser, html.as_uri() + "/", theme="dark") as view:
        for name in (
            "book/index.html",
            "book/prerequisites.html",
            "chapters/01_tokenizers.html",
        ):
            page = view.open(name)
            assert page.evaluate(THEME) == "dark"
            assert not page.evaluate(UNSET_MATH) and not page.evaluate(SIDEWAYS)
            assert not view.problems, view.problems
