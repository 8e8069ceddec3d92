"""Owns putting the Matrix side together once there is a session: one object with a name for each thing it can do."""

import secrets
from collections.abc import Callable, Mapping
from types import MappingProxyType

from onboard_bot.clock import Clock
from onboard_bot.matrix.admin_room import AdminRoom, AdminRoomWish
from onboard_bot.matrix.beside_sync import BesideSync
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.direct_rooms import DirectRooms
from onboard_bot.matrix.encryption import Encryption
from onboard_bot.matrix.group_rooms import GroupRooms
from onboard_bot.matrix.healing import Healing
from onboard_bot.matrix.intake import Intake
from onboard_bot.matrix.known_devices import Identities, KnownDevices
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.membership import Membership
from onboard_bot.matrix.own_events import OwnEvents
from onboard_bot.matrix.room_making import RoomMaking
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.matrix.sending import Sending
from onboard_bot.matrix.sync_loop import SyncLoop
from onboard_bot.store.transaction import Store

_MARKER_BYTES = 16


def _new_marker() -> str:
    return secrets.token_urlsafe(_MARKER_BYTES)


class MatrixAdapter:
    """Everything that the rest of the program does on Matrix.

    Args:
        api: With a token.
        machine: Of the session's device.
        store: The database.
        clock: For waiting.
        wish: Which admin room.
        identities: Whose devices have to be signed by them; None where everybody's devices are served.
        on_synced: Told after every good sync.
        groups: The room of each group that is named by one, by the group's name.
    """

    def __init__(
        self,
        api: ClientApi,
        machine: Machine,
        store: Store,
        *,
        clock: Clock,
        wish: AdminRoomWish,
        identities: Identities | None,
        on_synced: Callable[[], None],
        groups: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.rooms = Rooms(api, store)
        self.membership = Membership(api)
        self.devices = KnownDevices(api, machine, identities)
        self.encryption = Encryption(api, machine, self.devices)
        self.sending = Sending(api, self.rooms, self.encryption, OwnEvents(api, machine.user_id))
        making = RoomMaking(api, self.rooms, clock)
        self.direct_rooms = DirectRooms(api, self.rooms, making, store, new_marker=_new_marker)
        self.admin_room = AdminRoom(
            api, self.rooms, making, store, wish=wish, own_user_id=machine.user_id, new_marker=_new_marker
        )
        self.group_rooms = GroupRooms(api, clock, groups, own_user_id=machine.user_id)
        self.healing = Healing(api, machine, self.devices)
        intake = Intake(api, machine, self.rooms, store, watches=self.group_rooms.watches)
        self.keys = BesideSync(self.encryption.keep_keys_stocked, clock, "keys could not be uploaded")

        def synced() -> None:
            self.keys.look_now()
            on_synced()

        self.sync = SyncLoop(api, intake, store, clock=clock, on_synced=synced)
