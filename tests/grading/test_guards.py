"""What a learner's code may not do, noticed in a process of its own; and what a library
may do for it.
"""

import os
import subprocess
import sys

import pytest
import torch

from happyllm_support.grading import wire
from happyllm_support.grading.guards import Forbidden, Guard, GuardedWorkbench

# Python cannot take an audit hook back, so these run elsewhere.
PROGRAM = """
import os, subprocess, sys, tempfile
sys.path[:0] = [{site!r}]
import happyllm_support.files
from happyllm_support.grading.guards import Forbidden, Guard
os.chdir({scratch!r})
guard = Guard(own={own!r}, scratch={scratch!r}, protected=[{protected!r}],
              imports=["fractions", "colorsys"])
guard.install()
try:
    names = {{"HERE": {here!r}, "__name__": "learner"}}
    exec(compile({code!r}, {own!r}, "exec"), names)
except Forbidden:
    pass
print(guard.violations[:1])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a library, a protected folder, the learner's file in it, and an
    empty scratch folder.
    """
    here = tmp_path_factory.mktemp("guards")
    for name in ("site", "protected", "scratch"):
        (here / name).mkdir()
    (here / "protected" / "checks.py").write_text("1")
    (here / "protected" / "mine.py").write_text("own")
    (here / "elsewhere.txt").write_text("free")
    return here


def violations(code, place):
    names = {
        "site": str(place / "site"),
        "protected": str(place / "protected"),
        "scratch": str(place / "scratch"),
    }
    program = PROGRAM.format(
        code=code, own=str(place / "protected" / "mine.py"), here=str(place), **names
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].strip("[]'\"")


FORBIDDEN = {
    "open('new.txt', 'w'); open(HERE + '/new.txt', 'w')": (
        "it writes the file new.txt; a lab writes no files"
    ),
    "import os; os.open(HERE + '/elsewhere.txt', os.O_RDWR)": (
        "it writes the file elsewhere.txt"
    ),
    "open(HERE + '/protected/checks.py')": (
        "it reads checks.py of the course; the exercise is to write it yourself"
    ),
    "open(HERE + '/scratch/../protected/checks.py')": (
        "it reads checks.py of the course"
    ),
    "open((HERE + '/protected/checks.py').encode())": (
        "it reads checks.py of the course"
    ),
    "import os; os.symlink(HERE, HERE + '/link')": "it changes the file ",
    "import os; os.rename('a', HERE + '/b')": "it changes the file b (os.rename)",
    "import os; os.remove(HERE + '/elsewhere.txt')": (
        "it changes the file elsewhere.txt (os.remove)"
    ),
    "import happyllm_support.text": (
        "it imports happyllm_support.text; the exercise is to write it"
    ),
    "import happyllm_support.files": (
        "it imports happyllm_support.files; the exercise is to write it"
    ),
    "from happyllm_support import files": "it imports happyllm_support.files",
    "import fractions": "it imports fractions, which this exercise forbids",
    "import importlib; importlib.import_module('fractions')": "it imports fractions",
    "__import__('colorsys')": "it imports colorsys",
    "try:\n    import fractions\nexcept BaseException:\n    pass": (
        "it imports fractions"
    ),
    "import os; os.system('true')": (
        "it starts another process (os.system); a lab has no use for one"
    ),
    "import subprocess; subprocess.run(['true'])": (
        "it starts another process (subprocess.Popen)"
    ),
    "import os; os.kill(os.getpid(), 0)": "it sends a signal (os.kill)",
    "import socket; socket.socket().connect(('127.0.0.1', 9))": (
        "it opens a network connection (socket.connect)"
    ),
    "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))": (
        "it changes the limits under which it runs"
    ),
}
ALLOWED = [
    "open('a.txt', 'w').write('x')\nimport os; os.mkdir('d')\n"
    "os.rename('a.txt', 'd/a'); os.remove('d/a'); os.rmdir('d')",
    "import tempfile\ntempfile.tempdir = '.'\n"
    "with tempfile.TemporaryDirectory() as d:\n    open(d + '/x', 'w').write('y')",
    "open(HERE + '/protected/mine.py').read(); open(HERE + '/elsewhere.txt').read(); "
    "open('/dev/null', 'w')",
    "from happyllm_support.grading import NotYet, check; check('lab90.double', print)",
    "import happyllm_support, happyllm_support.grading, statistics, decimal, random",
    "import traceback, warnings, logging, inspect\n"
    "try:\n    1 / 0\nexcept ArithmeticError:\n    traceback.print_exc()\n"
    "warnings.warn('careful'); logging.error('odd'); inspect.stack()",
]


