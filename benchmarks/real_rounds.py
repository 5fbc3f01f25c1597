"""What a second round gains on real chat LLMs: a target trained further on its own answers, beside one that is trained longer.

    python ../shared/tools/real_models.py MODELS
    python -m benchmarks.real_rounds MODELS --work WORK [--minutes 18] [--set rounds.share=0.5 ...]
    python -m benchmarks.real_rounds --recipe recipe.yaml --work WORK    # another recipe of one source, as it is

The recipe is recipes/smollm_chat.yaml with the source qwen and the dialogues of `benchmarks.real_chat`, measured on those to
choose by: nothing of it sees the test. Two runs: ``rounds`` has two rounds; ``longer`` has one, with the epochs of both. Both
begin with the same captures. SFT is trained once where ``compare.sft_epochs`` fixes its length, else in both. Calls with the
same WORK go on where they were. Prints bits per byte by domain, the gains of round 2 (paired, with the standard error over
the dialogues alone), and of the questions that the target answered the share whose answer is likelier to the source than to
the pivot, the corpus's and the target's own. The last line is JSON, with ``"finished": false`` while something is missing.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.real_capture import stop_after
from benchmarks.real_chat import Study, Variant, is_done, link, make_jobs, write_corpus
from benchmarks.real_chat_measure import by_domain, gain
from fusionchat import console
from fusionchat.answer.settings import RoundsSettings
from fusionchat.evaluate.scores import Scores, read_scores
from fusionchat.recipe.schema import Recipe
from fusionchat.represent.store.read import DistributionStore
from fusionchat.stages.answer import own_answers
from fusionchat.stages.names import Row, Trained, answered, captured, evaluated
from fusionchat.stages.pipeline import run

ROUNDS = ("rounds={n: 2, share: 0.5, max_new_tokens: 160}",)
"""Short answers: half of the dialogues' own have under 100 tokens."""


class Runs(NamedTuple):
    """The two runs, and the source of both."""

    rounds: Recipe
    longer: Recipe
    source: str

    @classmethod
    def of(cls, recipe: Recipe, work: Path) -> "Runs":
        """From a recipe of two rounds and one source."""
        (source,) = recipe.sources
        epochs = recipe.distill.epochs + recipe.rounds.epochs
        longer = recipe.distill.model_copy(update={"epochs": epochs})
        return cls(
            recipe.model_copy(update={"name": "rounds", "output": str(work)}),
            recipe.model_copy(
                update={"name": "longer", "output": str(work), "distill": longer, "rounds": RoundsSettings()}
            ),
            source,
        )

    def target(self, turn: int) -> Row:
        """The target of a round."""
        return Row(kind="target", base=self.source, weight=self.rounds.distill.label_weight, round=turn)

    @property
    def jobs(self) -> dict[str, tuple[Recipe, str]]:
        """What is measured: its run, and the evaluation."""
        sft = evaluated("test", Row(kind="sft", base="sft"))
        return {
            "pivot": (self.rounds, evaluated("test", Row(kind="pivot", base="pivot"))),
            self.source: (self.rounds, evaluated("test", Row(kind="source", base=self.source))),
            "round 1": (self.rounds, evaluated("test", self.target(1))),
            "round 2": (self.rounds, evaluated("test", self.target(2))),
            "longer": (self.longer, evaluated("test", self.target(1))),
            "sft": (self.rounds, sft),
        } | ({} if self.rounds.compare.sft_epochs else {"sft longer": (self.longer, sft)})


def make_all(runs: Runs) -> None:
    """Both runs, as far as something of them is measured."""
    run(runs.rounds, until="fuse")
    link(runs.rounds.run_folder, runs.longer.run_folder)
    for recipe, job in runs.jobs.values():
        make_jobs(recipe, [job])


def source_wins(runs: Runs) -> dict[str, float]:
    """Share of the answered questions whose answer is likelier to the source than to the pivot: of the corpus, and own."""
    of = Trained(base=runs.source, weight=runs.rounds.distill.label_weight, round=2)
    folder = runs.rounds.run_folder
    chosen = sorted(own_answers(folder / answered(of)))
    found = {}
    for name, turn in (("corpus", None), ("own", of)):
        pivot, source = (DistributionStore(folder / captured(m, turn)) for m in ("pivot", runs.source))
        wins = [likelihood(source, i) > likelihood(pivot, i) for i in chosen]
        found[name] = sum(wins) / max(len(wins), 1)
    return found


def likelihood(store: DistributionStore, conversation: int) -> float:
    """Nats of a conversation's supervised tokens; both models have the same text."""
    return float(store.column("label_logprob", conversation, conversation + 1).astype(float).sum())


def figures(runs: Runs) -> dict[str, object]:
    """What is there: figures by model, gains of round 2, and whether anything is missing."""
    scores: dict[str, Scores] = {
        name: read_scores(recipe.run_folder / job)
        for name, (recipe, job) in runs.jobs.items()
        if recipe.run_folder.is_dir() and is_done(recipe, job)
    }
    found: dict[str, object] = {"models": {name: by_domain(one) for name, one in scores.items()}}
    for over in ("round 1", "longer", "sft longer"):
        if {over, "round 2"} <= scores.keys():
            one = gain(scores["round 2"], scores[over])
            found[f"gain over {over}"] = {"value": one.value, "se": one.sampling_se}
    if "round 2" in scores:
        found["source wins"] = source_wins(runs)
    return found | {"finished": scores.keys() == runs.jobs.keys()}


def show(models: dict[str, dict[str, float]]) -> None:
    """A table of bits per byte."""
    columns = list(next(iter(models.values()), {"all": 0.0}))
    rows = [(name, *(f"{held[column]:.4f}" for column in columns)) for name, held in models.items()]
    console.table("bits per byte", ("model", *columns), rows)


def study_recipe(models: Path, work: Path, settings: Sequence[str]) -> Recipe:
    """The study's recipe with two rounds."""
    if not (work / "corpus/spare.jsonl").is_file():
        write_corpus(work / "corpus")
    variant = Variant("qwen", (*ROUNDS, "compare.sft_seeds=1", *settings), ("qwen",))
    return Study(models, work).recipe("rounds", "choose", variant)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="?", type=Path, help="the folder that real_models.py has filled")
    parser.add_argument("--recipe", type=Path, help="a recipe of one source in place of the study's")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=18.0)
    parser.add_argument("--set", action="append", default=[], metavar="PATH.TO.KEY=VALUE")
    given = parser.parse_args()
    if (given.models is None) == (given.recipe is None):
        parser.error("give MODELS or --recipe")
    stop_after(given.minutes)
    work = given.work.absolute()
    recipe = (
        study_recipe(given.models, work, given.set)
        if given.recipe is None
        else Recipe.load(given.recipe, ["rounds.n=2", *given.set])
    )
    runs = Runs.of(recipe, work)
    make_all(runs)
    found = figures(runs)
    models = found["models"]
    assert isinstance(models, dict)
    show(models)
    console.say(json.dumps(found))


if __name__ == "__main__":
    main()
