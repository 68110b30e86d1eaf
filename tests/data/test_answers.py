r"""w2s.data.answers and latex: which answers are equal, and which text an answer is read from.

    .venv/bin/python -m pytest tests/data/test_answers.py

The truth of the pairs is written by hand. No GPU, about 3 s.
"""

import random
import time

import pytest

from w2s.data import answers, latex

# As the graders of MATH have it; "exactly" where those compare strings or floats.
EQUAL = [
    # numbers
    ("7", "7."), ("7", "+7"), ("007", "7"), ("-0", "0"), ("7.0", "7"), ("0.50", ".5"),
    ("\u22123", "-3"), ("1,234", "1234"), ("1,234,567.50", "1234567.5"), (r"1,\!234", "1234"),
    ("1{,}234", "1234"), (r"1\,234", "1234"), ("10 000", "10000"), (r"\$1,234", "1234"),
    ("$18.90$", "18.9"), ("12345678901234567890.10", "12345678901234567890.1"),
    # fractions, exactly
    ("1/2", "0.5"), (r"\frac{1}{2}", "1/2"), (r"\dfrac{1}{2}", r"\tfrac12"), (r"\frac1{2}", "0.50"),
    (r"\frac 1 2", "1/2"), (r"\frac{2}{4}", "1/2"), (r"\frac{-1}{2}", r"-\frac{1}{2}"),
    (r"\frac{1}{-2}", "-0.5"), (r"\frac{8}{4}", "2"), ("0.125", r"\frac{1}{8}"), ("6/4", "1.5"),
    (r"2\frac{1}{2}", "5/2"), ("2 1/2", "2.5"), (r"-3\frac12", "-7/2"), ("1.5/3", "1/2"),
    # powers of ten
    (r"3.2\times 10^{-2}", "0.032"), (r"1.5 \cdot 10^3", "1500"), ("2×10^5", "200000"),
    # units, percent, degrees, money
    (r"5\text{ cm}", "5"), (r"5\text{ cm}^2", "5"), (r"5 \mathrm{~km/h}", "5"), ("5 cm^2", "5"),
    ("60 miles per hour", "60"), ("12 square units", "12"), (r"50\%", "50"), ("50%", "50"),
    (r"90^\circ", "90"), (r"90^{\circ}", "90 degrees"), ("90°", "90"), (r"25^\circ C", "25"),
    (r"\$5", "5 dollars"), (r"3\mbox{ inches}", "3"), (r"5\text{th}", "5"),
    (r"\frac{5\text{ cm}}{2}", "2.5"), (r"12\pi\text{ cm}^2", r"12\pi"),
    # notation
    (r"\frac{\sqrt{3}}{2}", r"\sqrt3/2"), (r"2\sqrt{3}", "2 sqrt(3)"),
    (r"\sqrt[3]{2}", r"\sqrt[3] 2"), (r"\frac{\pi}{2}", r"\pi/2"), ("2π", r"2\pi"),
    ("2 pi", r"2\pi"), ("x^{2}", "x^2"), ("x²", "x^2"),
    ("x^{10}", "x^10"), ("11_{2}", "11_2"), (r"x\leq 3", r"x \le 3"), (r"2\cdot x", "2x"),
    (r"\frac{2x}{3}", "2x/3"), (r"\frac{x+1}{2}", "(x+1)/2"), (r"\frac{-x}{2}", r"-\frac{x}{2}"),
    (r"\left(x+1\right)^2", "(x+1)^2"), (r"\displaystyle 5", "5"), (r"3+4\mathrm{i}", "3+4i"),
    (r"\varnothing", r"\emptyset"), (r"\boxed{7}", "7"), (r"\sqrt3", r"\sqrt{3}"),
    # names
    ("x = 5", "5"), ("f(x) = 2x", "2x"), ("a_1=3", "3"), (r"x\in[1,2]", "[1,2]"),
    ("y=2x+1", "2x+1"),
    # words
    (r"\text{Even}", "even"), ("seven", "7"), (r"\text{forty-two}", "42"), (r"\text{(B)}", "B"),
    (r"\mathrm{No}", "no"), ("no solution", r"\text{No solution}"),
    # tuples, intervals, sets, matrices
    ("(1, 2)", "(1,2)"), (r"\left(1,\frac{1}{2}\right]", "(1, 0.5]"), ("1,2", "2, 1"),
    (r"\{3, 1\}", r"\left\{1,3\right\}"), (r"\{1,2\}", "1,2"), (r"1 \text{ and } 2", "2, 1"),
    ("x=1 or x=2", "1,2"), (r"(-\infty, 2) \cup (3, +\infty)", "(-∞,2)∪(3,∞)"),
    (r"\begin{pmatrix} 1 \\ \frac12 \end{pmatrix}", r"\begin{bmatrix}1\\0.5\\ \end{bmatrix}"),
    ("1, 2, and 3", "3,2,1"), ("0.50x", ".5x"),
    (r"0.\overline{3}", r"0.\overline 3")]
