"""config.json of Llama, Qwen, OLMo2 and Gemma: read as published, refused by name.

    python -m pytest -q tests/model/test_families.py
"""
import json
import math
from pathlib import Path

import pytest

from tests.bench import plan
from tests.bench.decoders import PUBLISHED
from w2s.model import decoder, families
from w2s.model.families import GLOBAL, LOCAL

# Parameters as the hub counts them: "Safetensors, model size", of the language model alone
COUNTS = {"Llama-3.2-1B": 1_235_814_400, "Qwen2.5-0.5B": 494_032_768,
          "Qwen3-0.6B-Base": 596_049_920, "OLMo-2-0425-1B": 1_484_916_736,
          "gemma-3-1b-pt": 999_885_952, "gemma-3-4b-pt": 3_880_263_168}


def settings(config):
    return families.check(families.known(config, "config.json"), "lm", -1, "config.json")


@pytest.mark.parametrize("name", COUNTS)
def test_published_configs_have_the_published_number_of_parameters(name):
    import torch
    with torch.device("meta"):
        model = decoder.Decoder(families.known(PUBLISHED[name], "config.json"), "lm")
    assert sum(p.numel() for p in model.parameters()) == COUNTS[name]


def test_positions_windows_and_ends_of_published_configs():
    c = {name: settings(config) for name, config in PUBLISHED.items()}
    assert c["gemma-3-4b-pt"]["rope"] == {
        GLOBAL: {"base": 1e6, "type": "linear", "factor": 8.0},
        LOCAL: {"base": 10000, "type": "default"}}
    assert c["Llama-3.2-1B"]["rope"][GLOBAL] == {
        "base": 500000.0, "type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    assert [i for i, kind in enumerate(c["gemma-3-1b-pt"]["layer_types"]) if kind == GLOBAL] == [
        5, 11, 17, 23]
    assert {*c["Qwen2.5-0.5B"]["layer_types"]} == {GLOBAL}
    assert [c[name]["end"] for name in COUNTS] == [128001, 151643, 151643, 100257, 1, 1]
    assert c["gemma-3-1b-pt"]["scale"] == 1 / 16 and c["Qwen3-0.6B-Base"]["scale"] == 128 ** -.5
    assert [c["gemma-3-4b-pt"][key] for key in ("vocab_size", "sliding_window", "head_dim",
                                                "num_key_value_heads")] == [262208, 1024, 256, 4]


@pytest.mark.parametrize("name", [name for name in COUNTS if name != "gemma-3-4b-pt"])
def test_both_spellings_of_transformers_mean_the_same(name):
    """Version 5's, which its config class writes, and ours, which has both."""
    hf, published = pytest.importorskip("transformers"), PUBLISHED[name]
    if "rope_local_base_freq" in published:
        published = published | {"rope_local_base_freq": 5000}
    before = settings(published)
    config = {key: value for key, value in published.items() if key != "model_type"}
    family = families.FAMILIES[published["model_type"]]
    five = getattr(hf, f"{family.classifier or family.name}Config")(**config).to_dict()
    assert "rope_theta" not in five and five["rope_parameters"]
    rest = {key: value for key, value in published.items() if not key.startswith("rope")}
    both = {**rest, **families.respelled(before)}
    four = {key: value for key, value in both.items() if key != "rope_parameters"}
    for spelled in (five, both, four):
        after = settings(spelled)
        assert after["rope"] == before["rope"] and after["layer_types"] == before["layer_types"]


@pytest.mark.parametrize("family, more", [
    ("Qwen2", {"use_sliding_window": True, "max_window_layers": 3}), ("Qwen2", {}),
    ("Qwen3", {"use_sliding_window": True, "max_window_layers": 0}), ("Gemma2", {}),
    ("Gemma3Text", {"sliding_window_pattern": 3}), ("Gemma3Text", {}), ("Llama", {})])
def test_the_types_of_layers_are_those_of_transformers(family, more):
    """Version 5 writes them into config.json, version 4 left them out."""
    hf = pytest.importorskip("transformers")
    five = getattr(hf, f"{family}Config")(num_hidden_layers=8, eos_token_id=1, **more).to_dict()
    expected = five.pop("layer_types", [GLOBAL] * 8)
    assert settings(five | more)["layer_types"] == expected


def test_llama_3_scales_long_waves_alone():
    """By hand: with base 10^4 and 8 dimensions the waves are 2 pi times 1, 10, 100 and 1000 long;
    of 640 original positions that is 102, 10.2, 1.02 and .102 turns."""
    found = decoder.frequencies(8, 1e4, "llama3", 8., 1., 4., 640)
    turns = 640 / (2 * math.pi * 100)
    share = (turns - 1) / 3
    expected = [1, .1, share / 100 + (1 - share) / 800, .001 / 8]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert decoder.frequencies(4, 1e4, "linear", 8.).tolist() == pytest.approx([1 / 8, .01 / 8])


