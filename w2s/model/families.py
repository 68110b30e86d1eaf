"""config.json of Llama, Qwen2.5, Qwen3, OLMo2, Gemma 2 and 3, for decoder.py.

`FAMILIES` says where they differ; what a config says in numbers is read as transformers reads it,
in its spellings of version 4 (rope_theta, rope_scaling) and 5 (rope_parameters). What decoder.py
does not compute is refused by name.
"""

import json
from pathlib import Path
from typing import NamedTuple

from w2s.model.configuration import (SIZES, flags, numbers, reads, shown, token_ids, whole_numbers)

LOCAL, GLOBAL = "sliding_attention", "full_attention"   # transformers' names of a layer's type
SILU, GELU = "silu", "gelu_pytorch_tanh"
GEMMA = {"hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
         "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
         "tie_word_embeddings": True, "query_pre_attn_scalar": 256, "sliding_window": 4096,
         "eos_token_id": 1}
QWEN = {"num_key_value_heads": 32, "max_position_embeddings": 32768}


class Family(NamedTuple):
    """What a config does not say, and what its absent keys mean to transformers."""
    name: str                       # of the classes in transformers: name + "ForCausalLM"
    defaults: dict
    norms: str = "before"           # of attention and MLP: before, after, both
    qk_norm: str | None = None      # queries and keys are normed: by "head", over the "width"
    biases: bool | None = None      # of queries, keys, values alone; None: attention_bias, of all
    gemma: bool = False             # 1 + weight in RMSNorm, embeddings scaled, GELU
    bases: tuple = (10000, 10000)   # of rotary positions where none is given: global, local
    classifier: str | None = None   # name of the class with a class head, where it is another


FAMILIES = {
    "llama": Family("Llama", {"max_position_embeddings": 2048, "eos_token_id": 2}),
    "qwen2": Family("Qwen2", QWEN, biases=True),
    "qwen3": Family("Qwen3", QWEN | {"head_dim": 128}, qk_norm="head"),
    "olmo2": Family("Olmo2", {"max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
                              "eos_token_id": 50279}, "after", "width"),
    "gemma2": Family("Gemma2", GEMMA | {
        "vocab_size": 256000, "max_position_embeddings": 8192, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0}, "both", gemma=True),
    "gemma3_text": Family("Gemma3", GEMMA | {
        "vocab_size": 262208, "max_position_embeddings": 131072}, "both", "head", gemma=True,
        bases=(1e6, 10000), classifier="Gemma3Text")}
DEFAULTS = {"rms_norm_eps": 1e-6, "attention_bias": False, "mlp_bias": False,
            "tie_word_embeddings": False, "use_sliding_window": False, "max_window_layers": 28,
            "sliding_window_pattern": 6, "attn_logit_softcapping": None, "head_dim": None,
            "final_logit_softcapping": None, "num_key_value_heads": None, "layer_types": None,
            "sliding_window": None}
# null is a value of its own here: no capping, no window; elsewhere it is an absent key
NULLABLE = ("attn_logit_softcapping", "final_logit_softcapping", "num_key_value_heads", "head_dim",
            "layer_types", "sliding_window")
# Other values would load and be computed wrongly
ONLY = {"attention_dropout": 0, "use_bidirectional_attention": False, "partial_rotary_factor": 1}
BETWEEN = {"rms_norm_eps": (0, 0.1)}
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok")
PICTURES = ("vision_config", "audio_config")
# The numbers of each kind of rotary scaling; all others are refused
SCALINGS = {"default": (), "linear": ("factor",),
            "llama3": ("factor", "low_freq_factor", "high_freq_factor",
                       "original_max_position_embeddings")}


