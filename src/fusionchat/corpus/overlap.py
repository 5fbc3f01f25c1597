"""Text that two parts of a corpus share, in either direction.

A conversation is a list of exchanges: an assistant turn with the user turn before it. System turns do not
count, since many dialogues share one. A thought is compared separately from its answer: the same answer after
another thought is the same exchange. A conversation repeats a held-out part if

1. all of its exchanges are in that part, or all exchanges of a conversation of that part are in it;
2. it has an exchange of that part, with more than a few words;
3. it has an answer of more than 8 words, and that part has more than half of the answer's runs of 8 words, or
   it has more than half of the runs of such an answer of that part;
4. it asks a question of that part with more than 8 words.

A short answer alone is no evidence ("Yes."). Neither is what many conversations share: 2 and 4 ignore what is
in more than a hundredth of all different conversations, 3 ignores runs in the answers to as many different
questions (a template, "As an AI language model ..."). In a small corpus a hundredth is one or two; there,
what up to ten conversations share is a repetition (a problem in ten wordings), unless that is more than a
tenth of the corpus.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat.corpus.conversation import Conversation
from fusionchat.corpus.thoughts import without
from fusionchat.corpus.words import length, shingles, text_hash, words

SHORT = 8
TRIVIAL = 4
LARGEST_SHARE = 0.5
FEWEST, REPEATED, TENTH, COMMON = 3, 10, 10, 100
TEXT, QUESTION = "text shared", "question shared"


class Exchange(NamedTuple):
    """A question with its answer.

    Attributes:
        pair: Hash of both.
        question: Hash of the question; 0 if there is none.
        trivial: Whether both together have at most 4 words.
        asks: Whether the question has more than 8 words.
        runs: Hashes of the answer's runs of 8 words; none if it has at most 8 words. An answer after a
            thought makes two exchanges; the thought's differs only in its runs.
    """

    pair: int
    question: int
    trivial: bool
    asks: bool
    runs: NDArray[np.uint64]


NO_RUNS = np.zeros(0, np.uint64)


def exchanges(conversation: Conversation) -> tuple[Exchange, ...]:
    """The exchanges of a conversation, in order."""
    found, asked = [], list[str]()
    for message in conversation.messages:
        if message.role == "user":
            asked = words(message.content)
        elif message.role == "assistant":
            answer = without(message.content)
            thought = message.content[: len(message.content) - len(answer)]
            said, thinks = words(answer), words(thought)
            size, question_size = length(said), length(asked)
            question = text_hash(asked) if asked else 0
            pair = text_hash([str(question), *(said or thinks)])
            trivial, asks = size + question_size <= TRIVIAL, question_size > SHORT
            for text in [said, thinks] if thought else [said]:
                runs = shingles(text) if length(text) > SHORT else NO_RUNS
                found.append(Exchange(pair, question, trivial, asks, runs))
            asked = []
    return tuple(found)


Talk = tuple[Exchange, ...]


def most_repeated(size: int) -> int:
    """The most of ``size`` conversations that may share a text for it to be a repetition and not common."""
    return max(FEWEST, min(REPEATED, size // TENTH), size // COMMON)


class Index:
    """The content of a held-out part, by hash, and which of it is common in the whole corpus.

    Args:
        held: The held-out part.
        corpus: All conversations.
    """

    def __init__(self, held: Sequence[Talk], corpus: Sequence[Talk]) -> None:
        every = [exchange for talk in held for exchange in talk]
        self.pairs = {exchange.pair for exchange in every}
        self.questions = {exchange.question for exchange in every if exchange.asks}
        self.runs = np.unique(np.concatenate([NO_RUNS, *(exchange.runs for exchange in every)]))
        self.most = most_repeated(len(corpus))
        self._count(corpus)
        self.anchors = anchors(held)
        self._index_answers(every)

    def _count(self, corpus: Sequence[Talk]) -> None:
        """Find the common pairs, questions and runs, counted over different conversations and questions."""
        counts = np.zeros(len(self.runs), np.int32)
        pairs, questions = Counter[int](), Counter[int]()
        talks, asked = set[tuple[int, ...]](), set[int]()
        for talk in corpus:
            whole = tuple(exchange.pair for exchange in talk)
            if whole in talks:
                continue
            talks.add(whole)
            pairs.update(self.pairs.intersection(whole))
            questions.update(self.questions.intersection(exchange.question for exchange in talk))
            for exchange in [one for one in talk if one.question not in asked]:
                counts[self.find(exchange.runs)] += 1
            asked.update(exchange.question for exchange in talk)
        self.common_pairs = {pair for pair, count in pairs.items() if count > self.most}
        self.common_questions = {question for question, count in questions.items() if count > self.most}
        self.common_runs = counts > self.most

    def _index_answers(self, every: Sequence[Exchange]) -> None:
        """Index the long answers by their runs, without common ones, and count the runs of each answer."""
        distinct = {exchange.runs.tobytes(): exchange.runs for exchange in every if len(exchange.runs)}
        rare = [self.rare(self.find(runs)) for runs in distinct.values()]
        self.sizes = np.array([len(runs) for runs in rare], np.int64)
        run = np.concatenate([np.zeros(0, np.int64), *rare])
        order = np.argsort(run, kind="stable")
        self.answers = np.repeat(np.arange(len(rare)), self.sizes)[order]
        self.first = np.searchsorted(run[order], np.arange(len(self.runs) + 1))

    def find(self, runs: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Positions among the held-out runs of those in ``runs`` that are held out."""
        if not len(self.runs) or not len(runs):
            return np.zeros(0, np.int64)
        at = np.searchsorted(self.runs, runs)
        at[at == len(self.runs)] = 0
        return at[self.runs[at] == runs]

    def rare(self, found: NDArray[np.int64]) -> NDArray[np.int64]:
        """The found runs that are not common."""
        return found[~self.common_runs[found]]

    def shares(self, talk: Talk) -> str | None:
        """What a conversation shares with the held-out part; None for nothing."""
        pairs = {exchange.pair for exchange in talk}
        if (
            pairs <= self.pairs
            or self._holds_a_talk(pairs)
            or self._has_a_pair(talk)
            or self._has_an_answer(talk)
        ):
            return TEXT
        asked = {exchange.question for exchange in talk if exchange.asks}
        return QUESTION if (asked & self.questions) - self.common_questions else None

    def _holds_a_talk(self, pairs: set[int]) -> bool:
        return any(whole <= pairs for pair in sorted(pairs) for whole in self.anchors.get(pair, ()))

    def _has_a_pair(self, talk: Talk) -> bool:
        own = {exchange.pair for exchange in talk if not exchange.trivial}
        return bool((own & self.pairs) - self.common_pairs)

    def _has_an_answer(self, talk: Talk) -> bool:
        met = []
        for exchange in talk:
            found = self.find(exchange.runs)
            rare = self.rare(found)
            if len(rare) > LARGEST_SHARE * (len(exchange.runs) - (len(found) - len(rare))):
                return True
            met.append(rare)
        runs = np.unique(np.concatenate(met))
        if not len(runs):
            return False
        answers = np.concatenate([self.answers[self.first[run] : self.first[run + 1]] for run in runs])
        counts = np.bincount(answers, minlength=len(self.sizes))
        return bool((counts > LARGEST_SHARE * self.sizes).any())


def anchors(held: Iterable[Talk]) -> dict[int, list[frozenset[int]]]:
    """Each held-out conversation as the set of its pairs, under the pair that fewest of them have."""
    wholes = sorted({frozenset(exchange.pair for exchange in talk) for talk in held}, key=sorted)
    counts = Counter(pair for whole in wholes for pair in whole)
    filed: dict[int, list[frozenset[int]]] = {}
    for whole in wholes:
        filed.setdefault(min(whole, key=lambda pair: (counts[pair], pair)), []).append(whole)
    return filed
