"""w2s.model against transformers, and the limits and invariants it promises.

    python -m pytest tests/model/test_pythia.py    the `cuda` cases need a GPU and skip without one

Tolerances: 1e-5 on float32 logits of order 1-10 on the CPU (measured at most 4e-6); 1e-4 on CUDA,
whose kernels differ; TF32 is off. Without transformers only the golden file holds the parity.
"""
import copy
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.func import functional_call, grad, vmap

from w2s.model import checkpoint, decoding, gpt_neox, kernels, configuration, network

GOLDEN = Path(__file__).parents[1] / "golden" / "pythia"
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = [("cpu", 1e-5), pytest.param("cuda", 1e-4, marks=cuda)]
V = 97
TINY = {"model_type": "gpt_neox", "vocab_size": V, "hidden_size": 32, "num_hidden_layers": 3,
        "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 256,
        "initializer_range": 0.2, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 1}
GRID = {"pythia": {}, "sequential": {"use_parallel_residual": False, "rotary_pct": 0.5},
        "tied": {"tie_word_embeddings": True, "rotary_pct": 1.0},
        "new-spelling": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0,
                                             "partial_rotary_factor": 0.5}},
        "old-spelling": {"rotary_emb_base": 500, "rotary_pct": 0.5, "layer_norm_eps": 1e-3},
        "odd-rotary": {"hidden_size": 24, "num_attention_heads": 2, "rotary_pct": 0.25},
        "no-bias": {"attention_bias": False, "num_attention_heads": 8, "num_hidden_layers": 1}}


@pytest.fixture(autouse=True, scope="module")
def one_thread_and_no_tf32():
    """Tiny matrices: on a busy machine a second, spinning thread made this file 6x slower."""
    threads, tf32 = torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = tf32


