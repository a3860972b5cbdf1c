"""Interactive figures: what they carry is what the library computes, and what they say is what they show."""

import base64
import io
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from nbval.plugin import get_sanitize_patterns
from PIL import Image

from tyinglib import L1, L2, OWL, ElasticNet, GroupLasso
from tyinglib.book import interactive, plots
from tyinglib.book.interactive import _balls, figures


def owl(*weights):
    return OWL(torch.tensor(weights, dtype=torch.float64))


PENALTIES = {
    "l1": L1(0.3),
    "squared l2": L2(0.5),
    "elastic net": ElasticNet(0.3, 0.5),
    "group lasso": GroupLasso(0.5, dim=1),
    "OWL": owl(0.7, 0.3),
}


@pytest.fixture(autouse=True)
def style():
    plots.use_style()


def bars(figure, *values):
    figure.subplots().bar(range(len(values)), [len(str(value)) for value in values])
    return f"Bars for {values!r} in one colour, on white, without a legend."


class Parts(HTMLParser):
    """The tags, and the contents of scripts and styles."""

    def __init__(self, code):
        super().__init__()
        self.tags, self.contents = [], {}
        self.feed(code)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if data.strip():
            tag, attributes = self.tags[-1]
            self.contents[tag, attributes.get("type")] = data


def parts_of(figure):
    bundle = figure._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    parts = Parts(bundle["text/html"])
    return bundle, parts, json.loads(parts.contents["script", "application/json"])


def picture(source):
    return Image.open(io.BytesIO(base64.b64decode(source.partition(";base64,")[2])))


# The output as a whole


def test_without_a_script_the_output_is_one_picture_with_words():
    bundle, parts, _ = parts_of(interactive.frames(bars, {"size": [1, 22]}, start=[22], figsize=(3, 2)))
    assert [tag for tag, _ in parts.tags] == ["figure", "img", "script", "style", "script"]
    still = parts.tags[1][1]
    assert bundle["text/plain"] == still["alt"] == bars_words(22)
    assert (still["width"], still["height"]) == ("300", "200")
    assert picture(still["src"]).size == (450, 300)
    assert len(picture(still["src"]).getcolors()) <= 64


def bars_words(*values):
    return f"Bars for {values!r} in one colour, on white, without a legend."


def test_nothing_is_loaded_from_anywhere():
    bundle, parts, _ = parts_of(interactive.solid({"l1": L1(1.0)}))
    assert not any("href" in attributes for _, attributes in parts.tags)
    assert all(attributes["src"].startswith("data:") for _, attributes in parts.tags if "src" in attributes)
    addresses = re.findall(r"https?://[^\s\"']+|@import|url\(|\bimport\b|fetch\(", bundle["text/html"])
    assert addresses == ["http://www.w3.org/2000/svg"]  # a name, which is not fetched


def test_words_cannot_break_out_of_the_output():
    def draw(figure, value):
        return f'</script><b>"quoted" & {value}</b>, and some more words to be long enough.'

    bundle, parts, data = parts_of(interactive.frames(draw, {"</script>": [1, 2]}))
    assert [tag for tag, _ in parts.tags] == ["figure", "img", "script", "style", "script"]
    assert data["frames"][0]["alt"] == parts.tags[1][1]["alt"] == bundle["text/plain"]
    assert data["controls"][0]["label"] == "</script>"


def test_nbval_compares_words_and_not_pictures_code_or_tables(monkeypatch, tmp_path):
    patterns = get_sanitize_patterns((Path(__file__).parents[1] / "sanitize.cfg").read_text(encoding="utf-8"))

    def compared(figure):
        text = figure._repr_mimebundle_()["text/html"]
        for pattern, replacement in patterns:
            text = re.sub(pattern, replacement, text)
        return text

    def thick(figure, value):
        words = bars(figure, value)
        figure.axes[0].bar(3, 5)
        return words

    control = {"size": [1, 22]}
    same = compared(interactive.frames(bars, control))
    assert compared(interactive.frames(thick, control)) == same
    assert compared(interactive.frames(lambda *a: bars(*a).replace("22", "21"), control)) != same
    assert compared(interactive.frames(bars, {"length": [1, 22]})) != same
    body = compared(interactive.solid({"l1": L1(1.0)}))
    assert compared(interactive.solid({"l1": 2 * np.array(corners(L1(1.0)))}, turn=15)) == body
    assert compared(interactive.solid({"l1": L1(1.0)}, turn=20)) != body
    source = Path(interactive.__file__).with_name("interactive.js").read_text(encoding="utf-8")
    for name in ("css", "js"):
        (tmp_path / f"interactive.{name}").write_text(source + "/* changed */", encoding="utf-8")
    monkeypatch.setattr(interactive, "__file__", str(tmp_path / "interactive.py"))
    assert compared(interactive.frames(bars, control)) == same


