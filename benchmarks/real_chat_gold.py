"""TRL's GOLD beside fusion: the same pivot from one source, the same dialogues, steps and search of the rate.

    python3 -m venv GOLD                                       # an environment of its own
    GOLD/bin/pip install torch==2.13.0
    GOLD/bin/pip install trl==1.16.0 transformers==5.24.0 accelerate==1.15.0 datasets==5.2.0
    python -m benchmarks.real_chat --corpus CORPUS             # ours: writes the study's dialogues
    GOLD/bin/python -m benchmarks.real_chat_gold MODELS CORPUS/train.jsonl --out OUT [--only 'labels 1e-4',...]
    python -m benchmarks.real_chat_measure RUN gold=OUT/labels-1e-4/model ... --out MEASURED

MODELS is the folder that ``../shared/tools/real_models.py`` has filled. For every row of `ROWS` it leaves a folder in OUT
with ``model`` and ``result.json``: settings, rate, steps, seconds, CPU seconds, peak memory (MB), losses and versions.
Finished rows are kept; an interrupted one continues from its last checkpoint. ``'labels 1e-4 2'`` is the first row with seed 2.
``--quick`` trains two steps of each and keeps nothing. ``--bf16`` trains in bfloat16 as GOLD does by default, on float32
weights (autocast), as the recipe's ``precision: bf16``; give it an OUT of its own.
``--source FOLDER --epochs 3`` trains with another source for longer, such as the study's adapted one (OUT of its own, too):

    fusionchat merge --pivot MODELS/qwen-coder --target WORK/final/smollm-chat/adapt/qwen/model --method linear --out ADAPTED
    GOLD/bin/python -m benchmarks.real_chat_gold ... --source ADAPTED --epochs 3 --only 'low 1e-4'

As in recipes/smollm_chat.yaml: one epoch in batches of 8, AdamW without decay, gradients cut at 1, cosine after a warm-up of
0.1, off-policy (``lmbda`` 0: on the dialogues' own text). What is GOLD's own is in `LOSSES`.

What its source (trl 1.16.0) does, as far as it matters here:

- Only the last answer bears loss, with its end of turn; the study's dialogues have one answer each.
- The source reads the pivot's rendered text, its system prompt included, not its own template. Both are ChatML here.
- ``uld_token_merge_strategy: observed``, the default, reads the distribution after each token, but multiplies by that of
  the token itself, one position off; ``bayesian`` follows the chain rule and has the first token of an answer too.
- It does not set ``loss_is_scaled_for_ga``, so that accumulated micro-batches add up to a gradient as many times too long,
  which is then cut at 1. Set here: a batch of 8 does not fit this machine at once.
- Softmax is in the model's dtype. The source runs in bfloat16, as published and as in our captures; its logits are
  widened here first.
"""

import argparse
import json
import resource
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from trl.experimental.gold import GOLDTrainer

HYBRID = {"use_uld_loss": True, "uld_use_hybrid_loss": True}
"""What the documentation sets for two tokenizers: common tokens by divergence, the others by sorted probabilities."""
CHAIN = HYBRID | {"uld_token_merge_strategy": "bayesian", "beta": 0.0}
"""With the chain rule, and the forward KL that GOLD's authors used."""
LABELS = {"uld_crossentropy_weight": 0.5, "uld_distillation_weight": 0.5}
"""Labels beside distributions, as much of each as in the recipe (``label_weight: 0.5``)."""
LOW = {"uld_crossentropy_weight": 0.1, "uld_distillation_weight": 0.9}
"""As in the study's choice (``label_weight: 0.1``)."""
EVEN = {"uld_hybrid_matched_weight": 1.0, "uld_hybrid_unmatched_weight": 1.0}
"""Left alone, the weights are the share of the source's tokens that the pivot has, 0.26 here, and the rest."""
LOSSES: dict[str, dict[str, Any]] = {
    "labels": CHAIN | LABELS,
    "even": CHAIN | LABELS | EVEN,
    "low": CHAIN | LOW,
    "docs": HYBRID,
    "chain": CHAIN,
}
ROWS = ("labels 1e-4", "labels 3e-4", "labels 3e-5", "even 1e-4", "docs 1e-4", "chain 1e-4")
"""Losses and rates, in the order of what decides most."""
BATCH, SAVE_EVERY = 8, 3
PACKAGES = ("torch", "trl", "transformers", "accelerate", "datasets", "tokenizers")


class Study(NamedTuple):
    """What is the same in all rows of a call.

    Attributes:
        pivot: The folder of the model that learns.
        source: The folder of the one that it learns from.
        dialogues: The JSONL file of the text.
        epochs: Passes over it.
        steps: Steps, if not as many as the epochs have (-1).
        bf16: Whether to train in bfloat16.
    """

    pivot: Path
    source: Path
    dialogues: Path
    epochs: int
    steps: int
    bf16: bool


