"""Which rows train, label and measure which models, as finished runs recorded it (Fig. A12 of Sun
et al. and their Appendix C.1), and the diagram of it.

A file of rows is known by its content: the manifest beside it says which split it was prepared as.
A run that was trained on another file than planned therefore shows so, whatever its folder is
called.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from w2s import rows, runs
from w2s.report.figures import COLOURS, INK, PALE, PAPER, RULE, literally, texts, wrapped

SPLITS = {"weak": "D_W", "wts": "D_WTS", "test": "D_T", "val": "D_val", "trust": "D_trust"}
LABELLED = " with weak labels"
UNKNOWN = "rows of no manifest"
PRIVACY = ("extraction", "membership")  # measured on rows that the model was trained on
# what the paper does, (data, kind, model); of the measures see `as_published`
TRAINING = {("D_W", "trains", "weak"), ("D_W", "trains", "ceiling"), ("D_WTS", "labels", "weak"),
            (f"D_WTS{LABELLED}", "trains", "student")}


class Edge(NamedTuple):
    """One use of rows that `runs` runs share."""
    data: str     # a name of SPLITS, perhaps with LABELLED, or words for other rows
    kind: str     # trains | labels | measures
    model: str    # weak | student | ceiling | untuned
    measure: str  # evaluation, or an attack's name; "" of what trains or labels
    rows: int
    runs: int


# ---- what runs recorded --------------------------------------------------------------------------

def flows(folders):
    """Sorted [Edge] of finished run folders of one task. Of extraction and membership the rows are
    those that the run was trained on. Raises ValueError for what is no finished run, and for a
    file of one that lacks what its script writes."""
    facts = {}
    for folder in runs.distinct(folders):
        runs.require_finished(folder)
        facts[folder] = runs.read_config(folder)
        _require(folder, "config.json", facts[folder], "rows", "script")
    names, models, counts = splits_of(facts), models_of(facts), Counter()
    for run, model in models.items():
        counts.update(trained(run, facts[run], model, names))
        counts.update(labelled(run, model, names))
        counts.update(measured(run, model, names))
    return sorted(Edge(*use, n) for use, n in counts.items())


def splits_of(facts):
    """{sha256: name of SPLITS} of the files that the manifests beside the runs' data list."""
    names = {}
    for run, fact in facts.items():
        path = fact["args"].get("data") and runs.located(run, fact, fact["args"]["data"])
        manifest = path and Path(path).parent / "manifest.json"
        if manifest and manifest.is_file():
            files = rows.read_json(manifest, {"files": {...: str}},
                                   "prepare the data again, into another folder").get("files", {})
            names |= {digest: SPLITS.get(name.split(".")[0], name)
                      for name, digest in files.items()}
    return names


def models_of(facts):
    """{run: weak | student | ceiling | untuned}. A ceiling starts from a model that a student
    starts from too, and labels nothing for a student."""
    students = {run for run, fact in facts.items() if fact.get("script") == "train_student.py"}
    bases = {base_of(facts[run]) for run in students}
    labels = {digest for run in students for digest in facts[run]["inputs"].values()}
    models = {}
    for run, fact in facts.items():
        teaches = any(rows.sha256(path) in labels for path in Path(run).glob("labels/*.jsonl"))
        models[run] = ("student" if run in students else "untuned" if fact.get("epochs") == 0 else
                       "ceiling" if base_of(fact) in bases and not teaches else "weak")
    return models


def base_of(fact):
    """Digest of the model that a run began with: its input beside the rows."""
    args = fact["args"]
    data = args.get("data") or args.get("labels")
    return next((digest for path, digest in fact["inputs"].items() if path != data), None)


def trained(run, fact, model, names):
    """Yield what trained a run: (data, "trains", model, "", rows)."""
    args = fact["args"]
    if model == "student":
        yield labels_of(run, fact, names), "trains", model, "", fact["rows"]
    elif model != "untuned":
        yield named(fact["inputs"].get(args["data"]), names), "trains", model, "", fact["rows"]


