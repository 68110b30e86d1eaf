"""The page as a person meets it, in headless Chromium: pytest tests/report/test_page.py

Nothing is cut or off-screen on a phone, contrast is that of WCAG AA, nothing is loaded.
"""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from tests.report import test_privacy_statement as private
from tests.report.test_report import FAIR, LADDER, plant, run
from tests.report.test_trust_results import choices, students
from w2s import rows

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
MOST = 1500  # visible words
# In the page: what is cut, what is off-screen, what lacks contrast, what was loaded; once as it is
# and once with all details open. A box of class `wide` scrolls, so what is in it may be wider.
MEASURE = """
const name = e => e.tagName + '.' + (e.getAttribute('class') || '') + ' '
  + e.textContent.trim().slice(0, 40);
const shown = e => e.checkVisibility() && e.getClientRects().length;
const parts = s => (s.match(/[\\d.]+/g) || []).map(Number);
const light = c => { const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(
  v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b; };
const ground = e => { for (; e; e = e.parentElement) { const c = parts(getComputedStyle(e)
  .backgroundColor); if (c.length && c[3] !== 0) return c; } return [255, 255, 255]; };
function look() {
  const wide = innerWidth + 1, seen = {off: [], cut: [], faint: [], texts: 0};
  for (const e of document.querySelectorAll('main *')) {
    if (!shown(e) || (e.closest('svg') && e.tagName !== 'text') || e.closest('.matrix thead')
        && innerWidth < 800) continue;
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (!e.closest('.wide') && (box.right > wide || box.left < -1)) seen.off.push(name(e));
    if (e.tagName !== 'text' && !e.matches('.wide') && e.scrollWidth > e.clientWidth + 1
        && style.display !== 'inline' && style.overflowX !== 'visible') seen.cut.push(name(e));
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    seen.texts += 1;
    const ink = light(parts(e.tagName === 'text' ? style.fill : style.color));
    const paper = light(ground(e)), size = parseFloat(style.fontSize);
    const large = size >= 24 || size >= 18.66 && +style.fontWeight >= 700;
    const ratio = (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
    if (ratio < (large ? 3 : 4.5)) seen.faint.push(name(e) + ' ' + ratio.toFixed(2));
  }
  return seen;
}
addEventListener('load', () => { try {
  const result = {width: innerWidth, page: document.documentElement.scrollWidth,
    dark: matchMedia('(prefers-color-scheme: dark)').matches, first: look(),
    matrix: document.querySelector('.matrix').getBoundingClientRect().top};
  const link = document.querySelector('.matrix a').getAttribute('href').slice(1);
  const origin = document.getElementById(link);
  result.origin = [origin.textContent, !!origin.closest('details')];
  document.querySelectorAll('details').forEach(e => e.open = true);
  result.all = look();
  result.loaded = performance.getEntriesByType('resource').map(e => e.name);
  parent.document.body.textContent = 'RESULT' + JSON.stringify(result) + 'END';
} catch (error) { parent.document.body.textContent = error.stack; }
});
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """All seven tasks, half finished, with losses."""
    folder = tmp_path_factory.mktemp("page")
    more = {"skip": {("student-aux-both", 0)}, "n": 120, "seeds": (0,)}
    plant(folder, "fairness", {**FAIR, "ceiling-none": (.9, .3)}, **more)
    plant(folder, "ood", {**LADDER, "student-naive-none": (.78, .61)}, **more)
    plant(folder, "adversarial", {**LADDER, "student-naive-weak": (.76, .60)}, **more)
    private.write(folder, private.PLANTED, (0,))
    for task in ("mcqa", "arithmetic", "game"):
        students(folder, task, seeds=(0,))
        choices(folder, task, seeds=(0,))
    for path in folder.glob("*/seed0/*/config.json"):
        rows.write(path.parent / "log.jsonl", [{"step": k, "loss": 1 / (k + 1), "seconds": .1}
                                               for k in range(9)])
        known = rows.read_json(path)
        rows.write_json(path, known | {"script": "train_weak.py", "folder": "/somewhere",
                                       "args": known["args"] | {"lr": 1e-3, "compile": False}})
    return folder


class Visible(HTMLParser):
    """The words that stand outside <details>, those of the summaries and figures too."""

    def __init__(self, text):
        super().__init__()
        self.hidden, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag in ("details", "style", "title", "summary"):
            self.hidden.append(tag)

    def handle_endtag(self, tag):
        if self.hidden and self.hidden[-1] == tag:
            self.hidden.pop()

    def handle_data(self, data):
        if not self.hidden or self.hidden[-1] == "summary":
            self.words += data.split()


def test_a_report_of_all_tasks_has_few_words_until_asked(tree):
    pytest.importorskip("matplotlib")
    run(tree, "--figures", "yes")
    page = (tree / "report.html").read_text(encoding="utf-8")
    found = Visible(page).words
    assert 600 < len(found) < MOST, len(found)
    assert "<small>no model trained for trust</small>" in page  # words beside a code
    # the answer comes first, the machine last
    places = [page.index(words) for words in (
        'class="matrix"', ">Figures</h2>", ">Claims</h2>", ">Where the numbers come from<",
        ">What was run<", "Machine: ")]
    assert places == sorted(places)


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
@pytest.mark.parametrize("width, dark", [(390, True), (1280, False)])
def test_in_a_browser_nothing_is_cut_faint_off_screen_or_loaded(tree, tmp_path, width, dark):
    pytest.importorskip("matplotlib")
    if not (tree / "report.html").exists():
        run(tree, "--figures", "yes")
    page = tmp_path / "page.html"
    text = (tree / "report.html").read_text(encoding="utf-8")
    text = html.escape(text.replace("</head>", f"<script>{MEASURE}</script></head>"))
    # in a frame: a window of Chromium is never as narrow as a phone
    style = f"width: {width}px; height: 900px; color-scheme: {'dark' if dark else 'light'}"
    page.write_text(f'<meta charset="utf-8"><iframe frameborder=0 style="{style}" srcdoc="{text}">'
                    "</iframe>", encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--user-data-dir={tmp_path}/profile", "--window-size=1400,1000",
         f"--blink-settings=preferredColorScheme={0 if dark else 1}",
         "--virtual-time-budget=20000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120)
    match = re.search("<body>RESULT(.*)END", done.stdout, re.S)
    assert match, done.stdout[-500:] + done.stderr[-500:]
    result = json.loads(html.unescape(match[1]))
    assert (result["width"], result["dark"]) == (width, dark) and result["page"] <= width
    assert result["matrix"] < 300
    assert result["origin"] == ["Origin: Fairness, No TFT", True]  # where a number leads to
    assert result["first"]["texts"] > 100 and result["all"]["texts"] > 1000
    for state in ("first", "all"):
        assert {kind: result[state][kind][:5] for kind in ("off", "cut", "faint")} == {
            "off": [], "cut": [], "faint": []}
    assert result["loaded"] == []
