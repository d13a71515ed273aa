"""A tiny lab in a folder of the test, to try the engine on."""

from pathlib import Path

from happyllm_support.grading.labs import Lab, load_lab

FILES = {
    "reference.py": """
import torch
from torch import Tensor


def double(x: Tensor) -> Tensor:
    return 2 * x


def total(x: Tensor) -> Tensor:
    return double(x).sum(-1)


class Counter:
    def __init__(self, start: int) -> None:
        self.value = start

    def add(self, n: int) -> int:
        self.value += n
        return self.value
""",
    "checks.py": """
import torch

from happyllm_support.grading.compare import expect_close, expect_equal
from happyllm_support.grading.labs import Lab

from . import reference

lab = Lab("Probe", minutes=5)
X = torch.arange(6.0).reshape(2, 3) - 2


@lab.check(points=1, section="First", hints=("a nudge", "nearly the answer"),
           seconds=SECONDS, memory_mb=400, no_operators=("exp",),
           no_functions=("torch.nn.functional.scaled_dot_product_attention",),
           no_imports=("fractions",), solution=("happyllm_support.files:home",))
def double(double):
    expect_close(double(X), reference.double(X))
    expect_close(double(X[:1] * 3), 6 * X[:1], "a single row")


@lab.check(points=2, section="Second", hints=("a", "b"), needs=("double",),
           seconds=SECONDS, solution=("happyllm_support.files:home",))
def total(total):
    expect_close(total(X), reference.total(X))


@lab.check(points=3, section="Third", hints=("a", "b"), seconds=SECONDS,
           solution=("happyllm_support.files:home",))
def Counter(Counter):
    counter = Counter(5)
    expect_equal(counter.add(2), 7)
    expect_equal(counter.add(4), 11, "the second sum")
""",
    "mutants.py": """
from .checks import lab


@lab.mutant("double", "the number is squared instead of doubled")
def squared(x):
    return x * x


@lab.mutant("Counter", "each sum starts anew")
class Forgetful:
    def __init__(self, start):
        self.start = start

    def add(self, n):
        return self.start + n
""",
    "probe.py": '''
"""What the learner edits."""

from torch import Tensor

from happyllm_support.grading import NotYet


def double(x: Tensor) -> Tensor:
    """Twice x."""
    raise NotYet


def total(x: Tensor) -> Tensor:
    """The sum of double(x) over the last axis."""
    raise NotYet


class Counter:
    """A sum that goes on."""

    def __init__(self, start: int) -> None:
        raise NotYet

    def add(self, n: int) -> int:
        """Add n and return the sum."""
        raise NotYet
''',
    "README.md": "# Lab 90\n",
}

RIGHT = """
def double(x):
    return x + x


def total(x):
    return double(x).sum(-1)


class Counter:
    def __init__(self, start):
        self.n = start

    def add(self, n):
        self.n += n
        return self.n
"""


def make_lab(folder: Path, *, seconds: float = 20.0) -> Lab:
    """Write the lab into `folder/labs/lab90_probe` and load it."""
    home = folder / "labs" / "lab90_probe"
    home.mkdir(parents=True)
    for name, text in FILES.items():
        (home / name).write_text(text.replace("SECONDS", str(seconds)))
    return load_lab(folder / "labs", "90")