def corners(penalty):
    return _balls.solid(penalty, "").vertices


# frames


def test_a_grid_of_frames_is_stored_row_by_row_and_the_start_once():
    figure = interactive.frames(bars, {"size": [1, -0.5, np.inf], "kind": ["a", "b"]}, start=[np.inf, "a"])
    _, parts, data = parts_of(figure)
    assert data["controls"] == [
        {"label": "size", "values": ["1", "\N{MINUS SIGN}0.5", "∞"], "slider": True},
        {"label": "kind", "values": ["a", "b"], "slider": False},
    ]
    chosen = [(size, kind) for size in (1, -0.5, np.inf) for kind in "ab"]
    assert [frame["alt"] for frame in data["frames"]] == [bars_words(*values) for values in chosen]
    assert data["start"] == [2, 0]
    assert [("src" in frame) for frame in data["frames"]] == [True] * 4 + [False, True]
    pictures = [picture(frame.get("src", parts.tags[1][1]["src"])) for frame in data["frames"]]
    assert [image.format for image in pictures] == ["WEBP"] * 4 + ["PNG", "WEBP"]
    assert {image.size for image in pictures} == {(840, 510)}
    assert len({image.convert("RGB").tobytes() for image in pictures}) > 1


def test_values_may_be_tensors():
    _, _, data = parts_of(interactive.frames(bars, {"size": torch.tensor([0.25, 2.0])}))
    assert data["controls"][0]["values"] == ["0.25", "2"]
    assert data["start"] == [0]


@pytest.mark.parametrize(
    ("values", "start", "message"),
    [
        ({}, None, "at least one control"),
        ({"size": [1]}, None, r"'size' needs two or more values that read differently; got \['1'\]"),
        ({"size": [1, 1.0000001]}, None, "read differently"),
        ({"size": [1, 2]}, [3], r"among the values of 'size', \[1, 2\]; got 3"),
        ({"size": [1, 2]}, [1, 2], r"one value for each control, \['size'\]"),
    ],
)
def test_controls_that_cannot_work_are_refused(values, start, message):
    with pytest.raises(ValueError, match=message):
        interactive.frames(bars, values, start=start)


@pytest.mark.parametrize("words", [None, "", "too short"])
def test_a_frame_without_words_is_refused(words):
    with pytest.raises(ValueError, match=r"for \(1,\) it returned .*Say what is in the picture"):
        interactive.frames(lambda figure, value: words, {"size": [1, 2]})


# plane


def test_every_image_is_the_prox_and_zeros_stay_exact():
    _, _, data = parts_of(interactive.plane(PENALTIES))
    places = _balls.grid(2.0, 41)
    assert data["places"][:2] == ["\N{MINUS SIGN}2", "\N{MINUS SIGN}1.9"]
    assert data["names"] == list(PENALTIES)
    for name, shipped in zip(PENALTIES, data["numbers"]["images"], strict=True):
        assert len(shipped) == 41 * 41
        for row, column in ((0, 0), (17, 23), (20, 22), (30, 20), (40, 5)):
            point = torch.tensor([[places[column]], [places[row]]], dtype=torch.float64)
            image = PENALTIES[name].prox(point, 1.0).flatten().numpy()
            shown = np.array(shipped[41 * row + column])
            assert np.abs(shown / 1000 - image).max() <= 0.0005 + 1e-12
            assert ((shown == 0) == (image == 0)).all()
    zeros = {name: sum(0 in pair for pair in data["numbers"]["images"][k]) for k, name in enumerate(PENALTIES)}
    assert zeros["l1"] == 41**2 - 34**2  # |x| <= 0.3: seven places of 41, on either axis
    assert zeros["squared l2"] == 41**2 - 40**2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_zero_but_for_rounding_is_zero(dtype):
    figure = interactive.plane({"OWL": OWL(torch.tensor([0.7, 0.3], dtype=dtype))}, start=(0.6, 0.4))
    assert repr(figure).endswith("OWL moves (0.6, 0.4) to (0, 0). Both weights are exactly zero.")
    shown = np.array(parts_of(figure)[2]["numbers"]["images"][0]).reshape(41, 41, 2)
    tenths = np.abs(np.arange(-20, 21))  # the places, in whole numbers
    larger, total = np.maximum(tenths[:, None], tenths), tenths[:, None] + tenths
    assert ((shown == 0).all(-1) == ((larger <= 7) & (total <= 10))).all()


