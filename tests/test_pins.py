"""pyproject.toml, constraints.txt and environment.yml describe one environment."""

import re
import tomllib

import yaml

from tools import pins

PYPROJECT = tomllib.loads((pins.ROOT / "pyproject.toml").read_text("utf-8"))
PINS = pins.parse_constraints((pins.ROOT / "constraints.txt").read_text("utf-8"))


def version(text):
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3])


def test_every_direct_requirement_is_pinned_within_its_range():
    for requirement in pins.direct_requirements():
        pin = version(PINS[pins.canonical(pins.requirement_name(requirement))])
        for operator, bound in re.findall(r"(==|>=|<)([\w.]+)", requirement):
            limit = version(bound)
            holds = {"==": pin == limit, ">=": pin >= limit, "<": pin < limit}[operator]
            assert holds, f"{requirement} does not allow the pinned {pin}"


def test_environment_yml_is_what_the_pins_say():
    text = (pins.ROOT / "environment.yml").read_text("utf-8")
    assert text == pins.render_environment(PINS), "run `python tools/pins.py`"
    environment = yaml.safe_load(text)
    python = next(
        d
        for d in environment["dependencies"]
        if isinstance(d, str) and d.startswith("python=")
    )
    low, high = re.findall(r"\d+\.(\d+)", PYPROJECT["project"]["requires-python"])
    assert int(low) <= int(python.split(".")[1]) < int(high)
    (wanted,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert "torch==2.13.0" in wanted and "--editable ." in wanted


def test_torch_is_pinned_without_a_build_and_accepted_from_2_6():
    assert PINS["torch"] == "2.13.0"
    assert "torch>=2.6" in PYPROJECT["project"]["dependencies"]


def test_no_pin_carries_an_address():
    for name in (
        "constraints.txt",
        "environment.yml",
        "pyproject.toml",
        "Makefile",
        "tools/setup.py",
    ):
        assert "://" not in (pins.ROOT / name).read_text("utf-8"), (
            f"{name} names a host"
        )
