"""What an operator writes, and what they read when it is wrong."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from onboard_bot.config import Config, ConfigError, Problem, load_config, sources
from onboard_bot.config.example import example_text
from onboard_bot.config.keys import all_keys
from onboard_bot.config.not_yet import NOT_YET
from onboard_bot.config.values import ListenAddress, Rate

THREE_LINES = """\
homeserver: {url: "http://127.0.0.1:8008", shared_secret_file: /run/secrets/s}
admin_room: {admins: ["@ada:example.org"]}
"""

ADA = "@ada:example.org"

Load = Callable[..., Config]
Fail = Callable[..., dict[str, str]]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in an empty folder, and no file of this machine is looked at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "DEFAULT_FILES", (Path("config.yaml"), tmp_path / "etc.yaml"))


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the three lines, changed by a tree of values, or a text of its own."""

    def run(changes: Mapping[str, Any] | str | bytes | None = None, **environ: str) -> Config:
        if isinstance(changes, str | bytes):
            text = changes
        else:
            tree = yaml.safe_load(THREE_LINES)
            for section, values in (changes or {}).items():
                tree[section] = {**tree.get(section, {}), **values} if isinstance(values, dict) else values
            text = yaml.safe_dump(tree)
        path = tmp_path / "given.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_config(path, environ)

    return run


@pytest.fixture
def fail(load: Load) -> Fail:
    """The same, for what is wrong: the problems' texts by their keys."""

    def run(changes: Mapping[str, Any] | str | bytes | None = None, **environ: str) -> dict[str, str]:
        with pytest.raises(ConfigError) as caught:
            load(changes, **environ)
        return {problem.key: problem.text for problem in caught.value.problems}

    return run


def value_at(config: Config, dotted: str) -> Any:
    value: Any = config
    for step in dotted.split("."):
        value = getattr(value, "from_" if step == "from" else step)
    return value


def problems_of(load: Load, text: str) -> tuple[Problem, ...]:
    try:
        load(text)
    except ConfigError as error:
        return error.problems
    return ()


def nested(dotted: str, value: object) -> dict[str, Any]:
    for step in reversed(dotted.split(".")):
        value = {step: value}
    assert isinstance(value, dict)
    return value


class TestDefaults:
    def test_three_lines_are_enough(self, load: Load) -> None:
        config = load()
        assert config.homeserver.url == "http://127.0.0.1:8008"
        assert config.admin_room.admins == ("@ada:example.org",)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("bot.username", "onboard"),
            ("bot.display_name", "Onboarding"),
            ("bot.password_file", None),
            ("bot.state_dir", Path("state")),
            ("bot.command_prefix", "!"),
            ("admin_room.room", None),
            ("approval.power_level", 50),
            ("approval.always", False),
            ("approval.required", 1),
            ("approval.required_for_admin", 2),
            ("approval.deny", 1),
            ("approval.self_approval", False),
            ("approval.expires_after", 7 * 86_400),
            ("approval.remind_after", 86_400),
            ("approval.groups", ()),
            ("accounts.allow_admin", False),
            ("accounts.delivery", "auto"),
            ("onboarding.rooms", ()),
            ("onboarding.room_sets", {}),
            ("onboarding.children", "listed"),
            ("onboarding.by_requester", ()),
            ("onboarding.join", "join"),
            ("announce.rooms", ()),
            ("announce.gather", 60),
            ("welcome.template", None),
            ("welcome.follow_up", None),
            ("welcome.follow_up_after", 3 * 86_400),
            ("welcome.avatar", None),
            ("requests.from", ()),
            ("invites.members.per_person", 0),
            ("invites.members.per", 30 * 86_400),
            ("invites.members.rooms", ()),
            ("web.listen", ListenAddress("127.0.0.1", 8090)),
            ("web.public_url", None),
            ("web.request_form", False),
            ("web.trusted_proxies", ()),
            ("web.branding.name", None),
            ("web.branding.logo", None),
            ("web.branding.colour", None),
            ("web.branding.terms_url", None),
            ("web.form.open_requests", 100),
            ("web.form.per_address", Rate(3, 86_400)),
            ("web.form.exempt", ()),
            ("ops.listen", ListenAddress("127.0.0.1", 8091)),
            ("retention.requests", 365 * 86_400),
            ("retention.audit", None),
            ("database.url", None),
            ("encryption.unsigned_devices", "refuse"),
        ],
    )
    def test_the_contract_s_defaults(self, load: Load, key: str, value: object) -> None:
        assert value_at(load(), key) == value

    def test_names_that_speak_for_the_server_are_reserved(self, load: Load) -> None:
        assert {"admin", "root", "abuse", "postmaster", "room", "everyone"} <= set(load().accounts.reserved)

    def test_what_is_loaded_never_changes(self, load: Load) -> None:
        config = load()
        with pytest.raises(ValidationError):
            config.bot.username = "other"  # type: ignore[misc] # the point of the test

    def test_the_bot_s_own_default_name_is_not_taken_from_people_by_accident(self, load: Load) -> None:
        config = load()
        assert config.bot.username not in config.accounts.reserved


