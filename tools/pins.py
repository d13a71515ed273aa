"""Write the tested pins down: `python tools/pins.py` after the environment was changed
and everything passed.

`constraints.txt` is what is installed here, direct needs and theirs; `environment.yml`
the same direct needs for conda. `pyproject.toml` says what is needed, so it is edited
by hand and the other two follow from it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("chapters", "book", "test")
# In every environment before anything of ours is installed, or ours.
NOT_PINNED = {"pip", "uv", "happyllm-support"}


def canonical(name: str) -> str:
    """The normalised form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    """`jupyter-book==1.0` -> `jupyter-book`, `pyright[nodejs]>=1` -> `pyright`."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return match[0]


def direct_requirements() -> list[str]:
    """Every requirement that pyproject.toml states for the full environment, in its
    order.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [
        *project["dependencies"],
        *(r for extra in EXTRAS for r in project["optional-dependencies"][extra]),
    ]


def parse_constraints(text: str) -> dict[str, str]:
    """`name==version` lines as a dict with canonical names."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return {
        canonical(name): version
        for name, _, version in (line.partition("==") for line in lines if line)
    }


def render_constraints(installed: dict[str, str]) -> str:
    """The text of constraints.txt."""
    direct = [canonical(requirement_name(r)) for r in direct_requirements()]
    rest = sorted(set(installed) - set(direct) - NOT_PINNED)
    head = (
        "# Tested together on Python 3.11 and 3.12; written by tools/pins.py. What "
        "the project names itself:\n"
    )
    lines = [f"{name}=={installed[name].split('+')[0]}" for name in direct]
    return head + "\n".join(
        [
            *lines,
            "# What those need:",
            *(f"{name}=={installed[name]}" for name in rest),
            "",
        ]
    )


def render_environment(pins: dict[str, str]) -> str:
    """The text of environment.yml: conda gives Python and make, pip the pinned rest."""
    lines = [
        "# conda env create -f environment.yml && conda activate happyllm",
        "# The pins are those of constraints.txt; written by tools/pins.py.",
        "name: happyllm",
        "channels: [conda-forge]",
        "dependencies:",
        "  - python=3.12",
        "  - pip",
        "  - make",
        "  - pip:",
        "      - --constraint constraints.txt",
    ]
    for requirement in direct_requirements():
        name = re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?", requirement)
        assert name
        lines.append(
            f"      - {name[0]}=={pins[canonical(requirement_name(requirement))]}"
        )
    return "\n".join([*lines, "      - --editable .", ""])


def main() -> int:
    """Write both files from what is installed in the running environment."""
    installed = {canonical(d.metadata["Name"]): d.version for d in distributions()}
    missing = [
        r
        for r in direct_requirements()
        if canonical(requirement_name(r)) not in installed
    ]
    if missing:
        print(f"pins: error: not installed here: {', '.join(missing)}", file=sys.stderr)
        return 2
    constraints = render_constraints(installed)
    (ROOT / "constraints.txt").write_text(constraints, "utf-8")
    (ROOT / "environment.yml").write_text(
        render_environment(parse_constraints(constraints)), "utf-8"
    )
    print(f"pins: wrote {len(installed)} pins to constraints.txt and environment.yml")
    return 0


if __name__ == "__main__":
    sys.exit(main())
