"""Ratios that were committed, and what became of them: `--save` writes them, `--check` compares.

A ratio is a row's time in times of BASE's, which is ours. Of a peer it is to stay large; of another
variant of ours (a clipped gradient in times of a plain one) it is to stay small. What is lost is
the share by which it went the wrong way, from the median that was committed to the better quartile
of this run. Ratios hold on machines of one kind: the file names its own, and how fast its products
are, since virtual cores of one name differ by twice, and peers' ratios with them.

Left out is what two runs of one commit do not agree on: Opacus' hooks, whose time doubles with
where the allocator puts a gradient per row, and what takes under a tenth of BASE's time.
"""

import json

from tests.bench.__main__ import KEPT, RATIOS
from tests.bench.harness import say

PEERS = ("hf", "ghost", "noise-")
ERRATIC, LEAST = "hooks", .1
MOST = .15                 # of a ratio may be lost: twice what two runs of one commit differ by


def ratios(tables):
    """{"title: row x BASE": (lower quartile, median, upper quartile)} of the tables of KEPT."""
    found = {}
    for table in tables:
        for row in table.rows if table.section in KEPT else ():
            for column, value in row.items():
                base, steady = column.removeprefix("x "), not row["variant"].startswith(ERRATIC)
                if base not in (column, row["variant"]) and steady and value[1] >= LEAST:
                    found[f"{table.title}: {row['variant']} {column}"] = value
    return found


def lost(key, before, now):
    """The share of a ratio that is lost; below 0: it is won. before: a median; now: as `ratios`."""
    peer = key.rpartition(": ")[2].startswith(PEERS)
    return 1 - now[2] / before if peer else now[0] / before - 1


def products(facts):
    """GF/s of a float32 product on our route; 0 where it was not measured."""
    return round(facts["ceilings"].get("float32", {}).get("GEMM", 0))


def save(facts, tables):
    """Write the ratios into RATIOS."""
    content = {key: facts[key] for key in ("command", "date", "commit", "changed", "machine")}
    content["products"] = products(facts)
    content["ratios"] = {key: round(value[1], 3) for key, value in ratios(tables).items()}
    RATIOS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    say(f"{RATIOS}: {len(content['ratios'])} ratios")


def check(facts, tables):
    """Print what became of the ratios of RATIOS; 1 where more than MOST of one is lost, or none was
    measured, else 0."""
    known, now = json.loads(RATIOS.read_text(encoding="utf-8")), ratios(tables)
    if known["machine"] != facts["machine"]:
        say(f"note: the ratios are of another machine: {known['machine']}")
    before, speed = known["products"], products(facts)
    if before and speed and not 3 / 4 < speed / before < 4 / 3:
        say(f"note: products run at {speed} GF/s here, at {before} where the ratios were made: "
            "those of peers as shipped do not compare")
    found = sorted(((lost(key, before, now[key]), key, before) for key, before in
                    known["ratios"].items() if key in now), reverse=True)
    for share, key, before in found:
        word = "LOST" if share > MOST else "ok"
        print(f"{word:4} {-share:+5.0%}  {before:.2f} -> {now[key][1]:.2f}  {key}")
    worse = sum(share > MOST for share, *_ in found)
    print(f"{len(found)} ratios of {len(known['ratios'])} measured; {worse} lost more than "
          f"{MOST:.0%} since {known['commit']}")
    return int(worse > 0 or not found)
