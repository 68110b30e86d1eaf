"""Errors in Llama's relatives: the network, its configurations, tokens, folders, LoRA, book-keeping."""

DECODER, FAMILIES, TOKENIZATION, CHECKPOINT, LORA, BOOK, MCQA, HUB, PRIVACY = (
    f"w2s/{name}.py" for name in (
        "model/decoder", "model/families", "model/tokenization", "model/checkpoint", "model/lora",
        "dp/ghost_clipping", "tasks/mcqa", "hub", "tasks/privacy"))
CONFIGURATION, ADAPTER, TRAINING, CONFIG = (
    f"w2s/{name}.py" for name in ("model/configuration", "model/adapter", "training", "config"))
ADAPTERS = "model/test_adapter.py::test_"
STANDS, RUN = ADAPTERS + "what_stands_in_it", ADAPTERS + "a_run_writes_it_or_does_not"
NAMED = ADAPTERS + "it_names_its_base_as_the_hub_does"
TESTS, CONFIGS = "model/test_decoder.py::test_", "model/test_families.py::test_"
LOGITS = TESTS + "logits_and_hidden_states_agree_with_transformers"
NEXT = TESTS + "generation_equals_transformers_token_for_token"
TREE = TESTS + "a_tree_of_tails_is_scored_as_each_tail_alone"
SAVED = TESTS + "transformers_loads_what_we_save_with_equal_logits"
READ = TESTS + "we_load_what_transformers_saves"
PICTURES = TESTS + "of_a_gemma_that_reads_pictures_the_language_model_is_read"
TOKENS = TESTS + "a_text_begins_and_ends_with_the_tokens_of_its_model"
REFUSED = CONFIGS + "what_the_network_does_not_compute_is_refused_by_name"
PUBLISHED = CONFIGS + "positions_windows_and_ends_of_published_configs"
SPELLED = CONFIGS + "both_spellings_of_transformers_mean_the_same"
WAVES = CONFIGS + "llama_3_scales_long_waves_alone"

