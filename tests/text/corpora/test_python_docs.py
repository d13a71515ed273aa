import subprocess
import sys
import sysconfig

import pytest

from happyllm_support.text.corpora.python_docs import docstrings, python_docs

SOURCE = b'''
"""Module."""
import os
def first():
    """First.

    Second:
        indented
    """
    def inner():
        "Inner."
class Thing:
    """Thing."""
    x = """not a docstring"""
    async def method(self):
        "Method."
if True:
    def conditional():
        """Conditional."""
try:
    pass
except ImportError:
    def fallback():
        """Fallback."""
def silent():
    return """not either"""
'''


def test_docstrings_in_the_order_of_the_source():
    expected = [
        "Module.",
        "First.\n\nSecond:\n    indented",
        "Inner.",
        "Thing.",
        "Method.",
        "Conditional.",
    ]
    assert list(docstrings(SOURCE)) == [*expected, "Fallback."]
    assert list(docstrings(b"def broken(:")) == []
    assert list(docstrings(b"a\0b")) == []


def test_documents_are_real_english_of_some_size():
    documents = list(python_docs())
    text = "\n".join(documents)
    assert 1_200_000 < len(text.encode()) < 6_000_000 and len(documents) > 300
    assert 'The "if" statement' in text
    assert text.count(" the ") > 10_000
    assert all(document == document.strip() != "" for document in documents)


def test_nothing_of_the_library_is_imported():
    code = (
        "import sys; from happyllm_support.text.corpora.python_docs import "
        "python_docs; before = set(sys.modules)\n"
        "for _ in zip(python_docs(), range(150)): pass\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.split())
    assert "pydoc_data.topics" in imported and not imported & {
        "antigravity",
        "this",
        "_pyio",
        "aifc",
        "asyncio",
    }


def test_incomplete_python_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(ValueError, match="no Python source files in"):
        python_docs()
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(
        ValueError,
        match=r"no pydoc_data\.topics in .*: this Python has no documentation",
    ):
        python_docs()


def test_a_folder_above_the_library_may_be_called_test(monkeypatch, tmp_path):
    library = tmp_path / "test" / "lib"
    (library / "test").mkdir(parents=True)
    (library / "here.py").write_text('"""Here."""')
    (library / "test" / "suite.py").write_text('"""Suite."""')
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(library)})
    documents = list(python_docs())
    assert documents[-1] == "Here." and "Suite." not in documents
