"""tests.numbers: numbers of the pages are those of the results that they name.

    python -m pytest -q tests/test_pages_numbers.py
"""

import pytest

from tests import numbers

LINES = """task,strategy,model,selection,seed,slice,metric,value
ood,none,weak,all,0,all,acc,0.7
ood,none,weak,all,1,all,acc,0.801
ood,none,student-naive,all,0,all,acc,0.8
ood,weak,weak,all,0,all,ra,0.25
ood,none,weak,all,0,base,acc,0.1
ood,none,weak-lam-2,all,0,all,acc,0.1
ood,none,student-naive,ntf,0,all,acc,0.2
ood,none,weak,all,0,all,flips,3
"""
PAGE = """Words.

<!-- numbers: results.csv -->
| property | strategy | weak | naive | trend |
|----------|----------|-----:|------:|-------|
| ood acc  | No TFT   | {} | 0.80 | .99 |
| ood ra   | Weak TFT | 0.25 | - | |
|          | No TFT   |      |   | |

| not marked | weak |
|------------|-----:|
| ood acc    | 9    |
"""


def written(folder, number):
    (folder / "results.csv").write_text(LINES)
    page = folder / "page.md"
    page.write_text(PAGE.format(number))
    return page


@pytest.mark.parametrize("change, problem", [
    (("-->\n|", "-->\n\n|"), "no table with means behind the mark of results.csv"),
    (("| weak |", "| weaker |"), "no table with means"),
    (("No TFT", "No"), "ood,No,weak,all,all,acc: 0.75, in results.csv: None"),
    (("| 0.75 |", "| much |"), "ood,none,weak,all,all,acc: much, in results.csv: 0.7505")])
def test_a_table_that_cannot_be_read_is_seen(tmp_path, change, problem):
    page = written(tmp_path, "0.75")
    text = page.read_text().replace("| 0.80 |", "| |").replace("| 0.25 |", "| |")
    page.write_text(text.replace(*change, 1))
    found, = numbers.wrong(page, tmp_path)
    assert found.startswith("page.md: ") and problem in found


@pytest.mark.parametrize("change, words", [
    (("numbers: results.csv", "numbers: gone.csv"), "its mark names gone.csv: No such file"),
    (("numbers: results.csv", "numbers: page.md"), "names page.md, which is no results.csv"),
    (("numbers: results.csv", "numbers:results.csv"), "a mark is neither"),
    (("<!-- numbers", "<!-- numbers: results.csv\n.75\n-->\n<!-- numbers"),
     "'.75' in a mark of results.csv: expected a number and"),
    (("| ood acc  |", "| ood |"), "table of results.csv: 'ood' in front of")])
def test_a_mark_that_cannot_be_read_is_one_line_that_names_the_page(tmp_path, change, words):
    page = written(tmp_path, "0.75")
    page.write_text(page.read_text().replace(*change, 1))
    found, = numbers.wrong(page, tmp_path)
    assert found.startswith("page.md: ") and words in found and "\n" not in found


@pytest.mark.parametrize("page", numbers.pages(), ids=lambda page: page.name)
def test_marked_numbers_are_those_of_their_files(page):
    assert numbers.wrong(page) == []


# the mean of .7 and .801 is .7505: both roundings of a half are right
@pytest.mark.parametrize("number", ["0.7505", "0.750", "0.751", "0.75", "0.8"])
def test_a_mean_over_seeds_may_be_rounded(tmp_path, number):
    assert numbers.wrong(written(tmp_path, number), tmp_path) == []


@pytest.mark.parametrize("number", ["0.752", "0.749", "0.7504", "0.74", "0"])
def test_another_number_is_seen(tmp_path, number):
    problem, = numbers.wrong(written(tmp_path, number), tmp_path)
    assert problem == (f"page.md: ood,none,weak,all,all,acc: {number}, in results.csv: "
                       f"{(.7 + .801) / 2}")


def test_a_number_without_a_run_is_seen(tmp_path):
    page = written(tmp_path, "0.75")
    page.write_text(page.read_text().replace("| 0.25 | - |", "| 0.25 | 0.9 |"))
    problem, = numbers.wrong(page, tmp_path)
    assert problem.endswith("ood,weak,student-naive,all,all,ra: 0.9, in results.csv: None")


def test_what_tables_need_is_kept(tmp_path):
    written(tmp_path, "0.75")
    numbers.keep(tmp_path / "results.csv", tmp_path / "kept.csv", tmp_path)
    kept = (tmp_path / "kept.csv").read_text().splitlines()
    lines = LINES.splitlines()
    assert kept == [lines[0], *lines[1:5]]  # no slice, no run of a grid, no measure beside them
    # what a page names is kept too
    for table, also in (("", []), ("\n<!-- numbers: kept.csv -->\n| a |\n", lines[1:5])):
        (tmp_path / "README.md").write_text("# A\n" + NAMED.replace("results", "kept") + table)
        numbers.keep(tmp_path / "results.csv", tmp_path / "kept.csv", tmp_path)
        assert (tmp_path / "kept.csv").read_text().splitlines() == [
            lines[0], *also, lines[5], lines[7]]


NAMED = """It has .10 and 20 %, 10 points more: +.1.

<!-- numbers: results.csv
.10 ood,none,weak,all,base,acc
20% ood,none,student-naive,ntf,all,acc
10% ood,none,student-naive,ntf,all,acc less ood,none,weak,all,base,acc
+.1 ood,none,student-naive,ntf,all,acc less ood,none,weak,all,base,acc
-->
"""


