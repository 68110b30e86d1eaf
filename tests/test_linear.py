"""Every pattern and parser takes linear time: on its worst input at most TIMES as long as on as
much plain text. A pattern that is not in the table below fails `test_no_pattern_is_missing`.

    python -m pytest -q tests/test_linear.py
    W2S_BYTES=1000000 python -m pytest -q tests/test_linear.py      for longer, on 1 MB each
"""

import ast
import importlib
import json
import os
import re
import signal
import time
import unicodedata
from pathlib import Path

import pytest

from w2s import hub, rows
from w2s.attacks import word_attacks
from w2s.data import answers, chess, latex, mail, mail_text, splits
from w2s.report import page
from w2s.tasks import adversarial

ROOT = Path(__file__).parent.parent
SIZE = int(os.environ.get("W2S_BYTES", 100_000))
SECONDS, TIMES = 8, 60
PLAIN = "some words of a plain text, and 12 more. "
READ = 200 * mail_text.KEEP * 128  # characters of a mail that are looked at
# Worst inputs: a unit that is repeated, or (beginning, unit, end).
PATTERNS = {  # {what reads it: {start of the pattern, as the code has it: worst inputs}}
    "chess": {"'([a-h][1-8])([a-h]": ["a1", "a1b"], "'([pnbrqkPNBRQK1-8/]+) ": [
        "8", ("8 w - - ", "1", " x"), ("", "8", " w")], "' +'": [" "], "'[1-8]'": ["8"]},
    "model_card": {"'(\\\\w[\\\\w.-]*/": ["a", ("a/", "a", ""), ("a/b", "@", "\n")],
             "'---\\\\n(?:": ["\n", ("---\n", "\n", ""), ("---\n", "license: ", "\n"),
                             ("---\nlicense:", " ", "!"), ("---\nlicense: ", "a", "!")],
             "'[`\\\\s": ["`", " "]},
    "cost": {"'\"epochs\": ": ['"epochs": ', ('"epochs": (', "1.", "")],
             "'^KIND": ["KIND", "KIND\n", ("KIND", ' = "a', "-"), ('KIND = "', "a", "-")],
             "'-(\\\\d+)x": ["-", "-1", ("-", "1", "x"), ("-1x", "1", "a")]},
    "code": {"'^ *(?:from": [" ", "from w2s import (", "from w2s import (a,\n", "import w2s\n",
                             "from w2s"], "'[\\\\w.]+'": ["a", ("", "a", "-")]},
    "config": {"'out of memory": ["out of memor", "allocate "], "LOST": ["Connection ", "NCC"]},
    "experiment": {"'[\\\\w.-]+/": ["a", ("a/", "a", "@"), ("a/b@", "a", "@")]},
    "figures": {"'<metadata>": [("<svg><metadata>", "x", "")], "'(id=": ["id=", "url("]},
    "hub": {"'//[^/": [("//" + ":" * 298, " ", "")],  # `public` cuts to 300 characters
            "\"\\\\bhf_": [("hf_", "a", "-"), "hf_ ", "Bearer "], "'[^\\\\w.-]+'": ["/", "a/"],
            "'\\\\w[\\\\w.-]*/": ["a", ("a/", "a", "/")], "'\\\\w[\\\\w./-]*'": [("", "a/", "@")],
            "'(?:\\\\w+://)?": ["a", ("a://", "a", "")],
            "'\\\\w[\\\\w.-]*\\\\.s": ["a.", ".safetensors", ("a", ".safetensor", "")]},
    "mail": {"f\"'(?:s|t": ["'", "_", "a1", "\n", ("", " ", "a")], "'[\\x00": ["\x00", "a\x00"],
             "f'(?<!-)": ["-", "-- ", "-----\t", "-- Original Message ", "1/1/11 1:11 ", "From:\n",
                          "1/1/11 1:11\n", "To:\n", "From: a\nTo: b\n", "\n \t", ("", " ", "To:"),
                          ("1/1/11", " ", "1:1"), ("1/1/11 1:11\n", "\n ", ""), "1/1/11 1:11\n\n"],
             "'[̀-": ["\u0300" * 199 + "a", "é"], "b'^content-type": [
                 "content-type:\n", ("content-type:", " ", "")],
             "'^[ \\\\t]*(?:>": [">", " ", "On ", "On 12345 wrote:", "On 12345 wrote: \t", "\n>"],
             "'^@subject": ["@subject", "\n@"], "'\\\\r\\\\n?'": ["\r"],
             "'\\\\n{3,}'": ["\n", "\n\na"],
             "'(?<![ \\\\t])": [" ", " \t", " a", ("", " ", "a")], "b'>+From '": [">", ">From"]},
    "town": {"'\\\\{(\\\\w+)": ["{", ("{", "a", "")]},
    "page": {"'\\\\[([^\\\\[": ["[", ("[", "a", ""), "[a](", ("[a](", "a", "!")],
             "'(yes|ordered": ["yes (", "ordered "], "'`([^`]*)`'": ["`", ("`", "a", "")],
             "'\\\\*\\\\*(.+?)": ["*", "**a", ("**", "a", ""), "**\n"], "'\\\\W+'": ["-", "a-"],
             "'[-+\\\\d": ["a"],
             "'[\\x00": ["\x00", "\u202a"], "'<(?=": ["<", "<a"],
             "'(?<=[0-9]": ["1 ", " "]},
    "perturb": {"\"([^\\\\W": ["a", "a'", "a-", ("", "a", "'")]},
    "durations": {"'\\\\bseed": ["seed1", ("seed", "1", "a"), "seed1-", " "]},
    "cards": {"'auto|cpu": ["cuda:", ("cuda:", "1", "x"), "auto"],
              "'exitcode": ["exitcode", ("exitcode", " ", ""), ("exitcode:", " ", "")],
              "'local_rank": ["local_rank: ", ("local_rank: ", "1", "")]},
    "questions": {"'(.+)_(dev": ["_dev", "_val_", "a"], "f\"{FIGURES}": [
        "1", ",111", "1,111", "-", "$-", ".", "1.", ("1", ",111", ",11"), "twenty-"],
        "'\\\\b(?:[a-h]": ["a1", "a1b2c3 ", "on "], "'lichess": ["lichess.org/", "lichess.org/1 "],
        "'[-$,]'": ["-"], "'<<[^<>]*>>'": ["<", "<<a", ("<<", "a", ""), ">>"]},
    "report": {"'model name": ["model name", ("model name", " ", "")], "';| ": ["(", " "]},
    "rows": {"'[\\ud800": ["\ud7ff"], "'\\\\\\\\u[dD]": ["\\u", "\\ud"],
             "f'{HALF": ["\\ud", "1" * 299 + "a", "e+99", ("e", "+", "")]},
    "splits": {"'[\\\\W_]+'": ["_", "-"], "'\\\\b40": ["40", "401"]},
    "study": {"'seed": [("seed", "1", "a")]},
    "trust_names": {"'gen([0-9]": ["gen1", ("gen", "1", ""), ("gen1", "-same-tau", "")],
                    "'(labelled|ntf": [("ntf-n", "1", "a"), "labelled-ntf-n", "ntf-n"],
                    "f\"(.+)-({'|'": ["-", "-lora", "a-gen1", ("-gen", "1", "")]},
    "trust_results": {"'base-strong-gen": [("base-strong-gen", "1", "a"), "base-strong-gen"],
                      "'gen[0-9]": ["gen1", ("gen", "1", "a")],
                      "'student-truth(": [("student-truth-", "a", "\n"), "student-truth-n"]},
    "answers": {"'\\\\\\\\(?:boxed": ["\\boxed", ("\\boxed", " ", ""), "\\fbox "],
        "'\\\\\\\\.|[{}]'": ["{", "\\"], "'[^\\\\s$]*'": ["a", " "],
        "'answer(?:": ["answer ", ("answer", " ", ""), "answer:"], "'[.!](?!": [".", "\n"]},
    "latex": {"'\\\\\\\\[A-Za-z]+|": ["\\", "1.", "a"],
        "f'(-?{NUMBER})(?:/": [("", "1", "!"), ("1/", "1", "!"), ("1.", "1", "!")],
        "f'(-?{NUMBER})\\\\*": [("", "1", "!"), ("1.", "1", "!"), ("1*10^", "1", "!")],
        "'(?<!\\\\\\\\),": [",", "{,", ",\\"],
        "'(?<![0-9.,])": ["1", ",111", "1,111", ("1", ",111", ",11")],
        "'(?<![0-9./])": ["1", "1 ", "1 1/", "1 1"], "'([A-Za-z]{1,2}": ["a", "a=", "a(", "a_a="],
        "'[-+=<>,]|": ["\\p", "-"],
        "f'{NUMBER}|": ["1", "(", ("(", "a", ""), "\\sqrt{", ("\\sqrt{", "a", "")],
        "'[0-9]+|[A-Z": ["1", "\\"], "'[A-Za-z]{2}": ["a", "a-"], "'\\\\(([A-J])": ["(", "(A"],
        "'[(\\\\[]|": ["\\", "a"], "'\\\\\\\\[A-Za-z]+$": ["\\a", ("\\", "a", "!")],
        "'[-+]?[0-9]+'": ["1", "-"]},
    "adversarial": {"f\"(?:{'|'.join(names)})": ["premise", "premise ", ("premise", " ", "")],
                    "'[^a-z0-9]'": ["-"]},
    "ood": {"'(base|.+_p": ["_p1", "_p1_1", ("base_p", "1", "a"), ("base_", "1", "a"), "_p.1_"]}}
