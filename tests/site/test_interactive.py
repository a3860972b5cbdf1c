"""Every interactive figure of every page is operated: by keyboard, mouse and touch, without a script, and in print."""

import math
import re

import pytest
from browsing import PAGES, SITE, served
from made_up import bundles

FIGURE = ".tyinglib-interactive"
WITH_FIGURES = [page for page in PAGES if 'class="tyinglib-interactive"' in (SITE / page).read_text(encoding="utf-8")]
MADE_UP = "book/made-up.html"
WITH_PLANES = [
    MADE_UP,
    *(page for page in WITH_FIGURES if 'data-kind="plane"' in (SITE / page).read_text(encoding="utf-8")),
]
WITH_BODIES = [
    MADE_UP,
    *(page for page in WITH_FIGURES if 'data-kind="solid"' in (SITE / page).read_text(encoding="utf-8")),
]
SHELL = """<!doctype html><html lang="en" data-theme="{mode}"><meta charset="utf-8"><title>Made up</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<link rel="stylesheet" href="../_static/styles/pydata-sphinx-theme.css">
<link rel="stylesheet" href="../_static/book.css"><main class="bd-main"><div class="bd-content">
<div class="cell_output">{outputs}</div></div></main><p style="height: 100vh"></html>"""
STATE = """e => JSON.stringify([e.querySelector('output').textContent,
    [...e.querySelectorAll('img')].filter(i => !i.hidden).map(i => i.alt), e.querySelector('svg')?.innerHTML])"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The book's pages and a made-up one beside them, as the notebook's output alone would make it."""
    folder = tmp_path_factory.mktemp("site")
    for entry in SITE.iterdir():
        if entry.name != "book":
            (folder / entry.name).symlink_to(entry)
    (folder / "book").mkdir()
    for entry in (SITE / "book").iterdir():
        (folder / "book" / entry.name).symlink_to(entry)
    outputs = "".join(f'<div class="output text_html">{bundle["text/html"]}</div>' for bundle in bundles())
    for mode, name in (("light", MADE_UP), ("dark", MADE_UP.replace("up", "up-dark"))):
        (folder / name).write_text(SHELL.format(mode=mode, outputs=outputs), encoding="utf-8")
    with served(folder) as address:
        yield address


@pytest.fixture(params=[MADE_UP, *WITH_FIGURES], scope="module")
def page(request):
    return request.param


@pytest.fixture(scope="module")
def tab(keep_open, page):
    """The page, opened once for the tests that operate it: none relies on what another left."""
    tab = keep_open(page, has_touch=True)
    yield tab
    tab.close()


def figures(tab, kind=None):
    found = tab.locator(FIGURE + (f"[data-kind={kind}]" if kind else ""))
    return [found.nth(number) for number in range(found.count())]


def changes(figure, act):
    """Do something; what the figure shows and what it says must both be other than before."""
    before = figure.evaluate(STATE)
    said = figure.locator("output").text_content()
    act()
    assert figure.evaluate(STATE) != before
    assert figure.locator("output").text_content() not in ("", said)


def test_pages_carry_the_code_once(open_page):
    for page in WITH_FIGURES:
        text = (SITE / page).read_text(encoding="utf-8")
        assert "interactive-code" not in text
        assert len(re.findall(r'<script defer="defer" src="[^"]*/interactive\.js', text)) == 1
        assert len(re.findall(r'<link [^>]*href="[^"]*/interactive\.css', text)) == 1
    for page in set(PAGES) - set(WITH_FIGURES):
        assert "/interactive.js" not in (SITE / page).read_text(encoding="utf-8")


