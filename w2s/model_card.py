"""README.md of a saved folder, Hugging Face's model card: what the model is, from what and how.

Numbers come into it when the run is evaluated. It holds no text of the data. Of a private model it
holds the guarantee, and nothing by which its noise or its rows could be found: a known seed, or the
hashes by which the noise was keyed, would let anyone subtract it (reading P14), so seed, hashes and
counts stay in the run folder.
"""

import dataclasses
import json
import re
import shlex
from pathlib import Path

from w2s import memory
from w2s.model import checkpoint

PATHS = ("data", "labels", "model")    # arguments that name files: the card has their last names
SECRET = ("seed", "out")               # of a private model; --out is a place, of any model
TAG = {"class": "text-classification", "letters": "text-generation", "text": "text-generation"}
NUMBERS = "Numbers\n"
LICENSES = {"EleutherAI/pythia": "apache-2.0", "mini-": "mit"}  # beginnings of names of bases


def write(folder, task, cfg, facts, private, base):
    """Write FOLDER/README.md. task: the module; cfg: the script's Config; facts: config.json of the
    run; private: its dp.Plan or None; base: the folder that it was made from."""
    name = named(cfg.model)
    head = {"license": license_of(base, name), "base_model": name, "library_name": "transformers",
            "pipeline_tag": TAG[task.KIND], "tags": ["weak-to-strong", cfg.task]}
    parts = ["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---", "",
             f"# {name}, {'fine-tuned for' if facts['steps'] else 'untuned, as a run of'} "
             f"{task.TITLE}", "", *what(task, cfg, facts, private), "", "## Recipe", "", "```",
             command(cfg, facts["script"], private), "```", "", *recipe(facts, private), "",
             *(guarantee(private, cfg) if private else ()), "## Limits", "", *limits(cfg, task)]
    text = "\n".join(parts).rstrip() + "\n"
    checkpoint.put(Path(folder) / "README.md", lambda name: name.write_text(text, encoding="utf-8"))


def named(model):
    """org/name of a model on the hub, without its revision; of a folder its name, of RUN/model that
    of the run; no other part of a path."""
    hub = re.fullmatch(r"(\w[\w.-]*/\w[\w.-]*)(@.*)?", model)
    if hub and not Path(model).exists():
        return hub[1]
    path = Path(model).resolve()
    return path.parent.name if path.name == "model" else path.name