ERRORS = [
    # the network
    (DECODER, "(self.offset + wide(self.weight))", "wide(self.weight)", LOGITS + "[gemma3-17]"),
    (DECODER, "torch.full((width,), 1. - offset)", "torch.full((width,), 1.)", TESTS + "a_new_norm_makes_the_mean_square_one"),
    (DECODER, "eps=self.eps)", "eps=1e-2)", LOGITS + "[qwen3-17]"),
    (DECODER, "return turn / factor\n", "return turn * factor\n", WAVES),
    (DECODER, "share = share.clamp(0, 1) ", "share = share.clamp(0, 2) ", WAVES),
    (DECODER, "(1 - share) * turn / factor + share * turn", "share * turn / factor + (1 - share) * turn", WAVES),
    (DECODER, "turn / (2 * math.pi)", "turn", WAVES),
    (DECODER, 'width if family.qk_norm == "width" else self.d', "self.d", LOGITS + "[olmo2-17]"),
    (DECODER, "rotate(self.split(self.k_proj(x), self.k_norm), place)", "rotate(self.split(self.k_proj(x), self.q_norm), place)", LOGITS + "[qwen3-17]"),
    (DECODER, "bias = bias.repeat(G, 1) ", "bias = bias.repeat_interleave(G, 0) ", LOGITS + "[llama3-17]"),
    (DECODER, "x.repeat_interleave(G, 1) for", "x.repeat(1, G, 1, 1) for", LOGITS + "[llama3-140]"),
    (DECODER, "q.unflatten(1, (J, G)).flatten(2, 3)", "q.unflatten(1, (G, J)).transpose(1, 2).flatten(2, 3)", LOGITS + "[llama3-17]"),
    (DECODER, "return attend(rows, k, v, bias, self.scale, self.cap)", "return attend(rows, k, v, bias, None, self.cap)", LOGITS + "[gemma3-17]"),
    (DECODER, "scale=self.scale)", "scale=None)", LOGITS + "[gemma3-140]"),
    (DECODER, "return attend(rows, k, v, bias, self.scale, self.cap)", "return attend(rows, k, v, bias, self.scale)", LOGITS + "[gemma2-17]"),
    (DECODER, "and not self.cap and not explicit", "and not explicit", LOGITS + "[gemma2-140]"),
    (DECODER, 'F.gelu(gate, approximate="tanh")', "F.gelu(gate)", LOGITS + "[gemma3-17]"),
    (DECODER, "x = x + self.normed(1, attended)", "x = x + attended", LOGITS + "[olmo2-17]"),
    (DECODER, "self.normed(3, self.mlp(self.normed(2, x)))", "self.mlp(self.normed(2, x))", LOGITS + "[gemma3-17]"),
    (DECODER, "x = x * self.scale if self.scale else x\n", "pass\n", LOGITS + "[gemma3-17]"),
    (DECODER, "x = x * self.scale if self.scale else x\n        return x if noise is None else x + noise.to(x.dtype)", "x = x if noise is None else x + noise.to(x.dtype)\n        return x * self.scale if self.scale else x", TESTS + "noise_is_added_to_the_scaled_embeddings"),
    (DECODER, 'self.cap = c["final_logit_softcapping"]', "self.cap = None", LOGITS + "[gemma2-17]"),
    (DECODER, "(back >= 0) & (back < window)", "(back >= 0) & (back <= window)", LOGITS + "[gemma3-17]"),
    (DECODER, "window and T > window", "window and T > 2 * window", LOGITS + "[gemma3-140]", "140 tokens are more than twice the window of 5: only a window of 70 to 139 would show it"),
    (DECODER, "unseen(positions[:, None, :, None], keys, window, dtype)", "unseen(positions[:, None, :, None], keys, None, dtype)", NEXT + "[gemma3]"),
    (DECODER, "bias = bias + unseen(positions[:, None], positions, window, dtype)\n", "pass\n", TREE),
    # its configurations
    (FAMILIES, '"model_type": "gemma3_text"}, f"{where}', '"model_type": "gemma2"}, f"{where}', PUBLISHED),
    (FAMILIES, '"qwen2": Family("Qwen2", QWEN, biases=True)', '"qwen2": Family("Qwen2", QWEN)', LOGITS + "[qwen2-17]"),
    (FAMILIES, 'c["attention_bias"] and not family.biases', 'c["attention_bias"]', LOGITS + "[qwen2-17]", "a Qwen2 has no attention_bias, and transformers ignores one"),
    (FAMILIES, "i >= c[\"max_window_layers\"]", "i > c[\"max_window_layers\"]", CONFIGS + "the_types_of_layers_are_those_of_transformers"),
    (FAMILIES, 'd = c["query_pre_attn_scalar"]', "pass", LOGITS + "[gemma3-17]"),
    (FAMILIES, "(i + 1) % c[\"sliding_window_pattern\"]", "i % c[\"sliding_window_pattern\"]", PUBLISHED),
    (FAMILIES, "if value is not None or key in NULLABLE}}", "if value is not None}}", REFUSED + "[no window]"),
    (FAMILIES, "k = k[0] if isinstance(k, list) and k else k\n    if", "k = k[-1] if isinstance(k, list) and k else k\n    if", PUBLISHED),
    (FAMILIES, "elif two and kind == LOCAL:\n        parameters = {}\n", "", SPELLED + "[gemma-3-1b-pt]", "only a flat rope_parameters of a Gemma 3 would show it, which no version writes"),
    (FAMILIES, "{**parameters, **scaling} if two else scaling or parameters", "parameters", PUBLISHED),
    (FAMILIES, '"rope_local_base_freq": local,', "", SPELLED + "[gemma-3-1b-pt]"),
    (FAMILIES, "if d % 2:", "if False:", REFUSED + "[head_dim]"),
    (FAMILIES, 'if experts or "moe" in str(kind):', "if experts:", REFUSED + "[experts by name]"),
    (FAMILIES, "    check(config, \"class\", -1, path)\n", "", REFUSED + "[yarn]"),
    # folders and tokens
    (CHECKPOINT, 'not (name.endswith(OBSOLETE) or name.startswith(PICTURES))', "not name.endswith(OBSOLETE)", PICTURES),
    (CHECKPOINT, '"model.language_model.": "model.",', "", PICTURES),
    (CHECKPOINT, 'and not model.scale)', ")", TESTS + "untrained_is_drawn_as_transformers_would"),
    (CONFIGURATION, "for text in (pad_token, named, *PADS)", "for text in (pad_token, *PADS[3:])", TESTS + "a_class_head_is_saved_with_a_padding_token_of_the_config"),
    (CONFIGURATION, "roles = {key: role(model.config", "_ = {key: role(model.config", SAVED),
    (TOKENIZATION, "np.concatenate([ids[:n], ids[n - most:]])", "np.concatenate([ids[:n], ids[-most:]])", TOKENS),
    (TOKENIZATION, "begin = [] if bare else begin[:max_length - 1]", "begin = [] if bare else begin", TOKENS),
    (TOKENIZATION, "begin = [] if bare else begin[:max_length - 1]", "begin = begin[:max_length - 1]", TOKENS),
    (TOKENIZATION, "if top >= config", "if top > config", TESTS + "a_tokenizer_with_more_tokens_than_the_model_is_refused"),
    (TOKENIZATION, "with_added_tokens=False", "with_added_tokens=True", TESTS + "a_tokenizer_with_more_tokens_than_the_model_is_refused"),
    (PRIVACY, "[row[\"text\"] for row in rows], max_length,\n                                             bare=True)", "[row[\"text\"] for row in rows], max_length)", TOKENS),
    (HUB, "    if check:\n        check(snapshot(name, revision, SMALL, lacking=unnamed))\n", "", "test_hub.py::test_a_model_that_we_do_not_compute_is_refused_before_its_weights_are_fetched"),
    # what trains them
    (LORA, '"o_proj", "gate_proj", "up_proj", "down_proj")', '"o_proj")', TESTS + "lora_trains_attention_and_mlp_and_merges_back"),
    (BOOK, "module.bare(x) if isinstance(module, RMSNorm) else F.layer_norm(", "wide(x) if isinstance(module, RMSNorm) else F.layer_norm(", TESTS + "private_gradients_are_those_of_one_sample_at_a_time"),
    # the adapter
    (ADAPTER, '.replace(".A.", ".lora_A.")', "", STANDS),
    (ADAPTER, "if p.requires_grad}", "}", STANDS),
    (ADAPTER, '"lora_alpha": alpha', '"lora_alpha": 1', STANDS),
    (ADAPTER, 'if model.kind == "class" else None', 'if model.kind == "lm" else None', RUN),
    (ADAPTER, 'if config.get("model_type") == "gemma3":', "if False:", ADAPTERS + "a_gemma_of_pictures_is_refused"),
    (TRAINING, "cfg.lora_alpha or cfg.lora_rank, base", "cfg.lora_rank, base", RUN),
    (TRAINING, 'if str(self.folder) != base:', 'if "@" in base:', NAMED),
    (TRAINING, "base, revision = hub.named(base, revision)", "base, _ = hub.named(base, revision)", NAMED),
    (CONFIG, "as peft keeps them\", later=True)", "as peft keeps them\")", ADAPTERS + "runs_from_before_the_flag_are_what_they_were"),
    (CONFIG, 'save_adapter: bool = arg(None', 'save_adapter: bool = arg(False', ADAPTERS + "runs_from_before_the_flag_are_what_they_were"),
]
