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
from imagenet_captions.evaluation.drawing import check_figure_path, choose_ticks, legend_text, to_logits
from imagenet_captions.evaluation.robustness.fits import own_baseline
from imagenet_captions.evaluation.robustness.measure import measure_robustness
from imagenet_captions.evaluation.robustness.output import CURVES, MEAN_LABEL, draw_robustness, make_panels
from imagenet_captions.evaluation.robustness.tables import IMAGENET, Result, Results, read_published

RN50 = read_published().rows[0]


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    report = measure_robustness([RN50])
    for name in ("a", "b"):
        draw_robustness(report, tmp_path / f"{name}.{suffix}")
    drawn = (tmp_path / f"a.{suffix}").read_bytes()
    assert drawn == (tmp_path / f"b.{suffix}").read_bytes()
    if suffix == "svg":
        assert ElementTree.fromstring(drawn).tag.endswith("svg")
        assert b"<dc:date>" not in drawn
        assert b"ImageNet models in the fit" in drawn
    else:
        with Image.open(tmp_path / "a.png") as image:
            assert min(image.size) > 1000


def test_only_the_testbeds_models_are_called_imagenets(tmp_path: Path) -> None:
    """A table of one's own, as for several ID sets, has models of any training data."""
    rows = [Result(str(at), {IMAGENET: 20.0 + 5 * at, "imagenet-v2": 15.0 + 4 * at}) for at in range(8)]
    table = own_baseline(Results(tuple(rows), ("model", IMAGENET, "imagenet-v2"), "percent"), "mine.csv")
    draw_robustness(measure_robustness(rows, table), tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert ("models in the fit" in drawn, "ImageNet models in the fit" in drawn) == (True, False)


def test_panels_are_the_mean_and_every_fit() -> None:
    shifts = ["ImageNetV2", "ImageNet-R", "ImageNet-Sketch", "ObjectNet", "ImageNet-A"]
    panels = make_panels(measure_robustness(read_published().rows, all_classes=True))
    assert [panel.label for panel in panels] == [MEAN_LABEL, *shifts]
    mixed = [panel.label for panel in make_panels(measure_robustness(read_published().rows))]
    assert [label for label in mixed if label.startswith("ImageNet-R")] == [
        "ImageNet-R, same classes",
        "ImageNet-R, all classes",
    ]
    own = [panel.label for panel in make_panels(measure_robustness([RN50]))]
    assert own == shifts, "on the shifts' own classes a model has no single place in a panel of the mean"


@pytest.mark.parametrize(("baseline", "all_classes"), [("auto", False), ("auto", True), ("imagenet-only", False)])
def test_heights_above_the_curves_are_the_values(baseline: str, all_classes: bool) -> None:
    report = measure_robustness(read_published().rows, baseline, all_classes)
    panels = make_panels(report)
    by_name = {model.result.model: model for model in report.models}
    drawn = 0
    for panel in panels:
        for result in (result for family in panel.families.values() for result in family):
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
    report = measure_robustness([*read_published().rows, own])
    draw_robustness(report, tmp_path / "figure.png")
    shown = [sum(map(len, panel.families.values())) for panel in make_panels(report)]
    assert len(named) == len(shown) == 9
    for count, texts in zip(shown, named.values(), strict=True):
        names = [each.get_text() for each in texts]
        assert count - 3 <= len(names) <= count
        assert len(set(names)) == len(names)
        assert "own" not in " ".join(names)
        boxes = [Text.get_window_extent(each) for each in texts]  # without the lines to their points
        inner = [Bbox.from_extents(box.x0, box.y0 + 3, box.x1, box.y1 - 3) for box in boxes]
        assert not any(one.overlaps(other) for at, one in enumerate(inner) for other in inner[:at])
    assert {"RN50", "ViT-B/32"} == {each.get_text() for each in list(named.values())[2]}


def test_published_models_stand_beside_where_they_have_the_accuracies() -> None:
    own = Result("own", RN50.accuracies)
    panels = {panel.label: panel for panel in make_panels(measure_robustness([own]), read_published().rows)}
    assert MEAN_LABEL not in panels, "the table's mean is over R and ObjectNet on their own classes"
    assert panels["ImageNet-R"].fits[0].x_column == "imagenet_on_r_classes"
    beside = [result.model for name, family in panels["ImageNet-R"].families.items() for result in family]
    assert beside == ["CLIP RN50", "CLIP ViT-B/32", "own"]
    everywhere = make_panels(measure_robustness([own], all_classes=True), read_published().rows)
    assert {len([one for family in panel.families.values() for one in family]) for panel in everywhere} == {19}


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


def test_models_at_the_ends_lie_within_the_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Axes] = []
    add = Axes.set_title
    monkeypatch.setattr(Axes, "set_title", lambda self, *args, **more: drawn.append(self) or add(self, *args, **more))
    cells = {IMAGENET: 40.0, "imagenet-v2": 0.0, "imagenet-r": 100.0, "imagenet_on_r_classes": 99.0}
    draw_robustness(measure_robustness([Result("a", cells)]), tmp_path / "figure.png")
    for axes, model in zip(drawn, [(40.0, 0.0), (99.0, 100.0)], strict=True):
        x, y = to_logits([model])
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert left < x[0] < right
        assert bottom < y[0] < top


@pytest.mark.parametrize("ends", [(0.01, 99.99), (97.0, 99.9), (40, 49)])
def test_an_axis_has_four_ticks_to_twenty(ends: tuple[float, float]) -> None:
    ticks = choose_ticks(*ends)
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


def test_the_legend_stays_inside_the_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    legends = []
    add = Figure.legend
    monkeypatch.setattr(Figure, "legend", lambda self, *args, **more: legends.append(add(self, *args, **more)))
    cells = {IMAGENET: 40.0, "imagenet-v2": 30.0}
    results = [Result(str(number), cells, family=f"a family with the number {number:04}") for number in range(40)]
    draw_robustness(measure_robustness(results), tmp_path / "figure.png", read_published().rows)
    (legend,) = legends
    assert len(legend.get_texts()) == 40 + 11
    box, whole = legend.get_window_extent(), legend.figure.bbox
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1
    assert whole.y0 <= box.y0


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        draw_robustness(measure_robustness([Result("a", {IMAGENET: 40.0})]), tmp_path / "figure.svg")
    with pytest.raises(InputError, match=r"is not a \.png or \.svg file"):
        check_figure_path(Path("figure.jpg"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="a figure needs matplotlib, which is not installed"):
        check_figure_path(Path("figure.svg"))
