"""Functions that live in cells: what is sent along with them, and what cannot be."""

import importlib
import sys
import types
from dataclasses import dataclass

import nbclient
import nbformat
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from probe_lab import RIGHT, make_lab
from traitlets.config import Config

from happyllm_support.grading import check
from happyllm_support.grading.diagnosis import Diagnosis
from happyllm_support.grading.judge import Status, Verdict
from happyllm_support.grading.notebook import Checked, collect

X = torch.arange(6.0).reshape(2, 3) - 2


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return make_lab(tmp_path_factory.mktemp("probe"))


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Run cells as Jupyter does, each with a source of its own that has no file;
    returns the notebook's names.
    """
    monkeypatch.setitem(
        sys.modules, "__main__", sys.modules["__main__"]
    )  # the shell puts its own there
    config = Config(
        {
            "HistoryManager": {"enabled": False},
            "InteractiveShell": {"ipython_dir": str(tmp_path)},
        }
    )
    shell = InteractiveShell(config=config, user_ns={})

    def run(*cells):
        for cell in cells:
            shell.run_cell(cell, store_history=True).raise_error()
        return shell.user_ns

    yield run
    shell.restore_sys_module_state()


def sent(code, lab, name="double"):
    """What the process of the check gets out of a collected source."""
    module = types.ModuleType("lab90_sent")
    sys.modules[module.__name__] = module  # where a dataclass looks for its module
    try:
        exec(
            compile(
                collect(code, name, lab).source, "<sent>", "exec", dont_inherit=True
            ),
            vars(module),
        )
    finally:
        del sys.modules[module.__name__]
    return vars(module)[name]


HELPERS = {
    "a module and a constant": (
        "import torch.nn.functional as F, math\nTWO = 2.0",
        "def double(x):\n    return F.relu(x) * TWO - F.relu(-x) * math.sqrt(4)",
    ),
    "a helper that calls a helper": (
        "def one(x):\n    return x\ndef plus(a, b):\n    return one(a) + b",
        "def double(x):\n    return plus(x, x)",
    ),
    "recursion": (
        "",
        "def double(x, n=2):\n    return x * 0 if n == 0 else x + double(x, n - 1)",
    ),
    "two that call each other": (
        "def even(x, n):\n    return x * 0 if n == 0 else x + odd(x, n - 1)\n"
        "def odd(x, n):\n    return x + even(x, n - 1)",
        "def double(x):\n    return even(x, 2)",
    ),
    "another name for a helper": (
        "def twice(x):\n    return 2 * x\nalias = twice",
        "def double(x):\n    return alias(x)",
    ),
    "imported names": (
        "from torch import add, Tensor, nn\nfrom torch.nn.functional import relu, "
        "gelu\nfrom math import sqrt\n"
        "from numpy import exp\nfrom collections import Counter, deque\nfrom "
        "dataclasses import dataclass",
        "def double(x: Tensor):\n    exp, Counter(), deque(), gelu, nn.Module\n"
        "    return add(x, relu(x) - relu(-x)) * sqrt(1)",
    ),
    "a class": (
        "class Scale:\n    def __init__(self, n):\n        self.n = n\n"
        "    def __call__(self, x):\n        return self.n * x",
        "def double(x):\n    return Scale(2)(x)",
    ),
    "a dataclass without methods": (
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Settings:\n"
        "    factor: int = 2",
        "def double(x):\n    return x * Settings().factor",
    ),
    "a class and its base, in cells of their own": (
        "import torch\nclass Base(torch.nn.Module):\n    def forward(self, x):\n      "
        "  return x",
        "class Twice(Base):\n    def forward(self, x):\n        return 2 * "
        "super().forward(x)\n"
        "def double(x):\n    return Twice()(x)",
    ),
    "a decorator of a library": (
        "import torch",
        "@torch.no_grad()\ndef double(x):\n    return x + x",
    ),
    "a cache": (
        "import functools",
        "@functools.lru_cache\ndef double(x):\n    return x + x",
    ),
    "a helper with a cache": (
        "from functools import cache\n@cache\ndef two():\n    return 2",
        "def double(x):\n    return x * two()",
    ),
    "a decorator of one's own": (
        "import functools\ndef same(f):\n"
        "    @functools.wraps(f)\n    def run(*args):\n        return f(*args)\n    "
        "return run",
        "@same\ndef double(x):\n    return x + x",
    ),
    "infinity": (
        "LOW = float('-inf')\nLIMITS = {'high': [float('inf'), 2]}",
        "def double(x):\n    return x * LIMITS['high'][1] if LOW < 0 else x",
    ),
    "a dtype, a device and patterns": (
        "import torch, re, regex\nDTYPE, DEVICE = torch.float32, torch.device('cpu')\n"
        "ONE = re.compile('a+', re.I)\nTWO = regex.compile(r'\\p{L}+')",
        "def double(x):\n    assert ONE.match('A') and TWO.match('é')\n    return "
        "x.to(DTYPE).to(DEVICE) * 2",
    ),
    "annotations that nothing evaluates": (
        "from typing import Optional\nfrom jaxtyping import Float\nimport torch\nfrom "
        "torch import Tensor\n"
        "Matrix = Float[Tensor, 'a b']\nMaybe = Optional[int]\nrun = torch.ones(3)",
        "def double(x: Matrix, n: Maybe = None) -> Matrix:\n    y: run = x\n    "
        "return y + x",
    ),
    "a local name like a global one": (
        "x = object()\nscore = object()",
        "def double(x):\n    score = x\n    return score + x",
    ),
    "magics beside the code": (
        "%env A=1\nclass Two:\n    n: int = 2",
        "%env A=2\ndef double(x):\n    return x * Two.n",
    ),
}


@pytest.mark.parametrize("name", HELPERS)
def test_what_a_function_uses_is_sent_with_it(name, notebook, lab):
    helpers, cell = HELPERS[name]
    double = notebook(helpers, cell)["double"]
    assert torch.equal(sent(double, lab)(X), 2 * X)


def test_a_function_of_another_name_is_graded_under_the_asked_one(notebook, lab):
    names = notebook(
        "def mine(x, n=2):\n    return x * 0 if n == 0 else x + mine(x, n - 1)"
    )
    assert torch.equal(sent(names["mine"], lab)(X), 2 * X)


def test_the_last_definition_counts(notebook, lab):
    cells = [
        "def helper(x):\n    return {0} * x",
        "class Box:\n    n: int = {0}",
        "class Bag:\n    def n(self):\n        return {0}",
    ]
    use = "def double(x):\n    return helper(x) + (Box.n - 2) + (Bag().n() - 2)"
    names = notebook(*(c.format(2) for c in cells), use, *(c.format(3) for c in cells))
    assert torch.equal(sent(names["double"], lab)(X), 3 * X + 2)
    names = notebook(
        *(c.format(2) for c in cells)
    )  # the same text as before, run again
    assert torch.equal(sent(names["double"], lab)(X), 2 * X)
    names = notebook("def double(x):\n    return 7 * x")
    assert torch.equal(sent(names["double"], lab)(X), 7 * X)


def test_a_definition_of_ones_own_replaces_what_the_lab_gives(notebook, tmp_path):
    lab = make_lab(tmp_path)
    lab.file.write_text(
        lab.file.read_text()
        + "\n\nFACTOR = 5\n\n\ndef scale(x):\n    return FACTOR * x\n"
    )
    mine = notebook(
        "def scale(x):\n    return 2 * x\ndef double(x):\n    return scale(x)"
    )["double"]
    assert torch.equal(sent(mine, lab)(X), 2 * X)
    assert torch.equal(
        sent(
            notebook("def double(x):\n    return x")["double"], lab, "double"
        ).__globals__["scale"](X),
        5 * X,
    )


REFUSED = {
    "a nested function": (
        "def outer():\n    def double(x):\n        return x\n    return double\n"
        "double = outer()",
        "double is defined inside another function; define it at the top level of a "
        "cell",
    ),
    "a closure": (
        "def outer(n):\n    def double(x):\n        return n * x\n    return double\n"
        "double = outer(2)",
        "double is defined inside another function",
    ),
    "a lambda": (
        "double = lambda x: x",
        "a lambda has no name to send along; define the function with def",
    ),
    "a lambda as a helper": (
        "f = lambda x: x\ndef double(x):\n    return f(x)",
        "a lambda has no name",
    ),
    "a number": (
        "double = 3",
        "double must be a function or a class, defined with def or class; got int",
    ),
    "a module": (
        "import torch\ndouble = torch.nn.Linear(2, 2)",
        "must be a function or a class.*got Linear",
    ),
    "a partial function": (
        "import functools\ndouble = functools.partial(max, 2)",
        "got partial",
    ),
    "a built-in": ("double = sum", "got builtin_function_or_method"),
    "a tensor": (
        "import torch\nweights = torch.ones(3)\ndef double(x):\n    return x * weights",
        "double uses the global weights, a Tensor, which cannot be sent along; make "
        "it an argument",
    ),
    "an object of a class of one's own": (
        "class Box:\n    n = 2\nbox = Box()\ndef double(x):\n    return x * box.n",
        "uses the global box, a Box",
    ),
    "a member of an Enum": (
        "import enum\nclass N(enum.IntEnum):\n    TWO = 2\ntwo = N.TWO\ndef "
        "double(x):\n    return x * two",
        "uses the global two, a N",
    ),
    "a dict that is more": (
        "import collections\nd = collections.Counter(a=2)\ndef double(x):\n    return "
        "x * d['a']",
        "uses the global d, a Counter",
    ),
    "a helper's global": (
        "import numpy as np\ntable = np.ones(3)\ndef f(x):\n    return table\ndef "
        "double(x):\n    return f(x)",
        "f uses the global table, a ndarray",
    ),
    "no source": (
        "exec('def double(x): return x')",
        "the source of double cannot be found",
    ),
    "a class without a source": (
        "double = type('double', (), {})",
        "the source of double cannot be found",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_sent_is_said_in_one_line(name, notebook, lab):
    cell, says = REFUSED[name]
    double = notebook(cell)["double"]
    with pytest.raises(ValueError, match=says) as caught:
        collect(double, "double", lab)
    assert "\n" not in str(caught.value)


def test_of_an_imported_file_all_is_graded_as_make_labs_does(
    tmp_path, monkeypatch, lab
):
    file = tmp_path / "my_probe_file.py"
    file.write_text(
        f"import functools\n{RIGHT}\n\ndef mine(x):\n    return double(x)\n\n\n"
        "@functools.cache\ndef kept(x):\n    return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("my_probe_file")
    try:
        solution = collect(module.double, "double", lab)
        assert (solution.source, solution.filename) == (file.read_text(), str(file))
        assert collect(module.mine, "double", lab).source.endswith(
            "\n\ndouble = mine\n"
        )
        assert collect(module.kept, "kept", lab).source == file.read_text()
        file.write_text(RIGHT.replace("x + x", "5 * x"))  # as %autoreload does it
        importlib.reload(module)
        assert "5 * x" in collect(module.double, "double", lab).source
    finally:
        del sys.modules["my_probe_file"]


@dataclass
class OfThisFile:
    n: int


def test_a_class_of_a_file_is_sent_as_its_file(lab):
    assert "class OfThisFile" in collect(OfThisFile, "Counter", lab).source


@pytest.mark.parametrize(
    ("identifier", "says"),
    [
        (
            "double",
            "'double' names no function; write lab and name, such as 'lab03.sdpa'",
        ),
        ("lab90.triple", "lab90 has no check 'triple'; it has double, total, Counter"),
        ("lab77.double", "there is no lab 'lab77'; there are 90"),
    ],
)
def test_an_unknown_name_is_said(identifier, says, lab, monkeypatch):
    monkeypatch.chdir(lab.folder)
    with pytest.raises(ValueError, match=says):
        check(identifier, test_an_unknown_name_is_said)


def test_a_result_shows_points_symptom_cause_and_what_was_printed(lab):
    found = Diagnosis(
        symptom="it is <off>",
        cause="The result is transposed.",
        call="double(x)",
        section="First",
    )
    verdict = Verdict(
        id="lab90.double",
        status=Status.FAIL,
        points=0,
        of=1,
        diagnosis=found,
        output="one\ntwo",
    )
    shown = Checked(verdict, lab)
    assert repr(shown).splitlines() == [
        "lab90.double: FAIL, 0 of 1 points",
        "  seen         it is <off>",
        "  why          The result is transposed.",
        "  in the call  double(x)",
        "  it printed   one",
        "               two",
        '  read         chapter 90, section "First"',
        "  next hint    make lab-hint LAB=90.double",
    ]
    assert not shown.passed
    right = Checked(
        Verdict(id="lab90.double", status=Status.PASS, points=1, of=1, output="noise"),
        lab,
    )
    assert right.passed and repr(right) == "lab90.double: PASS, 1 of 1 points"


# After the first check one process starts those of all others; it takes seconds.
ONE_LAUNCHER = """
from functools import partial
from happyllm_support.grading import notebook, processes
launcher = processes.Launcher()
notebook.Grader = partial(notebook.Grader, launcher=launcher)
"""
NOTEBOOK = [
    "from happyllm_support.grading import NotYet, check",
    "def double(x):\n    raise NotYet\nprint(check('lab90.double', "
    "double).verdict.status)" + ONE_LAUNCHER,
    "def double(x):\n    y = x * x\n    print('squared')\n    return y\n"
    "print(check('lab90.double', double))",
    "def double(x):\n    return x + undefined\nprint(check('lab90.double', double))",
    "class Counter:\n    def __init__(self, start):\n        self.n = start\n"
    "    def add(self, n):\n        self.n += n\n        return self.n",
    "result = check('lab90.Counter', Counter)\nassert result.passed\nresult",
]


def test_in_a_real_notebook(lab):
    cells = [nbformat.v4.new_code_cell(cell) for cell in NOTEBOOK]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(
        notebook, timeout=100, resources={"metadata": {"path": str(lab.folder)}}
    ).execute()
    unwritten, wrong, unknown = (
        "".join(o.text for o in cells[i].outputs) for i in (1, 2, 3)
    )
    assert "NOT_YET" in unwritten
    assert (
        "This is what comes out when the number is squared instead of doubled." in wrong
        and "  squared" in wrong
    )
    assert (
        "it raises NameError: name 'undefined' is not defined (in double: return"
        in " ".join(unknown.split())
    )
    assert (
        "lab90.Counter: PASS, 3 of 3 points"
        in cells[5].outputs[0]["data"]["text/plain"]
    )
