"""Pivots as published against what transformers saves of them: names, ties, buffers, heads; real tiny structures."""

import functools

import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.methods.fisher import Fisher
from fusionchat.merge.methods.linear import TaskArithmetic
from fusionchat.merge.stream.merge import merge_models
from tests.merge.real import configured, nudged, real, rewritten, tensors


def merged(pivot, target, out, dtype="float32"):
    """The mean of pivot and target, tensor by tensor."""
    method = TaskArithmetic(scale=0.5)
    report = merge_models(pivot, {"t": target}, method, out, dtype=dtype, threads=1)
    return tensors(out), report


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of a structure as transformers saves it, made once."""
    root = tmp_path_factory.mktemp("real")
    return functools.cache(lambda kind, **config: real(root / kind, kind, **config))


def without(prefix):
    return lambda held: {name.removeprefix(prefix): t for name, t in held.items()}


PREFIXED = [
    ("gpt2", "transformer.", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}),
    ("bloom", "transformer.", {"n_head": 2, "n_layer": 2}),
    ("opt", "model.", {"ffn_dim": 24, "word_embed_proj_dim": 16}),
    ("llama", "model.", {}),
    ("gpt_neox", "gpt_neox.", {}),
]


@pytest.mark.parametrize(("kind", "prefix", "config"), PREFIXED)
def test_the_pivots_names_are_kept_with_or_without_the_bodys_prefix(saved, tmp_path, kind, prefix, config):
    whole = saved(kind, **config)
    bare, target = rewritten(whole, tmp_path / "bare", without(prefix)), nudged(whole, tmp_path / "target")
    mine, theirs = tensors(whole), tensors(target)
    result, report = merged(bare, target, tmp_path / "out")
    assert report.copied == [] and set(result) == set(tensors(bare))
    for name, value in theirs.items():
        torch.testing.assert_close(result[name.removeprefix(prefix)], (mine[name] + value) / 2)
    back, _ = merged(whole, rewritten(target, tmp_path / "bare-target", without(prefix)), tmp_path / "back")
    assert set(back) == set(mine)
    for name in mine:
        torch.testing.assert_close(back[name], (mine[name] + theirs[name]) / 2)


def gpt2_masks(held):
    masks = {f"transformer.h.{i}.attn.bias": torch.ones(1, 1, 32, 32).tril() for i in range(2)}
    return held | masks | {f"transformer.h.{i}.attn.masked_bias": torch.tensor(-1e9) for i in range(2)}


def neox_masks(held):
    masks = {
        f"gpt_neox.layers.{i}.attention.bias": torch.ones(1, 1, 32, 32, dtype=torch.bool).tril()
        for i in range(2)
    }
    masks |= {f"gpt_neox.layers.{i}.attention.masked_bias": torch.tensor(-1e9).half() for i in range(2)}
    return held | masks | frequencies(held, "gpt_neox.layers.{}.attention.rotary_emb.inv_freq")  # fmt: skip


def frequencies(held, name="model.layers.{}.self_attn.rotary_emb.inv_freq"):
    return held | {name.format(i): 10000 ** (-torch.arange(0, 8, 2) / 8) for i in range(2)}


OLD = [
    ("gpt2", gpt2_masks, PREFIXED[0][2]),
    ("gpt_neox", neox_masks, {}),
    ("llama", frequencies, {}),
    ("qwen2", frequencies, {}),
    ("mistral", frequencies, {}),
]


@pytest.mark.parametrize(("kind", "old", "config"), OLD)
def test_buffers_are_copied_as_stored_whoever_has_them(saved, tmp_path, kind, old, config):
    new = saved(kind, **config)
    pivot = rewritten(new, tmp_path / "old", old)
    target = nudged(new, tmp_path / "target")
    mine, theirs = tensors(pivot), tensors(target)
    buffers = set(mine) - set(theirs)
    assert buffers
    one, report = merged(pivot, target, tmp_path / "one", "bfloat16")
    assert set(one) == set(mine) and set(report.copied) == buffers
    # A target whose buffers were rounded or moved changes nothing of the pivot's.
    both, _ = merged(pivot, nudged(pivot, tmp_path / "both"), tmp_path / "two", "bfloat16")
    for name in buffers:
        for result in (one, both):
            assert result[name].dtype == mine[name].dtype and torch.equal(result[name], mine[name]), name
    for name in theirs:
        torch.testing.assert_close(one[name].float(), (mine[name] + theirs[name]) / 2, rtol=1e-2, atol=1e-2)
    bare, report = merged(new, rewritten(target, tmp_path / "held", old), tmp_path / "three")
    assert set(bare) == set(theirs) and report.copied == []


def test_tied_tensors_are_stored_once_twice_or_under_the_heads_name(saved, tmp_path):
    once = saved("gemma", head_dim=8)
    target = nudged(once, tmp_path / "target")
    wanted = (tensors(once)["model.embed_tokens.weight"] + tensors(target)["model.embed_tokens.weight"]) / 2
    twice = rewritten(
        once, tmp_path / "twice", lambda held: held | {"lm_head.weight": held["model.embed_tokens.weight"]}
    )
    result, _ = merged(twice, target, tmp_path / "a")
    torch.testing.assert_close(result["lm_head.weight"], wanted)
    torch.testing.assert_close(result["model.embed_tokens.weight"], wanted)
    head = rewritten(
        once,
        tmp_path / "head",
        lambda held: {n.replace("model.embed_tokens", "lm_head"): t for n, t in held.items()},
    )
    result, _ = merged(head, target, tmp_path / "b")
    assert "model.embed_tokens.weight" not in result
    torch.testing.assert_close(result["lm_head.weight"], wanted)


def test_names_that_transformers_changed_meet(saved, tmp_path):
    """Old checkpoints call a norm's weight gamma; transformers saves it as weight."""
    new = saved("bert", is_decoder=True)
    old = rewritten(
        new,
        tmp_path / "gamma",
        lambda held: {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
            for n, t in held.items()
        },
    )
    target = nudged(new, tmp_path / "target")
    mine, theirs = tensors(new), tensors(target)
    result, _ = merged(old, target, tmp_path / "out")
    assert set(result) == set(tensors(old)) != set(mine)
    for name in mine:
        stored = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        )
        torch.testing.assert_close(result[stored], (mine[name] + theirs[name]) / 2)


