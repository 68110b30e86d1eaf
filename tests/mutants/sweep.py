"""Errors in the plan of a sweep, in what it uses again, and in what its runs are said to show."""

AXES, PLAN, STUDY, SAID, PICTURES, DOCUMENT, MAIN = (f"w2s/sweep/{part}.py" for part in (
    "axes", "plan", "study", "statements", "pictures", "document", "__main__"))
CODE = "w2s/code.py"
P, S, C = "sweep/test_plan.py", "sweep/test_statements.py", "test_code.py"
FIG3 = f"{P}::test_figure_3_varies_lambda_of_weak_model_student_and_ceiling_alike"
A1 = f"{P}::test_figure_a1_varies_one_thing_in_each_panel"
SIZES = f"{P}::test_figures_of_sizes"
ALPHA = f"{P}::test_figures_a7_and_a8_vary_alpha_alone"
LEFT = f"{P}::test_a_run_of_another_content_is_left_alone_and_so_are_its_students"
BAD = f"{P}::test_what_does_not_exist_is_refused"
CLOSURE = f"{C}::test_the_files_are_those_that_syntax_trees_lead_to"
CHANGED = f"{C}::test_a_comment_changes_nothing_and_a_constant_does"
CSV = f"{S}::test_sweep_csv_has_each_value_of_each_model_and_seed"
RULE = f"{S}::test_the_rule_of_a2_is_marked_on_validation_rows"

