"""The base of tasks in which a model chooses the most likely option, per byte."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from fusionchat.corpus.conversation import Reject
from fusionchat.corpus.shares import draw
from fusionchat.evaluate.choice.draw import pools, shuffled, size, wrong_options
from fusionchat.evaluate.choice.question import Exchange, Question, exchange
from fusionchat.evaluate.choice.score import Choice, option_bits
from fusionchat.evaluate.metric import SHARE, Metric, capital
from fusionchat.evaluate.scores import Items, Scores
from fusionchat.evaluate.tasks.base import Measured, PartSize, Progress, Subject, Task
from fusionchat.units import counted

if TYPE_CHECKING:
    from fusionchat.corpus.conversation import Conversation
    from fusionchat.corpus.render import Rendered

LONG = "longer than the model's context"
FEW = "too few other answers of its domain have a like length"


def choice_metric(name: str, title: str, about: str) -> Metric:
    """The share of questions whose right option a model finds most likely."""
    return Metric(
        name, title=title, unit="%", better="higher", estimator=SHARE, scale=100.0, places=1, about=about
    )


class ChoiceTask(Task):
    """Questions with options; each option is scored as the assistant's turn in the model's own template."""

    def questions(self, subject: Subject) -> tuple[list[Question], int]:
        """The questions, and how many could not be made."""
        raise NotImplementedError

    def measure(self, subject: Subject, progress: Progress) -> Measured:
        """Whether the right option of each question is the most likely.

        The bits of all options are saved in a file.
        """
        questions, unmade = self.questions(subject)
        asked, choices, rejects = choose(subject, questions, progress)
        (metric,) = self.metrics
        lines = [
            {
                "id": q.id,
                "options": list(q.options),
                "right": q.right,
                "chosen": made.best[0],
                "bits": [round(bits, 4) for bits in made.bits],
                "bytes": list(made.sizes),
            }
            for q, made in zip(asked, choices, strict=True)
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        items = Items(
            tuple(q.id for q in asked),
            tuple(q.domain for q in asked),
            np.array([made.credit for made in choices], dtype=np.float64),
            np.ones(len(asked), dtype=np.int64),
        )
        guessed = round(sum(1 / len(q.options) for q in asked))
        reasons = Counter(rejects) + Counter({FEW: unmade})
        warnings = tuple(f"{metric.title}: {n} of {len(questions) + unmade} questions left out: {why}"
                         for why, n in sorted(reasons.items()))  # fmt: skip
        counts = {f"{self.name}_questions": len(asked), f"{self.name}_guessed": guessed}
        return Measured({metric.name: items}, {f"{self.name}.jsonl": text.encode()}, counts, warnings)

    @classmethod
    def comparable(cls, scores: Mapping[str, Scores]) -> tuple[list[Scores], str]:
        """The same scores over the questions that all models were asked, as a template may refuse an option."""
        (metric,) = cls.metrics
        held = [one.items[metric.name] for one in scores.values()]
        shared = set(held[0].ids).intersection(*(items.ids for items in held))
        most = max(len(items.ids) for items in held)
        if len(shared) == most:
            return list(scores.values()), ""
        found = []
        for one, items in zip(scores.values(), held, strict=True):
            kept = {**one.items, metric.name: of_ids(items, shared)}
            if not shared:
                del kept[metric.name]
            found.append(one._replace(items=kept))
        return found, (
            f"{capital(metric.title)} covers the {len(shared):,} of {counted(most, 'question')} that every model can be asked."
        )

    @classmethod
    def remark(cls, counts: Mapping[str, Mapping[str, int]]) -> str:
        """The score of guessing; "" if nothing was asked."""
        asked = sum(own.get(f"{cls.name}_questions", 0) for own in counts.values())
        guessed = sum(own.get(f"{cls.name}_guessed", 0) for own in counts.values())
        (metric,) = cls.metrics
        return f"{capital(metric.title)}: guessing gets {100 * guessed / asked:.0f} % right." if asked else ""


class HeldOutTask(ChoiceTask):
    """Questions made from held-out dialogues, with answers of others of the domain as wrong options."""

    options: int = Field(4, ge=2, le=26, description="options per question, including the right one")
    max_bytes: int = Field(
        64, ge=4, description="longest option in UTF-8 bytes; longer ones are cut after a word"
    )
    limit: int | None = Field(
        250, ge=1, description="at most this many questions, drawn by seed with every domain's share"
    )
    seed: int = Field(1, ge=0, description="seed for drawing the questions and their wrong options")

    def places(self, conversations: "Sequence[Conversation]") -> list[int]:
        """The places of the dialogues that end with an answer."""
        return [i for i, one in enumerate(conversations) if exchange(one) is not None]

    def tokens(self, part: PartSize, files: Mapping[str, Path]) -> float:
        """A pass with each option."""
        return self.options * part.of(self.limit).tokens

    def question(self, one: Exchange) -> tuple[str, str, str] | None:
        """The given part of an answer, the white space after it, and the right option; None if impossible."""
        raise NotImplementedError

    def questions(self, subject: Subject) -> tuple[list[Question], int]:
        """The questions drawn among those that the dialogues allow, and how many could not be made."""
        answered = [(c, one) for c in subject.conversations if (one := exchange(c)) is not None]
        able = [conversation for conversation, _ in answered]
        drawn = set(draw(able, self.limit or len(able), seed=self.seed, part=self.name))
        parts = [
            (i, one, made) for i, one in enumerate(one for _, one in answered) if (made := self.question(one))
        ]
        held = pools([right for _, _, (_, _, right) in parts], [one.domain for _, one, _ in parts])
        found, unmade = list[Question](), len(drawn) - sum(i in drawn for i, _, _ in parts)
        for place, one, (given, space, right) in parts:
            if place not in drawn:
                continue
            others = wrong_options(right, held[one.domain], self.options - 1, self.seed)
            if len(others) < self.options - 1:
                unmade += 1
                continue
            texts, at = shuffled(right, others, self.seed)
            options = tuple(space + text for text in texts)
            found.append(Question(one.id, one.messages, given, options, at, one.domain))
        return found, unmade


def choose(
    subject: Subject, questions: Sequence[Question], progress: Progress
) -> tuple[list[Question], list[Choice], Mapping[str, int]]:
    """The questions that a model can be asked, its choices, and the number of others by reason.

    All options of all questions are scored in one pass in length-sorted batches.
    """
    from fusionchat.evaluate.greedy import context_window
    from fusionchat.evaluate.token_bits import token_bits

    # 1. each option as the assistant's turn; a question is left out if one of them cannot be rendered
    window = context_window(subject.model)
    asked, rendered, rejects = list[Question](), list["Rendered"](), Counter[str]()
    for question in questions:
        found = render(subject, question, window)
        if isinstance(found, Reject):
            rejects[found.reason] += 1
        else:
            asked.append(question)
            rendered += found
    # 2. bits of every supervised token of every option
    with progress("choose", len(rendered), "options") as advance:
        bits_N = token_bits(
            subject.model,
            rendered,
            names=[f"{q.id}, option {place}" for q in asked for place in range(len(q.options))],
            device=subject.device,
            batch_tokens=subject.batch_tokens,
            progress=advance,
        )
    # 3. the bits of each option's own text, without the given part of the answer
    bounds = np.cumsum([0, *(len(one.rows) for one in rendered)])
    first = np.cumsum([0, *(len(q.options) for q in asked)])
    choices = []
    for question, begin, end in zip(asked, first[:-1], first[1:], strict=True):
        own = range(begin, end)
        bits = option_bits(
            [bits_N[bounds[i] : bounds[i + 1]] for i in own],
            [(rendered[i].begin, rendered[i].end) for i in own],
            size(question.given),
        )
        choices.append(Choice(tuple(bits), tuple(map(size, question.options)), question.right))
    return asked, choices, rejects


def render(subject: Subject, question: Question, window: int | None) -> "list[Rendered] | Reject":
    """The dialogue with each of the options as tokens, or why one of them cannot be rendered."""
    found = []
    for place in range(len(question.options)):
        one = subject.renderer.render(question.conversation(place))
        if isinstance(one, Reject):
            return one
        if window is not None and len(one.input_ids) > window:
            return Reject(question.id, LONG)
        found.append(one)
    return found


def of_ids(items: Items, wanted: set[str]) -> Items:
    """The items with these ids."""
    kept = [i for i, id in enumerate(items.ids) if id in wanted]
    return Items(
        tuple(items.ids[i] for i in kept),
        tuple(items.domains[i] for i in kept),
        items.values[kept],
        items.sizes[kept],
    )
