r"""The canonical form of an answer in LaTeX or plain text: answers that are equal, as the graders
of MATH take it, become equal strings, and a canonical form stays as it is.

    \dfrac{2}{4}  0.50  1/2            1/2        (1,\tfrac12]  (1, 0.5]        (1,1/2]
    1,234\text{ cm}^2  \$1,234         1234       x=2 \text{ or } x=1  1, 2     \{1,2\}
    \frac{\sqrt3}{2}  \sqrt{3}/2       \sqrt{3}/2

The rules of Hendrycks et al. (2021) and of Minerva (Lewkowycz et al. 2022, appendix D), and exact
fractions where those compare strings (reading T20). Nothing is evaluated but numbers: no algebra,
no powers. An answer is read from left to right and has at most LONGEST characters.
"""

import functools
import re
from fractions import Fraction

LONGEST = 500  # characters; the longest answers of MATH have about 200
DEEPEST = 40  # braces and brackets in each other
SIGNS = str.maketrans({
    "\u2212": "-", "\u2013": "-", "×": r"\times ", "·": r"\cdot ", "÷": "/", "π": r"\pi ",
    "°": r"^\circ ", "∞": r"\infty ", "√": r"\sqrt ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
    "∪": r"\cup ", "²": "^2", "³": "^3"})
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[A-Za-z]+|[0-9]+(?:\.[0-9]+)?|\.[0-9]+|.", re.S)
BLANK = {" ", "~", r"\ ", r"\!", r"\,", r"\;", r"\:", r"\>", r"\/", r"\quad", r"\qquad"}
DROPPED = {"$", "\\", "%", r"\$", r"\%", '"', r"\(", r"\)", r"\[", r"\]", *(
    f"\\{word}" for word in "left right big Big bigg Bigg bigl bigr Bigl Bigr displaystyle "
    "textstyle limits rm bf ldots dots cdots".split())}
ALIAS = {r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\dbinom": r"\binom",
         r"\tbinom": r"\binom", r"\leq": r"\le", r"\leqslant": r"\le", r"\geq": r"\ge",
         r"\geqslant": r"\ge", r"\neq": r"\ne", r"\varnothing": r"\emptyset", r"\lbrace": r"\{",
         r"\rbrace": r"\}", r"\cdot": "*", r"\times": "*", r"\ast": "*", r"\div": "/",
         r"\degree": r"\circ", r"\lvert": "|", r"\rvert": "|", r"\vert": "|", r"\lt": "<",
         r"\gt": ">", "sqrt": r"\sqrt", "pi": r"\pi", "infinity": r"\infty", "or": ",", "and": ","}
TEXT = {f"\\{word}" for word in "text mbox hbox textrm textbf textit textnormal emph mathrm "
        "mathbf mathit mathbb operatorname boxed fbox".split()}
ACCENT = {r"\overline", r"\underline", r"\overrightarrow", r"\vec", r"\widehat"}
UNITS = set("""
    degree degrees percent percents cent cents dollar dollars usd unit units square sq cubic per
    each mm cm km ft inch inches foot feet yard yards mile miles meter meters metre metres
    centimeter centimeters kilometer kilometers millimeters mg kg gram grams gm pound pounds lb
    lbs ounce ounces oz ton tons ml liter liters litre litres gallon gallons second seconds sec
    minute minutes min hour hours hr hrs day days week weeks month months year years mph kph way
    ways point points student students people person child children man men woman women boy boys
    girl girls digit digits integer integers number numbers edge edges side sides term terms
    solution solutions multiple multiples time times meal meals""".split())
