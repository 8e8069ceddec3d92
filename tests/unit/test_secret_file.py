"""The file with the shared secret: its two forms, and every way in which it can be unusable."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.homeserver.secret import SecretFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared_secret"


def secret_in(path: Path) -> str:
    return SecretFile(path).read().get_secret_value()


def secret_or_error(path: Path) -> str:
    try:
        return secret_in(path).strip()
    except OnboardError as error:
        return error.sentence


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        ("s3cret", "s3cret"),
        ("  s3cret\r\n\n", "s3cret"),
        ("ünïcödé\n", "ünïcödé"),
        ("12345", "12345"),
        ("[a, b]", "[a, b]"),
        ("key: value", "key: value"),
        ("'quoted'", "'quoted'"),
        ("{broken: yaml", "{broken: yaml"),
        ("my registration_shared_secret: is this", "my registration_shared_secret: is this"),
        ("registration_shared_secret: s3cret", "s3cret"),
        ("registration_shared_secret: s3cret\r\n", "s3cret"),
        ('registration_shared_secret: "12345"\n', "12345"),
        ("registration_shared_secret: '  s3cret '\n", "s3cret"),
        ('"registration_shared_secret" : s3cret\n', "s3cret"),
        ("\ufeffregistration_shared_secret: s3cret\n", "s3cret"),
        ("# of the manual\nother: 5\nregistration_shared_secret: s3cret # here\n", "s3cret"),
        ("registration_shared_secret: |\n  s3cret\n", "s3cret"),
    ],
)
def test_both_forms_are_found_out_by_looking(path: Path, content: str, secret: str) -> None:
    path.write_bytes(content.encode())
    assert secret_in(path) == secret


UNUSABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "white space": (b" \n\t\n", "is empty"),
    "not UTF-8": (b"hunter2 \xff\xfe", "is not UTF-8 text"),
    "YAML not UTF-8": (b"registration_shared_secret: hunter2 \xff", "is not UTF-8 text"),
    "broken YAML": (b"a: 1\nregistration_shared_secret: 'hunter2\n", "is not valid YAML (line "),
    "broken before": (b"a: [hunter2\nregistration_shared_secret: x\n", "is not valid YAML (line "),
    "control character": (b"registration_shared_secret: hunter2\x01\n", "is not valid YAML"),
    "no space": (b"registration_shared_secret:hunter2\n", "with a space behind the colon"),
    "nothing behind it": (b"registration_shared_secret:\n", "nothing behind it"),
    "null": (b"registration_shared_secret: ~\n", "nothing behind it"),
    "empty text": (b"registration_shared_secret: ''\n", "nothing behind it"),
    "white text": (b"registration_shared_secret: ' '\n", "only white space behind it"),
    "number": (b"registration_shared_secret: 12345\n", "has a number behind"),
    "fraction": (b"registration_shared_secret: 1.5\n", "has a number behind"),
    "truth value": (b"registration_shared_secret: yes\n", "has a truth value behind"),
    "list": (b"registration_shared_secret: [hunter2]\n", "has a list behind"),
    "mapping": (b"registration_shared_secret:\n  hunter2: 1\n", "has a mapping behind"),
    "date": (b"registration_shared_secret: 2026-11-23\n", "has no text behind"),
    "impossible date": (b"registration_shared_secret: 2026-99-99\n", "is not valid YAML"),
    "tag": (b"registration_shared_secret: !!python/object:os.system hunter2\n", "is not valid YAML"),
    "deep": (b"registration_shared_secret: " + b"[" * 100_000, "is not valid YAML"),
    "huge": (b"hunter2" * 200_000, "far too large"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_file_is_named_with_what_is_wrong_and_nothing_of_its_content(path: Path, case: str) -> None:
    content, why = UNUSABLE[case]
    path.write_bytes(content)
    with pytest.raises(OnboardError) as unusable:
        SecretFile(path).read()
    assert unusable.value.code == ErrorCode.SECRET_UNREADABLE
    assert f"The shared secret's file {path} " in unusable.value.sentence
    assert why in unusable.value.sentence
    cause: BaseException | None = unusable.value
    while cause is not None:
        assert "hunter2" not in str(cause)
        cause = cause.__cause__ or cause.__context__


def test_a_number_without_quotes_is_told_to_get_them(path: Path) -> None:
    path.write_text("registration_shared_secret: 0777\n")
    with pytest.raises(OnboardError, match="put the secret into quotes"):
        SecretFile(path).read()


def test_what_is_no_file_is_told_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name, why in {
        "missing": "does not exist",
        "dangling": "does not exist",
        "file/below": "does not exist",
        ".": "is a directory",
        "pipe": "is not a regular file",
    }.items():
        with pytest.raises(OnboardError, match=why):
            SecretFile(tmp_path / name).read()


def test_a_file_that_we_may_not_read_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("s3cret")

    def refuse(*_: object) -> int:  # who runs the tests as root may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("onboard_bot.homeserver.secret.os.open", refuse)
    with pytest.raises(OnboardError, match="may not be read by this user"):
        SecretFile(path).read()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o670])
def test_owner_and_group_may_read_it(path: Path, mode: int) -> None:
    path.write_text("s3cret")
    path.chmod(mode)
    assert not SecretFile(path).is_readable_by_others()


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o777])
def test_everybody_may_not(path: Path, mode: int) -> None:
    path.write_text("s3cret")
    path.chmod(mode)
    assert SecretFile(path).is_readable_by_others()


def test_a_changed_file_is_noticed_at_the_next_use(path: Path) -> None:
    path.write_text("first")
    file = SecretFile(path)
    assert file.read().get_secret_value() == "first"
    path.write_text("second")
    assert file.read().get_secret_value() == "second"
    other = path.with_suffix(".new")
    other.write_text("third!")
    other.rename(path)
    assert file.read().get_secret_value() == "third!"
    path.unlink()
    with pytest.raises(OnboardError, match="does not exist"):
        file.read()


def test_an_unchanged_file_is_not_opened_again_unless_forced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("first!")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    file = SecretFile(path)
    file.read()
    path.write_text("second")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    with monkeypatch.context() as patch:
        patch.setattr("onboard_bot.homeserver.secret.os.open", None)
        assert file.read().get_secret_value() == "first!"
    assert file.reread().get_secret_value() == "second"


def test_a_file_that_became_unusable_does_not_leave_the_old_secret_in_use(path: Path) -> None:
    path.write_text("first")
    file = SecretFile(path)
    file.read()
    path.write_text("")
    for _ in range(2):
        with pytest.raises(OnboardError, match="is empty"):
            file.read()


def test_the_secret_is_in_no_repr(path: Path) -> None:
    path.write_text("hunter2")
    file = SecretFile(path)
    assert "hunter2" not in f"{file!r} {file.read()!r} {file.read()}"


@given(content=st.binary(max_size=80))
def test_any_content_is_a_secret_or_an_error_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    assert secret_or_error(path)


@given(behind=st.text(max_size=60))
def test_whatever_stands_behind_the_key_is_a_secret_or_an_error_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, behind: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "yaml"
    path.write_bytes(f"registration_shared_secret:{behind}".encode(errors="ignore"))
    assert secret_or_error(path)
