import re
from html.parser import HTMLParser

import pytest
from small_labs import HALF, RIGHT, WRONG, FakeGrader, write_labs

from happyllm_support.grading import page, progress
from happyllm_support.grading.labs import load_lab
from happyllm_support.grading.page import render, write_pages
from happyllm_support.grading.progress import GradingEvent, LabRecord, Standing


@pytest.fixture
def labs(tmp_path):
    return write_labs(tmp_path)


def loaded(labs):
    return [load_lab(labs, name) for name in ("01", "02")]


def plain(html):
    return " ".join(
        re.sub(r"<style>.*</style>|<[^>]+>", " ", html, flags=re.DOTALL).split()
    )


def grade(labs, text, time):
    lab = load_lab(labs, "01")
    lab.file.write_text(text)
    verdicts = FakeGrader(labs).grade(lab).verdicts
    progress.update_record(
        labs,
        lambda kept: kept.add_verdicts(lab.id, list(lab.checks), verdicts, time=time),
    )


def test_the_empty_page_invites(labs):
    text = plain(render(loaded(labs), LabRecord(), book=None, to_book="../build/html/"))
    assert (
        "0 of 6 points in 2 labs" in text
        and "Nothing has been graded yet. make labs does it" in text
    )
    assert (
        "make book renders the book" in text
        and text.count("NOT YET") == 3
        and "How it went" not in text
    )


def test_points_status_and_diagnosis(labs):
    grade(labs, WRONG, "2026-01-31T12:00:00Z")
    assert write_pages(labs) == []
    html = (labs / "progress.html").read_text("utf-8")
    text = plain(html)
    assert (
        "Lab 01: Counting 1 of 3 points" in text
        and "total 1/1 PASS" in text
        and "longest 0/3 NOT YET" in text
    )
    assert (
        "mean 0/2 FAIL This is what comes out when the sum is divided by two, whatever "
        "the length." in text
    )
    assert "Nothing has been graded" not in text and "about 30 minutes" in text
    assert re.findall(r"<span style='width: ([\d.]+)%'", html) == [
        "16.7",
        "33.3",
        "0.0",
    ]


def test_history_is_a_line_and_a_list(labs):
    for number, text in enumerate([HALF, RIGHT]):
        grade(labs, text, f"2026-01-31T12:0{number}:59Z")
    write_pages(labs)
    html = (labs / "progress.html").read_text("utf-8")
    assert "aria-label='Points over 2 gradings, from 1 to 3 of 6'" in html
    assert re.search(
        r"2026-01-31 12:01 UTC lab01: 3 points, 3 in all 2026-01-31 12:00 UTC lab01: 1",
        plain(html),
    )
    drawn = re.search(r"<path d='M2\.0 (\S+?)H638\.0V(\S+?)'", html)
    assert drawn and float(drawn[1]) > float(drawn[2])  # more points are higher up


def test_what_comes_from_a_learner_is_text(labs):
    attack = "<script>alert(1)</script><img src=x onerror=y>' \" &amp;"
    kept = LabRecord(
        labs={"lab01": {"mean": Standing(status="FAIL", points=0, of=2, line=attack)}}
    )
    kept.history.append(GradingEvent(time=attack, lab=attack, points=0, total=0))
    html = render(loaded(labs), kept, book=None, to_book="", note=attack)
    assert "<script" not in html and "<img" not in html
    assert (
        html.count(
            "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=y&gt;&#x27; "
            "&quot; &amp;amp;"
        )
        == 4
    )


class Tags(HTMLParser):
    """What a browser would load or run, and whether the tags are balanced."""

    def __init__(self, html):
        super().__init__()
        self.open, self.wrong, self.names, self.attributes = [], [], set(), {}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_page_is_self_contained_and_well_formed(labs):
    grade(labs, WRONG, "2026-01-31T12:00:00Z")
    write_pages(labs)
    html = (labs / "progress.html").read_text("utf-8")
    found = Tags(html)
    assert (
        not found.open
        and not found.wrong
        and "script" not in found.names
        and "src" not in found.attributes
    )
    assert (
        found.attributes["href"] == ["data:,"]
        and "url(" not in html
        and "@import" not in html
    )
    assert "http" not in html and "prefers-color-scheme: dark" in html


def test_links_into_the_book_and_the_copy_in_it(labs, tmp_path):
    book = tmp_path / "build" / "html"
    (book / "chapters").mkdir(parents=True)
    (book / "index.html").write_text("")
    heading = (
        '<h2>Means, and <span>\\(x\\)</span><a class="headerlink" '
        'href="#here">#</a></h2>'
    )
    (book / "chapters" / "01_counting.html").write_text(heading)
    grade(labs, WRONG, "2026-01-31T12:00:00Z")
    write_pages(labs)
    for path, prefix in ((labs, "../build/html/"), (book / "labs", "../")):
        links = re.findall(
            r"<a href='([^']+)'", (path / "progress.html").read_text("utf-8")
        )
        chapter = f"{prefix}chapters/01_counting.html"
        assert links == [f"{prefix}book/labs.html", chapter, f"{chapter}#here"]
        assert (path / chapter).resolve() == book / "chapters" / "01_counting.html"


def test_a_broken_lab_is_named_and_the_others_are_shown(labs):
    (labs / "lab02_words" / "checks.py").write_text("import nothing_of_that_name\n")
    (line,) = write_pages(labs)
    assert line.startswith("lab02: its own files cannot be loaded")
    text = plain((labs / "progress.html").read_text("utf-8"))
    assert "Lab 01: Counting" in text and "0 of 3 points in 1 labs" in text


def test_the_page_is_replaced_whole(labs, monkeypatch):
    write_pages(labs)
    before = (labs / "progress.html").read_bytes()
    monkeypatch.setattr(page, "render", lambda *_, **__: "\ud800")  # cannot be written
    with pytest.raises(UnicodeEncodeError):
        write_pages(labs)
    assert (labs / "progress.html").read_bytes() == before
    assert not [path for path in labs.iterdir() if path.suffix == ".tmp"]
