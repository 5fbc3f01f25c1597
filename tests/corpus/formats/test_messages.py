from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.messages import Messages
from fusionchat.corpus.record import parse_record

TURNS = [{"role": "user", "content": "Hi"}, {"from": "gpt", "value": "Hello"}]
HI = (Message("user", "Hi"), Message("assistant", "Hello"))


def test_the_turns_of_messages_in_the_keys_of_either_form():
    assert Messages().fits({"messages": "not a list"}) and not Messages().fits({"conversations": TURNS})
    assert Messages().turns({"messages": TURNS, "conversations": []}) == (HI, {"messages"}, ())


def test_an_answer_beside_whole_turns_is_not_theirs():
    found = parse_record({"messages": TURNS, "response": "Good day"}, default_id="d")
    assert found.found.messages == HI and found.unused == ("response",)
