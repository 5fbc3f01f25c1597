"""What jobs and models are called: no source has the name of a model that FusionChat makes."""

from fusionchat.recipe.schema import RESERVED
from fusionchat.stages.names import ALL, SELF, SFT


def test_no_source_can_be_called_as_a_model_that_is_made():
    assert {SFT, ALL, SELF} == RESERVED
