"""The configuration: every key of the design, from environment, credentials, file and defaults."""

from onboard_bot.config.load import load_config
from onboard_bot.config.model import Config
from onboard_bot.config.problems import ConfigError, Problem

__all__ = ["Config", "ConfigError", "Problem", "load_config"]
