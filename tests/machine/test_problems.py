import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from happyllm_support.commands import doctor
from happyllm_support.machine.hardware import Cpu, Gpu, Memory, TorchBuild
from happyllm_support.machine.problems import CODES, diagnose, notes
from happyllm_support.machine.report import GIB, DownloadFolder, MachineReport
from happyllm_support.machine.versions import PackageVersion

ROOT = Path(__file__).parents[2]
TORCH = PackageVersion(
    name="torch",
    group="core",
    required="torch>=2.6",
    installed="2.13.0",
    tested="2.13.0",
    verdict="tested",
)
HEALTHY = MachineReport(
    python="3.12.4",
    executable="/venv/bin/python",
    system="Linux 6.1 x86_64",
    torch=TorchBuild(version="2.13.0", build="CUDA 12.6", threads=4),
    cpu=Cpu(model="A CPU", cores=4, logical=8, usable=8, features=("avx2",)),
    memory=Memory(total=16 * GIB, available=8 * GIB),
    gpus=(Gpu(kind="cuda", name="A GPU", memory_bytes=24 * GIB),),
    unused_gpu=False,
    packages=(TORCH,),
    checkout="/course",
    disk_free=50 * GIB,
    cache=DownloadFolder(path="/cache", size_bytes=0, writable=True),
    encoding="UTF-8",
)


def package(name="tiktoken", group="core", verdict="tested", installed="1.0"):
    return PackageVersion(
        name=name,
        group=group,
        required=f"{name}>=0.8",
        installed=installed,
        tested="1.0",
        verdict=verdict,
    )


def test_healthy_machine_has_no_problem_and_no_note():
    assert diagnose(HEALTHY) == [] and notes(HEALTHY) == []


@pytest.mark.parametrize(
    ("changes", "code", "in_message", "in_advice"),
    [
        ({"python": "3.13.1"}, "python-version", "3.13.1", "3.12"),
        ({"python": "3.10.9"}, "python-version", "3.10.9", "3.12"),
        (
            {"torch": TorchBuild(error="No module named 'torch'", missing=True)},
            "torch-missing",
            "not inst",
            "make",
        ),
        (
            {"torch": TorchBuild(error="OSError: libc10.so")},
            "torch-missing",
            "libc10.so",
            "make setup TORCH=cpu",
        ),
        (
            {
                "packages": (
                    dataclasses.replace(TORCH, installed="2.5.1", verdict="refused"),
                )
            },
            "torch-version",
            "torch>=2.6",
            "make setup",
        ),
        (
            {"torch": TorchBuild(version="2.13.0", threads=64)},
            "threads",
            "64 threads on 8",
            "OMP_NUM_THREADS=4",
        ),
        (
            {"packages": (TORCH, package(verdict="missing"))},
            "package-missing",
            "tiktoken",
            "make setup",
        ),
        (
            {"packages": (TORCH, package(group="chapters", verdict="missing"))},
            "package-missing",
            "tiktoken",
            "make",
        ),
        (
            {"packages": (TORCH, package(verdict="refused"))},
            "package-version",
            "tiktoken 1.0",
            "make setup",
        ),
        (
            {"memory": Memory(total=16 * GIB, available=GIB)},
            "little-memory",
            "1.0 GiB",
            "close",
        ),
        (
            {"disk_free": GIB // 2},
            "little-disk",
            "0.5 GiB free at /cache",
            "HAPPYLLM_HOME",
        ),
        (
            {"cache": DownloadFolder(path="/c", size_bytes=0, writable=False)},
            "cache-not-writable",
            "/c",
            "HAPPYLLM_HOME",
        ),
        ({"encoding": "iso8859-1"}, "not-utf8-terminal", "iso8859-1", "PYTHONUTF8"),
        ({"encoding": "unknown"}, "not-utf8-terminal", "unknown", "PYTHONUTF8"),
    ],
)
def test_each_problem_is_named_with_advice_and_link(
    changes, code, in_message, in_advice
):
    (problem,) = diagnose(dataclasses.replace(HEALTHY, **changes))
    assert problem.code == code and code in CODES
    assert in_message in problem.message and in_advice in problem.advice
    assert "\n" not in problem.message + problem.advice
    assert problem.link == f"troubleshooting.html#{code}"


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"gpus": ()}, "no-gpu", "runs without"),
        ({"gpus": (), "unused_gpu": True}, "no-gpu", "TORCH=cuda"),
        (
            {
                "packages": (
                    dataclasses.replace(TORCH, installed="2.99", verdict="newer"),
                )
            },
            "torch-version",
            "newer",
        ),
        (
            {"packages": (package(verdict="newer", installed="3"),)},
            "package-version",
            "tiktoken 3 is newer than the",
        ),
        (
            {"packages": (package(name="nbval", group="test", verdict="missing"),)},
            "package-missing",
            "nbval",
        ),
        (
            {"packages": (package(group="book", verdict="refused"),)},
            "package-version",
            "tiktoken>=0.8",
        ),
        ({"torch": TorchBuild(version="2.13.0", threads=1)}, "threads", "1 of 4"),
    ],
)
def test_what_stops_nothing_is_a_note(changes, code, text):
    report = dataclasses.replace(HEALTHY, **changes)
    assert diagnose(report) == []
    (note,) = notes(report)
    assert note.code == code and text in note.message and code in CODES


