"""Trainings and single steps for `test_ranks.py`, in one process or as one rank of several; also the ranks' start."""

import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import time
from contextlib import contextmanager

import numpy as np
import torch
from accelerate.state import AcceleratorState
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from fusionchat.corpus.render import Rendered
from fusionchat.distill import data, trainer
from fusionchat.distill.batching import plan_steps
from fusionchat.distill.data import StudentData
from fusionchat.distill.held_out import HeldOut
from fusionchat.distill.observer import Watched
from fusionchat.distill.settings import DistillSettings
from fusionchat.distill.sharded import shard
from fusionchat.distill.student import Student
from fusionchat.distill.trainer import train
from fusionchat.errors import TrainingError
from tests.build import by_conversation, make_scored

VOCABULARY = 29
RANKS = 2
STEPS, CUT_AT = 20, 12
DTYPES = (torch.float64, torch.float32)
SHARDED = ("tied", "untied", "frozen")
CUT = {"tied": True, "untied": False}
"""What is trained, cut and gone on with, and whether in parts."""
CPU = torch.device("cpu")
BEST = {"keep_best": 6, "learning_rate": 0.02}


def make(kind, dtype):
    """GPT-2 computes in the dtype of its weights throughout; Llama's norms are fp32. Of a frozen one a part is trained."""
    torch.manual_seed(0)
    tied = kind == "tied"
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=16, tie_word_embeddings=tied
    )
    model = GPT2LMHeadModel(config).to(dtype)
    if kind == "frozen":  # embedding, head and all but the factors of each block are
        get_peft_model(
            model,
            LoraConfig(
                r=2, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True, init_lora_weights=False
            ),
        )
        model.to(dtype)
    return model


def llama():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, tie_word_embeddings=True,
        )
    )  # fmt: skip


def corpus(count):
    """Conversations of unequal lengths, so that ranks have unequal numbers of rows."""
    rng = np.random.default_rng(1)
    made = []
    for length in rng.integers(4, 12, count):
        rows = np.arange(int(rng.integers(1, 4)), length, dtype=np.int32)
        zero = np.zeros(len(rows), np.int32)
        made.append(Rendered(rng.integers(0, VOCABULARY, length).astype(np.int32), rows, zero, zero, zero))
    soft = make_scored(3, [len(one.rows) for one in made], vocabulary=VOCABULARY)
    return made, by_conversation(soft)


@contextmanager
def silent(_steps, _done):
    yield lambda _count: None


def trained(model, folder, **more):
    """Weights after 20 steps of `train`, and the logged losses; the last step of an epoch's end has one conversation."""
    rendered, soft = corpus(9)
    settings = {"epochs": 77 / 9, "batch_size": 4, "learning_rate": 1e-3, "precision": "fp32"}
    log = train(
        model,
        rendered,
        soft,
        label_weight=0.5,
        settings=DistillSettings(**settings | more.pop("settings", {})),
        seed=0,
        micro_batch_tokens=1,
        **{"gradient_checkpointing": False, "checkpoint_steps": 200} | more,
        folder=folder,
        device=CPU,
        progress=silent,
    )
    assert (
        log.steps == STEPS
    )  # 77 conversations, 4 a step: the last step has one, and three passes without a row
    return [p.detach() for p in model.parameters()], [entry["loss"] for entry in log.log]


def batches():
    """Two micro-batches of one step: one conversation, and one without supervised rows."""
    rendered, soft = corpus(1)
    plan = plan_steps(
        [len(one.rows) for one in rendered],
        [len(one.input_ids) for one in rendered],
        epochs=1,
        batch_size=1,
        micro_tokens=1,
        ranks=RANKS,
        seed=0,
    )
    found = StudentData(rendered, soft, plan)
    return [found[i][0] for i in range(RANKS)]


def gradients(student, batch, ranks):
    """This rank's loss, and each trained parameter's gradient (whole, also where ranks hold parts)."""
    sums = student(batch)
    loss = sums.loss / batch["step_rows"] * ranks
    loss.backward()
    grads = [p.grad for p in student.parameters() if p.requires_grad]
    return float(loss.detach()), [g.full_tensor() if hasattr(g, "full_tensor") else g for g in grads]


def watched(metrics):
    """With held-out conversations that are the last ones of a longer corpus."""
    rendered, _ = corpus(14)
    return Watched(metrics=metrics, held_out=HeldOut(rendered[9:], 100), every=8)


@contextmanager
def wrong(one):
    """Let a conversation that is alone in its pass have states that are not numbers."""
    ids, hidden = torch.from_numpy(one.input_ids.astype(np.int64))[None], Student.hidden

    def spoilt(self, batch):
        return hidden(self, batch) * (torch.nan if torch.equal(batch["input_ids"], ids) else 1.0)

    Student.hidden = spoilt
    try:
        yield
    finally:
        Student.hidden = hidden


class Cut(Exception):
    """Ends a training in the middle."""


