"""Owns how the log looks: a line per event on standard output, behind it the trace of what nobody foresaw.

The program and its libraries log through `logging`; structlog only formats here. Much of what is logged was said by
somebody else, so that nothing of it may begin a line of its own or play with a terminal.
"""

import logging
import sys

import structlog

# What anybody says in one line ends here: a flood of words must not fill the disk.
_LONGEST = 2000
# Libraries that say at INFO or WARNING what only their own developers can use; nio logs key material's ids there, and
# as errors whole payloads that strangers sent.
_QUIET = {
    "nio": logging.CRITICAL,
    "aiohttp.access": logging.WARNING,
    "aiosqlite": logging.WARNING,
    "alembic": logging.WARNING,
}


def configure(*, level: int = logging.INFO) -> None:
    """Sends everything that is logged to standard output; colours only at a terminal."""
    about: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    # Plain traces: the pretty ones show local variables, and with them passwords.
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=about,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _on_one_line, renderer],
        )
    )
    logging.raiseExceptions = False  # on a full disk a trace for each line that did not fit would not fit either
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(quiet)


def _on_one_line(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Shows what is not printable instead of letting it act; a trace is no value here, it is rendered afterwards."""
    return {key: _visible(value) if isinstance(value, str) else value for key, value in event.items()}


def _visible(text: str) -> str:
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