UNEQUAL = [
    ("1", "2"), ("1/2", "2/1"), ("1/3", "0.333"), ("0.1", "0.10000000000000000001"), ("3", "-3"),
    ("50\\%", "1/2"), ("1,234", "1.234"), ("(1,234)", "1234"), ("12", r"1\cdot 2"), ("5", "5x"),
    ("5", r"5\pi"), ("5 m", "5"), (r"2\frac{1}{2}", r"2\cdot\frac{1}{2}"), (r"2\frac12", "21/2"),
    (r"3\cdot\frac{-1}{2}", "3-1/2"), (r"\frac{x+1}{2}", "x+1/2"), (r"\frac{1}{2x}", r"\frac12 x"),
    (r"\sqrt{3}", "3"), (r"\sqrt[3]{2}", r"\sqrt{2}"), ("x^2", "x2"), ("x^{12}", "x^12y"),
    ("(1,2)", "(2,1)"), ("(1,2)", "[1,2]"), ("(1,2)", "(1,2]"), ("(1,2)", "1,2"),
    ("x=1, y=2", "x=2, y=1"), ("1,2", "1,2,3"), ("1,2", "12"), ("even", "odd"), ("A", "B"),
    (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"), ("x", "X"),
    (r"x<3", r"x\le3"), ("10^10^10", "10"), ("1e999999", "1"), (r"\frac{1}{0}", "0"),
    (r"5\text{ million}", "5,000,001"), ("2^{10}", "210"), ("1 2", "12"), ("5x cm", "5"),
    (r"0.\overline{3}", r"0.\overline{03}"), (r"\overline{AB}C", r"\overline{ABC}"),
    ("5 cm x", "5"), ("(1,200)", "(1200)")]


def test_there_are_enough_pairs():
    assert len(EQUAL) >= 60 and len(UNEQUAL) >= 30


@pytest.mark.parametrize("one, other", EQUAL)
def test_equal_answers_are_equal_strings(one, other):
    assert answers.canonical(one) == answers.canonical(other) is not None


@pytest.mark.parametrize("one, other", UNEQUAL)
def test_other_answers_are_other_strings(one, other):
    assert answers.canonical(one) != answers.canonical(other)


@pytest.mark.parametrize("answer, form", [
    (r"\dfrac{2}{4}", "1/2"), ("$1,234.50", "2469/2"), ("2, 1", r"\{1,2\}"), ("(B)", "B"),
    (r"\frac{\sqrt3}{2}", r"\sqrt{3}/2"), (r"\frac{1}{2x}", "1/(2x)"), ("x=1, y=2", r"\{x=1,y=2\}"),
    (r"2\cdot\frac12", "2*1/2"), (r"10^{-3}", "10^{-3}"), (r"3\times10^{200}", "3*10^200"),
    ("", None), (" $ $ ", None), (r"\text{ }", None), ("x" * 501, None), ("1" * 10 ** 6, None),
    ("{" * 60 + "1" + "}" * 60, None), ("^" * 400, None), (r"\sqrt" * 99, None),
    ("(1, 2", "(1,2)"), ("1)", "1)"), ("2}", "2"), ("x^{2", "x^2"), (r"\frac", "/()"),
    ("\\", None)])
def test_the_canonical_form(answer, form):
    assert answers.canonical(answer) == form


PIECES = [*r"{}()[],^_-+=./%$&<*: 12xAei|", *(
    r"\frac \dfrac \{ \} \\ \, \! \pi \sqrt \text \text{cm} \text{or} \circ \left \right \cdot "
    r"\begin{pmatrix} \end{pmatrix} \infty \cup \in \boxed \% \$ 1,234 0.50 .5 ab pi or cm degrees "
    r"\overline 03 " "sqrt two ^{10} ² ° π \u0130 \u0663 \ud800").split()]


def test_a_canonical_form_stays_as_it_is_and_is_read_from_a_box():
    draw = random.Random(0)
    for _ in range(6000):
        text = "".join(draw.choice(PIECES) for _ in range(draw.randint(1, draw.choice((4, 9, 60)))))
        form = answers.canonical(text)
        if form is not None:
            assert answers.canonical(form) == form, text
            assert answers.read(f"so it is \\boxed{{{form}}}.") == form, text


# ---- where it stands -----------------------------------------------------------------------------

@pytest.mark.parametrize("text, answer", [
    (r"so $\boxed{\frac{1}{2}}$.", "1/2"), (r"\boxed{1} then \boxed{2}.", "2"), (r"\fbox{3}", "3"),
    (r"$\boxed 5$.", "5"), (r"\boxed{ \{1, 2\} } }", r"\{1,2\}"), (r"\boxed {4} #### 3", "4"),
    (r"\boxed{1} and \boxed{2", None), (r"\boxed{}", None), (r"\boxed", None),
    (r"\boxedly the answer is 3", "3"), (r"\boxed{\}} 4", r"\}"), ("\\boxed\n{6}", "6"),
    ("1 + 1 = 2\n#### 2\nso there", "2"), ("####\n $1,200", "1200"), ("#### ", None),
    ("The answer is 5. I hope it is correct.", "5"), ("the Answer is: $x=\\frac12$, of 3", "1/2"),
    ("the answer is 3.5 cm.", "7/2"), ("the answer is 1. The answer is 2", "2"),
    ("the answer is $5", "5"), ("**Final Answer:** 5 cm", "5"),
    ("the answer isn't 3, but 4", "4"), ("the answer is \nnot 9", "9"),
    ("first 3, then 4,000.50", "8001/2"), ("it makes forty-two", "42"), ("who knows", None),
    ("", None)])
def test_the_answer_in_a_text(text, answer):
    assert answers.read(text) == answer


def test_a_box_that_is_not_closed_is_said():
    for text in (r"\boxed{1", r"\boxed{\frac{1}{2}", r"\fbox{", r"\boxed{1\}"):
        with pytest.raises(ValueError, match="a boxed answer is not closed, there is no } to it"):
            answers.boxed(text)
    assert answers.boxed("none") is None and answers.boxed(r"\boxed{a{b}c}d}") == "a{b}c"


@pytest.mark.parametrize("unit", [
    *r"{ } ( ^ $ \{ \frac \text{ \begin{a} 1 1,234 \boxed{".split(), " ", "\\boxed ",
    "answer is ", "#### ", "{1}", "\u0130", "1 1/2"])
def test_a_million_characters_take_no_time(unit):
    text = (unit * (10 ** 6 // len(unit) + 1))[:10 ** 6]
    began = time.process_time()
    answers.read(f"\\boxed{{{text}}}")
    answers.read(f"#### {text}")
    answers.canonical(text)
    answers.canonical(text[:latex.LONGEST])  # as long as one may be: 10 ms
    assert time.process_time() - began < 8


@pytest.mark.parametrize("number", [
    "10^10^10", "1e999999", "10^{10^{10}}", "9" * 400, "2^{9999999}", r"1\times10^{99999999}",
    "1/" + "9" * 400, "9!!!!!!!!", "9**9**9"])
def test_large_numbers_are_not_worked_out(number):
    form = answers.canonical(number)
    assert form and len(form) < 500 and answers.canonical(form) == form
