"""The tests of a part, or of what has changed: `python tools/check.py [PART]`.

`make check` runs them, then the lint: the short loop between two runs of `make test`,
which proves everything. A part is a folder of `tests/`, such as `model` or
`text/tokenizer`. Without one it is what differs from the last commit, or what that
commit changed when nothing does:

- `happyllm_support/x/y.py` is proven by `tests/x/test_y.py`; where there is none, by
  the tests that import it
- a lab by its own tests, and by what is proven of every lab
- a chapter by the pair check of the lint: running it is left to `make execute`
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
EVERY_LAB = "tests/labs/test_every_lab.py"
LAYOUT = "tests/test_architecture.py"


def parts(root: Path) -> list[str]:
    """The folders of `tests/` that hold tests, `model` before `model/weights`."""
    folders = {path.parent for path in (root / "tests").rglob("test_*.py")}
    names = {folder.relative_to(root / "tests").as_posix() for folder in folders}
    return sorted(({n.split("/")[0] for n in names} | names) - {"."})


def changed_files(root: Path) -> list[str]:
    """What differs from the last commit, new files included; what that commit changed
    when nothing does.
    """

    def lines(*command: str) -> list[str]:
        git = ["git", "-C", str(root), *command, "-z"]
        found = subprocess.run(git, capture_output=True, text=True)
        return [name for name in found.stdout.split("\0") if name]

    now = lines("diff", "--name-only", "HEAD")
    now += lines("ls-files", "--others", "--exclude-standard")
    return sorted(now or lines("diff", "--name-only", "HEAD~1", "HEAD"))


def tests_of(name: str, root: Path) -> set[str]:
    """The test files for one file of the repository, as names from its root."""
    path = PurePosixPath(name)
    folder, *inner = path.parts
    if folder == "labs":
        lab = re.search(r"lab\d\d", name)
        found = {f"tests/labs/test_{lab[0]}.py", EVERY_LAB} if lab else set[str]()
    elif folder == "benchmarks":
        found = {"tests/test_benchmarks.py"}
    elif path.suffix != ".py":
        found = {"tests/book/test_book.py"} if folder == "book" else set[str]()
    elif folder == "tests":
        found = {name} if path.stem.startswith("test_") else importers(path.stem, root)
    elif folder == "happyllm_support":
        mirror = PurePosixPath("tests", *inner[:-1], f"test_{path.stem}.py").as_posix()
        module = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        known = (root / mirror).exists()
        found = {LAYOUT} | ({mirror} if known else importers(module, root))
    elif path.parts[:2] == ("chapters", "experiments"):
        found = {"tests/test_experiments.py"}
    else:
        mirrors = (f"tests/test_{path.stem}.py", f"tests/book/test_{path.stem}.py")
        found = set(mirrors) if folder == "tools" else set[str]()
    return {test for test in found if (root / test).exists()}


def importers(module: str, root: Path) -> set[str]:
    """The test files that import a module, given its full name."""
    package, _, name = module.rpartition(".")
    ways = [rf"(from|import) {re.escape(module)}\b"]
    if package:
        ways.append(rf"from {re.escape(package)} import \(?[\w\s,]*\b{name}\b")
    imports = re.compile("|".join(ways))
    return {
        path.relative_to(root).as_posix()
        for path in (root / "tests").rglob("test_*.py")
        if imports.search(path.read_text("utf-8"))
    }


def selection(part: str | None, root: Path) -> list[str]:
    """What pytest is given; empty when no test is concerned.

    Raises:
        ValueError: there is no such part.
    """
    if part:
        if part.strip("/") not in parts(root):
            raise ValueError(
                f"no part {part!r}; expected one of {', '.join(parts(root))}"
            )
        return [f"tests/{part.strip('/')}"]
    files = changed_files(root)
    tests = sorted({test for name in files for test in tests_of(name, root)})
    labs = {lab[0] for name in files if (lab := re.search(r"lab\d\d", name))}
    if EVERY_LAB in tests and EVERY_LAB not in files:
        tests += ["-k", f"not test_every_lab or {' or '.join(sorted(labs))}"]
    return tests


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Command line; the exit code of pytest, 2 for an unknown part."""
    parser = argparse.ArgumentParser(prog="check", description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", help="a folder of tests/, such as model")
    parser.add_argument("--workers", default="2", help="processes that run tests")
    options = parser.parse_args(arguments)
    try:
        chosen = selection(options.part, root)
    except ValueError as error:
        print(f"check: error: {error}", file=sys.stderr)
        return 2
    if not chosen:
        print("check: no test belongs to what has changed")
        return 0
    print("check:", *chosen, flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", options.workers]
    command += ["--dist", "worksteal", "--durations", "5", "--durations-min", "5"]
    return subprocess.run([*command, *chosen], cwd=root).returncode


if __name__ == "__main__":
    sys.exit(main())
