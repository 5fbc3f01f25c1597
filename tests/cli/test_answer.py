"""The verb `answer` gives what it is given, and says what came of it."""

from fusionchat.answer.settings import Sampling
from fusionchat.stages import answer_file
from tests.cli.calls import call, refused
from tests.stages.recipes import WHOLE


def test_every_option_reaches_the_stage_and_what_is_left_out_is_said(tmp_path, capsys, monkeypatch):
    from fusionchat.yaml import to_yaml

    seen = {}

    def write(recipe, model, prompts, output, **more):
        seen.update(more, recipe=recipe.name, model=model, prompts=prompts, output=output)
        return answer_file.Written(output, 3, 2, {"an empty answer": 1})

    monkeypatch.setattr(answer_file, "write_answers", write)
    (tmp_path / "r.yaml").write_text(to_yaml(WHOLE))
    options = [
        "--temperature",
        "0.7",
        "--top-p",
        "0.9",
        "--max-new-tokens",
        "64",
        "--n",
        "4",
        "--seed",
        "5",
        "--turns",
        "each",
    ]
    code, said = call(
        capsys,
        "answer",
        tmp_path / "r.yaml",
        "--model",
        "a",
        "--prompts",
        "p.jsonl",
        "--output",
        tmp_path / "o",
        *options,
    )
    assert code == 0, said
    sampling = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=64, turns="each")
    assert seen == {
        "recipe": "x", "model": "a", "prompts": "p.jsonl", "output": tmp_path / "o", "sampling": sampling,
        "samples": 4, "seed": 5,
    }  # fmt: skip
    assert "3 conversations" in said and "2 answers cut at 64 tokens" in said and "1 an empty answer" in said


def test_a_model_and_prompts_are_needed(tmp_path, capsys):
    assert "--model" in refused(capsys, "answer", tmp_path / "r.yaml", "--prompts", "p")
    assert "--prompts" in refused(capsys, "answer", tmp_path / "r.yaml", "--model", "pivot")