CLOSING = (")", "]", r"\}")
NUMBER = r"[0-9]+(?:\.[0-9]+)?"
RATIO = re.compile(rf"(-?{NUMBER})(?:/(-?{NUMBER}))?")
SCIENTIFIC = re.compile(rf"(-?{NUMBER})\*10\^(?:([0-9]{{1,2}})|\{{(-[0-9]{{1,2}})\}})")
TIGHT = re.compile(r"(?<!\\),\\!|\{,\}")  # the comma of 1,\!234 and 1{,}234
THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?!,?[0-9])")
MIXED = re.compile(r"(?<![0-9./])([0-9]{1,9}) ([0-9]{1,9})/([0-9]{1,9})(?![0-9])")  # "1 1/2"
NAMED = re.compile(  # x = 5, f(x) = 5, x in [1, 5]
    r"([A-Za-z]{1,2}(?:_[A-Za-z0-9]|\([a-z]\))?)(?:=|\\in ?)([^=]+)")
SUM = re.compile(r"[-+=<>,]|\\(?:pm|mp|le|ge|cup)")  # what a fraction bar has to be kept from
SINGLE = re.compile(rf"{NUMBER}|[A-Za-z]|\\[A-Za-z]+|\\sqrt\{{[^{{}}]*\}}|\([^()]*\)")
SHORT = re.compile(r"[0-9]+|[A-Za-z]|\\[A-Za-z]+")  # needs no braces as an exponent
WORDS = re.compile(r"[A-Za-z]{2}[A-Za-z-]*")
LETTER = re.compile(r"\(([A-J])\)")  # of a choice


def canonical(answer):
    """The canonical form of an answer, a str without outer $; None where nothing is left, or where
    the answer is too long or too deep to be one."""
    for _ in range(4):  # the second pass sorts a set, the third reads freaks such as "p i"
        text = " ".join(answer.translate(SIGNS).split()) if len(answer) < 10 * LONGEST else ""
        if not 0 < len(text) <= LONGEST:
            return None
        try:
            again = _items(Reader(_tokens(text)))
        except Deep:
            return None
        if again == answer:
            return again or None
        answer = again
    return None


def _tokens(text):
    """The tokens of a text, without what has no meaning."""
    text = TIGHT.sub("", text)
    if not re.search(r"[(\[]|\\\{", text):  # (1,200) is a pair
        text = THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
    text = MIXED.sub(r"\1\\frac{\2}{\3}", text)
    tokens = [" " if token in BLANK else token for token in TOKEN.findall(text)]
    tokens = [ALIAS.get(token, token) for token in tokens if token not in DROPPED]
    plain, k = [], 0
    while k < len(tokens):
        # "2 \text{ or } 3": the word is a comma, as it is outside of \text
        inside = [token for token in tokens[k + 1:k + 6] if token != " "][:3]
        if tokens[k] in TEXT and inside == ["{", ",", "}"]:
            k = tokens.index("}", k)
            tokens[k] = ","
        # "1 234" and "1\,234" are one number
        if plain[-1:] == [" "] and len(plain) > 1 and plain[-2].isdigit() and (
                tokens[k].isdigit() and len(tokens[k]) == 3):
            plain[-2:] = [plain[-2] + tokens[k]]
        else:
            plain.append(tokens[k])
        k += 1
    return plain


def _items(reader):
    """The canonical form of a whole answer: one item, or several as a set, in any order."""
    items = [reader.sequence((",",))]
    while reader.left():
        reader.take()  # the comma
        items.append(reader.sequence((",",)))
    items = [item for item in (item.rstrip(".:;*").lstrip("*:") for item in items) if item]
    # x = 5 is 5; of several items only where all are of one name: x = 1, y = 2 says more than 1, 2
    named = [NAMED.fullmatch(item) for item in items]
    if all(named) and len({match[1] for match in named}) == 1:
        items = [match[2] for match in named]
    items = [_plain(item) for item in items]
    if len(items) < 2:
        return LETTER.sub(r"\1", items[0]) if items and LETTER.fullmatch(items[0]) else "".join(
            items)
    return r"\{" + ",".join(items) + r"\}"  # the next pass sorts them


