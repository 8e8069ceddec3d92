"""Owns the verb `demo` as a whole: what it needs, where it runs, how it ends, and what it leaves behind (nothing)."""

import asyncio
import logging
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

_log = logging.getLogger(__name__)

OK, FAILED = 0, 1
_BY_SIGNAL = 128
_LOG_TAIL_LINES = 15
_NEEDS = {"synapse": "matrix-synapse", "rich": "rich"}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo() -> int:
    """Shows the whole way from nothing to a working account; the exit status."""
    missing = [package for module, package in _NEEDS.items() if find_spec(module) is None]
    if missing:
        print(
            f"The demo needs {' and '.join(missing)}, which the bot itself does not: pip install 'onboard-bot[demo]',"
            " or make demo in the source tree.",
            file=sys.stderr,
        )
        return FAILED
    return asyncio.run(_show())


async def _show() -> int:
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()
    for number in _SIGNALS:
        loop.add_signal_handler(number, _note, stopped, number)
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="onboard-bot-demo-"))
    logging.basicConfig(filename=folder / "demo.log", level=logging.INFO)
    try:
        return await _show_in(folder, stopped)
    finally:
        logging.shutdown()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _show_in(folder: Path, stopped: asyncio.Future[int]) -> int:
    # Here, not above: the extra `demo` is known to be there, and a signal while this loads is heard.
    from onboard_bot.demo.screen import ReaderGoneError, Screen  # noqa: PLC0415 - see above
    from onboard_bot.demo.story import Story  # noqa: PLC0415 - see above

    screen = Screen()
    story = Story(screen, folder, stays=sys.stdin.isatty() and sys.stdout.isatty())
    telling = asyncio.create_task(story.tell())
    try:
        await asyncio.wait((telling, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not telling.done():
            telling.cancel()
        await telling
        screen.closing("That was all")
    except asyncio.CancelledError:
        with suppress(ReaderGoneError):
            screen.closing("Stopped")
        return OK if story.stayed else _BY_SIGNAL + stopped.result()
    except ReaderGoneError:
        return OK if story.stayed else FAILED
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends with a sentence and the logs
        _log.exception("the demo failed")
        tail = await asyncio.to_thread(_tail, folder / "bot.log")
        screen.failed(_sentence(error), tail, str(await asyncio.to_thread(_keep_logs, folder)))
        return FAILED
    return OK


def _note(stopped: asyncio.Future[int], number: int) -> None:
    if not stopped.done():
        stopped.set_result(number)


def _sentence(error: Exception) -> str:
    """What went wrong. The errors that we know say it themselves; the trace of all others is in the kept log."""
    if type(error).__module__.partition(".")[0] == "onboard_bot":
        return str(error)
    return f"The demo itself is at fault ({type(error).__name__}: {error}); demo.log has the trace."


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])


def _keep_logs(folder: Path) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="onboard-bot-demo-logs-"))
    for log in folder.rglob("*.log"):
        shutil.copy(log, kept)
    return kept
