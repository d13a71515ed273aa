"""Experiments that take longer than a chapter may: run once, recorded with all that
decides their outcome.

An experiment is a function of a configuration and a seed. `make experiments` runs every
combination and records each run in `chapters/results/NN.json`; the chapter plots the
recorded runs and repeats one of them live. A record carries the hash of the
experiment's own code, so that a test notices when the code has changed since.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from happyllm_support.files import atomic_write_json
from happyllm_support.machine.hardware import inspect_cpu
from happyllm_support.parallel import ordered_map

Config = Mapping[str, int | float | str | bool]

SCALES = ("cpu", "gpu")


def chosen_scale() -> str:
    """The preset that the environment variable `SCALE` asks for, `cpu` by default.

    Raises:
        ValueError: another value than `cpu` and `gpu`.
    """
    scale = os.environ.get("SCALE") or "cpu"
    if scale not in SCALES:
        raise ValueError(f"SCALE is {scale!r}; expected {' or '.join(SCALES)}")
    return scale


def chosen_workers() -> int:
    """How many runs at a time the environment variable `WORKERS` asks for, or 1.

    Raises:
        ValueError: something that is not a positive whole number.
    """
    workers = os.environ.get("WORKERS") or "1"
    if not workers.isdecimal() or int(workers) < 1:
        raise ValueError(f"WORKERS is {workers!r}; expected a positive whole number")
    return int(workers)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A function of (configuration, seed), and for which of them it is recorded.

    Attributes:
        name: what the chapter calls it; unique within the chapter.
        run: `run(config, seed)` returns numbers (or lists of numbers) by name; the same
            ones for the same arguments.
        configs: the configurations of a laptop (`SCALE=cpu`).
        gpu_configs: those of `SCALE=gpu`; empty when there is nothing to gain.
        seeds: every configuration is run with each of them.
    """

    name: str
    run: Callable[[Config, int], dict[str, Any]]
    configs: Sequence[Config]
    gpu_configs: Sequence[Config] = ()
    seeds: Sequence[int] = (0,)

    def combinations(self, scale: str = "cpu") -> Iterator[tuple[Config, int]]:
        """Every (configuration, seed) of a scale, in the order in which they run."""
        configs = self.configs
        if scale == "gpu" and self.gpu_configs:
            configs = self.gpu_configs
        return ((config, seed) for config in configs for seed in self.seeds)

    @property
    def code_hash(self) -> str:
        """`code_hash` of the file that defines `run`."""
        return code_hash(inspect.getsource(inspect.getmodule(self.run) or self.run))


def code_hash(source: str) -> str:
    """Return a hash of what a file of experiments computes.

    It covers all code of the file: functions, constants, defaults, `EXPERIMENTS` with
    their configurations and seeds. It does not cover formatting, comments, docstrings
    and import statements, so that a module may move without an hour of runs being lost;
    nor the package that the file imports, which the run that a chapter repeats live
    guards.

    Args:
        source: the text of a Python file.

    Returns:
        16 hexadecimal digits of SHA-256, the same for every version of Python.
    """
    code = json.dumps(_code_alone(ast.parse(source)))
    return hashlib.sha256(code.encode("ascii")).hexdigest()[:16]


def _code_alone(node: object) -> object:
    """A syntax tree as nested lists. Empty fields, of which every version of Python has
    others, are left out.
    """
    if isinstance(node, ast.AST):
        fields = [
            [name, _code_alone(value)]
            for name, value in ast.iter_fields(node)
            if value is not None and value != []
        ]
        return [type(node).__name__, *fields]
    if isinstance(node, list):
        statements = cast(list[object], node)
        return [_code_alone(each) for each in statements if not _does_nothing(each)]
    return repr(node)