def test_experts_are_found_under_one_name(saved, tmp_path):
    moe = saved("mixtral", num_local_experts=2)
    target = nudged(moe, tmp_path / "target")
    mine, theirs = tensors(moe), tensors(target)
    result, _ = merged(
        rewritten(
            moe, tmp_path / "bare", lambda held: {n.removeprefix("model."): t for n, t in held.items()}
        ),
        target,
        tmp_path / "out",
    )
    assert any("experts" in name for name in mine)
    for name in mine:
        torch.testing.assert_close(result[name.removeprefix("model.")], (mine[name] + theirs[name]) / 2)


def test_heads_that_the_structure_lacks_are_carried_over_or_left_out(saved, tmp_path, capsys):
    plain = saved("llama")
    extra = {
        "score.weight": torch.ones(1, 16),
        "v_head.summary.weight": torch.full((1, 16), 2.0),
        "model.layers.2.eh_proj.weight": torch.full((16, 32), 3.0),
    }
    pivot = rewritten(plain, tmp_path / "pivot", lambda held: held | extra)
    target = nudged(plain, tmp_path / "target")
    result, report = merged(pivot, target, tmp_path / "out", "bfloat16")
    assert set(report.copied) == set(extra)
    for name, value in extra.items():
        assert torch.equal(result[name], value)  # as stored: float32
    said = " ".join(capsys.readouterr().err.split())
    assert "LlamaForCausalLM has no use for model.layers.2.eh_proj.weight and 2 more" in said
    result, _ = merged(
        plain, rewritten(target, tmp_path / "with", lambda held: held | extra), tmp_path / "less"
    )
    assert set(result) == set(tensors(plain))
    assert "model.layers.2.eh_proj.weight and 2 more left out" in " ".join(capsys.readouterr().err.split())


