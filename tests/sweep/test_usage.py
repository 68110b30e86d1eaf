"""Which rows train and measure what is read from runs, not from plans:
pytest tests/sweep/test_usage.py"""

import io
import itertools
import json
import shutil

import pytest

from tests.conftest import read_json
from w2s import rows
from w2s.report import figures
from w2s.sweep import usage
from w2s.sweep.usage import LABELLED, UNKNOWN, Edge

SIZES = {"weak": 8, "wts": 6, "val": 2, "test": 4}


def use(data, kind, model, measure, n, runs=1):
    return Edge(data, kind, model, measure, n, runs)


USUAL = sorted([
    use("D_W", "trains", "weak", "", 8), use("D_W", "trains", "ceiling", "", 8),
    use("D_WTS", "labels", "weak", "", 6), use("D_WTS" + LABELLED, "trains", "student", "", 6),
    use("D_T", "measures", "weak", "evaluation", 4),
    use("D_T", "measures", "ceiling", "evaluation", 4),
    use("D_val", "measures", "ceiling", "evaluation", 2),
    use("D_T", "measures", "student", "evaluation", 4)])


class Tree:
    """Prepared rows and runs as the scripts leave them, without their models' weights."""

    def __init__(self, folder):
        self.folder, self.data = folder, folder / "data"
        for split, n in SIZES.items():
            self.write(split, n)
        for base in ("small", "large"):
            rows.write_json(folder / base / "config.json", {"name": base})
        rows.write_json(self.data / "manifest.json", {"files": {
            f"{split}.jsonl": rows.sha256(self.data / f"{split}.jsonl") for split in SIZES}})
        self.weak = self.run("weak", "small", "data", self.data / "weak.jsonl")
        self.labels = self.label(self.weak, "wts")
        self.ceiling = self.run("ceiling", "large", "data", self.data / "weak.jsonl", "val")
        self.student = self.run("student", "large", "labels", self.labels)

    @property
    def every(self):
        return [self.student, self.weak, self.ceiling]

    def write(self, split, n):
        rows.write(self.data / f"{split}.jsonl", (
            {"id": f"{split}{k}", "split": split} for k in range(n)))

    def run(self, name, base, key, file, *measured, **facts):
        out, base = self.folder / name, self.folder / base
        script = {"data": "train_weak.py", "labels": "train_student.py"}[key]
        rows.write_json(out / "config.json", {
            "script": script, "args": {"task": "privacy", "model": str(base), key: str(file)},
            "inputs": {str(base): rows.sha256(base), str(file): rows.sha256(file)},
            "rows": len(rows.read(file)), "epochs": 1} | facts)
        (out / "DONE").touch()
        rows.write_json(out / "eval.json", {split: {
            "data": rows.sha256(self.data / f"{split}.jsonl"), "n": SIZES[split]}
            for split in ("test", *measured)})
        return out

    def label(self, run, split):
        file = run / "labels" / f"{split}.jsonl"
        rows.write(file, ({**row, "weak": [.5, .5], "by": run.name}
                          for row in rows.read(self.data / f"{split}.jsonl")))
        rows.write_json(f"{file}.meta.json",
                        {"data": rows.sha256(self.data / f"{split}.jsonl")})
        return file

    def attack(self, run, split, kind="extraction", limit=None):
        lines = [{"id": row["id"], "split": row["split"], "member": int(row["split"] == split)}
                 for name in ("weak", "wts", "test")
                 for row in rows.read(self.data / f"{name}.jsonl")[:limit]]
        rows.write(run / "attacks" / f"{kind}.jsonl", lines)
        rows.write_json(run / f"attack-{kind}.json", {"n": len(lines), "data": {
            f"{name}.jsonl": rows.sha256(self.data / f"{name}.jsonl")
            for name in ("weak", "wts", "test")}})


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_the_usual_runs_use_rows_as_the_paper_does(tree):
    assert usage.flows(tree.every) == USUAL
    assert all(map(usage.as_published, USUAL))


