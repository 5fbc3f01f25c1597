import json
import shutil

import numpy as np

from fusionchat.align.projection.arrays import UNALIGNED
from fusionchat.corpus.conversation import Reject
from fusionchat.corpus.parts import PARTS
from fusionchat.recipe.schema import load_recipe
from fusionchat.represent.store.read import DistributionStore
from fusionchat.stages.corpus import make_renderer, read_part, read_tokens, reasons
from fusionchat.stages.names import CORPUS
from fusionchat.stages.names import aligned as job_id
from fusionchat.stages.pipeline import open_run, run
from tests.tiny import SETTINGS, copy_input, write_recipe

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
    aligned = DistributionStore(done.path(job_id("qwen")))
    extras = {name: aligned.column(name, 0, len(aligned)) for name in ("kind", "label_logprob")}
    scored = aligned.slice(0, len(aligned))
    tokens = read_tokens(done.path(CORPUS), "train", "pivot")[:].supervised
    inside = (tokens.begin >= 0) & (tokens.end <= len(THOUGHT.format(1)) - 4)
    assert inside.any() and (extras["kind"][inside] == UNALIGNED).all()
    answers = tokens.begin >= len(THOUGHT.format(11))
    assert scored.present[answers].all() and np.isfinite(extras["label_logprob"][answers]).all()
    assert (extras["kind"][answers] != UNALIGNED).all()


def test_the_reasons_come_with_an_example():
    rejects = [
        Reject("1", "refused", "System role not supported", "s"),
        Reject("2", "refused", "other", "s"),
        Reject("3", "empty"),
    ]
    assert reasons(rejects, 9) == "empty (1 of 9); s: refused, e.g. System role not supported (2 of 9)"


def test_what_is_stored_is_what_each_model_sees(finished):
    for part in PARTS:
        conversations = read_part(finished.path(CORPUS), part)
        for name, ref in finished.refs.items():
            stored, renderer = read_tokens(finished.path(CORPUS), part, name), make_renderer(ref)
            for one, conversation in zip(stored, conversations, strict=True):
                for mine, theirs in zip(one, renderer.render(conversation), strict=True):
                    assert mine.dtype == theirs.dtype and mine.tolist() == theirs.tolist()


def states(recipe):
    planned = open_run(recipe)
    return {job.id: planned.status(job).state for job in planned.jobs.values()}


def test_another_test_part_makes_nothing_stale_that_does_not_read_it(tiny, finished):
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    copy_input(tiny)
    test = tiny / "input/corpus/test.jsonl"
    test.write_text("".join(test.read_text().splitlines(keepends=True)[:-1]))
    run(load_recipe("recipe.yaml"), until="corpus")
    found = states(load_recipe("recipe.yaml"))
    stale = {job for job, state in found.items() if state != "done"}
    assert stale == {job for job in found if job.startswith(("evaluate/test/", "report/"))}


def test_other_tokens_of_one_model_make_no_other_capture_stale(tiny, finished):
    """Its new template is one byte longer, and cuts nothing else: the parts are the same, its tokens are not."""
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    template = make_renderer(finished.refs["qwen"]).template.source
    (tiny / "other.jinja").write_text("{{- '!' }}" + template)
    write_recipe(
        tiny / "recipe.yaml",
        sources=SETTINGS["sources"] | {"qwen": {"model": "input/models/qwen", "template": "other.jinja"}},
    )
    before = [read_part(tiny / "runs/tiny" / CORPUS, part) for part in PARTS]
    run(load_recipe("recipe.yaml"), until="corpus")
    assert [read_part(tiny / "runs/tiny" / CORPUS, part) for part in PARTS] == before
    found = states(load_recipe("recipe.yaml"))
    done = {job for job, state in found.items() if state == "done"}
    assert {"represent/pivot", "represent/mixtral", "align/mixtral", "fuse/mixtral", "distill/sft"} <= done
    assert {"represent/qwen", "align/qwen", "fuse/qwen", "evaluate/test/sources/qwen"}.isdisjoint(done)
