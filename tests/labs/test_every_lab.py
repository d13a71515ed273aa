"""What is proven of every lab: right code passes, wrong code fails and is told why."""

import ast
import re
from pathlib import Path

import pytest
import torch

from happyllm_support.grading import wire
from happyllm_support.grading.grader import Grader, Solution
from happyllm_support.grading.judge import Status, judge, judge_locally, seed_of
from happyllm_support.grading.labs import lab_ids, load_lab
from happyllm_support.grading.stubs import read_stub, stub_of
from happyllm_support.grading.workbench import Counted, Workbench

ROOT = Path(__file__).resolve().parent.parent.parent
LABS = {name: load_lab(ROOT / "labs", name) for name in lab_ids(ROOT / "labs")}
SOLUTIONS = Path(__file__).parent / "solutions"
# The labs of the course have a chapter; those that a teacher has added need none, and
# are held to less.
COURSE = [
    lab for lab in LABS.values() if (ROOT / "chapters" / f"{lab.chapter}.md").is_file()
]
CHECKS = [(lab, check) for lab in LABS.values() for check in lab.checks.values()]
MUTANTS = [(lab, mutant) for lab in LABS.values() for mutant in lab.mutants]


def names(pair):
    lab, item = pair
    return (
        item.id
        if hasattr(item, "id")
        else f"{lab.id}.{item.target}:{item.code.__name__}"
    )


@pytest.mark.parametrize("pair", CHECKS, ids=names)
def test_the_package_passes(pair):
    lab, check = pair
    verdict = judge_locally(lab, check.name, lab.reference[check.name])
    assert verdict.status is Status.PASS, verdict.diagnosis


@pytest.mark.parametrize("pair", MUTANTS, ids=names)
def test_each_wrong_variant_fails_and_is_named(pair):
    lab, mutant = pair
    verdict = judge_locally(lab, mutant.target, mutant.code)
    assert verdict.status is Status.FAIL
    assert verdict.diagnosis.mutant is mutant, (
        f"taken for: {verdict.diagnosis.line} ({verdict.diagnosis.symptom})"
    )


@pytest.mark.parametrize("lab", COURSE, ids=lambda lab: lab.id)
def test_there_are_enough_wrong_variants_each_said_otherwise(lab):
    assert 4 <= len(lab.checks) <= 8
    assert len(lab.mutants) >= 6 * len(lab.checks)
    assert all(len(lab.mutants_of(name)) >= 3 for name in lab.checks)
    for mutant in lab.mutants:
        assert len({m.says for m in lab.mutants_of(mutant.target)}) == len(
            lab.mutants_of(mutant.target)
        )
        assert (
            not mutant.says.endswith(".")
            and mutant.says[0] in mutant.says[0].lower() + "RSPYN"
        ), mutant.says


@pytest.fixture
def grader(launcher):
    return Grader(ROOT / "labs", launcher=launcher)


def statuses(report):
    return {
        verdict.id: verdict.status.value
        for verdict in report.verdicts
        if verdict.status is not Status.PASS
    }


def trusted(lab, *lines):
    """The package's code under the lab's names, as a file that may import it."""
    load = (
        "from happyllm_support.grading.labs import load_lab\nlab = "
        f"load_lab(Path({str(ROOT / 'labs')!r}), {lab.id!r})"
    )
    source = "\n".join(
        ["from pathlib import Path", load, "globals().update(lab.reference)", *lines]
    )
    return Solution(source=source, filename="adapter.py", trusted=True)


@pytest.mark.parametrize("lab", LABS.values(), ids=lambda lab: lab.id)
def test_the_package_reaches_all_points_in_a_process_of_its_own(lab, grader):
    report = grader.grade(lab, trusted(lab))
    assert statuses(report) == {} and report.points == report.of == lab.points


@pytest.mark.parametrize("lab", LABS.values(), ids=lambda lab: lab.id)
def test_untouched_stubs_reach_no_point_and_read_not_yet(lab, grader):
    report = grader.grade(lab, stub_of(lab))
    assert set(statuses(report).values()) == {"NOT YET"} and report.points == 0
    assert len(statuses(report)) == len(lab.checks)
    assert report.seconds < 20  # about 1 on two cores


@pytest.mark.parametrize("lab", COURSE, ids=lambda lab: lab.id)
def test_a_right_solution_written_differently_reaches_all_points_under_all_guards(
    lab, grader
):
    report = grader.grade(lab, SOLUTIONS / f"{lab.id}.py")
    assert [
        verdict for verdict in report.verdicts if verdict.status is not Status.PASS
    ] == []
    assert report.seconds < 100  # about 3 on two cores