def test_a_run_on_the_wrong_file_shows_so(tree):
    tree.run("weak", "small", "data", tree.data / "wts.jsonl")  # called as before
    (wrong,), _ = changes(usage.flows(tree.every))
    assert wrong == use("D_WTS", "trains", "weak", "", 6) and not usage.as_published(wrong)


def test_labels_of_the_wrong_rows_show_so(tree):
    tree.run("student", "large", "labels", tree.label(tree.weak, "test"))
    more, less = changes(usage.flows(tree.every))
    assert more == {use("D_T", "labels", "weak", "", 4),
                    use("D_T" + LABELLED, "trains", "student", "", 4)}
    assert less == {use("D_WTS" + LABELLED, "trains", "student", "", 6)}
    assert not any(map(usage.as_published, more))


def changes(edges):
    return set(edges) - set(USUAL), set(USUAL) - set(edges)


def test_rows_are_known_by_content_and_not_by_name(tree):
    shutil.copy(tree.data / "wts.jsonl", tree.folder / "weak.jsonl")
    tree.run("weak", "small", "data", tree.folder / "weak.jsonl")
    assert use("D_WTS", "trains", "weak", "", 6) in usage.flows(tree.every)
    tree.write("weak", 7)  # the manifest knows nothing of these
    tree.run("weak", "small", "data", tree.data / "weak.jsonl")
    assert use(UNKNOWN, "trains", "weak", "", 7) in usage.flows(tree.every)
    (tree.data / "manifest.json").unlink()
    assert {edge.data for edge in usage.flows(tree.every)} == {UNKNOWN, UNKNOWN + LABELLED}


def test_labels_that_changed_or_that_no_teacher_gave_are_not_taken_for_others(tree):
    meta = tree.weak / "labels/wts.jsonl.meta.json"
    known = meta.read_text()
    meta.unlink()
    assert use("labels of unknown rows", "trains", "student", "", 6) in usage.flows(tree.every)
    meta.write_text(known)
    rows.write(tree.labels, [{"id": "a"}])
    assert use("labels that are gone", "trains", "student", "", 6) in usage.flows(tree.every)


def test_privacy_is_measured_on_the_rows_that_a_run_was_trained_on(tree):
    for run, split in ((tree.weak, "weak"), (tree.ceiling, "weak"), (tree.student, "wts")):
        tree.attack(run, split, limit=3)
        tree.attack(run, split, "membership")
    more, less = changes(usage.flows(tree.every))
    assert more == {use("D_W", "measures", "weak", "extraction", 3),
                    use("D_W", "measures", "ceiling", "extraction", 3),
                    use("D_WTS", "measures", "student", "extraction", 3),
                    use("D_W", "measures", "weak", "membership", 8),
                    use("D_W", "measures", "ceiling", "membership", 8),
                    use("D_WTS", "measures", "student", "membership", 6)}
    assert not less and all(map(usage.as_published, more))
    tree.attack(tree.student, "weak")
    assert not usage.as_published(use("D_W", "measures", "student", "extraction", 8))
    assert use("D_W", "measures", "student", "extraction", 8) in usage.flows(tree.every)


def test_rows_of_an_attack_count_for_a_split_only_if_its_file_was_attacked(tree):
    tree.attack(tree.weak, "weak")
    measured = read_json(tree.weak / "attack-extraction.json")
    measured["data"]["weak.jsonl"] = "0" * 64
    rows.write_json(tree.weak / "attack-extraction.json", measured)
    assert use(UNKNOWN, "measures", "weak", "extraction", 8) in usage.flows(tree.every)


def test_an_attack_on_texts_is_of_its_one_file(tree):
    rows.write_json(tree.weak / "attack-text.json", {
        "n": 3, "data": rows.sha256(tree.data / "test.jsonl")})
    assert use("D_T", "measures", "weak", "text attack", 3) in usage.flows(tree.every)


def test_untuned_models_are_trained_by_nothing(tree):
    base = tree.run("base", "large", "data", tree.data / "weak.jsonl", epochs=0)
    assert changes(usage.flows([*tree.every, base]))[0] == {
        use("D_T", "measures", "untuned", "evaluation", 4)}


