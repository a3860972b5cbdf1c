"""A chapter to fill in, with every part that tests/chapters/test_rules.py asks for.

python tools/new_chapter.py 12 my-question --title "My question"
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import nbformat
from nbformat import v4

from tyinglib.book import exercises

ROOT = Path(os.environ.get("BOOK_ROOT", Path(__file__).resolve().parent.parent))

QUESTION = """# {title}

**What is the question?**

Two or three sentences, and what makes it worth asking: a case, a number that surprises.

After this chapter you can

- do one thing;
- say another.

*Needs: chapter 1. Reading takes ... minutes, running ... seconds.*"""

SETUP = """import matplotlib.pyplot as plt
import torch

from tyinglib import selection
from tyinglib.book import exercises, chapter, plots
from tyinglib.book.ledger import Ledger

chapter.setup(seed=0)"""

WRONG = """<details><summary>The likely wrong guess.</summary>

**Not this one.** Why it is a likely guess, and wrong.

</details>"""

RIGHT = """<details><summary>What it shows.</summary>

**Right.** Why it is so, in a sentence or two.

</details>"""

PREDICT = """<div class="predict">

**Predict.** What will the next cell show?

{}

{}

</div>"""

SECTION = """## The first thing to see

What is measured, on which data; then let the reader guess.

"""

RUN = """theta = torch.tensor([1.0, 1.0, 7.0])
nearest = selection.project(theta, [0, 0, 0], dim=0)
figure, ax = plt.subplots(figsize=(6.4, 2.4))
ax.plot(theta, "o", color=plots.BLUE, label="before")
ax.plot(nearest, "s", color=plots.VERMILION, label="tied")
ax.set_xlabel("weight (number)")
ax.set_ylabel("value (no unit)")
ax.set_title("A title that says what to see")
ax.legend()
plt.show()"""

EXPLAIN = """What the picture shows, and why; say what it does *not* show.

## Where it fails

At least one case where the idea hurts or does nothing.

"""

FAILS = """print(f"moved: {(theta - nearest).norm():.1f}")"""

MEASURED = """## What we measured

Each row is asserted before it is printed."""

LEDGER = """ledger = Ledger(chapter={number})
ledger.add(
    4,
    "holds when",
    "What was measured, with its number.",
    bool(torch.allclose(nearest, torch.full((3,), 3.0))),
)
ledger"""

EXERCISES = """## Exercises

Write your answer into the cell below an exercise and run it: it tells you whether you are right, not what is right."""

EXERCISE = """<h5 class="lab">Exercise {number}.{count}</h5>

:::{{exercise}} A title
:label: ex-{number}-{count}

A question with an answer that a cell can check.
:::"""

SOLUTION = """<h5 class="lab">Solution</h5>

:::{{solution-start}} ex-{number}-{count}
:class: dropdown
:::"""

WHY = """Why it is so.

:::{solution-end}
:::"""

END = """## Key points

- One sentence each.

Tied weights found while learning: {cite:t}`zhang2018`."""


def cells(number: int, title: str) -> list[nbformat.NotebookNode]:
    """The cells, in order, with outputs yet to be made."""
    text, code = v4.new_markdown_cell, v4.new_code_cell
    alt = {"mystnb": {"image": {"alt": "Say what is in the picture: axes, curves, what rises and what does not."}}}
    made = [
        text(QUESTION.format(title=title)),
        code(SETUP),
        text(SECTION + PREDICT.format(RIGHT, WRONG)),
        code(RUN, metadata=alt),
        text(EXPLAIN + PREDICT.format(WRONG, RIGHT)),
        code(FAILS),
        text(MEASURED),
        code(LEDGER.format(number=number)),
        text(EXERCISES),
    ]
    for count in (1, 2, 3):
        name, answer = f"Exercise {number}.{count}", 12  # of several digits: their sum must not be the answer
        digest = exercises.answer_digest(name, answer)
        check = 'exercises.check_answer("{}", {}, "{}", digit_sum=3)'
        made += [
            text(EXERCISE.format(number=number, count=count)),
            code("my_answer = None  # a whole number\n" + check.format(name, "my_answer", digest)),
            text(SOLUTION.format(number=number, count=count), metadata={"jp-MarkdownHeadingCollapsed": True}),
            code(check.format(name, answer, digest), metadata={"jupyter": {"source_hidden": True}}),
            text(WHY),
        ]
    return [*made, text(END)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int)
    parser.add_argument("name", help="for the file: small letters and hyphens")
    parser.add_argument("--title", help="default: made from the name")
    options = parser.parse_args()
    there = [path.name for path in (ROOT / "book").glob(f"{options.number:02}-*.ipynb")]
    if there or not options.name.replace("-", "").isalnum() or options.name != options.name.lower():
        print(
            f"{there[0]} is there already" if there else f"a name has small letters and hyphens, got {options.name!r}"
        )
        return 2
    title = options.title or options.name.replace("-", " ").capitalize()
    notebook = v4.new_notebook(cells=cells(options.number, title))
    path = ROOT / f"book/{options.number:02}-{options.name}.ipynb"
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)} is there. Next: add '- file: book/{path.stem}' to _toc.yml, and")
    print(f"make notebooks CHAPTER={options.number:02}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
