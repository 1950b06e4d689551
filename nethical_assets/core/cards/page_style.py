"""The style sheet of the HTML card: light and dark, wide and narrow, screen and paper.

What belongs here: how the page looks. What does not: what it says (``html``), what pictures show (``charts``).
"""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--panel:#f6f7f9;--ink:#1b2430;--muted:#5a6675;--line:#d9dee5;
--accent:#1f5fbf;--good:#1a7f47;--warn:#9a5b00;--bad:#b3261e}
@media screen and (prefers-color-scheme:dark){:root{--paper:#12161c;--panel:#1a2029;--ink:#e6eaf0;--muted:#9aa7b6;
--line:#303a47;--accent:#7fb0ff;--good:#5fd08c;--warn:#f0b35a;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Liberation Sans",sans-serif;overflow-wrap:anywhere}
main{max-width:1060px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 6px}
h2{font-size:1.2rem;margin:40px 0 12px;padding-bottom:6px;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:22px 0 8px}
p,ul{margin:8px 0}
ul{padding-left:22px}
code{font:.86em/1.4 ui-monospace,"Liberation Mono",Menlo,Consolas,monospace;background:var(--panel);padding:1px 4px;
border-radius:3px}
pre{background:var(--panel);padding:12px;border-radius:6px;overflow-x:auto}
pre code{padding:0;background:none}
.facts,.note,.nothing,caption{color:var(--muted)}
.facts{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.92rem}
.badge{display:inline-block;border:1px solid currentColor;border-radius:999px;padding:0 10px;font-size:.85rem;
font-weight:600;white-space:nowrap}
.promoted,.proven{color:var(--good)}.candidate,.declared{color:var(--warn)}.missing{color:var(--bad)}
.warning{border-left:4px solid var(--warn);background:var(--panel);padding:10px 14px;margin:16px 0}
nav{display:flex;flex-wrap:wrap;gap:4px 14px;margin:18px 0 0;font-size:.92rem}
a{color:var(--accent)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:20px}
figure{margin:0;background:var(--panel);border-radius:8px;padding:12px}
figcaption{font-weight:600;margin-bottom:6px}
figcaption small{display:block;font-weight:400;color:var(--muted)}
.chart{display:block;width:100%;max-width:380px;height:auto;margin:0 auto}
.scroll{overflow-x:auto;margin:10px 0}
table{border-collapse:collapse;width:100%;font-size:.92rem}
caption{text-align:left;font-size:.88rem;padding-bottom:4px}
th,td{text-align:left;vertical-align:top;padding:6px 12px 6px 0;border-bottom:1px solid var(--line)}
th{font-weight:600;vertical-align:bottom;overflow-wrap:normal}
td.number{font-variant-numeric:tabular-nums;white-space:nowrap;overflow-wrap:normal}
td.name{min-width:9em}
td small{color:var(--muted);display:block;font-size:.82em;white-space:normal}
.annex td:nth-child(4){min-width:16em}
.annex td:nth-child(2){min-width:11em}
.bar{width:100%;min-width:90px;height:10px;display:block;margin-top:6px}
.frame{fill:var(--paper);stroke:var(--line)}.grid{stroke:var(--line);stroke-width:.5}
.reference{stroke:var(--muted);stroke-dasharray:4 4}.whisker{stroke:var(--accent);stroke-width:1.5;opacity:.55}
.curve{fill:none;stroke:var(--accent);stroke-width:2;stroke-linejoin:round}.area{fill:var(--accent);opacity:.1}
.dot{fill:var(--accent)}.chosen{fill:var(--warn);stroke:var(--paper);stroke-width:1.5}
.rows,.right,.negative{fill:var(--accent)}.wrong,.positive{fill:var(--warn)}.rows{opacity:.6}
.tick{fill:var(--muted);font-size:11px}.axis{fill:var(--ink);font-size:12px}
.count{fill:var(--ink);font-size:20px;font-weight:600}
.key i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}
.key .p{background:var(--warn)}.key .n{background:var(--accent);margin-left:14px}
@media(max-width:560px){main{padding:16px 14px 40px}h1{font-size:1.4rem}table{font-size:.86rem}}
@media print{body{font-size:10.5pt}main{max-width:none;padding:0}nav{display:none}h2{margin-top:22px}
h2,h3,figcaption{break-after:avoid}figure,tr,.warning{break-inside:avoid}.charts{grid-template-columns:1fr 1fr}
.scroll{overflow:visible}table{font-size:8.5pt}td.number{white-space:normal}
.annex td:nth-child(n){min-width:0}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
