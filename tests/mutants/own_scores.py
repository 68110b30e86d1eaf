"""Errors in how the report shows a user's own scores."""

RESULTS, NAMES, TABLES = (f"w2s/report/trust_{part}.py" for part in ("results", "names", "tables"))
TESTS = "report/test_more_scores.py"

ERRORS = [
    (NAMES, 'return 0, WAYS.index("ntf") - .5, 0, way', 'return 0, WAYS.index("truth") + .5, 0, way',
     f"{TESTS}::test_more_scores_have_a_row_and_their_students_a_column"),
    (RESULTS, "*(f\"trust-{way}\" for way in sorted(chosen, key=place))]", "*(f\"trust-{way}\" for way in sorted(chosen & {*EXPECTED}, key=place))]",
     f"{TESTS}::test_more_scores_have_a_row_and_their_students_a_column"),
    (TABLES, "for way in study.students\n                               if is_score(way) and labels_of(way) == way}", "for way in GLANCE\n                               if is_score(way) and labels_of(way) == way}",
     f"{TESTS}::test_more_scores_have_a_row_and_their_students_a_column"),
    (TABLES, "return sorted(filter(is_score, names), key=lambda", "return sorted(names & {*SAID}, key=lambda",
     f"{TESTS}::test_more_scores_have_a_row_and_their_students_a_column"),
    (RESULTS, "chosen |= {labels_of(way) for way in trained}", "pass",
     f"{TESTS}::test_scores_of_a_file_that_no_run_has_chosen_by_are_listed"),
]
