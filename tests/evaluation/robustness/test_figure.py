"""The figure: what its panels show, its bytes, and hostile names."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from PIL import Image

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.drawing import check_figure_path, legend_text, set_axes
from imagenet_captions.evaluation.robustness.measure import measure_robustness
from imagenet_captions.evaluation.robustness.output import CURVES, MEAN_LABEL, draw_robustness, make_panels
from imagenet_captions.evaluation.robustness.tables import IMAGENET, Result, read_published

RN50 = read_published().rows[0]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    report = measure_robustness([RN50])
    for name in ("a.svg", "b.svg"):
        draw_robustness(report, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert b"ImageNet models in the fit" in drawn


def test_panels_are_the_mean_and_every_fit() -> None:
    shifts = ["ImageNetV2", "ImageNet-R", "ImageNet-Sketch", "ObjectNet", "ImageNet-A"]
    panels = make_panels(measure_robustness(read_published().rows, all_classes=True))
    assert [panel.label for panel in panels] == [MEAN_LABEL, *shifts]
    mixed = {panel.label for panel in make_panels(measure_robustness(read_published().rows))}
    assert {"ImageNet-R, same classes", "ImageNet-R, all classes"} <= mixed
    beside = {panel.label: panel for panel in make_panels(measure_robustness([RN50]), read_published().rows)}
    assert list(beside) == shifts, "on the shifts' own classes a model has no single place in a panel of the mean"
    assert len(beside["ImageNet-R"].results) == 3, "those with its accuracies on the same classes"


@pytest.mark.parametrize(("baseline", "all_classes"), [("auto", True), ("imagenet-only", False)])
def test_heights_above_the_curves_are_the_values(baseline: str, all_classes: bool) -> None:
    report = measure_robustness(read_published().rows, baseline, all_classes)
    panels = make_panels(report)
    by_name = {model.result.model: model for model in report.models}
    drawn = 0
    for panel in panels:
        for result in panel.results:
            model = by_name[result.model]
            x, y = panel.point(result)
            alone = len(panel.fits) == 1
            found = model.shifts[panel.fits[0].shift.column] if alone else model.mean
            assert found is not None
            assert y - float(panel.predict(np.array([x]))[0]) == pytest.approx(found.value, abs=1e-9)
            assert panel.mark(x) == found.mark
            drawn += alone
    assert drawn == sum(len(model.shifts) for model in report.models)


def test_published_models_are_named_beside_their_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named: dict[Axes, list[Annotation]] = {}
    annotate = Axes.annotate

    def watch(self: Axes, text: str, *args: object, **more: object) -> object:
        found = annotate(self, text, *args, **more)
        if more.get("textcoords") == "offset points":
            named.setdefault(self, []).append(found)
        return found

    monkeypatch.setattr(Axes, "annotate", watch)
    own = Result("own $model", RN50.accuracies)
    draw_robustness(measure_robustness([own], all_classes=True), tmp_path / "figure.png", read_published().rows)
    with Image.open(tmp_path / "figure.png") as image:
        assert min(image.size) > 1000
    for texts in named.values():
        names = [each.get_text() for each in texts]
        assert 15 <= len(names) == len(set(names)) <= 18
        assert "own" not in " ".join(names)
        boxes = [Text.get_window_extent(each) for each in texts]  # without the lines to their points
        inner = [Bbox.from_extents(box.x0, box.y0 + 3, box.x1, box.y1 - 3) for box in boxes]
        assert not any(one.overlaps(other) for at, one in enumerate(inner) for other in inner[:at])


def test_doubtful_curves_and_models_look_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    legends: list[list[str]] = []
    markers: list[str] = []
    plot, add = Axes.plot, Figure.legend

    def watch(self: Axes, *args: object, **more: object) -> object:
        lines = plot(self, *args, **more)
        markers.extend("hollow" if more.get("markerfacecolor") == "white" else "" for _ in lines[0].get_xdata())
        return lines

    monkeypatch.setattr(Axes, "plot", watch)
    monkeypatch.setattr(Figure, "legend", lambda *args, **more: legends.append(args[2]) or add(*args, **more))
    for imagenet, baseline in ((35.0, "auto"), (75.0, "auto"), (75.0, "standard"), (90.0, "standard")):
        markers.clear()
        report = measure_robustness([Result("m", {IMAGENET: imagenet, "imagenet-v2": 30.0})], baseline)
        draw_robustness(report, tmp_path / "figure.svg")
        assert markers.count("hollow") == (report.models[0].shifts["imagenet-v2"].mark != "")
    assert [any("sparse" in text for text in texts) for texts in legends] == [True, False, False, False]
    assert [any("extrapolated" in text for text in texts) for texts in legends] == [False, False, False, True]


@pytest.mark.parametrize("ends", [(0.01, 99.99), (97.0, 99.9), (40, 49)])
def test_an_axis_has_three_ticks_to_twenty(ends: tuple[float, float]) -> None:
    axes = Figure().subplots()
    set_axes(axes, "", "", "", ends, ends)
    ticks = [float(label.get_text()) for label in axes.get_yticklabels()]
    assert 3 <= len(ticks) <= 20
    assert ticks == sorted(set(ticks))
    assert all(ends[0] <= tick <= ends[1] for tick in ticks)


def test_names_are_drawn_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["$\\frac{", "_hidden", "x^2 <script>", "a" * 300, "$", "\\", "{}%s", "\u540d"]
    results = [Result(name, {IMAGENET: 40.0, "imagenet-v2": 0.0}, family=name) for name in names]
    draw_robustness(measure_robustness(results), tmp_path / "figure.svg", read_published().rows)
    elements = ElementTree.parse(tmp_path / "figure.svg").iter()
    assert not [element.tag for element in elements if element.tag.endswith("script")]
    assert "lacks letters" in caplog.text
    for text, _ in CURVES.values():
        ours = text.format(baseline="imagenet-only")
        assert legend_text(ours) == ours, "our own texts are not cut"


def test_a_figure_needs_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="a figure needs matplotlib, which is not installed"):
        check_figure_path(Path("figure.svg"))