def read(folder):
    """The config of a folder's decoder, as `known` gives it; {} for GPT-NeoX and where there is no
    config.json. Raises ValueError for a model that we do not compute: before its weights are
    fetched, and before any text is tokenised."""
    path = Path(folder, "config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}  # a broken file is refused where the model is loaded
    if not isinstance(config, dict) or config.get("model_type", "gpt_neox") == "gpt_neox":
        return {}
    config = known(config, path)
    check(config, "class", -1, path)
    return config


def known(config, where):
    """The language model's config, flat, with the family's defaults; GPT-NeoX's as it is.

    Raises ValueError, naming `where`, for a model that neither file of networks computes: another
    model_type, a mixture of experts, a quantised one, one of pictures without a text_config."""
    kind = config.get("model_type")
    if kind == "gpt_neox":
        return config
    experts = next((key for key in EXPERTS if config.get(key)), None)
    pictures = next((key for key in PICTURES if config.get(key)), None)
    if experts or "moe" in str(kind):
        raise ValueError(f"{where}: {experts or 'model_type'} = {shown(config.get(experts, kind))}:"
                         " a mixture of experts is not supported; take a dense model")
    if config.get("quantization_config"):
        raise ValueError(f"{where}: quantization_config: quantised weights are not supported; take "
                         "the original model")
    text = config.get("text_config")
    if kind == "gemma3" and isinstance(text, dict):
        ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")
               if key in config}
        return known({**ids, **text, "model_type": "gemma3_text"}, f"{where}, text_config")
    if pictures or kind == "gemma3":
        raise ValueError(f"{where}: {pictures or 'model_type'}: a model of "
                         f"{'sounds' if pictures == 'audio_config' else 'pictures'} is not "
                         "supported; of Gemma 3 the language model is read from its text_config")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(f"{where}: model_type = {shown(kind)} is not supported, only "
                         f"gpt_neox (Pythia), {', '.join(FAMILIES)} and gemma3")
    # a config may leave out what its family has by default: others ask the model for its sizes
    return {**FAMILIES[kind].defaults, **{key: value for key, value in config.items()
                                          if value is not None or key in NULLABLE}}


def check(config, head, head_layer, where):
    """Settings of decoder.py from a config as `known` gives it: {"num_key_value_heads", "head_dim",
    "layer_types", "rope": {layer type: scaling with its numbers}, "end": the token that ends a
    text, ...}. Raises ValueError, naming `where`, for what decoder.py does not compute."""
    family, c = FAMILIES[config["model_type"]], {**DEFAULTS, **config}
    activation = GELU if family.gemma else SILU
    key = "hidden_activation" if family.gemma else "hidden_act"
    for key, allowed in {**ONLY, key: activation}.items():
        if c.get(key, allowed) != allowed:
            raise ValueError(f"{where}: {key} = {shown(c[key])} is not supported, only "
                             f"{shown(allowed)}")
    whole_numbers(c, (*SIZES, "max_position_embeddings"), where)
    numbers(c, BETWEEN, where)
    token_ids(c, where)
    flags(c, ("attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window"), where)
    reads(c, head, head_layer, where)
    c |= heads(c, where)
    c["layer_types"] = layer_types(c, where)
    c["rope"] = {kind: rope(c, kind, family, where) for kind in sorted({*c["layer_types"]})}
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if c[key] is not None:
            numbers(c, {key: (0, 1e6)}, where)
    c |= {"query_bias": family.biases or c["attention_bias"],
          "output_bias": c["attention_bias"] and not family.biases, "end": end(c, where)}
    return c


