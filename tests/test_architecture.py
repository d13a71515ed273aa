"""Imports go down only, nothing happens at import, and the repository stays small and
clean.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "happyllm_support"
# Beside the parts, for all of them.
BASE = {"files", "progress", "claims", "plots", "experiments", "parallel", "machine"}
# part -> the parts that it may import; itself and BASE always.
ALLOWED = {
    "text": set(),
    "model": set(),
    "inference": {"model", "text"},
    "training": {"model", "text"},
    "adaptation": {"text", "model", "training", "inference"},
    "serving": {"text", "model", "training", "inference", "adaptation"},
    "grading": set(),
}
MODULES = sorted(PACKAGE.rglob("*.py"))
TRACKED = subprocess.run(
    ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True
).stdout.split("\0")[:-1]


def imported_modules(path, root=ROOT):
    """Full names of what a module imports anywhere in it, relative imports resolved."""
    package = ".".join(path.relative_to(root).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
                if node.level
                else ""
            )
            module = ".".join(filter(None, [base, node.module]))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part not in ALLOWED:
        assert part in BASE | {"__init__", "__main__", "cli", "commands"}, (
            f"{part} has no place in ALLOWED"
        )
        allowed = set(BASE) | (
            set(ALLOWED) | {"cli", "commands"} if part not in BASE else set()
        )
    else:
        allowed = ALLOWED[part] | {part} | BASE
    used = {
        m.split(".")[1]
        for m in imported_modules(path)
        if m.startswith("happyllm_support.")
    }
    assert used - allowed - {"__version__"} == set(), (
        f"{path.name} imports {used - allowed}, allowed are {allowed}"
    )


@pytest.mark.parametrize(
    "line",
    [
        "from ..training import loop",
        "import happyllm_support.training.loop",
        "from .. import training",
    ],
)
def test_each_way_of_writing_an_upward_import_is_seen(tmp_path, line):
    probe = tmp_path / "happyllm_support" / "text" / "probe.py"
    probe.parent.mkdir(parents=True)
    probe.write_text(line)
    assert any(
        name.split(".")[1:2] == ["training"]
        for name in imported_modules(probe, tmp_path)
    )


def name_of(path):
    """Full name of a module or package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_importing_the_package_and_its_text_part_does_no_work():
    text = [m for m in MODULES if PACKAGE / "text" in m.parents and m.stem != "batches"]
    names = ["happyllm_support", *map(name_of, text)]
    code = f"import threading, sys\nfor name in {names}: __import__(name)\n"
    code += "assert threading.active_count() == 1, threading.enumerate()\n"
    code += "assert 'torch' not in sys.modules\n"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


NAMES = {name_of(path) for path in MODULES}


def imports_among_modules():
    """For each module the modules that it imports."""
    found = {}
    for path in MODULES:
        targets = set(imported_modules(path)) & NAMES - {"happyllm_support"}
        packages = {t for t in targets if any(u.startswith(f"{t}.") for u in targets)}
        found[name_of(path)] = targets - packages  # `from a import b` means a.b
    return found


def room_of(module):
    """The folder of a module inside its part, `happyllm_support.text.corpora`."""
    return ".".join(module.split(".")[:3])


def imports_among_rooms():
    """The same for the folders inside a part, and for modules that lie beside them."""
    found = {}
    for module, targets in imports_among_modules().items():
        rooms = {room_of(target) for target in targets} - {room_of(module)}
        found.setdefault(room_of(module), set()).update(rooms)
    return found


def circle(graph):
    """Some circle of a graph as a list of names; None where there is none."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node) :]
        if node not in done:
            path.append(node)
            for target in sorted(graph.get(node, ())):
                if found := visit(target):
                    return found
            path.pop()
            done.add(node)
        return None

    return next(filter(None, map(visit, sorted(graph))), None)


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) is None


@pytest.mark.parametrize("imports", [imports_among_modules, imports_among_rooms])
def test_no_imports_in_a_circle(imports):
    graph = imports()
    assert len(graph) > 30
    assert circle(graph) is None


SILENT = [
    p for p in MODULES if "commands" not in p.parts and p.stem not in ("cli", "claims")
]


@pytest.mark.parametrize("path", SILENT, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_library_does_not_print_and_keeps_no_pickle(path):
    tree = ast.parse(path.read_text("utf-8"))
    calls = {
        n.func.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert "print" not in calls
    assert not {"pickle", "dill", "cloudpickle", "joblib"} & set(imported_modules(path))


ROOMS = sorted(
    m.parent
    for m in MODULES
    if m.stem == "__init__" and m.parent != PACKAGE and m.parent.name != "commands"
)


@pytest.mark.parametrize("room", ROOMS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_reading_order_of_a_room_is_complete(room):
    listed = re.findall(r"\w+", (room / "__init__.py").read_text("utf-8"))
    here = [p.stem for p in MODULES if p.parent == room and p.stem != "__init__"]
    here += [p.name for p in ROOMS if p.parent == room]
    assert [name for name in here if name not in listed] == []


def test_the_two_models_do_not_import_each_other():
    used = {
        name: set(imported_modules(PACKAGE / "model" / f"{name}.py"))
        for name in ("gpt2", "llama2")
    }
    assert not any("llama2" in module for module in used["gpt2"])
    assert not any("gpt2" in module for module in used["llama2"])


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_readable(path):
    assert len(path.read_text("utf-8").splitlines()) <= 360


def test_no_machine_path_and_no_large_file_is_committed():
    assert len(TRACKED) > 20
    pristine = (
        "HAPPYLLM_PRISTINE_LABS" in os.environ
    )  # else a learner may have written anything into these
    learners_files = (
        set()
        if pristine
        else {
            f.parent / f"{f.parent.name[6:]}.py" for f in ROOT.glob("labs/*/checks.py")
        }
    )
    root_paths = re.compile(r"(?<![\w.])/(?:root|work)/")  # of whoever wrote it
    for name in TRACKED:
        path = ROOT / name
        if not path.is_file() or path in learners_files:
            continue
        assert path.stat().st_size < (
            16_000_000 if name.startswith("models/") else 1_500_000
        ), name
        if path.suffix in {
            ".py",
            ".md",
            ".ipynb",
            ".yml",
            ".toml",
            ".json",
            ".css",
            ".txt",
            "",
        }:
            text = path.read_text("utf-8")
            found = (
                root_paths.search(text)
                if name != "tests/test_architecture.py"
                else None
            )
            assert found is None, (
                f"{name} holds a machine path near "
                f"{text[found.start() - 40 : found.end() + 40]!r}"
            )
