"""What differential privacy promises of the runs of a study, in words: to which rows, how much."""

from w2s.report.render import Bullets, Text

STAGES = {"weak": "D_W", "wts": "D_WTS"}


def blocks(configs):
    """Blocks on the private runs of {run name: [config.json of each seed]}; [] without any."""
    private = {name: found for name, found in configs.items() if any(map(facts, found))}
    if not private:
        return []
    return [Text("**Whom differential privacy protects.** Each guarantee is about the rows that "
                 "one run was trained on with DP-SGD, a row being a mail, and about no others:"),
            Bullets([f"{name}: {said(found)}" for name, found in private.items()]),
            Text("The weak model's guarantee covers D_W, also in all that is made of its labels: "
                 "the students inherit it by post-processing. It says nothing about D_WTS, whose "
                 "mails stand in a student's training as they are, at least by their beginnings. A "
                 "student's own guarantee covers D_WTS and says nothing about D_W. **They are two "
                 "separate guarantees and do not add up to one statement about both sets of "
                 "mails** (reading P8). A run that is not listed gives none for the rows it was "
                 "trained on. Neither counts that settings were chosen, or results like these "
                 "published, after looking at the mails.")]


def facts(config):
    """The entry `privacy` of a config.json; {} of a run without DP."""
    found = config.get("privacy")
    return found if isinstance(found, dict) else {}


def said(configs):
    """"epsilon 8 at delta 1e-05 for the 425 rows of D_W (...)", of the configurations of a run."""
    found = [facts(config) for config in configs if facts(config)]
    first = found[0]
    certified = [f["epsilon"] for f in found if f.get("epsilon") is not None]
    poisson = {f.get("sampling") for f in found} == {"poisson"}
    if len(certified) == len(found) and poisson:
        deltas = span([f.get("delta") for f in found], "g")
        claim = f"epsilon {span(certified, '.3g')} at delta {deltas}"
    else:
        claim = "**no epsilon is certified**"
    how = [f"accountant {first.get('accountant')}", f"{first.get('sampling')} sampling"
           + " (Poisson is what accountants suppose)" * (not poisson),
           f"sigma {first.get('sigma'):.3g}", f"C {first.get('clip'):g}"]
    if {f.get("noise_seed") for f in found} != {"system"}:
        how.append("as long as the noise seed, which is in config.json, is kept secret (P14)")
    counts = sorted({f.get("rows") for f in found})
    number = " to ".join(map(str, counts[::max(1, len(counts) - 1)]))
    return f"{claim} for the {number} rows of {rows_of(configs[0])} ({'; '.join(how)})"


def span(values, form):
    """"2 to 4", the least and the largest of numbers; one where they read alike."""
    low, high = (format(end(values), form) for end in (min, max))
    return low if low == high else f"{low} to {high}"


def rows_of(config):
    """"D_W" or "D_WTS", by the name of the file that a run was trained on; else that name."""
    args = config.get("args", {})
    name = str(args.get("labels") or args.get("data") or "its training").split("/")[-1]
    return STAGES.get(name.split(".")[0], name)
