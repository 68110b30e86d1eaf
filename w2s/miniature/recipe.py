"""How base models are pretrained: shapes, text, steps, and the record beside the weights."""

import dataclasses
import hashlib
import json
import shlex
import shutil
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer

from w2s import device, locks, rows, runs
from w2s.miniature import pretrain, probes, town
from w2s.model import checkpoint, configuration, tokenization

TOWN = 0  # the seed of the text that the committed models have read
HOME = Path(__file__).parent.parent / "models"
# The suite: one text, one tokenizer, as many tokens for each. Two sizes for the weak role and two
# for the strong one; the surrogate, which attacks are made against, has read other text.
MINI = {  # shape: layers, hidden, heads; what stands in for arguments that are not given
    "mini-weak-small": ((2, 48, 4), {"lr": 5e-3}),
    "mini-weak": ((3, 64, 4), {"lr": 4e-3}),
    "mini-surrogate": ((3, 96, 4), {"lr": 3e-3, "seed": 1}),
    "mini-strong": ((4, 128, 4), {"lr": 3e-3}),
    "mini-strong-large": ((6, 136, 4), {"lr": 2e-3})}
# The suite of the preset real, which reads a user's text: likewise one text, one tokenizer.
REAL = {"real-2x32": ((2, 32, 2), {"lr": 5e-3}), "real-2x64": ((2, 64, 2), {"lr": 4e-3}),
        "real-4x192": ((4, 192, 6), {"lr": 3e-3}), "real-6x256": ((6, 256, 8), {"lr": 2e-3})}
SUITES = MINI | REAL
PURPOSE = {"mini-surrogate": "documents of the surrogate"}  # shape: another draw of the town's text
DOCUMENTS, STEPS = 600_000, 9_000  # of each of them
FEWEST = 20  # documents of a user's text
HELD = 5000  # documents held out: of the town, and at most of a user's text, else a twentieth
WINDOWS = 400  # held-out windows that are measured, at most
SAMPLE = 40_000  # documents that a tokenizer is trained on, at most


