"""Published shapes of decoder.py's models, and what training one takes: for tests.bench.plan.

From the hub's config.json files, as transformers 4 wrote them; keys that say nothing of the network
are left out. D hidden, I intermediate, Q = H d queries, K = J d keys, N norms of a block (2 or 4).
Bytes that autograd keeps of a token of a block, w of them a number (2 under bfloat16 autocast):

    its input and that of the MLP's half 8 D, float32     norms: input and normed 8 D each, float32
    inputs of the matrices 2 w D     Q, K and V w (Q + 2 K); normed too 8 (Q + K), float32
    rotated w (Q + K)     keys and values repeated for their queries 2 w Q     attended w Q
    gate before and after, up and their product 4 w I

An upper bound, 3 to 18 % above what a block keeps (tests/test_bench.py measures it).
"""

import torch

from w2s.model import decoder, families

LLAMA = {"model_type": "llama", "bos_token_id": 128000, "eos_token_id": 128001, "head_dim": 64,
         "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 8192,
         "max_position_embeddings": 131072, "num_attention_heads": 32, "num_hidden_layers": 16,
         "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_scaling": {
             "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
             "original_max_position_embeddings": 8192, "rope_type": "llama3"},
         "rope_theta": 500000.0, "tie_word_embeddings": True, "vocab_size": 128256}
QWEN2 = {"model_type": "qwen2", "bos_token_id": 151643, "eos_token_id": 151643,
         "hidden_act": "silu", "hidden_size": 896, "intermediate_size": 4864,
         "max_position_embeddings": 32768, "max_window_layers": 24, "num_attention_heads": 14,
         "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
         "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": True,
         "use_sliding_window": False, "vocab_size": 151936}
QWEN3 = {"model_type": "qwen3", "attention_bias": False, "bos_token_id": 151643,
         "eos_token_id": 151643, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
         "intermediate_size": 3072, "max_position_embeddings": 32768, "max_window_layers": 28,
         "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
         "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000,
         "sliding_window": None, "tie_word_embeddings": True, "use_sliding_window": False,
         "vocab_size": 151936}
OLMO2 = {"model_type": "olmo2", "attention_bias": False, "eos_token_id": 100257,
         "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 8192,
         "max_position_embeddings": 4096, "num_attention_heads": 16, "num_hidden_layers": 16,
         "num_key_value_heads": 16, "pad_token_id": 100277, "rms_norm_eps": 1e-06,
         "rope_scaling": None, "rope_theta": 500000, "tie_word_embeddings": False,
         "vocab_size": 100352}
GEMMA3 = {"model_type": "gemma3_text", "attn_logit_softcapping": None, "bos_token_id": 2,
          "eos_token_id": 1, "final_logit_softcapping": None, "head_dim": 256,
          "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152,
          "intermediate_size": 6912, "max_position_embeddings": 32768, "num_attention_heads": 4,
          "num_hidden_layers": 26, "num_key_value_heads": 1, "pad_token_id": 0,
          "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000,
          "rope_scaling": None, "rope_theta": 1000000, "sliding_window": 512,
          "sliding_window_pattern": 6, "vocab_size": 262144}
# Of pictures too: what its text_config leaves out is what transformers has by default
GEMMA3_4B = {"model_type": "gemma3", "bos_token_id": 2, "eos_token_id": [1, 106], "text_config": {
    "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
    "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024}, "vision_config": {"hidden_size": 1152}}


def sized(base, hidden, width, layers, heads, **more):
    """A larger config of the same family."""
    return base | {"hidden_size": hidden, "intermediate_size": width, "num_hidden_layers": layers,
                   "num_attention_heads": heads, **more}


PUBLISHED = {
    "Llama-3.2-1B": LLAMA, "Qwen2.5-0.5B": QWEN2, "gemma-3-1b-pt": GEMMA3,
    "gemma-3-4b-pt": GEMMA3_4B, "Qwen3-0.6B-Base": QWEN3,
    "Qwen3-1.7B-Base": sized(QWEN3, 2048, 6144, 28, 16),
    "Qwen3-14B-Base": sized(QWEN3, 5120, 17408, 40, 40, tie_word_embeddings=False),
    "OLMo-2-0425-1B": OLMO2,
    "OLMo-2-1124-7B": sized(OLMO2, 4096, 11008, 32, 32, num_key_value_heads=32),
    "OLMo-2-1124-13B": sized(OLMO2, 5120, 13824, 40, 40, num_key_value_heads=40)}
SHAPES = {name: families.known(config, name) for name, config in PUBLISHED.items()}


def parameters(c):
    """{part: parameters}: one block, and what is no block under each head."""
    with torch.device("meta"):
        model = decoder.Decoder(c, "lm")
    block = sum(p.numel() for p in model.blocks[0].parameters())
    outside = sum(p.numel() for p in model.parameters()) - c["num_hidden_layers"] * block
    body = (c["vocab_size"] + 1) * c["hidden_size"]       # embedding and the last norm
    return {"block": block, "class": body + 2 * c["hidden_size"], "lm": outside}


def kept(c, w):
    """Bytes that autograd keeps of a token of a block."""
    s, family = families.check(c, "lm", -1, "config.json"), families.FAMILIES[c["model_type"]]
    D, Q, K = s["hidden_size"], *(s[key] * s["head_dim"] for key in (
        "num_attention_heads", "num_key_value_heads"))
    norms = 4 if family.norms == "both" else 2
    return (8 * D + norms * 8 * D + 2 * w * D + w * (Q + 2 * K) + bool(family.qk_norm) * 8 * (Q + K)
            + w * (Q + K) + 3 * w * Q + 4 * w * s["intermediate_size"])
