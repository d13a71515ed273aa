"""A whole lab: what right code may look like, prerequisites, and files as people save
them.
"""

import os
import tempfile

import psutil
import pytest
from probe_lab import FILES, RIGHT, make_lab

from happyllm_support.grading.grader import Grader, Solution, uses
from happyllm_support.grading.judge import Status

WRONG = RIGHT.replace("return x + x", "return x * x")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return make_lab(tmp_path_factory.mktemp("probe"))


@pytest.fixture
def grader(lab, launcher):
    return Grader(lab.folder.parent, launcher=launcher)


def statuses(report):
    return [verdict.status.value for verdict in report.verdicts]


def with_double(body, top=""):
    return f"{top}\n{RIGHT}\n\n{body}\n"


BATTERIES = """
import abc, array, bisect, collections, copy, csv, datetime, decimal, enum, hashlib
import heapq, io, itertools, json, math, operator, os, pathlib, pickle, pprint, queue
import random, re, string, struct, sys, textwrap, threading, time, typing, unicodedata
import uuid, zlib, numpy as np, regex, scipy.special, tqdm, safetensors.torch
import torch.nn.functional as F
"""
ACCEPTED = {
    "a module from the future": "from __future__ import annotations\n" + RIGHT,
    "a shebang and an encoding": "#!/usr/bin/env python\n# -*- coding: latin-1 -*-\n"
    + RIGHT,
    "a main block": RIGHT + "\nif __name__ == '__main__':\n    raise SystemExit(1)\n",
    "every library inside": with_double(
        "def double(x):\n"
        + BATTERIES.replace("\nimport", "\n    import")
        + "\n    return x + x"
    ),
    "a plot": with_double("", "import matplotlib.pyplot as plt"),
    "warnings, logs and prints": with_double(
        "import logging, warnings, torch\nlogging.basicConfig(level=0)\n"
        "print(torch.zeros(1000, 1000), list(range(9999)))\n"
        "def double(x):\n    warnings.warn('w')\n    logging.error('e')\n    "
        "print('\\ud800 größe')\n    return x + x"
    ),
    "temporary files": with_double(
        "import os, tempfile\ndef double(x):\n"
        "    with tempfile.TemporaryDirectory() as d, tempfile.TemporaryFile() as f:\n"
        "        f.write(b'x')\n        open(os.path.join(d, 'a'), 'w').close()\n"
        "    with tempfile.NamedTemporaryFile() as f:\n        f.write(b'x')\n    "
        "return x + x"
    ),
    "classes of every kind": with_double(
        "@dataclass(frozen=True, slots=True)\nclass D:\n    n: int\n    kind: "
        "ClassVar[int] = 3\n"
        "class E(enum.Enum):\n    A = enum.auto()\nclass N(NamedTuple):\n    n: int\n"
        "class M(torch.nn.Module):\n    def forward(self, x):\n        return x * "
        "D(2).n\n"
        "def double(x):\n    E.A, N(1)\n    return M()(x)",
        "import enum, torch\nfrom dataclasses import dataclass\nfrom typing import "
        "ClassVar, NamedTuple",
    ),
    "types of jaxtyping": with_double(
        "def double(x: Float[Tensor, '... n']) -> Float[Tensor, '... n']:\n    return "
        "x + x",
        "from jaxtyping import Float\nfrom torch import Tensor",
    ),
    "NumPy": with_double(
        "def double(x):\n    import torch\n    return torch.from_numpy(x.numpy() * 2)"
    ),
    "a parameter": with_double(
        "def double(x):\n    import torch\n    return torch.nn.Parameter(x * 2)"
    ),
    "no gradients": with_double(
        "@torch.no_grad()\ndef double(x):\n    return x * 2", "import torch"
    ),
    "inference": with_double(
        "@torch.inference_mode()\ndef double(x):\n    return x * 2", "import torch"
    ),
    "a compiled function": with_double(
        "assert torch._dynamo.config.disable\n@torch.compile\ndef double(x):\n    "
        "return x * 2",
        "import torch",
    ),
    "a view": with_double("def double(x):\n    return (x.T * 2).T"),
    "a cache": with_double(
        "@functools.cache\ndef double(x):\n    return x * 2", "import functools"
    ),
    "a partial function": with_double(
        "double = functools.partial(torch.mul, 2)", "import functools, torch"
    ),
    "a lambda": with_double("double = lambda x: x * 2"),
    "an object that is called": with_double(
        "class D:\n    def __call__(self, x):\n        return x * 2\ndouble = D()"
    ),
    "vmap": with_double(
        "def double(x):\n    return torch.func.vmap(lambda r: r * 2)(x)", "import torch"
    ),
    "threads": with_double(
        "def double(x):\n    with ThreadPoolExecutor(2) as p:\n        return "
        "next(p.map(lambda r: r * 2, [x]))",
        "from concurrent.futures import ThreadPoolExecutor",
    ),
    "names and signs of the world": with_double(
        "def double(größe):\n    二 = 2  # 倍\x0c\u2028\n    return größe * 二"
    ),
    "tests in the file": with_double(
        "import torch\nassert double(3) == 6\nassert double(torch.ones(2)).sum() == 4"
    ),
    "seeds and settings of its own": with_double(
        "random.seed(0); np.random.seed(0); torch.manual_seed(0); "
        "torch.set_num_threads(2)",
        "import random, numpy as np, torch",
    ),
    "stdout closed": with_double("import sys\nsys.stdout.close()"),
    "an odd global name": with_double("globals()[3] = 4"),
    "lines of Windows": RIGHT.replace("\n", "\r\n"),
    "tabs": RIGHT.replace("    ", "\t"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_right_code_passes_whatever_it_looks_like(
    name, lab, grader, monkeypatch, tmp_path
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    verdict = grader.run(
        lab, "double", Solution(source=ACCEPTED[name], filename="probe.py")
    )
    assert verdict.status is Status.PASS, (verdict.line, verdict.output)
    assert list(tmp_path.iterdir()) == []


REFUSED = {
    "class E(Exception):\n    __str__ = None\ndef double(x):\n    raise E": (
        "it raises E: (its message cannot be shown"
    ),
    "def double(x):\n    raise SyntaxError": "it raises SyntaxError (line",
    "def double(x):\n    raise ValueError('\\x1b[31m\\ud800')": (
        "it raises ValueError: ?[31m? (line"
    ),
    "def double(x):\n    return 10**5000": "it raises ValueError: Exceeds the limit",
    "def double(x):\n    return torch.complex(x, x)": (
        "the result is complex64; expected is float32"
    ),
    "def double(x):\n    return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)": (
        "it raises TypeError: a qint8"
    ),
    "def double(x):\n    return (x * 2).to_sparse()": "it raises RuntimeError",
    "def double(x):\n    import numpy as np\n    return np.asarray(x, "
    "dtype=np.longdouble)": "the result is a ndarray",
    "import itertools\ndef double(x):\n    return itertools.count()": (
        "the result is an iterator"
    ),
    "import sys\nsys.modules.clear()": (
        "while the file is imported, it ends the whole process"
    ),
    "x: Undefined = 1": (
        "the file cannot be imported: raises NameError: name 'Undefined' is not "
        "defined (line"
    ),
    "double = None\x00": (
        "the file cannot be imported: raises SyntaxError: source code string cannot "
        "contain null"
    ),
    "'\x0c\u2028'\n{}[1]": (
        "the file cannot be imported: raises KeyError: 1 (line 21, in <module>: {}[1])"
    ),
}


@pytest.mark.parametrize("ending", REFUSED)
def test_odd_wrong_code_fails_in_one_line(ending, lab, grader):
    verdict = grader.run(
        lab,
        "double",
        Solution(source=with_double(ending, "import torch"), filename="probe.py"),
    )
    assert verdict.status is Status.FAIL
    assert verdict.diagnosis.symptom.startswith(REFUSED[ending]), (
        verdict.diagnosis.symptom
    )
    assert "\n" not in verdict.line
    verdict.line.encode("utf-8")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\xef\xbb\xbf" + RIGHT.encode(), "PASS"),
        (RIGHT.replace("\n", "\r\n").encode(), "PASS"),
        (RIGHT.replace("\n", "\r").encode(), "PASS"),
        (("# 学习\n" + RIGHT).encode(), "PASS"),
        (b"", "FAIL"),
    ],
)
def test_a_file_as_editors_save_it(data, status, lab, grader, tmp_path):
    file = tmp_path / "probe.py"
    file.write_bytes(data)
    assert statuses(grader.grade(lab, file, only=["double"])) == [status]


@pytest.mark.parametrize("encoding", ["utf-16", "gbk", "cp1252"])
def test_a_file_in_another_encoding_is_said(encoding, lab, grader, tmp_path):
    file = tmp_path / "probe.py"
    file.write_bytes(
        ("# é\n" if encoding == "cp1252" else "# 分词器\n").encode(encoding)
        + RIGHT.encode()
    )
    with pytest.raises(
        ValueError,
        match=r"probe.py is not UTF-8: byte \d+ cannot be read; save it as UTF-8",
    ):
        grader.grade(lab, file)


def test_prerequisites_points_and_order(lab, grader):
    seen = []
    report = grader.grade(
        lab, Solution(source=WRONG, filename="probe.py"), on_verdict=seen.append
    )
    assert (
        statuses(report) == ["FAIL", "BLOCKED", "PASS"]
        and list(report.verdicts) == seen
    )
    assert report.verdicts[1].line == "needs double first"
    assert (report.points, report.of) == (3, 6) and report.seconds > 0
    right_alone = WRONG.replace("double(x).sum(-1)", "(2 * x).sum(-1)")
    assert statuses(
        grader.grade(lab, Solution(source=right_alone, filename="probe.py"))
    ) == ["FAIL", "PASS", "PASS"]


def test_some_checks_only_with_what_they_need(lab, grader):
    solution = Solution(source=WRONG, filename="probe.py")
    assert statuses(grader.grade(lab, solution, only=["total"])) == ["BLOCKED"]
    assert statuses(grader.grade(lab, solution, only=["Counter"])) == ["PASS"]
    with pytest.raises(
        ValueError, match="lab90 has no triple; it has double, total, Counter"
    ):
        grader.grade(lab, solution, only=["triple"])


def test_the_learners_own_file_is_the_default(lab, grader):
    assert lab.file.read_text() == FILES["probe.py"]
    assert statuses(grader.grade(lab)) == ["NOT YET"] * 3


def test_a_file_that_cannot_be_imported_blocks_nothing_and_is_said_for_each(
    lab, grader
):
    report = grader.grade(lab, Solution(source=RIGHT + "\ndef", filename="probe.py"))
    assert statuses(report) == ["FAIL"] * 3
    assert {verdict.line for verdict in report.verdicts} == {report.verdicts[0].line}
    assert report.verdicts[0].line.startswith(
        "the file cannot be imported: raises SyntaxError"
    )


def test_code_of_the_course_may_import_the_package(lab, grader):
    source = "import happyllm_support.files\n" + RIGHT
    assert (
        statuses(
            grader.grade(lab, Solution(source=source, filename="x.py", trusted=True))
        )
        == ["PASS"] * 3
    )
    assert statuses(
        grader.grade(lab, Solution(source=source, filename="x.py"), only=["double"])
    ) == ["FAIL"]


def test_nothing_is_left_when_a_check_is_interrupted(lab, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = {
        process.pid for process in psutil.Process(os.getpid()).children(recursive=True)
    }

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Grader(lab.folder.parent) as grader:
        grader.grade(lab, Solution(source=RIGHT, filename="probe.py"), only=["double"])
        monkeypatch.setattr("happyllm_support.grading.grader.judge", interrupt)
        grader.grade(lab, Solution(source=RIGHT, filename="probe.py"))
    assert list(tmp_path.iterdir()) == []
    assert {
        process.pid for process in psutil.Process(os.getpid()).children(recursive=True)
    } <= before


def test_a_mistake_of_its_own_is_no_prerequisites_fault(lab, grader):
    alone = "def double(x):\n    return x\n\ndef total(x):\n    return x.sum(0)\n"
    report = grader.grade(
        lab, Solution(source=alone, filename="probe.py"), only=["total"]
    )
    assert statuses(report) == ["FAIL"]  # it does not call double
    through = "def double(x):\n    return x\n\ndef twice(x):\n    return double(x)\n\n"
    through += "def total(x):\n    return twice(x).sum(-1)\n"
    report = grader.grade(
        lab, Solution(source=through, filename="probe.py"), only=["total"]
    )
    assert statuses(report) == ["BLOCKED"]


def test_what_a_function_uses():
    source = (
        "import math\ndef a(): return b() + math.pi\ndef b(): return [c for c in "
        "D().f()]\n"
    )
    source += "class D:\n    def f(self): return e\n"
    assert uses(source, "a") == {"b", "math", "c", "D", "e"}
    assert uses(source, "missing") == set() and uses("def (", "a") == set()
