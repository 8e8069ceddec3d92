"""Owns the checks that need nothing but files: the configuration, and the secrets that it names."""

import stat
from collections.abc import Mapping
from pathlib import Path

from onboard_bot.check.findings import Finding, Level, ok, unusable, warn
from onboard_bot.config import Config, ConfigError, load_config
from onboard_bot.config.sources import gather
from onboard_bot.errors import OnboardError
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.state_dir import StateDir

SECRET_KEY = "homeserver.shared_secret_file"  # noqa: S105 - the name of a key, not a secret
_PASSWORD_KEY = "bot.password_file"  # noqa: S105 - the same


def check_configuration(path: Path | None, environ: Mapping[str, str]) -> tuple[Config | None, list[Finding]]:
    """The configuration, None where it cannot be used, and everything that is wrong with it and its secret files.

    Args:
        path: What `--config` names.
        environ: The environment.
    """
    try:
        config = load_config(path, environ)
    except ConfigError as error:
        findings = [unusable(problem.key, problem.text) for problem in error.problems]
        secret_file = _secret_file_of_a_broken_configuration(path, environ)
        if secret_file is not None and not any(finding.key == SECRET_KEY for finding in findings):
            findings += [finding for finding in check_secret_file(secret_file) if finding.level is not Level.OK]
        return None, findings
    findings = [ok("config", "every key is known and every value can be used.")]
    findings += check_secret_file(config.homeserver.shared_secret_file)
    if config.bot.password_file is not None:
        signed_in = _is_signed_in(StateDir(config.bot.state_dir))
        findings += check_password_file(config.bot.password_file, signed_in=signed_in)
    return config, findings


def check_secret_file(path: Path) -> list[Finding]:
    """Whether the shared secret can be read, and by whom else."""
    file = SecretFile(path)
    findings = []
    try:
        file.read()
    except OnboardError as error:
        findings.append(unusable(SECRET_KEY, f"{error.sentence} {_BOTH_FORMS}"))
    try:
        if file.is_readable_by_others():
            findings.append(_readable_by_everybody(SECRET_KEY, path, "With it anybody makes themselves a server admin"))
    except OnboardError:
        pass  # said above
    return findings or [ok(SECRET_KEY, f"{path} holds a secret that not everybody can read.")]


def check_password_file(path: Path, *, signed_in: bool) -> list[Finding]:
    """The same for the password of an account that the bot did not make itself.

    Args:
        path: Where it lies.
        signed_in: Whether the state holds a session already, so that `run` never looks into the file.
    """

    def useless(why: str) -> Finding:
        if signed_in:
            return warn(_PASSWORD_KEY, f"{path} {why}. The bot is signed in and does not read it; take the line out.")
        return unusable(_PASSWORD_KEY, f"{path} {why}. {_ONLY_ITSELF}")

    try:
        password = path.read_bytes().decode()
        everybody = bool(path.stat().st_mode & stat.S_IROTH)
    except UnicodeDecodeError:
        return [useless("is not UTF-8 text")]
    except OSError as error:
        return [useless(f"cannot be read: {error.strerror or type(error).__name__}")]
    findings = []
    if not password.strip():
        findings.append(useless("is empty"))
    if everybody:
        findings.append(_readable_by_everybody(_PASSWORD_KEY, path, "With it anybody speaks as the bot"))
    return findings or [ok(_PASSWORD_KEY, f"{path} holds a password that not everybody can read.")]


def check_unsigned_devices(config: Config) -> Finding:
    """Whose devices are obeyed and get keys."""
    key = "encryption.unsigned_devices"
    if config.encryption.unsigned_devices == "refuse":
        return ok(key, "refuse: only devices that their owner has verified are obeyed, and can read the bot.")
    return warn(
        key,
        "allow: everybody's devices are served and obeyed, so that a homeserver which adds a device of its own to"
        " somebody's account could command the bot in their name. Take the line out once people have verified theirs.",
    )


_BOTH_FORMS = (
    "Put there what registration_shared_secret_path of the homeserver names, or YAML with registration_shared_secret."
)
_ONLY_ITSELF = "Put the account's password there, or take the line out if the bot makes its account itself."


def _is_signed_in(state: StateDir) -> bool:
    """Whether there is a session; state that cannot be read is the live checks' business."""
    from onboard_bot.check.remembered import remembered_session  # noqa: PLC0415 - rarely needed, and it knows SQL

    try:
        return remembered_session(state) is not None
    except OnboardError:
        return False


def _readable_by_everybody(key: str, path: Path, consequence: str) -> Finding:
    return Finding(
        Level.FAILED, key, f"{path} can be read by everybody on this machine. {consequence}: chmod o-r {path}"
    )


def _secret_file_of_a_broken_configuration(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Where the secret lies, as far as that can be told although another key is wrong."""
    section = gather(path, environ).values.get("homeserver")
    written = section.get("shared_secret_file") if isinstance(section, dict) else None
    return Path(written) if isinstance(written, str) and written.strip() else None
