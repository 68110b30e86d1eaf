"""Errors in the preset real: which models are pretrained, on which text, and what a report says."""

PHASES, EXPERIMENT, BASES = "w2s/phases.py", "w2s/experiment.py", "w2s/report/bases.py"
RECIPE = "w2s/miniature/recipe.py"
TEXT = "test_real.py::test_text_is_what_lies_in_the_raw_folder_unless_it_is_named"
GIVEN = "test_real.py::test_models_that_are_given_are_not_pretrained"
QUICK = "test_real.py::test_quick_reads_less_and_has_one_seed"
SAID = "test_real.py::test_what_is_missing_is_said_at_the_start"
WHOLE = "test_real.py::test_it_pretrains_models_and_goes_on_to_the_report"
LINE = "report/test_bases.py::test_each_model_has_a_line_and_a_curve_small_to_large"
OTHERS = "report/test_bases.py::test_other_models_are_not_spoken_of"
PRECISION = "test_real.py::test_pretraining_has_the_precision_of_training"
SIZES = "test_real.py::test_a_sweep_pretrains_what_its_figures_need"
MOVED = "miniature/test_miniature.py::test_a_text_may_be_moved_and_stand_twice"
UNUSED = "miniature/test_miniature.py::test_a_text_that_cannot_be_used_is_one_line"

ERRORS = [
    (PHASES, 'if options.text or not options.raw:', 'if not options.raw:', TEXT),
    (PHASES, '.endswith((".jsonl", ".txt"))', '.endswith((".jsonl", ".txt", ".md"))', TEXT),
    (PHASES, 'larger = self.strong[1:] if any(task in TRUST for task in self.tasks) else []',
     'larger = []', TEXT),
    (PHASES, 'if not given and self.preset == "real":', 'if self.preset == "real":', GIVEN),
    (PHASES, 'return self.everything or base in self.pretrained', 'return True', GIVEN),
    (PHASES, 'if path.is_file() and path.name[0] != "."', 'if path.is_file()', TEXT),
    (PHASES, 'name = f"{preset}-quick" if options.quick else preset', 'name = preset', QUICK),
    (PHASES, '("pretrain",) if name == "dtype" else ()', '()', PRECISION),
    (PHASES, 'for run in ("*", "pretrain")]', 'for run in ("*",)]', PRECISION),
    (PHASES, 'small = self.preset != "real" or all(', 'small = self.preset != "real" or any(', GIVEN),
    ("w2s/sweep/plan.py", 'base for item in models for base in (', 'base for item in models[:1] for base in (', SIZES),
    ("w2s/runs.py", '{name.split()[0] for name in inputs}', '{*inputs}', MOVED),
    (RECIPE, 'documents = list(dict.fromkeys(\n', 'documents = list((\n', MOVED),
    (PHASES, '"--text": self.text, "--out": base.parent,',
     '"--text": self.text[:1], "--out": base.parent,', TEXT),
    (PHASES, 'if options.quick and self.preset == "real":', 'if False:', QUICK),
    (PHASES, '[:1 if options.quick else None]', '', QUICK),
    ("w2s/commands.py", 'return preset == "smoke" or options.quick', 'return preset == "smoke"', QUICK),
    (EXPERIMENT, 'for name in ("text", "quick"):', 'for name in ("text",):', SAID),
    (EXPERIMENT, 'if not options.raw and not options.data:', 'if False:', SAID),
    (EXPERIMENT, 'if any(map(plan.makes, plan.bases())) and not plan.text:', 'if False:', SAID),
    (RECIPE, 'int((cfg.passes or 1) * (len(train)', 'int(1 * (len(train)', WHOLE),
    (RECIPE, '"real-4x192": ((4, 192, 6)', '"real-4x192": ((4, 128, 4)', WHOLE),
    (RECIPE, 'if len(documents) < FEWEST:', 'if False:', UNUSED),
    (BASES, 'key=lambda item: item[1]["parameters"]', 'key=lambda item: item[0]', LINE),
    (BASES, 'return steps * about["batch_size"] * about["length"]',
     'return steps * about["batch_size"]', LINE),
    (BASES, 'point["step"] + 1', 'point["step"]', LINE),
    (BASES, 'return about if whole else None', 'return about', OTHERS),
    (BASES, 'RECORD.keys() <= rows.present(about).keys() and ', '', OTHERS),
    (BASES, 'and about["curve"] and all(', 'and all(', OTHERS),
    (BASES, 'except (OSError, ValueError):', 'except OSError:', OTHERS)]
