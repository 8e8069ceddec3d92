"""Owns the form of a backup: a tar file, its manifest first, then what the manifest lists with size and digest.

A tar file says nothing of its own completeness, so the manifest does. Nothing of a file is believed before all of it
was read: what is foreign, cut off or changed is refused as a whole.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onboard_bot.clock import Timestamp
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.state_dir import KEY_BYTES

DATABASE = "onboard.db"
SESSION = "session.json"
_SEEDS = ("user_id", "master", "self_signing", "user_signing")
_JSON_HOLDS = {
    "account.json": ("username", "password", "registered"),
    SESSION: ("device_id",),
    "cross_signing.json": _SEEDS,
    "cross_signing.pending.json": _SEEDS,  # of a reset that may have come to its end on the server
}
_KEY = "secrets.key"
MEMBERS = (DATABASE, *_JSON_HOLDS, _KEY)
"""What of the state directory is saved. The encryption store is not: its keys must never be used twice."""

_MANIFEST = "manifest.json"
_SMALL = 1 << 20
# What a malformed tar file makes of tarfile; TarError is none of the others.
_MALFORMED = (tarfile.TarError, EOFError, ValueError, KeyError, IndexError, OverflowError, MemoryError, RecursionError)


class Content(BaseModel):
    """What the manifest says of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """What the manifest says. `saved_at` is not later than anything in the backup."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    written_by: str
    saved_at: Timestamp = Field(allow_inf_nan=False)
    schema_revision: str
    user_id: str | None
    members: dict[str, Content]


def describe(folder: Path, *, written_by: str, saved_at: Timestamp, schema_revision: str) -> Manifest:
    """The manifest of the files in a folder.

    Raises:
        OnboardError: `state_unusable`, when one of them is not what the bot writes.
    """
    members: dict[str, Content] = {}
    user_id = None
    for name in MEMBERS:
        path = folder / name
        if not path.exists():
            continue
        with path.open("rb") as file:
            digest, beginning = _passed_on(file, None)
        members[name] = Content(size=path.stat().st_size, sha256=digest)
        if name != DATABASE:
            user_id = _judged(name, beginning).get("user_id", user_id)
    return Manifest(
        written_by=written_by,
        saved_at=saved_at,
        schema_revision=schema_revision,
        user_id=user_id,
        members=members,
    )


def pack(target: Path, manifest: Manifest, folder: Path) -> None:
    """Writes a backup of the files in a folder; for us alone from its first byte on, and on the disk at the end."""
    with private_file(target) as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            about = manifest.model_dump_json(indent=1).encode()
            tar.addfile(_entry(_MANIFEST, len(about), manifest), io.BytesIO(about))
            for name, content in manifest.members.items():
                with (folder / name).open("rb") as member:
                    tar.addfile(_entry(name, content.size, manifest), member)
        file.flush()
        os.fsync(file.fileno())


def read(source: Path, folder: Path | None = None) -> Manifest:
    """Reads a backup to its end; its manifest, if all of it is what was written.

    Args:
        source: The backup.
        folder: Where its files are to be put, for us alone; None only looks.

    Raises:
        OnboardError: `bad_argument`: it is no backup, or not whole; `state_unusable`: its content makes no state.
        OSError: The files cannot be written.
    """
    with _opened(source) as tar:
        manifest = _manifest(tar, source)
        awaited = dict(manifest.members)
        while (entry := tar.next()) is not None:
            content = awaited.pop(entry.name, None)
            if content is None or not _is_plain(entry) or entry.size != content.size:
                raise _refused(f"{source} is no backup of onboard-bot: {entry.name[:50]!r} in it is not ours.")
            digest, beginning = _take(tar, entry, None if folder is None else folder / entry.name)
            if digest != content.sha256:
                raise _refused(f"{source} is damaged: {entry.name} is not what was written. Use another backup.")
            if entry.name != DATABASE:
                _judged(entry.name, beginning)
        if awaited:
            raise _refused(f"{source} is cut off: {', '.join(awaited)} is missing. Use another backup.")
    return manifest


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        file = source.open("rb")
    except OSError as error:
        raise _refused(f"{source} cannot be read: {error.strerror}.") from error
    try:
        with file, tarfile.open(fileobj=file, mode="r:") as tar:
            yield tar
    except _MALFORMED as error:
        why = " ".join(str(error).split())[:100] if isinstance(error, tarfile.TarError) else type(error).__name__
        raise _refused(f"{source} is no backup of onboard-bot, or it is cut off ({why}). Use another one.") from error


def _manifest(tar: tarfile.TarFile, source: Path) -> Manifest:
    foreign = _refused(f"{source} is no backup of onboard-bot.")
    entry = tar.next()
    if entry is None or entry.name != _MANIFEST or not _is_plain(entry) or entry.size > _SMALL:
        raise foreign
    _, about = _take(tar, entry, None)
    values = json.loads(about)
    form = values.get("format") if isinstance(values, dict) else None
    if isinstance(form, int) and form > 1:
        raise _refused(f"{source} was written by a newer onboard-bot (format {form}). Use that newer version.")
    try:
        manifest = Manifest.model_validate_json(about)
    except ValidationError:
        raise foreign from None
    if DATABASE not in manifest.members or not manifest.members.keys() <= set(MEMBERS):
        raise foreign
    return manifest


def _take(tar: tarfile.TarFile, entry: tarfile.TarInfo, target: Path | None) -> tuple[str, bytes]:
    """The digest of a member and, as far as it is a small file, its content; written to the target if there is one."""
    with (
        tar.extractfile(entry) or io.BytesIO() as member,
        nullcontext() if target is None else private_file(target) as file,
    ):
        return _passed_on(member, file)


def _passed_on(source: IO[bytes], target: IO[bytes] | None) -> tuple[str, bytes]:
    digest, beginning = hashlib.sha256(), b""
    while chunk := source.read(_SMALL):
        digest.update(chunk)
        beginning = beginning or chunk
        if target is not None:
            target.write(chunk)
    if target is not None:
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest(), beginning


def private_file(path: Path) -> IO[bytes]:
    """A new file for us alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _is_plain(entry: tarfile.TarInfo) -> bool:
    return entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not entry.issparse()


def _judged(name: str, content: bytes) -> dict[str, Any]:
    """The values of a JSON file, none of a key file.

    Raises:
        OnboardError: `state_unusable`, when it is not what the bot writes.
    """
    if name == _KEY and len(content) == KEY_BYTES:
        return {}
    with suppress(ValueError, RecursionError):
        values = json.loads(content)
        if name in _JSON_HOLDS and isinstance(values, dict) and values.keys() >= set(_JSON_HOLDS[name]):
            return values
    raise OnboardError(ErrorCode.STATE_UNUSABLE, f"{name} does not hold what the bot writes there.")


def _entry(name: str, size: int, manifest: Manifest) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(manifest.saved_at)
    return entry


def _refused(sentence: str) -> OnboardError:
    return OnboardError(ErrorCode.BAD_ARGUMENT, sentence)
