"""How base models are pretrained: shapes, text, steps; and what is recorded beside the weights."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from w2s import pythia, rows, runs, text
from w2s.miniature import pretrain, probes, town

TOWN = 0  # the seed of the text that the committed models have read
HOME = Path(__file__).parent.parent / "models"
MINI = {  # shape: layers, hidden, heads; documents read; steps; peak learning rate
    "mini-weak": ((2, 64, 2), 400_000, 4500, 4e-3),
    "mini-strong": ((4, 128, 4), 700_000, 10000, 3e-3)}
EVERY = 100  # of a user's text every 100th document is held out
HELD = 5000  # held-out documents of the town
WINDOWS = 400  # held-out windows that are measured, at most


def run(cfg, shape):
    """Pretrain a shape in its run folder, gate it, publish the model folder. Skips what is done."""
    if shape not in MINI and shape not in pythia.SHAPES:
        raise ValueError(f"--shape {shape}: choose from {', '.join((*MINI, *pythia.SHAPES))}")
    if bool(cfg.text) == (shape in MINI):
        raise ValueError(f"--shape {shape}: " + ("the minis read the town's text; leave --text out"
                                                 if cfg.text else "needs --text FILE"))
    cfg = complete(cfg, shape)
    work = runs.begin(Path(cfg.runs) / shape, "w2s.miniature pretrain", cfg,
                      {f"text{k}": path for k, path in enumerate(cfg.text)}
                      | ({"tokenizer": cfg.tokenizer} if cfg.tokenizer else {}))
    if work is None:
        return
    train, held = read(cfg, shape)
    tokenizer = Path(cfg.tokenizer or work.out.parent / f"tokenizer-{cfg.vocabulary}.json")
    if not tokenizer.exists():
        print(f"{tokenizer}: training a tokenizer of {cfg.vocabulary} tokens", flush=True)
        pretrain.train_tokenizer(train[:40_000], cfg.vocabulary, tokenizer)
    size = text.vocabulary(tokenizer)
    train, held = (pretrain.windows(pretrain.stream(part, tokenizer), cfg.length)
                   for part in (train, held))
    if len(train) < cfg.batch_size or not len(held):
        raise ValueError(f"--text: {len(train)} windows of {cfg.length} tokens are not enough for a "
                         f"--batch-size of {cfg.batch_size}")
    cfg = replace(cfg, steps=cfg.steps or len(train) // cfg.batch_size)
    model = pretrain.pretrain(work, cfg, shaped(shape, size, cfg.length), tokenizer, train,
                              held[:WINDOWS])
    publish(work, cfg, shape, model, tokenizer, train, held)
    work.finish()


def complete(cfg, shape):
    """cfg with the defaults of the shape filled in."""
    _, documents, steps, lr = MINI.get(shape, (None, None, None, 1e-3))
    return replace(cfg, shape=shape, documents=cfg.documents or documents, lr=cfg.lr or lr,
                   steps=cfg.steps or steps, vocabulary=cfg.vocabulary or (8192 if cfg.text
                                                                           else 2048),
                   out=cfg.out or ("models/pretrained" if cfg.text else str(HOME)))


def read(cfg, shape):
    """(documents to train on, documents held out)."""
    if not cfg.text:
        print(f"{shape}: {cfg.documents} documents of the town", flush=True)
        return (list(town.documents(TOWN, cfg.documents)),
                list(town.documents(TOWN, HELD, "held out")))
    every = [line for path in cfg.text for line in pretrain.texts_of(path)]
    return [line for k, line in enumerate(every) if k % EVERY], every[::EVERY]


def shaped(shape, vocabulary, length):
    """config.json of a shape; the vocabulary is rounded up to a multiple of 64."""
    if shape in MINI:
        return pythia.published(*MINI[shape][0], -(-vocabulary // 64) * 64) | {
            "max_position_embeddings": 512}
    return pythia.SHAPES[shape] | {"vocab_size": -(-vocabulary // 64) * 64}


def publish(work, cfg, shape, model, tokenizer, train, held):
    """Probe the model, and write OUT/<shape>: the folder, in float16 for a mini (as Pythia's are),
    with pretraining.json: settings, loss curve, perplexity, probes. Raises ValueError when a mini
    does not pass the gates."""
    folder, found = Path(cfg.out) / shape, {}
    if shape in MINI:
        model = model.to("cpu", torch.float16).float()
        found = probes.measure(model, Tokenizer.from_file(str(tokenizer)), TOWN)
        print("\n".join(f"  {name:<14} {value:.3f}" for name, value in found.items()), flush=True)
        probes.require(shape, found)
    about = {"command": f"python -m w2s.miniature pretrain --shape {shape}",
             "town": None if cfg.text else TOWN, "documents": cfg.documents,
             "tokens_a_pass": int(train.size), "steps": cfg.steps, "batch_size": cfg.batch_size,
             "length": cfg.length, "lr": cfg.lr, "dtype": cfg.dtype, "seed": cfg.seed,
             "perplexity": pretrain.perplexity(model, held[:WINDOWS]), "probes": found,
             "curve": [json.loads(line) for line in (work.out / "log.jsonl").read_text().split("\n")
                       if line]}
    shutil.rmtree(folder, ignore_errors=True)
    pythia.save(model.to(torch.float16) if shape in MINI else model, folder, tokenizer)
    rows.write_json(folder / "pretraining.json", about)
    print(f"{folder}: held-out perplexity {about['perplexity']:.3f}", flush=True)
