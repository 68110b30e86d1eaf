"""Answers that a model writes freely and a task's `parse` reads: what arithmetic and game share.

N rows of a split, D hidden.
"""

from typing import Callable, NamedTuple

from w2s import rows
from w2s.infer import benchmarks, choice
from w2s.infer.classify import plain

FIELDS = {"id": str, "text": str, "label": str}


class Free(NamedTuple):
    """How a task asks and is answered: prompt(row) -> the text that the model reads; parse(text) ->
    the answer in it, or None; new: the number of tokens that the model may write."""
    prompt: Callable
    parse: Callable
    new: int

    def read(self, path, weak=False):
        """Rows of a split, checked; weak=True: a labels file, each row with weak_text, and
        certain, if it is there, 3 numbers. Raises ValueError `path:line: what is wrong`."""
        data = rows.read(path, {**FIELDS, **({"weak_text": str} if weak else {})})
        for n, row in enumerate(data, 1):
            # answers are compared as strings, so a label has to be what `parse` gives
            if (bare := self.parse(row["label"])) != row["label"]:
                raise ValueError(f"{path}:{n}: 'label' is '{row['label'][:40]}', expected the bare "
                                 "answer" + (f", '{bare}'" if bare else ""))
            if weak and "certain" in row and not _numbers(row["certain"]):
                raise ValueError(f"{path}:{n}: 'certain' is {rows.shown(row['certain'])}, "
                                 "expected 3 finite numbers")
        return data

    def encode(self, rows, tokenizer, max_length, target=None):
        """Columns of N rows. With a target, to train on: `choice.encode` of the true ("label": the
        solution) or the weak answer, ended by an end of text. Without one, to answer: ids, the
        prompts (N token arrays), and the tokenizer, which decodes what is written."""
        asked = [self.prompt(row) for row in rows]
        if target:
            tails = [row["weak_text"] if target == "weak" else self.truth(row) for row in rows]
            return choice.encode(tokenizer, asked, tails, max_length, end=True)
        return {"ids": choice.prompts(tokenizer, asked, max_length), "tokenizer": tokenizer}

    def write(self, model, columns, dtype, title, temperature=0.0, seed=0, names=None):
        """(texts: N str, certain (N, 3), hidden (N, D)) as `choice.written`. A model with few
        positions writes at most half as many tokens; a prompt keeps its end where it exceeds the
        positions that are left."""
        places = len(model.cos)
        # half of the positions at least are left to the prompt
        new = max(1, min(self.new, places // 2))
        heads = [ids[-(places - new):] for ids in columns["ids"]]
        tokens, certain, hidden = choice.written(model, heads, new, temperature, seed, dtype, title,
                                                 names)
        return ([columns["tokenizer"].decode(ids.tolist(), skip_special_tokens=False)
                 for ids in tokens], certain, hidden)

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
        return self.parse(row["weak_text"]) or ""

    def right(self, row):
        """Whether the weak answer of a row is the true one."""
        return self.weak_class(row) == row["label"]

    def exact(self, row, text):
        """GRPO's reward of a text (reading T9): 1.0 when it gives the weak model's answer, or 0."""
        # two texts without an answer agree on nothing, so None == None earns nothing
        return float(self.parse(text) == self.parse(row["weak_text"]) is not None)

    def predictions(self, model, columns, dtype="float32", title="predict"):
        """N dicts of answer: what `parse` reads in the text that the model writes greedily, or "".
        """
        return [{"answer": self.parse(text) or ""}
                for text in self.write(model, columns, dtype, title)[0]]


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