def labels_of(run, fact, names):
    """The name of the labels that trained a student: that of the rows they were given to, known
    from what label.py wrote beside them."""
    path = runs.kept(run, fact, fact["args"]["labels"])
    if path is None:
        return "labels that are gone"
    meta = Path(f"{path}.meta.json")
    if not meta.is_file():
        return "labels of unknown rows"
    return named(rows.read_json(meta, {"data": str}).get("data"), names) + LABELLED


def labelled(run, model, names):
    """Yield what a run labelled: (data, "labels", model, "", rows)."""
    for meta in sorted(Path(run).glob("labels/*.jsonl.meta.json")):
        file = meta.with_name(meta.name.removesuffix(".meta.json"))
        if file.is_file():
            data = rows.read_json(meta, {"data": str}).get("data")
            yield named(data, names), "labels", model, "", sum(1 for _ in rows.lines(file))


def measured(run, model, names):
    """Yield what measured a run: (data, "measures", model, measure, rows)."""
    folder, again = Path(run), "delete the file and measure again"
    if (folder / "eval.json").is_file():
        entries = rows.read_json(folder / "eval.json", {...: {"data": str, "n": int}}, again)
        for entry in entries.values():
            _require(folder, "eval.json", entry, "data", "n")
            yield named(entry["data"], names), "measures", model, "evaluation", entry["n"]
    for file in sorted(folder.glob("attack-*.json")):
        entry, attack = rows.read_json(file, {"n": int}, again), file.stem.removeprefix("attack-")
        _require(folder, file.name, entry, "data", "n")
        if isinstance(entry["data"], dict):
            for data, n in members(folder, attack, entry["data"].values(), names):
                yield data, "measures", model, attack, n
        else:  # of texts: one file, which nothing was trained on
            yield named(entry["data"], names), "measures", model, f"{attack} attack", entry["n"]


def members(folder, attack, digests, names):
    """[(data, rows)] of the rows of an attack that the run was trained on."""
    lines = rows.read(folder / "attacks" / f"{attack}.jsonl", {"member": (0, 1)}, False)
    known = {named(digest, names) for digest in digests}
    splits = Counter(SPLITS.get(line.get("split")) for line in lines if line["member"])
    return [(split if split in known else UNKNOWN, n) for split, n in splits.items()]


def named(digest, names):
    """The name of the rows with this sha256."""
    return names.get(digest, UNKNOWN)


def _require(folder, name, entry, *keys):
    """ValueError when a file of a run lacks what its script always writes."""
    for key in keys:
        if entry.get(key) is None:
            raise ValueError(f"{folder}/{name}: no '{key}' in it; delete what it belongs to and "
                             "run again")


def as_published(edge):
    """Whether the paper uses these rows so: what trains and labels as in TRAINING, properties on
    D_T (and D_val, where a ceiling is chosen), privacy on the rows that the model was trained on,
    which are D_W or, of a student, D_WTS."""
    if edge.measure in PRIVACY:
        return edge.data == ("D_WTS" if edge.model == "student" else "D_W")
    if edge.kind == "measures":
        return edge.data in ("D_T", "D_val")
    return edge[:3] in TRAINING


# ---- the diagram ---------------------------------------------------------------------------------

WIDE, HIGH = .86, .42             # of a box, in inches
STEP, MORE = .64, 1.0             # from a box to the one below; where texts need more room
LEFT, RIGHT = .6, 6.6             # left edges of part (a), and of (b) and (c)
BETWEEN, FAR = .73, 1.48          # from one box to the next in (a), and in (b) and (c)
PLACES = (.55, .42, .68, .3, .8, .2)  # of a text along its arrow
LETTER, LINE = .058, .115         # width and height of one of its letters, in inches
COLOUR = {"weak": COLOURS[0], "student": COLOURS[2], "ceiling": COLOURS[3]}
WRONG = "#D55E00"  # Okabe and Ito's vermilion


class Part(NamedTuple):
    """Boxes and arrows of one part of the diagram."""
    title: str
    boxes: dict   # {name: (column, row)}
    arrows: dict  # {(name, name): (text, colour, line style)}
    step: float   # from one row to the next, in inches


