"""w2s.model.decoder against transformers: Llama, Qwen2.5, Qwen3, OLMo2, Gemma 2 and 3.

    python -m pytest tests/model/test_decoder.py

Tolerance: 1e-5 on float32 logits of order 1-10 on the CPU. The peers are tiny random models that
transformers' own config classes make, with every parameter random.
"""
import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from w2s.attacks import exposure
from w2s.dp import sgd
from w2s.infer import choice
from w2s.model import checkpoint, decoder, decoding, families, lora, tokenization
from w2s.tasks import privacy

GOLDEN = Path(__file__).parents[1] / "golden"
V = 97
SHAPE = {"vocab_size": V, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
         "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 1, "initializer_range": 0.15}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
WINDOW = {"head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 12}
GRID = {"llama2": ("Llama", {"num_key_value_heads": 4}),
        "llama3": ("Llama", {"rope_theta": 500.0, "rope_scaling": LLAMA3}),
        "llama-biases": ("Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 12}),
        "smollm2": ("Llama", {"tie_word_embeddings": True, "rope_theta": 100000.0}),
        "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
        "qwen2-window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 5,
                                   "max_window_layers": 1}),
        "qwen3": ("Qwen3", {"head_dim": 16}),
        "olmo2": ("Olmo2", {"rope_theta": 500000.0}),
        "gemma2": ("Gemma2", WINDOW | {"attn_logit_softcapping": 2.0,
                                       "final_logit_softcapping": 3.0}),
        "gemma3": ("Gemma3Text", WINDOW | {"sliding_window_pattern": 2, "rope_scaling": {
            "rope_type": "linear", "factor": 8.0}})}
FEW = ["llama3", "qwen3", "olmo2", "gemma2", "gemma3"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def hf():
    library = pytest.importorskip("transformers")
    library.logging.disable_progress_bar()
    return library


def theirs(hf, case, head="lm", **changes):
    """transformers' model of a case, every parameter random."""
    family, more = GRID[case]
    config = getattr(hf, f"{family}Config")(**SHAPE | more | changes)
    auto = {"lm": hf.AutoModelForCausalLM, "class": hf.AutoModelForSequenceClassification}[head]
    if head == "class":
        config.num_labels = 3
    torch.manual_seed(0)
    model = auto.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape), alpha=.1)
    return model


def ours(reference, head="lm", head_layer=-1):
    """Our model with the weights of transformers'."""
    config = families.known(reference.config.to_dict(), "config.json")
    model = decoder.Decoder(config, head, 3, head_layer)
    weights = reference.state_dict()
    if head == "lm" and config["tie_word_embeddings"]:
        del weights["lm_head.weight"]
    model.load_state_dict(weights)
    return model


