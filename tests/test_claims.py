import functools

import numpy as np
import pytest

from happyllm_support import claims
from happyllm_support.claims import ClaimError, Listing, claim, measured, show


def sample(x):
    """Say what it does.

    In two paragraphs.
    """
    # a comment that stays
    return x + 1


class Sample:
    """A class."""

    @property
    def half(self):
        """Half of one."""
        return 0.5


def test_claim_prints_band_and_value(capsys):
    claim("entropy", np.float32(19.651), 19.5, 19.8, "nats")
    assert (
        capsys.readouterr().out
        == "✓ entropy: between 19.5 and 19.8 nats, measured 19.65 nats\n"
    )


def test_exact_claim_prints_no_measured_part(capsys):
    claim("vocabulary", 50257, 50257)
    claim("size", 1262.144, 1262.144, unit="MB")
    claim("rest", 0, -1e-7, 1e-7)
    assert capsys.readouterr().out == (
        "✓ vocabulary: 50,257\n✓ size: 1,262.144 MB\n✓ rest: between -1e-07 and 1e-07, "
        "measured 0\n"
    )


@pytest.mark.parametrize("value", [0.9, 2.1, float("nan"), float("inf"), -1.5])
def test_value_outside_the_band_fails(value, capsys):
    with pytest.raises(
        ClaimError, match="claim does not hold: x should be between 1 and 2"
    ):
        claim("x", value, 1, 2)
    assert capsys.readouterr().out == ""


def test_exact_claim_fails_on_another_value():
    with pytest.raises(ClaimError, match="x should be 3, measured 4"):
        claim("x", 4, 3)


@pytest.mark.parametrize("band", [(2, 1), (float("nan"), 1)])
def test_empty_band_is_refused(band):
    with pytest.raises(ValueError, match="is empty"):
        claim("x", 1.5, *band)


def test_measured_keeps_the_word_that_nbval_cuts_at(capsys):
    measured("training", 12.3456, "s")
    measured("sample", "Once upon a time")
    assert (
        capsys.readouterr().out
        == "training: measured 12.35 s\nsample: measured Once upon a time\n"
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (3, "3"),
        (1234567, "1,234,567"),
        (0.012345, "0.01235"),
        (1234.567, "1,235"),
        (1e-9, "1.000e-09"),
    ],
)
def test_numbers_have_four_digits(number, text):
    assert claims._format(number) == text


def shown(monkeypatch, *objects, **options) -> list[Listing]:
    seen = []
    monkeypatch.setattr("IPython.display.display", seen.append)
    show(*objects, **options)
    return seen


def test_show_is_the_source_itself(monkeypatch):
    (listing,) = shown(monkeypatch, sample)
    assert (
        listing.source.startswith("def sample(x):")
        and "Say what it does" in listing.source
    )
    assert (
        listing._repr_markdown_() == f"```python\n# {__name__}\n{listing.source}\n```"
    )


def test_show_without_docstrings_keeps_comments_and_still_compiles(monkeypatch):
    function, cls, prop = shown(monkeypatch, sample, Sample, Sample.half, doc=False)
    assert (
        function.source
        == "def sample(x):\n    # a comment that stays\n    return x + 1"
    )
    assert "A class" not in cls.source and "Half of one" not in cls.source
    assert prop.source == "@property\ndef half(self):\n    return 0.5"
    compile(cls.source, "cls", "exec")


class Wrapped:
    """Functions inside the wrappers of Python and of functools."""

    @functools.cached_property
    def kept(self):
        """Once."""
        return 1

    @classmethod
    def of_class(cls):
        return 2

    @staticmethod
    def alone():
        return 3

    @functools.lru_cache  # noqa: B019  (never called)
    def remembered(self):
        return 4

    half = property(functools.partial(sample))
    one = functools.partialmethod(remembered)
    nothing = property()


@pytest.mark.parametrize(
    ("name", "last_line"),
    [
        ("kept", "return 1"),
        ("of_class", "return 2"),
        ("alone", "return 3"),
        ("remembered", "return 4"),
        ("half", "return x + 1"),
        ("one", "return 4"),
    ],
)
def test_show_sees_through_wrappers(monkeypatch, name, last_line):
    for wrapper in (getattr(Wrapped, name), vars(Wrapped)[name]):
        if name != "one" or isinstance(wrapper, functools.partialmethod):
            (listing,) = shown(monkeypatch, wrapper, doc=False)
            assert listing.source.splitlines()[-1].strip() == last_line
            assert listing.origin == __name__


def test_show_of_a_cached_property_is_its_whole_source(monkeypatch):
    (listing,) = shown(monkeypatch, Wrapped.kept)
    assert listing.source == (
        '@functools.cached_property\ndef kept(self):\n    """Once."""\n    return 1'
    )


LAMBDAS = [
    lambda x: x,
    lambda x: -x]  # fmt: skip


@pytest.mark.parametrize(
    ("thing", "options"),
    [
        (3, {}),
        (None, {}),
        (print, {}),
        (Sample(), {}),
        (Wrapped.nothing, {}),
        (np.zeros((50, 2)), {}),
        (LAMBDAS[1], {"doc": False}),  # its line is no Python by itself
    ],
)
def test_show_refuses_in_one_line_what_has_no_source(thing, options):
    with pytest.raises(ValueError, match=r"^show: .* has no Python source") as caught:
        show(thing, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


def test_table_aligns_numbers_and_rounds(monkeypatch):
    seen = []
    monkeypatch.setattr("IPython.display.display", seen.append)
    claims.table(["name", "value"], [["a|b", 3.14159], ["c\nd", None]])
    assert (
        repr(seen[0])
        == "| name | value |\n| :--- | ---: |\n| a\\|b | 3.142 |\n| c\\nd |  |"
    )


def test_table_refuses_ragged_rows_and_strange_cells():
    with pytest.raises(ValueError, match=r"1 cells in the row .* but 2 headers"):
        claims.table(["a", "b"], [[1]])
    with pytest.raises(ValueError, match="a cell holds list"):
        claims.table(["a"], [[[1]]])