def test_every_control_works_by_keyboard(tab, page):
    assert figures(tab)
    for figure in figures(tab):
        sliders = figure.locator("input[type=range]")
        for number in range(sliders.count()):
            slider = sliders.nth(number)
            slider.focus()
            at_end = slider.input_value() == slider.get_attribute("max")
            valuetext = slider.get_attribute("aria-valuetext")
            changes(figure, lambda end=at_end: tab.keyboard.press("ArrowLeft" if end else "ArrowRight"))
            assert slider.get_attribute("aria-valuetext") != valuetext
            assert slider.get_attribute("aria-valuetext") in slider.locator("xpath=..").inner_text()
        groups = figure.locator("fieldset")
        for number in range(groups.count()):
            groups.nth(number).locator("input:checked").focus()
            changes(figure, lambda: tab.keyboard.press("ArrowRight"))
        assert sliders.count() + groups.count() > 0
        tab.keyboard.press("Enter")  # does not send the form away
    assert tab.url.endswith(page)


def test_every_frame_can_be_reached_and_is_the_only_one_seen(tab):
    for figure in figures(tab, "frames"):
        start = figure.locator("img:visible").get_attribute("alt")
        alts = figure.locator("img").evaluate_all("images => images.map(i => i.alt)")
        assert len(alts) == len(set(alts)) > 1
        seen = {start}
        sizes = figure.evaluate("e => [...e.querySelectorAll('form > label input, fieldset')].map(x => x.max ?? 0)")
        for number, top in enumerate(sizes):
            control = figure.locator("form > label input, fieldset").nth(number)
            choices = control.locator("input").count() or int(top) + 1
            target = control.locator("input:checked") if control.locator("input").count() else control
            target.focus()
            for key in ["ArrowLeft"] * choices + ["ArrowRight"] * choices:
                tab.keyboard.press(key)
                images = figure.locator("img:visible")
                assert images.count() == 1
                seen.add(images.get_attribute("alt"))
                assert images.evaluate("i => i.complete && i.naturalWidth > 100")
                assert figure.locator("output").text_content() in ("", images.get_attribute("alt"))
        assert len(seen) >= sum(int(top) or 1 for top in sizes) + 1
        assert seen <= set(alts)


@pytest.mark.parametrize("kind", ["plane", "solid"])
def test_drawings_answer_to_arrow_keys_and_mouse(tab, kind):
    for figure in figures(tab, kind):
        drawing = figure.locator("svg")
        drawing.scroll_into_view_if_needed()
        assert drawing.get_attribute("role") == "application"
        assert "arrow keys" in drawing.get_attribute("aria-label")
        assert figure.locator("img:visible").count() == 0, "the still is gone"
        drawing.focus()
        for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"):
            changes(figure, lambda key=key: tab.keyboard.press(key))
        box = drawing.bounding_box()
        x, y = box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.4
        tab.mouse.move(x, y)
        tab.mouse.down()
        changes(figure, lambda x=x, y=y: tab.mouse.move(x + 60, y + 40, steps=4))
        tab.mouse.up()
        state = figure.evaluate(STATE)
        tab.mouse.move(x - 60, y, steps=3)
        assert figure.evaluate(STATE) == state, "it moves though nothing is pressed"


PHONE = {"width": 390, "has_touch": True, "is_mobile": True}
STEP = 384 / 40 / 440  # from one place of a plane to the next, as a part of its width


def touch(tab, *path):
    """A finger is set down, moved and lifted."""
    client = tab.context.new_cdp_session(tab)
    for number, (x, y) in enumerate(path):
        kind = "touchMove" if number else "touchStart"
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    client.detach()


def way(start, end, moves=10):
    return [tuple(a + (b - a) * k / moves for a, b in zip(start, end, strict=True)) for k in range(moves + 1)]


def in_the_middle(figure):
    """The drawing of a figure, in the middle of the window, and where it is: left, top, width."""
    drawing = figure.locator("svg")
    drawing.evaluate("e => e.scrollIntoView({block: 'center', behavior: 'instant'})")
    box = drawing.bounding_box()
    return drawing, box["x"], box["y"], box["width"]


def handle(figure):
    box = figure.locator(".handle").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("page", WITH_PLANES)
