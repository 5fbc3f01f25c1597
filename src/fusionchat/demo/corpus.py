"""The demo's conversations: the small fusion corpus in three parts, and the models' training text.

The training text is endless.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fusionchat.artifacts import write_text
from fusionchat.demo.domains import DOMAINS
from fusionchat.demo.world import World

answer_pattern = r"(?:\A|\n)Answer: ([^\n]+)\s*\Z"
"""Group 1 is the checkable answer of a reply, from its last line."""

SPLITS = {"train": 76, "validation": 8, "test": 32}
"""Conversations a domain, at scale 1."""


@dataclass(frozen=True)
class Record:
    """A conversation as written: alternating user and assistant messages, their domain, the last answer."""

    id: str
    domain: str
    messages: tuple[tuple[str, str], ...]
    answer: str | None

    @property
    def key(self) -> str:
        """What makes two conversations equal: letters and digits of all messages.

        Case and spacing do not matter.
        """
        return " ".join(
            "".join(c if c.isalnum() else " " for c in f"{u} {a}".lower()).strip() for u, a in self.messages
        )

    @property
    def reply_key(self) -> str:
        """Letters and digits of the last reply."""
        return "".join(c for c in self.messages[-1][1].lower() if c.isalnum())

    def chat(self) -> list[dict[str, str]]:
        """The messages in the form that chat templates take."""
        roles = ("user", "assistant")
        return [
            {"role": role, "content": text}
            for pair in self.messages
            for role, text in zip(roles, pair, strict=True)
        ]

    def line(self) -> str:
        """The record as one line of JSON."""
        value: dict[str, object] = {"id": self.id, "messages": self.chat(), "domain": self.domain}
        if self.answer is not None:
            value["answer"] = self.answer
        return json.dumps(value, ensure_ascii=False) + "\n"


def draw(world: World, rng: random.Random, domain: str, name: str) -> Record:
    """One new conversation of a domain."""
    turns = DOMAINS[domain](world, rng)
    return Record(name, domain, tuple((t.user, t.assistant) for t in turns), turns[-1].answer)


def fusion_corpus(seed: int, scale: float) -> dict[str, list[Record]]:
    """The fusion corpus by split, domains interleaved.

    No two records share their text or their last reply.
    """
    world, rng = World(seed), random.Random(f"fusion/{seed}")
    seen: set[str] = set()
    corpus: dict[str, list[Record]] = {}
    for split, full in SPLITS.items():
        count = max(2, round(full * scale))
        corpus[split] = []
        for number in range(count):
            for domain in DOMAINS:
                record = draw(world, rng, domain, f"{split}-{domain}-{number:03d}")
                while record.key in seen or record.reply_key in seen:
                    record = draw(world, rng, domain, record.id)
                seen |= {record.key, record.reply_key}
                corpus[split].append(record)
    return corpus


def training_text(seed: int, name: str, mixture: Mapping[str, float], without: set[str]) -> Iterator[Record]:
    """Endless training conversations of a model, domains drawn by ``mixture``, without some keys.

    ``without`` has the keys.
    """
    world, rng = World(seed), random.Random(f"training/{seed}/{name}")
    domains, weights = list(mixture), list(mixture.values())
    while True:
        record = draw(world, rng, rng.choices(domains, weights)[0], name)
        if record.key not in without:
            yield record


def write_corpus(folder: Path, corpus: Mapping[str, list[Record]]) -> None:
    """Write each split as ``<split>.jsonl``."""
    for split, records in corpus.items():
        write_text(folder / f"{split}.jsonl", "".join(record.line() for record in records))
