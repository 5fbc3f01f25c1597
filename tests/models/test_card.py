"""The one writer of cards: what the hub reads back of them."""

from huggingface_hub import ModelCard

from fusionchat.models.card import Measured, Result, card


def test_what_is_written_is_what_the_hub_reads():
    measured = Measured(
        "yes", "answers", ("held-out", "the held-out part"), [Result("loss", "loss: bits", 0.5)]
    )
    text = card(
        "# Ü\n\n---\n",
        bases=["b/b", "a/a", "b/b"],
        tags=["merge"],
        pipeline="text-generation",
        measured=measured,
    )
    read = ModelCard(text)
    assert read.text == "\n# Ü\n\n---\n" and text.startswith("---\n")
    assert read.data.base_model == ["b/b", "a/a"] and read.data.base_model_relation == "merge"
    assert read.data.library_name == "transformers" and read.data.pipeline_tag == "text-generation"
    assert read.data.model_name == "yes" and read.data.tags == ["merge"]
    (result,) = read.data.eval_results
    assert (result.task_type, result.task_name) == ("text-generation", "answers")
    assert (result.dataset_type, result.dataset_name) == ("held-out", "the held-out part")
    assert (result.metric_type, result.metric_name, result.metric_value) == ("loss", "loss: bits", 0.5)


def test_what_is_not_known_is_not_written():
    empty = Measured("m", "answers", ("held-out", "held-out"), [])
    assert card("x\n", bases=[], tags=["merge"], measured=empty) == (
        "---\nlibrary_name: transformers\ntags:\n- merge\n---\n\nx\n"
    )
