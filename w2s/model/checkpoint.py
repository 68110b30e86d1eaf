"""Model folders in Hugging Face layout: read, written, drawn anew. Nothing is unpickled."""

import contextlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from w2s import rows
from w2s.model.configuration import (padding, saved_config, shown, special_tokens,
                                     tokenizer_config)
from w2s.model.decoder import Decoder
from w2s.model.families import known
from w2s.model.gpt_neox import GPTNeoX

# Buffers that published checkpoints hold and nobody reads: masks and frequencies are computed
OBSOLETE = (".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq")
RENAMED = {"lm_head.weight": "embed_out.weight"}      # transformers 5 in memory, not on disk
# Of a Gemma 3 that reads pictures too: its language model, as transformers 4 and 5 name it, and
# what is left out
INNER = {"language_model.model.": "model.", "model.language_model.": "model.",
         "language_model.lm_head.": "lm_head."}
PICTURES = tuple(f"{place}{part}" for place in ("", "model.")
                 for part in ("vision_tower.", "multi_modal_projector."))
FOREIGN = {  # ends of weight files that we do not read: what such a file is, what to do instead
    (".bin", ".pt", ".pth", ".pkl", ".ckpt"): (
        "a pickled checkpoint, and we never unpickle", "where you trust it, convert it with "
        "transformers: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"),
    (".gguf",): ("a GGUF file, quantised", "take the original model in safetensors"),
    (".onnx",): ("an ONNX file", "take the original model in safetensors"),
    (".h5", ".msgpack"): ("weights for TensorFlow or Flax", "take those in safetensors")}


# ---- reading a folder ----------------------------------------------------------------------------

def read_json(path, what):
    """A JSON object, or ValueError naming `path` and `what` it should be."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; it should be {what}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        # a lone surrogate parses but cannot be written again: refuse it here, not after training
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); it should be {what}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object; it should be {what}")
    return content


def weight_files(folder):
    """Paths of a folder's safetensors files: one, or the shards of its index.

    Raises ValueError that says what to do: for other formats (FOREIGN), a broken index, a missing
    shard."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():  # say what is there instead, and what to do with it
        for ends, (what, advice) in FOREIGN.items():
            if foreign := sorted(path for path in folder.iterdir() if path.name.endswith(ends)):
                raise ValueError(f"{foreign[0]}: {what}; {advice}")
        raise ValueError(f"{folder}: neither {single.name} nor {index.name}")
    shards = read_json(index, "an index of shards").get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ValueError(f"{index}: no weight_map; fetch the file again")
    # an index may not lead out of the folder: rows.sha256 hashes the files in it
    for name in shards.values():
        if not (isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")
                and name[0] != "."):
            raise ValueError(f"{index}: {shown(name)} is no .safetensors file of this folder; "
                             "fetch the file again")
    files = [folder / name for name in sorted(set(shards.values()))]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file}: this shard of {index.name} is missing; fetch it again")
    return files


@contextlib.contextmanager
def room(path):
    """Context that turns a lack of memory for the model alone into a ValueError naming `path`."""
    try:
        yield
    # torch raises RuntimeError, safetensors an error of its own: only the text says it was memory
    except (MemoryError, RuntimeError, SafetensorError, OSError) as error:
        if not (isinstance(error, MemoryError) or "memory" in str(error)):
            raise
        raise ValueError(f"{path}: the model alone does not fit the memory that may be used "
                         f"({str(error).splitlines()[0] if str(error) else 'out of memory'}); "
                         "raise the limit or take a smaller one") from error


def network(config):
    """The class that computes the model of a config."""
    return GPTNeoX if config.get("model_type") == "gpt_neox" else Decoder


def configured(folder):
    """The language model's config in a folder, as `families.known` gives it; ValueError for one
    that we do not compute."""
    path = Path(folder) / "config.json"
    return known(read_json(path, "the configuration of a model"), path)


def renamed(key, kind):
    """Our name of a tensor in a file for a model of the class `kind`."""
    if kind is GPTNeoX:
        return RENAMED.get(key, key)
    prefix = next(filter(key.startswith, INNER), "")
    return INNER.get(prefix, "") + key.removeprefix(prefix)


def headers(folder, kind=GPTNeoX):
    """{name: (file, name in the file, shape, dtype)} of a folder's tensors, without old buffers and
    what a language model of the class `kind` has no use for.

    Only the headers are read, so that a folder that does not fit is refused before its weights
    take memory."""
    stored = {}
    for path in weight_files(folder):
        try:
            with room(path), safe_open(path, "pt") as file:
                for key in file.keys():  # slices give shape and dtype without reading numbers
                    entry, name = file.get_slice(key), renamed(key, kind)
                    stored[name] = path, key, tuple(entry.get_shape()), entry.get_dtype()
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: damaged or incomplete ({error}); fetch it again") from error
    return {name: entry for name, entry in stored.items()
            if not (name.endswith(OBSOLETE) or name.startswith(PICTURES))}


def copy_of(file, key, p, device, dtype):
    """Tensor `key` of an open file as a copy: a map of the file would change with the file."""
    return file.get_tensor(key).to(device, dtype, copy=True)


