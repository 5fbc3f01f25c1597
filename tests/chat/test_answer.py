from pathlib import Path

import pytest
import torch

from fusionchat.artifacts import Manifest, finish, write_json
from fusionchat.chat.answer import Answerer, Pieces, find_model, resolve_model, visible
from fusionchat.corpus.conversation import Message
from fusionchat.errors import ModelError
from tests.chat.tiny import make_folder, make_tokenizer

HI = [Message("user", "hello there")]


@pytest.fixture(scope="module")
def answerer(tmp_path_factory) -> Answerer:
    return Answerer.load(make_folder(tmp_path_factory.mktemp("model")), "cpu")


def job(folder: Path, *, finished: bool = True) -> Path:
    write_json(folder / "model" / "config.json", {})
    if finished:
        finish(folder, Manifest("f", {}, {}, {}))
    return folder


def test_a_model_folder_is_itself(tmp_path):
    write_json(tmp_path / "config.json", {})
    assert resolve_model(tmp_path) == tmp_path


def test_a_run_means_its_fused_model(tmp_path):
    job(tmp_path / "merge" / "fused")
    assert resolve_model(tmp_path) == tmp_path / "merge" / "fused" / "model"


def test_a_job_means_the_model_it_made(tmp_path):
    assert resolve_model(job(tmp_path / "distill" / "a")) == tmp_path / "distill" / "a" / "model"


def test_a_run_that_is_not_finished_says_so(tmp_path):
    job(tmp_path / "distill" / "a")
    with pytest.raises(ModelError, match="no fused model yet"):
        resolve_model(tmp_path)
    job(tmp_path / "merge" / "fused", finished=False)
    with pytest.raises(ModelError, match="no fused model yet"):
        resolve_model(tmp_path)


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        resolve_model(tmp_path)


def test_a_misspelt_run_is_guessed(tmp_path):
    job(tmp_path / "demo" / "merge" / "fused")
    with pytest.raises(ModelError, match="no such folder") as caught:
        resolve_model(tmp_path / "dmeo")
    assert f"did you mean {tmp_path / 'demo'}?" in str(caught.value)
    with pytest.raises(ModelError, match="use a model folder"):
        resolve_model(tmp_path / "something else")


def test_only_what_cannot_be_a_folder_is_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_model(Path("owner/name")) == "owner/name"
    (tmp_path / "runs").mkdir()
    for wrong in (Path("runs/demo"), Path("name"), Path("a/b/c"), Path("./x"), tmp_path / "x"):
        with pytest.raises(ModelError, match="no such folder"):
            find_model(wrong)


def test_a_model_without_a_template_is_refused(tmp_path):
    folder = make_folder(tmp_path)
    for name in ("chat_template.jinja", "chat_template.json"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ModelError, match="chat template"):
        Answerer.load(folder, "cpu")


def test_what_is_streamed_is_what_greedy_decoding_gives(answerer):
    pieces: list[str] = []
    answer = answerer.answer(HI, pieces.append, max_new_tokens=12, temperature=0)
    prompt = torch.tensor([answerer.renderer.prompt_ids(HI)])
    ids = answerer.model.generate(prompt, do_sample=False, max_new_tokens=12, eos_token_id=answerer.stop_ids)
    expected = answerer.tokenizer.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True)
    assert "".join(pieces) == answer.text == visible(expected)
    assert answer.text and not answer.stopped


def test_sampling_follows_the_seed(answerer):
    texts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        texts.append(answerer.answer(HI, lambda _: None, max_new_tokens=12, temperature=1.5).text)
    assert texts[0] == texts[1] != texts[2]


def test_ctrl_c_stops_the_answer_and_keeps_what_came(answerer):
    pieces: list[str] = []

    def tell(text: str) -> None:
        pieces.append(text)
        if len(pieces) == 2:
            raise KeyboardInterrupt

    answer = answerer.answer(HI, tell, max_new_tokens=60, temperature=0)
    assert answer.stopped and answer.text == "".join(pieces)
    whole = answerer.answer(HI, lambda _: None, max_new_tokens=60, temperature=0).text
    assert whole.startswith(answer.text) and len(whole) > len(answer.text)


def test_an_answer_ends_at_the_end_of_turn(answerer):
    end = answerer.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end in answerer.stop_ids
    ids = answerer.tokenizer("a cat<|im_end|>", add_special_tokens=False)["input_ids"]
    pieces: list[str] = []
    stream = Pieces(answerer.tokenizer, set(answerer.stop_ids), pieces.append)
    stream.put(torch.tensor([[1, 2, 3]]))
    for token in ids:
        stream.put(torch.tensor([token]))
    stream.end()
    assert "".join(pieces) == stream.text == "a cat"


def test_characters_of_many_tokens_come_whole():
    tokenizer = make_tokenizer()
    text = "x 🙃 龍 ñ y"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces: list[str] = []
    stream = Pieces(tokenizer, set(), pieces.append)
    stream.put(torch.tensor([[0]]))
    for token in ids:
        stream.put(torch.tensor([token]))
    stream.end()
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces)
    assert len(ids) > len(text)


def test_broken_bytes_at_the_end_are_shown_as_such():
    tokenizer = make_tokenizer()
    ids = tokenizer("🙃", add_special_tokens=False)["input_ids"][:-1]
    stream = Pieces(tokenizer, set(), lambda _: None)
    stream.put(torch.tensor([[0]]))
    stream.put(torch.tensor(ids))
    assert stream.text == ""
    stream.end()
    assert set(stream.text) == {"\ufffd"}


def test_a_model_cannot_move_the_cursor():
    assert visible("a\x1b[2Jb\r\x07c\n\td\u00a0é") == "a[2Jbc\n\td\u00a0é"


def test_the_context_decides_what_fits(tmp_path, monkeypatch):
    small = Answerer.load(make_folder(tmp_path, positions=64), "cpu")
    assert small.window == 64
    assert small.fits(HI, 500)
    assert not small.fits([Message("user", "hello there " * 20)], 500)
    made = []
    generate = small.model.generate
    monkeypatch.setattr(small.model, "generate", lambda **given: made.append(generate(**given)))
    small.answer(HI, lambda _: None, max_new_tokens=500, temperature=0)
    assert made[0].shape == (1, 64)


def test_it_says_what_it_is(answerer):
    said = answerer.describe()
    assert "parameters, context of 256 tokens, on cpu" in said


def test_an_answer_begins_with_the_tag_that_its_prompt_ends_with(tmp_path):
    from tests.chat.tiny import TEMPLATE

    opens = TEMPLATE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    one, told = Answerer.load(make_folder(tmp_path, template=opens), "cpu"), list[str]()
    answer = one.answer(HI, told.append, max_new_tokens=4, temperature=0.0)
    assert answer.text.startswith("<think>\n") and "".join(told) == answer.text