class Row(NamedTuple):
    """A training: one of `LOSSES`, the highest learning rate, and the seed of the order of the dialogues."""

    loss: str
    rate: float
    seed: int


def read(row: str) -> Row:
    """A row by its name: ``labels 1e-4``, or ``labels 1e-4 2`` with seed 2 instead of 0."""
    loss, rate, *seed = row.split()
    return Row(loss, float(rate), int(seed[0]) if seed else 0)


def make_trainer(study: Study, row: str, folder: Path) -> "GOLDTrainer":
    """GOLD's trainer of a row."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.experimental.gold import GOLDConfig, GOLDTrainer

    name, rate, seed = read(row)
    pivot, source = str(study.pivot), str(study.source)
    settings = GOLDConfig(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=BATCH,
        num_train_epochs=study.epochs,
        max_steps=study.steps,
        learning_rate=rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=study.bf16,
        gradient_checkpointing=False,
        max_length=1024,
        lmbda=0.0,
        seed=seed,
        use_cpu=True,
        report_to="none",
        logging_steps=1,
        save_steps=SAVE_EVERY,
        save_total_limit=1,
        disable_tqdm=True,
        teacher_tokenizer_name_or_path=source,
        **LOSSES[name],
    )
    teacher = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    teacher.register_forward_hook(widen)
    lines = study.dialogues.read_text(encoding="utf-8").splitlines()
    trainer = GOLDTrainer(
        model=AutoModelForCausalLM.from_pretrained(pivot, dtype=torch.float32),
        teacher_model=teacher,
        args=settings,
        processing_class=AutoTokenizer.from_pretrained(pivot),
        train_dataset=Dataset.from_list([{"messages": json.loads(line)["messages"]} for line in lines]),
    )
    trainer.loss_is_scaled_for_ga = False
    trainer.add_callback(clock(folder))
    return trainer


def widen(_model: object, _given: object, output: Any) -> Any:
    """A forward hook: logits as float32."""
    output.logits = output.logits.float()
    return output


def clock(folder: Path) -> Any:
    """A callback that keeps what all processes of a row took, at every checkpoint and at the end."""
    from transformers import TrainerCallback

    kept = folder / "clock.json"
    past = json.loads(kept.read_text()) if kept.is_file() else {}
    start, cpu_start = time.perf_counter(), time.process_time()

    def keep(*_given: Any, **_named: Any) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        spent = {
            "seconds": round(past.get("seconds", 0) + time.perf_counter() - start, 1),
            "cpu_seconds": round(past.get("cpu_seconds", 0) + time.process_time() - cpu_start, 1),
            "peak_memory_mb": round(max(past.get("peak_memory_mb", 0), peak)),
        }
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(spent))

    return type("Clock", (TrainerCallback,), {"on_save": keep, "on_train_end": keep})()


def train(study: Study, row: str, out: Path) -> dict[str, Any]:
    """Train a row into a folder, and say what it took."""
    work = out / "work"
    trainer = make_trainer(study, row, work)
    trainer.train(resume_from_checkpoint=any(work.glob("checkpoint-*")))
    trainer.save_model(str(out / "model"))
    found = {
        "row": row,
        **read(row)._asdict(),
        "source": study.source.name,
        "epochs": study.epochs,
        "bf16": study.bf16,
        "settings": LOSSES[read(row).loss],
        "steps": trainer.state.global_step,
        **json.loads((work / "clock.json").read_text()),
        "losses": [held["loss"] for held in trainer.state.log_history if "loss" in held],
        "versions": {name: version(name) for name in PACKAGES},
    }
    (out / "result.json").write_text(json.dumps(found, indent=1) + "\n")
    shutil.rmtree(work)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path)
    parser.add_argument("dialogues", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--source", type=Path, help="MODELS/qwen-coder by default")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--only", default="", help="rows, with commas between; all by default")
    parser.add_argument("--quick", action="store_true", help="two steps of each row, which are not kept")
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16 (autocast) instead of float32")
    given = parser.parse_args()
    study = Study(
        given.models / "smollm2",
        given.source or given.models / "qwen-coder",
        given.dialogues,
        given.epochs,
        2 if given.quick else -1,
        given.bf16,
    )
    for row in [name.strip() for name in given.only.split(",") if name.strip()] or ROWS:
        folder = given.out / row.replace(" ", "-")
        if given.quick:
            folder = folder.with_name(folder.name + ".quick")
            shutil.rmtree(folder, ignore_errors=True)
        done = folder / "result.json"
        found = json.loads(done.read_text()) if done.is_file() else train(study, row, folder)
        if given.quick:
            shutil.rmtree(folder)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
