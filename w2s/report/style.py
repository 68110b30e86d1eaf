"""How the page looks: two palettes, light and dark, and the rules of its parts.
"""

# Two palettes, written out in the page: printing takes the light one whatever the screen has.
LIGHT = """--paper: #ffffff; --ink: #1c2126; --pale: #57606a; --rule: #d9dee3; --link: #0a58a8;
--good: #cfe3f7; --good-ink: #0b3d70; --between: #fbe6b3; --between-ink: #5c4300;
--bad: #f6d5cf; --bad-ink: #7a1f10; --gone: #eceff1; --gone-ink: #57606a;"""
DARK = """--paper: #14181c; --ink: #e6e9ec; --pale: #a3adb7; --rule: #39424b; --link: #7db7f0;
--good: #123b63; --good-ink: #cfe6ff; --between: #54410a; --between-ink: #ffe7a8;
--bad: #5e231a; --bad-ink: #ffd9d2; --gone: #262d34; --gone-ink: #a3adb7;"""
STYLE = """
:root { color-scheme: light dark; LIGHT }
@media (prefers-color-scheme: dark) { :root { DARK } }
@media print { :root { color-scheme: light; LIGHT } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 1rem; }
p, li, figcaption { max-width: 46rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: .8rem;
  border-top: 2px solid var(--rule); }
ul { padding-left: 1.2rem; }
li { margin: .25rem 0; overflow-wrap: anywhere; }
a { color: var(--link); }
summary { cursor: pointer; padding: .5rem 0; border-top: 1px solid var(--rule); }
summary h2 { display: inline; font-size: 1.05rem; margin: 0; padding: 0; border: 0; }
summary:focus-visible, a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
h4 { margin: 1.5rem 0 .3rem; }
code { font: .9em ui-monospace, "DejaVu Sans Mono", monospace; background: var(--gone);
  padding: .1em .3em; border-radius: .2em; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0; }
.wide:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
caption span { position: sticky; left: 0; display: inline-block; width: max-content;
  max-width: calc(100vw - 3rem); }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--pale); vertical-align: bottom; }
tbody th { font-weight: 500; }
.long { min-width: 13rem; }
tbody tr { border-bottom: 1px solid var(--rule); }
td:not(.num) { min-width: 3rem; }
td { white-space: nowrap; }
.num { text-align: right; white-space: nowrap; }
.good, .between, .bad, .gone { font-weight: 600; }
.good { background: var(--good); color: var(--good-ink); }
.between { background: var(--between); color: var(--between-ink); }
.bad { background: var(--bad); color: var(--bad-ink); }
.gone { background: var(--gone); color: var(--gone-ink); font-weight: 400; }
.matrix { width: 100%; table-layout: fixed; margin: 1.5rem 0 .5rem; border-collapse: separate;
  border-spacing: 3px; font-size: .9rem; }
.matrix caption { font-size: 1.2rem; }
.matrix th { overflow-wrap: break-word; padding-left: 0; }
.matrix tbody th { font-weight: 600; font-size: 1rem; }
.matrix tbody tr { border: 0; }
.matrix small { display: block; font-weight: 400; color: var(--pale); }
.matrix td { white-space: normal; font-weight: 400; border-radius: .3rem; min-width: 0;
  overflow-wrap: break-word; }
.matrix span { display: block; }
.matrix .numbers { font-weight: 600; font-size: 1.05rem; }
.matrix a { color: inherit; text-decoration-thickness: 1px; text-underline-offset: 3px; }
@media (max-width: 50rem) {
  .matrix, .matrix tbody, .matrix tr, .matrix caption { display: block; }
  .matrix thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px;
    overflow: hidden; }
  .matrix tr { margin: 0 0 1.2rem; }
  .matrix tbody th, .matrix td { display: block; margin: 0 0 3px; }
  .matrix td::before { content: attr(data-column); display: block; font-size: .8rem; }
}
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr));
  gap: 1rem; }
.panels svg { min-width: 0; }
figure { margin: 1rem 0; }
figcaption { color: var(--pale); font-size: .9rem; }
svg { display: block; width: 100%; min-width: 46rem; height: auto; }
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .15rem .35rem; }
  td:not(.num, .good, .between, .bad, .gone) { white-space: normal; }
  svg { min-width: 0; }
  h2, caption { break-after: avoid; }
  tr, figure { break-inside: avoid; }
  tbody tr:first-child { break-before: avoid; }
  .good, .between, .bad, .gone { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
""".replace("LIGHT", LIGHT).replace("DARK", DARK)
