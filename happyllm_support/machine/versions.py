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
    """One line of the package's requirements, such as `Sphinx>=7.4,<8`.

    Attributes:
        name: of the other package.
        group: `core` for what the package itself imports, else the name of the extra.
        bounds: pairs of operator (`>=`, `<=`, `>`, `<`, `==`) and version.
    """

    name: str
    group: str
    bounds: tuple[tuple[str, str], ...]

    def accepts(self, version: str) -> bool:
        """Whether a version lies within the bounds; `2.13.0+cpu` counts as 2.13.0."""
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
    """A required package beside what is installed of it and what was tested.

    Attributes:
        name: of the package.
        group: as in `Requirement`.
        required: the requirement as written, such as `torch>=2.6`.
        installed: its version, None where it is missing.
        tested: the pin in `constraints.txt`; None outside a checkout.
        verdict: `tested`: equal to the pin; `newer` or `older`: allowed but not the
            pin; `accepted`: allowed, without a pin to compare with; `missing`;
            `refused`: outside the required bounds.
    """

    name: str
    group: str
    required: str
    installed: str | None
    tested: str | None
    verdict: Verdict


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, no zeros at the end: `2.13.0+cpu` -> (2, 13)."""
    match = re.match(r"\s*v?(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in match.group(1).split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def checkout() -> Path | None:
    """Return the root of the checkout that this package runs from, None without one."""
    root = Path(__file__).resolve().parents[2]
    files = (root / "pyproject.toml", root / "constraints.txt")
    return root if all(file.is_file() for file in files) else None


def read_pins(path: Path) -> dict[str, str]:
    """Read the `name==version` lines of a file; names are normalized."""
    pins: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        match = re.match(r"\s*([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*==\s*([^\s;#]+)", line)
        if match:
            pins[normalized(match.group(1))] = match.group(2)
    return pins


def normalized(name: str) -> str:
    """Return a name as indexes compare it: lower case, one dash for `-`, `_`, `.`."""
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
    """Read what the package requires, from a checkout or the installed metadata."""
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
    """Return the installed version of a distribution, None where there is none."""
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
    """Judge every package that the course requires, in the order of the project."""
    root = checkout()
    pins = read_pins(root / "constraints.txt") if root else {}
    found: list[PackageVersion] = []
    for requirement in requirements(root):
        installed = installed_version(requirement.name)
        tested = pins.get(normalized(requirement.name))
        version = PackageVersion(
            name=requirement.name,
            group=requirement.group,
            required=str(requirement),
            installed=installed,
            tested=tested,
            verdict=judge(requirement, installed, tested),
        )
        found.append(version)
    return tuple(found)
