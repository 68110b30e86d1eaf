"""Errors in what the report says of trust functions: the paper's numbers, twins, claims, names."""

RESULTS, NAMES, CLAIMS, TABLES, GLANCE = (f"w2s/report/trust_{part}.py"
                                          for part in ("results", "names", "claims", "tables", "glance"))
TESTS, BY_HAND = "report/test_trust_results.py", "report/test_trust_claims.py"
LADDER = f"{TESTS}::test_the_verdicts_of_a_clean_ladder"
PAGE = f"{TESTS}::test_a_tree_of_trust_functions_alone_is_a_report"
TWINS = f"{TESTS}::test_recovery_is_that_of_the_same_model_trained_in_the_same_way"
KEYS = f"{TESTS}::test_no_two_lines_of_results_csv_are_of_the_same_number"
MARGIN = f"{TESTS}::test_near_lossless_is_an_interval_that_holds_0_within_the_margin"
LABELLED = f"{BY_HAND}::test_labelled_rows_are_compared_with_the_labels_that_they_taught_to_trust"
CHAIN = f"{BY_HAND}::test_the_chain_with_the_first_trust_function_and_labels_chosen_zero_shot"
ELSEWHERE = f"{BY_HAND}::test_the_auc_elsewhere_is_held_against_table_1_and_against_that_at_home"
ROWS = f"{BY_HAND}::test_students_have_the_labels_of_their_own_choice_and_the_chain_its_own_generations"
BENCHMARKS = f"{BY_HAND}::test_every_benchmark_has_a_line_and_the_table_shows_their_mean"
ORDER = f"{BY_HAND}::test_names_stand_as_scores_generations_budgets_and_other_training"
WHOSE = f"{BY_HAND}::test_whose_labels_a_student_has_and_which_are_by_a_score"
CSV = f"{BY_HAND}::test_names_in_results"

