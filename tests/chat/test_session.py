import pytest

from fusionchat.chat.session import COMMANDS, HELP, Session, command
from fusionchat.corpus.conversation import Message


def talk(*texts: str) -> Session:
    session = Session()
    for i, text in enumerate(texts):
        (session.answered if i % 2 else session.ask)(text)
    return session


def test_messages_are_system_first_then_the_turns():
    session = talk("a", "b", "c")
    session.system = "be brief"
    assert [(m.role, m.content) for m in session.messages] == [
        ("system", "be brief"), ("user", "a"), ("assistant", "b"), ("user", "c"),
    ]  # fmt: skip
    assert session.exchanges == 2


def test_reset_keeps_the_system_prompt():
    session = talk("a", "b")
    session.system = "s"
    session.reset()
    assert session.messages == [Message("system", "s")]


def test_take_back_removes_the_last_question_and_its_answer():
    for session in (talk("a", "b", "c"), talk("a", "b", "c", "d")):
        session.take_back()
        assert session == talk("a", "b")
    empty = Session()
    empty.take_back()
    assert empty.turns == []


def test_reopen_takes_only_an_answer():
    session = talk("a", "b")
    assert session.reopen() and session == talk("a")
    assert not session.reopen() and not Session().reopen()


def test_forgetting_starts_at_the_beginning():
    session = talk("a", "b", "c")
    session.forget_oldest()
    assert session == talk("c")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("/reset", ("reset", "")),
        ("  /SYSTEM  be kind \n", ("system", "be kind")),
        ("/system a\nb", ("system", "a\nb")),
        ("/nonsense", ("nonsense", "")),
        ("/etc/hosts", None),
        ("/ what", None),
        ("1/2", None),
        ("", None),
    ],
)
def test_commands_are_told_from_questions(line, found):
    assert command(line) == found


def test_the_help_names_every_command():
    assert all(f"/{name}" in HELP for name in COMMANDS)
