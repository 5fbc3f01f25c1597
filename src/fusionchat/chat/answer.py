"""A model that answers: found, loaded, and asked in its own chat template, with streamed answers."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fusionchat.answer.weights import stop_ids
from fusionchat.artifacts import read_manifest
from fusionchat.corpus.conversation import Message
from fusionchat.errors import ModelError
from fusionchat.hub import find
from fusionchat.models.files import ADAPTER
from fusionchat.units import counted

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

    from fusionchat.corpus.render import Renderer

CONFIG = "config.json"
FUSED = Path("merge") / "fused"
INCOMPLETE = "\ufffd"  # the replacement of undecodable bytes, such as those of an incomplete character


class Answer(NamedTuple):
    """What a model wrote, and whether the user stopped it."""

    text: str
    stopped: bool


def resolve_model(path: Path) -> Path:
    """The model folder that a path means: itself, a run's fused model, or the model of a run's job.

    Raises:
        ModelError: There is no such folder, no model in it, or the run has no fused model yet.
    """
    if _holds_model(path):
        return path
    for job in (path / FUSED, path):
        if _holds_model(job / "model") and read_manifest(job) is not None:
            return job / "model"
    if not path.is_dir():
        raise ModelError(f"There is no such folder: {path}", do=_advice(path))
    if any(path.glob("*/*/manifest.json")) or any(path.glob("*/*/progress.json")):
        raise ModelError(
            "This run has no fused model yet",
            where=str(path),
            do="finish the run first: fusionchat run RECIPE.yaml; finished work is kept",
        )
    raise ModelError(
        f"There is no model in this folder: no {CONFIG}",
        where=str(path),
        do="use a model folder or a run folder (runs/NAME)",
    )


def _holds_model(folder: Path) -> bool:
    """Whether a folder is a model's or an adapter's."""
    return (folder / CONFIG).is_file() or (folder / ADAPTER).is_file()


def _advice(path: Path) -> str:
    beside = path.parent if path.parent.is_dir() else Path("runs")
    names = sorted(p.name for p in beside.iterdir() if p.is_dir()) if beside.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return (
        f"did you mean {beside / close[0]}?"
        if close
        else "use a model folder, a run folder (runs/NAME) or a hub id"
    )


def find_model(path: Path) -> str:
    """`resolve_model`, or a hub id ``owner/name`` if no such folder exists."""
    id = find(str(path)).hub_id
    if id is not None and "/" in id and not path.parent.exists():
        return id
    return str(resolve_model(path))


@dataclass(frozen=True)
class Answerer:
    """A model that answers.

    Attributes:
        name: The name by which the user asked for it.
        model: The model.
        tokenizer: Its tokenizer.
        renderer: Its chat template.
    """

    name: str
    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    renderer: "Renderer"

    @classmethod
    def load(cls, path: Path, device: str) -> "Answerer":
        """A loaded model; raises ModelError if it cannot be loaded or has no chat template."""
        from fusionchat.corpus.render import Renderer
        from fusionchat.models.adapter import ref_of
        from fusionchat.models.device import pick_device
        from fusionchat.models.load import load_model, load_tokenizer
        from fusionchat.models.precision import auto_dtype

        where = find_model(path)
        ref = ref_of(str(path), where)
        tokenizer = load_tokenizer(ref)
        renderer = Renderer(tokenizer, name=where)
        place = pick_device(device)
        model = load_model(ref, dtype=auto_dtype(place), device=place)
        return cls(str(path), model, tokenizer, renderer)

    @property
    def window(self) -> int | None:
        """The most tokens of prompt and answer together; None for no limit."""
        from fusionchat.evaluate.greedy import context_window

        return context_window(self.model)

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end an answer."""
        return stop_ids(self.model, self.renderer)

    def describe(self) -> str:
        """One line: name, size, context, device."""
        from fusionchat.report.text import count

        size = count(sum(p.numel() for p in self.model.parameters()))
        context = f", context of {counted(self.window, 'token')}" if self.window else ""
        return f"{self.name}: {size} parameters{context}, on {self.model.device}"

    def fits(self, messages: Sequence[Message], max_new_tokens: int) -> bool:
        """Whether a prompt leaves ``max_new_tokens``, or a quarter of the context if that is less."""
        if self.window is None:
            return True
        return len(self.renderer.prompt_ids(messages)) + min(max_new_tokens, self.window // 4) <= self.window

    def answer(
        self,
        messages: Sequence[Message],
        tell: Callable[[str], None],
        *,
        max_new_tokens: int,
        temperature: float,
    ) -> Answer:
        """Answer the last user turn, streaming the text; Ctrl-C stops it and keeps the text so far.

        If the prompt opens a thought, the answer begins with its tag.

        Args:
            messages: The conversation, a user turn last.
            tell: Called with each new piece of text.
            max_new_tokens: Where the answer is cut.
            temperature: 0 for the most likely token each time; otherwise the folder's own top_p and top_k
                apply too.

        Raises:
            ModelError: The chat template refuses the conversation.
        """
        import torch

        from fusionchat.evaluate.greedy import answer_room

        prompt = self.renderer.prompt_ids(messages)
        room = answer_room(self.window, len(prompt), max_new_tokens)
        assert room > 0, "the prompt does not fit: see fits()"
        pieces = Pieces(self.tokenizer, set(self.stop_ids), tell)
        if self.renderer.opening:
            tell(self.renderer.opening)
        ids = torch.tensor([prompt], device=self.model.device)
        stopped = False
        try:
            with torch.inference_mode():
                self.model.generate(  # type: ignore[operator]
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=self._settings(room, temperature),
                    streamer=pieces,
                )
        except KeyboardInterrupt:
            stopped = True
            pieces.end()
        return Answer(self.renderer.opening + pieces.text, stopped)

    def _settings(self, max_new_tokens: int, temperature: float) -> "GenerationConfig":
        from transformers import GenerationConfig

        stop = self.stop_ids
        sampling = (
            {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        )
        return GenerationConfig(  # type: ignore[no-untyped-call]
            **sampling,
            num_beams=1,
            max_new_tokens=max_new_tokens,
            eos_token_id=stop or None,
            pad_token_id=stop[0] if stop else 0,
        )


class Pieces:
    """A streamer for ``generate`` that emits text as soon as its characters are complete.

    Control characters are removed. transformers' TextStreamer delays text up to the next blank, and shows a
    template's end of turn if the tokenizer does not mark it as special.

    Args:
        tokenizer: Decodes the tokens.
        stop_ids: Tokens that are not part of the text.
        tell: Called with each new piece.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", stop_ids: set[int], tell: Callable[[str], None]
    ) -> None:
        self.tokenizer, self.stop_ids, self.tell = tokenizer, stop_ids, tell
        self.text = ""
        self._ids: list[int] = []
        self._prompt = True

    def put(self, value: object) -> None:
        """Receive the prompt, which is skipped, then each new token."""
        import torch

        assert isinstance(value, torch.Tensor)
        if self._prompt:
            self._prompt = False
            return
        self._ids += [token for token in value.flatten().tolist() if token not in self.stop_ids]
        self._flush(whole=False)

    def end(self) -> None:
        """Emit the remaining text."""
        self._flush(whole=True)

    def _flush(self, *, whole: bool) -> None:
        text = self.tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        text = visible(text)
        if not whole:
            text = text.rstrip(INCOMPLETE)
        new = text[len(self.text) :]
        if new:
            self.text += new
            self.tell(new)


def visible(text: str) -> str:
    """Text without control characters except line ends and tabs: a model must not move the cursor."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t" or ord(c) > 0x9F)
