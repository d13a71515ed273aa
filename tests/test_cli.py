import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import happyllm_support
from happyllm_support import cli
from happyllm_support.cli import main
from happyllm_support.text.corpora import access as corpora

ROOT = Path(happyllm_support.__file__).parents[1]


def command(*arguments):
    return [sys.executable, "-m", "happyllm_support", *map(str, arguments)]


def in_process_of_its_own(*arguments, **options):
    return subprocess.run(
        command(*arguments), capture_output=True, timeout=60, cwd=ROOT, **options
    )


def start(*arguments):
    pipes = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    return subprocess.Popen(command(*arguments), cwd=ROOT, **pipes)


def open_files(pid):
    """Names of the files that a process of ours has open."""
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            names.append(Path(os.readlink(link)).name)
    return names


# Help and mistakes in the arguments


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["happyllm doctor", "happyllm data sample", "happyllm tokenizer train"]),
        (["--help"], ["happyllm doctor", "{tokenizer,data,lab,doctor}"]),
        (
            ["tokenizer"],
            [
                "train",
                "encode",
                "decode",
                "inspect",
                "Example: happyllm tokenizer train",
            ],
        ),
        (
            ["data"],
            [
                "list",
                "fetch",
                "sample",
                "prepare",
                "inspect",
                "Example: happyllm data prepare",
            ],
        ),
        (
            ["tokenizer", "train", "--help"],
            ["--vocab-size", "--pattern", "--max-unique", "--force", "8192"],
        ),
        (["tokenizer", "encode", "--help"], ["--allow-special", "--pieces", "--file"]),
        (
            ["data", "prepare", "--help"],
            ["--workers", "--split", "--near-duplicates", "--separator"],
        ),
        (
            ["lab"],
            [
                "grade",
                "hint",
                "solution",
                "reset",
                "marks",
                "3 an error of the grader itself",
            ],
        ),
        (
            ["lab", "grade", "--help"],
            ["--watch", "--strict", "--json", "--labs DIR", "--patience", "[LAB]"],
        ),
        (["doctor", "--help"], ["--json"]),
        (["--version"], [f"happyllm {happyllm_support.__version__}"]),
    ],
)
def test_help(run, arguments, expected):
    code, out, err = run(*arguments)
    assert code == 0 and not err
    for text in expected:
        assert text in out


def test_every_option_has_a_sentence(run):
    commands = [("tokenizer", c) for c in ("train", "encode", "decode", "inspect")]
    commands += [
        ("data", c) for c in ("list", "fetch", "sample", "prepare", "inspect")
    ] + [("doctor",)]
    commands += [("lab", c) for c in ("grade", "hint", "solution", "reset", "marks")]
    for command in commands:
        _, out, _ = run(*command, "--help")
        rows = [line.strip("│ ") for line in out.splitlines() if line.startswith("│")]
        assert any(row.startswith("-") for row in rows), command
        for row, following in zip(rows, [*rows[1:], ""], strict=True):
            if row.startswith("-"):
                sentence = row.partition("  ")[2] or following
                assert sentence.strip()[:1].isalpha(), (command, row)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["tokeniser"],
            "Unrecognized options: tokeniser; available subcommands: tokenizer, data, "
            "lab, doctor",
        ),
        (
            ["data", "lst"],
            "available subcommands: list, fetch, sample, prepare, inspect",
        ),
        (["lab", "grad"], "available subcommands: grade, hint, solution, reset, marks"),
        (["lab", "hint"], "LAB"),
        (
            ["doctor", "--jsn"],
            "Unrecognized options: --jsn; perhaps you meant --json; see `happyllm "
            "doctor --help`",
        ),
        (
            ["tokenizer", "train", "x"],
            "Missing from happyllm tokenizer train: --output PATH",
        ),
        (
            ["tokenizer", "train", "x", "--output", "y", "--vocab-size", "many"],
            "--vocab-size: 'many' is no whole number; give one such as 8 or 4096; see "
            "`happyllm tokenizer train",
        ),
        (
            ["tokenizer", "decode", "1", "x", "--tokenizer", "y"],
            "ids are whole numbers from 0 on; got ['1', 'x']; see",
        ),
        (
            ["tokenizer", "train", "x", "--output", "y", "--pattern", "gpt5"],
            "invalid choice 'gpt5' for",
        ),
        (["tokenizer", "decode", "1", "two", "--tokenizer", "x"], "['1', 'two']"),
        (
            ["tokenizer", "train", "x", "--output"],
            "Missing value for argument '--output'",
        ),
    ],
)
def test_mistakes_in_the_arguments_are_one_line(refused, arguments, expected):
    assert expected in refused(*arguments)


def test_an_unknown_shape_of_tyros_message_still_becomes_one_line():
    assert cli._essence("first\nsecond\nthird") == "second"
    assert cli._essence("") == "" and "\n" not in cli._essence("╭─╮\n│ a │\n│ b │\n╰─╯")


