"""The look of Embridge's pages: calm, readable on a phone and on paper, by day and by night."""

from __future__ import annotations

__all__ = ["BASE", "CHART", "REPORT"]

BASE = """
:root {
  color-scheme: light dark;
  --ink: #1c2330; --soft: #5d6779; --line: #d9dee7; --paper: #fff; --raised: #f6f8fb;
  --right: #0a7f4f; --wrong: #b42318; --warn: #8a5a00; --heat: 46 125 190;
  --series-0: #1d5fa8; --series-1: #b4540a; --series-2: #7a3fa0; --series-3: #0a7f4f;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e7ebf2; --soft: #a3adbd; --line: #343c4a; --paper: #141922; --raised: #1b212c;
    --right: #35c98b; --wrong: #ff8f80; --warn: #f0b24a; --heat: 74 150 216;
    --series-0: #79b4f2; --series-1: #f0a05a; --series-2: #c79bea; --series-3: #35c98b;
  }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.6rem; margin: 0 0 .5rem } h2 { font-size: 1.05rem; margin: 1.5rem 0 .5rem }
small, .who, .note, .half { color: var(--soft); font-weight: normal; font-size: .85rem }
.verdict { border-left: .25rem solid var(--right); padding: .25rem .75rem; font-weight: 600 }
@property --fade { syntax: "\\3c length>"; inherits: false; initial-value: 0px }
@keyframes more { from, 90% { --fade: 3.5rem } to { --fade: 0px } }
.wide { overflow-x: auto; scrollbar-color: var(--soft) var(--raised); scrollbar-width: thin }
@supports (animation-timeline: scroll()) { @media screen { .wide {
  mask-image: linear-gradient(to right, #000 calc(100% - var(--fade)), rgb(0 0 0 / .15));
  animation: more linear; animation-timeline: scroll(self inline);
} } }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
tbody th { text-align: left } thead th { text-align: center }
"""
"""What every page shares: colours as variables, type, tables."""

CHART = """
.chart { display: block; width: 100%; height: auto; overflow: visible }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft) } svg .name { font-weight: 600; font-size: 13px; fill: var(--ink) }
svg .middle { text-anchor: middle } svg .end { text-anchor: end }
svg text.right { fill: var(--right) } svg text.wrong { fill: var(--wrong) }
svg .label { fill: var(--ink); paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round }
svg .grid { stroke: var(--line) } svg .frame { stroke: var(--soft) }
svg .level { stroke: var(--ink); stroke-dasharray: 1 4; stroke-linecap: round; stroke-width: 1.5 }
svg .line { fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round } svg .band { opacity: .16 }
svg .line.series-0 { stroke: var(--series-0) } svg .band.series-0 { fill: var(--series-0) }
svg .line.series-1 { stroke: var(--series-1); stroke-dasharray: 7 5 } svg .band.series-1 { fill: var(--series-1) }
svg .line.series-2 { stroke: var(--series-2); stroke-dasharray: 1 5 } svg .band.series-2 { fill: var(--series-2) }
svg .line.series-3 { stroke: var(--series-3); stroke-dasharray: 9 5 1 5 } svg .band.series-3 { fill: var(--series-3) }
"""
"""What a page with drawings adds."""

