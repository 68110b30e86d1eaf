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
TOGETHER = "miniature/test_miniature.py::test_arguments_that_do_not_go_together"
UNUSED = "miniature/test_miniature.py::test_a_text_that_cannot_be_used_is_one_line"

ERRORS = [
    (PHASES, 'if options.text or not options.raw:', 'if not options.raw:', TEXT),
    (PHASES, '.endswith((".jsonl", ".txt"))', '.endswith((".jsonl", ".txt", ".md"))', TEXT),
    (PHASES, 'larger = self.strong[1:] if any(task in TRUST for task in self.tasks) else []',
     'larger = []', TEXT),
    (PHASES, 'if not given and self.preset == "real":', 'if self.preset == "real":', GIVEN),
    (PHASES, 'and self.made / "models" in Path(base).parents', '', GIVEN),
    (PHASES, '{"--shape": base.name, "--text": self.text, "--out": base.parent,',
     '{"--shape": base.name, "--text": self.text[:1], "--out": base.parent,', TEXT),
    (PHASES, 'if options.quick and self.preset == "real":', 'if False:', QUICK),
    ("w2s/commands.py", 'one = self.preset == "smoke" or self.options.quick',
     'one = self.preset == "smoke"', QUICK),
    (EXPERIMENT, 'for name in ("text", "quick"):', 'for name in ("text",):', SAID),
    (EXPERIMENT, 'if not options.raw and not options.data:', 'if False:', SAID),
    (EXPERIMENT, 'if any(map(plan.makes, plan.bases())) and not plan.text:', 'if False:', SAID),
    (RECIPE, 'int((cfg.passes or 1) * (len(train)', 'int(1 * (len(train)', WHOLE),
    (RECIPE, '"real-4x192": ((4, 192, 6)', '"real-4x192": ((4, 128, 4)', WHOLE),
    (RECIPE, 'if cfg.steps and cfg.passes:', 'if False:', TOGETHER),
    (RECIPE, 'if len(documents) == 1:', 'if False:', UNUSED),
    (BASES, 'key=lambda item: item[1]["parameters"]', 'key=lambda item: item[0]', LINE),
    (BASES, 'return steps * about["batch_size"] * about["length"]',
     'return steps * about["batch_size"]', LINE),
    (BASES, 'point["step"] + 1', 'point["step"]', LINE),
    (BASES, 'whole = isinstance(points, list) and points and all(',
     'whole = isinstance(points, list) and all(', OTHERS),
    (BASES, 'except (OSError, ValueError):', 'except OSError:', OTHERS)]
