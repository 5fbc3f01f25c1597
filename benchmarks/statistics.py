"""How often the report's own statistics are wrong: ``python -m benchmarks.statistics [--trials N] [--seed N]``.

Experiments are simulated as a run would have them: an evaluation of SFT and of the fused model with item-by-item scores, compared
by `fusionchat.report.rows.gains`. Two questions, in every case:

- **equal**: two models of which none is better. How often is the difference called clear? 5 % is right.
- **seen**: an experiment says what difference could be seen (`fusionchat.evaluate.power.detectable`); another experiment like it,
  with other items and other trainings, has a difference of that size. How often is it called clear? 80 % at least is right.

The noise of items and of trainings is varied. The last column is the size that is said (the median) in units of the true standard
error. The last line is JSON.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.noise import Gain, Side
from fusionchat.evaluate.power import detectable
from fusionchat.evaluate.scores import Items, Scores
from fusionchat.evaluate.tasks import METRICS
from fusionchat.report.model import RowKind
from fusionchat.report.rows import Trained, gains

BITS, RIGHT = METRICS["bits_per_byte"], METRICS["right_answer"]
LEAST, MOST = 0.03, 0.07
SEEN = 0.8


class Case(NamedTuple):
    """An experiment.

    Attributes:
        name: In words.
        metric: What is measured.
        items: How many.
        sft, fused: Trainings of each side; 0 for models that were not trained here.
        effect: How far two recipes differ from item to item, of their average apart.
        training: How far trainings of one recipe are apart.
        luck: How far they are apart from item to item, besides.
    """

    name: str
    metric: Metric
    items: int
    sft: int
    fused: int
    effect: float
    training: float
    luck: float


class Found(NamedTuple):
    """How a case ended: shares of trials, and the sizes that were said over the true standard error."""

    equal: float
    seen: float
    size: float


def cases() -> Iterator[Case]:
    """All cases: three seeds of SFT with one and three of the fused model, two and five seeds, and no training at all."""
    noises = (
        ("items", 0.30, 0.002, 0.05),
        ("both", 0.15, 0.012, 0.05),
        ("trainings", 0.05, 0.030, 0.02),
    )
    for metric, items in ((BITS, 250), (BITS, 40), (RIGHT, 250)):
        yield Case(f"{metric.title}, {items} items, not trained", metric, items, 0, 0, 0.3, 0.0, 0.0)
        for seeds, again in ((2, 1), (3, 1), (3, 3), (5, 1)):
            for name, effect, training, luck in noises:
                trained = f"{seeds} seeds of SFT, {again} of the fused model"
                wide = 3.0 if metric is RIGHT else 1.0
                yield Case(
                    f"{metric.title}, {items} items, {trained}, noise of {name}",
                    metric, items, seeds, again, wide * effect, wide * training, wide * luck,
                )  # fmt: skip


def experiment(case: Case, rng: np.random.Generator, planted: float = 0.0) -> Gain:
    """What the report says of one experiment, in which the fused model is better by ``planted``."""
    hard_C = rng.normal(0, 1, case.items)
    bytes_C = rng.integers(40, 400, case.items) if case.metric is BITS else np.ones(case.items, np.int64)
    sides = []
    for trainings, size, label in ((case.sft, 0.0, "sft"), (case.fused, planted, "fused")):
        effect_C = rng.normal(0, case.effect, case.items)
        runs = []
        for _ in range(max(trainings, 1)):
            luck_C = rng.normal(0, case.luck, case.items) if case.luck else 0.0
            ability_C = effect_C + luck_C + rng.normal(0, case.training)
            values_C = measured(case, hard_C, ability_C, bytes_C, rng.random(case.items), size)
            ids, domains = tuple(map(str, range(case.items))), ("",) * case.items
            runs.append(Scores(0, {case.metric.name: Items(ids, domains, values_C, bytes_C)}))
        kind: RowKind = "sft" if label == "sft" else "merge" if trainings else "pivot"
        sides.append(Trained(label, kind, tuple(runs)))
    return found_by_report(case, sides)


def found_by_report(case: Case, sides: Sequence[Trained]) -> Gain:
    """The gain of the second side over the first, by the functions that make the report's rows."""
    if not case.sft:  # models that nobody trained here have no training noise
        first, second = (side.runs[0].items[case.metric.name] for side in sides)
        return untrained(case.metric, first, second)
    return gains(sides, case.metric, "fused", "sft")["fused"].overall


def untrained(metric: Metric, baseline: Items, model: Items) -> Gain:
    """The gain of a model over another, neither trained here."""
    return metric.gains(Side(model.values), Side(baseline.values), model.sizes, model.domains).overall


def measured(
    case: Case,
    hard_C: NDArray[np.float64],
    ability_C: NDArray[np.float64],
    bytes_C: NDArray[np.int64],
    luck_C: NDArray[np.float64],
    planted: float,
) -> NDArray[np.float64]:
    """Bits of each item, or whether it is right. A planted difference makes that many of the wrong ones right."""
    if case.metric is BITS:
        rate_C: NDArray[np.float64] = 0.7 + 0.1 * hard_C - 0.1 * ability_C - planted
        return rate_C * bytes_C
    right_C = hard_C + ability_C > 0
    wrong = max(float(np.mean(~right_C)), 1 / len(right_C))
    return (right_C | (luck_C < planted / wrong)).astype(np.float64)


def simulate(case: Case, trials: int, seed: int) -> Found:
    """The shares of trials in which equal models are called different, and in which a planted difference is seen."""
    rng = np.random.default_rng(seed)
    found = [experiment(case, rng) for _ in range(trials)]
    sizes = [size for one in found if (size := detectable(one, case.metric.estimator.own)) is not None]
    assert len(sizes) == trials, "every experiment says what could be seen"
    seen = [experiment(case, rng, size) for size in sizes]
    spread = float(np.std([one.value for one in found]))
    return Found(
        sum(one.is_clear for one in found) / trials,
        sum(one.is_clear and one.value > 0 for one in seen) / trials,
        float(np.median(sizes)) / spread,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1000, help="experiments of each kind in each case")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    held = []
    print(f"{'case':94} equal   seen  size")
    for number, case in enumerate(cases()):
        found = simulate(case, options.trials, options.seed + number)
        print(f"{case.name:94} {found.equal:5.1%} {found.seen:6.1%} {found.size:5.1f}", flush=True)
        held.append({"case": case.name, **found._asdict()})
    summary = {
        "trials": options.trials,
        "equal_in_bounds": sum(LEAST <= one["equal"] <= MOST for one in held),
        "seen_enough": sum(one["seen"] >= SEEN for one in held),
        "cases": held,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
