"""Which versions of the course's packages are installed, which are required, and which
were tested.

What is required stands in `pyproject.toml` (in a checkout) or in the metadata of the
installed package; what was tested stands in `constraints.txt`, which only a checkout
has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

DISTRIBUTION = "happyllm-support"

Verdict = Literal["tested", "newer", "older", "accepted", "missing", "refused"]


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One line of the package's requirements, such as `torch>=2.6` or, for a group,
    `Sphinx>=7.4,<8`.
    """

    name: str
    group: str
    """`core` for what the package itself imports, else the name of the extra."""
    bounds: tuple[tuple[str, str], ...]
    """Pairs of operator (`>=`, `<=`, `>`, `<`, `==`) and version."""

    def accepts(self, version: str) -> bool:
        """Whether `version` lies within the bounds (release numbers only: `2.13.0+cpu`
        counts as 2.13.0).
        """
        found = release(version)
        for operator, bound in self.bounds:
            wanted = release(bound)
            inside = {
                ">=": found >= wanted,
                "<=": found <= wanted,
                ">": found > wanted,
                "<": found < wanted,
                "==": found == wanted,
            }
            if not inside[operator]:
                return False
        return True

    def __str__(self) -> str:
        return self.name + ",".join(operator + bound for operator, bound in self.bounds)


@dataclass(frozen=True, kw_only=True)
class PackageVersion:
    """A required package beside what is installed of it and what was tested."""

    name: str
    group: str
    required: str
    """The requirement as written, such as `torch>=2.6`."""
    installed: str | None
    tested: str | None
    """The pin in `constraints.txt`; None outside a checkout."""
    verdict: Verdict
    """`tested`: equal to the pin; `newer`/`older`: allowed but not the pin; `accepted`:
    allowed, without a pin to compare with; `missing`; `refused`: outside the required
    bounds.
    """


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version without suffixes and trailing zeros: `2.13.0+cpu` -> (2,
    13).
    """
    match = re.match(r"\s*v?(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in match.group(1).split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def checkout() -> Path | None:
    """The root of the checkout that this package runs from, or None when it is
    installed as a plain package.
    """
    root = Path(__file__).resolve().parent.parent
    return (
        root
        if (root / "pyproject.toml").is_file() and (root / "constraints.txt").is_file()
        else None
    )


def read_pins(path: Path) -> dict[str, str]:
    """Read `name==version` lines; comments, markers and other kinds of lines are passed
    over. Keys are normalized.
    """
    pins: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        match = re.match(r"\s*([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*==\s*([^\s;#]+)", line)
        if match:
            pins[normalized(match.group(1))] = match.group(2)
    return pins


def normalized(name: str) -> str:
    """A distribution's name as indexes compare it: lower case, with one dash for each
    run of `-`, `_` and `.`.
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_requirement(line: str, group: str = "core") -> Requirement:
    """Read one requirement as `pyproject.toml` or a wheel's metadata writes it.

    >>> str(parse_requirement('Sphinx<8,>=7.4; extra == "book"'))
    'Sphinx<8,>=7.4'
    """
    specification, _, marker = line.partition(";")
    extra = re.search(r"""extra\s*==\s*["']([^"']+)""", marker)
    match = re.match(
        r"\s*([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*\(?([^)]*)\)?", specification
    )
    if not match:
        raise ValueError(
            f"cannot read the requirement {line!r}; expected a name and bounds such as "
            "`torch>=2.6`"
        )
    bounds = re.findall(r"(>=|<=|==|>|<)\s*([^\s,]+)", match.group(2))
    return Requirement(
        name=match.group(1),
        group=extra.group(1) if extra else group,
        bounds=tuple(bounds),
    )


def requirements(root: Path | None) -> list[Requirement]:
    """What the package requires: from the checkout `root` if given, else from the
    installed metadata.
    """
    if root is not None:
        import tomllib

        project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
        found = [parse_requirement(line) for line in project["dependencies"]]
        for group, lines in project.get("optional-dependencies", {}).items():
            found += [parse_requirement(line, group) for line in lines]
        return found
    try:
        return [
            parse_requirement(line) for line in metadata.requires(DISTRIBUTION) or []
        ]
    except metadata.PackageNotFoundError:
        return []


def installed_version(name: str) -> str | None:
    """The installed version of a distribution, without importing it; None when it is
    absent.
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def judge(
    requirement: Requirement, installed: str | None, tested: str | None
) -> Verdict:
    """Compare an installed version with what is required and with what was tested."""
    if installed is None:
        return "missing"
    if not requirement.accepts(installed):
        return "refused"
    if tested is None:
        return "accepted"
    if release(installed) == release(tested):
        return "tested"
    return "newer" if release(installed) > release(tested) else "older"


def package_versions() -> tuple[PackageVersion, ...]:
    """Every package that the course requires, in the order of `pyproject.toml`, with
    its verdict.
    """
    root = checkout()
    pins = read_pins(root / "constraints.txt") if root else {}
    found: list[PackageVersion] = []
    for requirement in requirements(root):
        installed, tested = (
            installed_version(requirement.name),
            pins.get(normalized(requirement.name)),
        )
        verdict = judge(requirement, installed, tested)
        found.append(
            PackageVersion(
                name=requirement.name,
                group=requirement.group,
                required=str(requirement),
                installed=installed,
                tested=tested,
                verdict=verdict,
            )
        )
    return tuple(found)