@pytest.fixture(scope="session")
def hf():
    library = pytest.importorskip("transformers")
    library.logging.disable_progress_bar()
    return library


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers
    words = {"<|endoftext|>": 0, "<|padding|>": 1, **{f"w{i}": i for i in range(2, V)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|padding|>"])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def config_of(case):
    return {**TINY, **GRID[case]}


def shaken(model, seed=0):
    """Every parameter random, also biases and norms, so that a mixed-up one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator).to(p.device), alpha=0.1)
    return model


def ours(case, head="lm", num_labels=3, head_layer=-1):
    model = gpt_neox.GPTNeoX(config_of(case), head, num_labels, head_layer)
    for name, p in model.named_parameters():
        torch.nn.init.normal_(p, float(name.endswith("norm.weight")), 0.2)
    return shaken(model)


def theirs(hf, case, model):
    """transformers' model of the same class with the same weights."""
    kind = hf.GPTNeoXForCausalLM if model.kind == "lm" else hf.GPTNeoXForSequenceClassification
    config = {key: v for key, v in config_of(case).items() if key != "model_type"}
    reference = kind(hf.GPTNeoXConfig(**config, num_labels=3)).eval()
    state = {name.replace("embed_out", "lm_head"): p for name, p in model.state_dict().items()}
    if GRID[case].get("tie_word_embeddings") and model.kind == "lm":
        state["lm_head.weight"] = state["gpt_neox.embed_in.weight"]
    reference.load_state_dict(state)
    return reference


def batch(T, rows=4, seed=0):
    """ids (B, T) in 2..V padded with 1, lengths (B,): first row full, last row 1 token."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, V, (rows, T), generator=generator)
    lengths = torch.randint(1, T + 1, (rows,), generator=generator)
    lengths[0], lengths[-1] = T, 1
    ids[torch.arange(T) >= lengths[:, None]] = 1
    return ids, lengths


def real(lengths, T):
    return torch.arange(T) < lengths[:, None].cpu()


def worst(a, b):
    return (a.detach().cpu().float() - b.detach().cpu().float()).abs().max().item()


# ---- agrees with transformers --------------------------------------------------------------------

@pytest.mark.parametrize("device,tolerance", DEVICES)
@pytest.mark.parametrize("case,T", [*((case, 20) for case in GRID), ("pythia", 1), ("pythia", 140),
                                    ("sequential", 140), ("odd-rotary", 129)])
def test_logits_and_hidden_agree_with_transformers(hf, case, T, device, tolerance):
    ids, lengths = (x.to(device) for x in batch(T))
    seen = real(lengths, T)
    lm, classifier = ours(case), ours(case, "class")
    expected = theirs(hf, case, lm).to(device)(ids, output_hidden_states=True)
    assert worst(lm.to(device)(ids, lengths)[seen], expected.logits[seen]) < tolerance
    last = expected.hidden_states[-1][torch.arange(4), lengths - 1]
    assert worst(lm.hidden(ids, lengths), last) < tolerance
    expected = theirs(hf, case, classifier).to(device)(ids).logits
    assert worst(classifier.to(device)(ids, lengths), expected) < tolerance


@pytest.mark.parametrize("device,tolerance", DEVICES)
@pytest.mark.parametrize("case,T", [("pythia", 20), ("sequential", 140), ("tied", 9)])
def test_gradients_agree_with_transformers(hf, case, T, device, tolerance):
    """Relative to the largest entry of each gradient; loss of the class head, then of the LM."""
    ids, lengths = (x.to(device) for x in batch(T))
    mask = real(lengths, T).to(device).long()
    for head in ("class", "lm"):
        model = ours(case, head)
        reference = theirs(hf, case, model).to(device)
        model.to(device)
        if head == "class":
            model(ids, lengths).logsumexp(-1).sum().backward()
            reference(ids).logits.logsumexp(-1).sum().backward()
        else:
            model.nll(ids, lengths, mask).sum().backward()
            logp = reference(ids).logits[:, :-1].log_softmax(-1)
            picked = logp.gather(-1, ids[:, 1:, None])[..., 0]
            (-picked * mask[:, 1:]).sum().backward()
        expected = {n.replace("lm_head", "embed_out"): p for n, p in reference.named_parameters()}
        for name, p in model.named_parameters():
            scale = expected[name].grad.abs().max().clamp(min=1e-2).item()
            assert worst(p.grad, expected[name].grad) / scale < tolerance, name


def test_noise_is_added_to_the_embeddings(hf):
    model, (ids, lengths) = ours("pythia"), batch(11)
    noise = torch.randn(4, 11, 32)
    reference = theirs(hf, "pythia", model)
    embedded = reference.gpt_neox.embed_in(ids) + noise
    expected = reference(inputs_embeds=embedded, output_hidden_states=True)
    assert worst(model(ids, lengths, noise), expected.logits) < 1e-5
    last = expected.hidden_states[-1][torch.arange(4), lengths - 1]
    assert worst(model.last_state(ids, lengths, noise), last) < 1e-5


@pytest.mark.parametrize("layer", [-1, -2, -3])
def test_head_layer_reads_that_hidden_state_of_transformers(hf, layer, tmp_path, tokenizer_file):
    model, (ids, lengths) = ours("pythia", "class", head_layer=layer), batch(15)
    states = theirs(hf, "pythia", model).gpt_neox(ids, output_hidden_states=True).hidden_states
    expected = states[layer][torch.arange(4), lengths - 1] @ model.score.weight.T
    assert worst(model(ids, lengths), expected) < 1e-5
    assert worst(model.last_state(ids, lengths), states[-1][torch.arange(4), lengths - 1]) < 1e-5
    checkpoint.save(model, tmp_path, tokenizer_file)
    assert torch.equal(checkpoint.load(tmp_path, "class")(ids, lengths), model(ids, lengths))


@pytest.mark.parametrize("device,tolerance", DEVICES)
@pytest.mark.parametrize("case", ["pythia", "sequential", "tied"])
def test_generation_equals_transformers_greedy_for_ragged_prompts(hf, case, device, tolerance):
    model, (ids, lengths) = ours(case), batch(13)
    reference = theirs(hf, case, model).to(device)
    ids, lengths = ids.to(device), lengths.to(device)
    out = decoding.generate(model.to(device), ids, lengths, 12)
    assert out.shape == (4, 12) and out.dtype == torch.int64
    for row, n, generated in zip(ids, lengths, out):
        expected = reference.generate(row[None, :n], max_new_tokens=12, do_sample=False)
        assert expected[0, n:].tolist() == generated.tolist()


def test_golden_logits_hold_without_transformers():
    expected = load_file(GOLDEN / "expected.safetensors")
    ids, lengths = expected["ids"], expected["lengths"]
    lm, classifier = checkpoint.load(GOLDEN, "lm"), checkpoint.load(GOLDEN, "class", num_labels=3)
    assert worst(lm(ids, lengths), expected["lm"]) < 1e-5
    assert worst(lm.last_state(ids, lengths), expected["hidden"]) < 1e-5
    assert torch.equal(classifier(ids, lengths), torch.zeros(3, 3))
    classifier.score.weight.data.copy_(expected["score"])
    assert worst(classifier(ids, lengths), expected["class"]) < 1e-5
    assert torch.equal(decoding.generate(lm, ids, lengths, 8), expected["greedy"])


def test_importing_it_does_not_import_transformers():
    code = "import sys, w2s.model.checkpoint; sys.exit('transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


# ---- folders -------------------------------------------------------------------------------------

@pytest.mark.parametrize("shard_bytes", [10 ** 9, 20_000])
@pytest.mark.parametrize("case", ["pythia", "tied", "new-spelling", "no-bias"])
def test_transformers_loads_what_we_save(hf, case, shard_bytes, tmp_path, tokenizer_file):
    ids, lengths = batch(10)
    for head, auto in (("class", "SequenceClassification"), ("lm", "CausalLM")):
        folder, model = tmp_path / head, ours(case, head)
        checkpoint.save(model, folder, tokenizer_file, shard_bytes)
        reference, info = getattr(hf, f"AutoModelFor{auto}").from_pretrained(
            folder, output_loading_info=True)
        assert not any(info.values()), info
        seen = real(lengths, 10) if head == "lm" else slice(None)
        logits = reference.eval()(ids).logits[seen]
        assert worst(model(ids, lengths)[seen], logits) < 1e-5
        assert torch.equal(checkpoint.load(folder, head)(ids, lengths), model(ids, lengths))
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path / "lm")
    assert tokenizer("w5 w7 unheard")["input_ids"] == [5, 7, 0]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (1, 0)


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_we_load_what_transformers_saves(hf, shard, dtype, tmp_path):
    lm, (ids, lengths) = ours("pythia"), batch(10)
    reference = theirs(hf, "pythia", lm).to(dtype)
    reference.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors").exists() == (shard == "1GB")
    expected = reference.float()(ids).logits
    assert worst(checkpoint.load(tmp_path, "lm")(ids, lengths), expected) < 1e-5
    half = checkpoint.load(tmp_path, "class", dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert torch.equal(half(ids, lengths), torch.zeros(4, 2, dtype=torch.bfloat16))


@pytest.fixture
def folder(tmp_path, tokenizer_file):
    """An LM folder to break."""
    checkpoint.save(ours("pythia"), tmp_path / "model", tokenizer_file)
    return tmp_path / "model"


def rewrite(folder, change):
    """Apply change(weights) to the stored weights of a folder."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file({name: p.clone() for name, p in weights.items()}, folder / "model.safetensors")


def configure(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def test_published_buffers_and_both_names_of_the_head_are_read(folder):
    expected = checkpoint.load(folder, "lm").state_dict()

    def publish(weights):
        for i in range(3):
            at = f"gpt_neox.layers.{i}.attention."
            weights[at + "bias"] = torch.ones(1, 1, 256, 256, dtype=torch.bool).tril()
            weights[at + "masked_bias"] = torch.tensor(-1e9)
            weights[at + "rotary_emb.inv_freq"] = torch.ones(1)
        weights["lm_head.weight"] = weights.pop("embed_out.weight")

    rewrite(folder, publish)
    state = checkpoint.load(folder, "lm").state_dict()
    assert all(torch.equal(state[name], p) for name, p in expected.items())
    assert state.keys() == expected.keys() and "embed_out.weight" in state


def test_a_classifier_keeps_its_labels_and_head_and_a_base_model_starts_at_zero(
        folder, tmp_path, tokenizer_file):
    assert not checkpoint.load(folder, "class").score.weight.any()
    assert checkpoint.load(folder, "class", 5).score.weight.shape == (5, 32)
    checkpoint.save(ours("pythia", "class", 3), tmp_path / "three", tokenizer_file)
    assert checkpoint.load(tmp_path / "three", "class").score.weight.shape == (3, 32)
    assert checkpoint.load(tmp_path / "three", "class", 3).score.weight.any()
    with pytest.raises(ValueError, match="three: its classifier has num_labels 3, not 2"):
        checkpoint.load(tmp_path / "three", "class", 2)
    with pytest.raises(ValueError, match="three: its classifier has head_layer -1, not -2"):
        checkpoint.load(tmp_path / "three", "class", head_layer=-2)
    with pytest.raises(ValueError, match="three: a classifier .* without an LM head"):
        checkpoint.load(tmp_path / "three", "lm")


@pytest.mark.parametrize("key, value", [("id2label", ["no", "yes"]), ("num_labels", "three"),
                                        ("num_labels", True), ("w2s_head_layer", "last")])
def test_a_classifier_whose_config_does_not_say_its_shape_is_refused(key, value, tmp_path,
                                                                     tokenizer_file):
    checkpoint.save(ours("pythia", "class", 3), tmp_path / "three", tokenizer_file)
    configure(tmp_path / "three", **{key: value})
    with pytest.raises(ValueError, match=r"three/config\.json: id2label, num_labels or "
                       "w2s_head_layer is not an object, a number, a number$"):
        checkpoint.load(tmp_path / "three", "class")


def test_unknown_config_keys_and_from_scratch_survive_a_fine_tune(tmp_path, tokenizer_file):
    model = checkpoint.untrained({**TINY, "note": "kept"}, seed=1)
    checkpoint.save(model, tmp_path / "base", tokenizer_file)
    checkpoint.save(checkpoint.load(tmp_path / "base", "class"), tmp_path / "tuned", tokenizer_file)
    config = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert config["w2s_from_scratch"] is True and config["note"] == "kept"
    assert config["pad_token_id"] == 1 and config["rotary_pct"] == 0.25
    assert config["rope_parameters"]["partial_rotary_factor"] == 0.25


def damage_header(folder):
    path = folder / "model.safetensors"
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickle_only(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def index(folder, content):
    """Put an index of shards in the place of the weights."""
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def lose_shard(folder):
    index(folder, {"weight_map": {"a": "model-00001-of-00001.safetensors"}})


def reshape(weights):
    weights["gpt_neox.final_layer_norm.bias"] = torch.zeros(33)


BROKEN = {
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json: no such file"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json: not JSON"),
    "not an object": (lambda f: (f / "config.json").write_text("[]"), r"not a JSON object"),
    "another model": (lambda f: configure(f, model_type="gpt2"), r"json: model_type = 'gpt2'"),
    "activation": (lambda f: configure(f, hidden_act="gelu_new"), r"hidden_act = 'gelu_new'"),
    "dropout": (lambda f: configure(f, hidden_dropout=0.1), r"hidden_dropout = 0\.1"),
    "scaled rope": (lambda f: configure(f, rope_parameters={"rope_type": "yarn"}), r"rope_type = "),
    "scaled rope, old key": (lambda f: configure(f, rope_parameters={
        "type": "dynamic", "factor": 3}), r"rope_parameters\.type = 'dynamic'"),
    "rope scaling": (lambda f: configure(f, rope_scaling={"type": "linear"}), r"scaling\.type"),
    "rope type outside": (lambda f: configure(f, rope_type="llama3"), r"n: rope_type = 'llama3'"),
    "rope factor": (lambda f: configure(f, rope_parameters={"factor": 2.0}), r"factor = 2\.0"),
    "rope by layer": (lambda f: configure(f, rope_parameters={"full": {"rope_type": "default"}}),
                      r"rope_parameters\.full = \{"),
    "rope number": (lambda f: configure(f, rope_scaling=2), r"rope_scaling must be an object"),
    "theta elsewhere": (lambda f: configure(f, rope_theta=5e5), r"rope_theta = 500000"),
    "epsilon": (lambda f: configure(f, layer_norm_eps=2.5), r"layer_norm_eps must be .*not 2\.5"),
    "infinite base": (lambda f: configure(f, rope_parameters={}, rotary_emb_base=float("inf")),
                      r"rotary_emb_base must be .*not Infinity"),
    "true base": (lambda f: configure(f, rope_parameters={}, rotary_emb_base=True), "not true"),
    "no positions": (lambda f: configure(f, max_position_embeddings=0), r"max_position_embeddings"),
    "many positions": (lambda f: configure(f, max_position_embeddings=10 ** 30), r"up to 1048576"),
    "many layers": (lambda f: configure(f, num_hidden_layers=10 ** 9), r"up to 256, not 10000000"),
    "flag as a word": (lambda f: configure(f, attention_bias="yes"), r"must be true or false"),
    "no part to turn": (lambda f: configure(f, rope_parameters={"partial_rotary_factor": 1e-3}),
                        r"leaves no pair"),
    "nan": (lambda f: rewrite(f, lambda w: w["gpt_neox.final_layer_norm.bias"].fill_(
        float("nan"))), r"model\.safetensors: gpt_neox\.final_layer_norm\.bias has .* not finite"),
    "infinite": (lambda f: rewrite(f, lambda w: w["embed_out.weight"][-1, -1:].fill_(
        float("-inf"))), r"model\.safetensors: embed_out\.weight has"),
    "no size": (lambda f: configure(f, hidden_size=None), r"config\.json: hidden_size must be"),
    "heads": (lambda f: configure(f, num_attention_heads=5), r"not a multiple"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"model: neither model\.safeten"),
    "pickle only": (pickle_only, r"pytorch_model\.bin: a pickled .* never unpickle"),
    "lost shard": (lose_shard, r"model-00001-of-00001\.safetensors: this shard .* is missing"),
    "index without shards": (lambda f: index(f, {"metadata": {}}), r"json: no weight_map; fetch"),
    "empty index": (lambda f: index(f, {"weight_map": {}}), r"index\.json: no weight_map; fetch"),
    "list of shards": (lambda f: index(f, {"weight_map": ["a"]}), r"json: no weight_map; fetch"),
    "index out of the folder": (
        lambda f: index(f, {"weight_map": {"a": "../model.safetensors"}}),
        r"'\.\./model\.safetensors' is no \.safetensors file of this folder; fetch the file a"),
    "index of a pickle": (lambda f: index(f, {"weight_map": {"a": "pytorch_model.bin"}}),
                          r"'pytorch_model\.bin' is no \.safetensors file of this folder"),
    "index of a number": (lambda f: index(f, {"weight_map": {"a": 5}}),
                          r"index\.json: 5 is no \.safetensors file of this folder"),
    "header": (damage_header, r"model\.safetensors: damaged or incomplete"),
    "truncated": (truncate, r"model\.safetensors: damaged or incomplete"),
    "missing": (lambda f: rewrite(f, lambda w: w.pop("embed_out.weight")), r"1 missing \['embed"),
    "extra": (lambda f: rewrite(f, lambda w: w.update(x=torch.ones(1))), r"1 unexpected \['x'\]"),
    "deeper": (lambda f: configure(f, num_hidden_layers=4), r"model: .* 12 missing \['gpt_neox"),
    "shape": (lambda f: rewrite(f, reshape), r"s: gpt_neox.final_layer_norm.bias is F32 \[33\]"),
    "vocabulary": (lambda f: configure(f, vocab_size=96), r"\[97, 32\]; config\.json needs \[96,"),
    "integers": (lambda f: rewrite(f, lambda w: w.update(
        {"embed_out.weight": torch.ones(V, 32, dtype=torch.int8)})), r"embed_out\.weight is I8"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_one_line_that_names_the_file(folder, case):
    damage, message = BROKEN[case]
    damage(folder)
    with pytest.raises(ValueError, match=message) as error:
        checkpoint.load(folder, "lm")
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_null_in_config_is_as_if_the_key_were_absent(folder):
    before = checkpoint.load(folder, "lm")
    configure(folder, **dict.fromkeys(("layer_norm_eps", "attention_bias", "rope_scaling",
                                       "hidden_act", "hidden_dropout", "id2label", "num_labels")))
    after = checkpoint.load(folder, "lm")
    assert {**before.settings, "layer_norm_eps": 1e-5} == {**after.settings}
    assert checkpoint.load(folder, "class").score.out_features == 2


def test_a_large_weight_is_finite_though_its_sum_is_not():
    assert checkpoint.finite(torch.full((9,), 3e38))
    assert not checkpoint.finite(torch.tensor([1, float("inf")]))


@pytest.mark.parametrize("names, pad", [
    (("<|padding|>", "<|endoftext|>"), "<|padding|>"), (("[PAD]", "[CLS]"), "[PAD]"),
    (("<|endoftext|>",), "<|endoftext|>"), (("<s>", "</s>"), "</s>"), (("<s>",), None)])
def test_a_saved_folder_has_a_padding_token_or_says_that_there_is_none(
        names, pad, tokenizer_file, tmp_path, capsys):
    content = json.loads(Path(tokenizer_file).read_text())
    content["added_tokens"] = [{"id": k, "content": name} for k, name in enumerate(names)]
    content["added_tokens"].append({"id": 10 ** 6, "content": "<pad>"})  # not among the model's
    (tmp_path / "t.json").write_text(json.dumps(content))
    checkpoint.save(ours("pythia", "class"), tmp_path / "out", tmp_path / "t.json")
    written, config = (json.loads((tmp_path / "out" / name).read_text())
                       for name in ("tokenizer_config.json", "config.json"))
    assert written.get("pad_token") == pad and written["padding_side"] == "right"
    assert written["model_input_names"] == ["input_ids", "attention_mask"]
    assert pad is None or config["pad_token_id"] == names.index(pad)
    assert ("no padding token" in capsys.readouterr().out) == (pad is None)


def test_a_language_model_is_padded_at_its_left_end(tokenizer_file, tmp_path):
    checkpoint.save(ours("pythia", "lm"), tmp_path / "out", tokenizer_file)
    written = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert written["padding_side"] == "left" and written["pad_token"] == "<|padding|>"


def test_wrong_arguments_are_refused(folder, tmp_path, tokenizer_file):
    for arguments, message in (
            ((tmp_path / "nowhere", "lm"), "nowhere: no such folder"),
            ((folder, "tail"), "head must be"),
            ((folder, "lm", None, "cpu", torch.float16), "float16: attention overflows"),
            ((folder, "class", 2, "cpu", torch.float32, -4), "head_layer -4"),
            ((folder, "class", 2, "cpu", torch.float32, 0), "head_layer 0"),
            ((folder, "lm", None, "cpu", torch.float32, -2), "head_layer -2")):
        with pytest.raises(ValueError, match=message):
            checkpoint.load(*arguments)
    model = checkpoint.load(folder, "lm")
    with pytest.raises(ValueError, match="lost.json: no such file"):
        checkpoint.save(model, tmp_path / "out", tmp_path / "lost.json")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="250 prompt . 7 new tokens exceed the model's 256"):
        decoding.generate(model, torch.ones(1, 250, dtype=torch.long), torch.tensor([250]), 7)


def test_an_interrupted_save_leaves_the_old_files_and_nothing_half_written(
        folder, tokenizer_file, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(tensors, name, metadata):
        Path(name).write_bytes(b"half")
        raise checkpoint.SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(OSError, match="model.safetensors: cannot write: .*No space left"):
        checkpoint.save(ours("sequential"), folder, tokenizer_file)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_saving_over_shards_or_a_single_file_leaves_only_the_new_weights(folder, tokenizer_file):
    (ids, lengths), model = batch(5), ours("pythia", "lm")
    shaken(model, seed=9)
    for shard_bytes in (20_000, 10 ** 9, 20_000):
        shaken(model)
        checkpoint.save(model, folder, tokenizer_file, shard_bytes)
        assert torch.equal(checkpoint.load(folder, "lm")(ids, lengths), model(ids, lengths))
    mode = (folder / "config.json").stat().st_mode
    assert all(path.stat().st_mode == mode for path in folder.iterdir())   # not safetensors' 0600


# ---- invariants ----------------------------------------------------------------------------------

@pytest.mark.parametrize("T", [6, 140])
@pytest.mark.parametrize("case", ["pythia", "sequential"])
def test_the_last_block_shortcut_equals_the_full_evaluation(case, T):
    model, (ids, lengths) = ours(case), batch(T)
    full = model.states(ids)[torch.arange(4), lengths - 1]
    assert worst(model.last_state(ids, lengths), full) < 2e-6      # other matrix shapes, same sums


def test_padding_changes_nothing():
    model, (ids, lengths) = ours("pythia", "class"), batch(20)
    for extra in (1, 12, 120):                                 # 140 takes the fused kernel
        padded = torch.cat((ids, torch.full((4, extra), 77)), 1)
        assert worst(model(padded, lengths), model(ids, lengths)) < 2e-6
    lm, mask = ours("pythia"), real(lengths, 20)
    padded = torch.cat((ids, ids), 1), lengths, torch.cat((mask, torch.zeros_like(mask)), 1)
    assert torch.allclose(lm.nll(*padded), lm.nll(ids, lengths, mask), rtol=1e-6)


def test_rows_beyond_the_rotary_tables_are_exact_too():
    short = gpt_neox.GPTNeoX({**TINY, "max_position_embeddings": 8}, "lm")
    model = gpt_neox.GPTNeoX(TINY, "lm")
    short.load_state_dict(model.state_dict())
    ids, lengths = batch(30)
    assert torch.equal(short(ids, lengths), model(ids, lengths))
    assert torch.equal(short.last_state(ids, lengths), model.last_state(ids, lengths))


@pytest.mark.parametrize("held, few", [(2 ** 27, 2 ** 22), (2 ** 27, 3 * V), (7 * V, 3 * V)])
@pytest.mark.parametrize("case", ["pythia", "tied"])
def test_nll_equals_the_full_logits_with_its_gradient(case, held, few, monkeypatch):
    monkeypatch.setitem(network.LOGITS_HELD, True, held)        # the small one: parts of 8 tokens
    monkeypatch.setitem(network.LOGITS_AT_ONCE, True, few)
    model, (ids, lengths) = ours(case).double(), batch(19)
    mask, weight = real(lengths, 19) & (torch.rand(4, 19) < 0.7), torch.randn(4).double()
    logp = model(ids, lengths)[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    expected, got = -(logp * mask[:, 1:]).sum(1), model.nll(ids, lengths, mask)
    assert got.dtype == torch.float64 and worst(got, expected) < 1e-10
    wanted = torch.autograd.grad((expected * weight).sum(), list(model.parameters()))
    found = torch.autograd.grad((got * weight).sum(), list(model.parameters()))
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-11) for a, b in zip(wanted, found))
    assert torch.equal(model.nll(ids, lengths, torch.zeros_like(mask)), torch.zeros(4).double())


@pytest.mark.parametrize("device, _", DEVICES)
def test_nll_of_a_token_that_is_all_but_impossible(device, _):
    h = torch.tensor([[300.0, 0.0], [300.0, 0.0], [0.5, 0.0]], device=device)  # exp(-300) is 0
    W, y = torch.eye(2, device=device), torch.tensor([0, 1, 1], device=device)
    sizes, ones = (2, 1), torch.ones(3, device=device)
    nll, g_h, g_W = kernels.by_chunks(h, W, y, ones, torch.float32, sizes, (True, True))
    logits = h.clone().requires_grad_()
    expected = torch.nn.functional.cross_entropy(logits, y, reduction="none")
    expected.sum().backward()
    assert torch.allclose(nll, expected, rtol=1e-6) and torch.allclose(g_h, logits.grad)
    assert torch.allclose(g_W, logits.grad.T @ h)


@pytest.mark.parametrize("head", ["class", "lm"])
@pytest.mark.parametrize("T", [12, 140])
def test_vmap_of_grad_equals_one_row_at_a_time(head, T):
    model, (ids, lengths) = ours("pythia", head), batch(T)
    mask, noise = real(lengths, T).long(), torch.randn(4, T, 32)
    params = {name: p.detach() for name, p in model.named_parameters()}

    def loss(params, ids, lengths, mask, noise):
        row = ids[None], lengths[None]
        extra = {"mask": mask[None]} if head == "lm" else {"noise": noise[None]}
        return functional_call(model, params, row, extra).logsumexp(-1).sum()

    rows = vmap(grad(loss), (None, 0, 0, 0, 0))(params, ids, lengths, mask, noise)
    for i in range(4):
        model.zero_grad()
        extra = {"mask": mask[i:i + 1]} if head == "lm" else {"noise": noise[i:i + 1]}
        model(ids[i:i + 1], lengths[i:i + 1], **extra).logsumexp(-1).sum().backward()
        for name, p in model.named_parameters():
            scale = p.grad.abs().max().clamp(min=1)
            assert worst(rows[name][i] / scale, p.grad / scale) < 1e-5, name


def test_it_compiles_without_graph_breaks_for_changing_shapes():
    """Traced as a whole for inductor, but run in eager mode: no C++ compiler, few seconds."""
    config = {**TINY, "num_hidden_layers": 2}
    classifier, lm = (shaken(gpt_neox.GPTNeoX(config, head)) for head in ("class", "lm"))
    compiled, compiled_nll = (torch.compile(f, fullgraph=True, dynamic=True, backend="eager")
                              for f in (classifier, lm.nll))
    for T, rows in ((12, 4), (20, 3), (140, 5)):
        ids, lengths = batch(T, rows)
        mask = real(lengths, T)
        assert worst(compiled(ids, lengths), classifier(ids, lengths)) < 1e-5
        expected = lm.nll(ids, lengths, mask)
        assert torch.allclose(compiled_nll(ids, lengths, mask), expected, rtol=1e-5)
    compiled(ids, lengths).sum().backward()
    assert all(p.grad.isfinite().all() for p in classifier.parameters())


@pytest.mark.parametrize("T", [12, 140])
def test_bfloat16_stays_near_float32(T):
    """8 bits of mantissa over three blocks: within 5 % of the logits' spread."""
    model, (ids, lengths) = ours("pythia", "class"), batch(T)
    expected = model(ids, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(ids, lengths)
    whole = copy.deepcopy(model).bfloat16()(ids, lengths)
    assert worst(mixed, expected) < 0.05 * expected.std() and whole.dtype == torch.bfloat16
    assert worst(whole, expected) < 0.1 * expected.std()


def test_sampling_follows_its_generator_and_cools_to_greedy():
    model, (ids, lengths) = ours("pythia"), batch(9)
    greedy = decoding.generate(model, ids, lengths, 10)
    draw = [decoding.generate(model, ids, lengths, 10, 1.0, torch.Generator().manual_seed(seed))
            for seed in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])
    cold = decoding.generate(model, ids, lengths, 10, 1e-6, torch.Generator().manual_seed(1))
    assert torch.equal(cold, greedy)
    assert decoding.generate(model, ids, lengths, 0).shape == (4, 0)


def test_a_row_that_has_ended_goes_on_with_the_end():
    """Against the texts without an end: the same up to the first one, then nothing else."""
    model, (ids, lengths) = ours("pythia"), batch(9, 8)
    free = decoding.generate(model, ids, lengths, 12)
    end = int(free.flatten().mode().values)
    places = [row.index(end) if end in row else 12 for row in free.tolist()]
    assert len(set(places)) > 2 and min(places) < 10
    found = decoding.generate(model, ids, lengths, 12, end=end)
    assert found.tolist() == [row[:n] + [end] * (12 - n) for row, n in zip(free.tolist(), places)]


def test_equally_spaced_numbers_sample_in_the_shares_of_the_tempered_softmax():
    logits, u = torch.tensor([.5, .25, 0, .25]).log().expand(1000, -1), (torch.arange(1000) + .5)
    for temperature, shares in ((1.0, [500, 250, 0, 250]), (.5, [667, 166, 0, 167])):
        found = decoding.sample(logits, temperature, u / 1000)
        assert torch.bincount(found, minlength=4).tolist() == shares
    assert decoding.sample(logits[:1], 1.0, torch.tensor([1 - 2 ** -24])) == 3
    assert decoding.sample(torch.tensor([[-200., 0, 0]]), 1.0,
                           torch.zeros(1)) == 1  # p_0 = 0, u = 0


def test_the_most_probable_token_of_a_vocabulary_in_runs_is_the_first_largest():
    draw = torch.Generator().manual_seed(0)
    model = gpt_neox.GPTNeoX({**TINY, "vocab_size": 384}, "lm")
    torch.nn.init.normal_(model.embed_out.weight, generator=draw)
    h = torch.randn(50, 32, generator=draw)
    expected = [max(range(384), key=lambda v: (row[v], -v))
                for row in (h.double() @ model.embed_out.weight.double().T).tolist()]
    assert decoding.greedy(model, h).tolist() == expected and len({v // 128 for v in expected}) == 3
    assert kernels.largest(model.head(h)).tolist() == expected
    assert kernels.largest(torch.zeros(2, 384)).tolist() == [0, 0]


COUNTS = {"14m": 1_189_888, "31m": 4_739_072, "70m": 18_915_328, "160m": 85_056_000,
          "410m": 302_311_424, "1b": 805_736_448, "1.4b": 1_208_602_624, "2.8b": 2_517_652_480,
          "6.9b": 6_444_163_072, "12b": 11_327_027_200}        # Pythia's table, without embeddings


@pytest.mark.parametrize("size", COUNTS)
def test_shapes_have_the_published_parameter_counts(size):
    with torch.device("meta"):
        model = gpt_neox.GPTNeoX(configuration.SHAPES[f"pythia-{size}"], "lm")
    blocks = sum(p.numel() for name, p in model.named_parameters() if "embed" not in name)
    assert blocks == COUNTS[size]
    assert model.embed_out.weight.shape == model.gpt_neox.embed_in.weight.shape


def test_untrained_is_drawn_from_its_seed_as_transformers_would(hf):
    model, again, other = (checkpoint.untrained(TINY, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
    assert not torch.equal(model.embed_out.weight, other.embed_out.weight)
    config = {key: v for key, v in TINY.items() if key != "model_type"}
    reference = hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**config)).state_dict()
    for name, p in model.named_parameters():
        expected = reference[name.replace("embed_out", "lm_head")]
        assert abs(p.std(correction=0) - expected.std(correction=0)) < 0.03, name
        assert abs(p.mean() - expected.mean()) < 0.03, name


def test_fewer_tokens_stand_side_by_side_where_their_keys_and_values_would_fill_a_gpu(monkeypatch):
    model = ours("pythia")
    assert decoding.side_by_side(model, 1000) == 1000  # on a CPU as many as asked for
    size = 8 * model.settings["num_hidden_layers"] * model.settings["hidden_size"]
    # free, of all; torch has 30 rows' worth, of which it uses 20
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * 90 * size, 10 ** 12))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 4 * 30 * size)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 4 * 20 * size)
    fake = types.SimpleNamespace(settings=model.settings, parameters=lambda: iter(
        [types.SimpleNamespace(device=torch.device("cuda"))]))
    assert decoding.side_by_side(fake, 1000) == 100 and decoding.side_by_side(fake, 50) == 50


def test_what_is_sampled_from_must_be_finite():
    model, (ids, lengths) = ours("pythia"), batch(9)
    model.embed_out.weight.data[3] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        decoding.generate(model, ids, lengths, 3, 1.0)