@literally
def diagram(title, subtitle, notes, tasks):
    """A matplotlib Figure of which rows train and measure what, in the three parts of Fig. A12, a
    band a task. tasks: [(name, [Edge])]. Untuned models are left out. A use of rows that the paper
    does not have (`as_published`) is drawn in vermilion, and a note says so."""
    from matplotlib.figure import Figure

    tasks = [(name, [edge for edge in edges if edge.model in COLOUR]) for name, edges in tasks]
    if not all(as_published(edge) for _, edges in tasks for edge in edges):
        notes = [*notes, "Vermilion: rows that the paper does not use in this way."]
    notes = wrapped(notes, 150)
    bands = [(name, *parts(edges)) for name, edges in tasks]
    top = .75 + .16 * len(wrapped([subtitle], 125))
    height = top + sum(_height(*band[1:]) for band in bands) + .16 * len(notes)
    figure = Figure(figsize=(10, height), facecolor=PAPER)
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, 10), ylim=(height, 0))  # inches, downwards
    axis.axis("off")
    texts(figure, title, subtitle, notes)
    for name, training, *measuring in bands:
        axis.text(LEFT, top, name, fontsize=11, weight="bold", color=INK)
        _part(axis, training, LEFT, top + .3, BETWEEN)
        down = top + .3
        for part in measuring:
            _part(axis, part, RIGHT, down, FAR)
            down += _height(part)
        top += _height(training, *measuring)
    return figure


def parts(edges):
    """The Parts (a) and (b) of a task's edges, and (c) where privacy was measured."""
    measures = [edge for edge in edges if edge.kind == "measures"]
    privacy = [edge for edge in measures if edge.measure in PRIVACY]
    yield training_part([edge for edge in edges if edge.kind != "measures"])
    yield measuring_part("(b) evaluation", [edge for edge in measures if edge not in privacy])
    if privacy:
        yield measuring_part("(c) privacy, on rows that trained the model", privacy)


def training_part(edges):
    """Part (a): rows, the models that learn from them, rows with weak labels, the student."""
    data = _ordered({edge.data for edge in edges})
    plain = [name for name in data if not name.endswith(LABELLED)]
    given = dict.fromkeys([name for name in data if name.endswith(LABELLED)]
                          + [edge.data + LABELLED for edge in edges if edge.kind == "labels"])
    places = {"ceiling": (1, 0), "weak": (1, 1), "student": (3, 1)}
    boxes = {name: (0, k) for k, name in enumerate(plain)}
    boxes |= {name: (2, 1 + k) for k, name in enumerate(given)}
    boxes |= {edge.model: places[edge.model] for edge in edges}
    arrows = {}
    for edge in edges:
        colour, count = INK if as_published(edge) else WRONG, _counts(edges, edge)
        if edge.kind == "labels":
            arrows.setdefault((edge.data, edge.model), ("", colour, "--"))
            arrows[edge.model, edge.data + LABELLED] = (f"labels\n{count} rows", colour, "--")
        else:  # the same rows may train a model that labels them: this is what has to be seen
            arrows[edge.data, edge.model] = (
                f"trains\n{count} rows{_share(edges, edge)}", colour, "-")
    return Part("(a) training", boxes, arrows,
                STEP if all(map(as_published, edges)) else MORE)


def measuring_part(title, edges):
    """Part (b) or (c): the rows and the models that they measure."""
    data = _ordered({edge.data for edge in edges})
    models = sorted(dict.fromkeys(edge.model for edge in edges), key=lambda model: (
        max(data.index(edge.data) for edge in edges if edge.model == model),  # arrows cross less
        [*COLOUR].index(model)))
    boxes = {model: (1, k) for k, model in enumerate(models)}
    boxes |= {name: (0, (k + .5) * max(1, len(models) / len(data)) - .5)
              for k, name in enumerate(data)}
    arrows = {}
    for edge in edges:
        text, colour, _ = arrows.get((edge.data, edge.model), ("", INK, "-"))
        line = f"{edge.measure}: {_counts(edges, edge)} rows"
        arrows[edge.data, edge.model] = (
            text if line in text.split("\n") else f"{text}\n{line}".strip(),
            colour if as_published(edge) else WRONG, "-")
    return Part(title, boxes, arrows, STEP)


