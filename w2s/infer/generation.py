"""Answers that a model writes freely and a task's `parse` reads: what arithmetic and game share.

N rows of a split, D hidden.
"""

from typing import Callable, NamedTuple

import numpy as np

from w2s import rows
from w2s.infer import benchmarks, choice
from w2s.infer.classify import plain

FIELDS = {"id": str, "text": str, "label": str}


class Way(NamedTuple):
    """How answers are read: parse(text) -> the answer in a text, or None; bare(label) -> the form
    that a label has, or None; new: the number of tokens that the model may write."""
    parse: Callable
    bare: Callable
    new: int


class Free(NamedTuple):
    """How a task asks and is answered: prompt(row) -> the text that the model reads; parse(text) ->
    the answer in it, or None; new: the number of tokens that the model may write; other(row) ->
    the Way of a row that has one of its own, or None."""
    prompt: Callable
    parse: Callable
    new: int
    other: Callable = lambda row: None

    def way(self, row):
        """The Way of a row."""
        return self.other(row) or Way(self.parse, self.parse, self.new)

    def tokens(self, row):
        """The number of tokens that a model may write for a row."""
        return self.way(row).new

    def read(self, path, weak=False):
        """Rows of a split, checked; weak=True: a labels file, each row with weak_text, and
        certain, if it is there, 3 numbers. Raises ValueError `path:line: what is wrong`."""
        data = rows.read(path, {**FIELDS, **({"weak_text": str} if weak else {})})
        for n, row in enumerate(data, 1):
            # answers are compared as strings, so a label has to be what `parse` gives
            if (bare := self.way(row).bare(row["label"])) != row["label"]:
                raise ValueError(f"{path}:{n}: 'label' is '{row['label'][:40]}', expected the bare "
                                 "answer" + (f", '{bare}'" if bare else ""))
            if weak and "certain" in row and not _numbers(row["certain"]):
                raise ValueError(f"{path}:{n}: 'certain' is {rows.shown(row['certain'])}, "
                                 "expected 3 finite numbers")
        return data

    def encode(self, rows, tokenizer, max_length, target=None):
        """Columns of N rows. With a target, to train on: `choice.encode` of the true ("label": the
        solution) or the weak answer, ended by an end of text. Without one, to answer: ids, the
        prompts (N token arrays), ways (N Way), and the tokenizer, which decodes what is written."""
        asked = [self.prompt(row) for row in rows]
        if target:
            tails = [row["weak_text"] if target == "weak" else self.truth(row) for row in rows]
            return choice.encode(tokenizer, asked, tails, max_length, end=True)
        return {"ids": choice.prompts(tokenizer, asked, max_length), "tokenizer": tokenizer,
                "ways": tuple(map(self.way, rows))}

    def write(self, model, columns, dtype, title, temperature=0.0, seed=0, names=None):
        """(texts: N str, certain (N, 3), hidden (N, D)) as `choice.written`. A model with few
        positions writes at most half as many tokens; a prompt keeps its end where it exceeds the
        positions that are left."""
        parts = {}  # rows that may write as many tokens are continued together
        for i, way in enumerate(self._ways(columns)):
            parts.setdefault(way.new, []).append(i)
        texts, certain, hidden = [None] * len(columns["ids"]), None, None
        for most, pick in parts.items():
            written, *arrays = self._write(model, [columns["ids"][i] for i in pick], most,
                                           temperature, seed, dtype, title,
                                           names and [names[i] for i in pick])
            if certain is None:
                certain, hidden = (np.empty((len(texts), x.shape[1]), x.dtype) for x in arrays)
            certain[pick], hidden[pick] = arrays
            for i, ids in zip(pick, written):
                texts[i] = columns["tokenizer"].decode(ids.tolist(), skip_special_tokens=False)
        return texts, certain, hidden

    def _ways(self, columns):
        """The Way of each prompt; the task's own for prompts that no row gave."""
        return columns.get("ways", [self.way({})] * len(columns["ids"]))

    def _write(self, model, ids, new, *how):
        """`choice.written` of prompts, with at most `new` tokens and half of the positions."""
        places = model.positions
        # half of the positions at least are left to the prompt
        new = max(1, min(new, places // 2))
        return choice.written(model, [row[-(places - new):] for row in ids], new, *how)

    def label(self, model, tokenizer, data, columns, cfg):
        """(rows with weak_text, the text that the model wrote, and certain: probability, margin and
        entropy of its tokens; with cfg.hidden the states (N, D) at the last token (reading T1); a
        line about the rows)."""
        texts, certain, hidden = self.write(
            model, columns, cfg.dtype, "label", cfg.temperature if cfg.decode == "sample" else 0.0,
            cfg.seed, [row["id"] for row in data])
        labelled = [row | {"weak_text": text, "certain": plain(values)}
                    for row, text, values in zip(data, texts, certain)]
        # an answer that cannot be read counts as wrong
        share = sum(map(self.right, labelled)) / len(data)
        return (labelled, hidden if cfg.hidden else None,
                f"{len(data)} rows, {share:.1%} of the weak answers are right")

    def truth(self, row):
        """The true answer behind the prompt."""
        return " " + row.get("solution", row["label"])

    def weak_class(self, row):
        """The weak answer of a row, "" when none can be read."""
        return self.way(row).parse(row["weak_text"]) or ""

    def right(self, row):
        """Whether the weak answer of a row is the true one."""
        return self.weak_class(row) == row["label"]

    def exact(self, row, text):
        """GRPO's reward of a text (reading T9): 1.0 when it gives the weak model's answer, or 0."""
        # two texts without an answer agree on nothing, so None == None earns nothing
        parse = self.way(row).parse
        return float(parse(text) == parse(row["weak_text"]) is not None)

    def predictions(self, model, columns, dtype="float32", title="predict"):
        """N dicts of answer: what is read in the text that the model writes greedily, or ""."""
        return [{"answer": way.parse(text) or ""} for way, text in
                zip(self._ways(columns), self.write(model, columns, dtype, title)[0])]


def _numbers(values):
    """Whether these are 3 numbers, finite in float32 too."""
    # a bool is an int to Python; and 1e38 is near the largest float32
    return isinstance(values, list) and len(values) == 3 and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e38 for v in values)


def sums(rows):
    """(N, 2 S) of benchmarks.sums: whether the answer is right."""
    return benchmarks.sums(rows, [row["answer"] == row["label"] for row in rows])


def evaluate(rows):
    """[{slice, metric, value}] of predictions: the shares of exact matches (acc) and of readable
    answers (answered), of all rows and, where there are several sources, of each."""
    return benchmarks.evaluate(rows, {"acc": [row["answer"] == row["label"] for row in rows],
                                      "answered": [row["answer"] != "" for row in rows]})
