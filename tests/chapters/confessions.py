"""Sentences that confess a control that was not run. A cheap one is a cell; a dear one stands in one section.

A chapter may have them in its section *What we did not test*, each with what it would cost; elsewhere three at most,
and none that confessions.json does not list already. That list may only get shorter.
"""

from __future__ import annotations

import re

SECTION = "What we did not test"
MOST = 3
DONE = r"(?:try|tried|test|tested|measure|measured|count|counted|run|ran|check|checked|look|looked|vary|varied)"
CONFESSIONS = re.compile(
    rf"\bwe (?:did not|didn.t|have not|haven.t|had not|never)(?: yet)? {DONE}\b"
    r"|\bwe (?:cannot|can.t|could not|couldn.t) (?:tell|say|reproduce|know)\b"
    r"|\b(?:was|were|been) (?:not|never)(?: yet)? (?:tried|tested|measured|counted|run|checked)\b"
    r"|\b(?:not|never)(?: been)? (?:tried|tested|measured)\b"
    r"|\bnobody (?:tried|tested|measured)\b"
    r"|\bcould have\b",
    re.IGNORECASE,
)


def confessions(markdown: list[str]) -> list[str]:
    """The sentences outside the section that is there for them, in order; markdown cell by cell."""
    text = "\n\n".join(markdown)
    text = re.sub(rf"^##+ {SECTION}\n.*?(?=^##? |\Z)", "", text, flags=re.S | re.M)
    sentences = re.split(r"(?<=[.?!])[)*_”]*\s+|\n\n", text)
    return [" ".join(sentence.split()) for sentence in sentences if CONFESSIONS.search(" ".join(sentence.split()))]
