"""Make `.venv` from the tested pins:
`python3 tools/setup.py [--torch cpu|cuda|installed]`.

Needs nothing but Python 3.11 or 3.12 with `venv` and pip. A second run with unchanged
pins does nothing. PyTorch comes first, because its build is a choice (the wheel that a
plain `pip install torch` takes on Linux has gigabytes of CUDA libraries), then
everything else under `constraints.txt`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 11), (3, 12))
MINIMUM_TORCH = (2, 6)
EXTRAS = "chapters,book,test"
PROBE = "import torch; print(torch.__version__)"


class SetupError(Exception):
    """A problem that the user can mend; its text is the one line to print, with the
    section that says more.
    """

    def __init__(self, text: str, *, section: str = "") -> None:
        super().__init__(
            f"{text}; see book/troubleshooting.md#{section}" if section else text
        )


def main() -> int:
    """Create or update the environment; print one line per step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--torch",
        choices=["cpu", "cuda", "installed"],
        default="cpu",
        help="which build of PyTorch",
    )
    parser.add_argument(
        "--venv", type=Path, default=ROOT / ".venv", help="where the environment goes"
    )
    options = parser.parse_args()
    try:
        setup(options.venv, options.torch)
    except SetupError as error:
        print(f"setup: error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(
            f"setup: error: `{' '.join(map(str, error.cmd[:5]))} ...` failed, see the "
            "lines above",
            file=sys.stderr,
        )
        return 1
    return 0


def setup(venv: Path, torch: str) -> None:
    """Bring `venv` to the state that the pins describe, or leave it alone when it is
    there.
    """
    base = find_python()
    stamp, wanted = venv / "happyllm-setup.txt", fingerprint(torch)
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    start = time.perf_counter()
    stamp.unlink(missing_ok=True)
    # A virtual environment does not survive being moved or losing its interpreter: make
    # it anew then.
    if (
        not python.exists()
        or subprocess.run([python, "-c", ""], capture_output=True).returncode
    ):
        say(f"making {venv.name} with {base}")
        shutil.rmtree(venv, ignore_errors=True)
        site = ["--system-site-packages"] if torch == "installed" else []
        if subprocess.run([base, "-m", "venv", *site, venv]).returncode:
            raise SetupError(
                f"{base} cannot make virtual environments; on Debian and Ubuntu "
                "install python3-venv",
                section="no-venv",
            )
    version = install_torch(python, torch)
    say(f"PyTorch {version}; installing the rest (about a minute)")
    pins = venv / "happyllm-constraints.txt"
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins.write_text(
        "\n".join(
            [
                *(x for x in lines if not x.startswith("torch==")),
                f"torch=={version}",
                "",
            ]
        ),
        "utf-8",
    )
    pip(python, "install", "-c", pins, "-e", f"{ROOT}[{EXTRAS}]")
    stamp.write_text(wanted)
    say(
        f"environment ready in {time.perf_counter() - start:.0f} s; try "
        f"{venv.name}/bin/happyllm doctor"
    )


def find_python() -> str:
    """Return a command for Python 3.11 or 3.12: the running one, else the first on
    PATH.
    """
    if sys.version_info[:2] in SUPPORTED:
        return getattr(sys, "_base_executable", sys.executable) or sys.executable
    for major, minor in reversed(SUPPORTED):
        found = shutil.which(f"python{major}.{minor}")
        if (
            found
            and not subprocess.run([found, "-c", ""], capture_output=True).returncode
        ):
            return found
    here = platform.python_version()
    raise SetupError(
        f"Python 3.11 or 3.12 is needed, this is {here}; name another with `make "
        "PYTHON=python3.12 ...`",
        section="python-version",
    )


def fingerprint(torch: str) -> str:
    """Hash of all that decides what the environment contains."""
    digest = hashlib.sha256()
    for name in ("constraints.txt", "pyproject.toml", "tools/setup.py"):
        digest.update((ROOT / name).read_bytes())
    return f"{digest.hexdigest()} torch={torch} at={ROOT}\n"


def install_torch(python: Path, choice: str) -> str:
    """Install the chosen build of PyTorch unless one that fits is there; return its
    version.
    """
    version = torch_version(python)
    pin = pinned("torch")
    if choice == "installed":
        if version is None or tuple(map(int, version.split(".")[:2])) < MINIMUM_TORCH:
            found = f"found {version}" if version else "found none"
            raise SetupError(
                f"TORCH=installed needs PyTorch {'.'.join(map(str, MINIMUM_TORCH))} "
                f"or later, {found}",
                section="torch-version",
            )
        return version
    is_cpu_build = version is not None and (
        version.endswith("+cpu") or sys.platform != "linux"
    )
    if (
        version is not None
        and version.split("+")[0] == pin
        and (choice == "cuda") != is_cpu_build
    ):
        return version
    say(f"installing PyTorch {pin} ({choice} build)")
    if choice == "cuda" or sys.platform != "linux":
        pip(python, "install", f"torch=={pin}")
    elif pip(python, "install", f"torch=={pin}+cpu", check=False):
        # Not among pip's sources. uv knows where PyTorch keeps its CPU builds.
        pip(python, "install", "uv")
        command = [
            python,
            "-m",
            "uv",
            "pip",
            "install",
            "--python",
            python,
            "--torch-backend",
            "cpu",
            f"torch=={pin}",
        ]
        if subprocess.run(command).returncode:
            problem = (
                "no CPU build of PyTorch could be had: check the network, or `make "
                "setup TORCH=cuda`"
            )
            raise SetupError(problem, section="no-cpu-torch")
    version = torch_version(python)
    if version is None:
        raise SetupError(
            "PyTorch was installed and cannot be imported; remove .venv and try again"
        )
    return version


def torch_version(python: Path) -> str | None:
    """Version of the PyTorch that `python` imports, or None."""
    result = subprocess.run(
        [python, "-W", "ignore", "-c", PROBE], capture_output=True, text=True
    )
    return result.stdout.strip() if result.returncode == 0 else None


def pinned(package: str) -> str:
    """Version of `package` in constraints.txt."""
    match = re.search(
        rf"^{package}==(\S+)",
        (ROOT / "constraints.txt").read_text("utf-8"),
        re.MULTILINE,
    )
    if match is None:
        raise SetupError(f"constraints.txt pins no {package}")
    return match[1]


def pip(python: Path, *arguments: str | Path, check: bool = True) -> int:
    """Run pip in the environment, errors shown only; with `check`, a failure raises."""
    # Compiling 15,000 files takes half the time of the installation; Python compiles
    # those that it imports.
    options = [
        "-qq",
        "--disable-pip-version-check",
        "--no-warn-script-location",
        "--no-compile",
    ]
    output = None if check else subprocess.DEVNULL
    command = [python, "-m", "pip", arguments[0], *options, *arguments[1:]]
    return subprocess.run(command, check=check, stdout=output, stderr=output).returncode


def say(line: str) -> None:
    """Print a step at once, also into a pipe."""
    print(f"setup: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
