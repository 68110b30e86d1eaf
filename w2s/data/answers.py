r"""The answer in a text as a canonical string: equal answers are equal strings. Two readings:

    final_number   GSM8K, the town          "... #### $1,234.50"       -> 1234.5
    read           MATH, AIME, Omni-MATH    "... $\boxed{\dfrac12}$."  -> 1/2

Texts are what models write: all of it takes linear time.
"""

import re

from w2s.data import latex

# ---- numbers -------------------------------------------------------------------------------------

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
WORDS = {word: k for k, word in enumerate(ONES)} | {
    f"{ten}-{one}" if k else ten: 20 + 10 * t + k
    for t, ten in enumerate(TENS) for k, one in enumerate(ONES[:10])}
# In figures: no digits inside a word ("x2"), and the "-" of "3-2" or "(1)-2" is no sign.
FIGURES = r"(?<![\w)])-?\$?-?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
NUMBER = re.compile(rf"{FIGURES}|\b(?:{'|'.join(sorted(WORDS, key=len, reverse=True))})\b")


def final_number(text):
    """The answer of a solution, as str: the first number behind "####", else the last one in
    figures, else the last one in words; None without a number. Equal numbers are equal strings:
    "$1,234.50" is 1234.5 and "forty-two" 42."""
    # U+2212 is the typographic minus sign.
    text = text.lower().replace("\u2212", "-")
    marked = NUMBER.search(text.split("####", 1)[1]) if "####" in text else None
    numbers = [marked[0]] if marked else NUMBER.findall(text)
    # Figures before words: "one" is also a pronoun.
    numbers = [number for number in numbers if number not in WORDS] or numbers
    return _plain(numbers[-1]) if numbers else None


def _plain(number):
    """The canonical form of a number: figures without $, thousands' commas, leading zeros and zeros
    behind the last decimal."""
    if number in WORDS:
        return str(WORDS[number])
    whole, _, part = re.sub(r"[-$,]", "", number).partition(".")
    plain = (whole.lstrip("0") or "0") + ("." + part.rstrip("0")).rstrip(".")
    # A string, not a float: no rounding, and "-0" is "0".
    return "-" + plain if "-" in number and plain != "0" else plain


# ---- expressions ---------------------------------------------------------------------------------

BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
BRACE = re.compile(r"\\.|[{}]", re.S)  # \{ and \} are no braces
BARE = re.compile(r"[^\s$]*")  # the answer of "\boxed 5"
SAID = re.compile(r"answer(?:\s+is\b:?|:)", re.I)
END = re.compile(r"[.!](?!\S)|\n")  # of a sentence


def boxed(text):
    r"""What stands in the last \boxed{...} or \fbox{...} of a text, or behind "\boxed "; None where
    there is no box. Raises ValueError for one that is not closed."""
    place = None
    for box in BOX.finditer(text):
        place = box.end()
    if place is None:
        return None
    if text[place:place + 1] != "{":
        return BARE.match(text, place)[0]
    depth = 0
    for brace in BRACE.finditer(text, place):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[place + 1:brace.start()]
    raise ValueError("a boxed answer is not closed, there is no } to its {")


def canonical(answer):
    """The canonical form of an answer by itself (latex.canonical), numbers in words in figures; or
    None."""
    form = latex.canonical(answer)
    return str(WORDS[form]) if form in WORDS else form


def read(text):
    r"""The answer of a text in canonical form, or None: what stands in its last box, else behind
    "####", else behind the last "answer is", else its last number. A box that is not closed is no
    answer: the text may have been cut in it."""
    try:
        box = boxed(text)
    except ValueError:
        return None
    if box is not None:
        return canonical(box)
    if "####" in text:
        stated = text.split("####", 1)[1].lstrip().split("\n", 1)[0]
    else:
        stated = _sentence(text)
    return stated and canonical(stated) or canonical(final_number(text) or "")


def _sentence(text):
    """What follows the last "answer is" of a text up to the end of its sentence, without the words
    behind a formula in $; or None."""
    place = None
    for match in SAID.finditer(text):
        place = match.end()
    if place is None:
        return None
    end = END.search(text, place)
    parts = text[place:end.start() if end else len(text)].split("$", 2)
    return parts[1] if len(parts) == 3 and not parts[0].strip() else "$".join(parts)