ERRORS = [
    # the paper's numbers: 78.4 is the reward model's
    (CLAIMS, '(78.4, 62.2), (80.9, 95.9)', '(80.9, 62.2), (78.4, 95.9)', LADDER),
    (CLAIMS, '(77.9, 55.4), (78.4, 62.2)', '(78.4, 62.2), (77.9, 55.4)', PAGE),
    (CLAIMS, '(75.0, 103.5), (74.8, 100)', '(74.8, 100), (75.0, 103.5)', PAGE),
    (CLAIMS, '("all", "confidence", "icl-confidence", "reward", "ntf", "truth")', '("confidence", "all", "icl-confidence", "reward", "ntf", "truth")', LADDER),
    (CLAIMS, '(.92, .03, .07, .98)', '(.92, .07, .03, .98)', PAGE),
    (CLAIMS, '(.83, .11, .13, .69)', '(.83, .11, .13, .95)', PAGE),
    (CLAIMS, '(.84, .14, .17, .95)', '(.84, .11, .13, .95)', PAGE),
    (CLAIMS, 'LOWEST_AUC = min(', 'LOWEST_AUC = max(', LADDER),
    (CLAIMS, 'if is_main and by in RIVALS else ""', 'if is_main else ""', LADDER),
    # twins: the same model, trained in the same way
    (RESULTS, 'args.get("lora_rank") or 0', '0', TWINS),
    (RESULTS, 'args.get("objective") or "sft"', '"sft"', f"{TESTS}::test_a_student_without_its_twin_has_no_recovery"),
    (RESULTS, 'and self.training(name)[:1] == how[:1]]', 'and self.training(name)]', TWINS),
    (RESULTS, 'and self.training(name)[:1] == how[:1]]', 'and self.training(name) == how]', TWINS),
    (RESULTS, '"student-truth(-(?!n$).+)?"', '"student-truth(-.+)?"', f"{TESTS}::test_recovery_and_pgr_are_those_of_the_means_with_intervals"),
    (RESULTS, 'and self.training(name) == how]', 'and self.training(name)[:1] == how[:1]]', TWINS),
    (RESULTS, 'name.startswith("student-") and name != ceiling', 'name.startswith("student-") and name != "student-truth"', TWINS),
    (RESULTS, 'for part in (untuned, "weak-none",', 'for part in ("base-strong", "weak-none",', TWINS),
    (RESULTS, 'f"student-gen{before}{match[2]}" if before > 1', 'f"student-gen{before}" if before > 1', KEYS),
    (RESULTS, 'f"ntf{match[2] or \'\'}"', '"ntf"', KEYS),
    # near-lossless
    (CLAIMS, 'if -margin < low and high < margin', 'if high < margin', MARGIN),
    (CLAIMS, 'if -margin < low and high < margin', 'if -margin < low', MARGIN),
    (CLAIMS, 'if -margin < low and high < margin', 'if -margin <= low and high < margin', MARGIN),
    (CLAIMS, 'if low > 0 or high < 0:', 'if low >= 0 or high <= 0:', MARGIN),
    (CLAIMS, 'if low > 0 or high < 0:', 'if low > margin or high < -margin:', MARGIN),
    (CLAIMS, 'return "above" if low > 0 else "below"', 'return "below" if low > 0 else "above"', MARGIN),
    (CLAIMS, '"above": "seen", "below": "reversed"', '"above": "reversed", "below": "reversed"', f"{BY_HAND}::test_a_student_above_truth_counts_as_near_lossless"),
    (CLAIMS, 'return NO_GAP if recovery and recovery["doubtful"] else', 'return NO_GAP if not recovery else', f"{TESTS}::test_a_recovery_without_a_gap_is_flagged_and_not_judged"),
    (CLAIMS, 'steps = study.steps([part("student-truth"), part("student-ntf")], study.module.TASK)\n    state = ', 'steps = study.steps([part("student-ntf"), part("student-truth")], study.module.TASK)\n    state = ', LADDER),
    (CLAIMS, 'steps = study.steps([part("student-truth"), part("student-ntf")], study.module.TASK)\n    if not', 'steps = study.steps([part("student-ntf"), part("student-truth")], study.module.TASK)\n    if not', BENCHMARKS),
    # labelled rows, the chain, zero-shot, other regimes
    (CLAIMS, '[part(alone), part(ntf)]', '[part(ntf), part(alone)]', LABELLED),
    (CLAIMS, '[part(alone), part(both)]', '[part(ntf), part(both)]', LABELLED),
    (CLAIMS, '[part("student-labelled-zero-shot"), part("student-ntf-zero-shot")]', '[part("student-labelled"), part("student-ntf-zero-shot")]', LABELLED),
    (CLAIMS, '{end}" for way in ("labelled", "ntf", "labelled-ntf"))', '{end}" for way in ("labelled", "labelled-ntf", "ntf"))', LABELLED),
    (CLAIMS, 'f"student-{way}{end}" for way', 'f"student-{way}" for way', LABELLED),
    (CLAIMS, 'for size in sorted(sizes))]', 'for size in sorted(sizes, reverse=True))]', LABELLED),
    (CLAIMS, 'for size in sorted(sizes))]', 'for size in sorted(map(str, sizes)))]', LABELLED),
    (GLANCE, 'for end in [*budgets(study)[1:], ""]:', 'for end in budgets(study):', KEYS),
    (GLANCE, 'for way in ("labelled", "ntf", "labelled-ntf")', 'for way in ("labelled", "labelled-ntf", "ntf")', KEYS),
    (CLAIMS, '[part("student-all"), part("student-ntf-zero-shot")]', '[part("student-all"), part("student-ntf")]', CHAIN),
    (CLAIMS, '[part("student-all"), part("student-ntf-zero-shot")]', '[part("student-ntf-zero-shot"), part("student-all")]', CHAIN),
    (CLAIMS, '[part("student-ntf"), part(f"student-{same}")]', '[part("student-gen2"), part(f"student-{same}")]', CHAIN),
    (CLAIMS, 'part(f"trust-{same}")], "purity")', 'part(f"trust-{same}")], "auc")', CHAIN),
    (CLAIMS, '[part(name), part("trust-ntf")], "auc")', '[part("trust-ntf"), part(name)], "auc")', ELSEWHERE),
    (CLAIMS, '*level(study, name, metric, LOWEST_AUC))', '*level(study, name, "auc", LOWEST_AUC))', ELSEWHERE),
    (CLAIMS, 'enumerate(itertools.pairwise(chain), 2)', 'enumerate(itertools.pairwise(chain), 1)', LADDER),
    (CLAIMS, '"means": [value, value + float(change.mean())]', '"means": [value, float(change.mean())]', f"{BY_HAND}::test_a_step_from_a_value"),
    (CLAIMS, 'joint[1][0] - value\n', 'joint[1][0]\n', f"{BY_HAND}::test_a_step_from_a_value"),
    # tables
    (TABLES, 'for way, before in zip(same, ["ntf", *same])]', 'for way, before in zip(same, ["all", *same])]', ROWS),
    (TABLES, 'zip(\n        study.chain, [None, *study.chain])]', 'zip(\n        study.chain, [None, *study.chain[1:], None])]', ROWS),
    (TABLES, '"the first" if "same" in way else "anew"', '"anew" if "same" in way else "the first"', ROWS),
    (TABLES, 'for metric in ("purity_random", "purity", "auc"))', 'for metric in ("purity", "purity_random", "auc"))', ROWS),
    (TABLES, '    way = labels_of(way)\n', '', ROWS),
    (TABLES, '"" if "ntf" in way else "1.000"]', '"1.000"]', ROWS),
    (TABLES, 'for run in study.of("none", f"student-{way}").values()]', 'for run in study.of("none", "student-labelled-n50").values()]', ROWS),
    (TABLES, 'study.sliced("none", f"student-{by}", source, study.module.TASK)', 'study.sliced("none", f"student-{by}", "all", study.module.TASK)', BENCHMARKS),
    (TABLES, 'for accuracy, recovered in row[:-1])', 'for recovered, accuracy in row[:-1])', PAGE),
    (TABLES, 'for k, (name, (auc, ece, brier, purity)) in', 'for k, (name, (auc, brier, ece, purity)) in', PAGE),
    # names
    (NAMES, 'return 1, int(match[1]), len(match[2] or ""), way', 'return 1, 0, 0, way', ORDER),
    (NAMES, 'return 1, int(match[1]), len(match[2] or ""), way', 'return 1, int(match[1]), -len(match[2] or ""), way', ORDER),
    (NAMES, 'return 2, int(match[2]), WAYS.index(match[1]), way', 'return 2, WAYS.index(match[1]), int(match[2]), way', ORDER),
    (NAMES, 'return 3, *place(match[1])[:2], way', 'return 0, *place(match[1])[1:3], way', ORDER),
    (NAMES, '|gen[0-9]{{1,2}})")', ')")', WHOSE),
    (NAMES, 'or BUDGET.fullmatch(way) or way == "all")', 'or way == "all")', WHOSE),
    (NAMES, '(-same-tau)?")', '(-same)?")', WHOSE),
    (NAMES, 'return name.removesuffix("-none"), "all"', 'return name, "all"', CSV),
    (NAMES, 'return (name, labels_of(way)) if TWIN', 'return (name, way) if TWIN', CSV),
]
