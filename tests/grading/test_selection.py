import pytest
from small_labs import write_labs

from happyllm_support.grading.compare import CheckError
from happyllm_support.grading.selection import (
    Choice,
    choose,
    find_labs,
    load_all,
    load_chosen,
    minutes_for,
)


@pytest.fixture
def labs(tmp_path):
    return write_labs(tmp_path)


@pytest.mark.parametrize("name", ["1", "01", "001", "lab01", "lab1", " 01 "])
def test_ways_to_name_a_lab(labs, name):
    assert choose(labs, name) == [Choice("lab01")]
    assert choose(labs, name.strip() + ".mean") == [Choice("lab01", "mean")]


def test_without_a_name_all_are_meant(labs):
    assert choose(labs, None) == [Choice("lab01"), Choice("lab02")]


@pytest.mark.parametrize(
    "name", ["3", "lab", "", "1x", "-1", "../01", "01.", "01.a.b", "100"]
)
def test_what_is_no_lab_is_refused_in_one_line(labs, name):
    with pytest.raises(
        ValueError,
        match=r"there is no lab .*; write one of 01, 02, or one function as in 01.name",
    ):
        choose(labs, name)


def test_an_unknown_function_names_the_known_ones(labs):
    with pytest.raises(
        ValueError,
        match="lab01 has no function 'maen'; perhaps you meant mean; it has total, "
        "mean",
    ):
        load_chosen(labs, Choice("lab01", "maen"))


def test_a_folder_without_labs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no labs"):
        find_labs(tmp_path)


def test_a_broken_lab_is_an_error_of_ours_and_spares_the_others(labs):
    (labs / "lab02_words" / "checks.py").write_text("lab = (\n")
    with pytest.raises(
        CheckError, match="lab02: its own files cannot be loaded: SyntaxError"
    ):
        load_chosen(labs, Choice("lab02"))
    loaded, problems = load_all(labs)
    assert (
        [lab.id for lab in loaded] == ["lab01"]
        and len(problems) == 1
        and problems[0].startswith("lab02: ")
    )


def test_minutes_are_shared_by_points(labs):
    lab = load_chosen(labs, Choice("lab01"))
    assert (minutes_for(lab, "total"), minutes_for(lab, "mean")) == (10, 20)