class TestExample:
    def test_it_loads_as_it_is(self, load: Load) -> None:
        written = load(example_text()).model_dump()
        assert written == {
            **load().model_dump(),
            "homeserver": written["homeserver"],
            "admin_room": {"room": None, "admins": ("@you:example.org",)},
        }

    def test_it_holds_every_key_with_a_sentence_above(self) -> None:
        tree = yaml.safe_load(example_text())
        lines = example_text().splitlines()
        for key in all_keys():
            at = tree
            for step in key.path:
                assert step in at, key.dotted
                at = at[step]
            assert key.field.description, key.dotted
        for number, line in enumerate(lines):
            if line.strip().startswith(tuple(f"{key.path[-1]}: " for key in all_keys())):
                assert lines[number - 1].strip().startswith("#"), line

    def test_it_does_not_switch_off_systemd_s_state_directory(self, load: Load) -> None:
        assert load(example_text(), STATE_DIRECTORY="/var/lib/onboard-bot").bot.state_dir == Path(
            "/var/lib/onboard-bot"
        )

    def test_it_is_not_wider_than_a_screen(self) -> None:
        assert max(map(len, example_text().splitlines())) <= 120


class TestWhereItComesFrom:
    def test_the_environment_wins_over_credentials_over_the_file_over_defaults(
        self, load: Load, tmp_path: Path
    ) -> None:
        (tmp_path / "shared_secret").write_text("s")
        credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        environment = {"ONBOARD_BOT_HOMESERVER__SHARED_SECRET_FILE": "/from/environment"}

        assert load().homeserver.shared_secret_file == Path("/run/secrets/s")
        assert load(None, **credentials).homeserver.shared_secret_file == tmp_path / "shared_secret"
        assert load(None, **credentials, **environment).homeserver.shared_secret_file == Path("/from/environment")

    def test_the_bot_s_password_can_be_a_credential(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "bot_password").write_text("p")
        config = load(None, CREDENTIALS_DIRECTORY=str(tmp_path))
        assert config.bot.password_file == tmp_path / "bot_password"
        assert config.homeserver.shared_secret_file == Path("/run/secrets/s")

    def test_the_environment_alone_can_be_enough(self) -> None:
        config = load_config(
            None,
            {
                "ONBOARD_BOT_HOMESERVER__URL": "http://localhost:8008",
                "ONBOARD_BOT_HOMESERVER__SHARED_SECRET_FILE": "s",
                "ONBOARD_BOT_ADMIN_ROOM__ADMINS": '["@ada:example.org"]',
            },
        )
        assert config.admin_room.admins == ("@ada:example.org",)

    @pytest.mark.parametrize(
        ("name", "written", "key", "value"),
        [
            ("ONBOARD_BOT_BOT__COMMAND_PREFIX", "%", "bot.command_prefix", "%"),
            ("ONBOARD_BOT_APPROVAL__REQUIRED", "3", "approval.required", 3),
            ("ONBOARD_BOT_APPROVAL__EXPIRES_AFTER", "2d", "approval.expires_after", 172_800),
            ("ONBOARD_BOT_APPROVAL__SELF_APPROVAL", "true", "approval.self_approval", True),
            ("ONBOARD_BOT_WEB__FORM__PER_ADDRESS", "5/1h", "web.form.per_address", Rate(5, 3600)),
            ("ONBOARD_BOT_ACCOUNTS__RESERVED", '["boss*"]', "accounts.reserved", ("boss*",)),
            ("ONBOARD_BOT_RETENTION__AUDIT", "forever", "retention.audit", None),
            ("ONBOARD_BOT_BOT__USERNAME", "", "bot.username", "onboard"),
        ],
    )
    def test_every_kind_of_value_fits_into_the_environment(
        self, load: Load, name: str, written: str, key: str, value: object
    ) -> None:
        assert value_at(load(None, **{name: written}), key) == value

    @pytest.mark.parametrize("written", ["@ada:example.org", '"@ada:example.org"', "{}", "[", "null", "[" * 100_000])
    def test_a_list_that_is_not_json_shows_the_form(self, fail: Fail, written: str) -> None:
        problems = fail(None, ONBOARD_BOT_ADMIN_ROOM__ADMINS=written)
        assert problems == {
            "admin_room.admins": 'ONBOARD_BOT_ADMIN_ROOM__ADMINS must be JSON: ["first", "second"].',
        }

    def test_an_unknown_name_is_an_error_with_the_nearest_one(self, fail: Fail) -> None:
        problems = fail(None, ONBOARD_BOT_HOMESERVER_URL="http://x", onboard_bot_web__listen="[::]:80", OTHER="1")
        assert problems.keys() == {"ONBOARD_BOT_HOMESERVER_URL", "onboard_bot_web__listen"}
        assert "ONBOARD_BOT_HOMESERVER__URL" in problems["ONBOARD_BOT_HOMESERVER_URL"]
        assert "ONBOARD_BOT_WEB__LISTEN" in problems["onboard_bot_web__listen"]

    def test_a_problem_says_when_the_value_is_not_from_the_file(self, fail: Fail) -> None:
        assert (
            "(set by ONBOARD_BOT_APPROVAL__REQUIRED)"
            in fail(None, ONBOARD_BOT_APPROVAL__REQUIRED="many")["approval.required"]
        )

    def test_the_state_lies_where_systemd_says_unless_somebody_chose(self, load: Load) -> None:
        assert load(None, STATE_DIRECTORY="/var/lib/a:/var/lib/b").bot.state_dir == Path("/var/lib/a")
        assert load({"bot": {"state_dir": "mine"}}, STATE_DIRECTORY="/var/lib/a").bot.state_dir == Path("mine")
        assert load({"bot": {"state_dir": None}}).bot.state_dir == Path("state")
        assert load("bot:\n" + THREE_LINES, STATE_DIRECTORY="/a").bot.state_dir == Path("/a")

    def test_systemd_is_not_blamed_for_a_state_directory_that_somebody_chose(self, fail: Fail) -> None:
        said = "must be the path of a file or folder."
        assert fail({"bot": {"state_dir": " "}}, STATE_DIRECTORY="/a") == {"bot.state_dir": said}
        assert fail(None, STATE_DIRECTORY=" ") == {"bot.state_dir": f"{said} (set by STATE_DIRECTORY)"}

    def test_nonsense_in_the_place_of_a_section_is_told_also_where_the_environment_says_more(self, fail: Fail) -> None:
        said = "must be a mapping, with keys of its own."
        assert fail({"homeserver": 5}, ONBOARD_BOT_HOMESERVER__URL="http://x") == {"homeserver": said}
        assert fail({"web": {"form": []}}, ONBOARD_BOT_WEB__FORM__OPEN_REQUESTS="0") == {"web.form": said}

    def test_a_mapping_is_one_value_and_the_strongest_source_s_takes_the_place_of_the_others(self, fail: Fail) -> None:
        file = nested("onboarding.room_sets", {"no name": ["no room"]})
        problems = fail(file, ONBOARD_BOT_ONBOARDING__ROOM_SETS='{"staff": ["!abc"]}')
        assert problems["onboarding.room_sets"].startswith("not available yet")

    def test_no_other_names_are_read_and_none_from_the_process(
        self, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("BOT", "bot"):
            monkeypatch.setenv(name, '{"username": "other"}')
        monkeypatch.setenv("ONBOARD_BOT_BOT__USERNAME", "other")
        assert load(None, BOT='{"username": "other"}').bot.username == "onboard"

    @pytest.mark.parametrize("key", all_keys(), ids=lambda key: key.dotted)
    def test_bytes_that_are_no_text_are_a_problem_or_nothing(self, load: Load, key: Any) -> None:
        broken = "\udcff"  # what Python makes of the byte FF in the environment
        told = ""
        try:
            load(None, **{key.env: f'["#{broken}"]' if key.is_structured else broken})
        except ConfigError as error:
            told = str(error)
        assert told == "" or told.encode().startswith(f"FAIL {key.dotted}: ".encode())
        assert len(told.splitlines()) <= 1

    def test_what_is_written_can_be_seen_although_it_cannot_be_used(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text(THREE_LINES + "bot: {username: '@a:b'}\n")
        written = sources.gather(None, {"ONBOARD_BOT_APPROVAL__REQUIRED": "many"}).values
        assert written["homeserver"]["shared_secret_file"] == "/run/secrets/s"
        assert written["approval"] == {"required": "many"}


class TestFiles:
    def test_the_first_that_is_named_or_there_is_read(self, tmp_path: Path) -> None:
        def prefix(path: Path | None, **environ: str) -> str:
            return load_config(path, environ).bot.command_prefix

        for name, mark in (("etc.yaml", "$"), ("config.yaml", "%"), ("env.yaml", "&"), ("given.yaml", "~")):
            (tmp_path / name).write_text(f'{THREE_LINES}bot: {{command_prefix: "{mark}"}}\n')
        assert prefix(tmp_path / "given.yaml", ONBOARD_BOT_CONFIG="env.yaml") == "~"
        assert prefix(None, ONBOARD_BOT_CONFIG="env.yaml") == "&"
        assert prefix(None, ONBOARD_BOT_CONFIG="") == "%"
        (tmp_path / "config.yaml").unlink()
        assert prefix(None) == "$"

    def test_a_named_file_that_is_missing_is_the_only_problem(self) -> None:
        for path, environ in ((Path("no.yaml"), {}), (None, {"ONBOARD_BOT_CONFIG": "no.yaml"})):
            with pytest.raises(ConfigError) as caught:
                load_config(path, environ)
            assert str(caught.value) == "FAIL config: there is no file no.yaml."

    def test_a_folder_in_place_of_the_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"FAIL config: .*cannot be read: Is a directory"):
            load_config(tmp_path, {})

    def test_with_no_file_and_nothing_else_all_that_is_needed_is_named(self) -> None:
        with pytest.raises(ConfigError) as caught:
            load_config(None, {})
        keys = [problem.key for problem in caught.value.problems]
        assert keys == ["config", "homeserver.url", "homeserver.shared_secret_file", "admin_room.admins"]
        assert "config.yaml" in caught.value.problems[0].text

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("homeserver:\n  url: [\n", 3),
            (b"homeserver:\n  url: \xff\n", 2),
            ("- a\n", 1),
            ("just text", 1),
            ("bot:\n  username: a\x00b\n", 2),
            ("bot:\n\tusername: a\n", 2),
            ("admin_room:\n  admins: [@ada:example.org]\n", 2),
            ("admin_room:\n  room: !abc:example.org\n", 2),
            ("bot:\n  display_name: *x\n", 2),
            ("a: 1\n--- \nb: 2\n", 2),
        ],
    )
    def test_a_broken_file_is_one_problem_with_its_line(self, fail: Fail, text: str | bytes, line: int) -> None:
        problems = fail(text)
        assert problems.keys() == {"config"}
        assert f"given.yaml, line {line}: " in problems["config"]

    @pytest.mark.parametrize("text", ["admins: [@ada:example.org]", "room: !abc:example.org", "display_name: *x"])
    def test_a_value_that_lacks_its_quotes_is_told_so(self, fail: Fail, text: str) -> None:
        assert "put quotes around" in fail(text)["config"]

    def test_the_environment_is_judged_also_beside_a_broken_file(self, fail: Fail) -> None:
        problems = fail("a: [", ONBOARD_BOT_HOMESERVER__URL="x", ONBOARD_BOT_BOTT="1")
        assert problems.keys() == {"config", "homeserver.url", "ONBOARD_BOT_BOTT"}

    def test_a_key_that_stands_there_twice_is_an_error(self, fail: Fail) -> None:
        problems = fail(THREE_LINES + "bot:\n  username: a\n  username: b\n")
        assert "line 5: username stands there already in line 4" in problems["config"]

    @pytest.mark.parametrize(
        "text", ["admin_room:\n  room: #staff:example.org\n", "onboarding:\n  rooms:\n    - #staff:x\n"]
    )
    def test_an_alias_that_yaml_takes_for_a_comment_is_an_error(self, fail: Fail, text: str) -> None:
        problems = fail(text)
        assert f"line {text.count(chr(10))}: what begins with # is a comment" in problems["config"]

    def test_real_comments_are_comments(self, load: Load) -> None:
        config = load("# top\nbot:  # the bot\n  #username: x\nweb: #\napproval: ## nothing\n" + THREE_LINES + "ops:")
        assert config.bot.username == "onboard"

    def test_a_byte_order_mark_does_no_harm(self, load: Load) -> None:
        assert load(b"\xef\xbb\xbf" + THREE_LINES.encode()).homeserver.url == "http://127.0.0.1:8008"

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
    @given(raw=st.binary(max_size=60) | st.text("abc: -[]{}!@#&*%?|>'\"\n\t0123.e~<=", max_size=60).map(str.encode))
    def test_any_bytes_give_a_configuration_or_its_problems(self, load: Load, raw: bytes) -> None:
        with pytest.raises(ConfigError):
            load(raw)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
    @given(
        key=st.sampled_from(all_keys()),
        value=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
            max_leaves=5,
        ),
    )
    def test_any_value_at_any_key_is_taken_or_refused_under_that_key(self, load: Load, key: Any, value: object) -> None:
        tree = yaml.safe_load(THREE_LINES)
        at = tree
        for step in key.path[:-1]:
            at = at.setdefault(step, {})
        at[key.path[-1]] = value
        for problem in problems_of(load, json.dumps(tree, default=str)):
            assert problem.key in {key.dotted, "admin_room.admins", "config"}
            assert "\n" not in str(problem)
            assert "Input should" not in problem.text, "pydantic's own words"


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("tree", "key", "nearest"),
        [
            ({"hommeserver": {"url": "x"}}, "hommeserver", "homeserver"),
            ({"bot": {"user_name": "x"}}, "bot.user_name", "bot.username"),
            ({"web": {"form": {"per_adress": "1/1d"}}}, "web.form.per_adress", "web.form.per_address"),
            ({"bot": {"shared_secret_file": "x"}}, "bot.shared_secret_file", "homeserver.shared_secret_file"),
            ({"public_url": "x"}, "public_url", "web.public_url"),
            ({"requests": {"from_": []}}, "requests.from_", "requests.from"),
            ({"approval": {True: 1}}, "approval.True", "approval."),
        ],
    )
    def test_they_are_named_with_the_nearest(self, fail: Fail, tree: Any, key: str, nearest: str) -> None:
        problems = fail(tree)
        assert problems.keys() == {key}
        assert nearest in problems[key]

    def test_they_are_named_in_list_items_too(self, fail: Fail) -> None:
        problems = fail({"approval": {"groups": [{"name": "a", "room": "#a:b.c", "need": 1}]}})
        assert problems["approval.groups"] == "item 1: there is no key “need” in it."


