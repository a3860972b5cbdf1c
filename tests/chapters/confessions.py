"""Sentences that confess a control that was not run. A cheap one is a cell; a dear one stands in one section.

A chapter may have them in its section *What we did not test*, each with what it would cost; elsewhere three at most,
and none that confessions.json does not list already. That list may only get shorter. What a model "cannot tell" or
"never looks at" is no confession: its subject is not us.
"""

from __future__ import annotations

import re

SECTION = "What we did not test"
MOST = 3
OVER = {"10-recurrence": 4}  # these had more when the rule was made; to be lowered, never raised
DO = r"(?:try|test|measure|count|run|check|look|vary|tune|fit|train|compare|repeat|take (?:it|that) apart)"
DONE = r"(?:tried|tested|measured|counted|run|checked|varied|tuned|fitted|compared|repeated)"
CONFESSIONS = re.compile(
    rf"\b(?:we|I) (?:did not|didn.t|never)(?: yet)? (?:{DO}|{DONE})\b"
    rf"|\b(?:we|I) (?:have not|haven.t|had not|never)(?: yet)? {DONE}\b"
    r"|\bnor did (?:we|I)\b"
    r"|\b(?:we|I) (?:cannot|can.t|could not|couldn.t) (?:tell|say|reproduce|know)\b"
    rf"|\b(?:was|were|been|is|are) (?:not|never)(?: yet)? {DONE}\b"
    r"|\b(?:not|never)(?: been)? (?:tried|tested|measured)\b"
    rf"|\bnobody (?:{DONE}|was trained)\b"
    r"|\bcould have\b",
    re.IGNORECASE,
)


def confessions(markdown: list[str]) -> list[str]:
    """The sentences outside the section that is there for them, in order; markdown cell by cell."""
    text = "\n\n".join(markdown)
    text = re.sub(rf"^##+ {SECTION}\n.*?(?=^##? |\Z)", "", text, flags=re.S | re.M)
    sentences = re.split(r"(?<=[.?!])[)*_”]*\s+|\n\n", text)
    return [" ".join(sentence.split()) for sentence in sentences if CONFESSIONS.search(" ".join(sentence.split()))]