@contextmanager
def cut(how):
    """Call ``how`` before step `CUT_AT` of a training."""
    step = trainer.DistillTrainer.training_step

    def stop(self, *args, **kwargs):
        if self.state.global_step == CUT_AT:
            how()
        return step(self, *args, **kwargs)

    trainer.DistillTrainer.training_step = stop
    try:
        yield
    finally:
        trainer.DistillTrainer.training_step = step


def raise_cut():
    raise Cut


def steps_alone(found, number):
    """One step under DDP and FSDP2, of which one rank has no row; the bytes that a rank holds."""
    for kind in SHARDED:
        if kind != "frozen":
            wrapped = torch.nn.parallel.DistributedDataParallel(
                Student.of(make(kind, torch.float64), label_weight=0.5)
            )
            found["ddp", kind] = gradients(wrapped, batches()[number], RANKS)
        student = Student.of(make(kind, torch.float64), label_weight=0.5)
        shard(student, CPU, bf16=False)
        held = sum(p.to_local().numel() for p in student.parameters())
        found["fsdp", kind] = (*gradients(student, batches()[number], RANKS), held)


def trainings(found, number, folder):
    """20 steps each, under DDP and FSDP2; which conversations this rank has looked up."""
    for dtype in DTYPES:
        seen = []
        lookup = data.StudentData.batch
        data.StudentData.batch = lambda self, micro, seen=seen, lookup=lookup: (
            (self.soft is not None and seen.append(micro.members)) or lookup(self, micro)
        )
        found["train", dtype] = trained(
            make("untied", dtype),
            folder / f"ddp-{dtype}",
            watched=watched(folder.parent / f"ddp-{dtype}.jsonl"),
        )
        data.StudentData.batch = lookup
        found["seen", dtype] = seen
        for kind in SHARDED:
            found["sharded", kind, dtype] = trained(
                make(kind, dtype), folder / f"{kind}-{dtype}", sharded=True
            )
    found["best"] = trained(
        make("tied", torch.float64),
        folder / "best",
        sharded=True,
        settings=BEST,
        watched=watched(folder.parent / "best.jsonl"),
    )
    try:
        with wrong(corpus(9)[0][7]):
            trained(
                make("untied", torch.float64), folder / "wrong", watched=Watched(name_of=lambda i: f"nr-{i}")
            )
    except TrainingError as error:
        found["wrong"] = str(error)
    found["bf16", "ddp"] = trained(llama(), folder / "bf16", settings={"precision": "bf16"})
    found["bf16", "sharded"] = trained(
        llama(), folder / "bf16", sharded=True, gradient_checkpointing=True, settings={"precision": "bf16"}
    )


def stopped(found, folder):
    """A training that is cut and gone on with; one that is cut under DDP, for others to go on with."""
    for kind, sharded in CUT.items():
        how = {"sharded": sharded, "checkpoint_steps": 5}
        place = folder / f"cut-{kind}"
        try:
            with cut(raise_cut):
                trained(make(kind, torch.float64), place, **how)
        except Cut:
            shutil.copytree(place, folder / f"kept-{kind}", dirs_exist_ok=True)
        found["resumed", kind] = trained(make(kind, torch.float64), place, **how)


def rank(number, port, folder):
    """All that the tests look at of two ranks; rank r's results go to ``folder/r.pickle``. Then rank 1 is killed."""
    import torch.distributed as dist

    began(number, port, RANKS)
    found = {}
    trainings(found, number, folder / "checkpoints")
    assert dist.get_world_size() == RANKS and dist.get_backend() == "gloo"
    steps_alone(found, number)
    stopped(found, folder)
    (folder / f"{number}.pickle").write_bytes(pickle.dumps(found))
    how = (lambda: os.kill(os.getpid(), signal.SIGKILL)) if number else (lambda: None)
    with cut(how):
        trained(make("untied", torch.float64), folder / "killed", sharded=True, checkpoint_steps=5)


def third(number, port, folder):
    """What three ranks make of trainings that two have left."""
    began(number, port, 3)
    found = {
        "killed": trained(make("untied", torch.float64), folder / "killed", sharded=True, checkpoint_steps=5),
        "of ddp": trained(
            make("untied", torch.float64), folder / "kept-untied", sharded=True, checkpoint_steps=5
        ),
    }
    (folder / f"three-{number}.pickle").write_bytes(pickle.dumps(found))


def began(number, port, count):
    torch.set_num_threads(1)
    AcceleratorState._reset_state(
        reset_partial_state=True
    )  # that of trainings in the process before the fork
    os.environ |= {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def start(work, count, folder):
    """Run some ranks in processes of their own and wait for them; returns their exit codes. They are forks of this one."""
    context = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [context.Process(target=work, args=(number, port, folder)) for number in range(count)]
    try:
        for process in processes:
            process.start()
        while any(process.is_alive() for process in processes):
            time.sleep(0.1)
            if any(
                process.exitcode for process in processes
            ):  # as torch's agent: one has failed, the others end
                break
    finally:
        for process in processes:
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


def read(folder, name, count):
    """What each rank has left."""
    return [pickle.loads((folder / f"{name}{number}.pickle").read_bytes()) for number in range(count)]