class TestValues:
    @pytest.mark.parametrize(
        ("key", "written", "value"),
        [
            ("homeserver.url", "https://matrix.example.org/", "https://matrix.example.org"),
            ("homeserver.url", "http://[::1]:8008", "http://[::1]:8008"),
            ("homeserver.url", "http://synapse_main:8008", "http://synapse_main:8008"),
            ("admin_room.room", "!abc", "!abc"),
            ("admin_room.room", "!abc:example.org", "!abc:example.org"),
            ("admin_room.room", "#staff:example.org:8448", "#staff:example.org:8448"),
            ("admin_room.admins", ["@ada:x.org", "@ada:x.org"], ("@ada:x.org",)),
            ("bot.command_prefix", "!ob", "!ob"),
            ("accounts.delivery", "room", "room"),
            ("accounts.delivery", "dm", "dm"),
            ("accounts.allow_admin", True, True),
            ("encryption.unsigned_devices", "allow", "allow"),
            ("approval.remind_after", 90, 90),
            ("announce.gather", "0s", 0),
            ("web.listen", "[::1]:9000", ListenAddress("::1", 9000)),
            ("ops.listen", "localhost:0", ListenAddress("localhost", 0)),
            ("web.branding.colour", "#0a7bff", "#0a7bff"),
        ],
    )
    def test_they_are_taken(self, load: Load, key: str, written: object, value: object) -> None:
        assert value_at(load(nested(key, written)), key) == value

    @pytest.mark.parametrize(
        ("key", "written", "says"),
        [
            ("homeserver.url", "matrix.example.org", "http:// or https://"),
            ("homeserver.url", "ftp://x", "http:// or https://"),
            ("homeserver.url", "http:x", "http:// or https://"),
            ("homeserver.url", "http://", "no proper host"),
            ("homeserver.url", "http://x:99999", "is no URL"),
            ("homeserver.url", "http://x/_synapse/admin", "cut off “/_synapse/admin”"),
            ("homeserver.url", "http://x/?a=b", "cut off everything from the ? on"),
            ("homeserver.url", "http://x#a", "cut off everything from the # on"),
            ("homeserver.url", "http://ada:pw@x.org", "cut off everything between // and @"),
            ("homeserver.url", "http://x y", "white space"),
            ("homeserver.url", 5, "must be text"),
            ("homeserver.url", None, "has no value"),
            ("homeserver.shared_secret_file", "", "path"),
            ("homeserver.shared_secret_file", 5, "path"),
            ("bot.username", "@onboard:example.org", "between @ and the colon"),
            ("bot.username", "Onboard", "write onboard"),
            ("bot.username", "_bot", "underscore"),
            ("bot.username", "12345", "only digits"),
            ("bot.username", "", "empty"),
            ("bot.display_name", "", "empty"),
            ("bot.command_prefix", "", "1 to 5"),
            ("bot.command_prefix", "!!!!!!", "1 to 5"),
            ("bot.command_prefix", "! ", "white space"),
            ("bot.command_prefix", "bot", "begin with a symbol"),
            ("bot.command_prefix", "/", "begin with a symbol"),
            ("admin_room.room", "staff", "no room"),
            ("admin_room.room", "#staff", "lacks its server; write #staff:example.org"),
            ("admin_room.room", "!a b:x.org", "no room"),
            ("admin_room.room", "!" + "a" * 300, "no room"),
            ("admin_room.admins", ["@ada:x.org", "ada"], "item 2: “ada” is no full user id"),
            ("admin_room.admins", "@ada:x.org", "must be a list"),
            ("admin_room.admins", [None], "item 1: has no value"),
            ("admin_room.admins", [], "names nobody"),
            ("approval.required", 0, "must be 1 or more"),
            ("approval.required", -1, "must be 1 or more"),
            ("approval.required", "many", "whole number"),
            ("approval.required", 1.5, "whole number"),
            ("approval.required", True, "whole number"),
            ("approval.self_approval", "maybe", "true or false"),
            ("approval.expires_after", "0s", "longer than 0s"),
            ("approval.expires_after", "soon", "5s, 10m"),
            ("approval.always", "sometimes", "true or false"),
            ("approval.groups", {"name": "a"}, "must be a list"),
            ("approval.groups", ["teachers"], "item 1: must be a mapping"),
            ("approval.groups", [{"name": "a"}], "item 1: must have either members or a room"),
            ("approval.groups", [{"name": "a", "members": [ADA], "room": "!a"}], "item 1: must have either members or"),
            ("approval.groups", [{"room": "!a"}], "item 1: “name”: is missing"),
            ("approval.groups", [{"name": " ", "room": "!a"}], "item 1: “name”: is empty"),
            ("approval.groups", [{"name": "a", "room": "a"}], "item 1: “room”: “a” is no room"),
            ("approval.groups", [{"name": "a", "members": ["ada"]}], "item 1: “members”: item 1: “ada” is no full"),
            ("approval.groups", [{"name": "a", "room": "!a", "required": 0}], "item 1: “required”: must be 1 or more"),
            (
                "approval.groups",
                [{"name": "a", "room": "!a"}, {"name": "b", "members": [ADA], "required": 2}],
                "item 2: required asks for 2 of its members, and members names 1; lower it, or name more.",
            ),
            (
                "approval.groups",
                [{"name": "a", "members": [ADA, ADA, "@Ada:Example.org"], "required": 2}],
                "item 1: required asks for 2 of its members, and members names 1",
            ),
            (
                "approval.groups",
                [{"name": "Teachers", "room": "!a"}, {"name": "teachers ", "members": [ADA]}],
                "two groups are called “teachers ”; give each a name of its own.",
            ),
            ("accounts.delivery", "mail", "“mail” is none of auto, claim, dm or room"),
            ("accounts.reserved", ["@admin:example.org"], "item 1: "),
            ("onboarding.room_sets", {"a b": []}, "--rooms="),
            ("onboarding.room_sets", {"a": ["b"]}, "“a”: item 1: “b” is no room"),
            ("onboarding.room_sets", [], "must be a mapping"),
            ("onboarding.by_requester", [{"room": "!a"}], "item 1: “room_set”: is missing"),
            ("requests.from", ["example..org/"], "none of: a server name"),
            ("requests.from", ["ex*.org"], "none of: a server name"),
            ("web.listen", 8090, "host:port"),
            ("web.listen", ":8090", "has no host"),
            ("web.listen", "127.0.0.1", "host:port"),
            ("web.listen", "127.0.0.1:65536", "host:port"),
            ("web.listen", "::1:8090", "[::1]:8090"),
            ("web.public_url", "http://example.org", "https://"),
            ("web.trusted_proxies", ["10.0.0.0/33"], "10.0.0.0/8"),
            ("web.form.per_address", "3", "3/1d"),
            ("web.form.open_requests", 0, "1 or more"),
            ("web.branding.colour", "red", "no colour"),
            ("web.branding.terms_url", "javascript:alert(1)", "http:// or https://"),
            ("web.form", 5, "must be a mapping"),
            ("ops", [1], "must be a mapping"),
            ("encryption.unsigned_devices", "trust", "“trust” is none of refuse or allow"),
        ],
    )
    def test_they_are_refused_under_their_key(self, fail: Fail, key: str, written: object, says: str) -> None:
        problems = fail(nested(key, written))
        assert says in problems.pop(key)
        assert problems == {}

    def test_groups_are_named_by_their_people_or_by_a_room(self, load: Load) -> None:
        teachers = {"name": "teachers", "members": [ADA, "@bob:example.org"], "required": 2}
        parents, board = {"name": "parents", "room": "#parents:example.org"}, {"name": "board", "room": "!abc"}
        groups = load({"approval": {"always": True, "groups": [teachers, parents, board]}}).approval.groups
        assert [(g.name, g.members, g.room, g.required) for g in groups] == [
            ("teachers", (ADA, "@bob:example.org"), None, 2),
            ("parents", (), "#parents:example.org", 1),
            ("board", (), "!abc", 1),
        ]
        written = json.dumps([parents])
        assert load(None, ONBOARD_BOT_APPROVAL__GROUPS=written).approval.groups[0].room == "#parents:example.org"

    def test_each_wrong_group_has_a_line(self, load: Load) -> None:
        nobody, nameless = {"name": "a"}, {"name": "", "room": "!a", "required": 0}
        with pytest.raises(ConfigError) as caught:
            load({"approval": {"groups": [nobody, nameless]}})
        assert str(caught.value).splitlines() == [
            "FAIL approval.groups: item 1: must have either members or a room, not both.",
            "FAIL approval.groups: item 2: “name”: is empty.",
            "FAIL approval.groups: item 2: “required”: must be 1 or more.",
        ]

    def test_a_given_room_needs_no_admins(self, load: Load) -> None:
        assert load({"admin_room": {"room": "!abc", "admins": []}}).admin_room.admins == ()

    def test_neither_a_room_nor_admins_is_an_error_also_without_the_section(self, fail: Fail) -> None:
        problems = fail(THREE_LINES.splitlines()[0])
        assert problems.keys() == {"admin_room.admins"}
        assert "admin_room.room" in problems["admin_room.admins"]

    def test_operations_never_share_the_public_listener(self, fail: Fail) -> None:
        problems = fail({"web": {"listen": "127.0.0.1:9000"}, "ops": {"listen": "127.0.0.1:9000"}})
        assert problems == {"ops.listen": "must not be the address of web.listen; choose another port."}

    def test_all_problems_come_at_once_each_on_its_line(self, load: Load) -> None:
        with pytest.raises(ConfigError) as caught:
            load(
                {
                    "homeserver": {"url": "x"},
                    "admin_room": {"admins": ["a", "b"]},
                    "approval": {"always": "always", "required": 0},
                    "wab": {},
                },
                ONBOARD_BOT_X="1",
            )
        lines = str(caught.value).splitlines()
        assert [line.split(":")[0] for line in lines] == [
            "FAIL ONBOARD_BOT_X",
            "FAIL homeserver.url",
            "FAIL admin_room.admins",
            "FAIL admin_room.admins",
            "FAIL approval.always",
            "FAIL approval.required",
            "FAIL wab",
        ]

    @pytest.mark.parametrize("key", ["homeserver.url", "web.public_url", "web.branding.terms_url", "database.url"])
    @pytest.mark.parametrize(
        "url",
        [
            "https://ada:hunter2@x.org",
            "https://ada:hunter2@x.org/path?q#f",
            "postgresql://ada:hunter2@x.org/db",
            "ada:hunter2@x.org",
            "https://x:hunter2",
            "https://x/?password=hunter2",
            "https://[hunter2",
        ],
    )
    def test_no_problem_repeats_a_secret(self, load: Load, key: str, url: str) -> None:
        try:
            config = load(nested(key, url), ONBOARD_BOT_APPROVAL__REQUIRED="0")
        except ConfigError as error:
            assert "hunter2" not in str(error)  # noqa: PT017 - whether it is refused depends on the key
        else:
            assert "hunter2" not in repr(config)


