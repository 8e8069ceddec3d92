"""Owns the way from the sources to a checked configuration, or to all that is wrong with it."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from onboard_bot.config.model import Config
from onboard_bot.config.problems import ConfigError, Problem, explain
from onboard_bot.config.sources import DEFAULT_FILES, Gathered, gather


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of this process.

    Args:
        path: What `--config` names; None looks at `$ONBOARD_BOT_CONFIG`, then at the usual places.
        environ: The environment.

    Raises:
        ConfigError: Everything that is wrong, at once.
    """
    found = gather(path, environ)
    config = None
    wrong: list[Problem] = []
    try:
        config = Config(*found)
    except ValidationError as errors:
        wrong = explain(errors)
    unread = [problem for source in reversed(found) for problem in source.problems]
    if config is None or unread:
        raise ConfigError(unread + _judged(found, unread, wrong))
    return config


def _judged(found: Gathered, unread: list[Problem], wrong: list[Problem]) -> list[Problem]:
    """Leaves out what only follows from what could not be read, and says where a value came from."""
    origins = {key: origin for source in reversed(found) for key, origin in source.origins.items()}
    silent = tuple(f"{problem.key}." for problem in unread)
    told = []
    for problem in wrong:
        origin = origins.get(problem.key)
        if f"{problem.key}.".startswith(silent) or (found.file.is_broken and origin is None):
            continue
        told.append(Problem(problem.key, f"{problem.text} (set by {origin})") if origin else problem)
    if found.file.found is None and not found.file.is_broken and any("is missing" in problem.text for problem in told):
        looked = " and ".join(map(str, DEFAULT_FILES))
        told.insert(0, Problem("config", f"no file was found; looked for {looked}. --config FILE names another one."))
    return told
