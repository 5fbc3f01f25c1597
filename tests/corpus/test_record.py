"""Records of public data sets: what becomes a conversation, and what is counted by which name."""

import pytest

from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.record import parse_record

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
SHAREGPT = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
HI = (Message("user", "Hi"), Message("assistant", "Hello"))
PIRATE = (Message("system", "Arr."), *HI)


def parse(record, **options):
    return parse_record(record, default_id="d", **options)


@pytest.mark.parametrize(
    ("record", "messages"),
    [
        (GOOD, HI),
        ({"conversations": SHAREGPT, "system": "Arr."}, PIRATE),
        ({"conversations": SHAREGPT, "system": "", "tools": "[]", "images": []}, HI),
        # OpenHermes 2.5
        ({"conversations": SHAREGPT, "system_prompt": "Arr.", "custom_instruction": None, "category": "x", "views": 3.0,
          "title": "T", "skip_prompt_formatting": True, "hash": "ab", "source": "s", "avatarUrl": None, "idx": "1",
          "model": "m", "id": None, "model_name": None, "topic": None, "language": None}, PIRATE),
        # SlimOrca
        ({"conversations": [{"from": "system", "value": "Arr.", "weight": None}, SHAREGPT[0] | {"weight": 0},
                            SHAREGPT[1] | {"weight": 1}]}, PIRATE),
        # UltraChat, no_robots
        (GOOD | {"prompt": "Hi", "prompt_id": "ab", "category": "Chat"}, HI),
        # WildChat, LMSYS-Chat
        ({"conversation": [t | {"toxic": False, "redacted": False, "language": "English", "country": None, "turn_identifier": 4,
                                "header": {"accept-language": "en"}, "state": "x", "hashed_ip": "0", "timestamp": None}
                           for t in GOOD["messages"]],
          "conversation_hash": "f", "turn": 1, "toxic": False, "redacted": False, "openai_moderation": [{"flagged": False}],
          "detoxify_moderation": [{"toxicity": 0.1}], "model": "gpt-4"}, HI),
        # tulu 3, smoltalk
        (GOOD | {"id": "x", "source": "y", "full_topic": "z"}, HI),
        # UltraFeedback: `chosen` and `messages` are the same turns
        (GOOD | {"prompt": "Hi", "prompt_id": "1", "chosen": GOOD["messages"], "rejected": [{"role": "user", "content": "Hi"}],
                 "score_chosen": 8.0, "score_rejected": 2.0}, HI),
        # Intel/orca_dpo_pairs
        ({"system": "Arr.", "question": "Hi", "chosen": "Hello", "rejected": "Go away"}, PIRATE),
        # LLaMA-Factory's DPO
        ({"conversations": SHAREGPT[:1], "chosen": SHAREGPT[1], "rejected": {"from": "gpt", "value": "No"}}, HI),
        # TRL: conversational preference, with and without the prompt, and prompt-completion
        ({"prompt": GOOD["messages"][:1], "chosen": GOOD["messages"][1:], "rejected": GOOD["messages"][1:]}, HI),
        ({"chosen": GOOD["messages"], "rejected": GOOD["messages"]}, HI),
        ({"prompt": "Hi", "chosen": GOOD["messages"]}, HI),
        ({"prompt": GOOD["messages"][:1], "completion": GOOD["messages"][1:]}, HI),
        # KTO
        ({"prompt": "Hi", "completion": "Hello", "label": True}, HI),
        # Alpaca, Dolly, OpenOrca, question and answer
        ({"instruction": "Hi", "input": "", "output": "Hello"}, HI),
        ({"instruction": "Add.", "input": "2, 2", "output": "4"}, (Message("user", "Add.\n2, 2"), Message("assistant", "4"))),
        ({"instruction": "Hi", "context": "", "response": "Hello", "category": "chat"}, HI),
        ({"id": "x", "system_prompt": "Arr.", "question": "Hi", "response": "Hello"}, PIRATE),
        ({"question": "Hi", "answer": "Hello"}, HI),
        ({"prompt": "Hi", "response": "Hello"}, HI),
        ({"instruction": "Bye", "output": "Ciao", "history": [["Hi", "Hello"]]},
         (*HI, Message("user", "Bye"), Message("assistant", "Ciao"))),
        ({"instruction": "Bye", "output": "Ciao", "history": GOOD["messages"]},
         (*HI, Message("user", "Bye"), Message("assistant", "Ciao"))),
        ({"instruction": "", "input": "Hi", "output": "Hello"}, HI),
        ({"input": "Hi", "output": "Hello"}, HI),
        # Capybara, Firefly, XTuner: a question and its answer in one object
        ({"conversation": [{"input": "Hi", "output": "Hello"}], "source": "x"}, HI),
        ({"conversation": [{"human": "Hi", "assistant": "Hello"}], "category": "x"}, HI),
        ({"conversation": [{"system": "Arr.", "input": "Hi", "output": "Hello"}, {"input": "Hi", "output": "Hello"}]},
         (*PIRATE, *HI)),
        ({"conversation": [{"system": "", "input": "", "output": "Hello"}]}, HI[1:]),
        # a system turn that a table has for every record
        ({"messages": [{"role": "system", "content": None}, *GOOD["messages"]]}, HI),
        ({"conversations": [{"from": "system", "value": float("nan")}, *SHAREGPT]}, HI),
        ({"messages": [{"role": "system", "content": ""}, *GOOD["messages"]]}, (Message("system", ""), *HI)),
        (GOOD | {"label": "True", "kto_tag": True}, HI),
        # turns as JSON text, and a record that is only its turns
        ({"messages": '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]'}, HI),
        (GOOD["messages"], HI),
        ({"messages": {"role": ["user", "assistant"], "content": ["Hi", "Hello"]}}, HI),  # a Sequence of `datasets`
        # keys of both forms in one list
        ({"conversations": [SHAREGPT[0], GOOD["messages"][1]]}, HI),
        (GOOD | {"conversations": SHAREGPT}, HI),
        ({"conversations": SHAREGPT, "mask": "User", "type": "VALUE_TO_TEXT", "dataset": ""}, HI),  # NeMo
    ],
)  # fmt: skip
def test_records_of_public_data_sets_are_read_whole(record, messages):
    found, unused = parse(record)
    assert isinstance(found, Conversation), found
    assert found.messages == messages and unused == ()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("text", "not a JSON object"),
        ([], "not a JSON object"),
        ({"text": "x"}, "no messages"),
        ({"messages": []}, "empty"),
        ({"messages": [{"role": "assistant", "content": ""}]}, "empty"),
        ({"messages": "Hi"}, "`messages` is not a list of turns"),
        ({"messages": [{"role": "user", "content": "x"}]}, "no assistant turn"),
        ({"messages": GOOD["messages"] + [{"role": "assistant", "content": "x"}]}, "roles do not alternate"),
        ({"messages": GOOD["messages"] + [{"role": "system", "content": "x"}]}, "system turn inside"),
        ({"messages": [GOOD["messages"][0], {"role": "assistant", "content": "x", "weight": 0}]}, "no assistant turn has loss"),
        (GOOD | {"train": False}, "`train` says not to train on it"),
        (GOOD | {"weight": 0}, "`weight` says not to train on it"),
        (GOOD | {"tools": [{"name": "search"}]}, "key `tools` is not supported"),
        (GOOD | {"images": ["a.png"]}, "key `images` is not supported"),
        (GOOD | {"label": False}, "`label` is false: an unwanted answer"),
        (GOOD | {"chosen": "Bye"}, "`chosen` does not follow the turns"),
        ({"chosen": "Hello", "rejected": "No"}, "`chosen` has no question to answer"),
        ({"system": "Arr.", "completion": "Hello"}, "`completion` has no question to answer"),
        (GOOD | {"label": "False"}, "`label` is false: an unwanted answer"),
        (GOOD | {"kto_tag": False}, "`kto_tag` is false: an unwanted answer"),
        ({"messages": [{"Role": "user", "Content": "x"}]}, "a turn without a role"),
        (GOOD | {"loss_mask": [1, 0]}, "no assistant turn has loss"),
        (GOOD | {"loss_mask": [1, 0.5]}, "`loss_mask` is neither true nor false"),
        ({"prompt": "Hi", "chosen": {"a": 1}}, "`chosen` is not text"),
        (GOOD | {"system": "a", "system_prompt": "b"}, "`system_prompt` differs from the system turn"),
        ({"system": ["a"], **GOOD}, "`system` is not text"),
        ({"instruction": "Hi", "output": ["Hello", "No"]}, "`output` is not text"),
        ({"messages": {"role": ["user"], "content": ["a", "b"]}}, "the turns have different numbers of roles and texts"),
        ({"instruction": "Hi", "output": ""}, "no assistant turn"),
        ({"instruction": "Hi", "output": "Hello", "history": "none"}, "`history` is not a list of pairs"),
    ],
)  # fmt: skip
def test_unusable_records_say_why(record, reason):
    found, unused = parse(record)
    assert isinstance(found, Reject) and found.reason == reason and unused == ()


