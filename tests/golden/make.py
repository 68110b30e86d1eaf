"""Make tests/golden/pythia, llama and gemma3: tiny models with fixed weights, and what transformers
says of them.

    python tests/golden/make.py [pythia ...]     needs transformers; made with 5.23.0

A folder is a checkpoint (config.json, model.safetensors) beside expected.safetensors: ids, lengths,
lm (B, T, V), hidden (B, D), score (K, D), class (B, K), greedy (B, 8). T = 12.
"""
import sys
from pathlib import Path

import torch
import transformers as hf
from safetensors.torch import save_file

SHAPE = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.3,
         "bos_token_id": None, "eos_token_id": None}
OTHER = {"intermediate_size": 24, "num_key_value_heads": 1, "eos_token_id": 1, "pad_token_id": 0}
MODELS = {"pythia": ("GPTNeoX", {}),
          "llama": ("Llama", OTHER | {"rope_theta": 500.0, "rope_scaling": {
              "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 32}}),
          "gemma3": ("Gemma3Text", OTHER | {"head_dim": 8, "sliding_window": 4,
                                            "sliding_window_pattern": 2,
                                            "query_pre_attn_scalar": 12})}


def make(name):
    torch.manual_seed(0)
    family, more = MODELS[name]
    config = getattr(hf, f"{family}Config")(**SHAPE | more)
    model = hf.AutoModelForCausalLM.from_config(config).eval()
    for key, p in model.named_parameters():
        if p.ndim == 1:
            torch.nn.init.normal_(p, float("norm.weight" in key and name != "gemma3"), 0.1)
    ids, lengths = torch.randint(2, 64, (3, 12)), torch.tensor([12, 5, 1])
    score = torch.randn(3, 16)
    with torch.no_grad():
        out = model(ids, output_hidden_states=True)
        hidden = out.hidden_states[-1][torch.arange(3), lengths - 1]
        greedy = [model.generate(row[None, :n], max_new_tokens=8, do_sample=False,
                                 eos_token_id=None)[0, n:] for row, n in zip(ids, lengths)]
    folder = Path(__file__).parent / name
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file({"ids": ids, "lengths": lengths, "lm": out.logits, "hidden": hidden.contiguous(),
               "score": score, "class": hidden @ score.T, "greedy": torch.stack(greedy)},
              folder / "expected.safetensors")


if __name__ == "__main__":
    for model in sys.argv[1:] or MODELS:
        make(model)
