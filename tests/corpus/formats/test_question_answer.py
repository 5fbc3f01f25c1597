from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.question_answer import QuestionAnswer
from fusionchat.corpus.record import parse_record

HI = (Message("user", "1 + 3?"), Message("assistant", "So: 4"))


def test_a_query_is_a_question_and_the_second_choice():
    assert QuestionAnswer().fits({"query": "1 + 3?"}) and not QuestionAnswer().fits({"prompt": "1 + 3?"})
    assert QuestionAnswer().turns({"query": "x", "question": "1 + 3?"}) == (
        HI[:1],
        {"question", "history"},
        (),
    )


def test_the_answer_is_the_reply_or_what_a_reply_is_checked_by():
    alone = parse_record(
        {"question": "1 + 3?", "answer": "So: 4"}, default_id="d", format="question_answer"
    ).found
    beside = parse_record({"query": "1 + 3?", "response": "So: 4", "answer": "4"}, default_id="d").found
    assert (alone.messages, alone.answer) == (HI, None) and (beside.messages, beside.answer) == (HI, "4")
