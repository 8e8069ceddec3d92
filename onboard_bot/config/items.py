"""Owns what stands in lists of the configuration and has keys of its own."""

from typing import Self

from pydantic import model_validator

from onboard_bot.config.kinds import AtLeastOne, Room, Text, UserId
from onboard_bot.config.section import Frozen


class ApprovalGroup(Frozen):
    """People of whom some must agree, in addition to `approval.required`."""

    name: Text
    members: tuple[UserId, ...] = ()
    room: Room | None = None
    required: AtLeastOne = 1

    @model_validator(mode="after")
    def _has_one_kind_of_members(self) -> Self:
        if bool(self.members) == (self.room is not None):
            raise ValueError("must have either members or a room, not both.")
        return self


class RoomSetRule(Frozen):
    """A room set for the accounts that the members of a room ask for."""

    room: Room
    room_set: Text