def run(cfg, shape):
    """Pretrain a shape in the run folder RUNS/shape, probe it and publish OUT/shape. What is done
    is skipped; a published folder that was deleted is written again. Raises ValueError for
    arguments that do not fit, for too little text, and for a mini that fails its gates."""
    command, cfg = written(cfg, shape), complete(cfg, shape)
    device.setup(cfg.device, cfg.dtype)
    home, out = Path(cfg.runs) / shape, Path(cfg.out) / shape
    for path in (Path(cfg.out), out):
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path}: a file; choose another --out")
    published = (out / "pretraining.json").exists()
    if not published and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out}: not empty and not written by this command (no "
                         "pretraining.json); choose another --out or delete the folder")
    inputs = {f"text {k}": path for k, path in enumerate(cfg.text, 1)}
    inputs |= {"tokenizer": cfg.tokenizer} if cfg.tokenizer else {}
    work = runs.begin(home, "w2s.miniature pretrain", cfg, inputs, again=not published)
    if work is None:
        return
    train, held = read(cfg, shape)
    # a model that is trained but not published keeps its tokenizer: another would not fit it
    trained = (home / "model" / "config.json").exists()
    tokenizer = (home / "model" / "tokenizer.json" if trained else
                 Path(cfg.tokenizer or own_tokenizer(cfg, train)))
    vocabulary = tokenization.vocabulary(tokenizer)
    train, held = (pretrain.windows(part, tokenizer, cfg.length) for part in (train, held))
    held = held[:WINDOWS]
    if len(train) < cfg.batch_size or not len(held):
        raise ValueError(f"{len(train)} windows of {cfg.length} tokens to train on and {len(held)} "
                         f"to measure are too few for a --batch-size of {cfg.batch_size}: give "
                         "more text, or a smaller --length or --batch-size")
    steps = cfg.steps or max(1, int((cfg.passes or 1) * (len(train) // cfg.batch_size)))
    cfg = dataclasses.replace(cfg, steps=steps, warmup=min(cfg.warmup, steps // 10))
    done = trained and (home / "DONE").exists()
    if not trained:
        (home / "DONE").unlink(missing_ok=True)  # of a model that somebody deleted
        pretrain.pretrain(work, cfg, shaped(cfg, vocabulary), tokenizer, train, held)
    elif not done:
        work.log_from(cfg.steps)
    publish(work, cfg, command, held, out)
    if not done:
        work.finish()


def written(cfg, shape):
    """The command line of this shape: arguments that are not at their defaults, files by name."""
    # paths and folders are left out: the record is published, and they are of one machine
    words = ["python", "-m", "w2s.miniature", "pretrain", "--shape", shape]
    for field in dataclasses.fields(cfg):
        value = getattr(cfg, field.name)
        values = value if isinstance(value, list) else [value]
        if field.name != "shape" and not field.metadata["free"] and value not in (
                field.default, []):
            words += ["--" + field.name.replace("_", "-"), *(
                Path(v).name if field.name in ("text", "tokenizer") else str(v) for v in values)]
    return shlex.join(words)


def complete(cfg, shape):
    """cfg with the shape's defaults filled in, except the steps of a text, which depend on its
    length. Raises ValueError for a shape that does not exist or does not fit the arguments."""
    if shape not in SUITES and shape not in configuration.SHAPES:
        known = ", ".join((*SUITES, *configuration.SHAPES))
        raise ValueError(f"--shape {shape}: choose from {known}")
    if shape in MINI and cfg.text:
        raise ValueError(f"--shape {shape}: the minis read the town's text; leave --text out")
    if shape not in MINI and not cfg.text:
        raise ValueError(f"--shape {shape}: needs --text FILE")
    if cfg.text and cfg.documents:
        raise ValueError("--documents counts the town's; leave it out with --text")
    if shape in MINI:
        default = {"documents": DOCUMENTS, "steps": None if cfg.passes else STEPS,
                   "vocabulary": 2048, "out": str(HOME), **MINI[shape][1]}
    elif shape in REAL:
        default = {"vocabulary": 4096, "out": "models/pretrained", **REAL[shape][1]}
    else:
        width = cfg.hidden or configuration.SHAPES[shape]["hidden_size"]
        default = {"lr": min(1e-3, 0.5 / width), "vocabulary": 8192, "out": "models/pretrained"}
    default = {"seed": 0, **default}
    cfg = dataclasses.replace(cfg, shape=shape, **{
        key: value for key, value in default.items() if getattr(cfg, key) is None})
    # before the text is read and tokenized: sizes that do not fit show at once
    configuration.check(shaped(cfg, 64), "lm", -1, f"--shape {shape}")
    return cfg


def shaped(cfg, vocabulary):
    """config.json of cfg.shape with the sizes of cfg. The vocabulary is rounded up to a multiple of
    64."""
    config = (configuration.published(*SUITES[cfg.shape][0]) | {"max_position_embeddings": 512}
              if cfg.shape in SUITES else configuration.SHAPES[cfg.shape])
    changed = {"num_hidden_layers": cfg.layers, "hidden_size": cfg.hidden,
               "num_attention_heads": cfg.heads, "vocab_size": -(-vocabulary // 64) * 64,
               "intermediate_size": cfg.hidden and 4 * cfg.hidden}
    return config | {key: value for key, value in changed.items() if value is not None}


def read(cfg, shape):
    """(documents to train on, documents held out): of the town, or of --text in random order.
    Raises ValueError for fewer than FEWEST documents."""
    if not cfg.text:
        print(f"{shape}: {cfg.documents} documents of the town", flush=True)
        return (list(town.documents(TOWN, cfg.documents, PURPOSE.get(shape, "documents"))),
                list(town.documents(TOWN, HELD, "held out")))
    # a text that stands twice must not be trained on and held out
    documents = list(dict.fromkeys(
        document for path in cfg.text for document in pretrain.texts_of(path)))
    if len(documents) < FEWEST:  # a book without line breaks
        raise ValueError(f"{' '.join(map(str, cfg.text))}: too few documents ({len(documents)}) to "
                         "hold some out; give one document a line")
    Random(f"{cfg.seed}/held out").shuffle(documents)
    count = min(HELD, max(1, len(documents) // 20))
    print(f"{shape}: {len(documents)} documents, {count} of them held out", flush=True)
    return documents[count:], documents[:count]


def own_tokenizer(cfg, documents):
    """Path of a tokenizer.json trained on the first SAMPLE documents. It is named after their hash
    and the vocabulary, so that the same text finds it again."""
    # every mini has the suite's tokenizer, the surrogate too, which reads other documents: runs
    # with one tokenizer share their tokens
    sample = documents[:SAMPLE] if cfg.text else list(town.documents(TOWN, SAMPLE))
    name = hashlib.sha256("\n".join([str(cfg.vocabulary), *sample]).encode()).hexdigest()
    path = Path(cfg.runs) / f"tokenizer-{name[:12]}.json"
    Path(cfg.runs).mkdir(parents=True, exist_ok=True)
    with locks.holding(cfg.runs):  # shapes that are pretrained side by side look for it together
        if not path.exists():
            print(f"{path}: a tokenizer of {cfg.vocabulary} tokens", flush=True)
            pretrain.train_tokenizer(sample, cfg.vocabulary, path)
    return path


def publish(work, cfg, command, held, out):
    """Write OUT/shape whole or not at all. Raises ValueError when a mini fails its gates."""
    part, old = (out.with_name(f".{cfg.shape}.{end}") for end in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    try:
        perplexity = fill(part, work, cfg, command, held)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    if (out / "pretraining.json").exists():  # never half a folder under this name
        out.rename(old)
    part.rename(out)
    shutil.rmtree(old, ignore_errors=True)
    print(f"{out}: held-out perplexity {perplexity:.3f}", flush=True)


def fill(folder, work, cfg, command, held):
    """Write the model folder, a mini's weights in float16 as Pythia's are, and pretraining.json.
    Returns the perplexity. Raises ValueError when a mini does not pass its gates."""
    tokenizer = work.out / "model" / "tokenizer.json"
    model = checkpoint.load(work.out / "model", "lm")
    checkpoint.save(model.to(torch.float16 if cfg.shape in MINI else torch.float32), folder,
                    tokenizer)
    model, accuracies = checkpoint.load(folder, "lm"), {}  # what is measured is what is published
    if cfg.shape in MINI:
        accuracies = probes.measure(model, Tokenizer.from_file(str(tokenizer)), TOWN)
        print("\n".join(f"  {name:<14} {value:.3f}" for name, value in accuracies.items()),
              flush=True)
    probes.require(cfg.shape, accuracies, work.out)
    measured = {"held_out_windows": len(held), "perplexity": pretrain.perplexity(model, held),
                "probes": accuracies}
    rows.write_json(folder / "pretraining.json", record(work, cfg, command) | measured | {
        "curve": [json.loads(line) for line in rows.lines(work.out / "log.jsonl")]})
    return measured["perplexity"]


def record(work, cfg, command):
    """What is needed to make the model again: the command, every setting, versions, and the files'
    names and sha256."""
    args = {field.name: getattr(cfg, field.name) for field in dataclasses.fields(cfg)
            if not field.metadata["free"] and field.name not in ("text", "tokenizer", "device")}
    facts = rows.read_json(work.out / "config.json")
    return {"command": command, "town": None if cfg.text else TOWN,
            "inputs": {Path(path).name: digest for path, digest in work.facts["inputs"].items()},
            **args, "tokens_a_pass": facts["tokens"], **{key: facts.get(key) for key in (
                "parameters", "device_type", "threads", "versions", "commit")}}
