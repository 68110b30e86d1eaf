"""config.json of GPT-NeoX: published shapes, what is refused by name, what a saved folder needs."""

import json

HEAD = {"class": "class", "letters": "lm", "text": "lm"}          # of a task's KIND
CLASS_NAME = {"class": "ForSequenceClassification", "lm": "ForCausalLM"}  # behind the family
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
         "intermediate_size")
# What an absent key means, to transformers and so to us
DEFAULTS = {"layer_norm_eps": 1e-5, "attention_bias": True, "use_parallel_residual": True,
            "tie_word_embeddings": False, "max_position_embeddings": 2048,
            "rotary_emb_base": 10000, "rotary_pct": 0.25}
# Other values would load and be computed wrongly, so they are refused
ONLY = {"model_type": "gpt_neox", "hidden_act": "gelu", "hidden_dropout": 0, "attention_dropout": 0}
# Bounds far beyond any published model: a spoilt number must not ask for all the memory there is
MOST = {"num_hidden_layers": 256, "max_position_embeddings": 2 ** 20}  # others: 2 ** 20
BETWEEN = {"layer_norm_eps": (0, 0.1), "rotary_emb_base": (1, 1e12), "rotary_pct": (0, 1)}
FLAGS = ("attention_bias", "use_parallel_residual", "tie_word_embeddings")
# transformers 5 keeps the rotary settings under other names, in an object of their own
TURNS = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
# In this order: a token made for padding, else an end of text, which models also pad with
PADS = ("<|padding|>", "<|pad|>", "<pad>", "[PAD]", "<|endoftext|>", "</s>", "<eos>", "[SEP]",
        "<|finetune_right_pad_id|>", "<|end_of_text|>")


def published(layers, hidden, heads, vocab=50304):
    """config.json of a published Pythia. All have 2048 positions: litgpt's 512 for 14m and 1024 for
    31m stand neither in the hub's config.json nor in EleutherAI/pythia models/*/*.yml."""
    return {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "hidden_act": "gelu",
            "vocab_size": vocab, "hidden_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "intermediate_size": 4 * hidden, **DEFAULTS,
            "initializer_range": 0.02, "bos_token_id": 0, "eos_token_id": 0}


SHAPES = {
    "pythia-14m": published(6, 128, 4), "pythia-31m": published(6, 256, 8),
    "pythia-70m": published(6, 512, 8), "pythia-160m": published(12, 768, 12),
    "pythia-410m": published(24, 1024, 16), "pythia-1b": published(16, 2048, 8),
    "pythia-1.4b": published(24, 2048, 16), "pythia-2.8b": published(32, 2560, 32),
    "pythia-6.9b": published(32, 4096, 32, 50432), "pythia-12b": published(36, 5120, 40, 50688)}


# ---- reading a folder ----------------------------------------------------------------------------

def check(config, head, head_layer, where):
    """The config with transformers' defaults filled in and either spelling of the rotary settings
    read. null counts as absent. Raises ValueError, naming `where`, for what gpt_neox.py does not
    compute and for values of another type or size than a model has."""
    config = {key: value for key, value in config.items() if value is not None}
    c = {**DEFAULTS, **config, **rotary(config, where)}
    for key, allowed in ONLY.items():
        if c.get(key, None if key == "model_type" else allowed) != allowed:
            raise ValueError(f"{where}: {key} = {shown(c.get(key))} is not supported, only "
                             f"{shown(allowed)}: this is GPT-NeoX as Pythia uses it")
    whole_numbers(c, (*SIZES, "max_position_embeddings"), where)
    numbers(c, BETWEEN, where)
    token_ids(c, where)
    flags(c, FLAGS, where)
    if c["hidden_size"] % c["num_attention_heads"]:
        raise ValueError(f"{where}: hidden_size is not a multiple of num_attention_heads")
    # an odd number of rotated dimensions is rounded up to whole pairs, which must fit into d
    d = c["hidden_size"] // c["num_attention_heads"]
    turned = int(d * c["rotary_pct"])
    if not 1 <= turned <= d - turned % 2 or turned * c["max_position_embeddings"] > 2 ** 24:
        raise ValueError(f"{where}: rotary_pct {c['rotary_pct']:g} of {d} dimensions a head leaves "
                         "no pair to rotate, or the tables do not fit any memory")
    reads(c, head, head_layer, where)
    return c


def whole_numbers(c, keys, where):
    """ValueError unless the keys are positive integers of a size that a model may have."""
    for key in keys:
        limit = MOST.get(key, 2 ** 20)
        if type(c.get(key)) is not int or not 1 <= c[key] <= limit:
            raise ValueError(f"{where}: {key} must be a positive integer up to {limit}, not "
                             f"{shown(c.get(key))}")


def numbers(c, between, where):
    """ValueError unless the keys of `between` {key: (low, high)} are numbers in their ranges."""
    for key, (low, high) in between.items():
        if type(c[key]) not in (int, float) or not low < c[key] <= high:
            raise ValueError(f"{where}: {key} must be a number above {low:g} and at most {high:g}, "
                             f"not {shown(c[key])}")


def token_ids(c, where):
    """ValueError for a special token that the model has no row for."""
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):  # transformers' alone; -1: none
        for k in c[key] if type(c.get(key)) is list else [c.get(key, -1)]:
            if type(k) is not int or not -1 <= k < c["vocab_size"]:
                raise ValueError(f"{where}: {key} must be below vocab_size, not {shown(k)}")