def _does_nothing(statement: object) -> bool:
    """Whether it is an import statement, a docstring, or another string by itself."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return isinstance(statement.value.value, str)
    return isinstance(statement, ast.Import | ast.ImportFrom)


def load_experiments(path: str | os.PathLike[str]) -> list[Experiment]:
    """Import one experiment file and return its `EXPERIMENTS`.

    Raises:
        ValueError: the file is missing or defines no list `EXPERIMENTS`.
    """
    path = Path(path)
    spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(
            f"no experiment file {path}; expected a Python file that defines "
            "EXPERIMENTS"
        )
    module = importlib.util.module_from_spec(spec)
    # through which `inspect.getsource` finds the code of a function
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    experiments: list[Experiment] | None = getattr(module, "EXPERIMENTS", None)
    if not experiments:
        raise ValueError(
            f"{path} defines no EXPERIMENTS; expected a list of Experiment"
        )
    return experiments


def load_records(path: str | os.PathLike[str], name: str) -> list[dict[str, Any]]:
    """The recorded runs of one experiment, in the order of its combinations.

    Args:
        path: a results file, for example `results/02.json`.
        name: the experiment's name.

    Returns:
        One dict per run: `config`, `seed`, `result`, `seconds`, `code`, `hardware`,
        `scale`.

    Raises:
        ValueError: nothing is recorded under that name; the line says what is.
    """
    records: dict[str, list[dict[str, Any]]] = (
        json.loads(Path(path).read_text("utf-8")) if Path(path).exists() else {}
    )
    if name not in records:
        raise ValueError(
            f"{path} records no experiment {name!r}; it has "
            f"{', '.join(records) or 'none'}"
        )
    return records[name]


def record(
    experiment: Experiment,
    path: str | os.PathLike[str],
    *,
    scale: str = "cpu",
    workers: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> int:
    """Run what is not on record for the present code, and store each run at its end.

    Args:
        experiment: what to run.
        path: the results file; other experiments in it are kept, and so are finished
            runs after an interruption.
        scale: "cpu" or "gpu".
        workers: runs at a time, each in a process of its own when there is more than
            one. The results do not depend on it, and only this process writes.
        progress: called with a line after each run.

    Returns:
        Number of runs made.
    """
    path = Path(path)
    everything: dict[str, list[dict[str, Any]]] = (
        json.loads(path.read_text("utf-8")) if path.exists() else {}
    )
    combinations = list(experiment.combinations(scale))
    kept = {
        _key(r["config"], r["seed"]): r
        for r in everything.get(experiment.name, [])
        if is_current(r, experiment)
    }
    missing = [
        (config, seed)
        for config, seed in combinations
        if _key(config, seed) not in kept
    ]
    for config, seed, result, seconds in _outcomes(experiment, missing, workers):
        kept[_key(config, seed)] = {
            "config": dict(config),
            "seed": seed,
            "result": result,
            "seconds": round(seconds, 1),
            "code": experiment.code_hash,
            "hardware": hardware(),
            "scale": scale,
        }
        in_order = (_key(c, s) for c, s in combinations)
        everything[experiment.name] = [kept[key] for key in in_order if key in kept]
        atomic_write_json(path, everything)
        progress(
            f"{experiment.name} {len(kept)}/{len(combinations)} {dict(config)} seed "
            f"{seed}"
        )
    return len(missing)


def _outcomes(
    experiment: Experiment, combinations: Sequence[tuple[Config, int]], workers: int
) -> Iterator[tuple[Config, int, dict[str, Any], float]]:
    """Run combinations and yield (configuration, seed, result, seconds) of each."""
    if workers == 1 or len(combinations) < 2:
        yield from (_timed(experiment, combination) for combination in combinations)
        return
    run = partial(_run_in_process, inspect.getfile(experiment.run), experiment.name)
    plain = [(dict(config), seed) for config, seed in combinations]
    with closing(ordered_map(run, plain, workers=workers, ordered=False)) as outcomes:
        yield from outcomes


def _timed(
    experiment: Experiment, combination: tuple[Config, int]
) -> tuple[Config, int, dict[str, Any], float]:
    start = time.perf_counter()
    result = experiment.run(*combination)
    return *combination, result, time.perf_counter() - start


def _run_in_process(
    file: str, name: str, combination: tuple[Config, int]
) -> tuple[Config, int, dict[str, Any], float]:
    """What a worker does: read the experiment from its file, since functions of such
    files cannot be sent.
    """
    experiment = next(e for e in load_experiments(file) if e.name == name)
    return _timed(experiment, combination)


def is_current(run: Mapping[str, Any], experiment: Experiment) -> bool:
    """Whether a recorded run was made by the present code of the experiment."""
    return run["code"] == experiment.code_hash


def hardware() -> str:
    """The machine in words, for a record: processor, usable cores, Python."""
    cpu = inspect_cpu()
    return f"{cpu.model}, {cpu.usable} cores, Python {platform.python_version()}"


def _key(config: Config, seed: int) -> str:
    return json.dumps([dict(config), seed], sort_keys=True)
