"""The shared secret's file: both its forms, changed while the bot runs, wrong and then mended."""

from pathlib import Path

import pytest

from onboard_bot.demo.synapse import RunningSynapse, SynapseSettings, running_synapse
from tests.e2e.bot_process import Launch, running_bot
from tests.e2e.desk import open_desk
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView

PLAIN, IN_YAML = "{}\n", "# of the NixOS manual\nregistration_shared_secret: {!r}\nmacaroon_secret_key: other\n"


def secret_of(synapse: RunningSynapse) -> str:
    assert synapse.settings.shared_secret is not None
    return synapse.settings.shared_secret


@pytest.mark.parametrize("form", [PLAIN, IN_YAML], ids=["plain", "yaml"])
async def test_both_forms_work_and_a_change_is_picked_up_while_the_bot_runs(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, form: str
) -> None:
    file = tmp_path / "secret"
    file.write_text(form.format(secret_of(synapse)))
    homeserver = {"shared_secret_file": str(file)}
    async with open_desk(tmp_path, synapse, view, launch=quickly, homeserver=homeserver) as desk:
        assert (await desk.ask(f"!register {unique('ada')}")).about["state"] == "created"

        file.write_text(form.format("not the secret"))
        name = unique("grace")
        answer = await desk.ask(f"!register {name}")
        assert (answer.about["error"], answer.about["state"]) == ("secret_rejected", "failed")
        assert "restarted" in answer.body
        assert "not the secret" not in answer.body
        assert await view.account(view.user_id(name)) is None

        file.unlink()
        assert (await desk.ask(f"!register {name}")).about["error"] == "secret_unreadable"

        # Mended, in the other form.
        other = IN_YAML if form == PLAIN else PLAIN
        file.write_text(other.format(secret_of(synapse)))
        assert (await desk.ask(f"!register {name}")).about["state"] == "created"
        assert "not the secret" not in desk.bot.log()


async def test_a_rotation_works_as_soon_as_the_server_was_restarted(tmp_path: Path, quickly: Launch) -> None:
    settings = SynapseSettings(rate_limits=False, bcrypt_rounds=4)
    async with running_synapse(tmp_path / "synapse", settings) as own:
        view = await ServerView.of(own)
        async with open_desk(tmp_path, own, view, launch=quickly) as desk:
            own.secret_file.write_text("the next secret\n")
            name = unique("ada")
            answer = await desk.ask(f"!register {name}")
            assert answer.about["error"] == "secret_rejected"
            assert "restarted" in answer.body
            await own.restart()
            answer = await desk.ask(f"!register {name}", within=40)
            assert answer.about["state"] == "created"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"registration_shared_secret: 12345\n", "a number"),
        (b"registration_shared_secret:\n", "nothing behind it"),
    ],
    ids=["missing", "empty", "white", "not UTF-8", "number", "no value"],
)
async def test_a_file_that_cannot_be_used_ends_the_start_with_2(
    synapse: RunningSynapse, tmp_path: Path, quickly: Launch, content: bytes | None, why: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    async with running_bot(
        tmp_path / "bot",
        synapse,
        launch=quickly,
        homeserver={"shared_secret_file": str(file)},
        admin_room={"admins": ["@nobody:localhost"]},
    ) as bot:
        assert (await bot.ended()).status == 2
        assert bot.log().startswith("FAIL homeserver.shared_secret_file: ")
        assert why in bot.log()
        assert str(file) in bot.log()


async def test_a_secret_that_the_server_refuses_ends_the_first_start_with_1(
    synapse: RunningSynapse, tmp_path: Path, quickly: Launch
) -> None:
    file = tmp_path / "secret"
    file.write_text("not the secret")
    async with running_bot(
        tmp_path / "bot",
        synapse,
        launch=quickly,
        homeserver={"shared_secret_file": str(file)},
        bot={"username": unique("onboard")},
        admin_room={"admins": ["@nobody:localhost"]},
    ) as bot:
        assert (await bot.ended()).status == 1
        assert "FAIL secret_rejected: " in bot.log()
        assert "restarted" in bot.log()
        assert "not the secret" not in bot.log()
        file.write_text(secret_of(synapse))  # and mended
        await bot.start()
        await bot.wait_ready()


async def test_a_file_that_everybody_may_read_is_a_warning(
    synapse: RunningSynapse, tmp_path: Path, quickly: Launch
) -> None:
    file = tmp_path / "secret"
    file.write_text(secret_of(synapse))
    file.chmod(0o644)
    async with running_bot(
        tmp_path / "bot",
        synapse,
        launch=quickly,
        homeserver={"shared_secret_file": str(file)},
        bot={"username": unique("onboard")},
        admin_room={"admins": ["@nobody:localhost"]},
    ) as bot:
        await bot.wait_ready()
        (line,) = [line for line in bot.log().splitlines() if "warning" in line]
        assert "chmod o-r" in line