@pytest.mark.parametrize("change, problem", [
    (("", ""), None),
    ((".10 ood", ".11 ood"), "ood,none,weak,all,base,acc: .11, in results.csv: 0.1|"
     ".11 is not in the text"),
    (("has .10", "has 3.10"), ".10 is not in the text: ood,none,weak,all,base,acc"),
    (("has .10", "has .101"), ".10 is not in the text: ood,none,weak,all,base,acc"),
    (("has .10", "has .10\n\n# B"), ".10 is not in the text"),
    (("20% ood", "20 ood"), "student-naive,ntf,all,acc: 20, in results.csv: 0.2"),
    (("It has .10", "It has <!-- numbers: results.csv\n.10 ood,none,weak,all,base,acc\n-->"),
     ".10 is not in the text|.10 is not in the text"),
    (("all,base,acc\n20", "all,top,acc\n20"), "weak,all,top,acc: .10, in results.csv: None"),
    (("all,base,acc\n+", "all,top,acc\n+"), "naive,ntf,all,acc: 10%, in results.csv: None")])
def test_a_number_of_a_sentence_is_found_in_it_and_in_its_file(tmp_path, change, problem):
    page = written(tmp_path, "0.75")
    page.write_text("# A\n" + NAMED.replace(*change, 1) + "\n# C\n" + page.read_text())
    found = numbers.wrong(page, tmp_path)
    expected = problem.split("|") if problem else []
    assert len(found) == len(expected)
    assert all(part in line for part, line in zip(expected, found))


def test_the_marks_of_a_short_page_stand_beside_it(tmp_path):
    page = written(tmp_path, "0.75")
    words, _, marks = NAMED.partition("\n\n")
    page.write_text("# A\n" + words + "\n# C\n" + page.read_text())
    beside = tmp_path / "docs" / "numbers" / page.name
    beside.parent.mkdir(parents=True)
    for change, problems in (("", 0), ("3", 2)):      # .103: neither in the file nor in the text
        beside.write_text("About it.\n\n" + marks.replace(".10 ood", f".10{change} ood"))
        assert len(numbers.wrong(page, tmp_path)) == problems


@pytest.mark.parametrize("content", ["", "hello\n", "task,value\nood,1\n"])
def test_what_is_no_results_csv_is_not_kept(tmp_path, content):
    (tmp_path / "results.csv").write_text(content)
    with pytest.raises(ValueError, match="results.csv: no results.csv: expected lines of task,"):
        numbers.keep(tmp_path / "results.csv", tmp_path / "kept.csv", tmp_path)
    assert not (tmp_path / "kept.csv").exists()


SWEEP = """task,strategy,model,selection,seed,slice,metric,value,figure,axis,axis_value
ood,both,weak,all,0,all,ra,0.7,3,lam,0
ood,both,weak,all,0,all,ra,0.6,3,lam,0.02
ood,both,weak,all,1,all,ra,0.8,3,lam,0.02
ood,both,student-naive,all,0,all,ra,0.5,3,lam,0.02
ood,both,weak,all,0,all,acc,0.1,3,lam,0.02
ood,both,weak,all,0,all,ra,0.2,A7,alpha,0.02
"""
VARIED = """# A

<!-- numbers: sweep.csv ood,both,MODEL,all,all,ra,lam,VALUE -->
| robust accuracy, lambda | 0 | .02 |
|-------------------------|--:|----:|
| weak                    | .7 | .70 |
| naive                   |  | .5 |
"""


@pytest.mark.parametrize("change, problem", [
    ((".70 |", ".71 |"), "ood,both,weak,all,all,ra,lam,0.02: .71, in sweep.csv: 0.7"),
    (("| .02 |", "| .03 |"), "ood,both,weak,all,all,ra,lam,0.03: .70, in sweep.csv: None"),
    (("lam,VALUE", "alpha,VALUE"), "ood,both,weak,all,all,ra,alpha,0: .7, in sweep.csv: None"),
    (("| weak ", "| weaker "), "table of sweep.csv: 'weaker' by ood,both,MODEL"),
    (("| .02 |", "| much |"), "table of sweep.csv: could not convert"),
    ((",lam,VALUE", ""), "table of sweep.csv: 'weak' by ood,both,MODEL,all,all,ra: expected"),
    (("", ""), None)])
def test_a_table_of_a_sweep_is_held_to_its_values(tmp_path, change, problem):
    (tmp_path / "sweep.csv").write_text(SWEEP)
    page = tmp_path / "page.md"
    page.write_text(VARIED.replace(*change, 1))
    found = numbers.wrong(page, tmp_path)
    assert problem in found[0] if problem else found == []


def test_figures_that_vary_one_thing_differently_are_not_mixed(tmp_path):
    again = "ood,both,weak,all,0,all,ra,{},A1,lam,0\n"
    (tmp_path / "page.md").write_text(VARIED)
    for value, problems in ((.7, 0), (.6, 1)):
        (tmp_path / "sweep.csv").write_text(SWEEP + again.format(value))
        found = numbers.wrong(tmp_path / "page.md", tmp_path)
        assert len(found) == problems and all("two values of seed 0" in line for line in found)


def test_what_tables_of_sweeps_name_is_kept(tmp_path):
    (tmp_path / "all.csv").write_text(SWEEP)
    (tmp_path / "README.md").write_text(VARIED)
    numbers.keep(tmp_path / "all.csv", tmp_path / "sweep.csv", tmp_path)
    lines = SWEEP.splitlines()
    assert (tmp_path / "sweep.csv").read_text().splitlines() == lines[:5]
    assert numbers.wrong(tmp_path / "README.md", tmp_path) == []