def read_weights(folder, stored, wanted, device, dtype, read=copy_of):
    """{name: value} of the parameters `wanted` {name: p}, by read(file, key, p, device, dtype).

    Raises ValueError for missing and unexpected names, other shapes, integer weights and numbers
    that are not finite."""
    # names first, then shapes: one message about all of the file instead of the first tensor
    missing, extra = sorted(wanted.keys() - stored.keys()), sorted(stored.keys() - wanted.keys())
    if missing or extra:
        raise ValueError(f"{folder}: the weights do not fit config.json: {len(missing)} missing "
                         f"{missing[:3]}, {len(extra)} unexpected {extra[:3]}")
    for name, (path, _, shape, kind) in stored.items():
        if shape != tuple(wanted[name].shape) or kind not in ("F32", "F16", "BF16"):
            raise ValueError(f"{path}: {name} is {kind} {list(shape)}; config.json needs "
                             f"{list(wanted[name].shape)} in F32, F16 or BF16")
    weights = {}
    # file by file, so that each shard is opened once
    for path in sorted({entry[0] for entry in stored.values()}):
        with safe_open(path, "pt") as file:
            for name, (source, key, _, _) in stored.items():
                if source == path:
                    weights[name] = p = read(file, key, wanted[name], device, dtype)
                    if not finite(p):
                        raise ValueError(f"{path}: {name} has numbers that are not finite (NaN or "
                                         "infinity); fetch the file again or take another "
                                         "checkpoint")
    return weights


def finite(p):
    """Whether all numbers of p, or of this process's part of it, are finite."""
    # a finite sum proves it in a quarter of the time; the sum of finite numbers may overflow
    p = p.to_local() if hasattr(p, "to_local") else p
    return bool(p.sum().isfinite()) or bool(p.isfinite().all())


def trained_head(folder, config, num_labels, head_layer):
    """(num_labels, head_layer) of a folder's own `score`; ValueError where others are asked for."""
    # id2label, where there is one, counts the classes; without either key transformers assumes 2
    labels, K, layer = (default if config.get(key) is None else config[key] for key, default in
                        (("id2label", {}), ("num_labels", 2), ("w2s_head_layer", -1)))
    if not isinstance(labels, dict) or type(K) is not int or type(layer) is not int:
        raise ValueError(f"{folder / 'config.json'}: id2label, num_labels or w2s_head_layer is not "
                         "an object, a number, a number")
    saved = len(labels) or K, layer
    # a trained head has one shape and reads one layer: as another it would compute nonsense
    for key, value, asked in zip(("num_labels", "head_layer"), saved, (num_labels, head_layer)):
        if asked not in (None, value):
            raise ValueError(f"{folder}: its classifier has {key} {value}, not {asked}")
    return saved


def load(folder, head, num_labels=None, device="cpu", dtype=torch.float32, head_layer=None,
         ready=None, read=copy_of):
    """A model from a folder in Hugging Face layout.

    head "class" takes the folder's own `score`; over an LM checkpoint it starts at zero and the LM
    head is ignored. num_labels None: the folder's, else 2. head_layer None: the folder's, else -1,
    the final LayerNorm; -2 reads transformers' hidden_states[-2] (docs/deviations.md, E12).
    ready(model) may change the model before it has weights, on the meta device; read(file, key, p,
    device, dtype) reads one of them, for instance this process's share (w2s.parallel).
    Raises ValueError, one line that names the file, for whatever is wrong with the folder."""
    if dtype == torch.float16:
        raise ValueError("dtype float16: attention overflows in pythia-14m and the loss is NaN "
                         "(transformers#30199); use float32 or bfloat16")
    folder, fresh = Path(folder), {}
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    config = configured(folder)
    kind = network(config)
    kind.check(config, head, -1, folder / "config.json")
    # names say what kind of model it is: AutoModel drops the prefix, a classifier has no LM head
    stored = headers(folder, kind)
    if {"embed_in.weight", "embed_tokens.weight"} & stored.keys():
        raise ValueError(f"{folder}: saved without its head (AutoModel); save it anew as "
                         "AutoModelForCausalLM or AutoModelForSequenceClassification")
    if "score.weight" in stored and head == "lm":
        raise ValueError(f"{folder}: a classifier (score.weight) without an LM head; load it with "
                         'head="class", or load its base model')
    if "score.weight" in stored:
        num_labels, head_layer = trained_head(folder, config, num_labels, head_layer)
    num_labels, head_layer = (default if given is None else given
                              for given, default in ((num_labels, 2), (head_layer, -1)))
    with torch.device("meta"):  # no memory for weights that the file's replace
        model = kind(config, head, num_labels, head_layer, folder / "config.json")
    if ready:  # sharding comes before reading: no process then holds the whole model
        ready(model)
    wanted = dict(model.named_parameters())
    if model.HEAD not in wanted:                      # a class head, or tied embeddings
        stored.pop(model.HEAD, None)
    if head == "class" and "score.weight" not in stored:
        p = wanted.pop("score.weight")
        fresh["score.weight"] = (  # zeros_like imports sympy, .7 s: only where p is sharded
            torch.zeros_like(p, dtype=dtype, device=device) if hasattr(p, "placements") else
            torch.zeros(p.shape, dtype=dtype, device=device))
    with room(folder):
        weights = read_weights(folder, stored, wanted, device, dtype, read)
        # assign: parameters on the meta device have no memory to copy into
        model.load_state_dict({**weights, **fresh}, assign=True)
        return model.to(device)  # the rotary tables, which are in no file