def test_runs_of_the_same_use_are_counted_once_each(tree):
    more = tree.run("student2", "large", "labels", tree.labels)
    edges = usage.flows([*tree.every, more, f"{more}/", tree.student])
    assert use("D_WTS" + LABELLED, "trains", "student", "", 6, 2) in edges


def test_a_model_that_starts_like_a_student_and_teaches_one_is_weak(tree):
    other = tree.run("weak2", "large", "data", tree.data / "weak.jsonl")
    assert use("D_W", "trains", "ceiling", "", 8, 2) in usage.flows([*tree.every, other])
    more = tree.run("student2", "small", "labels", tree.label(other, "wts"))
    assert use("D_W", "trains", "weak", "", 8, 2) in usage.flows([*tree.every, other, more])


def test_what_is_not_whole_is_refused(tree):
    (tree.weak / "DONE").unlink()
    with pytest.raises(ValueError, match="weak: this run is not finished"):
        usage.flows(tree.every)
    (tree.weak / "DONE").touch()
    rows.write_json(tree.weak / "eval.json", {"test": {"data": "0"}})
    with pytest.raises(ValueError) as error:
        usage.flows(tree.every)
    assert str(error.value) == (f"{tree.weak}/eval.json: no 'n' in it; delete what it belongs to "
                                "and run again")


# ---- the diagram ---------------------------------------------------------------------------------

PRIVATE = [*USUAL, *(use(data, "measures", model, attack, 3) for attack in usage.PRIVACY
                     for data, model in (("D_W", "weak"), ("D_W", "ceiling"),
                                         ("D_WTS", "student")))]
WRONG = [use("D_WTS", "trains", "weak", "", 6), use("D_T", "trains", "ceiling", "", 4),
         use("labels of unknown rows", "trains", "student", "", 5, 2),
         use(UNKNOWN, "measures", "weak", "evaluation", 7)]


def diagram(*tasks):
    pytest.importorskip("matplotlib")
    return usage.diagram("Figure A12", "numbers are rows", ["a note"], tasks)


def drawn(figure):
    """(texts, {((x, y), (x, y)): colour} of the arrows)."""
    axis, = figure.axes
    arrows = {(text.xyann, text.xy): text.arrow_patch.get_edgecolor()
              for text in axis.texts if getattr(text, "arrow_patch", None)}
    return [text.get_text() for text in axis.texts if text.get_text()], arrows


def test_the_parts_have_the_boxes_and_arrows_of_the_edges():
    training, evaluation, privacy = usage.parts(PRIVATE)
    assert training.arrows == {
        ("D_W", "weak"): ("trains\n8 rows", figures.INK, "-"),
        ("D_W", "ceiling"): ("trains\n8 rows", figures.INK, "-"),
        ("D_WTS", "weak"): ("", figures.INK, "--"),
        ("weak", "D_WTS with weak labels"): ("labels\n6 rows", figures.INK, "--"),
        ("D_WTS with weak labels", "student"): ("trains\n6 rows", figures.INK, "-")}
    assert {key: text for key, (text, *_) in evaluation.arrows.items()} == {
        ("D_T", "weak"): "evaluation: 4 rows", ("D_T", "student"): "evaluation: 4 rows",
        ("D_T", "ceiling"): "evaluation: 4 rows", ("D_val", "ceiling"): "evaluation: 2 rows"}
    both = "extraction: 3 rows\nmembership: 3 rows"
    assert {key: text for key, (text, *_) in privacy.arrows.items()} == {
        ("D_W", "weak"): both, ("D_W", "ceiling"): both, ("D_WTS", "student"): both}
    for part in (training, evaluation, privacy):
        assert {name for key in part.arrows for name in key} == set(part.boxes)
        assert len(set(part.boxes.values())) == len(part.boxes)


