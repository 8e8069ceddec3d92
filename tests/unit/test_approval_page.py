"""The page about approval says what the bot says and takes: its card, its commands, its keys, its links."""

import re
from pathlib import Path

import pytest
import yaml

from onboard_bot.chat.cards import CardView, card
from onboard_bot.chat.commands import COMMANDS, to_command
from onboard_bot.chat.grammar import parse
from onboard_bot.chat.messages import render
from onboard_bot.config.keys import all_keys
from onboard_bot.config.model import Approval
from onboard_bot.domain.approvals import ApprovalRules, Choice, Vote, tally
from onboard_bot.domain.requests import Origin, Request, State, Wish

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "approval.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
SPANS = sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))))
NOW = 1_767_612_600.0


def test_the_card_is_what_the_bot_would_say() -> None:
    request = Request(
        id="2k4fa",
        state=State.PENDING,
        wish=Wish("ada", "Ada Lovelace", note="joins the engine group"),
        origin=Origin.ADMIN_ROOM,
        requester="@grace:example.org",
        origin_room="!room:example.org",
        origin_event="$asked",
        thread_root=None,
        created_at=NOW,
        expires_at=NOW + 7 * 86_400,
    )
    vote = Vote("@barbara:example.org", Choice.APPROVE, typed=True, event_id="$vote", at=NOW, note="I know her")
    counted = tally(request, [vote], ApprovalRules(required=2))
    shown = render(card(CardView(request, "@ada:example.org", counted, NOW, "!", deciders=3), mentions=()))

    assert ("text", f"{shown['body']}\n") in BLOCKS


@pytest.mark.parametrize("example", [text for kind, text in BLOCKS if kind == "yaml"])
def test_each_example_of_rules_can_be_configured(example: str) -> None:
    Approval.model_validate(yaml.safe_load(example)["approval"])


@pytest.mark.parametrize("typed", [span for span in SPANS if span.startswith("!")])
def test_each_command_is_understood_as_it_stands_there(typed: str) -> None:
    name, _, arguments = typed.removeprefix("!").partition(" ")
    if arguments:
        to_command(parse(typed.removeprefix("!"), COMMANDS))
    else:
        assert name in {spec.name for spec in COMMANDS}


@pytest.mark.parametrize("span", [span for span in SPANS if re.fullmatch(r"[a-z]+([._][a-z_]+)*(: .*)?", span)])
def test_each_key_can_be_set(span: str) -> None:
    key = span.partition(":")[0]
    assert {key, f"approval.{key}"} & {known.dotted for known in all_keys()}


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", PAGE))
def test_each_link_leads_somewhere(link: str) -> None:
    name, _, heading = link.partition("#")
    text = (DOCS / name).read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)

    assert not heading or heading in {title.lower().replace(" ", "-") for title in titles}
