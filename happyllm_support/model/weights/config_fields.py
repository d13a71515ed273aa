"""Reading config.json and params.json: typed fields, and an error that names file,
field, value and what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from happyllm_support.files import read_json


@dataclass(frozen=True)
class ConfigFields:
    """The fields of a JSON object; a field that is null counts as absent."""

    path: Path
    fields: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> ConfigFields:
        """Read a file.

        Raises:
            ValueError: it is not there, or no JSON object.
        """
        if not path.is_file():
            raise ValueError(
                f"no {path.name} in {path.parent}; it says what the weights beside it "
                "are"
            )
        return cls(path, read_json(path, "a model's configuration"))

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.fields.get(name) is not None

    def integer(self, name: str, default: int | None = None) -> int:
        """A positive integer; `default` where it is absent, and without a default it
        has to be there.
        """
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(name, "a positive integer")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._get(name, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise self.error(name, "a number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self.error(name, "true or false")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self.error(name, "a string")
        return value

    def mapping(self, name: str) -> ConfigFields | None:
        """An object inside this one, None where there is none; its errors name the same
        file.
        """
        value: Any = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(name, "an object")
        return ConfigFields(self.path, value)  # pyright: ignore[reportUnknownArgumentType]

    def require(self, name: str, supported: Any, *others: Any) -> None:
        """Refuse a field that is there with a value that we cannot honour."""
        if self.has(name) and self.fields[name] not in (supported, *others):
            raise self.error(name, f"supported is {supported!r}")

    def error(self, name: str, allowed: str) -> ValueError:
        """What to raise about a field."""
        value = self.fields.get(name)
        return ValueError(
            f"{self.path}: {name} is "
            f"{'missing' if value is None else repr(value)[:80]}; {allowed}"
        )

    @contextmanager
    def naming_the_file(self) -> Generator[None]:
        """Put the file's name before a ValueError of the block that lacks it."""
        try:
            yield
        except ValueError as error:
            message = str(error)
            if not message.startswith(str(self.path)):
                message = f"{self.path}: {message}"
            raise ValueError(message) from None

    def _get(self, name: str, default: Any) -> Any:
        value = self.fields.get(name)
        return default if value is None else value
