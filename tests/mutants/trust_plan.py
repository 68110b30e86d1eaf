"""Errors in the plan of trust functions (which run has whose labels, models and flags) and in its
parts: accuracy over benchmarks, budgets, zero-shot labels, states behind given answers."""

PLAN, PHASES, COMMANDS = "w2s/trust_phases.py", "w2s/phases.py", "w2s/commands.py"
BENCHMARKS, SELECTION, CHOICE = "w2s/infer/benchmarks.py", "w2s/trust/selection.py", "w2s/infer/choice.py"
SCRIPT, LABEL, TRAINING = "train_ntf.py", "label.py", "w2s/training.py"
MINIATURE = "recipes/miniature.txt"
WIRING = "test_wiring.py::test_every_command_is_the_one_of_the_tables"
MINI, PAPER = f"{WIRING}[miniature]", f"{WIRING}[paper]"
DEFAULT = "test_wiring.py::test_the_default_has_every_column_of_the_papers_table_and_trust_functions_on_ood"
GROW = "test_wiring.py::test_ceilings_may_have_the_students_rows_and_students_of_a_chain_grow"
BUDGETS = "test_wiring.py::test_budgets_have_choices_and_students_of_their_own"
CHAIN = "test_wiring.py::test_a_chain_has_as_many_generations_as_asked_and_a_twin_of_each_size"
NUMBERS = "test_experiment.py::test_budgets_are_numbers_of_rows"
RECIPES = "test_experiment.py::test_the_recipes_of_the_house_are_right[miniature.txt]"
MEAN, RUN, PICKS = "infer/test_benchmarks.py", "trust/test_train_ntf.py", "trust/test_selection.py"
BUDGET = f"{PICKS}::test_a_budget_is_drawn_from_the_positions_in_their_order"
MAY = f"{PICKS}::test_only_rows_that_may_be_chosen_are"
ZERO = f"{RUN}::test_zero_shot_labels_are_of_the_other_sources"
LARGER = f"{RUN}::test_a_larger_budget_has_the_rows_of_a_smaller_one_and_another_seed_others"
CONSTANT = f"{RUN}::test_the_trust_function_of_a_teacher_that_is_always_wrong_is_a_constant_elsewhere_too"
PUT = f"{RUN}::test_a_student_trains_on_labelled_rows_that_were_put_there_and_on_no_others"
STATES = "infer/test_choice.py::test_last_states_are_those_of_each_row_alone_and_of_its_end_where_it_is_too_long"

