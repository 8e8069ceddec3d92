"""Owns the verb `backup`: one file that holds all of the state but the encryption store, also while the bot runs."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onboard_bot import __version__
from onboard_bot.clock import Clock
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.safekeeping.archive import DATABASE, MEMBERS, Manifest, describe, pack, private_file
from onboard_bot.safekeeping.copies import judge
from onboard_bot.state_dir import StateDir, sync_folder
from onboard_bot.store.snapshot import copy_database


def backup(state: StateDir, target: Path, clock: Clock) -> Manifest:
    """Saves the state into one file, which takes the place of what was there when it is whole.

    Args:
        state: Of a bot that may be running.
        target: The file.
        clock: When.

    Raises:
        OnboardError: `state_unusable`: there is nothing to save, or what there is could not be restored;
            `bad_argument`: the target cannot be written.
    """
    target = _writable_target(state, target)
    _refuse_nothing(state)
    try:
        with _workshop(target) as workshop:
            manifest = _gather(state, workshop / "state", clock)
            pack(workshop / "backup", manifest, workshop / "state")
            (workshop / "backup").replace(target)
            sync_folder(target.parent)
    except OSError as error:
        raise OnboardError(
            ErrorCode.BAD_ARGUMENT, f"{target} cannot be written: {error.strerror or error}. Name another file."
        ) from error
    return manifest


def _gather(state: StateDir, folder: Path, clock: Clock) -> Manifest:
    """Copies: the database first, since a key file is made before the first thing that is sealed with it."""
    folder.mkdir(mode=0o700)
    saved_at = clock.now()
    copy = folder / DATABASE
    private_file(copy).close()
    copy_database(state.database, copy)
    revision = judge(copy, f"The database {state.database}", clock)
    for name in MEMBERS:
        content = _content(state.path / name) if name != DATABASE else None
        if content is not None:
            with private_file(folder / name) as file:
                file.write(content)
    return describe(folder, written_by=__version__, saved_at=saved_at, schema_revision=revision)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE,
            f"{path} cannot be read: {error.strerror}. Run backup as the user that the bot runs as.",
        ) from error


def _refuse_nothing(state: StateDir) -> None:
    state.refuse_unfinished()
    try:
        if state.database.stat().st_size > 0:  # empty: its first start was cut off
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE,
            f"The state directory {state.path} cannot be read: {error.strerror}. Run backup as the user that the bot"
            " runs as.",
        ) from error
    raise OnboardError(
        ErrorCode.STATE_UNUSABLE,
        f"There is nothing to back up in {state.path}: no bot has run there. bot.state_dir says where to look.",
    )


def _writable_target(state: StateDir, target: Path) -> Path:
    """Where the file really lies; never what the bot itself keeps, nor a device."""

    def refused(why: str) -> OnboardError:
        return OnboardError(ErrorCode.BAD_ARGUMENT, f"{target} {why}. Name another file.")

    real, folder = target.resolve(), state.path.resolve()
    if real.is_relative_to(folder / state.crypto.name):
        raise refused("lies in the encryption store, which is thrown away as a whole")
    if real.parent == folder and _is_ours(state, real.name):
        raise refused("is a file of the bot's own state")
    if real.exists() and not real.is_file():
        raise refused("is no file")
    if not real.parent.is_dir():
        raise refused("cannot be written: its folder is not there")
    return real


def _is_ours(state: StateDir, name: str) -> bool:
    own = (*MEMBERS, state.lock_file.name, state.unfinished.name, ".room", "crypto.key")
    return name in own or name.startswith(f"{DATABASE}-") or (name.startswith(".") and name.endswith(".new"))


@contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """A folder for us alone beside the target; what a killed backup left there goes first.

    Raises:
        OnboardError: `bad_argument`, when another backup into the same file is under way.
    """
    folder = target.with_name(f".{target.name}.part")
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _take(folder, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    try:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield folder
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)
        os.close(descriptor)


def _take(folder: Path, descriptor: int) -> None:
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OnboardError(ErrorCode.BAD_ARGUMENT, f"{folder} is not for you alone. Take it away first.")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OnboardError(
            ErrorCode.BAD_ARGUMENT, f"Another backup into the same file is under way, in {folder}."
        ) from error
