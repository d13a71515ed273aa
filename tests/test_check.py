import subprocess

import pytest

from tools import check

LAB = {"tests/labs/test_lab03.py", check.EVERY_LAB}


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("happyllm_support/model/gpt2.py", {check.LAYOUT, "tests/model/test_gpt2.py"}),
        ("happyllm_support/grading/worker.py", {check.LAYOUT}),
        ("tests/model/test_gpt2.py", {"tests/model/test_gpt2.py"}),
        ("labs/lab03_attention/mutants_online.py", LAB),
        ("labs/.stubs/lab03_attention.py", LAB),
        ("tools/nb.py", {"tests/test_nb.py"}),
        ("tools/book.py", {"tests/book/test_book.py"}),
        ("book/labs.md", {"tests/book/test_book.py"}),
        ("chapters/03_attention.md", set()),
        ("chapters/experiments/05_ladder.py", {"tests/test_experiments.py"}),
        ("benchmarks/rows.py", {"tests/test_benchmarks.py"}),
        ("labs/conftest.py", set()),
        ("tests/model/test_that_was_deleted.py", set()),
        ("README.md", set()),
    ],
)
def test_each_kind_of_file_has_its_tests(changed, tests):
    assert check.tests_of(changed, check.ROOT) == tests


def test_helpers_and_modules_without_a_mirror_run_what_imports_them():
    helper = check.tests_of("tests/model/small_models.py", check.ROOT)
    assert "tests/model/test_both_models.py" in helper
    assert "tests/model/test_rope.py" not in helper
    room = check.tests_of("happyllm_support/grading/not_yet.py", check.ROOT)
    assert room > {check.LAYOUT}


def git(folder, *command):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", folder, *who, *command], check=True)


@pytest.fixture
def repository(tmp_path):
    """Two commits: the first with everything, the second changes one lab."""
    for name in (
        "happyllm_support/model/gpt2.py",
        "labs/lab03_attention/checks.py",
        "tests/labs/test_every_lab.py",
        "tests/labs/test_lab03.py",
        "tests/model/test_gpt2.py",
        "tests/text/tokenizer/test_bpe.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    git(tmp_path, "init", "-q")
    for text in ("", "x = 1\n"):
        (tmp_path / "labs/lab03_attention/checks.py").write_text(text)
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", "a")
    return tmp_path


def test_what_differs_from_the_last_commit_or_what_that_changed(repository):
    lab = ["tests/labs/test_every_lab.py", "tests/labs/test_lab03.py"]
    chosen = check.selection(None, repository)
    assert chosen == [*lab, "-k", "not test_every_lab or lab03"]
    (repository / "happyllm_support/model/gpt2.py").write_text("y = 1\n")
    assert check.selection(None, repository) == ["tests/model/test_gpt2.py"]
    (repository / "tests/model/test_new.py").write_text("")
    (repository / "tests/model/test_gpt2.py").unlink()
    assert check.selection(None, repository) == ["tests/model/test_new.py"]


def test_a_part_is_a_folder_of_tests(repository, capsys):
    assert check.selection("model", repository) == ["tests/model"]
    assert check.selection("text/tokenizer/", repository) == ["tests/text/tokenizer"]
    assert check.main(["nonsense"], repository) == 2
    assert capsys.readouterr().err == (
        "check: error: no part 'nonsense'; expected one of labs, model, text, "
        "text/tokenizer\n"
    )


def test_the_tests_are_run_and_their_exit_code_is_returned(repository, capfd):
    test = repository / "tests/model/test_gpt2.py"
    test.write_text("def test_a():\n    assert 1 + 1 == 2\n")
    assert check.main(["model", "--workers", "0"], repository) == 0
    assert "1 passed" in capfd.readouterr().out
    test.write_text("def test_a():\n    assert 1 + 1 == 3\n")
    assert check.main(["--workers", "0"], repository) == 1
    git(repository, "checkout", "-q", "tests")
    (repository / "README.md").write_text("")
    assert check.main([], repository) == 0
    assert "no test belongs to what has changed" in capfd.readouterr().out