def batch(T, B=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([T, max(1, T // 2), 1, T - 1][:B])
    ids = torch.randint(4, V, (B, T), generator=generator)
    return ids.masked_fill(~real(lengths, T), 1), lengths


def real(lengths, T):
    return torch.arange(T) < lengths[:, None]


def worst(a, b):
    return (a.float() - b.float()).abs().max().item()


@pytest.mark.parametrize("T", [3, 17, 140])          # 140: the fused kernel
@pytest.mark.parametrize("case", GRID)
def test_logits_and_hidden_states_agree_with_transformers(hf, case, T):
    reference, (ids, lengths) = theirs(hf, case), batch(T)
    model, mask = ours(reference), real(lengths, T)
    with torch.no_grad():
        expected = reference(ids, mask.long(), output_hidden_states=True)
        assert worst(model(ids, lengths)[mask], expected.logits[mask]) < 1e-5
        rows = torch.arange(4)
        for layer in (-1, -2):
            state = expected.hidden_states[layer][rows, lengths - 1]
            assert worst(model.last_state(ids, lengths, layer=layer), state) < 1e-5


@pytest.mark.parametrize("case", GRID)
def test_a_class_head_and_all_gradients_agree_with_transformers(hf, case):
    ids, lengths = batch(12)
    for head in ("class", "lm"):
        reference = theirs(hf, case, head)
        model, mask = ours(reference, head), real(lengths, 12)
        if head == "class":
            expected, found = reference(ids, mask.long()).logits, model(ids, lengths)
            assert worst(found, expected) < 1e-5
            found, expected = found.logsumexp(-1).sum(), expected.logsumexp(-1).sum()
        else:
            logp = reference(ids, mask.long()).logits[:, :-1].log_softmax(-1)
            picked = logp.gather(-1, ids[:, 1:, None])[..., 0]
            expected = -(picked * mask[:, 1:]).sum()
            found = model.nll(ids, lengths, mask.float()).sum()
        assert abs(found - expected) / abs(expected) < 1e-5
        found.backward()
        expected.backward()
        gradients = {name: p.grad for name, p in reference.named_parameters()}
        for name, p in model.named_parameters():
            scale = gradients[name].abs().max().clamp(min=1e-2)
            assert worst(p.grad / scale, gradients[name] / scale) < 1e-4, name


@pytest.mark.parametrize("case", GRID)
def test_generation_equals_transformers_token_for_token(hf, case):
    reference, (ids, lengths) = theirs(hf, case), batch(13)
    out = decoding.generate(ours(reference), ids, lengths, 12)
    for row, n, generated in zip(ids, lengths, out):
        expected = reference.generate(row[None, :n], max_new_tokens=12, do_sample=False,
                                      eos_token_id=None, pad_token_id=1)
        assert expected[0, n:].tolist() == generated.tolist()


@pytest.mark.parametrize("case", FEW)
def test_noise_is_added_to_the_scaled_embeddings(hf, case):
    reference, (ids, lengths) = theirs(hf, case), batch(11)
    noise = torch.randn(4, 11, 32)
    embedded = reference.get_input_embeddings()(ids) + noise
    with torch.no_grad():
        expected = reference(inputs_embeds=embedded).logits
        assert worst(ours(reference)(ids, lengths, noise)[0], expected[0]) < 1e-5


@pytest.mark.parametrize("offset", [0, 1])
def test_a_new_norm_makes_the_mean_square_one(offset):
    x = torch.tensor([[3., 0, 0, 4]])                       # of mean square 25 / 4
    assert torch.allclose(decoder.RMSNorm(4, 1e-6, offset)(x), x / 2.5)


@pytest.mark.parametrize("case", FEW)
def test_padding_changes_nothing_and_the_last_block_leaves_tokens_out_exactly(hf, case):
    model, (ids, lengths) = ours(theirs(hf, case)), batch(20)
    mask = real(lengths, 20).float()
    with torch.no_grad():
        full = model.states(ids)[torch.arange(4), lengths - 1]
        assert worst(model.last_state(ids, lengths), full) < 5e-6
        for extra in (5, 120):
            padded = torch.cat((ids, torch.full((4, extra), 77)), 1)
            assert worst(model.last_state(padded, lengths), full) < 5e-6
        few = torch.zeros(4, 20)
        few[0, -2:] = few[1, 4] = 1     # so few that the last block evaluates no others
        logp = model(ids, lengths)[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        for weights in (few, mask):
            expected = -(logp * weights[:, 1:]).sum(1)
            assert worst(model.nll(ids, lengths, weights), expected) < 1e-4


def test_a_tree_of_tails_is_scored_as_each_tail_alone(hf):
    context, tails = [5, 6, 7, 8, 9, 10, 11], [[20, 21, 22], [20, 21, 30], [40]]
    for case in FEW:
        model = ours(theirs(hf, case)).double()
        found = exposure.log_probability(model, context, tails)
        for tail, value in zip(tails, found):
            ids = torch.tensor([context + tail])
            logp = model(ids, torch.tensor([ids.shape[1]]))[0].detach().log_softmax(-1)
            alone = sum(logp[len(context) - 1 + n, token] for n, token in enumerate(tail))
            assert abs(float(alone) - value) < 1e-5, case


@pytest.mark.parametrize("case", FEW)
def test_private_gradients_are_those_of_one_sample_at_a_time(hf, case):
    """func and fast against backward of each row alone, clipped by hand; RMSNorm by book-keeping
    too."""
    ids, lengths = batch(9)
    for head in ("lm", "class"):
        model = ours(theirs(hf, case, head), head)
        data = {"ids": ids, "len": lengths, "mask": real(lengths, 9).float()}
        objective = (lambda f, b: f.nll(b["ids"], b["len"], b["mask"])) if head == "lm" else (
            lambda f, b: f(b["ids"], b["len"]).logsumexp(-1))
        clip, expected = 1.0, {}
        for i in range(4):
            row = {key: value[i:i + 1] for key, value in data.items()}
            loss = objective(model, row).sum()
            if loss.requires_grad:
                g = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
                norm = sum(x.double().square().sum() for x in g if x is not None).sqrt()
                for (name, p), x in zip(model.named_parameters(), g):
                    total = expected.setdefault(name, torch.zeros_like(p))
                    if x is not None:
                        total += x * min(1., clip / float(norm + 1e-6))
        for method in ("func", "fast"):
            found = sgd.private_gradient(model, objective, data, clip, 0., 1, None, method)
            for name, g in expected.items():
                scale = max(1e-3, g.abs().max().item())
                assert worst(found[name], g) / scale < 1e-4, (method, name)


@pytest.mark.parametrize("case", FEW)
def test_it_compiles_as_a_whole(hf, case):
    reference = theirs(hf, case, "class")
    model = ours(reference, "class")
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="eager")
    for T, B in ((12, 4), (20, 3)):
        ids, lengths = batch(T, B)
        assert worst(compiled(ids, lengths), model(ids, lengths)) < 1e-5
    torch.compiler.reset()


@pytest.mark.parametrize("case", FEW)
def test_bfloat16_stays_near_float32(hf, case):
    model, (ids, lengths) = ours(theirs(hf, case)), batch(14)
    with torch.no_grad():
        expected = model(ids, lengths)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(ids, lengths)
        half = copy.deepcopy(model).bfloat16()(ids, lengths)
    assert half.dtype == torch.bfloat16
    assert (mixed - expected).abs().mean() < .1 * expected.std()
    assert (half - expected).abs().mean() < .1 * expected.std()


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_golden_logits_hold_without_transformers(name):
    expected = load_file(GOLDEN / name / "expected.safetensors")
    ids, lengths = expected["ids"], expected["lengths"]
    lm, classifier = (checkpoint.load(GOLDEN / name, head, num_labels=labels)
                      for head, labels in (("lm", None), ("class", 3)))
    classifier.score.weight.data.copy_(expected["score"])
    with torch.no_grad():
        assert worst(lm(ids, lengths), expected["lm"]) < 1e-5
        assert worst(lm.last_state(ids, lengths), expected["hidden"]) < 1e-5
        assert worst(classifier(ids, lengths), expected["class"]) < 1e-5
    assert torch.equal(decoding.generate(lm, ids, lengths, 8), expected["greedy"])


# ---- LoRA ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", FEW)
def test_lora_trains_attention_and_mlp_and_merges_back(hf, case):
    model, (ids, lengths) = ours(theirs(hf, case)), batch(8)
    names, before = set(model.state_dict()), model(ids, lengths)
    lora.apply(model, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(ids, lengths), before)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 7 * 3                       # A and B of 7 matrices in 3 blocks
    for p in model.parameters():
        if p.requires_grad:
            p.data.normal_(0, .1)
    changed = model(ids, lengths)
    assert worst(changed, before) > .01
    lora.merge(model)
    assert set(model.state_dict()) == names and worst(model(ids, lengths), changed) < 1e-4


@pytest.mark.parametrize("case", ["llama3", "gemma3"])
def test_lora_is_pefts_on_all_linear_layers(hf, case):
    peft = pytest.importorskip("peft", exc_type=ImportError)
    reference, (ids, lengths) = theirs(hf, case), batch(8)
    model, draw = ours(reference), torch.Generator().manual_seed(1)
    lora.apply(model, 3, 6, torch.Generator().manual_seed(0))
    peer = peft.get_peft_model(reference, peft.LoraConfig(
        r=3, lora_alpha=6, task_type="CAUSAL_LM", target_modules="all-linear"))
    names = {}
    for name, p in peer.named_parameters():
        if p.requires_grad:
            own = name.removeprefix("base_model.model.").replace("lora_", "").replace(
                ".default", "")
            names[own], twin = p, model.get_parameter(own)
            with torch.no_grad():
                twin.copy_(p.normal_(0, .2, generator=draw))
    assert names.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    mask = real(lengths, 8)
    one, two = model(ids, lengths)[mask], peer(ids, attention_mask=mask.long()).logits[mask]
    assert worst(one, two) < 2e-5
    (one.square().mean() - two.square().mean()).backward()
    for name, p in names.items():
        assert torch.allclose(model.get_parameter(name).grad, -p.grad, atol=1e-4), name


# ---- folders -------------------------------------------------------------------------------------

def tokenizer_of(begin=None, top=V):
    """Words w4, w5, ... of those ids; the tokens <pad>, <bos>, <eos> have 1, 2 and 3."""
    words = {"<unk>": 0, "<pad>": 1, "<bos>": 2, "<eos>": 3, **{f"w{i}": i for i in range(4, top)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<unk>", "<pad>", "<bos>", "<eos>"])
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, words[begin])])
    return tokenizer


@pytest.fixture
def tokenizer_file(tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer_of("<bos>").save(str(path))
    return path


@pytest.mark.parametrize("shard_bytes", [10 ** 9, 20_000])
@pytest.mark.parametrize("case", GRID)
def test_transformers_loads_what_we_save_with_equal_logits(hf, case, shard_bytes, tmp_path,
                                                           tokenizer_file):
    ids, lengths = batch(10)
    mask = real(lengths, 10)
    for head, auto in (("class", "SequenceClassification"), ("lm", "CausalLM")):
        folder, model = tmp_path / head, ours(theirs(hf, case, head), head)
        checkpoint.save(model, folder, tokenizer_file, shard_bytes)
        peer, info = getattr(hf, f"AutoModelFor{auto}").from_pretrained(
            folder, output_loading_info=True)
        assert not any(info.values()), info
        assert peer.config.architectures == [type(peer).__name__]
        with torch.no_grad():
            logits, found = peer.eval()(ids, mask.long()).logits, model(ids, lengths)
            again = checkpoint.load(folder, head)
            assert torch.equal(again(ids, lengths), found)
        seen = mask if head == "lm" else slice(None)
        assert worst(found[seen], logits[seen]) < 1e-5
    if case.startswith("qwen2"):  # transformers 5 takes Qwen's own class, which knows BPE alone
        return
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path / "lm")
    assert tokenizer("w5 w7")["input_ids"] == [2, 5, 7]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2, 3)


@pytest.mark.parametrize("case", GRID)
def test_we_load_what_transformers_saves(hf, case, tmp_path):
    reference, (ids, lengths) = theirs(hf, case), batch(9)
    reference.save_pretrained(tmp_path, max_shard_size="20KB")
    with torch.no_grad():
        assert worst(checkpoint.load(tmp_path, "lm")(ids, lengths)[0],
                     reference(ids).logits[0]) < 1e-5
    assert not checkpoint.load(tmp_path, "class").score.weight.any()


def test_of_a_gemma_that_reads_pictures_the_language_model_is_read(hf, tmp_path, tokenizer_file):
    text = theirs(hf, "gemma3").config
    vision = hf.SiglipVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                   num_attention_heads=1, image_size=28, patch_size=14)
    config = hf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    whole = hf.Gemma3ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path / "whole")
    (ids, lengths), model = batch(9), checkpoint.load(tmp_path / "whole", "lm")
    with torch.no_grad():
        assert worst(model(ids, lengths)[0], whole(ids).logits[0]) < 1e-5
    checkpoint.save(model, tmp_path / "text", tokenizer_file)
    peer = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "text").eval()
    assert type(peer).__name__ == "Gemma3ForCausalLM"
    with torch.no_grad():
        assert worst(peer(ids).logits[0], whole(ids).logits[0]) < 1e-5
    # as transformers 5 names the parts, in memory and in newer folders
    weights = {f"model.{name.replace('language_model.model', 'language_model')}"
               if not name.startswith(("model.", "lm_head")) else name: p
               for name, p in load_file(tmp_path / "whole" / "model.safetensors").items()}
    save_file(weights, tmp_path / "whole" / "model.safetensors")
    assert torch.equal(checkpoint.load(tmp_path / "whole", "lm")(ids, lengths),
                       model(ids, lengths))


