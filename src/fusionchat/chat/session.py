"""A conversation in progress: its memory and the commands that change it."""

import re
from dataclasses import dataclass, field

from fusionchat.corpus.conversation import Message

HELP = """\
/reset           forget the conversation
/system TEXT     set the system prompt; without TEXT, remove it
/retry           answer the last question again
/help            this list
/quit            exit (so does Ctrl-D)
Ctrl-C stops an answer."""
COMMANDS = ("reset", "system", "retry", "help", "quit")


@dataclass
class Session:
    """The turns so far; questions and answers alternate.

    Attributes:
        system: The system prompt; "" for none.
        turns: User and assistant turns, a user turn first.
    """

    system: str = ""
    turns: list[Message] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        """The whole conversation as the model sees it."""
        return [*([Message("system", self.system)] if self.system else []), *self.turns]

    @property
    def exchanges(self) -> int:
        """The number of questions."""
        return sum(turn.role == "user" for turn in self.turns)

    def ask(self, text: str) -> None:
        """Add a question."""
        self.turns.append(Message("user", text))

    def answered(self, text: str) -> None:
        """Add the answer to the last question."""
        self.turns.append(Message("assistant", text))

    def take_back(self) -> None:
        """Remove the last question and everything after it."""
        while self.turns and self.turns.pop().role != "user":
            pass

    def reopen(self) -> bool:
        """Remove the answer to the last question; returns False if there is none."""
        if not self.turns or self.turns[-1].role != "assistant":
            return False
        self.turns.pop()
        return True

    def forget_oldest(self) -> None:
        """Remove the first question and its answer."""
        del self.turns[:2]

    def reset(self) -> None:
        """Forget all turns; the system prompt stays."""
        self.turns.clear()


def command(line: str) -> tuple[str, str] | None:
    """The command in a line and its argument; None if the line is a question.

    Anything of the form ``/letters`` counts as a command, even an unknown one; ``/etc/hosts`` does not.
    """
    found = re.fullmatch(r"/([A-Za-z]+)(?:\s+(.*))?", line.strip(), flags=re.DOTALL)
    return None if found is None else (found.group(1).lower(), (found.group(2) or "").strip())
