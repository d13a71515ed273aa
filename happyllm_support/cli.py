"""The command line `happyllm`: tyro reads the arguments into frozen dataclasses, whose
`run` does the work.

Exit codes: 0 done, 1 `doctor` found a problem or points are missing in
`lab grade --strict`, 2 a mistake in the arguments or the input (one line on stderr says
which), 3 the grader of the labs itself failed (one line, too; `lab grade --debug` shows
more), 130 interrupted with Ctrl-C. Anything else that goes wrong is a bug of ours and
shows its traceback.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Annotated

from happyllm_support import __version__
from happyllm_support.machine.problems import TROUBLESHOOTING

if TYPE_CHECKING:
    from typing import Protocol

    class Command(Protocol):
        """What a subcommand's dataclass offers."""

        def run(self) -> int:
            """Do the work and return the exit code."""
            ...


DESCRIPTION = f"""Tokenizers, text, labs and checks of the course Happy-LLM from Scratch
(version {__version__}).

Examples:
  happyllm doctor
  happyllm data sample storyworld-en -n 2
  happyllm tokenizer train storyworld-en --vocab-size 1024 --output story.json
  happyllm lab grade 03

Each group and command explains itself: happyllm tokenizer train --help"""
GROUPS = ("tokenizer", "data", "lab")
# phrase of a message -> section of the book's page on troubleshooting that says more
SECTIONS = {
    " is not UTF-8: ": "not-utf8-file",
    " is not the registered file": "wrong-hash",
    "it was refused and deleted": "wrong-hash",
    "free space or point HAPPYLLM_HOME": "little-disk",
    "cannot fetch ": "no-network",
    " written with vocabulary ": "other-vocabulary",
    "nothing was left behind, free space": "disk-full",
    " is not installed; run ": "package-missing",
}
# What Python and tyro say of a value that does not parse -> what is wrong with it and
# what is allowed.
PLAIN_WORDS = {
    r"^Error parsing ": "",
    r"invalid literal for int\(\) with base 10: ('[^']*')": (
        r"\1 is no whole number; give one such as 8 or 4096"
    ),
    r"could not convert string to float: ('[^']*')": (
        r"\1 is no number; give one such as 0.5"
    ),
    r"^\[ID\.\.\.\]: Could not find valid parse for arguments: (\[.*?\])": (
        r"ids are whole numbers from 0 on; got \1"
    ),
}
DEPENDENCIES = (
    "tyro",
    "tqdm",
    "numpy",
    "regex",
    "tiktoken",
    "psutil",
    "torch",
    "safetensors",
    "rich",
    "jaxtyping",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `happyllm` with these arguments (those of the process by default) and return
    the exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as stop:
        if sys.stderr.isatty():
            print(
                file=sys.stderr
            )  # leave the line with the terminal's ^C and the progress bar
        return _fail(
            f"interrupted, {str(stop) or 'nothing was left half-written'}",
            code=130,
            label="",
        )
    except BrokenPipeError:
        with open(os.devnull, "w") as nowhere, contextlib.suppress(OSError, ValueError):
            os.dup2(
                nowhere.fileno(), sys.stdout.fileno()
            )  # so that Python's last flush does not complain either
        return 141  # what a shell reports of a program that SIGPIPE ended
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in DEPENDENCIES:
            raise
        return _fail(
            f"the package {error.name!r} is not installed; run `make setup`, or `pip "
            f"install {error.name}`"
        )
    except OSError as error:
        named = error.filename is not None and error.strerror
        return _fail(f"{error.filename}: {error.strerror}" if named else str(error))
    except ValueError as error:
        return _fail(str(error))


def _run(arguments: list[str]) -> int:
    if arguments in (["--version"], ["-V"]):
        print(f"happyllm {__version__}")
        return 0
    if not arguments or (len(arguments) == 1 and arguments[0] in GROUPS):
        arguments = [*arguments, "--help"]
    try:
        with _tyro_errors_as_value_error(arguments):
            command = _parse(arguments)
    except SystemExit as stop:  # --help has printed its text
        return int(stop.code or 0)
    return command.run()


def _parse(arguments: list[str]) -> Command:
    from happyllm_support.commands.doctor import Doctor

    if arguments in (["doctor"], ["doctor", "--json"]):
        return Doctor(
            json="--json" in arguments
        )  # without tyro: a doctor must also see that tyro is missing

    import tyro

    from happyllm_support.commands.data import Data
    from happyllm_support.commands.labs import LabGroup
    from happyllm_support.commands.tokenizer import TokenizerGroup

    commands = (
        Annotated[TokenizerGroup, tyro.conf.subcommand(name="tokenizer")]
        | Annotated[Data, tyro.conf.subcommand(name="data")]
        | Annotated[LabGroup, tyro.conf.subcommand(name="lab")]
        | Annotated[Doctor, tyro.conf.subcommand(name="doctor")]
    )
    style = (
        tyro.conf.OmitSubcommandPrefixes,
        tyro.conf.OmitArgPrefixes,
        tyro.conf.FlagCreatePairsOff,
    )
    chosen = tyro.cli(
        commands, prog="happyllm", description=DESCRIPTION, args=arguments, config=style
    )  # type: ignore
    return chosen if isinstance(chosen, Doctor) else chosen.command


@contextlib.contextmanager
def _tyro_errors_as_value_error(arguments: Sequence[str]) -> Generator[None]:
    """Turn the box that tyro draws on stderr, of up to forty lines, into a ValueError
    with one.
    """
    drawn = io.StringIO()
    try:
        with contextlib.redirect_stderr(drawn):
            yield
    except SystemExit as stop:
        if stop.code:
            raise ValueError(_essence(drawn.getvalue(), arguments)) from None
        raise


def _essence(box: str, arguments: Sequence[str] = ()) -> str:
    """The first section of tyro's box, its suggestion if it has one, and the name of
    the help to read.
    """
    inside = [line.strip().strip("│|").strip() for line in box.splitlines()[1:-1]]
    sections: list[list[str]] = [[]]
    for line in inside:
        if line and set(line) <= set("─-"):
            sections.append([])
        else:
            sections[-1].append(line)
    parts = [" ".join(sections[0]).rstrip(".")]
    for section in sections[1:]:
        if len(section) > 1 and section[0].startswith("Perhaps you meant"):
            parts.append(f"perhaps you meant {section[1]}")
        elif section and section[0].startswith("Available subcommands"):
            parts.append(section[0][0].lower() + section[0][1:])
    helps = [words for words in (" ".join(s) for s in sections) if "--help" in words]
    if helps:
        named = (
            helps[0][helps[0].index("happyllm ") :]
            if "happyllm " in helps[0]
            else "happyllm --help"
        )
        parts.append(f"see `{named.partition('--help')[0]}--help`")
    line = "; ".join(part for part in parts if part)
    for pattern, words in PLAIN_WORDS.items():
        line = re.sub(pattern, words, line)
    if (
        line.endswith("see `happyllm --help`")
        and arguments[:1]
        and arguments[0] in GROUPS
    ):  # tyro names no command
        words = arguments[: 1 if "available subcommands" in line else 2]
        line = line.replace(
            "see `happyllm --help`", f"see `happyllm {' '.join(words)} --help`"
        )
    return line


def _fail(message: str, *, code: int = 2, label: str = "error: ") -> int:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    section = next(
        (section for phrase, section in SECTIONS.items() if phrase in message), None
    )
    more = f" (see {TROUBLESHOOTING}#{section} in the book)" if section else ""
    print(f"happyllm: {label}{' '.join(message.split())}{more}", file=sys.stderr)
    return code


def _prepare_streams() -> None:
    """Let no character stop a command: a terminal keeps its encoding, others get UTF-8;
    the rest is escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
