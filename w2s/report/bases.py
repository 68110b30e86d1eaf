"""The base models: what each has read, how well it predicts held-out text, its loss on the way.

Known of those that `python -m w2s.miniature pretrain` has made, from their pretraining.json.
"""

import math
from pathlib import Path

from w2s import rows, runs
from w2s.report import figures
from w2s.report.render import Details, Table, Text

RECORD = {"parameters": int, "perplexity": rows.NUMBER, "steps": int, "batch_size": int,
          "length": int, "tokens_a_pass": int,
          "curve": [{"step": int, "loss": rows.NUMBER, "perplexity": rows.NUMBER}]}


def records(studies):
    """{name of a base model: its RECORD} of those that runs were made of, small to large."""
    known = {}
    for study in studies:
        for (name, seed), run in study.runs.items():
            facts = getattr(run, "config", {})
            base = facts.get("args", {}).get("model")
            place = base and runs.located(study.at(name, seed), facts, base)
            if place and (about := record(Path(place) / "pretraining.json")):
                known[Path(place).name] = about
    return dict(sorted(known.items(), key=lambda item: item[1]["parameters"]))


def record(path):
    """The RECORD of a pretraining.json; None where it is not there or is no such file."""
    try:
        about = rows.read_json(path, RECORD)
    except (OSError, ValueError):
        return None
    whole = RECORD.keys() <= rows.present(about).keys() and about["curve"] and all(
        RECORD["curve"][0].keys() <= rows.present(point).keys() for point in about["curve"])
    return about if whole else None


def drawings(known):
    """{name of the figure: (caption, function of w2s.report.figures, its arguments)}."""
    curves = []
    for name, about in known.items():
        x = [tokens(about, point["step"] + 1) / 1e6 for point in about["curve"]]
        for what, values in (
                ("held-out text", [math.log(point["perplexity"]) for point in about["curve"]]),
                ("training", [point["loss"] for point in about["curve"]])):
            curves.append({"name": f"{name}, {what}", "x": x, "mean": values, "low": None,
                           "high": None, "band": True})
    return {"pretraining": (
        "Loss of the base models while they were pretrained: of a batch, and of held-out text.",
        figures.lines, ("Pretraining", "loss, lower is better", [], "million tokens read",
                        "nats per token", curves))} if curves else {}


def tokens(about, steps):
    return steps * about["batch_size"] * about["length"]


def bases(known, pictures):
    """[Details] with a table of the base models, and their curves."""
    if not known:
        return []
    table = Table("Base models", ["model", "parameters with LM head", "tokens read",
                                  "passes over the text", "held-out perplexity"], [
        [name, f"{about['parameters']:,}", f"{tokens(about, about['steps']):,}",
         f"{tokens(about, about['steps']) / about['tokens_a_pass']:.2g}",
         f"{about['perplexity']:.2f}"] for name, about in known.items()])
    return [Details("Base models", [
        table, Text("Perplexities compare where models have one tokenizer. The larger model must "
                    "predict text better than the smaller one: without such a gap there is nothing "
                    "that a weak teacher could elicit. The commands stand in each model's "
                    "pretraining.json."),
        *(pictures[name] for name in ("pretraining",) if name in pictures)])]
