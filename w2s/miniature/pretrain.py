"""Pretrain a Pythia-shaped language model on plain text, with the ordinary training step.

B windows in a batch, N windows, T tokens of a window.
"""

import math
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm

from w2s import device, rows
from w2s.model import checkpoint
from w2s.train import step

END = "<|endoftext|>"
LINES = 20  # that a run prints and logs, each with a held-out perplexity


def texts_of(path):
    """The texts of a file, plain or gzipped: `text` of each row of a jsonl file, or each line of
    plain text. Blank ones are left out. Raises ValueError for a row without `text` and for a file
    without any text."""
    if Path(path).name.removesuffix(".gz").endswith(".jsonl"):
        documents = (row["text"] for row in rows.read(path, {"text": str}, unique=False))
    else:
        documents = rows.lines(path)
    texts = [text for text in documents if text.strip()]
    if not texts:
        raise ValueError(f"{path}: no text in this file")
    return texts


def train_tokenizer(texts, vocabulary, path):
    """Write a byte-level BPE tokenizer.json like Pythia's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # all 256 bytes are in the initial alphabet: any text can be encoded, also one of other letters
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END, "<|padding|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    with rows.atomic(path) as file:
        file.write(tokenizer.to_str(pretty=False))


def windows(texts, tokenizer_file, length):
    """(N, T) uint32: all texts, each behind an <|endoftext|>, concatenated and cut into windows of
    `length` tokens. The rest is dropped. N may be 0."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    end, parts = tokenizer.token_to_id(END) or 0, [np.zeros(0, np.uint32)]
    for start in range(0, len(texts), 10_000):
        encoded = tokenizer.encode_batch_fast(texts[start:start + 10_000], add_special_tokens=False)
        parts += [np.array([end, *text.ids], np.uint32) for text in encoded]
    tokens = np.concatenate(parts)
    return tokens[:len(tokens) // length * length].reshape(-1, length)


def batches(data, steps, batch_size, seed, start, where):
    """Yield (k, batch) for steps start .. steps - 1: windows (B, T) of data (N, T), N >= B, in a
    new order every pass."""
    # an order follows from seed and pass alone: a resumed run draws the batches it missed
    per_pass = len(data) // batch_size
    for turn in range(start // per_pass, math.ceil(steps / per_pass)):
        order = np.random.Generator(np.random.PCG64(step.seed_of(seed, "windows", turn)))
        order = order.permutation(len(data))
        for i in range(per_pass):  # windows that do not fill a batch wait for the next pass
            k = turn * per_pass + i
            if start <= k < steps:
                pick = order[i * batch_size:(i + 1) * batch_size]
                ids = device.pinned(torch.from_numpy(data[pick].astype(np.int64)), where)
                yield k, {"ids": ids, "rows": torch.from_numpy(pick),
                          "mask": torch.ones(ids.shape, device=where)}


def next_token(f, batch, ell=None, lam=0):
    """(B,) mean negative log-likelihood, in nats, of the tokens 1 .. T-1 of each window."""
    return f.nll(batch["ids"], None, batch["mask"]) / (batch["ids"].shape[1] - 1)


@torch.inference_mode()
def perplexity(model, data, batch_size=32):
    """exp of the mean negative log-likelihood per token of windows (N, T), in the model's own
    precision."""
    where = next(model.parameters()).device
    total = 0.0
    for start in range(0, len(data), batch_size):
        ids = torch.from_numpy(data[start:start + batch_size].astype(np.int64)).to(where)
        batch = {"ids": ids, "mask": torch.ones(ids.shape, device=where)}
        total += float(next_token(model, batch).sum())
    mean = total / len(data)
    return math.inf if mean > 700 else math.exp(mean)  # exp overflows from 710 nats on


def pretrain(run, cfg, config, tokenizer_file, train, held):
    """Train a model of `config` on windows `train` (N, T) in a run folder and save it there;
    resumes from a checkpoint. held (N, T): held-out windows for the perplexity. Raises ValueError
    when the loss or the perplexity is not finite."""
    where = device.setup(cfg.device, cfg.dtype)
    model = checkpoint.untrained(config, cfg.seed).to(where)
    del model.config["w2s_from_scratch"]  # its results must not be marked as from scratch
    optimizer = step.adamw(model, cfg.lr, cfg.weight_decay, betas=(0.9, 0.98))
    start = step.load_checkpoint(run.checkpoint, model, optimizer)
    run.start(steps=cfg.steps, tokens=train.size, threads=torch.get_num_threads(),
              device_type=where.type, parameters=sum(p.numel() for p in model.parameters()))
    run.log_from(start)
    advance = step.make_step(model, optimizer, next_token, None, 0, cfg.steps, dtype=cfg.dtype,
                             compile=device.pays_to_compile(cfg.compile, where, cfg.steps),
                             warmup=cfg.warmup)
    log_every = max(1, cfg.steps // LINES)
    save_every = max(1, int(cfg.steps * cfg.save_every))
    bar = tqdm(batches(train, cfg.steps, cfg.batch_size, cfg.seed, start, where), run.out.name,
               cfg.steps, initial=start, disable=None, unit="step")
    for k, batch in bar:
        loss, done = advance(k, batch), k + 1
        if done % log_every == 0 or done == cfg.steps:
            entry = {"step": k, "loss": float(loss), "perplexity": perplexity(model, held)}
            if not math.isfinite(entry["loss"] + entry["perplexity"]):
                raise ValueError(f"the loss of step {k} is {entry['loss']}, the perplexity "
                                 f"{entry['perplexity']}; try a smaller --lr")
            run.log(**entry)
            bar.set_postfix(loss=f"{entry['loss']:.3f}")
            tqdm.write(f"step {done}/{cfg.steps}  loss {entry['loss']:.3f}  held-out perplexity "
                       f"{entry['perplexity']:.3f}")
        if done % save_every == 0 and done < cfg.steps:
            step.save_checkpoint(run.checkpoint, done, model, optimizer)
    checkpoint.save(model, run.out / "model", tokenizer_file)