def test_the_diagram_draws_every_arrow_and_says_what_is_wrong():
    texts, arrows = drawn(diagram(("Fairness", USUAL), ("Privacy", PRIVATE)))
    assert len(arrows) == 2 * (5 + 4) + 3
    assert texts.count("(a) training") == 2 and texts.count("(b) evaluation") == 2
    assert texts.count("(c) privacy, on rows that trained the model") == 1
    assert {"Fairness", "Privacy", "weak f_w", "student f_θ", "D_val"} <= set(texts)
    figure = diagram(("Fairness", USUAL + WRONG))
    texts, arrows = drawn(figure)
    from matplotlib.colors import to_rgba
    assert list(arrows.values()).count(to_rgba(usage.WRONG)) == 4
    assert {"trains\n6 rows\n1 of 2 runs", "trains\n8 rows\n1 of 2 runs",
            "trains\n5 rows\n2 of 3 runs", "evaluation: 7 rows"} <= set(texts)
    said = [text.get_text() for text in figure.texts]
    assert said[-1] == "a note\nVermilion: rows that the paper does not use in this way."


def test_untuned_models_are_not_drawn_and_counts_that_differ_are_all_told():
    more = [use("D_T", "measures", "untuned", "evaluation", 4), use("D_W", "trains", "weak", "", 5)]
    texts, arrows = drawn(diagram(("t", USUAL + more)))
    assert len(arrows) == 9 and "trains\n5 or 8 rows" in texts


@pytest.mark.parametrize("edges", [PRIVATE, USUAL + WRONG, USUAL + WRONG[:1], USUAL + WRONG[1:2]])
def test_no_text_of_the_diagram_is_cut_or_lies_on_another(edges):
    figure = diagram(("Fairness", edges), ("Privacy", PRIVATE))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text
    FigureCanvasAgg(figure).draw()
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in
             (*figure.texts, *figure.axes[0].texts) if text.get_text()]
    for name, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1, name
    for (name, box), (other, lies) in itertools.combinations(boxes, 2):
        across = min(box.x1, lies.x1) - max(box.x0, lies.x0)
        down = min(box.y1, lies.y1) - max(box.y0, lies.y0)
        assert across < 1.5 or down < 1.5, (name, other)


def test_the_same_diagram_is_the_same_bytes_and_dark_on_a_dark_page():
    def svg():
        file = io.BytesIO()
        figures.save(diagram(("Privacy", PRIVATE + WRONG)), file, "svg")
        return file.getvalue()
    one = svg()
    assert one == svg()
    inline = figures.inline(one.decode(), "a12")
    assert all(f"var(--{name})" in inline for name in ("ink", "pale", "paper", "rule"))
    assert not any(colour in inline for colour in (
        figures.INK, figures.PALE, figures.PAPER, figures.RULE, "#000000"))


def test_real_runs_are_read(world, fair, call, tmp_path):
    """What the scripts themselves leave, of models without training."""
    data = tmp_path / "data"
    shutil.copytree(fair, data)
    rows.write_json(data / "manifest.json", {"files": {
        f"{split}.jsonl": rows.sha256(data / f"{split}.jsonl")
        for split in ("weak", "wts", "test")}})
    common = ("--task", "fairness", "--epochs", .2, "--device", "cpu", "--max-length", 16)
    weak, student = tmp_path / "weak", tmp_path / "student"
    assert call("train_weak", *common, "--model", world / "tiny-2x32", "--data",
                data / "weak.jsonl", "--out", weak)[0] == 0
    assert call("label", "--task", "fairness", "--run", weak, "--data", data / "wts.jsonl")[0] == 0
    assert call("train_student", *common, "--model", world / "tiny-3x64", "--labels",
                weak / "labels/wts.jsonl", "--out", student)[0] == 0
    assert call("evaluate", "--task", "fairness", "--run", weak, student, "--data",
                data / "test.jsonl")[0] == 0
    assert usage.flows([weak, student]) == sorted([
        use("D_W", "trains", "weak", "", 160), use("D_WTS", "labels", "weak", "", 120),
        use("D_WTS" + LABELLED, "trains", "student", "", 120),
        use("D_T", "measures", "weak", "evaluation", 80),
        use("D_T", "measures", "student", "evaluation", 80)])
    assert json.loads((weak / "config.json").read_text())["rows"] == 160