def test_small_images_do_not_become_zero():
    assert figures._thousandths(np.array([0.0, 0.0001, -0.0001, 0.0016])).tolist() == [0, 1, -1, 2]


def test_sizes_count_as_equal_only_where_the_map_made_them_so():
    _, _, data = parts_of(interactive.plane(PENALTIES))
    ties = dict(zip(PENALTIES, data["numbers"]["ties"], strict=True))
    assert ties["OWL"][41 * 30 + 32] == "1"  # (1.2, 1.0): 0.2 apart in size, and the weights are 0.4 apart
    assert ties["OWL"][41 * 32 + 32] == "0"  # (1.2, 1.2): equal before
    assert ties["OWL"][41 * 10 + 32] == "1"  # (1.2, -1.0)
    assert ties["OWL"][41 * 20 + 39] == "0"  # (1.9, 0)
    away = [
        [x for x, pair in zip(ties[n], data["numbers"]["images"][k], strict=True) if any(pair)]
        for k, n in enumerate(ties)
    ]
    assert [("1" in row) for row in away] == [False, False, False, False, True]


@pytest.mark.parametrize("name", PENALTIES)
def test_the_outline_is_where_the_penalty_is_that_of_the_first_unit(name):
    penalty = PENALTIES[name]
    level = penalty.value(torch.tensor([[1.0], [0.0]], dtype=torch.float64))
    outline = _balls.outline(penalty, name)
    values = torch.stack([penalty.value(torch.tensor(point)[:, None]) for point in outline])
    torch.testing.assert_close(values, level.expand(len(outline)), rtol=1e-10, atol=0)
    assert outline[0] == pytest.approx([1, 0])
    assert len(outline) == 72
    assert outline[9, 0] == pytest.approx(outline[9, 1])


def test_the_outline_may_reach_far_where_a_penalty_is_weak():
    class Ellipse:
        def value(self, weight):
            return (weight.flatten() ** 2 * torch.tensor([1.0, 0.04])).sum()

        def prox(self, weight, step_size):
            return weight

    outline = _balls.outline(Ellipse(), "ellipse")
    assert outline[18] == pytest.approx([0, 5])
    assert outline[0] == pytest.approx([1, 0])


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ((1.2, 0.4), "OWL moves (1.2, 0.4) to (0.5, 0.1)."),
        (
            (1.2, -1.0),
            "OWL moves (1.2, \N{MINUS SIGN}1) to (0.6, \N{MINUS SIGN}0.6). The two have become equal in size.",
        ),
        ((0.24, 1.9), "OWL moves (0.2, 1.9) to (0, 1.2). The first weight is exactly zero."),
        ((1.9, 0), "OWL moves (1.9, 0) to (1.2, 0). The second weight is exactly zero."),
        ((0.4, 0.3), "OWL moves (0.4, 0.3) to (0, 0). Both weights are exactly zero."),
    ],
)
def test_it_says_where_the_point_goes(start, words):
    figure = interactive.plane({"OWL": owl(0.7, 0.3)}, start=start)
    assert repr(figure) == "Two weights as a point in the plane. " + words


@pytest.mark.parametrize(
    ("penalties", "options", "message"),
    [
        ({}, {}, "penalties must name at least one choice"),
        ({"l1": L1(0.5)}, {"start": (3, 0)}, r"limit must be larger .* got 2.0 and \(3, 0\)"),
        ({"l1": L1(0.5)}, {"start": (0, 0), "limit": 0}, "limit must be larger"),
        ({"nothing": L1(0.0)}, {}, "the ball of 'nothing' has no boundary"),
        ({"OWL": owl(1.0, 0.5, 0.2)}, {}, "w must have"),
    ],
)
def test_planes_that_cannot_be_drawn_are_refused(penalties, options, message):
    with pytest.raises(ValueError, match=message):
        interactive.plane(penalties, **options)