def untrained(config, seed):
    """An LM with random weights, as transformers initialises it.

    Matrices are N(0, initializer_range^2), biases zero, norms (1, 0). Its config says
    w2s_from_scratch. Raises ValueError for more parameters than this machine could hold."""
    with torch.device("meta"):
        config = known(config, "config")
        model = network(config)({**config, "w2s_from_scratch": True}, "lm")
    need = 4 * sum(p.numel() for p in model.parameters())
    # asked before, since Linux would grant the memory and kill the process later
    if need > (memory := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        raise ValueError(f"a model of this shape needs {need / 1e9:.3g} GB, this machine has "
                         f"{memory / 1e9:.3g}; make it smaller")
    generator, std = torch.Generator().manual_seed(seed), config.get("initializer_range", 0.02)
    weights = {}
    # on the CPU and in the parameters' order: one seed gives one model on every device
    for name, p in model.named_parameters():
        one = float(name.endswith("norm.weight") and not model.scale)  # Gemma adds its own 1
        weights[name] = torch.full(p.shape, one, device="cpu")
        if p.ndim == 2:
            weights[name].normal_(0, std, generator=generator)
    model.load_state_dict(weights, assign=True)
    return model


# ---- writing a folder ----------------------------------------------------------------------------

def put(path, write):
    """write(temporary name), then rename: a file that exists is complete, whatever happens.
    Raises OSError that names `path`, also for a full disk under safetensors."""
    try:
        with rows.replacing(path) as temporary:
            # the mode of an ordinary new file: others may read a model that umask lets them read
            temporary.touch()
            mode = temporary.stat().st_mode  # safetensors 0.8 leaves 0600
            write(temporary)
            temporary.chmod(mode)
    except (OSError, SafetensorError) as error:
        raise OSError(f"{path}: cannot write: {error}") from error


def put_json(path, content):
    """Write a JSON file by `put`."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    put(path, lambda name: name.write_text(text, encoding="utf-8"))


def save(model, folder, tokenizer_file, shard_bytes=4_500_000_000, whole=torch.Tensor.contiguous):
    """Write config.json, weights and tokenizer so that transformers 4 and 5 load the folder, as
    AutoModelForSequenceClassification (if head_layer is -1) or AutoModelForCausalLM.

    Unknown keys of config.json are kept. Weights over shard_bytes are split, with an index;
    whole(p) gives the tensor to write, called in order, for one file at a time. Raises ValueError
    for a tokenizer_file that is not a tokenizers JSON file, OSError for what cannot be written."""
    folder, tokenizer = Path(folder), read_json(Path(tokenizer_file), "a tokenizers JSON file")
    special = special_tokens(tokenizer, model.settings["vocab_size"])
    folder.mkdir(parents=True, exist_ok=True)
    # byte for byte, not as the library would write it: the hash of the folder depends on it
    content = Path(tokenizer_file).read_bytes()
    put(folder / "tokenizer.json", lambda name: name.write_bytes(content))
    put_json(folder / "tokenizer_config.json", tokenizer_config(model, tokenizer, special))
    write_weights(model.state_dict(), folder, shard_bytes, whole)
    pad = padding(tokenizer, special, model.config)
    # config.json last: a folder without it is unfinished
    put_json(folder / "config.json", saved_config(model, special.get(pad)))
    if pad is None:
        print(f"note: {folder}: the tokenizer has no padding token, so transformers reads one text "
              "at a time", flush=True)


def write_weights(weights, folder, shard_bytes, whole):
    """Write model.safetensors, or model-i-of-n.safetensors and their index.

    The other form, left by an earlier save, is removed: a loader could take either."""
    shards, room = [{}], shard_bytes
    # in the parameters' order: the other processes gather them in it too (training.finish)
    for name, p in weights.items():
        if p.nbytes > room and shards[-1]:  # a tensor above shard_bytes gets a file of its own
            shards, room = [*shards, {}], shard_bytes
        shards[-1][name], room = p, room - p.nbytes
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    n = len(shards)
    files = [folder / f"model-{i:05d}-of-{n:05d}.safetensors" for i in range(1, n + 1)]
    for file, shard in zip(files if n > 1 else [single], shards):
        put(file, lambda path: save_file({name: whole(p) for name, p in shard.items()}, path,
                                         {"format": "pt"}))
    if n > 1:
        place = {name: file.name for file, shard in zip(files, shards) for name in shard}
        total = sum(p.nbytes for p in weights.values())
        put_json(index, {"metadata": {"total_size": total}, "weight_map": place})
    (single if n > 1 else index).unlink(missing_ok=True)
