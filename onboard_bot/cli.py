"""Owns the command line: the verbs, their options, and what each exit status means (design, section 3)."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, BinaryIO

from onboard_bot import __version__

if TYPE_CHECKING:  # at run time each verb imports what it needs
    from onboard_bot.config import Config
    from onboard_bot.safekeeping.archive import Manifest

OK, FAILED, UNUSABLE = 0, 1, 2
_STANDARD_OUTPUT = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    os.umask(0o077)  # nio's store, for one, takes what the umask gives
    try:
        status: int = options.verb(options)
    except KeyboardInterrupt:
        return FAILED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onboard-bot", description="Self-service onboarding for closed Matrix homeservers, from a chat room."
    )
    parser.add_argument("--version", action="version", version=f"onboard-bot {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration; default: $ONBOARD_BOT_CONFIG, ./config.yaml, /etc/onboard-bot/config.yaml",
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    run = verbs.add_parser("run", parents=[common], help="run the bot in the foreground until SIGTERM")
    run.set_defaults(verb=_run)

    check = verbs.add_parser("check", parents=[common], help="report every problem of the configuration, then live")
    check.add_argument("--offline", action="store_true", help="do not talk to the homeserver")
    check.set_defaults(verb=_check)

    config = verbs.add_parser("config", parents=[common], help="print the commented example configuration")
    config.set_defaults(verb=_config)

    backup = verbs.add_parser("backup", parents=[common], help="save the state into one file, also while the bot runs")
    backup.add_argument("file", type=Path, metavar="FILE", help="what is there is replaced once the new one is whole")
    backup.set_defaults(verb=_backup)

    restore = verbs.add_parser("restore", parents=[common], help="make the state of a backup, in an empty state_dir")
    restore.add_argument("file", type=Path, metavar="FILE", help="what backup wrote")
    restore.set_defaults(verb=_restore)

    reset = verbs.add_parser(
        "reset-identity", parents=[common], help="make a new identity for the bot, after asking, also while it runs"
    )
    reset.add_argument("--yes", action="store_true", help="do not ask")
    reset.set_defaults(verb=_reset_identity)

    trust = verbs.add_parser("trust", parents=[common], help="accept somebody's changed cross-signing identity")
    trust.add_argument("user", metavar="USER", help="a user id, like @ada:example.org")
    trust.set_defaults(verb=_trust)

    audit = verbs.add_parser(
        "audit", parents=[common], help="tell whether the audit log is whole, or export it, also while the bot runs"
    )
    audit.add_argument(
        "what", nargs="?", choices=("verify", "export"), default="verify", help="export: a line of JSON for each entry"
    )
    audit.set_defaults(verb=_audit)

    demo = verbs.add_parser("demo", parents=[common], help="see it work on a real Synapse in a scratch folder")
    demo.set_defaults(verb=_demo)
    return parser


def _run(options: argparse.Namespace) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop_at_once)  # until `run` has handlers of its own: the imports take a second

    import asyncio  # noqa: PLC0415 - each verb imports what it needs

    from onboard_bot import log  # noqa: PLC0415 - the same
    from onboard_bot.app import run  # noqa: PLC0415 - the same
    from onboard_bot.config import ConfigError, load_config  # noqa: PLC0415 - the same
    from onboard_bot.errors import FatalError, OnboardError, UnusableError  # noqa: PLC0415 - the same
    from onboard_bot.homeserver.secret import SecretFile  # noqa: PLC0415 - the same

    try:
        config = load_config(options.config, os.environ)
        SecretFile(config.homeserver.shared_secret_file).read()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except OnboardError as error:
        print(f"FAIL homeserver.shared_secret_file: {error.sentence}", file=sys.stderr)
        return UNUSABLE
    log.configure()
    try:
        asyncio.run(run(config))
    except UnusableError as error:
        print(f"FAIL {error.key}: {error.sentence}", file=sys.stderr)
        return UNUSABLE
    except FatalError as error:
        print(f"FAIL {error.code}: {error.sentence}", file=sys.stderr)
        return FAILED
    return OK


def _stop_at_once(_number: int, _frame: FrameType | None) -> None:
    """Nothing was begun yet. An exception would not do: what is being imported may catch it, or break of it."""
    os._exit(OK)


def _check(options: argparse.Namespace) -> int:
    from onboard_bot.check import check  # noqa: PLC0415 - each verb imports what it needs

    return check(options.config, offline=options.offline, environ=os.environ)


def _config(_options: argparse.Namespace) -> int:
    from onboard_bot.config.example import example_text  # noqa: PLC0415 - each verb imports what it needs

    print(example_text(), end="")
    return OK


def _backup(options: argparse.Namespace) -> int:
    from onboard_bot.clock import SystemClock  # noqa: PLC0415 - each verb imports what it needs
    from onboard_bot.safekeeping.backup import backup  # noqa: PLC0415 - the same
    from onboard_bot.state_dir import StateDir  # noqa: PLC0415 - the same

    def saved(config: "Config") -> str:
        whose = _whose(backup(StateDir(config.bot.state_dir), options.file, SystemClock()), config)
        return f"{options.file} holds the state of {whose}. Keep it like a password."

    return _say(options, saved)


def _restore(options: argparse.Namespace) -> int:
    import secrets  # noqa: PLC0415 - each verb imports what it needs

    from onboard_bot.clock import SystemClock  # noqa: PLC0415 - the same
    from onboard_bot.safekeeping.restore import restore  # noqa: PLC0415 - the same
    from onboard_bot.state_dir import StateDir  # noqa: PLC0415 - the same

    def restored(config: "Config") -> str:
        state = StateDir(config.bot.state_dir)
        whose = _whose(restore(state, options.file, SystemClock(), secrets.token_bytes), config)
        return (
            f"{state.path} holds the state of {whose}. At its next start the bot signs in as a new device and ends the"
            " old one."
        )

    return _say(options, restored)


def _whose(manifest: "Manifest", config: "Config") -> str:
    when = datetime.fromtimestamp(manifest.saved_at, UTC).isoformat(sep=" ", timespec="seconds")
    return f"{manifest.user_id or f'{config.bot.username}, which never signed in'} as of {when}"


def _reset_identity(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415 - each verb imports what it needs

    from onboard_bot.identities.reset import explained, refuse_without_session, reset_identity  # noqa: PLC0415 - the same

    def reset(config: "Config") -> str | None:
        user_id = refuse_without_session(config)
        return asyncio.run(reset_identity(config)) if options.yes or _agrees(explained(user_id)) else None

    return _say(options, reset)


def _agrees(explanation: str) -> bool:
    """Whether somebody at the terminal says yes.

    Raises:
        OnboardError: `bad_argument`, where nobody is there.
    """
    from onboard_bot.errors import ErrorCode, OnboardError  # noqa: PLC0415 - each verb imports what it needs

    if not sys.stdin.isatty():
        raise OnboardError(
            ErrorCode.BAD_ARGUMENT, "There is no terminal to ask at. Run it at one, or say --yes if you mean it."
        )
    print(explanation)
    try:
        return input("Type yes to go on: ").strip().lower() == "yes"
    except EOFError:
        return False


def _trust(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415 - each verb imports what it needs

    from onboard_bot.identities.trust import trust  # noqa: PLC0415 - the same

    return _say(options, lambda config: asyncio.run(trust(config, options.user)))


def _audit(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415 - each verb imports what it needs

    from onboard_bot.clock import SystemClock  # noqa: PLC0415 - the same
    from onboard_bot.safekeeping.audit_log import export, verify  # noqa: PLC0415 - the same
    from onboard_bot.state_dir import StateDir  # noqa: PLC0415 - the same

    def exported(config: "Config") -> int:
        return _written(lambda out: asyncio.run(export(StateDir(config.bot.state_dir), SystemClock(), out.write)))

    if options.what == "export":
        return _with_config(options, exported)
    return _say(options, lambda config: asyncio.run(verify(StateDir(config.bot.state_dir), SystemClock())))


def _written(work: Callable[[BinaryIO], None]) -> int:
    """Writes to the standard output, as long as somebody reads there.

    Raises:
        OnboardError: `bad_argument`, where it cannot be written; what `work` raises, after what was written.
    """
    from onboard_bot.errors import ErrorCode, OnboardError  # noqa: PLC0415 - each verb imports what it needs

    try:
        # A buffer of our own: what the interpreter's holds back is written at its end, and would complain again.
        with os.fdopen(_STANDARD_OUTPUT, "wb", closefd=False) as out:
            work(out)
    except BrokenPipeError:
        pass  # whoever read has seen enough
    except OSError as error:
        raise OnboardError(
            ErrorCode.BAD_ARGUMENT, f"The export cannot be written: {error.strerror}. Write it somewhere else."
        ) from error
    return OK


def _say(options: argparse.Namespace, work: "Callable[[Config], str | None]") -> int:
    """Does something with the configuration and prints what came of it.

    Args:
        options: As typed.
        work: Gives what to print; None where somebody thought better of it.
    """

    def said(config: "Config") -> int:
        done = work(config)
        if done is None:
            print("Nothing was changed.", file=sys.stderr)
            return FAILED
        print(done)
        return OK

    return _with_config(options, said)


def _with_config(options: argparse.Namespace, work: "Callable[[Config], int]") -> int:
    """The exit status of something done with the configuration, whose shared secret is not needed for it."""
    from onboard_bot.config import ConfigError, load_config  # noqa: PLC0415 - each verb imports what it needs
    from onboard_bot.errors import OnboardError  # noqa: PLC0415 - the same

    try:
        return work(load_config(options.config, os.environ))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    except OnboardError as error:
        print(f"FAIL {error.code}: {error.sentence}", file=sys.stderr)
        return FAILED


def _demo(_options: argparse.Namespace) -> int:
    from onboard_bot.demo.show import demo  # noqa: PLC0415 - each verb imports what it needs

    return demo()
