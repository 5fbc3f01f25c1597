"""A made-up run with everything a report can show, deterministic."""

import numpy as np

from fusionchat.evaluate import statistics as stats
from fusionchat.evaluate.scores import Items, Scores
from fusionchat.evaluate.tasks.exact_match import EXACT_MATCH
from fusionchat.evaluate.tasks.likelihood import BITS_PER_BYTE
from fusionchat.report.figures import (
    Captured,
    Choice,
    CorpusEntry,
    MergeWeights,
    Pair,
    Reject,
    StageTime,
    SweepPoint,
)
from fusionchat.report.model import Report, Row
from fusionchat.report.rows import Trained, make_rows

DOMAINS = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
MODELS = (
    ("pivot", "pivot", 1_050_000, 1.21, 0.31, ""),
    ("source_a", "source", 2_900_000, 0.83, 0.55, "mixture of experts"),
    ("source_b", "source", 1_400_000, 0.92, 0.48, ""),
    ("sft", "sft", 1_050_000, 0.700, 0.52, ""),
    ("sft soup", "soup", 1_050_000, 0.694, 0.53, ""),
    ("self-distillation", "self", 1_050_000, 0.699, 0.52, "label weight 0.5"),
    ("target source_a", "target", 1_050_000, 0.690, 0.53, "label weight 0.5"),
    ("target source_b", "target", 1_050_000, 0.697, 0.52, "label weight 0.5"),
    ("target all", "target", 1_050_000, 0.684, 0.56, "all sources at once"),
    ("varm", "merge", 1_050_000, 0.681, 0.56, "label weight 0.5"),
    ("linear", "merge", 1_050_000, 0.683, 0.55, "label weight 0.5"),
)
SFT_SEEDS = 3
METRICS = BITS, MATCH = BITS_PER_BYTE, EXACT_MATCH


def scored(bits_C, bytes_C, domains, correct, parameters: int) -> Scores:
    """An evaluation; ``correct`` is None for conversations without an answer."""
    ids, asked = (
        list(map(str, range(len(bits_C)))),
        [i for i, right in enumerate(correct) if right is not None],
    )
    items = {"bits_per_byte": Items(tuple(ids), tuple(domains), bits_C, bytes_C)}
    if asked:
        right = np.array([float(correct[i]) for i in asked])
        own = tuple(ids[i] for i in asked), tuple(domains[i] for i in asked)
        items["exact_match"] = Items(*own, right, np.ones(len(asked), np.int64))
    return Scores(parameters, items)


def models(conversations: int = 480) -> list[Trained]:
    rng = np.random.default_rng(11)
    domains = [DOMAINS[i % len(DOMAINS)] for i in range(conversations)]
    bytes_C = rng.integers(40, 400, conversations)
    hard_C = np.array([0.6 + 0.12 * DOMAINS.index(d) for d in domains]) * rng.gamma(60, 1 / 60, conversations)
    luck_C = rng.random(conversations)
    made = []
    places = [0, 1, 2, 3, 9, 10, 4, 5, 6, 7, 8]
    for place, (label, kind, parameters, rate, share, note) in zip(places, MODELS, strict=True):
        slant_C = np.array([0.06 * np.sin(place + DOMAINS.index(d)) for d in domains]) * rate
        runs = []
        for _ in range(SFT_SEEDS if kind == "sft" else 1):
            shift = rng.normal(0, 0.0005)
            bits_C = bytes_C * (hard_C * rate + 0.4 * slant_C + shift) + rng.normal(0, 1, conversations)
            right_C = luck_C + rng.normal(0, 0.05, conversations) < share
            runs.append(scored(bits_C, bytes_C, domains, right_C.tolist(), parameters))
        made.append(Trained(label, kind, tuple(runs), note))
    return made


def rows(conversations: int = 480) -> tuple[Row, ...]:
    return make_rows(models(conversations), "varm", METRICS)