def heads(c, where):
    """{"head_dim", "num_key_value_heads", "scale": what products of queries and keys are multiplied
    by}. Raises ValueError for heads that do not fit."""
    H, kv, d = (c[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    if d is None:
        if c["hidden_size"] % H:
            raise ValueError(f"{where}: hidden_size is not a multiple of num_attention_heads, and "
                             "there is no head_dim")
        d = c["hidden_size"] // H
    c |= {"head_dim": d, "num_key_value_heads": H if kv is None else kv}
    whole_numbers(c, ("head_dim", "num_key_value_heads"), where)
    if d % 2:
        raise ValueError(f"{where}: head_dim {d} does not fit: rotary positions take pairs")
    if H % c["num_key_value_heads"]:
        raise ValueError(f"{where}: num_attention_heads {H} is not a multiple of "
                         f"num_key_value_heads {c['num_key_value_heads']}")
    if "query_pre_attn_scalar" in c:  # Gemma; the others divide by the root of head_dim
        numbers(c, {"query_pre_attn_scalar": (0, 2 ** 20)}, where)
        d = c["query_pre_attn_scalar"]
    return {"scale": d ** -0.5}


def layer_types(c, where):
    """The type of each layer: GLOBAL, or LOCAL, which sees the last sliding_window tokens alone."""
    kind, L = c["model_type"], c["num_hidden_layers"]
    slides = {"qwen2": lambda i: c["use_sliding_window"] and i >= c["max_window_layers"],
              "gemma2": lambda i: (i + 1) % 2,
              "gemma3_text": lambda i: (i + 1) % c["sliding_window_pattern"]}
    slides["qwen3"] = slides["qwen2"]
    whole_numbers(c, ("sliding_window_pattern",), where)
    types = c["layer_types"]
    if types is None:
        types = [LOCAL if kind in slides and slides[kind](i) else GLOBAL for i in range(L)]
    if not isinstance(types, list) or len(types) != L or not {*map(str, types)} <= {LOCAL, GLOBAL}:
        raise ValueError(f"{where}: layer_types must name {LOCAL} or {GLOBAL} for each of {L} "
                         f"layers, not {shown(types)}")
    if LOCAL in types:
        if kind not in slides:
            raise ValueError(f"{where}: layer_types: a {kind} has no {LOCAL}")
        whole_numbers(c, ("sliding_window",), where)
    return types


def rope(c, kind, family, where):
    """{"base", "type", ...}: rotary positions in layers of a type, with the numbers of a scaling.

    Raises ValueError for a scaling that is not among SCALINGS, and for a setting that it does not
    have: to drop one silently would make the logits wrong."""
    key = "rope_local_base_freq" if kind == LOCAL and family.bases[0] != family.bases[1] \
        else "rope_theta"
    part, place = spelled(c, kind, family, where)
    part = {"base": c.get(key, family.bases[kind == LOCAL]), **part}
    part["base"] = part.pop("rope_theta", part["base"])
    part["type"] = part.pop("rope_type", part.get("type", "default"))
    if not isinstance(part["type"], str) or part["type"] not in SCALINGS:
        raise ValueError(f"{where}: {place}: rope_type = {shown(part['type'])} is not supported, "
                         f"only {', '.join(SCALINGS)}")
    names = SCALINGS[part["type"]]
    if "original_max_position_embeddings" in names:
        part = {"original_max_position_embeddings": c["max_position_embeddings"], **part}
    if part.pop("partial_rotary_factor", 1) != 1:
        raise ValueError(f"{where}: {place}: partial_rotary_factor is not supported, only 1")
    for name in part.keys() - {"base", "type", *names}:
        if (name, part[name]) != ("factor", 1):  # of the default type
            raise ValueError(f"{where}: {place}.{name} = {shown(part[name])} is not supported: a "
                             f"rope_type of {part['type']} does not have it")
    for name in names:
        if name not in part:
            raise ValueError(f"{where}: {place}: rope_type {part['type']} needs {name}")
    numbers(part, {name: (0, 1e12) for name in ("base", *names)}, f"{where}: {place}")
    if part["type"] == "llama3" and part["low_freq_factor"] >= part["high_freq_factor"]:
        raise ValueError(f"{where}: {place}: low_freq_factor must be below high_freq_factor")
    return part


def spelled(c, kind, family, where):
    """(rotary settings of a layer type as the config spells them, without nulls; the key where they
    stand)."""
    objects = {}
    for place in ("rope_scaling", "rope_parameters"):
        objects[place] = c.get(place) or {}
        if not isinstance(objects[place], dict):
            raise ValueError(f"{where}: {place} must be an object, not {shown(objects[place])}")
    scaling, parameters = objects.values()
    two = family.bases[0] != family.bases[1]       # Gemma 3: settings for each type of layer
    place = "rope_parameters" if parameters and not scaling else "rope_scaling"
    if two and {LOCAL, GLOBAL} & parameters.keys():
        place, parameters = f"rope_parameters.{kind}", parameters.get(kind) or {}
        if not isinstance(parameters, dict):
            raise ValueError(f"{where}: {place} must be an object, not {shown(parameters)}")
    elif two and kind == LOCAL:
        parameters = {}
    # in transformers' order; what scales Gemma 3's positions scales those of global layers
    part = parameters if two and kind == LOCAL else \
        {**parameters, **scaling} if two else scaling or parameters
    return {key: value for key, value in part.items() if value is not None}, place


def end(c, where):
    """The token that ends a text: the first where a config names several."""
    k = c.get("eos_token_id", -1)
    k = k[0] if isinstance(k, list) and k else k
    if isinstance(k, list) or k < 0:
        raise ValueError(f"{where}: eos_token_id is missing: nothing else says which token ends a "
                         "text")
    return k


def respelled(c):
    """The rotary settings of the settings c as transformers 4 and 5 read them."""
    def scaling(rope):
        rest = {key: value for key, value in rope.items() if key not in ("base", "type")}
        return {"rope_type": rope["type"], **rest}

    family, rope = FAMILIES[c["model_type"]], c["rope"]
    main = rope.get(GLOBAL) or rope[LOCAL]
    keys = {"rope_theta": main["base"],
            "rope_scaling": None if main["type"] == "default" else scaling(main)}
    new = {kind: {**scaling(each), "rope_theta": each["base"]} for kind, each in rope.items()}
    if family.bases[0] == family.bases[1]:
        return {**keys, "rope_parameters": new.get(GLOBAL) or new[LOCAL]}
    local = rope[LOCAL]["base"] if LOCAL in rope else family.bases[1]
    return {**keys, "rope_local_base_freq": local, "rope_parameters": new}