def test_a_finger_drags_the_point_to_where_it_is_lifted(open_page, page):
    tab = open_page(page, **PHONE)
    assert figures(tab, "plane")
    for figure in figures(tab, "plane"):
        _, left, top, width = in_the_middle(figure)
        scrolled = tab.evaluate("scrollY")
        for x, y in ((0.4, 0.6), (0.7, 0.2), (0.2, 0.3)):  # there and back, and across
            end = left + x * width, top + y * width
            changes(figure, lambda figure=figure, end=end: touch(tab, *way(handle(figure), end)))
            assert math.dist(handle(figure), end) <= 0.75 * STEP * width  # half the diagonal is 0.71
        assert tab.evaluate("scrollY") == scrolled


@pytest.mark.parametrize("page", WITH_PLANES)
def test_a_tap_moves_the_point_to_where_it_is(open_page, page):
    tab = open_page(page, **PHONE)
    for figure in figures(tab, "plane"):
        _, left, top, width = in_the_middle(figure)
        there = left + 0.3 * width, top + 0.7 * width
        changes(figure, lambda there=there: tab.touchscreen.tap(*there))
        assert math.dist(handle(figure), there) <= 0.75 * STEP * width


@pytest.mark.parametrize("page", [*WITH_PLANES, *(page for page in WITH_BODIES if page not in WITH_PLANES)])
def test_a_finger_that_scrolls_past_moves_nothing(open_page, page):
    tab = open_page(page, **PHONE)
    for figure in (*figures(tab, "plane"), *figures(tab, "solid")):
        _, left, top, width = in_the_middle(figure)
        scrolled, state = tab.evaluate("scrollY"), figure.evaluate(STATE)
        tab.evaluate("{ window.scrolled = false; addEventListener('scrollend', () => (window.scrolled = true)); }")
        touch(tab, *way((left + 0.2 * width, top + 0.8 * width), (left + 0.22 * width, top + 0.3 * width)))
        tab.wait_for_function("window.scrolled")
        assert tab.evaluate("scrollY") > scrolled + 50
        assert figure.evaluate(STATE) == state


@pytest.mark.parametrize("page", WITH_BODIES)
def test_a_finger_that_moves_sideways_turns_a_body(open_page, page):
    tab = open_page(page, **PHONE)
    for figure in figures(tab, "solid"):
        _, left, top, width = in_the_middle(figure)
        turn = figure.locator("input[type=range]").first
        before = int(turn.get_attribute("aria-valuetext").rstrip("°"))
        x, y = left + 0.3 * width, top + 0.5 * width
        touch(tab, *way((x, y), (x + 80, y + 5)))
        after = int(turn.get_attribute("aria-valuetext").rstrip("°"))
        assert after - before == pytest.approx(80 * 440 / width / 2, abs=5)  # half a degree for each of 440 units


def test_a_second_finger_does_not_take_the_point(open_page):
    tab = open_page(MADE_UP, **PHONE)
    figure = figures(tab, "plane")[0]
    _, left, top, width = in_the_middle(figure)
    start, second = handle(figure), {"x": left + 0.2 * width, "y": top + 0.9 * width}
    client = tab.context.new_cdp_session(tab)
    fingers = [{"x": start[0], "y": start[1], "id": 0}, {**second, "id": 1}]
    for kind, down in (("touchStart", fingers[:1]), ("touchStart", fingers), ("touchMove", fingers), ("touchEnd", [])):
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": down})
    assert math.dist(handle(figure), start) <= 0.75 * STEP * width


def test_the_point_goes_where_the_library_says(open_page):
    tab = open_page(MADE_UP)
    figure = figures(tab, "plane")[0]
    first, second = (figure.locator("input[type=range]").nth(number) for number in (0, 1))
    words = figure.locator("output")
    assert words.text_content() == "l1 moves (1.2, 0.4) to (0.7, 0). The second weight is exactly zero."
    second.fill("10")
    assert words.text_content() == "l1 moves (1.2, \u22121) to (0.7, \u22120.5)."
    figure.get_by_label("OWL").check()
    second.fill("9")
    assert (
        words.text_content() == "OWL moves (1.2, \u22121.1) to (0.65, \u22120.65). The two have become equal in size."
    )
    first.fill("20")
    assert words.text_content() == "OWL moves (0, \u22121.1) to (0, \u22120.4). The first weight is exactly zero."
    figure.get_by_label("group lasso").check()
    second.fill("18")
    assert words.text_content() == "group lasso moves (0, \u22120.2) to (0, 0). Both weights are exactly zero."
    lit = figure.locator("line[stroke-width='4']").evaluate_all("lines => lines.map(l => l.style.display)")
    assert lit == ["", ""]