@pytest.mark.parametrize(
    ("more", "unused"),
    [
        ({"persona": "a pirate"}, ("persona",)),
        ({"weight": 0.3}, ("weight",)),  # of a record: how often to draw it
        ({"rejected": "Go away"}, ("rejected",)),
        ({"prompt": "Another question"}, ("prompt",)),
        ({"label": "joy"}, ("label",)),
        ({"label": 0}, ("label",)),  # of a class
        ({"loss_mask": [0, 0, 0, 1, 1]}, ("loss_mask",)),  # of tokens
        ({"train_on_last_turn": 1, "num_turns": 1}, ("train_on_last_turn",)),
        ({"last_turn": True}, ("last_turn",)),
        ({"chat_template_kwargs": {"enable_thinking": False, "xml_tools": None}}, ()),
        ({"chat_template_kwargs": {"custom_instructions": "Arr."}}, ("chat_template_kwargs",)),
        ({"\ud800": 1}, ("?",)),
    ],
)
def test_keys_that_nothing_reads_are_handed_back(more, unused):
    found = parse(GOOD | more)
    assert isinstance(found.found, Conversation) and found.unused == unused


def test_the_format_names_the_column():
    both = GOOD | {"conversations": [{"from": "human", "value": "A"}, {"from": "gpt", "value": "B"}]}
    assert parse(both, format="messages").found.messages == HI
    assert parse(both, format="sharegpt").found.messages == (Message("user", "A"), Message("assistant", "B"))
    assert parse(both).unused == ("conversations",)
    assert parse({"conversations": SHAREGPT}, format="messages").found.reason == "no messages"