def test_untrained_is_drawn_as_transformers_would(hf):
    for case in FEW:
        family, more = GRID[case]
        reference = getattr(hf, f"{family}Config")(**SHAPE | more).to_dict()
        model, again = (checkpoint.untrained(reference, 1) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
        peer = hf.AutoModelForCausalLM.from_config(model_config(hf, case)).state_dict()
        for name, p in model.named_parameters():
            if p.ndim == 1:
                assert torch.equal(p, peer[name]), name
            else:
                assert abs(p.std() - .15) < .02, name


def model_config(hf, case):
    family, more = GRID[case]
    return getattr(hf, f"{family}Config")(**SHAPE | more)


def test_fewer_keys_let_more_tokens_stand_side_by_side(hf, monkeypatch):
    """8 bytes a token, layer and dimension of the keys: 2 heads of 8."""
    model = ours(theirs(hf, "llama3"))
    monkeypatch.setattr(decoding.devices, "free_memory", lambda device: 4 * 50 * 8 * 3 * 16)
    fake = SimpleNamespace(settings=model.settings, parameters=lambda: iter(
        [SimpleNamespace(device=torch.device("cuda"))]))
    assert decoding.side_by_side(fake, 1000) == 50


# ---- tokens --------------------------------------------------------------------------------------

def test_a_text_begins_and_ends_with_the_tokens_of_its_model(hf, tmp_path, tokenizer_file):
    checkpoint.save(ours(theirs(hf, "gemma3")), tmp_path / "model", tokenizer_file)
    tokenizer = tokenization.load_tokenizer(tmp_path / "model")
    assert tokenization.marks(tokenizer) == ([2], 3)

    def lists(arrays):
        return [ids.tolist() for ids in arrays]
    assert lists(tokenization.tokenize(tokenizer, ["w5 w6 w7", ""], 3)) == [[2, 5, 6], [2]]
    assert lists(tokenization.tokenize(tokenizer, ["w5 w6"], 1)) == [[5]]
    assert lists(tokenization.tokenize(tokenizer, ["w5 w6", ""], 4, bare=True)) == [[5, 6], [3]]
    assert lists(choice.prompts(tokenizer, ["w5 w6 w7", ""], 3)) == [[2, 6, 7], [2]]
    assert lists(choice.prompts(tokenizer, ["w5 w6 w7"], 1)) == [[7]]
    columns = choice.encode(tokenizer, ["w5 w6 w7", "w5"], ["w8 w9", "w8"], 5, end=True)
    assert lists(columns["ids"]) == [[2, 7, 8, 9, 3], [2, 5, 8, 3]]
    assert columns["start"].tolist() == [2, 2]
    # places of secrets are counted in privacy's texts: they are read bare
    mail = [{"text": "w5 w6 w7", "weak_text": "w8", "weak_from": 5}]
    assert lists(privacy.encode(mail, tokenizer, 9)["ids"]) == [[5, 6, 7]]
    assert lists(privacy.encode(mail, tokenizer, 9, "weak")["ids"]) == [[5, 6, 8]]
    plain = tokenizer_of()
    plain.save(str(tmp_path / "model" / "tokenizer.json"))
    assert tokenization.marks(tokenization.load_tokenizer(tmp_path / "model")) == ([], 3)
    assert checkpoint.load(tmp_path / "model", "lm").end == 3


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(hf, tmp_path, tokenizer_file):
    checkpoint.save(ours(theirs(hf, "llama2")), tmp_path / "model", tokenizer_file)
    bigger = tokenizer_of(top=V + 1)
    bigger.save(str(tmp_path / "model" / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"tokenizer\.json: has tokens up to 97, but config\.json "
                       r"says vocab_size 97; it is another model's tokenizer$"):
        tokenization.load_tokenizer(tmp_path / "model")
    added = tokenizer_of()
    added.add_special_tokens(["<image>"])                       # as Gemma's, without a row for it
    added.save(str(tmp_path / "model" / "tokenizer.json"))
    assert tokenization.load_tokenizer(tmp_path / "model").token_to_id("<image>") == V


def test_a_class_head_is_saved_with_a_padding_token_of_the_config(hf, tmp_path, tokenizer_file):
    checkpoint.save(ours(theirs(hf, "olmo2", "class"), "class"), tmp_path / "model",
                    tokenizer_file)
    written = json.loads((tmp_path / "model" / "config.json").read_text())
    assert written["pad_token_id"] == 1 and written["eos_token_id"] == 3
