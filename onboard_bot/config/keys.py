"""Owns the walk over the models: the flat list of keys that everything derived from them is made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from onboard_bot.config.model import Config, Section

ENV_PREFIX = "ONBOARD_BOT_"
ENV_CONFIG = "ONBOARD_BOT_CONFIG"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration, by its path from the top."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def dotted(self) -> str:
        """How messages and documents name it."""
        return ".".join(self.path)

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return ENV_PREFIX + "__".join(self.path).upper()

    @property
    def example(self) -> Any:
        """What to write for it: its default, or an example where there is none."""
        return self.field.examples[0] if self.field.examples else self.field.default

    @property
    def is_structured(self) -> bool:
        """Whether it holds a list or a mapping, which the environment gives as JSON."""
        return isinstance(self.field.default, tuple | dict)


@cache
def sections() -> dict[tuple[str, ...], type[Section]]:
    """Every section by its path, in order, nested ones after the one that holds them."""

    def below(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[Section]]]:
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                yield (*path, name), field.annotation
                yield from below(field.annotation, (*path, name))

    return dict(below(Config, ()))


@cache
def all_keys() -> tuple[Key, ...]:
    """Every key that holds a value, in order."""
    return tuple(
        Key((*path, field.alias or name), field)
        for path, section in sections().items()
        for name, field in section.model_fields.items()
        if (*path, name) not in sections()
    )
