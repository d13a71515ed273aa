"""Declaring a lab, and loading the files of one."""

import pytest
from probe_lab import FILES, make_lab

from happyllm_support.grading.labs import ANSWERS, Lab, lab_ids, labs_folder, load_lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return make_lab(tmp_path_factory.mktemp("probe"))


def write(labs, number, topic, **files):
    folder = labs / f"lab{number}_{topic}"
    folder.mkdir(parents=True)
    for name, text in {
        **FILES,
        **{f"{name}.py": text for name, text in files.items()},
    }.items():
        (folder / name).write_text(text.replace("SECONDS", "9.0"))
    return folder


def test_a_lab_knows_its_folder_checks_and_mistakes(lab):
    assert (lab.id, lab.topic, lab.chapter, lab.points, lab.title) == (
        "lab90",
        "probe",
        "90_probe",
        6,
        "Probe",
    )
    assert lab.file == lab.folder / "probe.py" and lab.file.is_file()
    assert list(lab.checks) == ["double", "total", "Counter"]
    double, total = lab.checks["double"], lab.checks["total"]
    assert (
        double.id,
        double.name,
        double.points,
        double.seconds,
        double.memory_mb,
    ) == (
        "lab90.double",
        "double",
        1,
        20,
        400,
    )
    assert (double.no_imports, double.no_operators, total.needs) == (
        (*ANSWERS, "fractions"),
        ("exp",),
        ("double",),
    )
    assert [mutant.says for mutant in lab.mutants_of("double")] == [
        "the number is squared instead of doubled"
    ]
    assert lab.mutants_of("total") == []
    assert lab.reference["double"](3) == 6 and "__name__" not in lab.reference


@pytest.mark.parametrize("name", ["90", "lab90"])
def test_a_lab_is_loaded_once_whatever_it_is_called(name, lab):
    assert load_lab(lab.folder.parent, name) is lab and len(lab.mutants) == 2


@pytest.mark.parametrize(
    "name", ["91", "", "probe", "lab", "-1", "900", "lab90_probe", "９０x", "../lab90"]
)
def test_an_unknown_lab_is_said_with_those_that_exist(name, lab):
    with pytest.raises(ValueError, match=r"there are 90$"):
        load_lab(lab.folder.parent, name)


def test_labs_of_two_folders_do_not_mix(tmp_path):
    first, second = (
        write(tmp_path / "a", "07", "one"),
        write(tmp_path / "b", "07", "one"),
    )
    (second / "reference.py").write_text(
        FILES["reference.py"].replace("2 * x", "20 * x")
    )
    one, other = load_lab(first.parent, "7"), load_lab(second.parent, "7")
    assert (one.reference["double"](1), other.reference["double"](1)) == (2, 20)
    assert one.folder == first and other.folder == second
    assert load_lab(first.parent, "07").reference["double"](1) == 2


def test_labs_are_listed_in_order(tmp_path):
    for number in ("11", "02", "05"):
        write(tmp_path, number, "x")
    (tmp_path / "lab03_empty").mkdir()
    assert lab_ids(tmp_path) == ["lab02", "lab05", "lab11"]


def test_the_labs_are_found_from_below_from_within_and_from_elsewhere(
    lab, monkeypatch, tmp_path
):
    labs = lab.folder.parent
    for place in (labs.parent, labs, lab.folder):
        monkeypatch.chdir(place)
        assert labs_folder() == labs
    monkeypatch.chdir(tmp_path)
    assert (
        labs_folder() / "lab01_tokenizers" / "checks.py"
    ).is_file()  # those of the course
    monkeypatch.setattr(
        "happyllm_support.grading.labs.__file__", str(tmp_path / "a" / "b" / "labs.py")
    )
    with pytest.raises(
        ValueError, match=r"no labs folder in .*; run this in the course's repository"
    ):
        labs_folder()


def test_a_reference_that_lacks_a_name_is_said(tmp_path):
    write(tmp_path, "08", "x", reference="def double(x):\n    return x")
    with pytest.raises(ValueError, match=r"lab08_x/reference.py lacks total, Counter"):
        load_lab(tmp_path, "8")


@pytest.mark.parametrize("name", ["checks", "mutants", "reference"])
def test_a_file_of_the_lab_that_is_broken_is_told_each_time(name, tmp_path):
    folder = write(tmp_path, "09", "x", **{name: FILES[f"{name}.py"] + "\n1 / 0\n"})
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            load_lab(tmp_path, "9")
    (folder / f"{name}.py").write_text(FILES[f"{name}.py"].replace("SECONDS", "9.0"))
    mended = load_lab(tmp_path, "9")
    assert len(mended.mutants) == 2 and mended.reference["double"](1) == 2
    assert mended.checks["double"].id == "lab09.double"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"points": 0}, "points, seconds and memory_mb must be positive"),
        ({"seconds": 0}, "must be positive"),
        ({"memory_mb": 0}, "must be positive"),
        ({"hints": ("one",)}, "at least two hints are needed, got 1"),
        ({"needs": ("other",)}, "f needs other, not declared before it"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(settings, says):
    def f(f): ...

    with pytest.raises(ValueError, match=says):
        Lab("x", minutes=1).check(
            **{"points": 1, "section": "s", "hints": ("a", "b"), **settings}
        )(f)


def test_names_are_declared_once_and_before_their_mistakes():
    lab = Lab("x", minutes=1, no_imports=("tiktoken",))

    def f(f): ...

    lab.check(points=1, section="s", hints=("a", "b"), no_imports=("regex",))(f)
    assert lab.checks["f"].no_imports == (*ANSWERS, "tiktoken", "regex")
    with pytest.raises(ValueError, match="f is declared twice"):
        lab.check(points=1, section="s", hints=("a", "b"))(f)
    with pytest.raises(ValueError, match="a wrong variant of 'g', which has no check"):
        lab.mutant("g", "it is wrong")(f)


def test_files_of_a_lab_import_one_another(lab):
    assert lab.checks["double"].run.__globals__["reference"].double(2) == 4
