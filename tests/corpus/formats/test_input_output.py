from fusionchat.corpus.conversation import Message
from fusionchat.corpus.record import parse_record


def test_an_input_by_name_is_the_question_and_by_auto_the_context():
    record = {"question": "Add.", "input": "2, 2", "output": "4"}
    by_name, auto = (parse_record(record, default_id="d", format=name) for name in ("input_output", "auto"))
    assert by_name.found.messages == (Message("user", "2, 2"), Message("assistant", "4"))
    assert by_name.unused == ("question",)
    assert (
        auto.found.messages == (Message("user", "Add.\n2, 2"), Message("assistant", "4"))
        and auto.unused == ()
    )
