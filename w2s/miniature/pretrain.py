"""Pretrain a Pythia-shaped language model on plain text, by the ordinary training step.

V vocabulary, B windows, T tokens of a window.
"""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm

from w2s import device, pythia, rows, runs, step

END = "<|endoftext|>"


def train_tokenizer(texts, vocabulary, path):
    """A byte-level BPE tokenizer of Pythia's kind, trained on texts: any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END, "<|padding|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    path.parent.mkdir(parents=True, exist_ok=True)
    with rows.atomic(path) as file:
        file.write(tokenizer.to_str(pretty=False))


def texts_of(path):
    """The texts of a file: `text` of each row of a jsonl file, or the lines of plain text."""
    if Path(path).name.removesuffix(".gz").endswith(".jsonl"):
        return [row["text"] for row in rows.read(path, {"text": str}, unique=False)]
    return [line for line in rows.lines(path) if line.strip()]


def stream(texts, tokenizer_file):
    """(N,) uint16 or uint32: the tokens of all texts, each after an <|endoftext|>."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    kind = np.uint16 if tokenizer.get_vocab_size() <= 2 ** 16 else np.uint32
    end, parts = tokenizer.token_to_id(END) or 0, []
    for start in range(0, len(texts), 10000):
        for encoded in tokenizer.encode_batch_fast(texts[start:start + 10000],
                                                   add_special_tokens=False):
            parts.append(np.array([end, *encoded.ids], kind))
    return np.concatenate(parts)


def windows(tokens, length):
    """(N // T, T) windows of the stream; what is left over is not used."""
    return tokens[:len(tokens) // length * length].reshape(-1, length)


def batches(data, steps, batch_size, seed, start, where):
    """Yield (k, batch) of windows (B, T), in a new order every pass."""
    per_pass = max(1, len(data) // batch_size)
    for turn in range(start // per_pass, math.ceil(steps / per_pass)):
        order = np.random.Generator(np.random.PCG64(step.seed_of(seed, "windows", turn)))
        order = order.permutation(len(data))
        for i in range(per_pass):
            k = turn * per_pass + i
            if start <= k < steps:
                pick = order[i * batch_size:(i + 1) * batch_size]
                ids = torch.from_numpy(data[pick].astype(np.int64)).to(where)
                yield k, {"ids": ids, "rows": torch.from_numpy(pick),
                          "len": torch.full((len(ids),), ids.shape[1], device=where),
                          "mask": torch.ones(ids.shape, device=where)}


def next_token(f, batch, ell=None, lam=0):
    """(B,) mean negative log-likelihood of the tokens 1 .. T-1 of each window."""
    return f.nll(batch["ids"], batch["len"], batch["mask"]) / (batch["ids"].shape[1] - 1)


@torch.inference_mode()
def perplexity(model, data, batch_size=32):
    """exp of the mean negative log-likelihood of windows (N, T)."""
    where = next(model.parameters()).device
    total = 0.0
    for start in range(0, len(data), batch_size):
        ids = torch.from_numpy(data[start:start + batch_size].astype(np.int64)).to(where)
        total += float(next_token(model, {"ids": ids, "len": None,
                                          "mask": torch.ones(ids.shape, device=where)}).sum())
    return math.exp(total / len(data))


def pretrain(run, cfg, config, tokenizer_file, train, held):
    """Train a model of `config` on windows `train` (N, T), until its run folder is done; held: the
    windows on which its perplexity is measured. Goes on from a checkpoint. Returns the model."""
    where = device.setup(cfg.device, cfg.dtype)
    model = pythia.untrained(config, cfg.seed).to(where)
    model.config.pop("w2s_from_scratch", None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr, betas=(0.9, 0.98),
                                  weight_decay=cfg.weight_decay, fused=True)
    start = step.load_checkpoint(run.checkpoint, model, optimizer)
    run.start(steps=cfg.steps, tokens=int(train.size), threads=torch.get_num_threads(),
              parameters=sum(p.numel() for p in model.parameters()))
    run.log_from(start)
    compiled = device.pays_to_compile(cfg.compile, where, cfg.steps)
    advance = step.make_step(model, optimizer, next_token, None, 0, cfg.steps, dtype=cfg.dtype,
                             compile=compiled, warmup=cfg.warmup)
    bar = tqdm(batches(train, cfg.steps, cfg.batch_size, cfg.seed, start, where), run.out.name,
               cfg.steps, initial=start, disable=None, unit="step")
    every = max(1, cfg.steps // 20)
    for k, batch in bar:
        loss = advance(k, batch)
        if (k + 1) % max(1, every // 5) == 0:
            bar.set_postfix(loss=f"{float(loss):.3f}")
        if (k + 1) % every == 0 or k + 1 == cfg.steps:
            entry = {"step": k, "loss": float(loss), "perplexity": perplexity(model, held)}
            run.log(**entry)
            tqdm.write(f"step {k + 1}/{cfg.steps}  loss {entry['loss']:.3f}  held-out perplexity "
                       f"{entry['perplexity']:.3f}")
        if (k + 1) % every == 0 and k + 1 < cfg.steps:
            step.save_checkpoint(run.checkpoint, k + 1, model, optimizer)
    pythia.save(model, run.out / "model", tokenizer_file)
    return model
