"""Owns the state directory: its modes, its private files, and that one process at a time runs on it.

What lies where (design, section 3): `crypto/` holds only the encryption store and may be deleted as a whole; the
account's password, the session, the cross-signing seeds, the key file and the database lie beside it.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onboard_bot.errors import ErrorCode, FatalError
from onboard_bot.store.trouble import StoreUnavailableError, trouble_in

KEY_BYTES = 32
_ROOM = 1024 * 1024


class StateDir:
    """The folder that holds everything the bot must remember.

    Args:
        path: Made if it is not there, mode 0700.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "onboard.db"
        self.crypto = path / "crypto"
        self.lock_file = path / "lock"
        self.unfinished = path / ".restoring"
        """There as long as a restore is not at its end, however that came about."""

    def prepare(self) -> None:
        """Makes the folders, and takes the rights of others away.

        Raises:
            FatalError: `state_unusable`, when the folder cannot be made or written.
        """
        try:
            for folder in (self.path, self.crypto):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
        except OSError as error:
            raise FatalError(
                ErrorCode.STATE_UNUSABLE,
                f"The state directory {self.path} cannot be used: {error.strerror}. Set bot.state_dir to a folder that"
                " the bot may write.",
            ) from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the directory against a second `run`; the lock dies with the process.

        Raises:
            FatalError: `state_in_use`, naming the process that holds it; `state_unusable`, see `refuse_unfinished`.
        """
        with self.locked():
            self.refuse_unfinished()
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The same, whatever is in the directory.

        Raises:
            FatalError: `state_in_use`; `state_unusable`, when the lock cannot be written.
        """
        try:
            descriptor = self._open_lock()
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._sign(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _sign(self, descriptor: int) -> None:
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> FatalError:
        return FatalError(
            ErrorCode.STATE_UNUSABLE,
            f"The state directory {self.path} cannot be written: {error.strerror}. Make room on its disk, or set"
            " bot.state_dir to a folder that the bot may write.",
        )

    def refuse_unfinished(self) -> None:
        """Half of a state is none.

        Raises:
            FatalError: `state_unusable`, when a restore into the directory did not come to its end.
        """
        if self.unfinished.exists():
            raise FatalError(
                ErrorCode.STATE_UNUSABLE,
                f"A restore into the state directory {self.path} was cut off before its end. Run onboard-bot restore"
                " again, with the same backup: it starts anew.",
            )

    def _open_lock(self) -> int:
        while True:
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._lock(descriptor)
                if self._is_lock_file(descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # a restore that came to nothing took it away between the two

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise FatalError(
                ErrorCode.STATE_IN_USE,
                f"The state directory {self.path} is held by another onboard-bot, process {holder}."
                " Stop it first; two bots on one state would break its encryption.",
            ) from error

    def _is_lock_file(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.lock_file.stat())
        except FileNotFoundError:
            return False

    def read_json(self, name: str, *needed: str) -> dict[str, Any] | None:
        """A private file's values, the needed ones among them; None where there is no file.

        Raises:
            FatalError: `state_unusable`, when it holds something else than the bot wrote there.
        """
        try:
            values = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            values = None
        if not isinstance(values, dict) or not values.keys() >= set(needed):
            raise FatalError(
                ErrorCode.STATE_UNUSABLE,
                f"{self.path / name} does not hold what the bot wrote there; restore it from a backup.",
            )
        return values

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Replaces a private file in one step; it is on the disk when this returns.

        Raises:
            StoreUnavailableError: It cannot be; the file is what it was.
        """
        with _telling_trouble():
            self._write(name, json.dumps(values, indent=1).encode())

    def put_in_place(self, name: str, *, of: str) -> None:
        """Lets a private file take the place of another one, in one step; it is on the disk when this returns.

        Raises:
            StoreUnavailableError: It cannot.
        """
        with _telling_trouble():
            (self.path / name).replace(self.path / of)
            sync_folder(self.path)

    def prove_room(self) -> None:
        """Writes a megabyte, as much as a large sync may need, and takes it away again.

        Raises:
            StoreUnavailableError: It cannot be written.
        """
        proof = self.path / ".room"
        with _telling_trouble():
            try:
                with proof.open("wb") as file:
                    file.write(bytes(_ROOM))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                proof.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """The private file is not there any more."""
        (self.path / name).unlink(missing_ok=True)

    def key(self, name: str) -> bytes:
        """A key file's 32 random bytes, made at first use.

        Raises:
            FatalError: `state_unusable`, when it cannot be read or made, or is damaged.
        """
        try:
            stored = self._stored_key(name)
        except OSError as error:
            raise self._unusable(error) from error
        if len(stored) != KEY_BYTES:
            raise FatalError(ErrorCode.STATE_UNUSABLE, f"The key file {self.path / name} is damaged; restore it.")
        return stored

    def _stored_key(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            stored = secrets.token_bytes(KEY_BYTES)
            self._write(name, stored)
            return stored

    def _write(self, name: str, content: bytes) -> None:
        target = self.path / name
        temporary = self.path / f".{name}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        sync_folder(self.path)


def sync_folder(folder: Path) -> None:
    """What came, went or changed its name in it is on the disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _telling_trouble() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise (
            trouble_in(error) or StoreUnavailableError(f"the state directory cannot be used ({error.strerror})")
        ) from error
