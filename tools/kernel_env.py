"""The environment in which chapters run, the same when they are executed and when they
are checked.

One thread, because nbval runs two notebooks on two cores and sums depend on the number
of threads; and no network.
"""

from __future__ import annotations

import os

KERNEL_ENV = {
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


def apply() -> None:
    """Set the variables for this process and for the kernels that it starts."""
    os.environ.update(KERNEL_ENV)