def _ordered(names):
    """Names of rows in the order of SPLITS, then the others."""
    order = list(SPLITS.values())
    return sorted(names, key=lambda name: (order.index(name) if name in order else 9, name))


def _counts(edges, edge):
    """Rows of all edges of the same use as `edge`: "182", or "180 or 182" where runs differ."""
    counts = {other.rows for other in edges if other[:4] == edge[:4]}
    return " or ".join(f"{n:,}" for n in sorted(counts))


def _share(edges, edge):
    """How many of a model's runs were trained on these rows, where not all were."""
    every = [other for other in edges if other[1:3] == edge[1:3]]
    total, n = sum(e.runs for e in every), sum(e.runs for e in every if e.data == edge.data)
    return "" if n == total else f"\n{n} of {total} runs"


def _height(*columns):
    """Height of parts in inches: of one, or of a band of (a) beside the others."""
    if len(columns) == 1:
        lowest = max((row for _, row in columns[0].boxes.values()), default=0)
        return .3 + STEP + columns[0].step * lowest
    return .3 + max(_height(columns[0]), sum(_height(part) for part in columns[1:]))


def _part(axis, part, left, top, between):
    """Draw the boxes and arrows of a part, its title at (left, top), all in inches."""
    axis.text(left, top, part.title, fontsize=8.5, color=PALE)
    corner = {name: (left + column * (WIDE + between), top + .12 + row * part.step)
              for name, (column, row) in part.boxes.items()}
    ends = {}
    for start, end in part.arrows:
        ahead = corner[start][0] < corner[end][0]
        ends[start, end] = [(corner[name][0] + WIDE * (side == ahead), corner[name][1] + HIGH / 2)
                            for name, side in ((start, True), (end, False))]
    taken = []
    # level ones first: their texts have nowhere else to go
    for key, (start, end) in sorted(ends.items(), key=lambda a: abs(a[1][0][1] - a[1][1][1])):
        text, colour, style = part.arrows[key]
        axis.annotate("", end, start, zorder=1, arrowprops={
            "arrowstyle": "-|>", "color": colour, "linestyle": style, "linewidth": 1,
            "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8})
        if text:
            axis.text(*_free(start, end, text, taken), text, fontsize=7, ha="center", va="center",
                      color=colour, linespacing=1.05, zorder=2,
                      bbox={"facecolor": PAPER, "edgecolor": "none", "pad": .6})
    for name, (x, y) in corner.items():
        _box(axis, name, x, y)


def _free(start, end, text, taken):
    """The place (x, y) on an arrow, between the boxes, at which a text lies least on the texts
    `taken`, [(x, y, width, height)], to which it is added."""
    lines = text.split("\n")
    width, height = LETTER * max(map(len, lines)), LINE * len(lines)
    room = max(0, .5 - width / 2 / abs(end[0] - start[0]))
    places = [(start[0] + min(max(t, .5 - room), .5 + room) * (end[0] - start[0]),
               start[1] + t * (end[1] - start[1])) for t in PLACES]

    def covered(place):
        return sum(max(0, (width + w) / 2 - abs(place[0] - x))
                   * max(0, (height + h) / 2 - abs(place[1] - y)) for x, y, w, h in taken)
    best = min(places, key=covered)
    taken.append((*best, width, height))
    return best


def _box(axis, name, x, y):
    """A model as a coloured box with round corners, rows as a plain one."""
    from matplotlib.patches import FancyBboxPatch

    model = name in COLOUR
    axis.add_patch(FancyBboxPatch(
        (x, y), WIDE, HIGH, boxstyle=f"round,pad=0,rounding_size={.1 if model else .001}",
        facecolor=RULE if not model else PAPER, linewidth=2 if model else 0, zorder=3,
        edgecolor=COLOUR.get(name, RULE)))
    text = {"weak": "weak f_w", "student": "student f_θ"}.get(name, "\n".join(wrapped([name], 13)))
    axis.text(x + WIDE / 2, y + HIGH / 2, text, fontsize=7.5, ha="center", va="center", color=INK,
              zorder=4, linespacing=1.1)