def shares(seed: int, models: int) -> dict[str, tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    return {d: tuple(map(float, rng.dirichlet(np.full(models, 1.5)))) for d in DOMAINS}


def weights(layers: int = 4) -> MergeWeights:
    rng = np.random.default_rng(2)
    inner = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
    inner += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm")
    outer = ("embed_tokens", "norm", "lm_head")
    first = [[None, *rng.uniform(0.2, 0.8, layers).tolist()] for _ in inner]
    first += [[float(rng.uniform(0.2, 0.8)), *[None] * layers] for _ in outer]
    second = [[None if w is None else 1 - w for w in row] for row in first]
    return MergeWeights(
        "varm",
        "varm, per matrix",
        ("source_a", "source_b"),
        ("", *map(str, range(layers))),
        (*inner, *outer),
        tuple(tuple(tuple(row) for row in table) for table in (first, second)),
    )


def captures() -> tuple[Captured, ...]:
    """One by a program that has all logits, one by a server that gives the kept ones alone."""
    domains = {name: 0.6 + 0.05 * place for place, name in enumerate(DOMAINS)}
    return (
        Captured(
            "pivot", "transformers 5.24.0", "bfloat16", 151_000, 0.8123, (0.0123, 0.34), tokens_per_second=12_345.0,
            domains=domains, k=10, mass_kept=0.9712, sampled_rows=1000, entropy=1.234, k99_median=7, k99_p95=1204, halved=2,
        ),
        Captured(
            "source_a", "endpoint 0.32.0", "the server's", 149_000, 0.75, None, "its weights are not here",
            domains={"math": 0.5}, k=10, mass_kept=0.98,
        ),
    )  # fmt: skip


def report(layers: int = 4) -> Report:
    return Report(
        name="demo",
        created="2026-01-02T03:04:05+00:00",
        metrics=METRICS,
        rows=rows(),
        baseline="sft",
        soup="sft soup",
        sft_seeds=SFT_SEEDS,
        fused="varm",
        merge="varm granularity=layer",
        domains=DOMAINS,
        captures=captures(),
        pairs=(
            Pair("source_a", 151_000, 1.0, 0.0, 0.0, 1.0, 1.0, 0.4, "identity"),
            Pair("source_b", 151_000, 0.742, 0.251, 0.007, 0.981, 0.953, 3.2, "byte_prefix"),
        ),
        choices=(
            Choice("target source_a", "min_ce per conversation", ("pivot", "source_a"), shares(1, 2), 0.0),
            Choice("target source_b", "min_ce per conversation", ("pivot", "source_b"), shares(2, 2), 0.007),
            Choice(
                "target all",
                "min_ce per conversation",
                ("pivot", "source_a", "source_b"),
                shares(3, 3),
                0.002,
            ),
        ),
        entries=(
            CorpusEntry("train.0 code.jsonl.gz", 2400, 1000, 2, {"over the limit": 1398}),
            CorpusEntry("train.1 org/maths", 1400, 1400, 0, {"over the limit": None}),
        ),
        rejects=(
            Reject("corpus", "no assistant turn", 3, 2400),
            Reject("render source_b", "template edits the content", 1, 2400),
        ),
        weights=(weights(layers),),
        sweep=(
            SweepPoint("varm", 0.9, stats.Estimate(0.688, 0.004, 120), False),
            SweepPoint("varm", 0.5, stats.Estimate(0.680, 0.004, 120), True),
        ),
        stages=(
            StageTime("represent", "pivot", 8.1),
            StageTime("represent", "source_a", 11.9),
            StageTime("distill", "source_a", 61.0),
            StageTime("merge", "varm", 0.3),
            StageTime("evaluate", "varm", 4.0),
        ),
        recipe="name: demo\npivot: models/pivot\nsources:\n  source_a: models/a   # <experts> & more\n",
        versions={"fusionchat": "0.1.0", "torch": "2.8.0"},
        notes=("Made-up figures: a sample for tests.",),
    )
