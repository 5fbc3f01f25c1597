import pytest

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.dialogue import Dialogue
from fusionchat.corpus.keys import Unusable

DIALOGUE = Dialogue()
TURNS = [{"role": "user", "content": "Hi"}]


def test_the_first_list_is_the_dialogue():
    said = {"conversation": "a title", "turns": TURNS, "dialog": []}
    assert DIALOGUE.fits(said) and DIALOGUE.turns(said | {"dialog": TURNS}).columns == {"dialog"}
    assert DIALOGUE.turns({"conversation": "a title", "turns": TURNS}) == (
        (Message("user", "Hi"),),
        {"turns"},
        (),
    )


def test_a_text_is_a_dialogue_only_where_the_recipe_says_so():
    said = {"dialogue": '[{"role": "user", "content": "Hi"}]'}
    assert not DIALOGUE.fits(said) and DIALOGUE.turns(said).messages == (Message("user", "Hi"),)
    with pytest.raises(Unusable, match="`dialogue` is text, not a list of turns"):
        DIALOGUE.turns({"dialogue": "[Scene: a street]"})
