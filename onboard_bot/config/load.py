"""Owns the way from the sources to a checked configuration, or to all that is wrong with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from onboard_bot.config.model import Config
from onboard_bot.config.problems import ConfigError, Problem, explain
from onboard_bot.config.schema import sections
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
    problems = list(found.problems)
    config = None
    try:
        config = Config.model_validate(with_every_section(found.values))
    except ValidationError as errors:
        problems.extend(_judged(found, explain(errors)))
    if config is None or problems:
        raise ConfigError(problems)
    return config


def with_every_section(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same tree with all sections in it, so that what a section demands is asked also where it was left out."""
    tree = dict(values)
    for path in sections():
        at: Any = tree
        for step in path[:-1]:
            at = at[step] if isinstance(at, dict) else {}
        if isinstance(at, dict) and at.get(path[-1]) is None:
            at[path[-1]] = {}
        elif isinstance(at, dict) and isinstance(at[path[-1]], dict):
            at[path[-1]] = dict(at[path[-1]])
    return tree


def _judged(found: Gathered, problems: list[Problem]) -> list[Problem]:
    """Leaves out what only follows from a source that could not be read, and says where a value came from."""
    unreadable = {problem.key for problem in found.problems}
    told = []
    for problem in problems:
        if problem.key in unreadable or (found.file_is_broken and problem.key not in found.origins):
            continue
        origin = found.origins.get(problem.key)
        told.append(Problem(problem.key, f"{problem.text} (set by {origin})") if origin else problem)
    if found.file is None and not found.file_is_broken and any("is missing" in problem.text for problem in told):
        looked = " and ".join(map(str, DEFAULT_FILES))
        told.insert(0, Problem("config", f"no file was found; looked for {looked}. --config FILE names another one."))
    return told
