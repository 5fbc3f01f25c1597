"""A capture from the entries that another program returned; unusable ones are refused."""

from collections.abc import Sequence

import numpy as np

from fusionchat.corpus.rendered_part import RenderedPart
from fusionchat.errors import ModelError
from fusionchat.represent.asked import Asked
from fusionchat.represent.batching import require_finite
from fusionchat.represent.entries import Entries, keep
from fusionchat.represent.topk import Scored, TopK, as_kept


def scored(entries: Entries, rendered: RenderedPart, names: Sequence[str], asked: Asked) -> Scored:
    """The capture of some conversations, from another program's entries.

    Args:
        entries: Entries of every supervised token.
        rendered: The conversations.
        names: Their ids, for messages.
        asked: What is captured.

    Raises:
        ModelError: They are fewer than k per token, no log-probabilities, or not finite at the text's own
            tokens.
    """
    supervised = rendered.supervised
    rows = np.diff(supervised.offsets).tolist()
    k = min(asked.k, asked.vocabulary)
    fewest = int(entries.counts.min(initial=k))
    if fewest < k:
        name = names[int(np.repeat(np.arange(len(rows)), rows)[int(entries.counts.argmin())])]
        raise ModelError(
            f"Some tokens have {fewest} log-probabilities, but {k} were requested",
            where=f"{asked.place}: conversation {name}",
            do="raise the server's `--max-logprobs`, or lower represent.k",
        )
    try:
        kept = keep(entries, supervised.labels, k, vocabulary=asked.vocabulary)
    except ValueError as error:
        raise ModelError(
            f"These are not log-probabilities: {error}",
            where=f"{asked.place}: conversations {names[0]} to {names[-1]}",
            do="start the server with `--logprobs-mode raw_logprobs`",
        ) from error
    require_finite(kept.label_logprob, range(len(rows)), rows, names)
    present = np.ones(supervised.rows, dtype=bool)
    topk = TopK(kept.ids, as_kept(kept.logprobs), as_kept(kept.tail), present)
    return Scored(supervised, topk, kept.label_logprob)
