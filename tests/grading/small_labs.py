"""Two labs without torch in a folder of their own, and a grader for them that needs no
process.
"""

import sys
import types

from happyllm_support.grading.grader import Report
from happyllm_support.grading.judge import Status, judge, seed_of
from happyllm_support.grading.not_yet import NotYet
from happyllm_support.grading.workbench import Workbench

STUB = '''"""Lab 01."""

from happyllm_support.grading import NotYet


def total(numbers: list[int]) -> int:
    """The sum."""
    raise NotYet


def mean(numbers: list[int]) -> float:
    """The mean."""
    raise NotYet
'''
RIGHT = (
    "def total(numbers):\n    return sum(numbers)\n\n\ndef mean(numbers):\n    "
    "return total(numbers) / len(numbers)\n"
)
HALF = STUB.replace("    raise NotYet", "    return sum(numbers)", 1)
WRONG = RIGHT.replace("/ len(numbers)", "/ 2")
CHECKS = """
from happyllm_support.grading.compare import expect_close, expect_equal
from happyllm_support.grading.labs import Lab

lab = Lab("Counting", minutes=30)


@lab.check(points=1, section="Sums", hints=("first", "second", "third"),
           solution=("happyllm_support.files:home",))
def total(total):
    expect_equal(total([1, 2, 4]), 7, "the sum")


@lab.check(points=2, section="Means, and $x$", needs=("total",),
           hints=("divide", "by the length"))
def mean(mean):
    expect_close(mean([1, 2, 6]), 3.0, "the mean")
"""
MUTANTS = """
from .checks import lab


@lab.mutant("mean", "the sum is divided by two, whatever the length")
def halves(numbers):
    return sum(numbers) / 2
"""
REFERENCE = (
    "def total(numbers):\n    return sum(numbers)\n\n\ndef mean(numbers):\n    "
    "return sum(numbers) / len(numbers)\n"
)
WORDS = """
from happyllm_support.grading.compare import expect_equal
from happyllm_support.grading.labs import Lab

lab = Lab("Words", minutes=20)


@lab.check(points=3, section="Words", hints=("one", "two"))
def longest(longest):
    expect_equal(longest("a bcd ef"), "bcd")
"""
WORDS_STUB = (
    STUB.partition("def total")[0]
    + "def longest(text: str) -> str:\n    raise NotYet\n"
)


def write_labs(root):
    """Make `root/labs` with lab01_counting and lab02_words, unwritten."""
    labs = root / "labs"
    files = {
        "lab01_counting": {
            "counting.py": STUB,
            "checks.py": CHECKS,
            "mutants.py": MUTANTS,
            "reference.py": REFERENCE,
        },
        "lab02_words": {
            "words.py": WORDS_STUB,
            "checks.py": WORDS,
            "mutants.py": "",
            "reference.py": (
                "def longest(text):\n    return max(text.split(), key=len)\n"
            ),
        },
        ".stubs": {"lab01_counting.py": STUB, "lab02_words.py": WORDS_STUB},
    }
    for folder, contents in files.items():
        (labs / folder).mkdir(parents=True)
        for name, text in contents.items():
            (labs / folder / name).write_text(text, "utf-8")
    return labs


class FakeGrader:
    """As grader.Grader, in this process: for code that we wrote ourselves."""

    closed = 0

    def __init__(self, labs, patience=1.0):
        self.labs = labs

    def __enter__(self):
        return self

    def __exit__(self, *_):
        FakeGrader.closed += 1

    def grade(self, lab, path=None, *, only=None, on_verdict=None):
        namespace = {}
        exec(
            compile((path or lab.file).read_text("utf-8-sig"), "learner", "exec"),
            namespace,
        )
        verdicts = []
        for name in lab.checks if only is None else only:
            bench = Workbench(
                namespace, seed=seed_of(lab.checks[name].id), filename="learner"
            )
            verdicts.append(judge(lab, name, bench.handle))
            if on_verdict:
                on_verdict(verdicts[-1])
        return Report(lab=lab, verdicts=tuple(verdicts), seconds=0.5)


def use_fake(monkeypatch, grader=FakeGrader):
    """Let the commands find this grader instead of the one that starts processes."""
    module = types.ModuleType("happyllm_support.grading.grader")
    module.Grader = grader
    monkeypatch.setitem(sys.modules, "happyllm_support.grading.grader", module)


__all__ = [
    "HALF",
    "RIGHT",
    "STUB",
    "WRONG",
    "FakeGrader",
    "NotYet",
    "Status",
    "use_fake",
    "write_labs",
]