BASE = {key: value for key, value in PUBLISHED["Llama-3.2-1B"].items() if key != "rope_scaling"}
GEMMA, QWEN = PUBLISHED["gemma-3-1b-pt"], PUBLISHED["Qwen3-0.6B-Base"]
BAD = {
    "a list": ({"model_type": ["llama"]}, r"model_type = .*llama.* is not supported, only "),
    "another model": ({"model_type": "gpt2"}, r"model_type = 'gpt2' is not supported, only "
                      r"gpt_neox \(Pythia\), llama, qwen2, .*gemma3$"),
    "experts": (BASE | {"num_local_experts": 8}, "num_local_experts = 8: a mixture of experts is "
                "not supported; take a dense model"),
    "experts by name": ({"model_type": "qwen3_moe"}, "model_type = 'qwen3_moe': a mixture"),
    "quantised": (BASE | {"quantization_config": {"bits": 4}}, "quantization_config: quantised "
                  "weights are not supported; take the original model"),
    "pictures": ({"model_type": "llava", "vision_config": {"a": 1}}, "vision_config: a model of "
                 "pictures is not supported; of Gemma 3 the language model is read"),
    "sounds": ({"model_type": "x", "audio_config": {"a": 1}}, "audio_config: a model of sounds"),
    "gemma without text": ({"model_type": "gemma3"}, "model_type: a model of pictures"),
    "activation": (BASE | {"hidden_act": "relu"}, "hidden_act = 'relu' is not supported, only "
                   "'silu'"),
    "gemma's activation": (GEMMA | {"hidden_activation": "silu"}, "hidden_activation = 'silu'"),
    "dropout": (BASE | {"attention_dropout": .1}, "attention_dropout = 0.1"),
    "both directions": (GEMMA | {"use_bidirectional_attention": True}, "use_bidirectional_att"),
    "no size": ({key: value for key, value in BASE.items() if key != "hidden_size"},
                "hidden_size must be a positive integer up to 1048576, not null"),
    "head_dim": (BASE | {"head_dim": 63}, "head_dim 63 does not fit: rotary positions take pairs"),
    "no head_dim": (BASE | {"head_dim": None, "num_attention_heads": 24}, "hidden_size is not a "
                    "multiple of num_attention_heads, and there is no head_dim"),
    "groups": (BASE | {"num_key_value_heads": 5}, "num_attention_heads 32 is not a multiple of "
               "num_key_value_heads 5"),
    "yarn": (BASE | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling: "
             "rope_type = 'yarn' is not supported, only default, linear, llama3"),
    "yarn, version 5": (QWEN | {"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters: rope"),
    "old name": (BASE | {"rope_scaling": {"type": "dynamic", "factor": 2}}, "= 'dynamic'"),
    "a number": (BASE | {"rope_scaling": 2}, "rope_scaling must be an object, not 2"),
    "by layer": (GEMMA | {"rope_parameters": {LOCAL: 3}}, "rope_parameters.sliding_attention must "
                 "be an object, not 3"),
    "no factor": (BASE | {"rope_scaling": {"rope_type": "linear"}}, "rope_scaling: rope_type "
                  "linear needs factor"),
    "factor 0": (BASE | {"rope_scaling": {"rope_type": "linear", "factor": 0}}, "rope_scaling: "
                 "factor must be a number above 0"),
    "unknown setting": (BASE | {"rope_scaling": {"rope_type": "default", "mscale": 2}},
                        "rope_scaling.mscale = 2 is not supported: a rope_type of default"),
    "factors": (BASE | {"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4,
                                         "high_freq_factor": 4}}, "low_freq_factor must be below"),
    "part": (BASE | {"rope_parameters": {"partial_rotary_factor": .5}}, "rope_parameters: "
             "partial_rotary_factor is not supported, only 1"),
    "layer types": (GEMMA | {"layer_types": ["full_attention"]}, "layer_types must name "
                    "sliding_attention or full_attention for each of 26 layers"),
    "a window in llama": (BASE | {"layer_types": [LOCAL] * 16}, "a llama has no sliding_attention"),
    "no window": (GEMMA | {"sliding_window": None}, "sliding_window must be a positive integer"),
    "cap": (GEMMA | {"final_logit_softcapping": -1}, "final_logit_softcapping must be a number"),
    "no end": (QWEN | {"eos_token_id": None}, "eos_token_id is missing: nothing else says which"),
    "no end in a list": (QWEN | {"eos_token_id": []}, "eos_token_id is missing"),
    "end": (QWEN | {"eos_token_id": 151936}, "eos_token_id must be below vocab_size"),
    "flag": (BASE | {"mlp_bias": "no"}, "mlp_bias must be true or false, not 'no'"),
    "text_config": (PUBLISHED["gemma-3-4b-pt"] | {"text_config": {"rope_scaling": 3}},
                    "config.json: rope_scaling must be an object")}


@pytest.mark.parametrize("case", BAD)
def test_what_the_network_does_not_compute_is_refused_by_name(case, tmp_path):
    config, message = BAD[case]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message) as error:
        families.read(tmp_path)
    assert str(error.value).startswith(str(tmp_path / "config.json"))
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_decoder_is_left_to_others(tmp_path):
    assert families.read(tmp_path) == {}
    for content in ("{", "[]", json.dumps({"model_type": "gpt_neox", "num_experts": 3})):
        (tmp_path / "config.json").write_text(content)
        assert families.read(tmp_path) == {}


def test_the_table_of_the_docs_is_computed():
    """By tests.bench.plan: 32 rows of 256 tokens, a language model, bfloat16."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines()
             if line.startswith("|") and line.count("|") == 8][2:]
    assert len(cells) == 7
    for name, *numbers in cells:
        c, tokens = plan.SHAPES[name], 32 * 256
        counts = plan.parameters(c)
        n = c["num_hidden_layers"] * counts["block"] + counts["lm"]
        found = [4 * n, 16 * n, plan.activations(c, "lm", tokens),
                 plan.activations(c, "lm", tokens, recompute=True),
                 plan.logits(c, "lm", tokens, "bfloat16")]
        assert numbers == [f"{n / 1e6:.0f}M", *(f"{x / 1e9:.1f}" for x in found)], name
