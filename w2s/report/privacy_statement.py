"""The guarantees of differential privacy of a study's runs, in words: for which rows, how much."""

from w2s.report.render import Bullets, Text

STAGES = {"weak": "D_W", "wts": "D_WTS"}  # by the name of the file that a run was trained on


def blocks(configs):
    """The blocks of a report on the private runs, [] without any. configs: {run name: [config.json
    of each seed]}."""
    private = {name: seeds for name, seeds in configs.items()
               if any(config.get("privacy") for config in seeds)}
    if not private:
        return []
    return [Text("**Whom differential privacy protects.** Each guarantee is about the rows that "
                 "one run was trained on with DP-SGD, a row being an email, and about no others:"),
            Bullets([f"{name}: {guarantee(seeds)}" for name, seeds in private.items()]),
            Text("The weak model's guarantee covers D_W, also in all that is made of its labels: "
                 "the students inherit it by post-processing. It says nothing about D_WTS, whose "
                 "emails stand in a student's training as they are, or their beginnings do. A "
                 "student's own guarantee covers D_WTS and says nothing about D_W. **They are two "
                 "separate guarantees and do not add up to one statement about both sets of "
                 "emails** (reading P8). A run that is not listed gives none for the rows it was "
                 "trained on. Neither counts that settings were chosen, or results like these "
                 "published, after looking at the emails.")]


def guarantee(configs):
    """"epsilon 8 at delta 1e-05 for the 425 rows of D_W (...)", of a run's config.json in each
    seed. One seed without a certificate, or whose noise is known, spoils the line for all."""
    privacy = [config["privacy"] for config in configs if config.get("privacy")]
    first = privacy[0]
    certified = [entry["epsilon"] for entry in privacy if entry.get("epsilon") is not None]
    poisson = {entry.get("sampling") for entry in privacy} == {"poisson"}
    # accountants suppose Poisson batches: without them an epsilon is none (reading P13)
    if len(certified) == len(privacy) and poisson:
        deltas = span([entry.get("delta") for entry in privacy], "g")
        claim = f"epsilon {span(certified, '.3g')} at delta {deltas}"
    else:
        claim = "**no epsilon is certified**"
    how = [f"accountant {first.get('accountant')}", f"{first.get('sampling')} sampling"
           + " (Poisson is what accountants suppose)" * (not poisson),
           f"sigma {first.get('sigma'):.3g}", f"C {first.get('clip'):g}"]
    # whoever knows the seed can draw the same noise again
    if {entry.get("noise_seed") for entry in privacy} != {"system"}:
        how.append("as long as the noise seed, which is in config.json, is kept secret (P14)")
    counts = sorted({entry.get("rows") for entry in privacy})
    number = " to ".join(map(str, counts[::max(1, len(counts) - 1)]))
    return f"{claim} for the {number} rows of {rows_of(configs[0])} ({'; '.join(how)})"


def span(values, form):
    """"2 to 4", the least and the largest of the values; "2" where both print alike."""
    low, high = (format(end(values), form) for end in (min, max))
    return low if low == high else f"{low} to {high}"


def rows_of(config):
    """"D_W" or "D_WTS" by the file that a run was trained on; for any other file its name."""
    args = config.get("args", {})
    name = str(args.get("labels") or args.get("data") or "its training").split("/")[-1]
    return STAGES.get(name.split(".")[0], name)