def test_what_cannot_be_written_as_utf8_is_a_reject_wherever_it_stands():
    for key in ("id", "domain", "answer"):
        assert parse(GOOD | {key: "\ud800"}).found.reason == "not valid Unicode"
    found = parse("\ud800 is no record").found
    assert isinstance(found, Reject) and found.detail == "? is no record"


def test_the_checkable_answer():
    said = {"messages": [{"role": "assistant", "content": "Hello"}], "answer": "Hello"}
    assert parse(said).found.answer is None  # nothing is asked
    assert parse(GOOD | {"answer": 4}).found.answer == "4"
    assert parse({"question": "Hi", "answer": "Hello"}).found.answer is None  # it is the answer itself
    assert parse({"question": "Hi", "response": "So: 4", "answer": "4"}).found.answer == "4"


@pytest.mark.parametrize(
    ("key", "values", "trained"),
    [
        ("loss_mask", [0, 0, 0, 1], [False, True]),  # LLaMA-Factory: one for each turn
        ("loss_mask", [0, 1], [False, True]),  # one for each answer
        ("train", [True, True, False, True, True], [False, True]),  # one for the system's turn, too
        ("weight", [1, None, 0.0, 1], [True, True]),
        ("masked", [False, True], [True, False]),
    ],
)
def test_a_list_switches_the_loss_turn_by_turn(key, values, trained):
    turns = GOOD["messages"] * 2
    system = {"system": "Arr."} if len(values) == 5 else {}
    found, unused = parse({"messages": turns, key: values, **system})
    assert [m.train for m in found.messages if m.role == "assistant"] == trained and unused == ()
