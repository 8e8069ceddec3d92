"""Owns what a check found: one line of text each, and the exit status that they make together (design, section 3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from onboard_bot.errors import ErrorCode, OnboardError


class Level(Enum):
    """How bad it is: the word that the line begins with, and the exit status that it asks for."""

    OK = ("OK", 0)
    WARN = ("WARN", 0)
    FAILED = ("FAIL", 1)
    UNUSABLE = ("FAIL", 2)
    """The configuration or the secret file cannot be used, so that nothing could even start."""

    def __init__(self, word: str, status: int) -> None:
        self.word = word
        self.status = status


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        level: How it is.
        key: `section.key` where the configuration is meant, an error code where a live check failed.
        text: What is wrong and what mends it, or what is well. Never a secret.
    """

    level: Level
    key: str
    text: str


def ok(key: str, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, key, text)


def warn(key: str, text: str) -> Finding:
    """Worth knowing; the exit status does not change."""
    return Finding(Level.WARN, key, text)


def failed(code: ErrorCode, text: str) -> Finding:
    """A live check failed."""
    return Finding(Level.FAILED, code.value, text)


def failed_with(error: OnboardError) -> Finding:
    """A live check failed, and the error says why."""
    return failed(error.code, error.sentence)


def unusable(key: str, text: str) -> Finding:
    """What the configuration says under this key cannot be used."""
    return Finding(Level.UNUSABLE, key, text)


def render(finding: Finding) -> str:
    """The line. What could play with a terminal, or begin a line of its own, is shown as a question mark."""
    line = f"{finding.level.word} {finding.key}: {finding.text}"
    return "".join(c if c.isprintable() else "?" for c in line)


def exit_status(findings: Iterable[Finding]) -> int:
    """The worst that any of them asks for; 0 where there are none."""
    return max((finding.level.status for finding in findings), default=0)