def test_a_body_turns_the_way_it_is_pulled(open_page):
    tab = open_page(MADE_UP)
    figure = figures(tab, "solid")[0]
    drawing = figure.locator("svg")
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    marks = """(e, [x, y]) => [...e.querySelectorAll('path[transform]')].map(p => {
        const box = p.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    }).sort((a, b) => Math.hypot(a[0] - x, a[1] - y) - Math.hypot(b[0] - x, b[1] - y))[0]"""
    before = drawing.evaluate(marks, [x, y])
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 12, y + 12, steps=4)
    tab.mouse.up()
    after = drawing.evaluate(marks, before)
    assert 2 < after[0] - before[0] < 24
    assert 2 < after[1] - before[1] < 24

    turn = figure.locator("input[type=range]").first
    turn.fill("0")
    assert turn.get_attribute("aria-valuetext") == "\u2212180°"
    drawing.press("ArrowLeft")
    assert turn.get_attribute("aria-valuetext") == "175°"
    for _ in range(40):
        drawing.press("ArrowDown")
    assert figure.locator("output").text_content().endswith("Turned by 175°, tilted by 90°.")


def test_without_a_script_there_is_a_still_picture_with_the_same_words(open_page, page):
    still_page, fresh_page = open_page(page, "light", 360, java_script_enabled=False), open_page(page)
    for quiet, figure in zip(figures(still_page), figures(fresh_page), strict=True):
        assert quiet.locator("form, svg, output").count() == 0
        assert quiet.locator("img").count() == 1
        still = quiet.locator("img")
        assert still.is_visible()
        assert still.evaluate("i => i.complete && i.naturalWidth > 300")
        assert still.bounding_box()["width"] <= 360
        alt = still.get_attribute("alt")
        assert len(alt) >= 40
        if figure.get_attribute("data-kind") == "frames":
            assert figure.locator("img:visible").get_attribute("alt") == alt
            assert figure.locator("output").text_content() == "", "said twice"
        else:
            assert alt.endswith(figure.locator("output").text_content())


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_it_fits_a_phone_and_follows_the_page(open_page, page, mode):
    dark_made_up = page == MADE_UP and mode == "dark"
    tab = open_page(MADE_UP.replace("up", "up-dark") if dark_made_up else page, mode, 360)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    for figure in figures(tab):
        for part in ("form", "img:visible", "svg", "fieldset", "label"):
            for element in figure.locator(part).all():
                box = element.bounding_box()
                assert box["x"] >= 0, part
                assert box["x"] + box["width"] <= 360, part
        drawn = figure.locator("img:visible, svg").first
        turned = mode == "dark" and not drawn.evaluate("e => !!e.closest('.tag_photo')")  # a photo stays as it is
        assert ("invert" in drawn.evaluate("e => getComputedStyle(e).filter")) == turned
        assert drawn.evaluate("e => getComputedStyle(e).backgroundColor") == "rgba(0, 0, 0, 0)"
        for target in figure.locator("input").all():  # WCAG 2.5.8: 24 pixels, the label included
            assert target.locator("xpath=..").bounding_box()["height"] >= 24


def test_print_shows_the_picture_and_no_controls(tab):
    tab.emulate_media(media="print")
    for figure in figures(tab):
        assert not figure.locator("form").is_visible()
        assert figure.locator("img:visible, svg").first.is_visible()
    tab.emulate_media(media="screen")