def test_outside_a_checkout_only_the_core_matters_and_pip_is_the_advice():
    extra, core = (
        package(name="peft", group="chapters", verdict="missing"),
        package(verdict="missing"),
    )
    report = dataclasses.replace(HEALTHY, checkout=None, packages=(extra, core))
    (problem,) = diagnose(report)
    assert (
        problem.message == "not installed: tiktoken"
        and problem.advice == "run `pip install 'tiktoken>=0.8'`"
    )
    assert "peft" in notes(report)[0].message


def test_text_shows_each_part_and_json_the_same(capsys, monkeypatch):
    sick = dataclasses.replace(
        HEALTHY, encoding="ascii", packages=(TORCH, package(name="nbval", group="test"))
    )
    monkeypatch.setattr(doctor, "inspect_machine", lambda: sick)
    assert doctor.Doctor().run() == 1
    text = capsys.readouterr().out
    for part in (
        "A CPU, 4 cores, 8 usable",
        "2.13.0, CUDA 12.6 build, 4 threads",
        "A GPU (cuda), 24.0 GiB",
        "50.0",
    ):
        assert part in text
    assert (
        "troubleshooting.html#not-utf8-terminal" in text and "1 problem found" in text
    )
    assert "[test]" in text and "1 as tested" in text
    assert doctor.Doctor(json=True).run() == 1
    found = json.loads(capsys.readouterr().out)
    assert (
        found["cpu"]["cores"] == 4
        and found["problems"][0]["link"] == "troubleshooting.html#not-utf8-terminal"
    )
    monkeypatch.setattr(doctor, "inspect_machine", lambda: HEALTHY)
    assert doctor.Doctor().run() == 0 and "no problems found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')",
            "PyTorch is not installed",
        ),
        (
            "raise OSError('libtorch_cpu.so: cannot open shared object file')",
            "libtorch_cpu.so",
        ),
        ("raise ImportError('numpy.core failed\\nsecond line')", "numpy.core failed"),
        ("version = None", "AttributeError"),
    ],
)
def test_doctor_survives_a_missing_or_broken_torch(tmp_path, body, expected):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(body + "\n")
    result = subprocess.run(
        [sys.executable, "-m", "happyllm_support", "doctor"],
        capture_output=True,
        text=True,
        env={
            "PATH": "",
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "HAPPYLLM_HOME": str(tmp_path),
            "PYTHONUTF8": "1",
        },
        timeout=60,
    )
    assert result.returncode == 1 and result.stderr == ""
    assert (
        expected in result.stdout
        and "troubleshooting.html#torch-missing" in result.stdout
    )


def test_doctor_works_without_any_other_package(tmp_path):
    absent = ("torch", "tyro", "psutil", "numpy", "regex", "tqdm", "rich", "tiktoken")
    for name in absent:
        (tmp_path / f"{name}.py").write_text(
            f"raise ModuleNotFoundError('No module named {name}', name='{name}')\n"
        )
    result = subprocess.run(
        [sys.executable, "-m", "happyllm_support", "doctor", "--json"],
        capture_output=True,
        text=True,
        env={
            "PATH": "",
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "HAPPYLLM_HOME": str(tmp_path),
        },
        timeout=60,
    )
    assert result.returncode == 1 and result.stderr == ""
    found = json.loads(result.stdout)
    assert (
        found["problems"][0]["code"] == "torch-missing"
        and found["memory"]["total"] is None
    )


def test_every_code_has_a_section_in_the_book():
    page = (ROOT / "book" / "troubleshooting.md").read_text("utf-8")
    assert [code for code in CODES if f"({code})=\n" not in page] == []
