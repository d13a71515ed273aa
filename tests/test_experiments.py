"""The engine of the experiments, and that what is recorded was made by the code as it
stands.
"""

import json
import sys

import pytest

from happyllm_support.experiments import (
    chosen_scale,
    chosen_workers,
    code_hash,
    is_current,
    load_experiments,
    load_records,
    record,
)
from tools import book, nb
from tools import experiments as tool

SOURCE = """
from happyllm_support.experiments import Experiment

def run(config, seed):
    if config["n"] == FAIL:
        raise RuntimeError("power cut")
    return {"value": config["n"] * 10 + seed}

EXPERIMENTS = [
    Experiment(
        name="tens",
        run=run,
        configs=[{"n": 1}, {"n": 2}],
        gpu_configs=[{"n": 9}],
        seeds=(0, 1),
    )
]
"""


def write(folder, fail="None"):
    (folder / "01_x.py").write_text(SOURCE.replace("FAIL", fail))
    return folder / "01_x.py"


def test_runs_are_recorded_and_not_repeated(tmp_path):
    (experiment,) = load_experiments(write(tmp_path))
    results = tmp_path / "01.json"
    assert record(experiment, results) == 4
    runs = load_records(results, "tens")
    assert [(r["config"]["n"], r["seed"], r["result"]["value"]) for r in runs] == [
        (1, 0, 10), (1, 1, 11), (2, 0, 20), (2, 1, 21),
    ]  # fmt: skip
    assert all(is_current(r, experiment) for r in runs)
    assert record(experiment, results) == 0


def test_an_interrupted_recording_keeps_what_was_done_and_goes_on(tmp_path):
    results = tmp_path / "01.json"
    (broken,) = load_experiments(write(tmp_path, fail="2"))
    with pytest.raises(RuntimeError, match="power cut"):
        record(broken, results)
    assert len(load_records(results, "tens")) == 2
    (mended,) = load_experiments(write(tmp_path))
    assert not any(is_current(r, mended) for r in load_records(results, "tens"))
    assert record(mended, results) == 4  # other code: the old records do not count


def test_two_workers_record_what_one_does(tmp_path):
    (experiment,) = load_experiments(write(tmp_path))
    lines = []
    assert record(experiment, tmp_path / "one.json") == 4
    assert (
        record(experiment, tmp_path / "two.json", workers=2, progress=lines.append) == 4
    )
    one, two = (
        [
            (run["config"], run["seed"], run["result"])
            for run in load_records(tmp_path / file, "tens")
        ]
        for file in ("one.json", "two.json")
    )
    assert one == two and len(lines) == 4
    assert record(experiment, tmp_path / "two.json", workers=2) == 0


def test_a_failing_run_ends_the_recording_with_several_workers_too(tmp_path):
    (broken,) = load_experiments(write(tmp_path, fail="2"))
    with pytest.raises(RuntimeError, match="power cut"):
        record(broken, tmp_path / "01.json", workers=2)


@pytest.mark.parametrize(("value", "workers"), [(None, 1), ("", 1), ("3", 3)])
def test_number_of_workers_is_read_from_the_environment(monkeypatch, value, workers):
    monkeypatch.delenv("WORKERS", raising=False)
    if value is not None:
        monkeypatch.setenv("WORKERS", value)
    assert chosen_workers() == workers


@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_a_number_of_workers_that_is_none_is_refused(monkeypatch, capsys, value):
    monkeypatch.setenv("WORKERS", value)
    assert tool.main([]) == 2
    error = (
        f"experiments: error: WORKERS is '{value}'; expected a positive whole number\n"
    )
    assert capsys.readouterr().err == error


def test_other_experiments_in_the_file_are_kept(tmp_path):
    results = tmp_path / "01.json"
    results.write_text(json.dumps({"other": [{"config": {}, "seed": 0}]}))
    record(load_experiments(write(tmp_path))[0], results)
    assert set(json.loads(results.read_text())) == {"other", "tens"}


def test_gpu_scale_has_its_own_configurations(tmp_path):
    (experiment,) = load_experiments(write(tmp_path))
    assert [c["n"] for c, _ in experiment.combinations("gpu")] == [9, 9]


@pytest.mark.parametrize(
    ("value", "scale"), [(None, "cpu"), ("", "cpu"), ("cpu", "cpu"), ("gpu", "gpu")]
)
def test_scale_is_read_from_the_environment(monkeypatch, value, scale):
    monkeypatch.delenv("SCALE", raising=False)
    if value is not None:
        monkeypatch.setenv("SCALE", value)
    assert chosen_scale() == scale


