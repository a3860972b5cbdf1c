"""What the accessibility checker axe-core finds on a page. It comes from npm, and is used here only."""

from pathlib import Path

from tools.npm_files import installed

CHECKERS = Path(__file__).resolve().parents[1] / "npm"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# What stands on a page a thousand times need not be judged a thousand times: formulas beyond the twentieth go, and so
# does what draws them (hidden from readers); of code one token of every kind stays.
THIN = """() => {
    document.querySelectorAll('.katex-html').forEach(e => e.remove());
    document.querySelectorAll('.katex').forEach((e, i) => { if (i >= 20) e.replaceWith('x'); });
    const seen = new Set();
    document.querySelectorAll('pre span').forEach(span => {
        const kind = `${span.className} in ${span.parentElement.closest('[class]').className}`;
        seen.has(kind) ? span.replaceWith(...span.childNodes) : seen.add(kind);
    });
    document.body.normalize();
}"""
RUN = """async options => (await axe.run(document, options)).violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .flatMap(v => v.nodes.map(n => `${v.id}: ${n.target.join(' ')}: ${n.failureSummary}`.slice(0, 400)))"""
ONLY = {
    "all": {"runOnly": TAGS},
    "colours": {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}},
    "all but colours": {"runOnly": TAGS, "rules": {"color-contrast": {"enabled": False}}},
}


def code():
    return (installed(CHECKERS) / "axe-core/axe.min.js").read_text(encoding="utf-8")


def violations(tab, rules="all"):
    """The serious and critical ones. The page is not whole afterwards."""
    tab.evaluate(THIN)
    tab.evaluate(code())
    return tab.evaluate(RUN, ONLY[rules])
