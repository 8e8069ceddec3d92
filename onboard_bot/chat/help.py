"""Owns `!help`: generated from the command table, and only what the person who asks may do."""

from collections.abc import Sequence

from onboard_bot.chat.grammar import CommandSpec, find_command
from onboard_bot.chat.messages import About, Block, Bullets, Code, Inline, Kind, Message, Paragraph
from onboard_bot.domain.roles import Role


def help_message(specs: Sequence[CommandSpec], role: Role, command: str | None, *, prefix: str) -> Message:
    """The list of commands, or the long form of one.

    Args:
        specs: The command table.
        role: What the person may do; other commands do not exist for them.
        command: The one to explain, with or without prefix; None for the list.
        prefix: What stands before a command.

    Raises:
        OnboardError: `unknown_command`, naming the nearest that this role may use.
    """
    allowed = [spec for spec in specs if role >= spec.role]
    if command is None:
        return _list(allowed, prefix)
    return _explanation(find_command(command.removeprefix(prefix), allowed, prefix=prefix), prefix)


def _list(specs: Sequence[CommandSpec], prefix: str) -> Message:
    lines = tuple((Code(spec.usage(prefix)), f": {spec.summary}") for spec in specs)
    hint = ("More about one of them: ", Code(f"{prefix}help <command>"), ". You can also mention me instead of typing ")
    blocks = (
        Paragraph(("What you can do here:",)),
        Bullets(lines),
        Paragraph((*hint, Code(prefix), ".")),
    )
    return Message(blocks, About(Kind.HELP))


def _explanation(spec: CommandSpec, prefix: str) -> Message:
    arguments: list[tuple[Inline, ...]] = [(Code(param.shown), f": {param.doc}") for param in spec.params]
    arguments += [(Code(option.shown), f": {option.doc}") for option in spec.options]
    blocks: list[Block] = [Paragraph((Code(spec.usage(prefix)),)), Paragraph((spec.summary,))]
    if arguments:
        blocks.append(Bullets(tuple(arguments)))
    if spec.example:
        blocks.append(Paragraph(("Example: ", Code(prefix + spec.example))))
    return Message(tuple(blocks), About(Kind.HELP))
