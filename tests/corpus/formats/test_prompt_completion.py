import pytest

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.prompt_completion import PromptCompletion
from fusionchat.corpus.record import parse_record

HI = (Message("user", "Hi"), Message("assistant", "Hello"))
ASKED, ANSWERED = [{"role": "user", "content": "Hi"}], [{"role": "assistant", "content": "Hello"}]


@pytest.mark.parametrize("prompt", ["Hi", ASKED])
@pytest.mark.parametrize("answer", ["Hello", ANSWERED, ANSWERED[0]])
@pytest.mark.parametrize("column", ["completion", "chosen"])
def test_prompt_and_answer_are_texts_or_turns(prompt, answer, column):
    record = {"prompt": prompt, column: answer, "context": ""}
    assert PromptCompletion().fits(record)
    assert PromptCompletion().turns({"prompt": prompt}).messages == HI[:1]
    found = parse_record(record, default_id="d", format="prompt_completion")
    assert found.found.messages == HI and found.unused == ()
