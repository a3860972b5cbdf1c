"""The drawn pictures are whole, say what is in them, and keep their words inside their boxes."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pictures
import pytest
import stored

ROOT = Path(__file__).parents[2]


def eleven():
    """Eleven made-up chapters in four parts, with long titles."""
    first = stored.read_chapter(next((ROOT / "book").glob("01-*.ipynb")))
    long = "A title that is rather long and has $\\theta$ in it"
    needs = {2: "chapter 1", 8: "chapters 5 and 7", 10: "chapters 1 and 9"}
    made = [first] + [
        replace(first, number=n, title=f"{long} {n}", needs=needs.get(n, "chapter 1")) for n in range(2, 12)
    ]
    return [stored.Part(f"Part {i}", tuple(made[a:b])) for i, (a, b) in enumerate([(0, 2), (2, 4), (4, 8), (8, 11)])]


def tree(svg):
    return ElementTree.fromstring(svg)


@pytest.mark.parametrize("svg", [pictures.idea(), *(picture for _, _, picture in pictures.ties())])
def test_a_picture_is_valid_and_described(svg):
    root = tree(svg)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    assert root.find("title").text
    assert len(root.find("desc").text) > 30
    assert root.attrib["aria-label"].startswith(root.find("title").text)
    for element in root.iter():
        x, y = (float(element.get(a) or element.get(b) or 0) for a, b in (("x", "cx"), ("y", "cy")))
        assert 0 <= x + float(element.get("width", 0)) <= width
        assert 0 <= y <= height
    assert "#" not in svg, "a colour that does not follow the page"


def test_wires_and_weights_follow_the_labels():
    root = tree(pictures.idea())
    wires = [element.attrib["class"].split()[-1] for element in root.iter("path")]
    assert wires == [f"w{label}" for label in pictures.LABELS]
    numbers = [element.text for element in root.iter("text") if element.get("class") == "inside"]
    assert numbers == [str(v) for v in pictures.PHI] + [str(pictures.PHI[label]) for label in pictures.LABELS]


@pytest.mark.parametrize(("columns", "width"), [(1, 326), (4, 740)])
def test_the_map_links_every_chapter_and_keeps_words_inside(columns, width):
    links = {n: f"{n:02}.html?a&b" for n in range(1, 12)}
    root = tree(pictures.chapter_map(eleven(), links, columns=columns, width=width))
    boxes = list(root.iter("a"))
    assert [box.attrib["href"] for box in boxes] == list(links.values())
    places = []
    for box in boxes:
        frame = box.find("rect").attrib
        x, y, wide, high = (float(frame[name]) for name in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + wide <= width
        places.append((x, y, wide, high))
        for words in box.iter("text"):
            letters = 8.4 if words.get("class") == "title" else 7.0
            assert float(words.get("x")) + letters * len(words.text) <= x + wide + 2, words.text
            assert y < float(words.get("y")) < y + high
    for i, (x, y, wide, high) in enumerate(places):
        for u, v, w, h in places[i + 1 :]:
            assert x + wide <= u or u + w <= x or y + high <= v or v + h <= y, "boxes overlap"


def test_the_map_says_what_no_line_shows():
    links = dict.fromkeys(range(1, 12), "x")
    root = tree(pictures.chapter_map(eleven(), links, columns=4, width=740))
    assert [words.text for words in root.iter("text") if words.get("class") == "needs"] == ["also needs 5"]
