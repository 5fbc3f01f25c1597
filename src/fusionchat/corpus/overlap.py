"""Near-duplicates between training and held-out conversations, by shared word shingles."""

from collections.abc import Iterable, Sequence

from fusionchat.corpus.conversation import Conversation

SHINGLE_WORDS = 8
LARGEST_SHARE = 0.5


def shingles(conversation: Conversation) -> set[int]:
    """Hashes of all runs of 8 words of the assistant turns, lower case; shorter ones count with their questions.

    For a short answer is the answer to many questions: only the whole conversation, as one shingle, tells.
    """
    words = " ".join(m.content for m in conversation.messages if m.role == "assistant").lower().split()
    if len(words) <= SHINGLE_WORDS:
        return {hash(tuple(" ".join(m.content for m in conversation.messages).lower().split()))}
    return {hash(tuple(words[i : i + SHINGLE_WORDS])) for i in range(len(words) - SHINGLE_WORDS + 1)}


def near_duplicates(conversations: Sequence[Conversation], held_out: Iterable[Conversation]) -> list[bool]:
    """Which conversations share more than half of their shingles with held-out ones."""
    known: set[int] = set()
    for conversation in held_out:
        known |= shingles(conversation)
    flags = []
    for conversation in conversations:
        own = shingles(conversation)
        flags.append(len(own & known) > LARGEST_SHARE * len(own))
    return flags
