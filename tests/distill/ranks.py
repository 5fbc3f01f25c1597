"""Trainings and single steps for `test_ranks.py`, in one process or as one rank of several; also the ranks' start."""

import multiprocessing
import os
import pickle
import socket
from contextlib import contextmanager

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from fusionchat.corpus.render import Rendered
from fusionchat.distill.batching import plan_steps
from fusionchat.distill.data import StudentData
from fusionchat.distill.settings import DistillSettings
from fusionchat.distill.student import Student
from fusionchat.distill.trainer import train
from tests.build import by_conversation, make_scored

VOCABULARY = 29
RANKS = 2
DTYPES = (torch.float64, torch.float32)


def make(tied, dtype):
    """GPT-2 computes in the dtype of its weights throughout; Llama's norms are fp32."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=16, tie_word_embeddings=tied
    )
    return GPT2LMHeadModel(config).to(dtype)


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
def silent(_steps):
    yield lambda _count: None


def trained(dtype, folder):
    """Weights after 20 steps of `train`, and the logged losses; the last step of an epoch's end has one conversation."""
    rendered, soft = corpus(9)
    model = make(False, dtype)
    log = train(
        model,
        rendered,
        soft,
        label_weight=0.5,
        settings=DistillSettings(epochs=77 / 9, batch_size=4, learning_rate=1e-3, precision="fp32"),
        seed=0,
        micro_batch_tokens=1,
        gradient_checkpointing=False,
        checkpoint_steps=200,
        folder=folder,
        device=torch.device("cpu"),
        progress=silent,
    )
    assert (
        log.steps == 20
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
    data = StudentData(rendered, soft, plan)
    return [data[i][0] for i in range(RANKS)]


def gradients(student, batch, ranks):
    """This rank's loss, and each parameter's gradient (whole, also where ranks hold parts)."""
    sums = student(batch)
    loss = sums.loss / batch["step_rows"] * ranks
    loss.backward()
    full = [p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad for p in student.parameters()]
    return float(loss.detach()), full


def sharded(student):
    """FSDP2 on a mesh of CPUs: a group for every block, one for an untied head, the rest with the root."""
    from torch.distributed.fsdp import fully_shard

    for block in student.body.h:
        fully_shard(block)
    if student.head.linear.weight is not student.body.wte.weight:
        fully_shard(student.head)
    fully_shard(student)
    return student


def rank(number, port, folder):
    """All that the tests look at, as one of the ranks; rank r's results go to ``folder/r.pickle``."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    found = {("train", dtype): trained(dtype, folder / "checkpoints") for dtype in DTYPES}
    assert dist.get_world_size() == RANKS and dist.get_backend() == "gloo"
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (RANKS,))
    assert mesh.size() == RANKS
    for tied in (True, False):
        whole = make(tied, torch.float64)
        wrapped = torch.nn.parallel.DistributedDataParallel(Student.of(whole, label_weight=0.5))
        found["ddp", tied] = gradients(wrapped, batches()[number], RANKS)
        shards = sharded(Student.of(make(tied, torch.float64), label_weight=0.5))
        held = sum(p.to_local().numel() for p in shards.parameters())
        found["fsdp", tied] = (*gradients(shards, batches()[number], RANKS), held)
    (folder / f"{number}.pickle").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


def start(folder):
    """Run `rank` in processes of its own and wait for them; the modules are imported once for all of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [context.Process(target=rank, args=(number, port, folder)) for number in range(RANKS)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0] * RANKS
    finally:
        for process in processes:
            process.kill()
    return [pickle.loads((folder / f"{number}.pickle").read_bytes()) for number in range(RANKS)]