def license_of(base, name):
    """The license in the base's own card, else the one in LICENSES, else "other"."""
    try:
        head = (Path(base) / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        head = ""
    line = re.match(r'---\n(?:[^\n]*\n)*?license: *"?([a-z0-9.-]{1,40})"?\n', head[:4000])
    return line[1] if line else next(
        (terms for begin, terms in LICENSES.items() if name.startswith(begin)), "other")


def what(task, cfg, facts, private):
    """What the model does and what it was trained on: rows by number and hash."""
    # the hash of private data is left out: the noise is keyed by it (reading P14)
    target = "labels of a weaker model" if hasattr(cfg, "labels") else "ground truth"
    source = getattr(cfg, "labels", None) or cfg.data
    hashed = "" if private else f" (sha256 {facts['inputs'][source]})"
    names = task.CLASS_NAMES
    head = "class head" if task.KIND == "class" else "LM head"
    return [f"{task.TITLE}, {memory.shown(facts['parameters'])} parameters with {head}; made with "
            "w2s, which reproduces weak-to-strong trustworthiness (arXiv 2501.00418) and trust "
            "functions (arXiv 2606.01000).", "",
            f"- Trained on: {facts['rows']} rows of `{plain(Path(source).name)}`{hashed}, on "
            f"{target}." if facts["steps"] else "- Trained on: nothing further.",
            *(f"- Class {k}: {name}" for k, name in enumerate(names)),
            *(["- It began with random weights; nothing was pretrained."]
              if facts.get("from_scratch") else [])]


def add_numbers(folder, task, entries):
    """Put into a card what evaluate.py has measured, in place of what stood there; entries: of
    eval.json, {name of the data: entry}. A folder without a card gets none, somebody's own file
    that is no text stays as it is."""
    path = Path(folder) / "README.md"
    try:
        card = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    lines = []
    for name, entry in sorted(entries.items()):
        lines += [f"On `{plain(name)}.jsonl`, {entry.get('n', '?')} rows:", ""]
        lines += [f"- {plain(str(m['metric']))} {m['value']:.4f}: "
                  f"{task.METRICS.get(m['metric'], 'a measure of the task')}"
                  for m in entry.get("metrics", ())
                  if m.get("slice") == "all" and m.get("value") is not None and m.get("metric")]
        lines += [""]
    parts = card.split("\n## ")  # headings begin a line, so the old numbers are a part
    parts = [part for part in parts if not part.startswith(NUMBERS)]
    place = next((k for k, part in enumerate(parts) if part.startswith("Limits")), len(parts))
    parts.insert(place, "\n".join([NUMBERS, *lines]))
    text = "\n## ".join(parts).rstrip("\n") + "\n"
    checkpoint.put(path, lambda name: name.write_text(text, encoding="utf-8"))


def command(cfg, script, private):
    """The command that trains it: every argument that is not its default, files by their names."""
    words = ["python", script]
    for field in dataclasses.fields(cfg):
        value = getattr(cfg, field.name)
        if field.name == "out" or field.metadata["free"] or value == field.default or (
                private and field.name in SECRET):
            continue
        value = named(value) if field.name == "model" else \
            Path(value).name if field.name in PATHS else value
        flag = "--" + field.name.replace("_", "-")
        words += [flag] if value is True else [flag, plain(str(value))]
    return shlex.join([*words, "--out", "RUN"])


def plain(text):
    """Text without what would break a line of Markdown."""
    return re.sub(r"[`\s\x00-\x1f<>]+", "_", text)


def recipe(facts, private):
    """Lines of the settings that followed from the command and the data."""
    # of a private model `lambda` is the target epsilon, which `guarantee` tells
    settings = {"optimizer steps": facts["steps"], "passes": facts["epochs"],
                "peak learning rate": facts["lr"], "lambda": facts["lam"], "alpha": facts["alpha"]}
    return [f"- {name}: {value:g}" for name, value in settings.items()
            if not (private and name == "lambda")]


def guarantee(private, cfg):
    """What the saved model promises about the rows it was trained on."""
    claim = private.facts()
    epsilon = claim["epsilon"]
    # None: no accountant bounds shuffled sampling
    budget = f"epsilon {epsilon:g} at delta {claim['delta']:g}" if epsilon is not None else \
        "no epsilon is certified: accountants suppose Poisson sampling"
    noise = "The noise came from the system and was kept nowhere." if private.silent else (
        "**Not for release.** The noise follows from settings and inputs of the run (reading "
        "P14): who has both can subtract it. Train with `--noise-seed system` what you release.")
    audit = "It was trained among canaries, to be audited, not to be released." * bool(cfg.canaries)
    return ["## Privacy", "", f"Differential privacy by DP-{cfg.optimizer.upper()}: {budget}.", "",
            f"- Unit of privacy: one of the {claim['rows']} rows (one email)",
            f"- Sampling: {claim['sampling']}, q = {claim['q']:g}; {claim['steps']} steps",
            f"- Clip norm: {claim['clip']:g}",
            f"- Noise multiplier: {claim['sigma']:g}",
            f"- Accountant: {claim['accountant']}",
            "- It covers these rows only: neither what the base has read nor, of a student, the "
            "rows of its teacher", "", " ".join(filter(None, [noise, audit])), ""]


def limits(cfg, task):
    """What it is not for."""
    return ["- Made to study weak-to-strong training. It has the faults of its base and of its "
            "data; do not let it decide about people.",
            f"- It was trained on at most {cfg.max_length} tokens of a text.",
            *([f"- transformers ignores --head-layer {cfg.head_layer}: its logits differ."]
              if cfg.head_layer != -1 else [])]
