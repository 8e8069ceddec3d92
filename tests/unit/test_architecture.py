"""The arrows between the folders point one way, and each library has one door."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "onboard_bot"

# What each folder may import of the program; what stands here is the design's section 4 in full.
# A single file is a door: `homeserver.port` and `onboarding.ports` are what adapters and users agree on.
# `clock_jump` stands beside the clock: effects ask it before anything expires, `upkeep` tells of what it noticed.
GROUND = {"clock", "clock_jump", "errors", "backoff", "pace", "retry_after"}
ARROWS: dict[str, set[str]] = {
    "domain": GROUND,
    "store": GROUND | {"domain"},
    "onboarding": GROUND | {"domain", "store"},
    "homeserver": GROUND | {"domain"},
    "matrix": GROUND | {"domain", "store", "state_dir", "onboarding.ports", "homeserver.port"},
    "chat": GROUND | {"domain", "store", "onboarding"},
    # Effects speak: they use the wording of chat, never its dispatch.
    "jobs": GROUND
    | {"domain", "store", "onboarding", "homeserver.port"}
    | {
        "chat.cards",
        "chat.history",
        "chat.lists",
        "chat.messages",
        "chat.replies",
        "chat.request_replies",
        "chat.trust_replies",
    },
    "web": GROUND | {"domain", "store", "onboarding", "health"},
    "safekeeping": GROUND | {"domain", "store", "onboarding", "state_dir", "__version__"},
    "config": GROUND | {"domain"},
    "upkeep": GROUND
    | {"domain", "store", "onboarding", "homeserver.port", "chat", "matrix"}
    | {"config", "health", "state_dir", "__version__"},
    "identities": GROUND
    | {"domain", "store", "onboarding", "chat.messages", "matrix", "upkeep.identity"}
    | {"config", "connections", "state_dir", "check.remembered"},
}
# Who may import a library; everything else may be imported anywhere.
DOORS = {
    "nio": {"matrix"},
    "vodozemac": {"matrix"},
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "sqlite3": {"store"},
    "aiohttp.web": {"web"},
    "yaml": {"config", "homeserver", "demo"},
    "rich": {"demo"},
}
IMPURE = {"asyncio", "aiohttp", "time", "random", "secrets", "os", "socket", "pathlib", "logging"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), path


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, `from a import b` as `a.b`, wherever in the file it does so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(name: str, what: str) -> bool:
    return name == what or name.startswith(f"{what}.")


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_arrows_between_folders_point_one_way(module: str, path: Path) -> None:
    folder = module.split(".", maxsplit=1)[0]
    if folder not in ARROWS:
        return
    for imported in imports(path):
        if not inside(imported, "onboard_bot"):
            continue
        target = imported.removeprefix("onboard_bot.")
        allowed = ARROWS[folder] | {folder}
        assert any(inside(target, one) for one in allowed), f"{module} must not know {target}"


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_each_library_has_one_door(module: str, path: Path) -> None:
    folder = module.split(".", maxsplit=1)[0]
    for imported in imports(path):
        for library, doors in DOORS.items():
            if inside(imported, library):
                assert folder in doors, f"{module} must not import {library}"


@pytest.mark.parametrize(("module", "path"), [pair for pair in modules() if pair[0].startswith("domain.")])
def test_the_domain_is_pure(module: str, path: Path) -> None:
    tree = ast.parse(path.read_text())
    waits = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]
    assert not waits, f"{module} awaits"
    for imported in imports(path):
        assert not any(inside(imported, impure) for impure in IMPURE), f"{module} must not import {imported}"


def test_only_the_homeserver_folder_calls_synapse() -> None:
    callers = {
        module
        for module, path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("/_synapse")
    }
    assert {module.split(".")[0] for module in callers} <= {"homeserver"}, callers


def test_every_module_says_what_it_owns() -> None:
    silent = [module for module, path in modules() if not ast.get_docstring(ast.parse(path.read_text()))]
    empty = [module for module, path in modules() if not path.read_text().strip()]
    assert set(silent) - set(empty) == set()


def test_no_module_is_larger_than_one_noun_needs() -> None:
    large = {module: n for module, path in modules() if (n := len(path.read_text().splitlines())) > 350}
    assert large == {}