def _plain(item):
    """An item as it is written: numbers as fractions, words in lower case."""
    item = item.removeprefix("+")
    if WORDS.fullmatch(item):
        return item.lower()
    if match := SCIENTIFIC.fullmatch(item):
        return str(Fraction(match[1]) * Fraction(10) ** int(match[2] or match[3]))
    if (match := RATIO.fullmatch(item)) and Fraction(match[2] or 1):
        return str(Fraction(match[1]) / Fraction(match[2] or 1))
    return item


class Deep(Exception):
    """Braces, brackets and commands in each other, more than DEEPEST."""


def nested(method):
    """A method of Reader that calls itself by way of others: at most DEEPEST times."""
    def counted(self, *args, **kwargs):
        self.depth += 1
        if self.depth > DEEPEST:
            raise Deep
        result = method(self, *args, **kwargs)
        self.depth -= 1
        return result
    return functools.wraps(method)(counted)


class Reader:
    """Tokens, read once from left to right; what is not closed is closed by the end."""

    def __init__(self, tokens):
        self.tokens, self.k, self.depth = tokens, 0, 0

    def left(self):
        """Whether there are tokens left."""
        return self.k < len(self.tokens)

    def peek(self):
        """The next token that is no blank, or ""; blanks before it are passed."""
        while self.left() and self.tokens[self.k] == " ":
            self.k += 1
        return self.tokens[self.k] if self.left() else ""

    def take(self):
        """The next token that is no blank, passed."""
        token = self.peek()
        self.k += 1
        return token

    @nested
    def sequence(self, stops):
        """The form of the tokens up to one of `stops`, which is not passed, or to the end."""
        out = ""
        while (token := self.peek()) and token not in stops:
            if self.unit(out, token, stops):
                break
            out = self.atom(out)
        return out

    def unit(self, out, token, stops):
        """Whether what follows a number, or a lone letter, is its unit; then it is passed."""
        number = out[-1:].isdigit() or out[-1:] in ("}", ")") or out.endswith(r"\pi")
        end = self.end(stops)
        rest = [t for t in self.tokens[self.k:end] if t != " "]
        if token in TEXT:
            # Hendrycks: behind a number \text is a unit; i and e may be written upright
            good = (number or len(out) == 1 and out.isalpha()) and rest[2:3] not in (["i"], ["e"])
        else:  # a word that we know, and nothing else behind it: cm^2, km/h
            good = number and token.lower() in UNITS and all(
                t.lower() in UNITS or t in "/.^{}-123hs" for t in rest)
        self.k = end if good else self.k
        return good

    def end(self, stops):
        """The place of the next of `stops` that is in no braces, or the end."""
        depth = 0
        for k in range(self.k, len(self.tokens)):
            if not depth and self.tokens[k] in stops:
                return k
            depth += {"{": 1, "}": -1 if depth else 0}.get(self.tokens[k], 0)
        return len(self.tokens)

    def atom(self, out):
        """`out` and the next atom."""
        token = self.take()
        if token == r"\frac":
            return self.fraction(out)
        if token == r"\sqrt":
            root = f"[{self.group(']')}]" if self.peek() == "[" and self.take() else ""
            return out + rf"\sqrt{root}{{{self.argument()}}}"
        if token in ACCENT:
            return out + f"{token}{{{self.argument()}}}"
        if token in ("^", "_"):
            power = self.argument(one_letter=True)
            if power in (r"\circ", ""):
                if token == "^" and self.peek() in ("C", "F"):  # degrees
                    self.take()
                return out
            return out + token + (power if SHORT.fullmatch(power) else f"{{{power}}}")
        if token == r"\begin":
            return out + self.matrix()
        if token == "*":  # 2*3 is not 23
            following = self.peek()
            return out + "*" * bool(out and (following[:1].isdigit() or following == r"\frac"))
        if token in ("(", "[", r"\{"):
            return out + self.bracket(token)
        if token in TEXT or token == "{":
            token = self.group("}") if token == "{" or self.peek() == "{" and self.take() else ""
        elif token == "}":
            token = ""
        elif token[0].isdigit() or token[0] == "." != token:
            token = self.decimal(token)
        # without the blank two atoms would be one
        fused = (out[-1:].isdigit() and token[:1].isdigit()
                 or re.search(r"\\[A-Za-z]+$", out[-20:]) and token[:1].isalpha())
        return out + " " * bool(fused) + token

    def decimal(self, token):
        """A number without zeros that say nothing. Those in front do, in 0.\\overline{03}."""
        whole, _, part = token.partition(".")
        return (whole or "0") + ("." + part.rstrip("0")).rstrip(".")

    def group(self, end):
        """The form of a group whose opening has been passed."""
        inside = self.sequence((end,))
        self.take()
        return inside

    @nested
    def argument(self, one_digit=False, one_letter=False):
        """The form of what a command or ^ takes: a group, or one token."""
        token = self.take()
        if token == "{":
            return self.group("}")
        if token == "(":  # sqrt(3), x^(2)
            return self.bracket(token)[1:-1]
        if token == "-":
            return "-" + self.argument()
        if (one_digit and token[:1].isdigit() or one_letter and token.isalpha()) and token[1:]:
            self.k -= 1
            self.tokens[self.k] = token[1:]  # \frac12 has two arguments, x^ab one letter
            return token[0]
        self.k -= 1 if token else 0
        return self.atom("") if token else ""

    def fraction(self, out):
        """`out` and the fraction behind it: exact of integers, mixed behind an integer."""
        a, b = self.argument(one_digit=True), self.argument(one_digit=True)
        if a.removeprefix("-").isdecimal() and b.removeprefix("-").isdecimal() and int(b):
            value = Fraction(int(a), int(b))
            if re.fullmatch("[-+]?[0-9]+", out) and value > 0:
                return str(int(out) + (value if out[0] != "-" else -value))
            text = str(value)
        else:
            minus = "-" if a[:1] == "-" and not SUM.search(a[1:]) else ""
            a = a.removeprefix("-") if minus else a
            a, b = (f"({a})" if SUM.search(a) and not SINGLE.fullmatch(a) else a,
                    b if SINGLE.fullmatch(b) else f"({b})")
            text = f"{minus}{a}/{b}"
        # behind a factor a sign would be a difference, and a digit part of the factor
        clash = out and (text[0] == "-" or text[0].isdigit() and out[-1].isdigit())
        return out + (f"({text})" if clash else text)

    def bracket(self, opening):
        """The form of a tuple, an interval or a set, or of an expression in brackets."""
        items = [_plain(self.sequence((",", *CLOSING)))]
        while self.peek() == ",":
            self.take()
            items.append(_plain(self.sequence((",", *CLOSING))))
        closing = self.take() or {"(": ")", "[": "]", r"\{": r"\}"}[opening]
        if opening == r"\{":  # a set has no order
            items = sorted(set(items))
        return opening + ",".join(items) + closing

    def matrix(self):
        r"""The form of \begin{...} ... \end{...}: brackets and parentheses make no difference."""
        name = self.name()
        if name == "array" and self.peek() == "{":
            self.take(), self.group("}")
        kind = name if name not in ("pmatrix", "bmatrix", "smallmatrix", "array") else "matrix"
        cells, separators = [], []
        while True:
            cells.append(_plain(self.sequence(("&", r"\\", r"\end"))))
            separators.append(self.take())
            if separators[-1] not in ("&", r"\\"):
                break
        self.name()
        body = "".join(map("".join, zip(cells, [*separators[:-1], ""]))).removesuffix(r"\\")
        return rf"\begin{{{kind}}}{body}\end{{{kind}}}"

    def name(self):
        """The name of an environment."""
        return self.group("}") if self.peek() == "{" and self.take() else ""
