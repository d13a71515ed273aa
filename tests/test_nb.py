import nbformat
import pytest

from tools import nb

HEADER = (
    "---\nkernelspec:\n  display_name: Python 3\n  language: python\n  name: "
    "python3\n---\n\n"
)


@pytest.fixture
def chapters(tmp_path, monkeypatch):
    monkeypatch.setattr(nb, "CHAPTERS", tmp_path)
    monkeypatch.delenv("SCALE", raising=False)
    return tmp_path


def put(folder, *cells, name="01_a"):
    body = "".join(
        f"# Text\n\n```{{code-cell}} ipython3\n{cell}\n```\n\n" for cell in cells
    )
    (folder / f"{name}.md").write_text(HEADER + body)
    return folder / f"{name}.ipynb"


def outputs(path):
    cells = nb.code_cells(nbformat.read(path, 4))
    return ["".join(o.get("text", "") for o in c.outputs) for c in cells]


def test_run_then_check_then_edit(chapters, capsys):
    notebook = put(chapters, "x = 2", "print(x + 1)")
    assert (
        nb.main(["check"]) == 1 and "no notebook beside it" in capsys.readouterr().out
    )
    assert nb.main(["run", "01"]) == 0
    assert outputs(notebook) == ["", "3\n"] and nb.main(["check"]) == 0
    before = notebook.read_bytes()

    # Prose alone keeps the outputs ...
    text = notebook.with_suffix(".md")
    text.write_text(text.read_text().replace("# Text", "# Other text"))
    assert (
        nb.main(["check"]) == 1
        and "text and notebook differ" in capsys.readouterr().out
    )
    assert nb.main(["sync"]) == 0 and nb.main(["check"]) == 0
    assert outputs(notebook) == ["", "3\n"] and notebook.read_bytes() != before

    # ... a changed cell drops all of them, and `run --missing` brings them back.
    text.write_text(text.read_text().replace("x = 2", "x = 5"))
    assert nb.main(["sync"]) == 0 and outputs(notebook) == ["", ""]
    assert (
        nb.main(["check"]) == 1
        and "code cell 1 has never been run" in capsys.readouterr().out
    )
    assert nb.main(["run", "--missing"]) == 0 and outputs(notebook) == ["", "6\n"]
    stamp = notebook.stat().st_mtime_ns
    assert nb.main(["run", "--missing"]) == 0 and notebook.stat().st_mtime_ns == stamp


def test_failing_cell_stops_and_keeps_the_stored_notebook(chapters, capsys):
    notebook = put(chapters, "print('good')")
    assert nb.main(["run"]) == 0
    kept = notebook.read_bytes()
    put(chapters, "print('good')", "1 / 0")
    put(chapters, "print('never reached')", name="02_b")
    assert nb.main(["run"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("nb: error: 01_a.md:") and "ZeroDivisionError" in error
    assert notebook.read_bytes() == kept and not (chapters / "02_b.ipynb").exists()


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ("import sys; print('x', file=sys.stderr)", "wrote to stderr"),
        ("x = 1;", "ends in ';'"),
    ],
)
def test_unfit_outputs_are_refused(chapters, capsys, cell, complaint):
    put(chapters, cell)
    assert nb.main(["run"]) == 1
    assert complaint in capsys.readouterr().err


def test_stored_error_widget_and_size_are_found(chapters):
    notebook = put(chapters, "print(1)")
    assert nb.main(["run"]) == 0
    stored = nbformat.read(notebook, 4)
    cell = nb.code_cells(stored)[0]
    widget = {
        "application/vnd.jupyter.widget-view+json": {},
        "text/plain": "x" * 2_000_000,
    }
    cell.outputs = [
        nbformat.v4.new_output("error", ename="E", evalue="", traceback=[]),
        nbformat.v4.new_output("display_data", widget),
    ]
    nb.write(stored, notebook)
    problems = "\n".join(nb.check(notebook.with_suffix(".md")))
    assert (
        "stores an error" in problems
        and "stores a widget" in problems
        and "more than 1,500,000" in problems
    )


def test_format_lays_out_cells_and_nothing_else(chapters, capsys):
    put(chapters, ":tags: [a]\n\nx = ( 1,2 )", "", "x = 2\nx = ( 1,2 )  # x = ( 1,2 )")
    text = chapters / "01_a.md"
    text.write_text(text.read_text() + "x = ( 1,2 )\n")  # prose
    wanted = text.read_text().replace("\nx = ( 1,2 )", "\nx = (1, 2)", 2)
    assert nb.main(["format"]) == 0 and text.read_text() == wanted
    assert capsys.readouterr().out == "01_a: code cells formatted\n"
    assert nb.main(["format"]) == 0 and capsys.readouterr().out == ""
    put(chapters, "1 +")
    assert nb.main(["format"]) == 1 and "01_a.md: " in capsys.readouterr().err


def test_a_chapter_has_several_names(chapters):
    put(chapters, "1")
    put(chapters, "1", name="10_b")
    for name, found in {
        "1": "01_a",
        "01": "01_a",
        "chapters/01_a.ipynb": "01_a",
        "10": "10_b",
    }.items():
        assert [p.stem for p in nb.find_chapters([name])] == [found]


def test_unknown_chapter_is_one_line(chapters, capsys):
    put(chapters, "1")
    assert nb.main(["run", "99"]) == 1
    assert capsys.readouterr().err == "nb: error: no chapter '99'; there are: 01_a\n"


def test_gpu_scale_writes_elsewhere(chapters, monkeypatch, tmp_path):
    monkeypatch.setenv("SCALE", "gpu")
    monkeypatch.setattr(nb, "ROOT", tmp_path)
    notebook = put(chapters, "print(1)")
    assert nb.main(["run"]) == 0
    assert (
        not notebook.exists() and (tmp_path / "build/gpu/chapters/01_a.ipynb").exists()
    )
