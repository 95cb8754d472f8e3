"""The drawing: well-formed, within its frame, with gaps where nothing is known."""

import re
import xml.etree.ElementTree as ET

import pytest

from leveret.panels import Shape, Unit
from leveret_producer.console.chart import HEIGHT, WIDTH, Frame, Line, Points, Window, describe, draw

WINDOW = Window(1000.0, 1100.0, 10.0)
FULL = tuple((1000.0 + 10 * place, float(place)) for place in range(11))
FRAME = Frame("p0", "Queue depth", Unit.JOBS, Shape.LINE, WINDOW)
STEPS = Frame("p0", "Replicas", Unit.PODS, Shape.STEP, WINDOW)


def lines_of(svg: str) -> list[str]:
    """The paths of the lines, the topmost last."""
    return [str(path.get("d")) for path in ET.fromstring(svg).iter("path") if "line" in str(path.get("class"))]


@pytest.mark.parametrize(
    ("points", "paths", "dots"),
    [
        pytest.param((), 0, 0, id="empty"),
        pytest.param(((1000.0, None), (1010.0, None)), 0, 0, id="nothing known"),
        pytest.param(((1050.0, 3.0),), 1, 1, id="one point is a dot"),
        pytest.param(FULL, 1, 0, id="a line"),
        pytest.param(FULL[:4] + FULL[7:], 2, 0, id="a hole"),
        pytest.param((*FULL[:5], (1050.0, None), *FULL[6:]), 2, 0, id="an unknown value"),
        pytest.param((*FULL[:3], FULL[5], *FULL[8:]), 3, 1, id="a lone reading between two holes"),
        pytest.param(((1000.0, 0.0), (1010.0, 1e18)), 1, 0, id="huge"),
        pytest.param(((1000.0, 0.0), (1010.0, 0.0)), 1, 0, id="all nought"),
        pytest.param(((1000.0, -5.0), (1010.0, 5.0)), 1, 0, id="below nought"),
    ],
)
@pytest.mark.parametrize("frame", [FRAME, STEPS], ids=["line", "step"])
def test_what_is_not_known_is_a_gap(frame: Frame, points: Points, paths: int, dots: int) -> None:
    svg = draw(frame, (Line("ready", "c0", points),))
    drawn = "".join(lines_of(svg))
    assert drawn.count("M") == paths
    assert drawn.count("h.01") == dots
    for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", drawn):
        assert 0 <= float(x) <= WIDTH
        assert 0 <= float(y) <= HEIGHT


def test_steps_go_across_and_then_up() -> None:
    svg = draw(STEPS, (Line("there", "c0", ((1000.0, 0.0), (1010.0, 0.0), (1020.0, 2.0))),))
    assert re.fullmatch(r"M[\d. ]+H[\d.]+H[\d.]+V[\d.]+", lines_of(svg)[0])


def test_the_first_line_lies_on_top() -> None:
    svg = draw(FRAME, (Line("a", "c0", FULL), Line("b", "c1", FULL)))
    styles = [path.get("class") for path in ET.fromstring(svg).iter("path") if "line" in str(path.get("class"))]
    assert styles == ["line c1", "line c0"]


def test_many_lines_are_all_drawn() -> None:
    svg = draw(FRAME, tuple(Line(f"queue {number}", f"c{number % 8}", FULL) for number in range(200)))
    assert len(lines_of(svg)) == 200


def test_an_empty_drawing_says_so() -> None:
    assert "no data" in draw(FRAME, ())
    assert describe(FRAME, ()).endswith("No data.")


def test_the_description_tells_the_values() -> None:
    gone = Line("unacked", "c1", FULL[:3])
    said = describe(FRAME, (Line("ready", "c0", FULL), gone, Line("x", "c2", ())))
    assert "ready: now 10, between 0 and 10." in said
    assert "unacked: not known now, between 0 and 2." in said
    assert "x:" not in said


def test_a_moment_tells_every_line_that_has_a_value_then() -> None:
    svg = draw(FRAME, (Line("ready", "c0", FULL), Line("unacked", "c1", ((1050.0, None),))))
    told = [str(title.text) for title in ET.fromstring(svg).iter("title")]
    assert "00:17:30 UTC\nready: 5\nunacked: –" in [re.sub(r"00:17:\d\d", "00:17:30", text) for text in told]


def test_names_cannot_break_out() -> None:
    svg = draw(FRAME, (Line('"><script>alert(1)</script>', "c0", FULL),))
    assert "<script" not in svg
    ET.fromstring(svg)


def test_the_drawing_can_be_read_aloud() -> None:
    root = ET.fromstring(draw(FRAME, (Line("ready", "c0", FULL),)))
    named = str(root.get("aria-labelledby")).split()
    assert root.get("role") == "img"
    assert [element.get("id") for element in root if element.tag in ("title", "desc")] == named
