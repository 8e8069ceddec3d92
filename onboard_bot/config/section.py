"""Owns what all parts of the configuration have in common."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from onboard_bot.config.not_yet import refuse_what_is_not_built


class Frozen(BaseModel):
    """Read once, never changed, and nothing in it that is not a key."""

    # Only the whole configuration is ever built, so pydantic need not compile each part on its own at import.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


class Section(Frozen):
    """A part of the configuration; `key` is what stands before the dot."""

    key: ClassVar[str]

    @field_validator("*", mode="after")
    @classmethod
    def _is_built(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        refuse_what_is_not_built(f"{cls.key}.{field.alias or info.field_name}", value)
        return value