ERRORS = [
    # which models stand at a point
    (PLAN, 'regularised = {"lam": lam} if key == BOTH and not none else {"lam": 0.}', 'regularised = {"lam": lam} if not none else {"lam": 0.}', f"{P}::test_figure_a2_regularises_the_weak_model_and_not_the_student"),
    (PLAN, 'none = key == NONE or lam == 0', 'none = key == NONE', FIG3),
    (PLAN, 'return [Model("ceiling-tft", strong, lam=lam)]', 'return [Model("ceiling-tft", strong)]', FIG3),
    (PLAN, 'f_w = Model("weak-none", weak, lam=0.) if none else Model("weak-tft", weak, lam=lam)', 'f_w = Model("weak-none", weak, lam=0.) if none else Model("weak-tft", weak)', FIG3),
    (PLAN, "models[AUX] = models[NAIVE]", "pass", ALPHA),
    (PLAN, "made.calls.get(out, ", "{}.get(out, ", f"{P}::test_runs_of_the_experiment_are_used_as_they_are"),
    (PLAN, 'chosen = picture._replace(epochs=value) if axis == "epochs" else picture', "chosen = picture", A1),
    (PLAN, "end = BOTH if value else WEAK", "end = BOTH", A1),
    (PLAN, 'if task == "privacy" else self.strong[:2]', 'if task == "ood" else self.strong[:2]', SIZES),
    (PLAN, "return [(self.weak, self.largest)]", "return [(self.weak, self.strong[0])]", SIZES),
    (PLAN, "return [unregularised, *dict.fromkeys([Model", "return [*dict.fromkeys([Model", SIZES),
    (PLAN, '"EleutherAI/pythia-6.9b")}', '"EleutherAI/pythia-2.8b")}', f"{P}::test_paper_has_its_sizes"),
    (AXES, "(lambda v: -v if v else -math.inf)", "(lambda v: v)", f"{P}::test_privacy_has_epsilon_from_none_to_strict_and_no_confidence_loss"),
    (AXES, '"c": ("lam", NAIVE)', '"c": ("lam", AUX)', A1),
    # commands
    (PLAN, "if out not in self.planned:", "if True:", f"{P}::test_each_run_is_made_once_before_it_is_read"),
    (PLAN, '{"--runs": self.out, "--command": command}', '{"--runs": "elsewhere", "--command": command}', f"{P}::test_the_report_waits_for_every_run"),
    # what is made already
    (PLAN, 'and facts.get("code") == what', "", LEFT),
    (PLAN, "and runs.same_settings(filled(before, args[\"task\"]), args)", "", LEFT),
    (PLAN, 'return (facts.get("script") == script', "return (True", LEFT),
    (PLAN, "digest(source) in facts", "digest(source) not in facts", f"{P}::test_a_run_on_other_rows_is_left_alone"),
    (PLAN, "if usual and beside and fits", "if usual and fits", LEFT),
    (PLAN, "source = [self.keys[source.parent.parent], source.name]", "source = source.name", f"{P}::test_students_of_other_teachers_are_other_runs"),
    (CODE, "todo += _read(path)[1]", "pass", CLOSURE),
    (CODE, '(several or one).split(",")', "one.split(\",\")", f"{C}::test_names_in_brackets_over_several_lines_are_followed"),
    (CODE, 'not in ("", "#")', 'not in ("",)', CHANGED),
    (CODE, '"console", "runs", "config"', '"console", "config"', CHANGED),
    # bad input
    (AXES, "if axis in (\"alpha\", \"warmup\") and task not in CLASSES:", "if axis in (\"warmup\",) and task not in CLASSES:", BAD),
    (AXES, "low <= point <= high for point in points", "low <= point for point in points", BAD),
    (MAIN, "len(several) > 1 or len(*several) != 1", "len(several) > 2", BAD),
    (MAIN, "experiment.ready(sweep, bases)", "pass", f"{P}::test_missing_files_are_told_before_anything_is_made"),
    # numbers
    (STUDY, "self.choices[key] = ranked(self, names, self.select)", "self.choices[key] = None", f"{S}::test_a_ceiling_is_chosen_by_the_rule"),
    (STUDY, "return names.index(choice.run) if choice else None", "return 0 if choice else None", RULE),
    (STUDY, "yield *line, figure + point.panel, axis, point.value", "yield *line, figure, axis, point.value", f"{S}::test_panels_of_figure_a1_are_told_apart_in_sweep_csv"),
    (STUDY, 'model, "all", seed)', 'model, "all", 0)', CSV),
    (SAID, "for end in (0, -1) for step", "for end in (0,) for step", f"{S}::test_a_maximum_at_an_end_is_no_rise_and_fall"),
    (SAID, "[step for end in (0, -1) for", "[step for end in (0, 0) for", f"{S}::test_robustness_that_only_rises_to_the_maximum_is_not_seen"),
    (SAID, "(point, model) for point in reversed(points)]", "(point, model) for point in points]", f"{S}::test_task_performance_that_falls_value_by_value_is_seen"),
    (SAID, 'points = [point for point in points if point.value != "0"]', "pass", f"{S}::test_the_trend_at_every_lambda_is_of_all_values_and_students"),
    (SAID, "[(points[-1], AUX), (points[0], AUX)]", "[(points[0], AUX), (points[-1], AUX)]", f"{S}::test_alpha"),
    (SAID, "[(low, student), (high, student)], study.module.TRUST)]\n        yield", "[(high, student), (low, student)], study.module.TRUST)]\n        yield", f"{S}::test_both_regularised_against_the_weak_model_alone"),
    (SAID, "of(points, BOTH, large), \"Weak+WTS", "of(points, BOTH, small), \"Weak+WTS", f"{S}::test_a_trend_that_a_larger_weak_model_breaks"),
    (SAID, "return result if all(result) else []", "return [steps for steps in result if steps]", f"{S}::test_a_missing_run_leaves_the_claim_unmeasured_and_is_told"),
    (SAID, "rungs = ladders(study, points, metric or study.module.TRUST)\n    return claim", "rungs = ladders(study, points, study.module.TRUST)\n    return claim", f"{S}::test_two_metrics_of_fairness_are_judged_apart"),
    (PICTURES, '"picked": k == picked}', '"picked": k == 0}', RULE),
    (DOCUMENT, "if not studies[task].complete(point)})", "if False})", f"{S}::test_a_missing_run_leaves_the_claim_unmeasured_and_is_told"),
]
