"""Likelihood tasks and generated answers of the study's models, on what nothing was trained on or chosen by.

    python -m benchmarks.real_chat_tasks RUN NAME=MODEL[,MODEL...]... --out OUT [--generated] [--minutes 18]
    python -m benchmarks.real_chat_tasks RUN pivot=MODELS/smollm2 SFT=RUN/distill/sft/model,RUN/distill/sft#2/model \
        'SFT soup=RUN/merge/sft#soup/model' varm=RUN/merge/varm@0.1/model --out OUT

RUN has the study's corpus; the models have the pivot's tokens, and seeds of one are given with commas between:

- ``right_answer`` and ``continuation`` on the test dialogues, all of them;
- ``multiple_choice`` on questions made here from ``../shared/data``: 120 programs of MBPP, each among three others of like
  length, and 120 final numbers of GSM8K, each among three other numbers of its problem and solution.

Every model leaves ``OUT/ROW/SEED/scores.json``; what is there is kept. ``benchmarks.real_chat_json --tasks OUT`` compares.
``--generated`` has models write instead: the 63 GSM8K problems of the test, and HumanEval's 164 programs, which are
run in a process of their own against its tests. It leaves ``OUT/ROW/SEED/generated.json``. Where the pivot has under 5 %, the
task is at its floor and says nothing.
"""

import argparse
import gzip
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.real_capture import stop_after
from benchmarks.real_chat import DATA, TEST
from fusionchat import console
from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.evaluate.choice.draw import pools, size, wrong_options
from fusionchat.evaluate.measure import measure
from fusionchat.evaluate.scores import SCORES, read_scores
from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.evaluate.tasks.base import Subject
from fusionchat.evaluate.tasks.exact_match import exact_match
from fusionchat.models.ref import ModelRef
from fusionchat.runtime import RuntimeSettings
from fusionchat.stages.corpus import read_part, read_tokens
from fusionchat.stages.evaluate import subjects
from fusionchat.stages.names import CORPUS

QUESTIONS, LONGEST, SEED = 120, 300, 1
"""Questions of each kind of multiple choice; the most bytes of a program; the seed of the wrong options."""
NUMBER = r"\d[\d,]*(?:\.\d+)?"
SECONDS, BYTES = 10, 2 << 30
"""What a generated program may take."""
REPLY = 320
"""The most tokens of a written answer."""
GENERATED = "generated.json"


class Made(NamedTuple):
    """A model of the study: its row's name, its seed, and its folder."""

    row: str
    seed: int
    folder: Path


def seeds(given: str) -> list[Made]:
    """NAME=MODEL[,MODEL...]."""
    name, mark, folders = given.partition("=")
    if not (name and mark and folders):
        raise argparse.ArgumentTypeError(f"NAME=FOLDER[,FOLDER...] is needed, not {given!r}")
    return [Made(name, seed, Path(folder)) for seed, folder in enumerate(folders.split(","), start=1)]


class Asked(NamedTuple):
    """A question with its options, the right one first."""

    domain: str
    question: str
    options: list[str]

    def line(self, order: random.Random) -> str:
        """Its line of the file, the options shuffled."""
        mixed = order.sample(self.options, len(self.options))
        right = mixed.index(self.options[0])
        return json.dumps(
            {"domain": self.domain, "question": self.question, "options": mixed, "answer": right},
            ensure_ascii=False,
        )


def programs() -> Iterator[Asked]:
    """MBPP's tasks, each with its program among three of others."""
    lines = (DATA.parent / "eval/mbpp.jsonl").read_text(encoding="utf-8").splitlines()
    tasks = [(held["text"], held["code"].replace("\r\n", "\n").strip()) for held in map(json.loads, lines)]
    tasks = [(text, code) for text, code in tasks if size(code) <= LONGEST]
    pool = pools([code for _, code in tasks], ["mbpp"] * len(tasks))["mbpp"]
    for text, code in tasks:
        wrong = wrong_options(code, pool, 3, SEED)
        if len(wrong) == 3:
            yield Asked("mbpp", text, [code, *wrong])


