"""The base models: what each has read, how well it predicts held-out text, its loss on the way.

Known of those that `python -m w2s.miniature pretrain` has made, from their pretraining.json.
"""

from pathlib import Path

from w2s import rows
from w2s.report import figures
from w2s.report.render import Details, Table, Text


def records(studies):
    """{name of a base model: pretraining.json} of those that runs were made of, small to large."""
    folders = {}
    for study in studies:
        for run in study.runs.values():
            config = getattr(run, "config", {})
            base = config.get("args", {}).get("model")
            if base:
                folders.setdefault(Path(config.get("folder") or "", base), None)
    known = {folder.name: record(folder / "pretraining.json") for folder in folders}
    return dict(sorted(((name, about) for name, about in known.items() if about),
                       key=lambda item: item[1]["parameters"]))


def record(path):
    """The content of a pretraining.json, None where it is not there or is no such file."""
    try:
        about = rows.read_json(path)
    except (OSError, ValueError):
        return None
    points = about.get("curve") if isinstance(about, dict) else None
    whole = isinstance(points, list) and points and all(
        isinstance(point, dict) and {"step", "loss", "perplexity"} <= {*point} for point in points)
    return about if whole and {"parameters", "perplexity", "steps", "batch_size", "length"} <= {
        *about} else None


def drawings(known):
    """{name of the figure: (caption, function of w2s.report.figures, its arguments)}."""
    curves = [{"name": name, "x": [tokens(about, point["step"] + 1) / 1e6
                                   for point in about["curve"]],
               "mean": [point["perplexity"] for point in about["curve"]],
               "low": None, "high": None, "band": True} for name, about in known.items()]
    return {"pretraining": (
        "Perplexity of held-out text while the base models were pretrained.", figures.lines,
        ("Pretraining", "held-out perplexity, lower is better", [], "million tokens read",
         "perplexity", curves))} if curves else {}


def tokens(about, steps):
    return steps * about["batch_size"] * about["length"]


def bases(known, pictures):
    """[Details] with a table of the base models, and their curves."""
    if not known:
        return []
    table = Table("Base models", ["model", "parameters", "tokens read", "passes over the text",
                                  "held-out perplexity", "loss, first to last"], [
        [name, f"{about['parameters']:,}", f"{tokens(about, about['steps']):,}", passes(about),
         f"{about['perplexity']:.2f}",
         f"{about['curve'][0]['loss']:.2f} → {about['curve'][-1]['loss']:.2f}"]
        for name, about in known.items()])
    return [Details("Base models", [
        table, Text("The larger model must predict text better than the smaller one: without such "
                    "a gap there is nothing that a weak teacher could elicit. The commands stand "
                    "in each model's pretraining.json."),
        *(pictures[name] for name in ("pretraining",) if name in pictures)])]


def passes(about):
    """How often the text was read."""
    whole = about.get("tokens_a_pass")
    return f"{tokens(about, about['steps']) / whole:.2g}" if whole else "-"
