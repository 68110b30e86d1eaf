"""Errors of the report's first screen: states, arrows, colours, origins, losses, the page."""

SCREEN, WORDS = "w2s/report/screen.py", "w2s/report/words.py"
LABELS, ORIGIN = "w2s/report/trust_screen.py", "w2s/report/provenance.py"
CURVES, PAGE, RENDER = "w2s/report/curves.py", "w2s/report/page.py", "w2s/report/render.py"
TESTS = "report/test_screen.py::test_"
CELL, COLOUR = TESTS + "a_cell_says_its_state_the_papers_and_why", TESTS + "colour_is_agreement_and_never_yes_or_no"
WEAKER = TESTS + "the_weaker_student_stands_in_the_cell_and_is_named"
ARROW = TESTS + "a_double_arrow_is_an_interval_without_0"
LEADS = TESTS + "a_number_leads_to_folders_files_and_command"
TRUSTED = TESTS + "trusted_labels_stand_beside_the_papers"
LOSSES = TESTS + "losses_are_of_all_runs_but_silent_ones"
WIDTH = TESTS + "a_terminal_of_any_width_has_every_word_and_no_line_too_long"

ERRORS = [
    (SCREEN, 'return (min(ran, key', 'return (max(ran, key', WEAKER),
    (SCREEN, 'bool(ran) and all(ladders))', 'bool(ran))', WEAKER),
    (SCREEN, 'return "good" if state == published', 'return "good" if state == "yes"', COLOUR),
    (SCREEN, 'else "between" if state == "ordered" else "bad"', 'else "bad"', COLOUR),
    (SCREEN, '(last, -1, "ceiling"))', '(last, 1, "ceiling"))', CELL),
    (SCREEN, 'if step["difference"] <= 0]', 'if step["difference"] < 0]', CELL),
    (SCREEN, '(last, "student", "ceiling")) if not clear(step)]', '(last, "student", "ceiling")) if clear(step)]', CELL),
    (SCREEN, 'known = sum(count[tone] for tone in AGREES)', 'known = len(cells)', TESTS + "the_answer_counts_what_the_paper_has"),
    (SCREEN, 'key, name = of[-1]', 'key, name = of[0]', TESTS + "sentences_gather_strategies_of_one_answer"),
    (WORDS, 'return low > 0 or high < 0', 'return low >= 0 or high < 0', ARROW),
    (WORDS, 'return low > 0 or high < 0', 'return low > 0', ARROW),
    (WORDS, '''f" {'⇒' if clear(step) else '→'} {number''', '''f" {'→' if clear(step) else '⇒'} {number''', ARROW),
    (LABELS, "'below' if points > 0 else 'above'", "'above' if points > 0 else 'below'", TRUSTED),
    (LABELS, 'shares = [row[PRINTED.index(way)][1]', 'shares = [row[PRINTED.index(way)][0]', TRUSTED),
    (LABELS, '"below": ("**not** near-lossless", "bad")', '"below": ("**not** near-lossless", "good")', TRUSTED),
    (LABELS, 'return [*COLUMNS, *sorted(further, key=place)]', 'return [*COLUMNS]', TRUSTED),
    (ORIGIN, 'word.removeprefix(here) if len(here) > 1 else word', 'word', LEADS),
    (ORIGIN, 'if value is None or value is False or value == []:', 'if value is None:', LEADS),
    (ORIGIN, 'for seed in runs]', 'for seed in list(runs)[:1]]', LEADS),
    (CURVES, 'without += bool(log) and not loss', 'without += not loss', TESTS + "losses_are_of_all_runs_but_silent_ones"),
    (CURVES, 'return max((k for', 'return min((k for', LOSSES),
    (CURVES, '(group.mean() + .5) / len(loss)', '(group.mean() + .5)', LOSSES),
    (PAGE, r'\(([\w./#%-]+)\)', r'\(([\w./#%:()-]+)\)', TESTS + "links_lead_to_folders_alone"),
    (RENDER, 'width - start if beside else width - 4)', 'width)', WIDTH),
    ("w2s/report/document.py", 'blocks = [Heading(title, 1), answer, *cautions,', 'blocks = [Heading(title, 1), *cautions, *heads(tree.studies), answer,', "report/test_page.py::test_in_a_browser_nothing_is_cut_faint_off_screen_or_loaded"),
    ("w2s/report/style.py", '--pale: #a3adb7; --rule: #39424b', '--pale: #5e6770; --rule: #39424b', "report/test_page.py::test_in_a_browser_nothing_is_cut_faint_off_screen_or_loaded"),
]
