"""Errors in the wiring of the experiment (which run trains which model on which rows) and in the
numbers that are reported: metrics, statistics, headlines, claims, tables and figures."""

PHASES, RECIPES, EXPERIMENT = "w2s/phases.py", "w2s/recipes.py", "w2s/experiment.py"
POOL = "w2s/pool.py"
WIRING = "test_wiring.py::test_every_command_is_the_one_of_the_tables"
MINI, PAPER, SMOKE, PRINTED = (f"{WIRING}[{name}]" for name in (
    "miniature", "paper", "smoke", "printed"))
ORDER = "test_wiring.py::test_what_a_command_reads_was_made_by_one_that_it_waits_for[miniature]"
DEFAULT = "test_wiring.py::test_without_all_the_trust_functions_are_tried_on_ood_and_in_four_ways"
OPTION = "test_wiring.py::test_an_option_reaches_its_scripts_and_no_other"
GROW = "test_wiring.py::test_ceilings_may_have_the_students_rows_and_students_of_a_chain_grow"
BF16 = "test_wiring.py::test_training_is_in_bfloat16_where_that_is_fast_and_measuring_never"

ERRORS = [
    # section 3.2: the strategies
    (PHASES, 'self._train(cell, "weak-none", self.weak, rows, lam=0)', 'self._train(cell, "weak-none", self.weak, rows)', PAPER),
    (PHASES, 'self._train(cell, "weak-tft", self.weak, rows)', 'self._train(cell, "weak-tft", self.weak, rows, lam=0)', PAPER),
    (PHASES, 'self._train(cell, "weak-tft", self.weak, rows)', 'self._train(cell, "weak-tft", self.strong[0], rows)', PAPER),
    (PHASES, 'f"weak-lam-{lam:g}", self.weak, rows, lam=lam)', 'f"weak-lam-{lam:g}", self.weak, rows)', PAPER),
    (PHASES, '"weak-none", lam=0, **alpha)   # No TFT', '"weak-none", **alpha)   # No TFT', PAPER),
    (PHASES, '"weak-none", lam=0, **alpha)   # No TFT', '"weak-tft", lam=0, **alpha)   # No TFT', PAPER),
    (PHASES, '"weak-tft", lam=0, **alpha)    # Weak TFT', '"weak-none", lam=0, **alpha)    # Weak TFT', PAPER),
    (PHASES, '"weak-tft", lam=0, **alpha)    # Weak TFT', '"weak-tft", **alpha)    # Weak TFT', PAPER),
    (PHASES, '"weak-tft", **alpha)       # Weak+WTS TFT', '"weak-none", **alpha)       # Weak+WTS TFT', PAPER),
    (PHASES, '"weak-tft", **alpha)       # Weak+WTS TFT', '"weak-tft", lam=0, **alpha)       # Weak+WTS TFT', PAPER),
    (PHASES, '{"naive": {"alpha": 0}, "aux": {}}', '{"naive": {"alpha": 0}, "aux": {"alpha": 0}}', PAPER),
    (PHASES, '{"naive": {"alpha": 0}, "aux": {}}', '{"naive": {}, "aux": {"alpha": 0}}', PAPER),
    (PHASES, '"weak-tft", lam=lam, alpha=0)', '"weak-none", lam=lam, alpha=0)', PAPER),
    (PHASES, '"weak-tft", lam=lam, alpha=0)', '"weak-tft", lam=lam)', PAPER),
    (PHASES, 'if cell.task == "privacy":  # text has', 'if cell.task == "fairness":  # text has', PAPER),
    (PHASES, '"base-weak", self.weak, rows, lam=0, epochs=0)', '"base-weak", self.strong[0], rows, lam=0, epochs=0)', PAPER),
    (PHASES, '"base-weak", self.weak, rows, lam=0, epochs=0)', '"base-weak", self.weak, rows, lam=0)', PAPER),
    (PHASES, '"base-strong", strong, rows, lam=0, epochs=0)', '"base-strong", self.weak, rows, lam=0, epochs=0)', PAPER),
    # section 4: ceilings
    (PHASES, 'rows, strong = cell.D / f"{self.options.ceiling_data}.jsonl", self.strong[0]', 'rows, strong = cell.D / "wts.jsonl", self.strong[0]', PAPER),
    (PHASES, 'rows, strong = cell.D / f"{self.options.ceiling_data}.jsonl", self.strong[0]', 'rows, strong = cell.D / "weak.jsonl", self.strong[0]', GROW),
    (PHASES, 'rows, strong = cell.D / f"{self.options.ceiling_data}.jsonl", self.strong[0]', 'rows, strong = cell.D / f"{self.options.ceiling_data}.jsonl", self.strong[-1]', GROW),
    (PHASES, '"ceiling-none", strong, rows, lam=0)', '"ceiling-none", strong, rows)', PAPER),
    (PHASES, 'self._train(cell, "ceiling-tft", strong, rows)', 'self._train(cell, "ceiling-tft", strong, rows, lam=0)', PAPER),
    (PHASES, 'for lam in self._grid(cell, "ceiling-tft"):', 'for lam in self._grid(cell, "weak-tft"):', PAPER),
    (PHASES, 'for lam in self._grid(cell, "student-naive-both"):', 'for lam in self._grid(cell, "weak-tft"):', MINI),
    (PHASES, 'if not mine or float(mine[1]) != lam]', ']', MINI),
    # seeds, splits, rows
    (PHASES, '"--task": cell.task, "--seed": cell.seed, "--out": cell.R / run, "--model": base,', '"--task": cell.task, "--seed": 0, "--out": cell.R / run, "--model": base,', PAPER),
    (PHASES, '"--task": cell.task, "--seed": cell.seed, "--out": cell.R / run,\n            "--model": base or', '"--task": cell.task, "--seed": 0, "--out": cell.R / run,\n            "--model": base or', PAPER),
    (PHASES, '"--out": cell.R / run, "--seed": cell.seed,', '"--out": cell.R / run, "--seed": 0,', PAPER),
    (PHASES, 'seed = cell.seed if self.split_seed is None else self.split_seed', 'seed = self.split_seed or 0', PAPER),
    (PHASES, 'D = D / f"seed{seed}"\n', 'D = D / "seed0"\n', PAPER),
    (PHASES, 'for seed in range(seeds)]', 'for seed in range(1, seeds + 1)]', PAPER),
    (PHASES, 'if cell.seed and self.split_seed is not None:', 'if cell.seed:', PAPER),
    (PHASES, '0 if preset == "smoke" and not options.resplit else None)', '0 if preset != "paper" and not options.resplit else None)', MINI),
    (PHASES, '0 if preset == "smoke" and not options.resplit else None)', '0 if preset == "smoke" else None)', "test_wiring.py::test_smoke_may_split_anew_for_every_seed"),
    (PHASES, 'self.options.limit or (240 if self.preset == "smoke" else None)', '240 if self.preset == "smoke" else None', f"{OPTION}[asked2-scripts2-limit-77]"),
    (PHASES, 'self._labels(cell, ["weak-none", "weak-tft"], ["wts", "trust"], hidden=True)', 'self._labels(cell, ["weak-none", "weak-tft"], ["wts", "trust"])', PAPER),
    (PHASES, 'self._labels(cell, ["weak-none", "weak-tft"], ["wts"])', 'self._labels(cell, ["weak-none", "weak-tft"], ["weak"])', PRINTED),
    (PHASES, 'self._labels(cell, ["weak-none", "weak-tft"], ["wts"])', 'self._labels(cell, ["weak-none"], ["wts"])', PRINTED),
    (PHASES, '"--labels": cell.R / teacher / "labels" / "wts.jsonl"', '"--labels": cell.R / teacher / "labels" / "trust.jsonl"', PAPER),
    (PHASES, 'and (task == "ood" or self.every) and options.protocol == "ours"]', 'and (task == "ood" or self.every)]', PRINTED),
    (PHASES, 'and (task == "ood" or self.every) and options.protocol == "ours"]', 'and options.protocol == "ours"]', DEFAULT),
    (PHASES, '{"--trust": 0.1} if cell.task in self.crossed else {})', '{"--trust": 0.1})', PRINTED),
    # trust functions
    (PHASES, 'self._train(cell, "weak-none", self.weak, cell.D / "weak.jsonl")', 'self._train(cell, "weak-none", self.strong[0], cell.D / "weak.jsonl")', PAPER),
    (PHASES, 'self._train(cell, "base-strong", self.strong[0], cell.D / "weak.jsonl", epochs=0)', 'self._train(cell, "base-strong", self.strong[0], cell.D / "weak.jsonl")', PAPER),
    (PHASES, 'self._student(cell, "student-all", "weak-none")', 'self._student(cell, "student-all", "trust-truth")', PAPER),
    (PHASES, 'self._student(cell, f"student-{by}", f"trust-{by}")', 'self._student(cell, f"student-{by}", "trust-ntf")', PAPER),
    (PHASES, '"--select": by, **own})', '"--select": "ntf", **own})', PAPER),
    (PHASES, '"student-lora", "trust-ntf"', '"student-lora", "weak-none"', PAPER),
    (PHASES, '"--pool": labels / "wts.jsonl"', '"--pool": labels / "trust.jsonl"', PAPER),
    (PHASES, 'labels = cell.R / teacher / "labels"\n', 'labels = cell.R / "weak-none" / "labels"\n', PAPER),
    (PHASES, '"--teacher": cell.R / teacher', '"--teacher": cell.R / "weak-none"', PAPER),
    (PHASES, '"ntf", learned="mcqa-trust")', '"ntf")', PAPER),
    (PHASES, '{"miniature": "people", "paper": "mmlu"}', '{"miniature": "people", "paper": "arc"}', PAPER),
    (PHASES, '(self.preset != "paper" or has_mmlu(self.raw))', 'has_mmlu(self.raw)', MINI),
    (PHASES, 'SCORES = ("confidence", "random", "ntf", "truth")', 'SCORES = ("confidence", "random", "ntf", "truth-n")', DEFAULT),
    (PHASES, 'return "student-ntf" if generation == 2 else f"student-gen{generation - 1}"', 'return "student-ntf"', PAPER),
    (PHASES, 'return "student-ntf" if generation == 2 else f"student-gen{generation - 1}"', 'return "student-all" if generation == 2 else f"student-gen{generation - 1}"', PAPER),
    (PHASES, 'self.strong[min(generation - 1, len(self.strong) - 1)]', 'self.strong[min(generation - 2, len(self.strong) - 1)]', GROW),
    (PHASES, 'self.strong[min(generation - 1, len(self.strong) - 1)]', 'self.strong[-1]', GROW),
    (PHASES, 'f"student-gen{generation}", f"trust-gen{generation}", size)', 'f"student-gen{generation}", f"trust-gen{generation}")', GROW),
    (PHASES, 'f"trust-gen{generation}", before(generation), "ntf")', 'f"trust-gen{generation}", "weak-none", "ntf")', PAPER),
    (PHASES, 'self._labels(cell, [before(generation)], ["wts", "trust"], hidden=True)', 'self._labels(cell, [before(generation)], ["wts"], hidden=True)', PAPER),
    (PHASES, 'f"trust-ntf-{teacher}", f"weak-{teacher}", "ntf")', 'f"trust-ntf-{teacher}", "weak-none", "ntf")', PAPER),
    (PHASES, '"student-naive-weak-ntf", "trust-ntf-tft", lam=0, alpha=0)', '"student-naive-weak-ntf", "trust-ntf-none", lam=0, alpha=0)', PAPER),
    (PHASES, '"student-naive-both-ntf", "trust-ntf-tft", alpha=0)', '"student-naive-both-ntf", "trust-ntf-tft", lam=0, alpha=0)', PAPER),
    (PHASES, '"student-naive-both-ntf", "trust-ntf-tft", alpha=0)', '"student-naive-both-ntf", "trust-ntf-tft")', PAPER),
    # measurements
    (PHASES, '["test", "val"] if self.has_validation(cell) else ["test"])', '["test", "val"])', PRINTED),
    (PHASES, '["test", "val"] if self.has_validation(cell) else ["test"])', '["test"])', PAPER),
    (PHASES, 'chosen_among += ["student-naive-weak", "student-naive-both", *grids["student-naive"]]', 'chosen_among += ["student-naive-none", "student-naive-both", *grids["student-naive"]]', PAPER),
    (PHASES, 'chosen_among += ["weak-none", "weak-tft", *grids["weak"]]', 'chosen_among += ["weak-tft", *grids["weak"]]', PAPER),
    (PHASES, 'for kind in ("naive", "aux")\n                                for key in ("none", "weak", "both")]', 'for kind in ("naive", "aux")\n                                for key in ("none", "both")]', PAPER),
    (PHASES, '*self._runs(cell, "weak-tft"), *students, *controls]', '*self._runs(cell, "weak-tft"), *students]', PAPER),
    (PHASES, '"base-strong"]), ("weak", [*groups[2][1], "base-weak"])]', '"base-strong"]), ("weak", groups[2][1])]', PAPER),
    (PHASES, 'for part in ("weak", "wts", "test")]', 'for part in ("weak", "wts")]', PAPER),
    (PHASES, 'and step.own["--out"].parent == cell.R]', ']', PAPER),
    (PHASES, '{"--limit": self.options.attack_limit} if', '{} if', f"{OPTION}[asked3-scripts3-limit-9]"),
    (PHASES, '**({"--select": self.options.select} if self.options.select else {}),', '', f"{OPTION}[asked5-scripts5-select-test]"),
    (PHASES, 'float(words[words.index("--val") + 1]) > 0', 'float(words[words.index("--val") + 1]) >= 0', PRINTED),
    # the town's perturbed texts
    (PHASES, 'SURROGATE_SEED = 1000', 'SURROGATE_SEED = 0', MINI),
    (PHASES, 'bases = {"independent": self.surrogate, "weak": self.weak,', 'bases = {"independent": self.weak, "weak": self.weak,', MINI),
    (PHASES, '("remarks", "remarked", ["distraction"])', '("remarks", "victims", ["distraction"])', MINI),
    (PHASES, '"--data": world / "clean.jsonl", "--lam": 0}', '"--data": world / "clean.jsonl"}', MINI),
    (PHASES, '"--seed": self.options.town or 0})', '"--seed": 0})', f"{OPTION}[asked4-scripts4-seed-5]"),
    # the order
    (PHASES, '''        self._over(trusted, self._choices)
            self._over(crossed, self._crossed_choices)

        self.phase = "students on weak labels"
        self._over(properties, self._students)
        self._over(trusted, self._trusted_students)
''', '''        self._over(trusted, self._trusted_students)
            self._over(crossed, self._crossed_choices)

        self.phase = "students on weak labels"
        self._over(properties, self._students)
        self._over(trusted, self._choices)
''', ORDER),
    (PHASES, 'for generation in (2, 3) if trusted else ():', 'for generation in (3, 2) if trusted else ():', ORDER),
    (PHASES, 'for part in (self._relabel, self._rechoose, self._restudy):', 'for part in (self._rechoose, self._relabel, self._restudy):', ORDER),
    # recipes
    (PHASES, '*(INFERENCE if name == "device" else ())', '', "test_wiring.py::test_a_device_reaches_every_command_that_runs_a_model"),
    (PHASES, 'recipes.Line("machine", "*", "*", "--dtype", ("bfloat16",))', 'recipes.Line("machine", "*", "weak", "--dtype", ("bfloat16",))', BF16),
    (PHASES, '        if fast_bfloat16():  # of', '        if True:  # of', MINI),
    (PHASES, '''        if options.protocol == "printed":
            lines += recipes.read(recipes.HOME / "printed.txt")
        lines += recipes.read(recipes.HOME / f"{self.preset}.txt")
''', '''        lines += recipes.read(recipes.HOME / f"{self.preset}.txt")
        if options.protocol == "printed":
            lines += recipes.read(recipes.HOME / "printed.txt")
''', "test_wiring.py::test_the_protocol_goes_before_the_preset"),
    (RECIPES, '        known.add(line.flag)\n', '', MINI),
    (RECIPES, 'or (self.run == "*" and not trained)', '', MINI),
    (RECIPES, 'names = ROLES.get(self.run, (self.run,)) if trained else (self.run,)', 'names = (self.run,)', MINI),
    (RECIPES, '"weak": ("weak", "weak-*")', '"weak": ("weak", "weak-tft")', MINI),
    (RECIPES, '"strong": ("ceiling-*", "student-*", "base-strong")', '"strong": ("ceiling-*", "student-*", "base-weak")', "test_wiring.py::test_the_roles_of_a_recipe"),
    (RECIPES, '"student": ("student-*",)', '"student": ("student-naive-*",)', MINI),
    (RECIPES, 'known, taken = [], {*step.own} | {GRID}', 'known, taken = [], {GRID}', MINI),
    (RECIPES, 'for name in names)\n', 'for name in names[:1])\n', MINI),
    (RECIPES, 'if self.task not in ("*", task) or', 'if', PAPER),
    (RECIPES, 'elif line.values != ("no",):', 'else:', "test_wiring.py::test_a_flag_without_a_value_may_be_refused_by_an_earlier_line"),
    ("recipes/miniature.txt", 'fairness     weak               --lam           0.5', 'fairness     weak-tft           --lam           1.5', MINI),
    ("recipes/miniature.txt", 'fairness     *-ntf              --epochs        4\n', '', MINI),
    ("recipes/miniature.txt", 'privacy      weak-tft           --lr            1\n', '', MINI),
    ("recipes/miniature.txt", 'mcqa         student-truth      --epochs        2.4\n', '', MINI),
    ("recipes/miniature.txt", 'privacy      *-both             --optimizer     sgd\n', '', MINI),
    ("recipes/miniature.txt", 'game         trust-[!t]*        --keep          0.6', 'game         trust-*            --keep          0.6', MINI),
    ("recipes/paper.txt", 'grid          0.1 0.5 0.7', 'grid          0.1 0.3 0.5', PAPER),
    ("recipes/printed.txt", 'adversarial  student-aux-*      --alpha            0.1', 'adversarial  student-aux-*      --alpha            0.2', PRINTED),
    ("recipes/printed.txt", 'ood          data               --val-from         weak\n', '', PRINTED),
    ("recipes/printed.txt", 'privacy      ceiling-lam-*      --optimizer        sgd\n', '', "test_wiring.py::test_privacys_grid_of_ceilings_is_private_sgd"),
]