SAMPLES: dict[str, object] = {
    "accounts.delivery": "claim",
    "onboarding.rooms": ["#welcome:example.org"],
    "onboarding.room_sets": {"staff": ["!abc"]},
    "onboarding.by_requester": [{"room": "!abc", "room_set": "staff"}],
    "announce.rooms": ["!abc"],
    "welcome.template": "Hello",
    "welcome.follow_up": "And now?",
    "welcome.avatar": "a.png",
    "requests.from": ["*.example.org", "example.org", "@ada:example.org", "!abc", "#a:example.org"],
    "invites.members.per_person": 1,
    "invites.members.rooms": ["!abc"],
    "web.public_url": "https://join.example.org/",
    "web.request_form": True,
    "retention.requests": "2y",
    "retention.audit": "1y",
    "database.url": "postgresql://localhost/onboard",
}


class TestNotYet:
    @pytest.mark.parametrize("thing", NOT_YET, ids=lambda thing: thing.key)
    def test_what_is_not_built_is_said_under_its_key(self, fail: Fail, thing: Any) -> None:
        changes = nested(thing.key, SAMPLES[thing.key])
        if thing.key == "onboarding.by_requester":
            changes["onboarding"]["room_sets"] = SAMPLES["onboarding.room_sets"]
        problems = fail(changes)
        assert problems[thing.key].startswith("not available yet; ")
        assert thing.instead in problems[thing.key]

    def test_it_is_said_beside_other_problems_of_the_same_section(self, fail: Fail) -> None:
        problems = fail({"web": {"request_form": True, "listen": "x"}})
        assert problems.keys() == {"web.request_form", "web.listen"}

    def test_the_table_names_keys_that_there_are(self) -> None:
        assert {thing.key for thing in NOT_YET} <= {key.dotted for key in all_keys()}
