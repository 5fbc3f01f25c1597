"""What a finished run's jobs left in figures, for the report."""

from fusionchat.artifacts import write_json
from fusionchat.report.figures import Captured, Choice, CorpusEntry, MergeTrial, Pair, Reject
from fusionchat.stages.report_figures import (
    make_captured,
    make_choice,
    make_entries,
    make_pair,
    make_rejects,
    make_sweep,
    make_trials,
)
from tests.stages.recipes import evaluated, recipe, summarized


def test_a_capture_s_figures_are_its_job_s():
    probe = {
        "conversations": 16,
        "tokens": 90,
        "bits_per_byte": 1.0,
        "bound": 0.1,
        "label": {"mean": 0.01, "worst": 0.2},
    }
    summary = {
        "backend": "transformers", "version": "5.24.0", "dtype": "bfloat16", "supervised_tokens": 700, "bits_per_byte": 1.5,
        "bits_per_byte_by_domain": {"code": 1.0, "math": 2.0}, "mass_kept": 0.97, "sampled_rows": 600, "entropy": 1.2,
        "k99_median": 4, "k99_p95": 60, "tokens_per_second": 900, "out_of_memory": 1, "probe": probe,
    }  # fmt: skip
    assert make_captured(summarized(represent__a=summary), "a", 10) == Captured(
        "a", "transformers 5.24.0", "bfloat16", 700, 1.5, (0.01, 0.2), tokens_per_second=900,
        domains={"code": 1.0, "math": 2.0}, k=10, mass_kept=0.97, sampled_rows=600, entropy=1.2, k99_median=4, k99_p95=60,
        halved=1,
    )  # fmt: skip
    unknown = dict.fromkeys(("entropy", "k99_median", "k99_p95", "tokens_per_second"))
    bare = {"probe": probe | {"label": None, "unchecked": "no room"}, "sampled_rows": 0} | unknown
    found = make_captured(summarized(represent__a=summary | bare), "a", 10)
    assert (found.entropy, found.k99_median, found.tokens_per_second) == (None, None, None)
    assert (found.differs, found.unchecked) == (None, "no room")


def test_an_alignment_s_figures_are_its_job_s():
    summary = {
        "rows": 100, "exact_share": 0.9, "inside_share": 0.08, "unaligned_share": 0.02, "kept_mass": 0.99,
        "retention": 0.97, "map_retention": 0.95, "method": "byte_prefix",
    }  # fmt: skip
    assert make_pair(summarized(align__a=summary), "a") == Pair(
        "a", rows=100, exact=0.9, inside=0.08, unaligned=0.02, mass_kept=0.99, retention=0.97, map_retention=0.95, seconds=2.5,
        method="byte_prefix",
    )  # fmt: skip


def test_whose_distributions_a_target_learnt_from():
    shares = {"": {"pivot": 0.25, "a": 0.75}, "math": {"pivot": 1.0, "a": 0.0}}
    found = make_choice(
        recipe(), summarized(fuse__a={"shares": shares, "rows": 200, "fallback_rows": 3}), "a", ("a",)
    )
    assert found == Choice("a", "min_ce", ("pivot", "a"), {"all": (0.25, 0.75), "math": (1.0, 0.0)}, 0.015)


def test_entries_of_the_corpus_say_what_became_of_their_records():
    entry = {
        "place": "train",
        "name": "chat",
        "records": 10,
        "used": 8,
        "rejected": 1,
        "left": {"over the limit": 1},
    }
    found = make_entries(summarized(corpus__corpus={"entries": [entry]}))
    assert found == (CorpusEntry("train chat", 10, 8, 1, {"over the limit": 1}),)


def test_rejects_are_counted_of_all_records(tmp_path):
    """20 conversations are used, 3 records are not; of the used ones 2 have a key that nothing reads."""
    folder = tmp_path / "corpus/corpus"
    folder.mkdir(parents=True)
    for name, counts in {
        "rejects": {"no answer": 3},
        "unused": {"score": 2},
        "notes": {"a template trims": 5},
    }.items():
        write_json(folder / f"{name}.json", counts)
    parts = {name: {"conversations": n} for name, n in {"train": 15, "validation": 3, "test": 2}.items()}
    assert make_rejects(summarized(tmp_path, corpus__corpus=parts)) == (
        Reject("corpus", "no answer", 3, 23),
        Reject("corpus, used", "key `score` is not read", 2, 23),
        Reject("corpus, used", "a template trims", 5, 23),
    )


def test_trials_of_a_search_are_in_the_metric_s_own_direction():
    """A search minimizes: an exact match of 0.25 is kept as -0.25."""
    trials = [
        {"label": "linear", "score": -0.25, "seconds": 1.5, "reason": None},
        {"label": "slerp", "score": None, "seconds": 0.0, "reason": "needs 1 to 2 targets"},
    ]
    own = recipe(search={"metric": "exact_match"}, evaluate={"exact_match": {"answer_pattern": "(.*)"}})
    found = make_trials(own, summarized(merge__search={"best": "linear", "trials": trials}))
    assert found == (
        MergeTrial("linear", 0.25, 1.5, True, ""),
        MergeTrial("slerp", None, 0.0, False, "needs 1 to 2 targets"),
    )
    assert make_trials(recipe(), summarized()) == ()


def test_label_weights_of_a_sweep_have_standard_errors(tmp_path):
    (tmp_path / "merge/selection").mkdir(parents=True)
    trials = {"0.9": 1.5, "0.5": 0.75}
    write_json(tmp_path / "merge/selection/selection.json", {"label_weight": 0.5, "trials": trials})
    for weight, bits in trials.items():
        evaluated(tmp_path, weight, bits)
    points = make_sweep(recipe(), summarized(tmp_path))
    assert [(point.label_weight, point.value.value, point.chosen) for point in points] == [
        (0.9, 1.5, False),
        (0.5, 0.75, True),
    ]
