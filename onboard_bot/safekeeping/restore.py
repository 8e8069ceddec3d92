"""Owns the verb `restore`: a state made of a backup, whole or not at all.

While it is under way, the folder `.restoring` is in the state directory. It comes before everything else and goes last,
and `run` refuses a directory that holds it: a restore that was killed never looks like a state.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onboard_bot.clock import Clock
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.safekeeping.archive import DATABASE, MEMBERS, SESSION, Manifest, read
from onboard_bot.safekeeping.copies import make_new_life
from onboard_bot.state_dir import StateDir, sync_folder
from onboard_bot.store.meta import EPOCH_BYTES
from onboard_bot.store.schema import refuse_newer

# What may lie in a directory that holds no state: an empty volume brings the second.
_NOTHING = frozenset({"lock", "lost+found"})


def restore(state: StateDir, source: Path, clock: Clock, entropy: Callable[[int], bytes]) -> Manifest:
    """Makes a state of a backup.

    Args:
        state: Its directory must be empty or missing, or hold what a cut-off restore left.
        source: The backup.
        clock: When.
        entropy: Gives random bytes for the epoch.

    Raises:
        OnboardError: `state_in_use`: a bot runs there; `state_unusable`: something is there, or the backup makes no
            state; `bad_argument`: it is no backup. The directory is as it was.
    """
    try:
        with _claimed(state):
            manifest = read(source)
            refuse_newer(manifest.schema_revision, f"The backup {source}")
            _clear(state)
            try:
                _unpack(state, source, clock, entropy(EPOCH_BYTES).hex())
            except BaseException:
                _clear(state)
                raise
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE, f"Nothing was restored: {named}{error.strerror or error}."
        ) from error
    return manifest


def _unpack(state: StateDir, source: Path, clock: Clock, epoch: str) -> None:
    state.unfinished.mkdir(mode=0o700)
    sync_folder(state.path)
    manifest = read(source, state.unfinished)
    _leave_old_device(state.unfinished / SESSION)
    database, what = state.unfinished / DATABASE, f"The database in {source}"
    make_new_life(database, what, clock, saved_at=manifest.saved_at, epoch=epoch)
    _give_to_owner(state)
    for name in manifest.members:
        if (state.unfinished / name).exists():
            (state.unfinished / name).rename(state.path / name)
    sync_folder(state.unfinished)
    sync_folder(state.path)
    state.unfinished.rmdir()
    with suppress(OSError):  # all of it is there; at worst the mark comes back
        sync_folder(state.path)


@contextmanager
def _claimed(state: StateDir) -> Iterator[None]:
    """Holds the directory; after a failure it is as it was.

    The lock is looked at first: who is told what lies there, while a bot runs on it, might delete it.
    """
    missing = [folder for folder in (state.path, *state.path.parents) if not folder.exists()]
    had_lock = state.lock_file.exists()
    if not had_lock:
        _refuse_anything(state)  # a folder that is not the bot's gets no lock
    state.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with state.locked():
            try:
                _refuse_anything(state)
                state.path.chmod(0o700)
                yield
            except BaseException:
                if not had_lock:
                    state.lock_file.unlink()
                raise
    except BaseException:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise


def _refuse_anything(state: StateDir) -> None:
    there = {entry.name for entry in state.path.iterdir()} if state.path.exists() else set()
    there -= _NOTHING
    if state.unfinished.name in there:
        there -= {state.unfinished.name, *MEMBERS}  # of a restore that was cut off
    if state.crypto.name in there and not any(state.crypto.iterdir()):
        there.remove(state.crypto.name)
    if there:
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE,
            f"The state directory {state.path} is not empty: it holds {', '.join(sorted(there))}. Move that away, or"
            " set bot.state_dir to an empty folder; nothing is ever restored over a state.",
        )


def _clear(state: StateDir) -> None:
    """Takes away what a restore that was cut off left; the mark that it was goes last."""
    if state.unfinished.exists():
        moved_in = [state.path / name for name in MEMBERS if (state.path / name).exists()]
        for file in moved_in:
            file.unlink()
        if moved_in:
            sync_folder(state.path)
        shutil.rmtree(state.unfinished)


def _leave_old_device(session: Path) -> None:
    """The keys of the device are not in the backup, so it must never speak again; its token is good to end it."""
    if not session.exists():
        return
    values = json.loads(session.read_text())
    if "access_token" not in values:  # it was about to sign in, and may have done so since
        session.unlink()
        return
    with session.open("w") as file:
        json.dump(values | {"keys_stored": True}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _give_to_owner(state: StateDir) -> None:
    """What root restores belongs to whom the directory belongs to: the bot does not run as root."""
    if os.geteuid() == 0:
        owner = state.path.stat()
        for path in (state.lock_file, *state.unfinished.iterdir()):
            os.chown(path, owner.st_uid, owner.st_gid)
