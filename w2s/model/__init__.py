"""Models by hand: Pythia (gpt_neox), Llama, Qwen, OLMo2 and Gemma (decoder); LoRA, tokenizers.
`load`, `save` and `generate` are here."""

from w2s import names_of

__getattr__ = names_of(__name__, "checkpoint", "gpt_neox", "decoding", "configuration", "kernels",
                       "decoder", "families", "network")
