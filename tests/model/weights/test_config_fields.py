import pytest

from happyllm_support.model.weights.config_fields import ConfigFields


@pytest.fixture
def fields(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(
        '{"n": 3, "x": 0.5, "b": true, "s": "gelu", "o": {"n": 4}, "null": null, '
        '"nan": NaN, "zero": 0}'
    )
    return ConfigFields.read(path)


def test_values_and_defaults(fields):
    assert (
        fields.integer("n"),
        fields.number("x"),
        fields.number("n"),
        fields.flag("b", False),
    ) == (3, 0.5, 3.0, True)
    assert (fields.text("s"), fields.text("t", "u"), fields.flag("c", False)) == (
        "gelu",
        "u",
        False,
    )
    assert (
        fields.integer("null", 7),
        fields.number("null", 0.1),
        fields.has("null"),
        fields.has("n"),
    ) == (
        7,
        0.1,
        False,
        True,
    )
    assert fields.mapping("o").integer("n") == 4 and fields.mapping("null") is None


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda f: f.integer("m"), "m is missing; a positive integer"),
        (lambda f: f.integer("x"), r"x is 0\.5; a positive integer"),
        (lambda f: f.integer("b"), "b is True; a positive integer"),
        (lambda f: f.integer("zero"), "zero is 0; a positive integer"),
        (lambda f: f.number("s"), "s is 'gelu'; a number"),
        (lambda f: f.number("b"), "b is True; a number"),
        (lambda f: f.number("nan"), "nan is nan; a number"),
        (lambda f: f.flag("n", True), "n is 3; true or false"),
        (lambda f: f.text("n"), "n is 3; a string"),
        (lambda f: f.mapping("n"), "n is 3; an object"),
        (lambda f: f.mapping("o").integer("s"), "s is missing"),
        (lambda f: f.require("n", 4), "n is 3; supported is 4"),
    ],
)
def test_errors_name_file_field_and_value(fields, read, message):
    with pytest.raises(ValueError, match=rf"config\.json: {message}") as caught:
        read(fields)
    assert str(caught.value).startswith(str(fields.path))


def test_required_values(fields):
    fields.require("n", 3)
    fields.require("n", 4, 3)
    fields.require("absent", 3)
    fields.require("null", 3)


def test_a_message_names_the_file(fields):
    with (
        pytest.raises(ValueError, match=r"config\.json: heads$"),
        fields.naming_the_file(),
    ):
        raise ValueError("heads")
    with (
        pytest.raises(
            ValueError, match=r"^[^;]*config\.json: m is missing; a positive integer$"
        ),
        fields.naming_the_file(),
    ):
        fields.integer("m")


def test_no_file(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"no config\.json in .*; it says what the weights beside it are",
    ):
        ConfigFields.read(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(
        ValueError,
        match=r"config\.json is not a model's configuration: a JSON object is expected",
    ):
        ConfigFields.read(tmp_path / "config.json")
