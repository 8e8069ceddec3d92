"""Owns the reading of the YAML file: what YAML itself lets pass in silence is found here, by line.

YAML takes the last of two equal keys, and takes an unquoted `#room:example.org` for a comment. Both would make a
configuration that says something else than its author thinks.
"""

from typing import Any

import yaml

# PyYAML leaks these for scalars whose tag or form promises a number or a date that they are not.
_LEAKED = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
_QUOTES = "put quotes around a value that begins with @, !, #, %, & or *"


class _UnreadableError(Exception):
    """Nothing can be had from the file; the text says in which line, and the mend."""


def read_yaml(raw: bytes) -> tuple[dict[str, Any] | None, list[str]]:
    """The top-level mapping of a file, None where it cannot be had, and what is wrong, each as `line 3: …`."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, [f"line {_line(raw, error.start)}: it is not UTF-8; save the file as UTF-8."]
    try:
        loader, tree = _parse(text)
    except _UnreadableError as error:
        return None, [str(error)]
    if tree is None:
        return {}, loader.mistakes
    if not isinstance(tree, dict):
        return None, ["line 1: it must be a mapping of sections (homeserver:, admin_room:, …)."]
    return tree, loader.mistakes


def _parse(text: str) -> tuple["_Loader", Any]:
    try:
        loader = _Loader(text)
        return loader, loader.get_single_data()
    except yaml.reader.ReaderError as error:
        line = _line(text.encode(), error.position)
        raise _UnreadableError(f"line {line}: a control character; take it out.") from None
    except yaml.MarkedYAMLError as error:
        raise _UnreadableError(_broken(error)) from None
    except _LEAKED:
        raise _UnreadableError(f"line 1: it is not YAML that this program understands; {_QUOTES}.") from None


def _line(raw: bytes, position: int) -> int:
    return raw.count(b"\n", 0, position) + 1


def _broken(error: yaml.MarkedYAMLError) -> str:
    """Where, and the likely mend. What PyYAML says of the reason may repeat a value, so only its kind is used."""
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1 if mark else 1}"
    problem = error.problem or ""
    if (
        isinstance(error, yaml.constructor.ConstructorError)
        or "cannot start any token" in problem
        or "alias" in problem
    ):
        if "\\t" in problem:
            return f"{where}: a tab; YAML wants spaces."
        return f"{where}: not readable as YAML; {_QUOTES}."
    return f"{where}: not readable as YAML; look at the indentation, the colons and the quotes there and just above."


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also notes what it would swallow."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.mistakes: list[str] = []
        self._lines = text.splitlines()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: dict[str, int] = {}
        for name, value in node.value:
            line = name.start_mark.line + 1
            if isinstance(name, yaml.ScalarNode) and name.tag != "tag:yaml.org,2002:merge":
                if name.value in seen:
                    self.mistakes.append(
                        f"line {line}: {name.value} stands there already in line {seen[name.value]}; keep one."
                    )
                seen[name.value] = line
            self._note_comment(value)
        return {str(name): value for name, value in super().construct_mapping(node, deep=deep).items()}

    def construct_sequence(self, node: yaml.SequenceNode, deep: bool = False) -> list[Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        for item in node.value:
            self._note_comment(item)
        return super().construct_sequence(node, deep=deep)

    def _note_comment(self, node: yaml.Node) -> None:
        """An empty value with `#word` behind it was meant as a room alias or a colour."""
        if not isinstance(node, yaml.ScalarNode) or node.value or node.style is not None:
            return
        rest = "".join(self._lines[node.start_mark.line : node.start_mark.line + 1])[node.start_mark.column :].strip()
        if rest.startswith("#") and rest[1:2].strip() and rest[1] != "#":
            line = node.start_mark.line + 1
            self.mistakes.append(f"line {line}: what begins with # is a comment in YAML; put quotes around a value.")
