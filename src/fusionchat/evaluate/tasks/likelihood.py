"""Held-out likelihood: bits per UTF-8 byte of the answers, always measured."""

from collections.abc import Mapping
from typing import ClassVar

from fusionchat.evaluate.metric import RATIO, Metric
from fusionchat.evaluate.scores import Items, Scores
from fusionchat.evaluate.tasks.base import Measured, Progress, Subject, Task

BITS_PER_BYTE = Metric(
    "bits_per_byte",
    title="bits per byte",
    unit="bits per byte",
    better="lower",
    estimator=RATIO,
    about="Bits per UTF-8 byte of held-out answers",
)


class Likelihood(Task):
    """Bits that the model needs for the held-out answers."""

    name: ClassVar[str] = "likelihood"
    metrics: ClassVar[tuple[Metric, ...]] = (BITS_PER_BYTE,)
    always: ClassVar[bool] = True

    def measure(self, subject: Subject, progress: Progress) -> Measured:
        """Bits and bytes of each conversation; the bits of every row are saved in a file."""
        from fusionchat.evaluate.row_bits import EVENTS, RowBits, events_file, rendered_events
        from fusionchat.evaluate.token_bits import token_bits

        conversations = subject.conversations
        with progress("evaluate", len(conversations), "conversations") as advance:
            bits_N = token_bits(
                subject.model,
                subject.rendered,
                names=[c.id for c in conversations],
                device=subject.device,
                batch_tokens=subject.batch_tokens,
                progress=advance,
            )
        events = rendered_events(subject.rendered, conversations)
        bits_C, sizes_C = RowBits(events, bits_N).add_up(len(conversations))
        rounded = [round(float(bits), 6) for bits in bits_C]  # the file has all digits
        turns = sum(m.supervised and m.complete for c in conversations for m in c.messages)
        return Measured(
            {BITS_PER_BYTE.name: Items.of(conversations, rounded, sizes_C)},
            {EVENTS: events_file(events, bits_N)},
            {
                "unscored_bytes": sum(c.supervised_bytes for c in conversations) - int(sizes_C.sum()),
                "unscored_ends": turns - events.ends,
            },
        )

    @classmethod
    def comparable(cls, scores: Mapping[str, Scores]) -> tuple[list[Scores], str]:
        """The same scores over the events that all models score, see `over_common_events`."""
        from fusionchat.evaluate.row_bits import RowBits, over_common_events, read_events

        rows = {
            name: RowBits(*read_events(one.folder), one.counts["unscored_bytes"])
            for name, one in scores.items()
        }
        masks, note = over_common_events(rows)
        if masks is None:
            return list(scores.values()), note
        found = []
        for one, row_bits, mask in zip(scores.values(), rows.values(), masks, strict=True):
            items = one.items[BITS_PER_BYTE.name]
            bits_C, sizes_C = row_bits.add_up(len(items.ids), mask)
            changed = {BITS_PER_BYTE.name: items._replace(values=bits_C, sizes=sizes_C)}
            found.append(one._replace(items={**one.items, **changed}))
        return found, note
