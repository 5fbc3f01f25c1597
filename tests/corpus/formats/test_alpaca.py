from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.alpaca import Alpaca
from fusionchat.corpus.record import parse_record

ALPACA = Alpaca()


def test_the_input_is_under_the_instruction():
    said = {"instruction": "Add.", "input": "2, 2", "output": "4"}
    assert ALPACA.fits(said)
    assert ALPACA.turns(said).messages == (
        Message("user", "Add.\n2, 2"),
    )  # the answer is read after the format


def test_an_input_alone_fits_only_by_name():
    record = {"instruction": "", "input": "Hi", "output": "Hello"}
    assert not ALPACA.fits({"input": "Hi", "output": "Hello"})
    found = [
        parse_record(record, default_id="d", format=name).found for name in ("alpaca", "input_output", "auto")
    ]
    assert found[0].messages == (Message("user", "Hi"), Message("assistant", "Hello"))
    assert found[0] == found[1] == found[2]