ERRORS = [
    # twins: the untuned student and the one on true labels, of each size
    (PLAN, 'f"base-strong{end}", base, cell.D', 'f"base-strong{end}", self.strong[0], cell.D', PAPER),
    (PLAN, 'self._size(g) != self._size(g - 1)]', 'self._size(g) != self.strong[0]]', PAPER),
    (PLAN, 'self._size(g) != self._size(g - 1)]', 'self._size(g) != self._size(g + 1)]', CHAIN),
    (PLAN, 'f"student-truth{end}", "trust-truth", base)', 'f"student-truth{end}", "trust-truth")', PAPER),
    (PLAN, 'f"student-truth{end}", "trust-truth", base)', 'f"student-truth{end}", "trust-ntf", base)', PAPER),
    (PLAN, 'for end, base in self._sizes()[1:]:', 'for end, base in self._sizes()[2:]:', PAPER),
    (PLAN, 'for by in ("ntf", "truth"):', 'for by in ("ntf",):', MINI),
    (PLAN, 'f"trust-{by}", **how)', 'f"trust-{by}")', MINI),
    (PLAN, 'if self.preset not in ("paper", "real") and not cell.seed:', 'if self.preset not in ("paper", "real"):', MINI),
    (PLAN, '"arithmetic": GRPO, "game": GRPO}', '"arithmetic": GRPO, "game": ("lora", {"lora-rank": 8})}', MINI),
    # what is chosen, of which rows
    (PLAN, '"weak-none", "ntf", **{"--features": "both"})', '"weak-none", "ntf")', PAPER),
    (PLAN, '**{"--sources": zero, "--unseen": []})', '**{"--sources": zero})', PAPER),
    (PLAN, '"labelled",\n                         **{"--sources": zero})', '"labelled")', PAPER),
    (PLAN, 'f"student-{by}-zero-shot", f"trust-{by}-zero-shot")', 'f"student-{by}-zero-shot", f"trust-{by}")', PAPER),
    (PLAN, '"trust-ntf-zero-shot", trained=False)', '"trust-ntf", trained=False)', PAPER),
    (PLAN, '"labelled", **budget)', '"labelled")', BUDGETS),
    (PLAN, '**{"--add-labelled": []}, **budget)', '**{"--add-labelled": []})', BUDGETS),
    (PLAN, '**{"--add-labelled": []}, **budget)', '**budget)', PAPER),
    (PLAN, 'f"trust-ntf{end}", "weak-none", "ntf", **budget)', 'f"trust-ntf{end}", "weak-none", "ntf")', BUDGETS),
    (PLAN, '(f"-n{n}", {"--budget": n})', '(f"-n{n}", {"--budget": self.budgets[0]})', BUDGETS),
    (PLAN, '*(("ntf",) if budget else ())', '*(() if budget else ("ntf",))', BUDGETS),
    (PLAN, 'self._student(cell, f"student-{by}{end}", f"trust-{by}{end}")', 'self._student(cell, f"student-{by}{end}", f"trust-{by}")', BUDGETS),
    (PLAN, 'return sorted({int(word) for word in words})', 'return [int(word) for word in words]', BUDGETS),
    (PLAN, 'if not word.isdecimal() or not int(word):', 'if not word.isdecimal():', NUMBERS),
    (PLAN, 'if not word.isdecimal() or not int(word):', 'if not int(word):', NUMBERS),
    (PHASES, 'self.budgets = [300] if everything else', 'self.budgets = [] if everything else', RECIPES),
    (PHASES, 'options.budgets or ("300" if preset == "miniature" else "")', '"300" if preset == "miniature" else options.budgets', BUDGETS),
    (MINIATURE, 'mcqa         student-labelled-n[0-9]* --epochs', 'mcqa         student-labelled-n* --epochs', BUDGETS),
    (MINIATURE, '*            trust-labelled-ntf* --keep          0.6', '*            trust-labelled* --keep          0.6', MINI),
    # a second teacher; easy labels first
    (PLAN, 'seed=cell.seed + SECOND_SEED)', 'seed=cell.seed)', PAPER),
    (PLAN, 'self._train(cell, "weak-second", self.weak,', 'self._train(cell, "weak-second", self.strong[0],', PAPER),
    (PLAN, '"--second": cell.R / "weak-second"', '"--second": cell.R / "weak-none"', PAPER),
    (PHASES, 'self._labels(cell, ["weak-second"], ["wts"])', 'self._labels(cell, ["weak-second"], ["trust"])', PAPER),
    (PLAN, '"student-ntf-easy", "trust-ntf", order="easy")', '"student-ntf-easy", "trust-ntf")', PAPER),
    (PLAN, '"student-ntf-easy", "trust-ntf", order="easy")', '"student-ntf-easy", "weak-none", order="easy")', PAPER),
    # the chain
    (PHASES, 'range(2, 1 + (MOST if everything', 'range(2, (MOST if everything', CHAIN),
    (PHASES, 'range(2, 1 + (MOST if everything', 'range(2, 2 + (MOST if everything', CHAIN),
    (COMMANDS, 'else f"student-gen{generation - 1}{end}"', 'else f"student-gen{generation - 1}"', PAPER),
    (COMMANDS, 'else f"student-gen{generation - 1}{end}"', 'else f"student-gen{generation}{end}"', CHAIN),
    (PLAN, 'if not end or generation > 2:  #', 'if not end:  #', PAPER),
    (PLAN, 'hidden=not end)', 'hidden=True)', PAPER),
    (PLAN, '"--run": cell.R / "weak-none", "--given": [],', '"--run": cell.R / student, "--given": [],', PAPER),
    (PLAN, '"--run": cell.R / "weak-none", "--given": [],', '"--run": cell.R / "weak-none",', PAPER),
    (PLAN, '"--data": cell.R / student / "labels" / "wts.jsonl", "--hidden": []', '"--data": cell.D / "wts.jsonl", "--hidden": []', PAPER),
    (PLAN, '"-same-tau") if generation == 2 or self.every else', '"-same-tau") if self.every else', DEFAULT),
    (PLAN, '"-same-tau") if generation == 2 or self.every else', '"-same-tau") if generation else', DEFAULT),
    (PLAN, 'pool=f"{student}-wts", **{"--ntf": cell.R / "trust-ntf"})', 'pool=f"{student}-wts")', PAPER),
    (PLAN, 'pool=f"{student}-wts", **{"--ntf": cell.R / "trust-ntf"})', '**{"--ntf": cell.R / "trust-ntf"})', PAPER),
    (PLAN, '**{"--ntf": cell.R / "trust-ntf"})', '**{"--ntf": cell.R / f"trust-gen{generation}"})', PAPER),
    (PLAN, 'f"trust-gen{generation}{end}", "weak-none", "ntf"', 'f"trust-gen{generation}{end}", student, "ntf"', PAPER),
    (PLAN, 'file=f"{student}-wts" if end else "wts")', 'file="wts")', PAPER),
    (PLAN, 'self._size(generation), file=', 'self._size(generation - 1), file=', PAPER),
    (PLAN, 'self._size(generation), file=', 'self._size(generation + 1), file=', GROW),

    # accuracy is the mean over benchmarks
    (BENCHMARKS, '    return {"acc": np.divide(', '    return {"acc": right.sum(-1) / count.sum(-1)} or {"acc": np.divide(',
     f"{MEAN}::test_a_small_benchmark_weighs_as_much_as_a_large_one"),
    (BENCHMARKS, 'present = (count > 0).sum(-1)', 'present = np.full(count.shape[:-1], count.shape[-1])',
     f"{MEAN}::test_a_draw_without_a_source_is_the_mean_of_the_others_and_an_empty_one_is_nan"),
    (BENCHMARKS, 'np.full_like(shares, np.nan)', 'np.zeros_like(shares)',
     f"{MEAN}::test_a_draw_without_a_source_is_the_mean_of_the_others_and_an_empty_one_is_nan"),
    (BENCHMARKS, 'np.stack([inside, inside * np.asarray(right, float)[:, None]], -1)', 'np.stack([inside * np.asarray(right, float)[:, None], inside], -1)',
     f"{MEAN}::test_a_small_benchmark_weighs_as_much_as_a_large_one"),
    (BENCHMARKS, '[values[place == name].mean() for name in names]', 'values[np.isin(place, names)]',
     f"{MEAN}::test_each_is_shown_and_all_is_their_mean"),
    (BENCHMARKS, 'if len(parts["all"]) > 1:', 'if parts["all"]:',
     f"{MEAN}::test_one_source_has_no_line_of_its_own"),
    (BENCHMARKS, 'if name not in ("all", "")}', 'if name != "all"}',
     f"{MEAN}::test_one_source_has_no_line_of_its_own"),

    # budgets, zero-shot labels, rows beside the chosen ones
    (SELECTION, 'seed_of(seed, "budget")', 'seed_of(seed, f"budget {budget}")', BUDGET),
    (SELECTION, 'seed_of(seed, "budget")', 'seed_of(0, "budget")', BUDGET),
    (SELECTION, 'sorted(draw.permutation(positions)[:budget].tolist())', 'positions[:budget]', BUDGET),
    (SELECTION, 'sorted(draw.permutation(positions)[:budget].tolist())', 'draw.permutation(positions)[:budget].tolist()', BUDGET),
    (SELECTION, 'draw.permutation(positions)[:budget]', 'draw.permutation(len(positions))[:budget]', BUDGET),
    (SELECTION, 'if budget > len(positions):', 'if budget > len(positions) + 1:', f"{RUN}::test_budgets_that_cannot_be_are_one_line"),
    (SELECTION, 'row.get("source", "") not in sources for row in pool]', 'row.get("source", "") in sources for row in pool]',
     f"{PICKS}::test_rows_of_sources_that_it_has_not_learned_from"),
    (SELECTION, 'return rest[pick(', 'return np.arange(len(rest))[pick(', MAY),
    (SELECTION, 'classes and [classes[i] for i in rest]', 'classes', MAY),
    (SELECTION, 'for i in rest],\n                         least)]', 'for i in rest])]', MAY),
    (SELECTION, 'rest[pick(np.asarray(score)[rest], n,', 'rest[pick(np.asarray(score)[:len(rest)], n,', ZERO),
    (SCRIPT, 'len(pool) if may is None else int(may.sum()))', 'len(pool))', ZERO),
    (SCRIPT, 'if cfg.ntf and model:', 'if False:', ZERO),
    (SCRIPT, '[selection.with_truth(row) | {"selection": "labelled"} for row in more.used]', '[row | {"selection": "labelled"} for row in more.used]', LARGER),
    (SCRIPT, 'used, model, facts, raw = [labelled[i] for i in positions], None, {}, None', 'used, model, facts, raw = labelled, None, {}, None', LARGER),
    (SCRIPT, 'rows.write(labels, [*trusted, *added])', 'rows.write(labels, trusted)',
     f"{RUN}::test_labelled_rows_may_be_of_some_sources_and_stand_beside_the_chosen"),
    (SCRIPT, '(cfg.add_labelled or cfg.select == "labelled") and learned != name', 'cfg.add_labelled and learned != name',
     f"{RUN}::test_labelled_rows_of_another_task_are_no_rows_for_a_student"),
    (SCRIPT, '(cfg.add_labelled or cfg.select == "labelled") and learned != name', 'cfg.select == "labelled" and learned != name',
     f"{RUN}::test_labelled_rows_of_another_task_are_no_rows_for_a_student"),
    (SCRIPT, '("ntf.safetensors" if constant is None else "trust.json")', '"ntf.safetensors"', CONSTANT),
    (SCRIPT, 'np.full(len(pool), constant), None', 'np.ones(len(pool)), None', CONSTANT),
    (TRAINING, 'row["split"] == "trust" and row.get("truth") is True):', 'row["split"] == "trust"):', PUT),
    (TRAINING, 'row["split"] == "trust" and row.get("truth") is True):', 'row["split"] == "val" and row.get("truth") is True):', PUT),

    # given answers: they stay, and their states are read
    (LABEL, 'labelled, hidden, about = (\n            data, choice', '''labelled, hidden, about = (
            task.label(model, tokenizer, data, task.encode(data, tokenizer, args["max_length"], **runs.encoding(task, args)),
                       cfg)[0], choice''', f"{RUN}::test_given_answers_that_differ_have_other_states"),
    (LABEL, 'baselines.encode(tokenizer, task, data, args)} if', 'task.encode(data, tokenizer, args["max_length"], **runs.encoding(task, args))["ids"]} if',
     f"{RUN}::test_given_answers_that_differ_have_other_states"),
    (LABEL, 'return f"{Path(path).resolve().parent.parent.name}-{name}" if given else name', 'return name',
     f"{RUN}::test_given_answers_stay_and_their_states_are_read_anew"),
    (LABEL, 'if cfg.given and (not cfg.hidden or task.KIND == "class"):', 'if cfg.given and not cfg.hidden:',
     f"{RUN}::test_given_without_states_or_words_is_one_line"),
    (LABEL, 'if cfg.given and (not cfg.hidden or task.KIND == "class"):', 'if cfg.given and task.KIND == "class":',
     f"{RUN}::test_given_without_states_or_words_is_one_line"),
    (CHOICE, 'model.last_state(batch["ids"], batch["len"])', 'model.last_state(batch["ids"], batch["len"] * 0 + 1)', STATES),
    (CHOICE, 'model.last_state(batch["ids"], batch["len"])', 'model.last_state(batch["ids"], (batch["len"] - 1).clamp(min=1))', STATES),
    (CHOICE, 'ids = [row[-model.positions:] for row in ids]', 'ids = [row[:model.positions] for row in ids]', STATES),
    (CHOICE, '        hidden[pick] = h.float().cpu().numpy()\n', '        hidden[np.sort(pick)] = h.float().cpu().numpy()\n', STATES),
]
