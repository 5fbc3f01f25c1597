from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.sharegpt import ShareGPT

HI = (Message("user", "Hi"), Message("assistant", "Hello"))


def test_the_turns_of_conversations_in_the_keys_of_either_form():
    turns = [{"from": "human", "value": "Hi"}, {"role": "assistant", "content": "Hello"}]
    said = {"conversations": turns, "messages": []}
    assert ShareGPT().fits(said) and not ShareGPT().fits({"messages": turns})
    assert ShareGPT().turns(said) == (HI, {"conversations"}, ())