def flags(c, keys, where):
    """ValueError unless the keys are true or false."""
    for key in keys:  # a text "false" would be true to Python
        if type(c[key]) is not bool:
            raise ValueError(f"{where}: {key} must be true or false, not {shown(c[key])}")


def reads(c, head, head_layer, where):
    """ValueError for a head that there is not, or a layer that it cannot read."""
    if head not in CLASS_NAME:
        raise ValueError(f'head must be "class" or "lm", not {head!r}')
    if not (-c["num_hidden_layers"] if head == "class" else -1) <= head_layer <= -1:
        raise ValueError(f"{where}: head_layer {head_layer} is not one of -1 (final LayerNorm) "
                         'to minus the number of layers, or not -1 with head="lm"')


def rotary(config, where):
    """{our name: value} of the rotary settings in rope_scaling or else rope_parameters.

    Raises ValueError for every type but the default one, under any name, and for a setting that we
    do not compute: to drop one silently would make the logits wrong."""
    settings = {}
    # in transformers' order: rope_scaling wins where both objects stand
    for place in ("rope_parameters", "rope_scaling"):
        part = config.get(place, {})
        if not isinstance(part, dict):
            raise ValueError(f"{where}: {place} must be an object, not {shown(part)}")
        for key, value in part.items():
            usual = {"type": "default", "rope_type": "default", "factor": 1}.get(key)
            if key in TURNS and value is not None:
                settings[TURNS[key]] = value
            elif value not in (None, usual):
                raise ValueError(f"{where}: {place}.{key} = {shown(value)} is not supported"
                                 + f", only {shown(usual)}" * (usual is not None)
                                 + ": positions are not scaled here")
    # at the top level transformers ignores these names: refuse what it would not have used
    for key in ("rope_type", *TURNS):
        used = settings.get(TURNS.get(key), config.get(TURNS.get(key), "default"))
        if key in config and config[key] != used:
            raise ValueError(f"{where}: {key} = {shown(config[key])} is not supported here; it "
                             "belongs into rope_parameters")
    return settings


def shown(value):
    """A value as a message shows it: in JSON's words (null, true), cut to 60 characters."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) < 60 else text[:57] + "..."


# ---- writing a folder ----------------------------------------------------------------------------

def special_tokens(tokenizer, vocabulary):
    """{text: id} of the added tokens in a tokenizer.json's content that the model has a row for."""
    # any JSON may stand in a damaged file, so nothing is taken for granted
    added = tokenizer.get("added_tokens")
    entries = [(entry.get("content"), entry.get("id")) for entry in
               (added if isinstance(added, list) else []) if isinstance(entry, dict)]
    return {text: k for text, k in entries
            if isinstance(text, str) and type(k) is int and 0 <= k < vocabulary}


def padding(tokenizer, special, config={}):
    """Text of the padding token: the tokenizer's own, else that of the config of a decoder, else
    the first of PADS; None where no added token is one of them."""
    pad_token = tokenizer.get("padding")
    pad_token = pad_token.get("pad_token") if isinstance(pad_token, dict) else None
    named = role(config, "pad_token_id", special)
    return next((text for text in (pad_token, named, *PADS) if text in special), None)


def role(config, key, special):
    """Text of a special token whose id, or ids, a decoder's config names; None."""
    k = config.get(key) if config.get("model_type") != "gpt_neox" else None
    k = k[0] if isinstance(k, list) and k else k
    return next((text for text, other in special.items() if other == k), None)


def tokenizer_config(model, tokenizer, special):
    """tokenizer_config.json, by which AutoTokenizer reads tokenizer.json."""
    # not the family's own class: in transformers 5 GPTNeoXTokenizer builds itself, with a
    # normaliser of its own; and transformers 4 has to be told of no token_type_ids
    pad, end = padding(tokenizer, special, model.config), "<|endoftext|>"
    roles = dict.fromkeys(("bos_token", "eos_token", "unk_token"), end if end in special else None)
    if model.config["model_type"] != "gpt_neox":
        roles = {key: role(model.config, f"{key}_id", special) for key in ("bos_token",
                                                                           "eos_token")}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
            "model_max_length": model.settings["max_position_embeddings"],
            "model_input_names": ["input_ids", "attention_mask"],
            # a text is continued at its right end, so padding must not stand there
            "padding_side": "left" if model.kind == "lm" else "right",
            **{role: text for role, text in (roles | {"pad_token": pad}).items() if text}}


def saved_config(model, pad):
    """The model's config.json with what transformers and `load` need to read it back.

    pad: the token id by which transformers' class head finds the last real token, or None."""
    config, dtype = dict(model.config), str(model.table.weight.dtype).removeprefix("torch.")
    # dtype and the rotary settings twice: transformers 4 and 5 read different keys
    config.update(architectures=[f"{model.prefix}{CLASS_NAME[model.kind]}"], torch_dtype=dtype,
                  dtype=dtype, **model.spelled())
    if pad is not None:
        config["pad_token_id"] = pad
    if model.kind == "class":
        K, labels = model.score.out_features, config.get("id2label")
        # the base model's labels stay only where they name exactly these K classes
        if not (isinstance(labels, dict) and {*labels} == {str(k) for k in range(K)}
                and all(isinstance(label, str) for label in labels.values())
                and len({*labels.values()}) == K):
            labels = {str(k): f"LABEL_{k}" for k in range(K)}
        config.update(id2label=labels, label2id={label: int(k) for k, label in labels.items()},
                      w2s_head_layer=model.head_layer)
    return config