@pytest.mark.parametrize("code", FORBIDDEN)
def test_what_is_forbidden_is_noticed_and_said(code, place):
    assert violations(code, place).startswith(FORBIDDEN[code])


@pytest.mark.parametrize("code", ALLOWED)
def test_what_is_harmless_is_allowed(code, place):
    assert violations(code, place) == ""


def test_an_installed_library_may_import_and_start_what_it_needs(place, monkeypatch):
    (place / "site" / "lib.py").write_text(
        "import fractions, subprocess\nsubprocess.run(['true'])"
    )
    assert "fractions" in violations(
        "import lib", place
    )  # no installed library, only a file
    monkeypatch.setattr("test_guards.PROGRAM", PROGRAM.replace(
        "os.chdir", "import happyllm_support.grading.guards as g\ng.INSTALLED = "
                    "({site!r},)\nos.chdir", 1
    ))  # fmt: skip
    assert violations("import lib", place) == ""
    assert "fractions" in violations(
        "import lib\nimport colorsys, fractions", place
    ).replace("colorsys", "fractions")


def test_the_first_violation_counts_even_when_it_is_caught():
    guard = Guard(own="mine.py", scratch=os.devnull, protected=[], imports=[])
    for text in ("first", "second"):
        with pytest.raises(Forbidden, match=text):
            guard.forbid(text)
    assert guard.violations == ["first", "second"]
    assert not issubclass(Forbidden, Exception)


def bench(**forbidden):
    names = {
        "exp": torch.exp,
        "method": lambda x: x.exp(),
        "in place": lambda x: x.clone().exp_(),
        "softmax": lambda x: torch.nn.functional.softmax(x, -1),
        "layer": lambda x: torch.nn.Softmax(-1)(x),
        "by hand": lambda x: 2.718281828**x,
        "later": lambda x: (torch.exp(x) for _ in range(1)),
        "cheats": lambda x: [x.exp() for _ in range(1)] if x.any() else x,
        "exit": lambda x: sys.exit(3),
    }
    guard = Guard(own="mine.py", scratch=os.devnull, protected=[], imports=[])
    return GuardedWorkbench(
        names, seed=0, filename="mine.py", guard=guard, **forbidden
    ), guard


def ask(bench, do="call", **request):
    return wire.decode(bench.handle(wire.encode({"do": do, **request})))


@pytest.mark.parametrize(
    ("name", "forbidden", "says"),
    [
        (
            "exp",
            {"operators": ["exp"]},
            "it uses torch's exp, which this exercise forbids",
        ),
        ("method", {"operators": ["exp"]}, "it uses torch's exp"),
        ("in place", {"operators": ["exp_"]}, "it uses torch's exp"),
        ("cheats", {"operators": ["exp"]}, "it uses torch's exp"),
        ("softmax", {"operators": ["_softmax"]}, "it uses torch's softmax"),
        ("layer", {"operators": ["_softmax"]}, "it uses torch's softmax"),
        (
            "softmax",
            {"functions": ["torch.nn.functional.softmax"]},
            "it uses torch.nn.functional.softmax, which",
        ),
        (
            "layer",
            {"functions": ["torch.nn.functional.softmax"]},
            "it uses torch.nn.functional.softmax",
        ),
        (
            "by hand",
            {"operators": ["exp"], "functions": ["torch.nn.functional.softmax"]},
            "",
        ),
        ("exp", {"operators": ["_softmax"]}, ""),
        ("softmax", {}, ""),
    ],
)
def test_operators_and_functions_that_are_forbidden(name, forbidden, says):
    workbench, guard = bench(**forbidden)
    reply = ask(workbench, target=name, args=[torch.ones(2, 3)], kwargs={})
    assert guard.violations[0].startswith(says) if says else guard.violations == []
    assert ("raised" in reply) == bool(says)


def test_they_are_seen_in_an_iterator_too():
    workbench, guard = bench(operators=["exp"])
    handle = ask(workbench, target="later", args=[torch.ones(2)], kwargs={})["value"]
    assert guard.violations == []
    ask(workbench, "next", target=handle)
    assert guard.violations == ["it uses torch's exp, which this exercise forbids"]


def test_leaving_python_is_an_exception_like_others():
    workbench, _ = bench()
    assert (
        ask(workbench, target="exit", args=[1], kwargs={})["raised"]["type"]
        == "SystemExit"
    )
