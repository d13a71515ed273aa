"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called now and then as `progress(stage, done, total)`: what is being done, how much
of it is, and how much there is, None where that is not known. Work says which stages it
has and in which units it counts them.
"""