def test_what_the_structure_needs_is_refused_by_name(saved, tmp_path):
    plain = saved("llama")
    lost = "model.layers.1.mlp.up_proj.weight"
    less = rewritten(plain, tmp_path / "less", lambda held: {n: t for n, t in held.items() if n != lost})
    with pytest.raises(MergeError, match=f"lacks tensor {lost}"):
        merged(plain, less, tmp_path / "out")
    with pytest.raises(MergeError, match=f"has tensor {lost}, which the pivot lacks"):
        merged(less, plain, tmp_path / "out")


def test_structures_that_transformers_does_not_know_meet_by_prefix_and_known_buffers(saved, tmp_path):
    old = "layers.{}.rotary_emb.inv_freq"
    mine = rewritten(
        saved("llama"), tmp_path / "mine", lambda held: frequencies(without("model.")(held), old)
    )
    theirs = nudged(saved("llama"), tmp_path / "theirs")
    for folder in (mine, theirs):
        configured(folder, model_type="nobody-knows", architectures=["NobodyForCausalLM"])
    result, report = merged(mine, theirs, tmp_path / "out")
    assert sorted(report.copied) == [f"layers.{i}.rotary_emb.inv_freq" for i in range(2)]
    name = "layers.1.mlp.up_proj.weight"
    torch.testing.assert_close(result[name], (tensors(mine)[name] + tensors(theirs)[f"model.{name}"]) / 2)


def test_information_about_targets_is_found_under_their_names(saved, tmp_path):
    whole = saved("gpt2", **PREFIXED[0][2])
    pivot = rewritten(whole, tmp_path / "pivot", lambda held: without("transformer.")(gpt2_masks(held)))
    targets = {f"t{n}": nudged(whole, tmp_path / f"t{n}", seed=n) for n in (1, 2)}
    diagonals = []
    for n, folder in enumerate(targets.values()):
        made = {name: torch.full_like(t, 1.0 + 2 * n) for name, t in tensors(folder).items()}
        diagonals.append(rewritten(folder, tmp_path / f"f{n}", lambda _, made=made: made))
    method = Fisher(fisher=tuple(map(str, diagonals)))
    merge_models(pivot, targets, method, tmp_path / "out", dtype="float32", threads=1)
    one, two, result = (tensors(f) for f in (*targets.values(), tmp_path / "out"))
    for name in one:
        torch.testing.assert_close(result[name.removeprefix("transformer.")], (one[name] + 3 * two[name]) / 4)


def test_masks_are_known_without_a_config(saved, tmp_path):
    whole = saved("gpt2", **PREFIXED[0][2])
    pivot = rewritten(whole, tmp_path / "pivot", lambda held: without("transformer.")(gpt2_masks(held)))
    target = nudged(whole, tmp_path / "target")
    for folder in (pivot, target):
        (folder / "config.json").unlink()
    result, report = merged(pivot, target, tmp_path / "out", "bfloat16")
    assert len(report.copied) == 4 and result["h.0.attn.bias"].dtype == torch.float32
    back, report = merged(target, pivot, tmp_path / "back")
    assert report.copied == [] and set(back) == set(tensors(target))


def test_an_expert_that_a_target_lacks_is_refused_not_taken_from_the_pivot(saved, tmp_path):
    """transformers puts the experts that are stored one by one into one parameter: each is a part of it."""
    pivot, lost = saved("mixtral", num_local_experts=3), "model.layers.1.block_sparse_moe.experts.2.w1.weight"
    less = rewritten(pivot, tmp_path / "less", lambda held: {n: t for n, t in held.items() if n != lost})
    with pytest.raises(MergeError, match=f"lacks tensor {lost}"):
        merged(pivot, less, tmp_path / "out")
    with pytest.raises(MergeError, match=f"has tensor {lost}, which the pivot lacks"):
        merged(less, pivot, tmp_path / "out")
