from itertools import islice, pairwise

import pytest
import torch
from transformers import AutoModelForCausalLM

from fusionchat.demo.corpus import training_text
from fusionchat.demo.domains import DOMAINS
from fusionchat.demo.models import CONTEXT, config_of, tokenizer_of
from fusionchat.demo.train import Batch, Schedule, batches, encode, supervised_loss, train


@pytest.fixture(scope="module")
def tokenizers():
    return {name: tokenizer_of(name, 0, set()) for name in ("pivot", "mixtral", "qwen")}


@pytest.fixture(scope="module")
def records():
    return list(islice(training_text(0, "test", dict.fromkeys(DOMAINS, 1.0), set()), 200))


@pytest.mark.parametrize("name", ["pivot", "mixtral", "qwen"])
def test_supervised_tokens_are_what_the_model_says_after_its_prompt(tokenizers, records, name):
    """Against the slow way: tokenize each conversation up to the prompt and up to the end of turn."""
    tokenizer = tokenizers[name]

    def ids(chat, prompt):
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompt)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    for record, row in zip(records, encode(tokenizer, records, CONTEXT), strict=True):
        chat, expected = record.chat(), [False] * len(row.ids)
        for turn in range(1, len(chat), 2):
            start = len(ids(chat[:turn], True))
            end = row.ids.index(tokenizer.eos_token_id, start) + 1
            expected[start:end] = [True] * (end - start)
        assert row.ids == ids(chat, False)
        assert row.supervised == expected


def test_overlong_conversations_are_left_out(tokenizers, records):
    rows = encode(tokenizers["pivot"], records, 60)
    assert 0 < len(rows) < len(records) and max(len(row.ids) for row in rows) <= 60


def test_schedule():
    schedule = Schedule(conversations=400, batch=4)
    rates = [schedule.rate(step) for step in range(schedule.steps)]
    assert schedule.steps == 100 and max(rates) == 1 == rates[4]
    assert rates[0] == 0.2 and 0 < rates[-1] < 0.02
    assert all(a > b for a, b in pairwise(rates[5:]))


def test_batches_hold_every_conversation_once(tokenizers, records):
    rows = encode(tokenizers["pivot"], records, CONTEXT)
    made = list(batches(lambda count: rows[:count], Schedule(len(rows), batch=5), seed=0))
    assert len(made) == len(rows) // 5
    assert sum(int(b.supervised_BL.sum()) for b in made) == sum(sum(row.supervised) for row in rows)
    padded = sum(b.ids_BL.numel() for b in made)
    assert padded < 1.1 * sum(len(row.ids) for row in rows)


def test_loss_is_the_mean_over_supervised_tokens_and_padding_changes_nothing(tokenizers, records):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of("pivot", tokenizers["pivot"])).eval()
    [batch] = list(batches(lambda _: encode(tokenizers["pivot"], records[:4], CONTEXT), Schedule(4), seed=0))
    total, count = 0.0, 0
    for row in encode(tokenizers["pivot"], records[:4], CONTEXT):
        logits = model(input_ids=torch.tensor([row.ids])).logits[0].detach().double().log_softmax(-1)
        for place in range(1, len(row.ids)):
            if row.supervised[place]:
                total -= float(logits[place - 1, row.ids[place]])
                count += 1
    assert supervised_loss(model, batch).item() == pytest.approx(total / count, rel=1e-5)
    wider = Batch(*(torch.nn.functional.pad(part, (0, 3)) for part in batch))
    assert supervised_loss(model, wider).item() == pytest.approx(total / count, rel=1e-5)


def test_training_learns(tokenizers, records):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of("qwen", tokenizers["qwen"]))
    rows = encode(tokenizers["qwen"], records, CONTEXT)
    before = float(supervised_loss(model, next(batches(lambda _: rows, Schedule(8, 8), 0))).detach())
    seen: list[int] = []
    loss = train(model, batches(lambda n: rows[:n], Schedule(200), 0), Schedule(200), seen.append)
    assert loss < 0.75 * before and sum(seen) == 200