def test_a_bug_shows_its_traceback(monkeypatch):
    monkeypatch.setattr(corpora, "list_corpora", lambda: {}["x"])
    with pytest.raises(KeyError):
        main(["data", "list"])


def test_a_missing_dependency_is_named_and_ours_is_a_bug(refused, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(corpora, "list_corpora", lambda: absent("regex"))
    assert "the package 'regex' is not installed; run `make setup`" in (
        line := refused("data", "list")
    )
    assert "#package-missing in the book" in line
    monkeypatch.setattr(
        corpora, "list_corpora", lambda: absent("happyllm_support.nothing")
    )
    with pytest.raises(ModuleNotFoundError):
        main(["data", "list"])


@pytest.mark.parametrize(
    ("message", "section"),
    [
        ("a.txt is not UTF-8: byte 0xff at offset 3; convert it", "not-utf8-file"),
        (
            "cannot fetch a.txt from x: the content has y, expected z; it was refused "
            "and deleted",
            "wrong-hash",
        ),
        ("something else", None),
    ],
)
def test_a_message_names_the_section_that_says_more(
    refused, monkeypatch, message, section
):
    def fail():
        raise ValueError(message)

    monkeypatch.setattr(corpora, "list_corpora", fail)
    more = f" (see troubleshooting.html#{section} in the book)" if section else ""
    assert refused("data", "list") == f"happyllm: error: {message}{more}\n"


def test_long_messages_of_several_lines_become_one(refused, monkeypatch):
    def fail():
        raise ValueError("first\n  second\n")

    monkeypatch.setattr(corpora, "list_corpora", fail)
    assert refused("data", "list") == "happyllm: error: first second\n"


def test_starting_is_quick_because_torch_stays_out():
    code = (
        "import sys; from happyllm_support.cli import main; main(['data', 'list']); "
        "main(['lab', '--help']); "
    )
    code += (
        "sys.exit(','.join(m for m in ('torch', 'transformers', 'matplotlib') if m "
        "in sys.modules) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr


# A process of its own: signals, pipes, encodings


def test_python_m_is_the_command():
    result = in_process_of_its_own("--version")
    assert (result.returncode, result.stdout) == (
        0,
        f"happyllm {happyllm_support.__version__}\n".encode(),
    )
    result = in_process_of_its_own(
        "tokenizer", "encode", "x", "--tokenizer", "no\nsuch.json"
    )
    assert (
        result.returncode == 2
        and result.stdout == b""
        and result.stderr.count(b"\n") == 1
    )


def test_a_closed_pipe_is_quiet(trained, tmp_path):
    (tmp_path / "large.txt").write_text("The old man gave the boat. " * 20_000)
    with start(
        "tokenizer", "encode", "--file", tmp_path / "large.txt", "--tokenizer", trained
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(30) == 141


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_ctrl_c_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "corpus.txt").write_text(
        "".join(f"word{i:06d} " for i in range(400_000))
    )
    with start(
        "tokenizer", "train", tmp_path / "corpus.txt", "--output", tmp_path / "out.json"
    ) as process:
        assert process.stderr
        while "corpus.txt" not in open_files(process.pid):  # it has begun to read
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert (
            process.stderr.read()
            == b"happyllm: interrupted, nothing was left half-written\n"
        )
        assert process.wait(30) == 130
    assert os.listdir(tmp_path) == ["corpus.txt"]


def test_a_file_size_limit_is_one_line_and_leaves_nothing(tmp_path, corpus):
    import resource

    result = in_process_of_its_own(
        "tokenizer",
        "train",
        corpus,
        "--output",
        tmp_path / "out.json",
        "--vocab-size",
        "320",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )
    assert result.returncode == 2 and result.stdout == b""
    assert (
        result.stderr.startswith(b"happyllm: error: cannot write")
        and result.stderr.count(b"\n") == 1
    )
    assert b"out.json" in result.stderr and os.listdir(tmp_path) == ["corpus.txt"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-8"])
def test_a_terminal_of_another_encoding_is_served(encoding):
    """On a terminal, what its encoding lacks is escaped; a file always gets UTF-8."""
    arguments = ["data", "sample", "storyworld-zh", "-n", "1"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    terminal, inside = os.openpty()
    with subprocess.Popen(
        command(*arguments), cwd=ROOT, stdout=inside, stderr=inside, env=environment
    ) as process:
        os.close(inside)
        shown = b""
        with contextlib.suppress(OSError):  # Linux reports the end this way
            while block := os.read(terminal, 1 << 16):
                shown += block
    os.close(terminal)
    text = shown.decode(encoding)
    assert process.returncode == 0 and "Traceback" not in text
    assert ("。" in text) if encoding in ("gbk", "utf-8") else ("\\u3002" in text)
    assert "。" in in_process_of_its_own(*arguments, env=environment).stdout.decode(
        "utf-8"
    )
