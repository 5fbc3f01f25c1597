import json

import numpy as np

from fusionchat.align.projection.arrays import UNALIGNED
from fusionchat.corpus.conversation import Reject
from fusionchat.recipe.schema import load_recipe
from fusionchat.represent.shards import read_shard, shard_path
from fusionchat.stages.corpus import reasons
from fusionchat.stages.names import aligned as job_id
from fusionchat.stages.pipeline import run
from tests.tiny import write_recipe

THOUGHT = "<think>\nSlowly, {}.\n</think>\n\n"


def test_a_source_that_sees_no_thoughts_is_compared_on_the_answers(tiny):
    """`thinking: drop` of one source: its rows are those of the answers, the pivot's rows of thoughts are its own."""
    turns = [[("user", f"What is {i}?"), ("assistant", f"{THOUGHT.format(i)}It is {i}.")] for i in range(12)]
    lines = [{"messages": [{"role": r, "content": c} for r, c in pair]} for pair in turns]
    (tiny / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_recipe(
        tiny / "recipe.yaml",
        sources={"qwen": {"model": "input/models/qwen", "thinking": "drop"}},
        corpus={"train": "c.jsonl", "validation": 0.2, "test": 0.2, "max_tokens": 96},
    )
    done = run(load_recipe("recipe.yaml"), until="fuse")
    topk, extras = read_shard(shard_path(done.path(job_id("qwen")), 0))
    inside = (topk.begin >= 0) & (topk.end <= len(THOUGHT.format(1)) - 4)
    assert inside.any() and (extras["kind"][inside] == UNALIGNED).all()
    answers = topk.begin >= len(THOUGHT.format(11))
    assert (extras["kind"][answers] != UNALIGNED).all() and np.isfinite(topk.label_logprob[answers]).all()


def test_the_reasons_come_with_an_example():
    rejects = [
        Reject("1", "refused", "System role not supported", "s"),
        Reject("2", "refused", "other", "s"),
        Reject("3", "empty"),
    ]
    assert reasons(rejects, 9) == "empty (1 of 9); s: refused, e.g. System role not supported (2 of 9)"
