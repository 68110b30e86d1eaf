"""Errors in what is decided for a card: waits, padding, precision, memory, graphs, failures."""

DEVICE, STEP, NETWORK, KERNELS, DECODING, DP, LOSSES, TRAINING = (f"w2s/{name}.py" for name in (
    "device", "train/step", "model/network", "model/kernels", "model/decoding", "dp/sgd",
    "train/losses", "training"))
GPU, WAITS = "test_gpu.py::", "test_waits.py::"
CHOSEN = GPU + "test_the_device_that_is_chosen_is_torchs_and_float32_is_float32"
PADDED = GPU + "test_batches_are_padded_to_8_and_those_of_a_compiled_step_to_64"
COUNTED = GPU + "test_batches_of_predictions_hold_at_most_so_many_padded_tokens"
MINUTES = GPU + "test_on_a_card_checkpoints_are_minutes_apart"
RECORDED = GPU + "test_on_a_card_a_step_is_recorded_once_a_shape"
STAYS = GPU + "test_generation_in_memory_that_stays_gives_the_same_tokens"
FAILED = GPU + "test_a_card_that_fails_is_one_line_and_nothing_is_lost"
CLASS = WAITS + "test_a_class_step_never_waits"
TEXT = WAITS + "test_a_step_of_a_language_model_never_waits"
ANSWERS = WAITS + "test_only_answers_have_logits_and_the_loss_is_that_of_the_cpu"

