"""Llama's relatives as a user has them: folders that transformers made, through the whole path.

    python -m pytest -q tests/test_decoders.py

The teacher is a Gemma 3, whose tokenizer begins each text with <bos>, the student an OLMo2 with a
tokenizer of its own: their rows are joined by id.
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tests.conftest import read_json
from tests.memorised import mails
from tests.trust.test_train_ntf import asked
from w2s import rows
from w2s.model import checkpoint, tokenization
from w2s.train import embedding_rows

SHAPE = {"vocab_size": 384, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
         "initializer_range": .1}
IDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def tokenizer(path, words, begin):
    """A byte-level BPE with <pad>, <eos> and <bos>, trained on `words`."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(words, trainers.BpeTrainer(
        vocab_size=SHAPE["vocab_size"], special_tokens=["<pad>", "<eos>", "<bos>"],
        show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    if begin:
        bpe.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 2)])
    bpe.save(str(path))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Folder of gemma/ and olmo/, as transformers writes them, and of questions."""
    hf = pytest.importorskip("transformers")
    out = tmp_path_factory.mktemp("decoders")
    for seed, (split, n) in enumerate({"weak": 160, "trust": 80, "wts": 60, "test": 60}.items()):
        rows.write(out / f"{split}.jsonl", asked(split, 2 * n, seed)[::2])  # a word decides
    texts = [row["text"] for row in rows.read(out / "weak.jsonl", {"text": str})]
    for name, config in (
            ("gemma", hf.Gemma3TextConfig(**SHAPE, **IDS, head_dim=16, sliding_window=6,
                                          sliding_window_pattern=2, query_pre_attn_scalar=16)),
            ("llama", hf.LlamaConfig(**SHAPE, **IDS, tie_word_embeddings=True)),
            ("olmo", hf.Olmo2Config(**SHAPE, **IDS | {"bos_token_id": None}))):
        torch.manual_seed(0)
        hf.AutoModelForCausalLM.from_config(config).save_pretrained(out / name)
        tokenizer(out / name / "tokenizer.json", texts[name == "olmo"::2], name != "olmo")
    return out


def test_a_gemma_teaches_an_olmo_to_answer(home, call):
    """train_weak, label --hidden, train_ntf, train_student by LoRA, evaluate."""
    usual = ("--task", "mcqa", "--max-length", 48, "--device", "cpu", "--batch-size", 8)
    for argv in (
            ("train_weak", *usual, "--model", home / "gemma", "--lr", 1e-2, "--epochs", 12,
             "--data", home / "weak.jsonl", "--out", home / "weak"),
            ("label", "--task", "mcqa", "--run", home / "weak", "--hidden", "--data",
             home / "trust.jsonl", home / "wts.jsonl"),
            ("train_ntf", "--teacher", home / "weak", "--labelled",
             home / "weak/labels/trust.jsonl", "--pool", home / "weak/labels/wts.jsonl",
             "--epochs", 4, "--out", home / "ntf"),
            ("train_student", *usual, "--model", home / "olmo", "--lr", 1e-2, "--epochs", 12,
             "--lora-rank", 4, "--save-adapter", "--labels", home / "ntf/labels/wts.jsonl", "--out",
             home / "student"),
            ("evaluate", "--task", "mcqa", "--run", home / "weak", home / "student", "--data",
             home / "test.jsonl")):
        code, out, err = call(*argv)
        assert not code, (argv[0], out, err)
    states = load_file(home / "weak/labels/wts.hidden.safetensors")["hidden"]
    assert states.shape == (60, 32)
    accuracy = read_json(home / "weak/eval.json")["test"]["metrics"][0]
    assert accuracy["metric"] == "acc" and accuracy["value"] > .9
    losses = [json.loads(line)["loss"] for line in open(home / "student/log.jsonl")]
    assert losses[-1] < losses[0] - 1
    config = read_json(home / "student/model/config.json")
    assert config["model_type"] == "olmo2" and config["architectures"] == ["Olmo2ForCausalLM"]
    begins = {name: tokenization.marks(tokenization.load_tokenizer(home / name / "model"))
              for name in ("weak", "student")}
    assert begins == {"weak": ([2], 1), "student": ([], 1)}
    hf = pytest.importorskip("transformers")
    ids = torch.arange(5, 25)[None]
    peer = hf.AutoModelForCausalLM.from_pretrained(home / "student/model").eval()
    with torch.no_grad():
        found = checkpoint.load(home / "student/model", "lm")(ids, torch.tensor([20]))
        assert (peer(ids).logits - found).abs().max() < 1e-5
        peft = pytest.importorskip("peft", exc_type=ImportError)
        peer = peft.AutoPeftModelForCausalLM.from_pretrained(home / "student/adapter").eval()
        assert (peer(ids).logits - found).abs().max() < 1e-5


def test_other_tasks_run_with_a_llama(home, fair, call):
    """A class head and an attack on it, letters, private training with canaries, the attacks on
    what it knows, and answers that are sampled (GRPO)."""
    llama = ("--model", home / "llama", "--lr", 1e-3, "--epochs", 1, "--device", "cpu")
    rows.write(home / "mail.jsonl", mails("weak", 12, 0, words=4))
    rows.write(home / "other.jsonl", mails("wts", 6, 1, words=4))
    rows.write(home / "sums.jsonl", [
        {"id": f"s{i}", "text": f"{i} and 2 ?", "label": str(i + 2), "split": "wts",
         "weak_text": f" #### {i + 2}"} for i in range(6)])
    for argv in (
            ("train_weak", "--task", "fairness", *llama, "--data", fair / "weak.jsonl", "--out",
             home / "fair", "--lam", .2),
            ("label", "--task", "fairness", "--run", home / "fair", "--hidden", "--data",
             fair / "wts.jsonl"),
            ("train_student", "--task", "fairness", *llama, "--labels",
             home / "fair/labels/wts.jsonl", "--alpha", .2, "--out", home / "fair-student",
             "--recompute"),
            ("train_weak", "--task", "mcqa", *llama, "--data", home / "weak.jsonl", "--scoring",
             "letters", "--out", home / "letters"),
            ("train_weak", "--task", "privacy", *llama, "--data", home / "mail.jsonl", "--lam", 8,
             "--dp-method", "fast", "--canaries", 6, "--max-length", 24, "--out", home / "private"),
            ("label", "--task", "privacy", "--run", home / "private", "--prefix", 6, "--data",
             home / "other.jsonl"),
            ("train_student", "--task", "arithmetic", *llama, "--labels", home / "sums.jsonl",
             "--objective", "grpo", "--group", 2, "--new-tokens", 4, "--batch-size", 3, "--out",
             home / "grpo")):
        code, out, err = call(*argv)
        assert not code, (argv, out, err)
    for row in rows.read(home / "private/labels/other.jsonl", {"weak_text": str}):
        assert row["text"][:row["weak_from"]]   # offsets are those of the text, without <bos>
    classifier = checkpoint.load(home / "fair-student/model", "class")
    assert classifier.score.weight.any()


def test_only_the_rows_of_an_embedding_whose_tokens_occur_are_trained_with_the_same_result(
        home, fair, call, monkeypatch):
    weights = []
    for least in (1, 2 ** 40):
        monkeypatch.setattr(embedding_rows, "LEAST", least)
        out = home / f"rows-{least}"
        code, _, err = call("train_weak", "--task", "fairness", "--model", home / "gemma", "--lr",
                            1e-3, "--epochs", 1, "--device", "cpu", "--data", fair / "weak.jsonl",
                            "--out", out)
        assert not code, err
        weights.append(load_file(out / "model/model.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(p, weights[1][name]) for name, p in weights[0].items())


@pytest.mark.parametrize("change, message", [
    ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "rope_scaling: rope_type = 'yarn' is "
     "not supported, only default, linear, llama3"),
    ({"model_type": "olmoe", "num_experts": 64}, "num_experts = 64: a mixture of experts is not "
     "supported; take a dense model"),
    ({"vocab_size": 300}, "tokenizer.json: has tokens up to 3")])
def test_what_is_wrong_with_a_folder_is_one_line_before_a_weight_is_read(home, call, tmp_path,
                                                                         change, message):
    for name in ("config.json", "tokenizer.json"):   # no weights: they would be missed
        shutil.copy(home / "olmo" / name, tmp_path / name)
    config = read_json(tmp_path / "config.json") | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    code, out, err = call("train_weak", "--task", "mcqa", "--model", tmp_path, "--data",
                          home / "weak.jsonl", "--out", tmp_path / "run", "--device", "cpu")
    assert code == 1 and err.count("\n") == 1 and message in err, err
    assert not (tmp_path / "run").exists() and not out
