"""The style of the HTML file: light and dark, printable, Okabe and Ito's colours, no red."""

STYLE = """
:root { --ink: #1a1c1f; --soft: #5b626b; --paper: #ffffff; --card: #f5f6f8; --rule: #d9dde2;
  --model: #0072b2; --size: #e69f00; --readers: #cc79a7; --pixels: #7d8590; --leak: #e69f00;
  --honest: #0072b2; --link: #005b8f }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a2a9b2; --paper: #14171b;
  --card: #1d2127; --rule: #343a42; --model: #56b4e9; --readers: #e0a2c5; --pixels: #9aa2ac;
  --honest: #56b4e9; --link: #7cc4ee } }
* { box-sizing: border-box }
html { color-scheme: light dark }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem }
h1 { font-size: 1.75rem; line-height: 1.25; margin: .25rem 0 .5rem }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--rule) }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem }
p { margin: .5rem 0; max-width: 46rem }
a { color: var(--link) }
small, .soft, figcaption { color: var(--soft) }
.soft { font-size: .92rem }
ul { padding-left: 1.2rem; max-width: 46rem }
li { margin: .25rem 0 }
code, pre { font: .86rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace }
pre { background: var(--card); padding: .7rem .9rem; border-radius: .4rem; white-space: pre-wrap;
  overflow-wrap: anywhere }
.notice { display: inline-block; border: 1px solid var(--rule); border-radius: 1rem; padding: .1rem .8rem;
  font-size: .85rem; color: var(--soft) }
.verdict { font-size: 1.08rem; background: var(--card); border-left: 4px solid var(--model);
  padding: .7rem 1rem; border-radius: 0 .4rem .4rem 0; max-width: none }
.warning { margin: 1.2rem 0; border: 3px solid #000; border-radius: .4rem; overflow: hidden; color: #000;
  background: #e69f00; -webkit-print-color-adjust: exact; print-color-adjust: exact }
.warning::before { content: ""; display: block; height: 14px;
  background: repeating-linear-gradient(-45deg, #000 0 14px, #e69f00 14px 28px) }
.warning strong { display: block; font-size: 1.5rem; letter-spacing: .02em; padding: .6rem 1rem 0 }
.warning p, .warning ul { margin: .3rem 0; padding: 0 1rem; max-width: none }
.warning ul { padding: 0 1rem .7rem 2.2rem }
.caution { margin: 1rem 0; padding: .5rem 1rem; border: 2px dashed var(--size); border-radius: .4rem }
figure { margin: 1rem 0; overflow-x: auto }
figure > svg { display: block; width: 100%; min-width: 34rem; height: auto; margin-bottom: .4rem }
figcaption { font-size: .88rem; max-width: 46rem; margin-top: .3rem }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .88rem; margin: .6rem 0 .2rem }
.key { display: inline-flex; align-items: center; gap: .35rem }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.5rem, 1fr)); gap: .8rem;
  align-items: start }
.panel { margin: 0; background: var(--card); border-radius: .5rem; padding: .6rem .6rem .4rem; min-width: 0 }
.panel > svg { min-width: 0 }
.panel b { font-size: .85rem }
.panel table { width: 100%; margin: .6rem 0; table-layout: fixed }
.panel td { text-align: center; font-size: .85rem; padding: .5rem .1rem }
.panel td b { font-size: 1.05rem; display: block }
.panel td.right { background: color-mix(in srgb, var(--model) 22%, transparent) }
.panel td.wrong { background: color-mix(in srgb, var(--size) 26%, transparent) }
.panel th { font-weight: 500; font-size: .75rem; padding: .3rem .1rem; overflow-wrap: anywhere }
.flow { display: flex; flex-wrap: wrap; align-items: stretch; gap: .3rem }
.flow div { flex: 1 1 9.5rem; background: var(--card); border: 1px solid var(--rule); border-radius: .5rem;
  padding: .6rem .8rem }
.flow b { display: block; font-size: .92rem; margin-bottom: .2rem }
.flow span { display: block; font-size: .88rem; color: var(--soft) }
.flow i { align-self: center; font-style: normal; color: var(--soft); font-size: 1.3rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
.wide > table { width: 100% }
th, td { text-align: left; padding: .32rem .7rem .32rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: top }
th { font-weight: 600 }
td.n, th.n { text-align: right; white-space: nowrap }
tr.model td { font-weight: 600 }
caption { text-align: left; color: var(--soft); font-size: .88rem; padding-bottom: .3rem }
.state { white-space: nowrap; font-weight: 600 }
.state.yes::before { content: "● " } .state.partly::before { content: "◐ " }
.state.not::before { content: "○ " } .state.none::before { content: "– " }
.keep { white-space: nowrap }
nav { font-size: .9rem; columns: 3 12rem; margin: 1rem 0; padding: .7rem 1rem; background: var(--card);
  border-radius: .5rem }
nav a { display: block; text-decoration: none; padding: .08rem 0 }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--rule); font-size: .88rem;
  color: var(--soft) }
svg text { fill: var(--ink); font: 12.5px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
svg .tick, svg .axis, svg .note { fill: var(--soft); font-size: 11.5px }
svg .note { fill: var(--ink) }
svg .head { font-weight: 600 }
svg .strong { font-weight: 650 }
svg .value { font-variant-numeric: tabular-nums; font-size: 12px }
svg .grid { stroke: var(--rule); stroke-width: 1 }
svg .zero { stroke: var(--ink); stroke-width: 1.5 }
svg .chance { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 4 4 }
svg .mean { stroke: var(--soft); stroke-width: 2 }
svg .hang { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 3 }
svg .curve { fill: none; stroke: var(--model); stroke-width: 2; stroke-linejoin: round }
svg .curve.thin { stroke-width: 1 }
svg .bar { stroke-width: 2.5; stroke-linecap: round }
svg .bar.model, svg .dot.model { stroke: var(--model) } svg .bar.size { stroke: var(--size) }
svg .bar.readers { stroke: var(--readers) } svg .bar.pixels { stroke: var(--pixels) }
svg .mark { stroke: var(--paper); stroke-width: 1 }
svg .mark.model { fill: var(--model) } svg .mark.size { fill: var(--size) }
svg .mark.readers { fill: var(--readers) } svg .mark.pixels { fill: var(--pixels) }
svg .dot { fill: var(--model); fill-opacity: .45; stroke-width: 1 }
svg .step.honest { fill: var(--honest) } svg .step.loss { fill: var(--pixels) }
svg .step.leak { fill: var(--leak) }
@media print {
  :root { --ink: #000; --soft: #444; --paper: #fff; --card: #f5f6f8; --rule: #ccc; --model: #0072b2;
    --readers: #cc79a7; --pixels: #7d8590; --honest: #0072b2; --link: #000 }
  html { color-scheme: light }
  body { font-size: 10.5pt }
  main { padding: 0; max-width: none }
  nav { display: none }
  figure, .panel, tr, .warning, .verdict, .flow { break-inside: avoid }
  h2, h3 { break-after: avoid }
  svg *, .panel td { -webkit-print-color-adjust: exact; print-color-adjust: exact }
  @page { margin: 16mm }
}
"""
