"""LoRA's A and B beside the merged model, in the layout of peft: what PeftModel.from_pretrained
puts on the base model, which transformers loads.

    adapter_config.json         rank r, alpha, the layers' names, which base
    adapter_model.safetensors   A, B and a class head: all that trained
"""

import json
from pathlib import Path

from safetensors.torch import save

from w2s.model import checkpoint, lora

PREFIX = "base_model.model."                    # of peft's wrappers around the base model
TASKS = {"class": "SEQ_CLS", "lm": "CAUSAL_LM"}  # by the kind of a model


def check(base):
    """ValueError for a folder whose layers have other names in transformers than here."""
    config = checkpoint.read_json(Path(base) / "config.json", "the configuration of a model")
    if config.get("model_type") == "gemma3":
        raise ValueError(f"--save-adapter: {base} reads pictures too, and peft would not find its "
                         "layers; save its language model alone (train_weak.py --epochs 0) and "
                         "give that as --model")


def contents(model, alpha, base, revision=None):
    """{file name: bytes} of the adapter of a model that lora.apply has changed, before it is
    merged; `alpha` as it was given there, base: hub name or folder of the model without LoRA."""
    places = lora.targets(model)
    names = sorted({name for _, name in places})
    config = {"peft_type": "LORA", "task_type": TASKS[model.kind], "inference_mode": True,
              "base_model_name_or_path": base, "revision": revision, "bias": "none",
              "r": getattr(*places[0]).A.out_features, "lora_alpha": alpha, "lora_dropout": 0.0,
              "fan_in_fan_out": False, "target_modules": names,
              "modules_to_save": [lora.HEAD] if model.kind == "class" else None}
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    weights = {PREFIX + name.replace(".A.", ".lora_A.").replace(".B.", ".lora_B."):
               p.detach().cpu().contiguous()
               for name, p in model.named_parameters() if p.requires_grad}
    return {"adapter_config.json": text.encode(),
            "adapter_model.safetensors": save(weights, {"format": "pt"})}
