"""Owns the walk over the models: the flat list of keys that everything derived from them is made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import get_origin

from pydantic.fields import FieldInfo

from onboard_bot.config.model import Config
from onboard_bot.config.section import Section

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
    def is_structured(self) -> bool:
        """Whether it holds a list or a mapping, which the environment gives as JSON."""
        return get_origin(self.field.annotation) is not None and isinstance(self.field.default, tuple | dict)

    @property
    def json_form(self) -> str:
        """What a structured key is written as in JSON."""
        return '{"staff": ["#staff:example.org"]}' if isinstance(self.field.default, dict) else '["first", "second"]'


def subsection(field: FieldInfo) -> type[Section] | None:
    """The section that a key opens, where it does."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def names(model: type[Config | Section]) -> dict[str, FieldInfo]:
    """The keys of a section as they are written, in order."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def sections() -> dict[tuple[str, ...], type[Section]]:
    """Every section by its path, in order, nested ones after the one that holds them."""
    found: dict[tuple[str, ...], type[Section]] = {}

    def visit(model: type[Config | Section], path: tuple[str, ...]) -> None:
        for name, field in names(model).items():
            section = subsection(field)
            if section is not None:
                found[*path, name] = section
                visit(section, (*path, name))

    visit(Config, ())
    return found


def keys_of(path: tuple[str, ...], section: type[Section]) -> Iterator[Key]:
    """The keys of one section that hold values."""
    return (Key((*path, name), field) for name, field in names(section).items() if subsection(field) is None)


@cache
def all_keys() -> tuple[Key, ...]:
    """Every key that holds a value, in order."""
    return tuple(key for path, section in sections().items() for key in keys_of(path, section))