# solid

BODIES = {  # corners, faces
    "l1": (L1(2.0), 6, 8),
    "largest entry": (owl(1.0, 0.0, 0.0), 8, 6),
    "OWL": (owl(1.0, 0.7, 0.3), 26, 48),
    "two largest": (owl(1.0, 1.0, 0.0), 14, 12),
    "the dual of OWL": (
        [
            [s * a, t * b, u * c]
            for a, b, c in itertools.permutations((3.0, 2.0, 1.0))
            for s in (-1, 1)
            for t in (-1, 1)
            for u in (-1, 1)
        ],
        48,
        26,
    ),
    "cube with points on edges and faces": (np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=3))), 8, 6),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_have_the_corners_and_faces_that_geometry_says(name):
    shape, corners, faces = BODIES[name]
    body = _balls.solid(shape, name)
    assert (len(body.vertices), len(body.faces)) == (corners, faces)
    edges = {frozenset(edge) for face in body.faces for edge in zip(face, face[1:] + face[:1], strict=True)}
    assert corners - len(edges) + faces == 2  # Euler
    for face, normal in zip(body.faces, body.normals, strict=True):
        distances = body.vertices @ normal
        assert distances[face] == pytest.approx(distances.max())  # flat, and nothing lies outside
        ring = body.vertices[face]
        turns = np.cross(np.roll(ring, -1, 0) - ring, np.roll(ring, -2, 0) - np.roll(ring, -1, 0)) @ normal
        assert (turns > 0).all()  # in turn, all round
    for axis, place in enumerate(_balls.pierced(body)):
        assert (
            body.normals[:, axis] * place <= (body.normals * body.vertices[[f[0] for f in body.faces]]).sum(1) + 1e-9
        ).all()


def test_the_ball_of_a_penalty_meets_the_axes_at_one_and_marks_zeros():
    body = _balls.solid(owl(1.0, 0.7, 0.3), "OWL")
    assert _balls.pierced(body) == pytest.approx([1, 1, 1])
    for corner in body.vertices:
        sizes = np.abs(corner[np.abs(corner) > 1e-9])
        assert sizes == pytest.approx(1 / np.cumsum([1.0, 0.7, 0.3])[len(sizes) - 1])
    counts = [3 - len(corner[np.abs(corner) > 1e-9]) for corner in body.vertices]
    _, _, data = parts_of(interactive.solid({"OWL": owl(1.0, 0.7, 0.3)}))
    assert data["numbers"][0][3] == counts
    assert [counts.count(zeros) for zeros in (2, 1, 0)] == [6, 12, 8]


def test_it_says_what_the_body_is_and_how_it_stands():
    figure = interactive.solid({"a cube": owl(1.0, 0.0, 0.0)}, turn=-20.4, tilt=200)
    assert repr(figure) == (
        "a cube: a body with 8 corners and 6 faces. No weight is zero at 8 corners. "
        "Turned by \N{MINUS SIGN}20°, tilted by 90°."
    )


@pytest.mark.parametrize("turn", [0, 15, 200])
@pytest.mark.parametrize("tilt", [-90, 25])
def test_the_view_is_a_rotation(turn, tilt):
    turned = _balls.view(turn, tilt)
    assert turned @ turned.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(turned) == pytest.approx(1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (GroupLasso(1.0, dim=1), "'it' is not made of flat faces"),
        (L2(1.0), "not made of flat faces"),
        (L1(0.0), "no boundary"),
        ([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], "encloses no volume"),
        ([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], "encloses no volume"),
        ([[0.0, 0], [1, 0]], r"shape \(n, 3\); got \(2, 2\)"),
        ([[0.0, 0, np.nan]] * 5, "finite corners"),
    ],
)
def test_bodies_that_cannot_be_drawn_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        interactive.solid({"it": shape})


def test_there_must_be_a_body():
    with pytest.raises(ValueError, match="solids must name at least one choice"):
        interactive.solid({})
