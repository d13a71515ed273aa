"""Where the rendered book explains something: the page and the anchor of a chapter's
section.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from happyllm_support.grading.labs import Lab

BOOK = Path("build") / "html"  # beside the folder of the labs


def book_of(labs: Path) -> Path | None:
    """The folder of the rendered book, or None when it has not been rendered."""
    folder = labs.resolve().parent / BOOK
    return folder if (folder / "index.html").is_file() else None


def page_of(book: Path, lab: Lab, section: str = "") -> str:
    """The address of a lab's chapter below the book's folder, with the section's
    anchor, or "" without such a page.
    """
    name = f"chapters/{lab.chapter}.html"
    try:
        rendered = (book / name).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    anchor = anchors(rendered).get(_plain(section), "") if section else ""
    return f"{name}#{anchor}" if anchor else name


def anchors(rendered: str) -> dict[str, str]:
    """The headings of a rendered page, as plain text, and their anchors."""
    found: dict[str, str] = {}
    for inner in re.findall(r"<h[1-6][^>]*>(.*?)</h[1-6]>", rendered, re.DOTALL):
        link = re.search(r'<a class="headerlink" href="#([^"]+)"', inner)
        if link:
            text = re.sub(r"<a class=\"headerlink\".*", "", inner, flags=re.DOTALL)
            found.setdefault(
                _plain(html.unescape(re.sub(r"<[^>]+>", "", text))), link[1]
            )
    return found


def heading_text(section: str) -> str:
    """A heading for a terminal: without the signs that mark code and formulas."""
    return (
        re.sub(r"\\(?:sqrt|mathrm|text)\{(\w+)\}", r"sqrt(\1)", section)
        .replace("$", "")
        .replace("`", "")
    )


def _plain(heading: str) -> str:
    """Letters and digits only, so that Markdown and what is rendered from it compare
    equal.
    """
    return (
        re.sub(r"[\W_]+", " ", heading.replace("\\(", "").replace("\\)", ""))
        .strip()
        .lower()
    )