def numbers() -> Iterator[Asked]:
    """GSM8K's problems after those of the test, each with its final number among three of its own text."""
    with gzip.open(DATA / "gsm8k_test.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = file.readlines()[TEST:]
    for line in lines:
        question, solution = (m["content"] for m in json.loads(line)["messages"])
        worked, _, right = solution.rpartition("####")
        others = [one for one in re.findall(NUMBER, question + " " + worked) if one != right.strip()]
        others = list(dict.fromkeys(others))
        if len(others) >= 3:
            wrong = random.Random(question).sample(others, 3)
            yield Asked("numbers", question, [right.strip(), *wrong])


def write_questions(path: Path) -> None:
    """The file of `multiple_choice`; options in the order of a seed."""
    order = random.Random(SEED)
    taken = [one for kind in (programs(), numbers()) for one in islice(kind, QUESTIONS)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(one.line(order) + "\n" for one in taken), encoding="utf-8")


def opened(run: Path, settings: EvaluateSettings, made: Made, questions: Path) -> Subject:
    """A model with the test dialogues."""
    corpus = run / CORPUS
    conversations, tokens = read_part(corpus, "test"), read_tokens(corpus, "test", "pivot")
    ref = ModelRef(made.row, str(made.folder.absolute()), str(made.folder.absolute()))
    found = subjects(settings, conversations, tokens, ref, RuntimeSettings(device="cpu"))(ref)
    return replace(found, files={"multiple_choice.path": questions})


def generated(subject: Subject) -> dict[str, float]:
    """The shares of GSM8K's problems and HumanEval's programs that a model writes correctly."""
    problems = [
        replace(one, answer=one.messages[-1].content.rpartition("####")[2].strip())
        for one in subject.conversations
        if one.domain == "math"
    ]
    lines = (DATA.parent / "eval/HumanEval.jsonl").read_text(encoding="utf-8").splitlines()
    tasks = [json.loads(line) for line in lines]
    asked = [
        Conversation(
            task["task_id"],
            (
                Message("user", f"Complete this Python function:\n\n```python\n{task['prompt']}```"),
                Message("assistant", "-"),
            ),
            answer="-",
        )
        for task in tasks
    ]
    written = []
    for name, of in (("GSM8K", problems), ("HumanEval", asked)):
        with console.progress(f"write {name}", len(of), "answers") as advance:
            written.append(
                exact_match(
                    subject.model,
                    subject.renderer,
                    of,
                    pattern=f"({NUMBER})",
                    max_new_tokens=REPLY,
                    device=subject.device,
                    batch_tokens=subject.batch_tokens,
                    progress=advance,
                )
            )
    solved = [passes(task, reply) for task, reply in zip(tasks, written[1].replies, strict=True)]
    return {"gsm8k": float(written[0].correct.mean()), "humaneval": sum(solved) / len(solved)}


def passes(task: dict[str, str], reply: str) -> bool:
    """Whether a reply's function passes HumanEval's tests, in a process of its own."""
    block = re.search(r"```(?:python)?\n(.*?)(?:```|\Z)", reply, re.DOTALL)
    code = block[1] if block else reply
    whole = task["prompt"] + code if f"def {task['entry_point']}" not in code else preamble(task) + code
    program = f"{whole}\n{task['test']}\ncheck({task['entry_point']})\n"
    with tempfile.TemporaryDirectory() as folder:
        try:
            ended = subprocess.run(
                [sys.executable, "-I", "-c", program],
                cwd=folder,
                timeout=SECONDS,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                preexec_fn=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return ended.returncode == 0


def preamble(task: dict[str, str]) -> str:
    """What stands before the function in the prompt: imports and helpers."""
    return task["prompt"].rpartition(f"def {task['entry_point']}")[0]


def limit() -> None:
    """What a generated program may take of the machine."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("models", nargs="+", type=seeds, metavar="NAME=MODEL[,MODEL...]")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--generated", action="store_true", help="have models write answers instead")
    parser.add_argument("--minutes", type=float, default=18.0)
    given = parser.parse_args()
    stop_after(given.minutes)
    questions = given.out / "questions.jsonl"
    if not questions.is_file():
        write_questions(questions)
    settings = EvaluateSettings.model_validate(
        {
            "dtype": "float32",
            "right_answer": {"limit": None},
            "continuation": {"limit": None},
            "multiple_choice": {"path": str(questions)},
        }
    )
    optional = [task for task in settings.tasks if not task.always]
    for made in (one for row in given.models for one in row):
        folder = given.out / made.row / str(made.seed)
        done = folder / (GENERATED if given.generated else SCORES)
        if done.is_file():
            continue
        subject = opened(given.run, settings, made, questions)
        folder.mkdir(parents=True, exist_ok=True)
        if given.generated:
            done.write_text(json.dumps(generated(subject)) + "\n")
        else:
            measure(subject, optional, folder, f"{made.row} {made.seed}")
    console.say(json.dumps(shown(given.out)))


def shown(out: Path) -> dict[str, dict[str, float]]:
    """The figures of all models that are there."""
    found: dict[str, dict[str, float]] = {}
    for folder in sorted(one for one in out.glob("*/*") if one.is_dir()):
        row = found.setdefault(f"{folder.parent.name} {folder.name}", {})
        if (folder / SCORES).is_file():
            for name, items in read_scores(folder).items.items():
                row[name] = round(float(items.values.mean()), 4)
        if (folder / GENERATED).is_file():
            row |= json.loads((folder / GENERATED).read_text())
    return found


if __name__ == "__main__":
    main()