REPORT = (
    CHART
    + """
main { max-width: 70rem }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .4rem } h3 { font-size: 1rem; margin: 1.2rem 0 .4rem }
section section:first-child > h3, .beside-figures h3 { margin-top: .4rem }
h2, h3, p, li, dd, figcaption { overflow-wrap: anywhere }
.note { max-width: 46rem; margin: .3rem 0 .8rem }
strong.good, .verdict.good { --kind: var(--right) } strong.bad, .verdict.bad { --kind: var(--wrong) }
.verdict.warn { --kind: var(--warn) } .verdict.unknown { --kind: var(--soft) }
strong.good, strong.bad { color: var(--kind) }
.verdict {
  position: relative; margin: .8rem 0; padding: .75rem 1rem .75rem 3rem; border-left-color: var(--kind);
  background: var(--raised); border-radius: 0 .4rem .4rem 0; font-weight: normal; font-size: 1.05rem;
}
.verdict strong { color: var(--kind) }
.sign { position: absolute; left: 1rem; font-weight: 700; color: var(--kind) }
.cautions { border: 1px solid var(--warn); border-radius: .4rem; padding: .6rem 1rem; margin: 1rem 0 }
.cautions h2 { margin: 0; font-size: 1rem; color: var(--warn) } .cautions ul { margin: .25rem 0 0; padding-left: 1.2rem }
.wide { position: relative }
.wide:focus-visible { outline: 2px solid var(--series-0); outline-offset: 2px }
caption { text-align: left; height: 0; padding: 0; line-height: 0 }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
thead th { vertical-align: bottom; font-weight: 600; text-align: right; border-bottom-color: var(--soft) }
thead th:first-child, thead .words, td.words, td.left { text-align: left }
tbody th { font-weight: 600; position: sticky; left: 0; background: var(--paper) }
tbody th > span { display: block; max-width: 18rem; white-space: normal; overflow-wrap: break-word; min-width: 4rem }
th.code { position: static; font: .85rem/1.5 ui-monospace, monospace } th.code > span { max-width: 30rem; min-width: 11rem }
th.group { position: static; white-space: normal; color: var(--soft); font-weight: normal; padding-top: .8rem }
.stack { display: block } td.words { white-space: normal; min-width: 7rem }
.heat tbody td { border: 1px solid var(--paper); padding: .4rem .7rem }
.heat tbody tr:not(.aside) td { background: rgb(var(--heat) / calc(.03 + .37 * var(--depth))) }
tr.aside > * { color: var(--soft); font-weight: normal }
.heat tbody td small { color: inherit } .heat tbody td.plain { background: none; border: 0; border-bottom: 1px solid var(--line) }
.beside { display: flex; gap: .6rem; align-items: center; text-align: left } .beside svg { flex: none }
.beside .words { display: flex; gap: 0 .75rem } .beside strong { min-width: 11rem }
dl { margin: .8rem 0 } dt { font-weight: 600 } dd { margin: 0; color: var(--soft); font-size: .85rem }
.legend { display: grid; gap: .25rem 2rem; font-size: .9rem }
.legend { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)) }
.legend > div { display: flex; gap: .75rem; align-items: baseline } .legend dt { flex: 0 0 8rem; overflow-wrap: anywhere }
.ratios { display: grid; gap: .8rem 1.2rem; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); max-width: 64rem }
.ratios dt { font-size: .85rem } dd.big { color: var(--ink); font-size: 1.35rem; line-height: 1.3 }
figure { margin: .5rem 0 1rem } figcaption { font-size: .85rem; color: var(--soft); max-width: 46rem }
.beside-figures { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 30rem)) }
.panels { display: grid; gap: 1rem 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)) }
.panels .chart { max-width: 26rem }
.orders { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem }
.orders li { display: flex; gap: .4rem; align-items: center; min-width: 0 } .orders svg { flex: none }
svg .bars { opacity: .85 } svg .bars.right { fill: var(--right) } svg .bars.wrong { fill: var(--wrong) }
svg .span { stroke: var(--ink); stroke-width: 2 } svg .dot { fill: var(--ink) }
.flip-columns { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)) }
.column { font-weight: 600; margin: .6rem 0 .4rem }
.flips { list-style: none; margin: 0; padding: 0 } .flips > li { padding: .9rem 0; border-top: 1px solid var(--line) }
.asked { display: flex; flex-wrap: wrap; gap: .2rem 1rem; align-items: center; margin-bottom: .4rem } .asked .note { margin: 0 }
.asked > .item { font-weight: 600 } .asked > .item:not(.picture) { border: 0; padding: 0 }
.row { display: flex; gap: .75rem; align-items: flex-start; margin: .35rem 0 } .who { flex: 0 0 5rem; padding-top: .2rem }
.hits { display: flex; flex-wrap: wrap; gap: .35rem; flex: 1; margin: 0; padding: 0; list-style: none; min-width: 0 }
.hits > li { max-width: min(26rem, 100%) }
.item { display: inline-block; max-width: 100%; border: 1px solid var(--line); border-radius: .35rem }
.item { padding: .1rem .45rem; font-size: .9rem; overflow-wrap: anywhere }
.hits .item { max-width: 100% } .item.right { border-color: var(--right); box-shadow: inset 0 0 0 1px var(--right) }
.item.picture { position: relative; padding: .15rem; line-height: 0 } .item.right.picture { box-shadow: 0 0 0 2px var(--right) }
.item img { height: 4.5rem; width: auto; max-width: 9rem; object-fit: contain; border-radius: .2rem }
.item b { position: absolute; right: 0; top: 0; padding: 0 .3rem; border-radius: 0 .3rem; font-size: .75rem; line-height: 1.3 }
.item b { background: var(--right); color: var(--paper) }
.asked strong { overflow-wrap: anywhere; min-width: 0; font-size: .9rem }
.about, .about table { font-size: .8rem; color: var(--soft) } .about th { font-weight: normal; vertical-align: top }
.about td { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 10rem }
@media (max-width: 40rem) {
  .row { display: block; margin: .6rem 0 } .who { margin-bottom: .15rem } .item img { height: 3.5rem }
  tbody th > span { max-width: 9rem } th.code > span { max-width: 11rem } .legend dt { flex-basis: 7.5rem }
  th, td { padding: .3rem .45rem } .beside .words { display: block } .beside strong { display: block } .beside svg { width: 68px }
}
@media print {
  :root { color-scheme: light }
  main { max-width: none; padding: 0 } .wide { overflow: visible } tbody th { position: static }
  table, th.code { font-size: .68rem } th, td { padding: .15rem .3rem } small { font-size: inherit } .beside svg { width: 80px }
  .beside .words { display: block } .beside strong { display: block; min-width: 0 }
  figure, tr, .flips > li, .verdict, .ratios { break-inside: avoid } h2, h3 { break-after: avoid }
  .heat td, svg, .verdict { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
"""
)
"""What a report's page adds."""
