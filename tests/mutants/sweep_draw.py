"""Errors in how the figures on sensitivity are drawn, and in which rows train and measure what."""

DRAW, LABELS, USAGE = (f"w2s/sweep/{part}.py" for part in ("draw", "labels", "usage"))
FIGURES, ROWS = "sweep/test_draw.py", "sweep/test_usage.py"
CURVES = f"{FIGURES}::test_curves_are_drawn_at_their_values_and_a_gap_is_a_gap"
BARS = f"{FIGURES}::test_bars_are_drawn_at_their_heights_and_a_missing_one_says_so"
AXES = f"{FIGURES}::test_panels_of_one_measure_share_their_axis_and_others_do_not"
PRIVACY = f"{ROWS}::test_privacy_is_measured_on_the_rows_that_a_run_was_trained_on"

ERRORS = [
    (DRAW, "away = APART * (", "away = 0 * (", CURVES),
    (DRAW, "or (math.nan,) * 3 for value in values))", "or (0,) * 3 for value in values))", CURVES),
    (DRAW, "range(len(ticks)), ticks, rotation", "range(len(ticks)), ticks[::-1], rotation", CURVES),
    (DRAW, "- k // across * band", "- k // across * row", f"{FIGURES}::test_many_columns_stand_in_bands"),
    (DRAW, "axis.set(xlim=padded(x, .16), ylim=padded(y, .16))", "pass", f"{FIGURES}::test_no_text_is_cut_or_lies_on_another"),
    (DRAW, '("lower", "higher"): (0, 1, "↖")', '("lower", "higher"): (1, 0, "↖")', f"{FIGURES}::test_the_better_corner_is_marked"),
    (DRAW, "values.setdefault((row, panel[\"name\"]), [])", "values.setdefault((row, panel[\"name\"]), [0])", AXES),
    (DRAW, "room = max(max(means) - min(means), WIDEST)", "room = WIDEST", f"{FIGURES}::test_long_intervals_do_not_hide_how_means_differ"),
    (DRAW, "max(min(ends), min(means) - room)", "min(ends)", f"{FIGURES}::test_long_intervals_do_not_hide_how_means_differ"),
    (DRAW, "return group * (len(models) + 1) + model", "return group * len(models) + model", BARS),
    (LABELS, "NAME, DOT, STROKE = 50, 5, 1", "NAME, DOT, STROKE = 0, 5, 1", f"{FIGURES}::test_no_text_is_cut_or_lies_on_another"),
    (USAGE, 'if fact.get("epochs") == 0', 'if fact.get("epochs") is None', f"{ROWS}::test_untuned_models_are_trained_by_nothing"),
    (USAGE, "in bases and not teaches", "in bases", f"{ROWS}::test_a_model_that_starts_like_a_student_and_teaches_one_is_weak"),
    (USAGE, "path = runs.kept(run, fact,", "path = runs.located(run, fact,", f"{ROWS}::test_labels_that_changed_or_that_no_teacher_gave_are_not_taken_for_others"),
    (USAGE, 'for line in lines if line["member"]', "for line in lines", PRIVACY),
    (USAGE, "split if split in known else UNKNOWN", "split", f"{ROWS}::test_rows_of_an_attack_count_for_a_split_only_if_its_file_was_attacked"),
    (USAGE, '"D_WTS" if edge.model == "student"', '"D_WTS" if edge.model == "weak"', PRIVACY),
    (USAGE, 'return edge.data in ("D_T", "D_val")', "return True", f"{ROWS}::test_the_diagram_draws_every_arrow_and_says_what_is_wrong"),
    (USAGE, "best = min(places, key=covered)", "best = places[0]", f"{ROWS}::test_no_text_of_the_diagram_is_cut_or_lies_on_another"),
    (USAGE, 'f"{n:,}" for n in sorted(counts))', 'f"{n:,}" for n in [max(counts)])', f"{ROWS}::test_untuned_models_are_not_drawn_and_counts_that_differ_are_all_told"),
]
