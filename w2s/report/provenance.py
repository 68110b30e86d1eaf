"""Where each number of the first screen comes from: run folders, files, the command of each run.
"""

import shlex
from pathlib import Path
from urllib.parse import quote

from w2s.config import flag_of
from w2s.report.render import Bullets, Details, Heading, Text
from w2s.report.results import STRATEGIES
from w2s.report.screen import origin
from w2s.report.trust_screen import COLUMNS, columns
from w2s.report.words import MODELS, joined


def provenance(config, properties, trusted):
    """[Details] with a heading for each cell of the first screen."""
    groups = [(study, origin(study.module.TITLE, name), [
        (MODELS.get(model, model), study.of(key, model), study.name(key, model))
        for model in study.models]) for study in properties for key, name in STRATEGIES.items()]
    for study in trusted:
        for way in columns([study]):
            names = "weak-none", "base-strong", f"trust-{way}", f"student-{way}", "student-truth"
            groups.append((study, origin(study.module.TITLE, COLUMNS.get(way, way)), [
                (name, study.of("none", name), name) for name in dict.fromkeys(names)
                if study.of("none", name)]))
    blocks = [Text("A number is a mean over seeds. It is counted from the files named here, row by "
                   "row, and stands seed by seed in [results.csv](results.csv). The commands are "
                   "those of the first seed, as config.json has them; this page: `"
                   + shlex.join(["python", "-m", "w2s.report", "--runs", config.runs]) + "`.")]
    for study, heading, parts in groups:
        lines = [line for part in parts for line in lines_of(study, *part)]
        blocks += [Heading(heading, 4), Bullets(lines or ["no finished run yet"])]
    return [Details("Where the numbers come from", blocks)]


def lines_of(study, name, runs, run):
    """["weak model: fairness/seed0/weak-none, ... (predictions/test.jsonl): `python ...`"]; []
    without a finished run. runs: {seed: Run or Judged}."""
    if not runs:
        return []
    folders = [f"{study.task}/seed{seed}/{run}" for seed in runs]
    links = ", ".join(f"[{folder}]({quote(folder)})" for folder in folders)
    files = ["trust.jsonl"] if run.startswith("trust-") else [
        "predictions/test.jsonl", *study.module.ATTACKED]
    first = next(iter(runs.values()))
    words = command(getattr(first, "config", {}))
    return [f"{name}: {links} ({joined(files)})" + f": `{words}`" * bool(words)]


def command(config):
    """The command that made a run, from its config.json, in the folder where it ran; "" of a run
    whose config.json does not say."""
    if not config.get("script"):
        return ""
    words = ["python", config["script"]]
    for name, value in config.get("args", {}).items():
        if value is None or value is False or value == []:
            continue
        words += [flag_of(name), *(() if value is True else
                                   map(str, value if isinstance(value, list) else [value]))]
    here = str(Path(config.get("folder") or "/")) + "/"
    return shlex.join(word.removeprefix(here) if len(here) > 1 else word for word in words)
