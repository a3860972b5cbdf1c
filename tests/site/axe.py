"""What the accessibility checker axe-core finds on a page. It comes from npm, and is used here only."""

import sys

from browsing import ROOT

sys.path.insert(0, str(ROOT / "tools" / "sphinx_ext"))
from npm_files import npm_files

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Formulas are read from their MathML; what draws them is thousands of hidden elements.
RUN = """async options => (await axe.run({exclude: [['.katex-html']]}, options)).violations
    .filter(v => ['serious', 'critical'].includes(v.impact))
    .flatMap(v => v.nodes.map(n => `${v.id}: ${n.target.join(' ')}: ${n.failureSummary}`.slice(0, 400)))"""
ONLY = {
    "all": {"runOnly": TAGS},
    "colours": {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}},
    "all but colours": {"runOnly": TAGS, "rules": {"color-contrast": {"enabled": False}}},
}


def code():
    folder = npm_files("axe-core@4.14.1", {r"package/axe\.min\.js": "axe.min.js"})
    return (folder / "axe.min.js").read_text(encoding="utf-8")


def violations(tab, rules="all"):
    """The serious and critical ones."""
    tab.evaluate(code())
    return tab.evaluate(RUN, ONLY[rules])