def test_another_scale_is_refused_by_every_tool(monkeypatch, capsys):
    monkeypatch.setenv("SCALE", "GPU")
    monkeypatch.setattr(sys, "argv", ["book.py"])
    for call, code in (
        (lambda: tool.main([]), 2),
        (lambda: nb.main(["run"]), 1),
        (book.main, 1),
    ):
        assert call() == code
        error = capsys.readouterr().err
        assert (
            error.endswith("error: SCALE is 'GPU'; expected cpu or gpu\n")
            and error.count("\n") == 1
        )


def test_errors_are_one_line(tmp_path, capsys):
    with pytest.raises(ValueError, match="no experiment file"):
        load_experiments(tmp_path / "none.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="defines no EXPERIMENTS"):
        load_experiments(tmp_path / "empty.py")
    with pytest.raises(ValueError, match="records no experiment 'x'; it has none"):
        load_records(tmp_path / "none.json", "x")
    assert tool.main(["99"]) == 2
    assert capsys.readouterr().err.startswith(
        "experiments: error: none for 99; there are:"
    )


CODE = '''"""What it measures."""

import math
from happyllm_support.experiments import Config, Experiment

SIZES = (16, 32)


def run(config: Config, seed: int, power: float = 2.0) -> dict:
    """Measure it."""
    from happyllm_support.model import gpt2

    # a comment
    name = f"{gpt2} of size {config['n']}"
    return {"value": math.pow(config["n"], power) + seed, "name": name, "none": None}


CONFIGS = [{"n": n} for n in SIZES]
EXPERIMENTS = [Experiment(name="powers", run=run, configs=CONFIGS, seeds=(0, 1))]
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What it measures."""\n', ""),
        ("Measure it.", "Measure it,\n    reflowed."),
        ('    """Measure it."""\n', ""),
        ("    # a comment\n", ""),
        ("import math\n", "import math  # why\nimport sys\n"),
        (
            "happyllm_support.model import gpt2",
            "happyllm_support.models.all import gpt2",
        ),
        ("SIZES = (16, 32)", "SIZES = (\n    16,\n    32,\n)"),
        ('"value"', "'value'"),
        ("f\"{gpt2} of size {config['n']}\"", 'f"{gpt2} of " f"size {config[\'n\']}"'),
        ("run=run, ", "run=run,\n    "),
        ("+ seed", "+ (seed)"),
    ],
)
def test_what_changes_no_result_does_not_change_the_hash(old, new):
    assert CODE.count(old) == 1
    assert code_hash(CODE.replace(old, new)) == code_hash(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(16, 32)", "(16, 33)"),
        ("(16, 32)", "(32, 16)"),
        ("power: float = 2.0", "power: float = 2"),
        ("power: float = 2.0", "power: float"),
        ("+ seed", "- seed"),
        ("math.pow", "math.fmod"),
        (" of size ", " of  size "),
        ('"none": None', '"none": False'),
        ("seeds=(0, 1)", "seeds=(0,)"),
        ('{"n": n}', '{"n": n, "m": 1}'),
        ("    return {", "    return -{"),
        ("EXPERIMENTS = ", "del SIZES\nEXPERIMENTS = "),
    ],
)
def test_what_may_change_a_result_changes_the_hash(old, new):
    assert CODE.count(old) == 1
    assert code_hash(CODE.replace(old, new)) != code_hash(CODE)


def test_the_hash_of_an_experiment_is_that_of_its_file(tmp_path):
    path = write(tmp_path)
    (experiment,) = load_experiments(path)
    assert experiment.code_hash == code_hash(path.read_text("utf-8"))
    assert len(experiment.code_hash) == 16
    assert (
        code_hash("x = 1") == "da0eec318d72d7cf"
    )  # the same for every version of Python


FILES = sorted(tool.FOLDER.glob("[0-9][0-9]_*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_what_is_recorded_was_made_by_the_present_code(path):
    for experiment in load_experiments(path):
        runs = load_records(tool.RESULTS / f"{path.stem[:2]}.json", experiment.name)
        recorded = [(r["config"], r["seed"]) for r in runs]
        assert recorded == [(dict(c), s) for c, s in experiment.combinations()], (
            "run `make experiments`"
        )
        assert all(is_current(r, experiment) for r in runs), (
            "the code changed since: run `make experiments`"
        )
