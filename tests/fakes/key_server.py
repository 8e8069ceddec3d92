"""A homeserver's part in encryption, in memory: device keys, one-time keys, to-device messages."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from onboard_bot.onboarding.ports import RefusedError

Json = dict[str, Any]


class KeyServer:
    """What all devices share."""

    def __init__(self) -> None:
        self.devices: defaultdict[str, dict[str, Json]] = defaultdict(dict)
        self.one_time_keys: defaultdict[tuple[str, str], dict[str, Json]] = defaultdict(dict)
        self.fallback_keys: dict[tuple[str, str], dict[str, Json]] = {}
        self.cross_signing: dict[str, Json] = {}
        self.waiting: defaultdict[tuple[str, str], list[Json]] = defaultdict(list)
        self.seen_transactions: set[tuple[str, str, str]] = set()

    def api(self, user_id: str, device_id: str) -> "KeyApi":
        """The calls of one device."""
        return KeyApi(self, user_id, device_id)

    def sync(self, user_id: str, device_id: str) -> Json:
        """What the device's next sync says about keys; to-device messages are handed out once."""
        device = (user_id, device_id)
        unused = ["signed_curve25519"] if device in self.fallback_keys else []
        return {
            "to_device": {"events": self.waiting.pop(device, [])},
            "device_one_time_keys_count": {"signed_curve25519": len(self.one_time_keys[device])},
            "device_unused_fallback_key_types": unused,
        }


class KeyApi:
    """The part of `ClientApi` that encryption uses, for one device."""

    def __init__(self, server: KeyServer, user_id: str, device_id: str) -> None:
        self._server = server
        self._user_id = user_id
        self._device_id = device_id
        self.calls: list[str] = []
        self.fail_next: dict[str, Exception] = {}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fail_next:
            raise self.fail_next.pop(name)

    async def keys_upload(self, body: Mapping[str, Any]) -> Json:
        self._called("keys_upload")
        device = (self._user_id, self._device_id)
        if "device_keys" in body:
            self._server.devices[self._user_id][self._device_id] = dict(body["device_keys"])
        self._server.one_time_keys[device].update(body.get("one_time_keys", {}))
        if "fallback_keys" in body:
            self._server.fallback_keys[device] = dict(body["fallback_keys"])
        return {"one_time_key_counts": {"signed_curve25519": len(self._server.one_time_keys[device])}}

    async def keys_query(self, users: Sequence[str]) -> Json:
        self._called("keys_query")
        answer: Json = {"device_keys": {user: dict(self._server.devices.get(user, {})) for user in users}}
        for usage in ("master", "self_signing", "user_signing"):
            answer[f"{usage}_keys"] = {
                user: self._server.cross_signing[user][f"{usage}_key"]
                for user in users
                if user in self._server.cross_signing
            }
        return answer

    async def keys_claim(self, devices: Mapping[str, Sequence[str]]) -> Json:
        self._called("keys_claim")
        claimed: Json = {}
        for user, device_ids in devices.items():
            for device_id in device_ids:
                pool = self._server.one_time_keys[(user, device_id)]
                if pool:
                    key_id = next(iter(pool))
                    claimed.setdefault(user, {})[device_id] = {key_id: pool.pop(key_id)}
                elif (user, device_id) in self._server.fallback_keys:
                    claimed.setdefault(user, {})[device_id] = self._server.fallback_keys[(user, device_id)]
        return {"one_time_keys": claimed}

    async def send_to_device(
        self, event_type: str, messages: Mapping[str, Mapping[str, Any]], *, transaction_id: str
    ) -> None:
        self._called("send_to_device")
        transaction = (self._user_id, self._device_id, transaction_id)
        if transaction in self._server.seen_transactions:
            return
        self._server.seen_transactions.add(transaction)
        for user, devices in messages.items():
            for device_id, content in devices.items():
                event = {"type": event_type, "sender": self._user_id, "content": content}
                self._server.waiting[(user, device_id)].append(event)

    async def device_signing_upload(self, body: Mapping[str, Any]) -> Json:
        self._called("device_signing_upload")
        if self._user_id in self._server.cross_signing:
            raise RefusedError(401, {"flows": [{"stages": ["m.login.password"]}]})
        self._server.cross_signing[self._user_id] = dict(body)
        return {}

    async def signatures_upload(self, body: Mapping[str, Any]) -> Json:
        self._called("signatures_upload")
        for user, signed in body.items():
            for key_id, thing in signed.items():
                holder = self._server.devices[user].get(key_id) or self._server.cross_signing[user]["master_key"]
                merged = {**holder.get("signatures", {}).get(user, {}), **thing["signatures"][user]}
                holder["signatures"] = {user: merged}
        return {}