# compiled, and used by fullmatch
WHOLE = ("(.+)_(dev", "(.+)-(lora", "([a-h][1-8])([", "(yes|ordered", "(-?[0-9]+")


class Late(Exception):
    pass


def of(worst, size=SIZE):
    """`size` characters of (beginning, unit, end)."""
    start, unit, end = worst if isinstance(worst, tuple) else ("", worst, "")
    size -= len(start) + len(end)
    return start + (unit * (size // len(unit) + 1))[:size] + end


def seconds(function, text):
    """How long a call takes; inf: longer than SECONDS. What it raises does not matter."""
    def late(*_):
        raise Late
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    began = time.process_time()
    try:
        function(text)
    except Late:
        return float("inf")
    except ValueError:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return time.process_time() - began


def check(name, function, worst, size):
    """Linear: within SECONDS for 1 MB, or TIMES the time of plain text."""
    usual = max(seconds(function, of(PLAIN, size)), SECONDS / TIMES * size / 10 ** 6)
    for one in worst:
        took = seconds(function, of(one, size))
        assert took <= TIMES * usual, (name, one, took, usual)


def found():
    """{(module, pattern as the code has it): (how it is used, pattern compiled)}."""
    result = {}
    for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("w2s/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                    and isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
                    and node.args and node.func.attr != "escape"):
                continue
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            known = {**vars(importlib.import_module(name)), "names": ("premise", "sentence1")}
            compiled = node.func.attr == "compile"
            flags = [eval(ast.unparse(word.value), known) for word in node.keywords
                     if word.arg == "flags"]
            flags += [eval(ast.unparse(flag), known) for flag in node.args[1:] if compiled]
            source = ast.unparse(node.args[0])
            pattern = re.compile(eval(source, known), sum(flags))
            whole = compiled and pattern.pattern[:9] in {start[:9] for start in WHOLE}
            result[name, source] = "fullmatch" if whole else node.func.attr, pattern
    return result


FOUND = found()


def worst_of(source):
    return next((worst for table in PATTERNS.values() for start, worst in table.items()
                 if source.startswith(start)), None)


def test_no_pattern_is_missing():
    assert len(FOUND) > 40
    assert not [key for key in FOUND if worst_of(key[1]) is None]
    assert not [(about, start) for about, table in PATTERNS.items() for start in table
                if not any(source.startswith(start) for _, source in FOUND)]


@pytest.mark.parametrize("where, source", FOUND)
def test_patterns_are_linear(where, source):
    how, pattern = FOUND[where, source]
    one = {"match": pattern.match, "fullmatch": pattern.fullmatch}.get(
        how, lambda text: sum(1 for _ in pattern.finditer(text)))
    call = one if isinstance(pattern.pattern, str) else lambda text: one(text.encode())
    check(source, call, worst_of(source), READ if source[:8] == "f'(?<!-)" else SIZE)


MAIL = "Content-Type: text/plain; "
PARSERS = {
    "a joined text": (lambda text: adversarial._part("rte", text), [
        ("premise:", " ", ""), "premise: ", ("premise: hypothesis", " ", ""), "hypothesis: ",
        ("premise: a ", "hypothesis ", "")]),
    "a mail's text": (lambda text: mail_text.clean(f"{text} subject:"), [
        "1/1/11 1:11 ", "1/1/11 1:11\n", "\u0301\u0327", "\u0327\u0301", "\r", "\n ", ">"]),
    "a mail": (lambda text: mail_text.body((text if ":" in text else "A: b\n\n" + text).encode()), [
        (MAIL + 'x="', ";", '"\n\na'), (MAIL, "a=b; ", "\n\na"), (MAIL, "a*0=b; ", "\n\na"),
        ("Content-Disposition: a; x=\"", ";", "\n\na"), "A: b\n", ("A: b\n", " c\n", ""),
        ("".join(f'Content-Type: multipart/mixed; boundary="b{i}"\n\n--b{i}\n'
                 for i in range(900)), "--\n", ""),
        ('Content-Type: multipart/mixed; boundary="b"\n\n', "--b\n\na\n", ""),
        ("Content-Transfer-Encoding: base64\n\n", "=A\n", "")]),
    "words": (mail._words, ["a1", "_", "'"]),
    "a row": (lambda text: rows._parse(json.dumps({"id": "a", "text": text}), "f", 1),
              ["\\ud", "1" * 299 + "x", "\x00", "\""]),
    "a number": (lambda text: rows._parse(f'{{"a": {text}}}', "f", 1), [
        "1", ("", "1", ".5"), ("0.", "1", "e-5"), ("1e", "9", ""), "[", "-"]),
    "an answer": (answers.read, [
        "\\boxed{", "\\boxed ", "answer is ", ("answer is $", "a", ""), "#### ", "{", "$",
        "1,111"]),
    "an answer in a box": (lambda text: answers.canonical(text[:latex.LONGEST]), [
        "{", "(", "^", "\\frac", "\\text{", "1/", "a=", "1,111", "\\begin{a}", "5 cm "]),
    "a sum": (answers.final_number, ["1", "1,111,", "-$", "#### ", "twenty-", "-"]),
    "a position": (chess.parse, ["/", ("8/8/8/8/8/8/8/8 w - - ", "1", " 1")]),
    "a text without blanks": (splits.normal, ["\u0130", "\n"]),
    "letters": (splits.bare, ["_", "\u0130"]),
    "words to swap": (word_attacks.WORD.split, ["a'", "a"]),
    "a cell": (page._inline, ["*", "`a b c d` ", "&", "[a](", "[", "]("]),
    "an address": (hub.public, ["//:", "hf_", "/ "])}


@pytest.mark.parametrize("name", PARSERS)
def test_parsers_are_linear(name):
    check(name, *PARSERS[name], READ if name == "a mail's text" else SIZE)


@pytest.mark.parametrize("text", [
    "premise: A b.  hypothesis : C", "Sentence1: a\nb Hypothesis: c sentence2: d", "premise:x",
    "sentence2: b", " premise: a hypothesis: b", "premise: hypothesis:",
    "hypothesis: a premise: b"])
def test_a_joined_text_is_what_the_pattern_said(text):
    labels = r"(?:premise|sentence1)\s*:\s*(.*?)\s*(?:hypothesis|sentence2)\s*:\s*(.*?)\s*"
    whole = re.fullmatch(labels, text, re.I | re.S)
    assert adversarial._part("rte", text) == (whole and list(whole.groups()))


def test_crowds_of_combining_marks_are_composed_as_ever():
    for text in ("e\u0301", "a" + "\u0327\u0301" * 300 + "b", "\u0344" * 250, "é" * 400,
                 "e" + "\u0301\u0316\u0327" * 150 + "q\u0323\u0307"):
        assert mail_text.composed(text) == unicodedata.normalize("NFC", text)
