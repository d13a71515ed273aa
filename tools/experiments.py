"""Run and record the long experiments: `python tools/experiments.py [CHAPTER]`.

`chapters/experiments/NN_name.py` defines them, `chapters/results/NN.json` holds the
records. Runs that are on record for the present code are kept, so an interrupted call
goes on where it stopped. The environment variable WORKERS is the number of runs at a
time, 1 where it is not set; experiments that measure time need 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from happyllm_support.experiments import (
    chosen_scale,
    chosen_workers,
    load_experiments,
    record,
)

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "chapters" / "experiments"
RESULTS = ROOT / "chapters" / "results"


def main(arguments: list[str] | None = None) -> int:
    """Record every experiment, or those of the chapters that are named; 2 for an
    unknown chapter or setting.
    """
    names = sys.argv[1:] if arguments is None else arguments
    files = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
    chosen = [
        f
        for f in files
        if not names or any(f.stem.startswith(Path(n).stem[:2]) for n in names)
    ]
    if not chosen:
        known = ", ".join(f.stem for f in files) or "none"
        print(
            f"experiments: error: none for {' '.join(names) or 'any chapter'}; there "
            f"are: {known}",
            file=sys.stderr,
        )
        return 2
    try:
        scale, workers = chosen_scale(), chosen_workers()
    except ValueError as error:
        print(f"experiments: error: {error}", file=sys.stderr)
        return 2
    folder = RESULTS if scale == "cpu" else ROOT / "build" / "gpu" / "results"
    for file in chosen:
        for experiment in load_experiments(file):
            total = len(list(experiment.combinations(scale)))
            with tqdm(
                total=total, desc=f"{file.stem} {experiment.name}", unit="run"
            ) as bar:

                def step(line: str, bar: tqdm = bar) -> None:
                    bar.update()
                    bar.set_postfix_str(line.partition("{")[2][:60])

                results = folder / f"{file.stem[:2]}.json"
                made = record(
                    experiment, results, scale=scale, workers=workers, progress=step
                )
            print(
                f"{file.stem} {experiment.name}: {made} of {total} runs made, the "
                "others were on record"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
