"""Accuracy over several benchmarks: the mean of theirs, whatever their sizes.

So has the main table of Uzunoglu et al. (arXiv 2606.01000): average accuracy over five benchmarks
of multiple choice. A benchmark is a row's `source`. N rows, S sources.
"""

import numpy as np


def sources(rows):
    """The names of the benchmarks of the rows, sorted."""
    return sorted({row.get("source", "") for row in rows})


def sums(rows, right):
    """(N, 2 S) what a row adds to the totals: in the place of its source 1, and whether it is right
    (N,). All models that are compared have the same rows and so the same places."""
    names = sources(rows)
    inside = np.array([[row.get("source", "") == name for name in names] for row in rows], float)
    return np.stack([inside, inside * np.asarray(right, float)[:, None]], -1).reshape(len(rows), -1)


def headline(totals):
    """{"acc"} (...,) of totals (..., 2 S): the mean over the sources that have rows; nan without a
    row."""
    count, right = np.moveaxis(totals.reshape(*totals.shape[:-1], -1, 2), -1, 0)
    present = (count > 0).sum(-1)  # a bootstrap draw may lack a small source
    shares = np.divide(right, count, out=np.zeros_like(right), where=count > 0).sum(-1)
    return {"acc": np.divide(shares, present, out=np.full_like(shares, np.nan), where=present > 0)}


def evaluate(rows, shares):
    """[{slice, metric, value}] of shares {metric: (N,)} of the rows: of each source where there are
    several, and of `all`, the mean of theirs."""
    place = np.array([row.get("source", "") for row in rows])
    parts = {"all": sources(rows)}
    if len(parts["all"]) > 1:  # one source would repeat it; a source named "all" is in it
        parts |= {name: [name] for name in parts["all"] if name not in ("all", "")}
    return [{"slice": part, "metric": metric, "value": float(np.mean(
        [values[place == name].mean() for name in names]))}
        for part, names in parts.items()
        for metric, values in ((key, np.asarray(v, float)) for key, v in shares.items())]
