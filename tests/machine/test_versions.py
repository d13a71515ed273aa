from pathlib import Path

import pytest

from happyllm_support.machine import versions
from happyllm_support.machine.versions import Requirement, parse_requirement

ROOT = Path(__file__).parents[2]


def test_requirements_are_read_and_compared():
    sphinx = parse_requirement('Sphinx<8,>=7.4; extra == "book"')
    assert (sphinx.name, sphinx.group, str(sphinx)) == (
        "Sphinx",
        "book",
        "Sphinx<8,>=7.4",
    )
    assert [sphinx.accepts(v) for v in ("7.3.9", "7.4", "7.4.7", "8.0", "8.1.2")] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert parse_requirement("pyright[nodejs]>=1.1.390").name == "pyright"
    torch = parse_requirement("torch (>=2.6)")
    assert torch.accepts("2.13.0+cpu") and not torch.accepts("2.5")
    exact = parse_requirement("jupyter-book==1.0.4.post1")
    assert exact.accepts("1.0.4") and not exact.accepts("1.0.5")
    with pytest.raises(ValueError, match="cannot read the requirement"):
        parse_requirement("==1")


@pytest.mark.parametrize(
    ("installed", "tested", "verdict"),
    [
        (None, "2.13.0", "missing"),
        ("2.5.1", "2.13.0", "refused"),
        ("2.13.0+cpu", "2.13.0", "tested"),
        ("2.13", "2.13.0", "tested"),
        ("2.14.0", "2.13.0", "newer"),
        ("2.9.1", "2.13.0", "older"),
        ("2.6.0", None, "accepted"),
    ],
)
def test_verdicts(installed, tested, verdict):
    requirement = Requirement(name="torch", group="core", bounds=((">=", "2.6"),))
    assert versions.judge(requirement, installed, tested) == verdict


def test_pins_are_read(tmp_path):
    lines = (
        "# tested",
        "torch==2.13.0",
        "PyYAML==6.0.3  # yaml",
        "foo_bar[x]==1 ; python",
        "b>=2",
        "",
    )
    (tmp_path / "constraints.txt").write_text("\n".join(lines))
    assert versions.read_pins(tmp_path / "constraints.txt") == {
        "torch": "2.13.0",
        "pyyaml": "6.0.3",
        "foo-bar": "1",
    }


def test_in_a_checkout_the_pins_are_known():
    assert versions.checkout() == ROOT
    found = {p.name: p for p in versions.package_versions()}
    assert (
        found["torch"].tested == versions.read_pins(ROOT / "constraints.txt")["torch"]
    )
    assert {p.group for p in found.values()} >= {"core", "chapters", "book", "test"}


def test_without_a_checkout_the_metadata_is_used(monkeypatch):
    monkeypatch.setattr(versions, "checkout", lambda: None)
    found = {p.name: p for p in versions.package_versions()}
    assert found["torch"].verdict == "accepted" and found["torch"].tested is None
    assert versions.installed_version("no-such-package-anywhere") is None
