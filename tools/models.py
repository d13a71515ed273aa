"""Retrain the reference models and check them: `python tools/models.py`.

Each folder under `models/` is one model: weights in bf16 safetensors, and `train.py`,
its recipe, whose `main(folder)` trains it anew into a folder and returns the loss in
nats; `model.json` holds the band in which that loss must fall. The first models come
with the chapters that load them.
"""

from __future__ import annotations

import json
import runpy
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Retrain every model; 1 when a loss leaves its band."""
    recipes = sorted((ROOT / "models").glob("*/train.py"))
    if not recipes:
        print(
            "models: no reference model is defined yet, so there is nothing to retrain"
        )
    failed = 0
    for recipe in recipes:
        low, high = json.loads((recipe.parent / "model.json").read_text("utf-8"))[
            "loss_band"
        ]
        with tempfile.TemporaryDirectory() as folder:
            loss = float(runpy.run_path(str(recipe))["main"](Path(folder)))
        holds = low <= loss <= high
        failed += not holds
        print(
            f"{recipe.parent.name}: {loss:.3f} nats, "
            f"{'within' if holds else 'OUTSIDE'} [{low}, {high}]",
            flush=True,
        )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
