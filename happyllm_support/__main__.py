"""`python -m happyllm_support` is `happyllm`."""

from __future__ import annotations

import sys

from happyllm_support.cli import main

if __name__ == "__main__":
    sys.exit(main())
