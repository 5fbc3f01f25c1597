"""What `check` says of each model before it is opened."""

from fusionchat.cli.show_check import show
from fusionchat.recipe.schema import load_recipe
from fusionchat.stages.check import check


def test_variables_are_said_and_those_that_a_template_never_reads_are_doubted(tiny, capsys):
    (tiny / "t.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}"
        "{% if enable_thinking %}{% endif %}"
    )
    given = "sources.qwen.template_variables={enable_thinking: false, enable_thinkin: [1, 2.5], zzz: null}"
    found = check(load_recipe("recipe.yaml", ("sources.qwen.template=t.jinja", given)), sample=2)
    assert found.opens == [
        "qwen: its chat template is given enable_thinking = false, enable_thinkin = [1, 2.5], zzz = null"
    ]
    path = "sources.qwen.template_variables"
    assert found.doubts == [
        f"{path}.enable_thinkin: the chat template never reads it (did you mean enable_thinking?)",
        f"{path}.zzz: the chat template never reads it",
    ]
    show(found)
    printed = capsys.readouterr()
    assert found.opens[0] in printed.out and found.doubts[1] in printed.err
