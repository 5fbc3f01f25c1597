import io
import sys
from pathlib import Path

import pytest

from fusionchat.chat import terminal
from fusionchat.chat.answer import Answer, Answerer
from fusionchat.chat.terminal import Chat, chat
from fusionchat.errors import ModelError
from tests.chat.tiny import NO_SYSTEM, make_folder


class Echo:
    """Stands for a model: answers with how many messages it saw and the last of them."""

    window = 40

    def __init__(self, limit: int = 1000) -> None:
        self.limit, self.seen, self.renderer = limit, [], self
        self.interrupt = self.refuse = False

    def prompt_ids(self, messages):
        if self.refuse:
            raise ModelError("The chat template refuses this conversation: no")
        return [0] * sum(len(m.content) for m in messages)

    def fits(self, messages, max_new_tokens):
        return len(self.prompt_ids(messages)) <= self.limit

    def answer(self, messages, tell, *, max_new_tokens, temperature):
        if self.interrupt:
            raise KeyboardInterrupt
        self.seen.append([(m.role, m.content) for m in messages])
        text = f"{len(messages)}:{messages[-1].content}"
        tell(text)
        return Answer(text, stopped=messages[-1].content == "stop")


def talk(monkeypatch: pytest.MonkeyPatch, capsys, lines: str, model: Echo | None = None) -> tuple[str, Echo]:
    model = model or Echo()
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    Chat(model, max_new_tokens=10, temperature=0).loop()
    return capsys.readouterr().out, model


def test_it_remembers_the_turns(monkeypatch, capsys):
    out, model = talk(monkeypatch, capsys, "hi\nand you?\n")
    assert out == "you> hi\nbot> 1:hi\nyou> and you?\nbot> 3:and you?\n\n"
    assert model.seen[1] == [("user", "hi"), ("assistant", "1:hi"), ("user", "and you?")]


def test_reset_forgets_and_empty_lines_do_nothing(monkeypatch, capsys):
    out, model = talk(monkeypatch, capsys, "hi\n\n   \n/reset\nagain\n")
    assert model.seen == [[("user", "hi")], [("user", "again")]]
    assert "conversation was cleared" in out


def test_quit_leaves_before_the_rest(monkeypatch, capsys):
    _, model = talk(monkeypatch, capsys, "/quit\nhi\n")
    assert model.seen == []


def test_the_system_prompt_comes_and_goes(monkeypatch, capsys):
    out, model = talk(monkeypatch, capsys, "/system be brief\nhi\n/system\nho\n")
    assert model.seen[0][0] == ("system", "be brief")
    assert model.seen[1][0] == ("user", "hi")
    assert "System prompt set." in out and "No system prompt." in out


def test_a_template_without_system_prompts_says_so(monkeypatch, capsys):
    model = Echo()
    model.refuse = True
    monkeypatch.setattr(sys, "stdin", io.StringIO("/system x\n"))
    talking = Chat(model, max_new_tokens=9, temperature=0)
    talking.loop()
    assert "does not support a system prompt" in capsys.readouterr().out
    assert talking.session.system == ""


def test_retry_asks_the_same_again(monkeypatch, capsys):
    out, model = talk(monkeypatch, capsys, "/retry\nhi\n/retry\nho\n")
    assert "no answer to retry" in out and "Temperature 0 gives the same" in out
    assert model.seen[0] == model.seen[1] == [("user", "hi")]
    assert len(model.seen[2]) == 3


def test_help_and_unknown_commands(monkeypatch, capsys):
    out, model = talk(monkeypatch, capsys, "/help\n/hlep\n/etc/hosts\n")
    assert "/retry" in out and "no command /hlep" in out
    assert model.seen == [[("user", "/etc/hosts")]]


def test_a_stopped_answer_stays_in_memory(monkeypatch, capsys):
    out, model = talk(monkeypatch, capsys, "stop\nhi\n")
    assert "bot> 1:stop\n(stopped)\n" in out
    assert model.seen[1][1] == ("assistant", "1:stop")


def test_ctrl_c_before_the_first_word_takes_the_question_back(monkeypatch, capsys):
    model = Echo()
    model.interrupt = True
    talking = Chat(model, max_new_tokens=9, temperature=0)
    assert talking.handle("hi")
    assert talking.session.turns == []


def test_ctrl_c_at_the_prompt_does_not_leave(monkeypatch, capsys):
    answers = iter([KeyboardInterrupt(), "hi", EOFError()])

    def ask(_: str) -> str:
        answer = next(answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(terminal.console, "ask", ask)
    model = Echo()
    Chat(model, max_new_tokens=9, temperature=0).loop()
    assert model.seen == [[("user", "hi")]]
    assert "Ctrl-D or /quit exits." in capsys.readouterr().out


def test_a_full_context_forgets_the_oldest_exchange(monkeypatch, capsys):
    out, model = talk(monkeypatch, capsys, "aaaaaa\nbbbbbb\ncccccc\n", Echo(limit=24))
    assert "the oldest exchange forgotten" in out
    assert model.seen[2] == [("user", "bbbbbb"), ("assistant", "3:bbbbbb"), ("user", "cccccc")]


def test_a_question_that_is_too_long_is_taken_back(monkeypatch, capsys):
    out, model = talk(monkeypatch, capsys, "x" * 30 + "\nhi\n", Echo(limit=20))
    assert "too long: the model's context has 40 tokens" in out
    assert model.seen == [[("user", "hi")]]


def test_a_refused_conversation_is_an_error_message_not_the_end(monkeypatch, capsys):
    model = Echo()
    model.refuse = True
    monkeypatch.setattr(sys, "stdin", io.StringIO("hi\n/quit\n"))
    talking = Chat(model, max_new_tokens=9, temperature=0)
    talking.loop()
    assert "refuses this conversation" in capsys.readouterr().err
    assert talking.session.turns == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"), template=NO_SYSTEM)


def test_the_whole_chat_with_piped_input(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n/system x\n/retry\nand you?\n"))
    chat(folder, device="cpu", max_new_tokens=6, temperature=0, seed=1)
    out = capsys.readouterr().out
    assert "parameters, context of 256 tokens, on cpu" in out
    assert out.count("bot> ") == 3
    assert "does not support a system prompt" in out
    lines = out.splitlines()
    first, again = (lines[i + 1] for i, line in enumerate(lines) if line in ("you> hello", "you> /retry"))
    assert first.startswith("bot> ") and "Temperature 0" in again


def test_a_missing_model_is_the_user_s_mistake(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        chat(tmp_path / "nothing")


def test_answers_see_what_was_said(folder):
    answerer = Answerer.load(folder, "cpu")
    talking = Chat(answerer, max_new_tokens=4, temperature=0)
    talking.handle("hello")
    talking.handle("the cat")
    roles = [turn.role for turn in talking.session.turns]
    assert roles == ["user", "assistant", "user", "assistant"]
