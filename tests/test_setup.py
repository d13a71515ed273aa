import re
import subprocess
import sys

import pytest

from tools import setup


@pytest.fixture
def calls(monkeypatch):
    """Record pip calls instead of making them."""
    seen = []
    monkeypatch.setattr(
        setup, "pip", lambda python, *arguments, check=True: seen.append(arguments) or 0
    )
    return seen


def torch_versions(monkeypatch, *versions):
    remaining = list(versions)
    monkeypatch.setattr(setup, "torch_version", lambda python: remaining.pop(0))


@pytest.mark.parametrize(
    ("there", "choice"),
    [("2.13.0+cpu", "cpu"), ("2.13.0+cu130", "cuda"), ("2.6.1", "installed")],
)
def test_a_build_that_fits_is_used_as_it_is(monkeypatch, calls, there, choice):
    monkeypatch.setattr(sys, "platform", "linux")
    torch_versions(monkeypatch, there)
    assert setup.install_torch("python", choice) == there and calls == []


@pytest.mark.parametrize(
    ("there", "choice"),
    [
        ("2.13.0+cu130", "cpu"),
        ("2.13.0+cpu", "cuda"),
        ("2.12.0+cpu", "cpu"),
        (None, "cpu"),
    ],
)
def test_another_build_or_version_is_replaced(monkeypatch, calls, there, choice):
    monkeypatch.setattr(sys, "platform", "linux")
    torch_versions(monkeypatch, there, "2.13.0+new")
    assert setup.install_torch("python", choice) == "2.13.0+new"
    assert calls == [
        ("install", "torch==2.13.0+cpu" if choice == "cpu" else "torch==2.13.0")
    ]


@pytest.mark.parametrize(
    ("there", "found"), [(None, "found none"), ("2.5.1", "found 2.5.1")]
)
def test_installed_needs_one_that_is_recent_enough(monkeypatch, calls, there, found):
    torch_versions(monkeypatch, there)
    with pytest.raises(
        setup.SetupError, match=rf"needs PyTorch 2\.6 or later, {found}"
    ):
        setup.install_torch("python", "installed")


def test_wrong_python_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(setup, "SUPPORTED", ((3, 1),))
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    assert setup.main() == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("setup: error: Python 3.11 or 3.12 is needed, this is")
        and error.count("\n") == 1
    )


def test_second_run_does_nothing(tmp_path, monkeypatch, calls):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(
        setup,
        "install_torch",
        lambda python, choice: calls.append("torch") or "2.13.0+cpu",
    )
    setup.setup(venv, "cpu")
    assert calls[0] == "torch" and calls[1][0] == "install"
    assert "torch==2.13.0+cpu\n" in (venv / "happyllm-constraints.txt").read_text()
    calls.clear()
    setup.setup(venv, "cpu")
    assert calls == []
    setup.setup(venv, "cuda")
    assert calls != []


def test_make_alone_explains_every_target():
    text = (setup.ROOT / "Makefile").read_text()
    targets = " ".join(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)).split()
    assert {"book", "test", "labs", "lab-reset"} <= set(targets)
    shown = subprocess.run(
        ["make", "-s"], cwd=setup.ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert [t for t in targets if t != "help" and f"make {t}" not in shown] == []
