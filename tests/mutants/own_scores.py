"""Errors in how the report shows a user's own scores."""

REPORT, TABLES = "w2s/report/trust_results.py", "w2s/report/trust_tables.py"
TESTS = "report/test_more_scores.py"

ERRORS = [
    (REPORT, "(*ways[:place], *own, *ways[place:])", "ways",
     f"{TESTS}::test_more_scores_have_a_row_and_their_students_a_column"),
    (REPORT, 'for path in study.at("", seed).glob("trust-*/trust.json")', 'for path in study.at("", seed).glob("trust-ntf/trust.json")',
     f"{TESTS}::test_more_scores_have_a_row_and_their_students_a_column"),
    (TABLES, '("random", *with_own(SCORES, study.own))', '("random", *SCORES)',
     f"{TESTS}::test_more_scores_have_a_row_and_their_students_a_column"),
]
