"""Several processes train what one process trains, under DDP and FSDP2; what one of them leaves, others go on with."""

import pytest
import torch

from fusionchat.distill.metrics import HELD_OUT, read_metrics
from fusionchat.distill.student import Student
from tests.distill import ranks

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def found(folder):
    """What two ranks found; then rank 1 was killed in step 12, and rank 0 missed it."""
    assert ranks.start(ranks.rank, ranks.RANKS, folder)[1] == -9
    return ranks.read(folder, "", ranks.RANKS)


@pytest.fixture(scope="module")
def three(found, folder):
    """What three ranks made of what the two had left."""
    assert ranks.start(ranks.third, 3, folder) == [0, 0, 0]
    return ranks.read(folder, "three-", 3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Weights and losses of one process, by model and dtype; each is trained once."""
    made = {}

    def get(kind, dtype):
        if (kind, dtype) not in made:
            made[kind, dtype] = ranks.trained(ranks.make(kind, dtype), tmp_path_factory.mktemp("alone"))
        return made[kind, dtype]

    return get


def assert_near(mine, others, tolerance):
    for one, other in zip(mine, others, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", ranks.DTYPES)
def test_two_processes_train_what_one_does_with_accumulation(found, alone, dtype):
    """20 steps of unequal ranks; in the last, one rank has no supervised row at all."""
    weights, losses = alone("untied", dtype)
    start = [p.detach() for p in ranks.make("untied", dtype).parameters()]
    assert max(float((a - b).abs().max()) for a, b in zip(weights, start, strict=True)) > 5e-3
    for rank in found:
        theirs, their_losses = rank["train", dtype]
        assert_near(weights, theirs, TOLERANCE[dtype])
        assert their_losses == pytest.approx(losses, abs=1e-6)  # Trainer adds them up in fp32


@pytest.mark.parametrize("dtype", ranks.DTYPES)
@pytest.mark.parametrize("kind", ranks.SHARDED)
def test_processes_that_hold_parts_train_what_one_does(found, alone, kind, dtype):
    weights, losses = alone(kind, dtype)
    first, second = (rank["sharded", kind, dtype] for rank in found)
    assert_near(weights, first[0], TOLERANCE[dtype])
    assert first[1] == second[1] == pytest.approx(losses, abs=1e-6)
    assert all(p.is_meta for p in second[0])  # rank 0 alone has it, and saves it


def figures(path):
    """The lines of a training but for what the clock and the machine say."""
    kept = (
        "step",
        "loss",
        "label_loss",
        "distribution_loss",
        "agreement",
        "rows",
        "tokens",
        "grad_norm",
        HELD_OUT,
    )
    return [{key: line[key] for key in kept if key in line} for line in read_metrics(path)]


def test_rank_0_writes_the_sums_of_all_ranks(found, folder, tmp_path):
    """And measures held-out text as one process does, of which each rank scores a part."""
    path = tmp_path / "one.jsonl"
    ranks.trained(ranks.make("untied", torch.float64), tmp_path / "one", watched=ranks.watched(path))
    mine, theirs = figures(path), figures(folder / "ddp-torch.float64.jsonl")
    assert [line["step"] for line in mine] == list(range(21))
    assert [line["step"] for line in mine if HELD_OUT in line] == [0, 8, 16, 20]
    for one, other in zip(mine, theirs, strict=True):
        assert other == pytest.approx(one, rel=2e-6)


def test_ranks_that_hold_parts_keep_the_best_step_that_one_process_keeps(found, tmp_path):
    path = tmp_path / "best.jsonl"
    weights, _ = ranks.trained(
        ranks.make("tied", torch.float64), tmp_path / "best", settings=ranks.BEST, watched=ranks.watched(path)
    )
    last, _ = ranks.trained(
        ranks.make("tied", torch.float64), tmp_path / "last", settings=ranks.BEST | {"keep_best": None}
    )
    held = {line["step"]: line[HELD_OUT] for line in read_metrics(path) if HELD_OUT in line}
    assert min((6, 12, 18, 20), key=held.get) != 20
    assert not all(torch.equal(a, b) for a, b in zip(weights, last, strict=True))
    assert_near(weights, found[0]["best"][0], 1e-9)


def test_every_rank_names_the_conversation_whose_loss_is_not_a_number(found):
    first, second = (rank["wrong"] for rank in found)
    assert first == second and "not a number" in first and "conversations nr-7\n" in first


def test_each_rank_looks_up_its_own_conversations(found):
    """Shards are mapped: what is not looked up is not read."""
    mine, theirs = (rank["seen", torch.float64] for rank in found)
    assert len(mine) == len(theirs) and mine != theirs
    counted = sorted(i for members in (*mine, *theirs) for i in members)
    assert len(counted) == 77 + 1  # every conversation of a step goes to one rank; one fills up the last step


@pytest.mark.parametrize("kind", ranks.SHARDED)
@pytest.mark.parametrize("wrapper", ["ddp", "fsdp"])
def test_a_rank_without_rows_leaves_the_others_gradient_right(found, wrapper, kind):
    """Its own loss is 0, and both ranks end with the gradient of the one conversation, divided by its own rows."""
    if (wrapper, kind) not in found[0]:
        return
    full, empty = ranks.batches()
    assert (len(full["labels"]), len(empty["labels"])) == (int(full["step_rows"]), 0)
    student = Student.of(ranks.make(kind, torch.float64), label_weight=0.5)
    loss, expected = ranks.gradients(student, full, 1)
    assert min(float(g.abs().max()) for g in expected) > 0
    first, second = found[0][wrapper, kind], found[1][wrapper, kind]
    assert first[0] == pytest.approx(ranks.RANKS * loss, abs=1e-9) and second[0] == 0
    for gradients in (first[1], second[1]):
        assert_near(expected, gradients, 1e-9)


@pytest.mark.parametrize("kind", ranks.SHARDED)
def test_a_rank_holds_its_part_alone(found, kind):
    whole = sum(p.numel() for p in ranks.make(kind, torch.float64).parameters())
    assert [rank["fsdp", kind][2] for rank in found] == pytest.approx([whole / 2] * 2, rel=0.02)
    assert sum(rank["fsdp", kind][2] for rank in found) == whole


def test_bf16_passes_of_parts_come_close_to_those_of_wholes(found):
    """Blocks are gathered in bf16; gradients are made and added up in fp32. The parts' activations are made again, too."""
    start = [p.detach() for p in ranks.llama().parameters()]
    whole, parts = (found[0]["bf16", how][0] for how in ("ddp", "sharded"))
    moved = sum(float((a - b).square().sum()) for a, b in zip(whole, start, strict=True)) ** 0.5
    apart = sum(float((a - b).square().sum()) for a, b in zip(whole, parts, strict=True)) ** 0.5
    assert all(p.dtype == torch.float32 for p in parts) and apart < 0.3 * moved


@pytest.mark.parametrize("kind", ranks.CUT)
def test_a_resumed_training_ends_with_the_same_bits(found, kind):
    dtype = torch.float64
    whole = found[0]["sharded", kind, dtype] if ranks.CUT[kind] else found[0]["train", dtype]
    resumed = found[0]["resumed", kind]
    assert all(torch.equal(a, b) for a, b in zip(whole[0], resumed[0], strict=True))


def test_three_ranks_go_on_where_one_of_two_was_killed(three, alone, folder):
    assert [path.name for path in (folder / "killed").glob("checkpoint-*/weights")] == ["weights"]
    assert_near(alone("untied", torch.float64)[0], three[0]["killed"][0], 1e-9)


def test_ranks_with_parts_go_on_where_ranks_with_wholes_stopped(three, alone):
    assert_near(alone("untied", torch.float64)[0], three[0]["of ddp"][0], 1e-9)


def test_one_process_goes_on_where_ranks_with_parts_stopped(found, alone, folder):
    resumed = ranks.trained(ranks.make("tied", torch.float64), folder / "kept-tied", checkpoint_steps=5)
    assert_near(alone("tied", torch.float64)[0], resumed[0], 1e-9)
