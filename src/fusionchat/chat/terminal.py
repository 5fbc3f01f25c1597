"""The terminal chat: a prompt, answers as they come, a few commands."""

from pathlib import Path

from fusionchat import console
from fusionchat.chat.answer import Answerer
from fusionchat.chat.session import COMMANDS, HELP, Session, command
from fusionchat.chat.wrap import Wrap
from fusionchat.corpus.conversation import Message
from fusionchat.errors import ModelError

PROMPT = "you> "
NAME = "bot> "


def chat(
    model: Path,
    *,
    device: str = "auto",
    max_new_tokens: int = 512,
    temperature: float = 0.7,
    seed: int | None = None,
) -> None:
    """Chat with a model until the user leaves.

    Args:
        model: A model folder, a run folder (for its fused model), a job's folder of a run, or a hub id.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        max_new_tokens: Where an answer is cut.
        temperature: Sampling temperature; 0 for the most likely token each time.
        seed: Makes the answers reproducible.

    Raises:
        ModelError: The model cannot be loaded, or has no chat template.
    """
    import torch

    answerer = Answerer.load(model, device)
    if seed is not None:
        torch.manual_seed(seed)
    console.say(answerer.describe(), style="bold")
    console.say("/help lists the commands, Ctrl-D exits.", style="dim")
    Chat(answerer, max_new_tokens=max_new_tokens, temperature=temperature).loop()


class Chat:
    """The loop around a model and a session.

    Args:
        answerer: The model.
        max_new_tokens: Where an answer is cut.
        temperature: Sampling temperature; 0 for the most likely token each time.
    """

    def __init__(self, answerer: Answerer, *, max_new_tokens: int, temperature: float) -> None:
        self.answerer, self.max_new_tokens, self.temperature = answerer, max_new_tokens, temperature
        self.session = Session()

    def loop(self) -> None:
        """Read lines until the end of input or /quit."""
        while True:
            try:
                line = console.ask(PROMPT)
            except EOFError:
                console.say()
                return
            except KeyboardInterrupt:
                console.say()
                console.say("Ctrl-D or /quit exits.", style="dim")
                continue
            if not self.handle(line):
                return

    def handle(self, line: str) -> bool:
        """Handle a line; returns False to leave."""
        if not line.strip():
            return True
        found = command(line)
        if found is None:
            self.session.ask(line.strip())
            self.reply()
            return True
        name, rest = found
        if name in ("quit", "exit"):
            return False
        if name not in COMMANDS:
            console.say(f"There is no command /{name}; /help lists them.", style="yellow")
            return True
        {"reset": self.reset, "system": self.system, "retry": self.retry, "help": self.help}[name](rest)
        return True

    def reset(self, _: str) -> None:
        """Forget the conversation."""
        self.session.reset()
        console.say("The conversation was cleared.", style="dim")

    def system(self, text: str) -> None:
        """Set the system prompt if the model's template takes one."""
        if text:
            try:
                self.answerer.renderer.prompt_ids([Message("system", text), Message("user", "Hi")])
            except ModelError as error:
                console.say(f"This model does not support a system prompt. {error.what}", style="yellow")
                return
        self.session.system = text
        console.say("System prompt set." if text else "No system prompt.", style="dim")

    def retry(self, _: str) -> None:
        """Answer the last question again."""
        if not self.session.reopen():
            console.say("There is no answer to retry.", style="yellow")
            return
        if self.temperature == 0:
            console.say("Temperature 0 gives the same answer; start with --temperature 0.7.", style="dim")
        self.reply()

    def help(self, _: str) -> None:
        """List the commands."""
        console.say(HELP)

    def reply(self) -> None:
        """Answer the last question; remove it if it cannot be asked."""
        wrap = Wrap(console.width() if console.is_terminal() else None, len(NAME))
        try:
            if not self.make_room():
                return
            console.stream(NAME, style="bold cyan")
            answer = self.answerer.answer(
                self.session.messages,
                lambda text: console.stream(wrap.feed(text)),
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
            )
        except ModelError as error:
            self.session.take_back()
            console.error(str(error))
            return
        except KeyboardInterrupt:  # before the first word
            self.session.take_back()
            console.say()
            return
        console.stream(wrap.flush() + "\n")
        if answer.stopped:
            console.say("(stopped)", style="dim")
        elif not answer.text.strip():
            console.say("(an empty answer)", style="dim")
        self.session.answered(answer.text)

    def make_room(self) -> bool:
        """Forget the oldest exchanges until the prompt fits; returns False if the question alone is too long."""
        forgotten = 0
        while not self.answerer.fits(self.session.messages, self.max_new_tokens):
            if self.session.exchanges == 1:
                self.session.take_back()
                limit = self.answerer.window
                console.say(
                    f"This message is too long: the model's context has {limit} tokens.", style="yellow"
                )
                return False
            self.session.forget_oldest()
            forgotten += 1
        if forgotten:
            said = "exchange" if forgotten == 1 else f"{forgotten} exchanges"
            console.say(f"(the context is full: the oldest {said} forgotten)", style="dim")
        return True