@pytest.mark.parametrize("lab", LABS.values(), ids=lambda lab: lab.id)
def test_a_wrong_variant_is_named_in_a_process_of_its_own_too(lab, grader):
    for name in lab.checks:
        index = len(lab.mutants_of(name)) // 2
        verdict = grader.run(
            lab, name, trusted(lab, f"{name} = lab.mutants_of({name!r})[{index}].code")
        )
        assert (
            verdict.status is Status.FAIL
            and verdict.diagnosis.mutant is lab.mutants_of(name)[index]
        )


class Tampered(Workbench):
    """A workbench whose functions are right; their results are spoiled on the way."""

    def __init__(self, namespace, *, seed, spoil):
        super().__init__(namespace, seed=seed)
        self.spoil = spoil
        self.kept = []
        self.wrote = False

    def call(self, function, args, kwargs):
        value = super().call(function, args, kwargs)
        if self.spoil != "in place":
            return spoiled(value, self.spoil)
        if wire.is_iterator(value):
            # a generator has not run yet; each of its steps then writes into them
            self.kept = args
        else:
            self.wrote |= any([write_into(arg) for arg in args or self.kept])
        return value


def spoiled(value, how):
    """The same structure with every number in it replaced; text, objects and what has
    no number stay.
    """
    if isinstance(value, torch.Tensor):
        if value.dtype == torch.bool:
            kinds = {
                "zero": torch.zeros_like(value),
                "constant": torch.ones_like(value),
                "negated": ~value,
            }
            return {**kinds, "doubled": 2 * value.int()}.get(how, value)
        return {
            "zero": lambda: torch.zeros_like(value),
            "constant": lambda: torch.ones_like(value),
            "negated": lambda: -value,
            "doubled": lambda: value + value,
        }.get(how, lambda: value)()
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        kind = type(value)
        return {
            "zero": kind(0),
            "constant": kind(1),
            "negated": -value,
            "doubled": 2 * value,
        }.get(how, value)
    if type(value) in (list, tuple, set):
        return type(value)(spoiled(item, how) for item in value)
    if isinstance(value, dict):
        return {key: spoiled(item, how) for key, item in value.items()}
    return value


def write_into(arg):
    """What code does that takes its arguments for its own; says whether there was
    anything to write into.
    """
    if isinstance(arg, torch.Tensor):
        arg.data.copy_(~arg if arg.dtype == torch.bool else 2 * arg.data + 1)
    elif isinstance(arg, list):
        arg.append(None)
    elif isinstance(arg, dict):
        arg["written"] = None
    elif isinstance(arg, Counted):
        return write_into(arg._values)
    else:
        return False
    return True


@pytest.mark.parametrize("how", ["zero", "constant", "negated", "doubled", "in place"])
@pytest.mark.parametrize(
    "pair", [pair for pair in CHECKS if pair[1].numeric], ids=names
)
def test_spoiled_results_fail(pair, how):
    lab, check = pair
    bench = Tampered(lab.reference, seed=seed_of(check.id), spoil=how)
    verdict = judge(lab, check.name, bench.handle)
    if how == "in place" and not bench.wrote:
        assert check.name in ("train", "rope_frequencies"), (
            "which take text and numbers only"
        )
        return
    assert verdict.status is Status.FAIL
    if how == "in place":
        assert "in place" in verdict.diagnosis.symptom


@pytest.mark.parametrize(
    "pair", [pair for pair in CHECKS if pair[0] in COURSE], ids=names
)
def test_what_a_check_refers_to_exists(pair):
    lab, check = pair
    text = (ROOT / "chapters" / f"{lab.chapter}.md").read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    sections = [
        check.section,
        *(m.section for m in lab.mutants_of(check.name) if m.section),
    ]
    assert set(sections) <= set(headings)
    for place in check.solution:
        module, name = place.split(":")
        path = ROOT / Path(*module.split(".")).with_suffix(".py")
        defined = [
            node.name
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if hasattr(node, "name")
        ]
        assert name.split(".")[-1] in defined, place
    assert check.solution, "what make lab-solution shows"


@pytest.mark.parametrize("lab", LABS.values(), ids=lambda lab: lab.id)
def test_the_stubs_are_unwritten_documented_and_typed(lab):
    tree = ast.parse(read_stub(lab))
    defined = {
        node.name: node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    assert set(lab.checks) <= set(defined)
    readme = (lab.folder / "README.md").read_text("utf-8")
    for name in lab.checks:
        assert ast.get_docstring(defined[name]), name
        assert f"`{name}" in readme, f"the README does not explain {name}"
        functions = [
            node
            for node in ast.walk(defined[name])
            if isinstance(node, ast.FunctionDef)
        ]
        assert any("NotYet" in ast.unparse(function) for function in functions)
        for function in functions:
            arguments = [*function.args.args, *function.args.kwonlyargs]
            assert all(a.annotation for a in arguments if a.arg != "self"), (
                function.name
            )
            assert function.returns or function.name == "__init__", function.name