ERRORS = [
    # which card, and what float32 is on it
    (DEVICE, "torch.cuda.set_device(device.index or 0)", "torch.cuda.set_device(0)", CHOSEN),
    (DEVICE, 'torch.set_float32_matmul_precision("highest")', 'torch.set_float32_matmul_precision("high")', CHOSEN),
    (DEVICE, "torch.backends.cudnn.allow_tf32 = False", "pass", CHOSEN),
    (DEVICE, 'torch.set_float32_matmul_precision("medium")', "pass", "test_training.py::test_matrix_products_are_exact_wherever_onednn_rounds"),
    (DEVICE, "pays = steps >= 20000 and not private", "pays = steps >= 20000", "train/test_step.py::test_what_pays_to_compile"),
    ("w2s/parallel.py", "device_id=device if card else None", "device_id=None", GPU + "test_nccl_is_told_its_card"),
    ("w2s/commands.py", 'cards.asked("-L") and cards.visible()', "cards.visible()", GPU + "test_nvidia_smi_without_a_card_promises_nothing"),
    ("w2s/launch.py", "SIDE_BY_SIDE = 3 ", "SIDE_BY_SIDE = 4 ", GPU + "test_small_models_get_three_workers_a_card_where_memory_and_cores_allow"),
    ("w2s/memory.py", "w * (9 * D + 2 * width) + 16", "w * (8 * D + 2 * width) + 16", GPU + "test_the_plan_of_memory_is_no_less_than_what_autograd_keeps"),
    ("w2s/worker.py", 'sys.modules["torch._dynamo"].reset()', "pass", GPU + "test_a_worker_drops_graphs_before_it_gives_their_memory_back"),
    ("w2s/worker.py", "contextlib.suppress(RuntimeError)", "contextlib.suppress(OSError)", GPU + "test_a_worker_drops_graphs_before_it_gives_their_memory_back"),
    # padding
    (STEP, "-(-longest // 8) * 8", "-(-longest // 64) * 64", PADDED),
    (STEP, "if compile and on_card else inputs", "if on_card else inputs", PADDED),
    (STEP, ' and "len" in batch]', "]", PADDED),
    ("w2s/infer/batching.py", "width_of(int(lengths[ordered[start]]), device)", "int(lengths[ordered[start]])", COUNTED + "[classify]"),
    ("w2s/infer/classify.py", "batching.TOKENS[device.type], device)", "batching.TOKENS[device.type])", COUNTED + "[classify]"),
    ("w2s/infer/choice.py", "batching.by_tokens(lengths, tokens, kind)", "batching.by_tokens(lengths, tokens)", COUNTED + "[written]"),
    ("w2s/infer/choice.py", "batching.TOKENS[kind], kind)", "batching.TOKENS[kind])", COUNTED + "[states]"),
    ("w2s/infer/lm.py", "by_tokens(lengths + new_tokens, limit, device)", "by_tokens(lengths + new_tokens, limit)", COUNTED + "[continuations]"),
    # waits
    (STEP, 'ON_CPU = ("rows", "pool")', 'ON_CPU = ("rows",)', CLASS),
    (LOSSES, "pinned((pool == c).nonzero()[:, 0], p.device)", "(pool == c).nonzero()[:, 0].to(p.device)", CLASS),
    (LOSSES, "prior = self.prior[c] = prior.to(p.device)", "pass", CLASS),
    (LOSSES, 'if prior.device.type == "cpu":', "if True:", CLASS),
    (NETWORK, 'if at_once or mask.device.type == "cuda":', "if at_once:", TEXT),
    (STEP, "model.even = on_card =", "on_card =", TEXT),
    (KERNELS, "torch.where(equal, g[0], torch.nan)", "g[0]", WAITS + "test_a_broken_promise_of_equal_gradients_is_nan"),
    ("w2s/infer/choice.py", "mask / count[:, None])", "mask / count.max())", WAITS + "test_the_loss_of_answers_on_a_card_is_that_on_the_cpu"),
    (TRAINING, "int(answers.max(initial=0))", "int(answers.min(initial=99))", WAITS + "test_a_run_says_how_many_tokens_its_answers_have_at_most"),
    (TRAINING, "self.model.most = longest_answer(self.columns)", "pass", WAITS + "test_a_run_says_how_many_tokens_its_answers_have_at_most"),
    (NETWORK, "argsort(dim=1, descending=True, stable=True)", "argsort(dim=1, stable=True)", ANSWERS),
    (DP, "norms, doubtful = torch.stack([norms, doubtful.to(norms.dtype)]).cpu()", "norms, doubtful = torch.stack([norms, doubtful.to(norms.dtype)])", WAITS + "test_a_private_step_waits_once_a_micro_batch"),
    (DP, "loss.double() if loss.is_cuda else float(loss)", "float(loss)", WAITS + "test_a_private_step_waits_once_a_micro_batch"),
    (DECODING, "i % ASKED == ASKED - 1)", "True)", WAITS + "test_generation_asks_a_card_seldom"),
    (NETWORK, 'return device.type != "cuda" and not (', "return not (", GPU + "test_on_a_card_positions_turn_in_halves"),
    # checkpoints
    ("w2s/train/behind.py", "self.held[name].copy_(x, non_blocking=True)", "self.held[name] = x", GPU + "test_a_checkpoint_written_behind_is_that_of_its_step"),
    ("w2s/train/behind.py", "            job.result()", "            pass", GPU + "test_what_a_thread_could_not_write_is_said_at_the_next_one"),
    (TRAINING, "            self.behind.wait()\n", "            pass\n", GPU + "test_a_run_waits_for_the_checkpoint_that_its_thread_still_writes"),
    (TRAINING, "self.states, self.behind)", "self.states)", GPU + "test_a_run_waits_for_the_checkpoint_that_its_thread_still_writes"),
    (TRAINING, "if self.cfg.save_every or self.device", "if self.device", MINUTES),
    (TRAINING, "late = not self.follows and now", "late = now", MINUTES),
    (TRAINING, "        self.saved = now\n", "", MINUTES),
    ("w2s/train/embedding_rows.py", "self.state[self.weight].update(moments)", "self.close()", GPU + "test_a_checkpoint_leaves_a_cut_embedding_where_it_is"),
    # generation in memory that stays
    (DECODING, "room = weights[0].device.type, -(-room // ROUND) * ROUND", "room = weights[0].device.type, room", STAYS),
    (NETWORK, "self.k[:, :, :k.shape[2]], self.v[:, :, :v.shape[2]] = k, v", "pass", STAYS),
    (DECODING, "self.positions.copy_(positions)", "pass", STAYS),
    (DECODING, ", *(p.data_ptr() for p in weights))", ")", RECORDED),
    (DECODING, "if bool((self.h - expected).abs().max() <= 1e-2 * expected.abs().max()):", "if True:", GPU + "test_a_graph_that_is_wrong_or_fails_is_not_used"),
    (DECODING, 'if os.environ.get("W2S_GRAPHS") != "1":', "if False:", GPU + "test_graphs_are_off_where_nobody_asks_for_them"),
    # cards that fail
    ("w2s/config.py", "if cards.says(first, cards.FULL):", "if False:", FAILED + "[train_weak-full]"),
    ("w2s/config.py", 'if first.startswith("CUDA error") or', "if", FAILED + "[label-busy]"),
]
