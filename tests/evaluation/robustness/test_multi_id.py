"""Effective robustness with several ID test sets: planted coefficients, scikit-learn's numbers, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import Floats
from imagenet_captions.evaluation.robustness.figure import make_panels
from imagenet_captions.evaluation.robustness.fits import NoFitError, inverse_logit, logit
from imagenet_captions.evaluation.robustness.measure import check_id_sets, measure_multi_id, measure_robustness
from imagenet_captions.evaluation.robustness.output import format_robustness
from imagenet_captions.evaluation.robustness.tables import Result, add_row, check_results, parse_results, read_results
from tests.command_line import invoke
from tests.evaluation.robustness.made_models import IDS, INTERCEPT, SLOPES, made, write_table

AVERAGED = ("imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet")


def columns_of(models: list[Result], *columns: str) -> Floats:
    return np.array([[model.accuracies[column] for column in columns] for model in models])


def test_planted_coefficients_are_recovered() -> None:
    report = measure_multi_id(made(), IDS, made(), "made")
    (fit,) = report.fits
    np.testing.assert_allclose(fit.coefficients, [INTERCEPT, *SLOPES], atol=1e-9)
    assert (fit.n, fit.columns) == (30, IDS)
    assert fit.r2 == pytest.approx(1)
    assert fit.mae == pytest.approx(0, abs=1e-9)
    assert all(abs(model.shifts["imagenet-v2"].value) < 1e-9 for model in report.models)
    robust = [Result("robust", {**made()[0].accuracies, "imagenet-v2": made()[0].accuracies["imagenet-v2"] + 7})]
    (model,) = measure_multi_id(robust, IDS, made(), "made").models
    assert model.shifts["imagenet-v2"].value == pytest.approx(7)
    low, high = model.shifts["imagenet-v2"].interval
    assert low < 7 < high


@pytest.mark.parametrize("ids", [IDS[:2], IDS, ("laion", "imagenet")])
def test_the_numbers_are_scikit_learns(ids: tuple[str, ...]) -> None:
    linear_model, metrics = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.metrics")
    models = made(noise=0.3)
    x, y = logit(columns_of(models, *ids)), columns_of(models, "imagenet-v2")[:, 0]
    report = measure_multi_id(models, ids, models, "made")
    for fit, columns in ((report.fits[0], slice(None)), (report.single[0], slice(1))):
        theirs = linear_model.LinearRegression().fit(x[:, columns], logit(y))
        predicted = theirs.predict(x[:, columns])
        np.testing.assert_allclose(fit.coefficients, [theirs.intercept_, *theirs.coef_], rtol=1e-9)
        assert fit.r2 == pytest.approx(metrics.r2_score(logit(y), predicted), rel=1e-12)
        assert fit.mae == pytest.approx(metrics.mean_absolute_error(y, inverse_logit(predicted)), rel=1e-12)
    assert report.fits[0].r2 > report.single[0].r2


def test_the_interval_is_that_of_refitted_samples() -> None:
    """The spread over the bootstrap is what least squares gives for the mean of the prediction, within a tenth."""
    models = made(200, noise=0.2)
    (fit,) = measure_multi_id(models, IDS, models, "made").fits
    design = np.column_stack([np.ones(200), logit(columns_of(models, *IDS))])
    left = logit(columns_of(models, "imagenet-v2")[:, 0]) - design @ fit.coefficients
    covariance = np.linalg.inv(design.T @ design) * (left @ left / (200 - 4))
    np.testing.assert_allclose(fit.draws.std(axis=0), np.sqrt(np.diag(covariance)), rtol=0.15)
    np.testing.assert_allclose(fit.draws.mean(axis=0), fit.coefficients, atol=0.01)


def test_the_same_classes_are_used_if_every_set_has_them() -> None:
    models = [
        Result(model.model, {**model.accuracies, "imagenet_on_r_classes": 80.0 - n, "yfcc_on_r_classes": 50.0 + n % 7})
        for n, model in enumerate(made(shifts=AVERAGED))
    ]
    report = measure_multi_id(models, IDS[:2], models, "made")
    by_shift = {fit.shift.column: fit.columns for fit in report.fits}
    assert by_shift["imagenet-r"] == ("imagenet_on_r_classes", "yfcc_on_r_classes")
    assert by_shift["objectnet"] == ("imagenet", "yfcc")
    assert report.models[0].shifts["imagenet-r"].compared_on == "same classes"
    assert report.models[0].mean is None  # R on its own classes and ObjectNet on all do not average
    alike = measure_multi_id(models, IDS[:2], models, "made", all_classes=True).models[0]
    assert alike.mean is not None
    assert alike.mean.value == pytest.approx(np.mean([alike.shifts[column].value for column in AVERAGED]))
    three = measure_multi_id(models, IDS, models, "made")  # laion has no accuracies on the classes of R
    assert {fit.columns for fit in three.fits} == {IDS}


def test_models_beyond_those_of_the_fit_are_marked() -> None:
    models = made()
    inside, beyond = models[0], Result("beyond", {**models[0].accuracies, "yfcc": 99.0})
    marks = [
        model.shifts["imagenet-v2"].mark for model in measure_multi_id([inside, beyond], IDS, models, "made").models
    ]
    assert marks == ["", "extrapolated"]


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (["imagenet"], "`id_sets` takes two or more test sets"),
        (["imagenet", "imagenet"], "'imagenet' is given twice"),
        (["imagenet", "imagenet-v2"], "'imagenet-v2' is not in-distribution"),
        (["imagenet", "imagenet_on_r_classes"], "is not in-distribution"),
    ],
)
def test_wrong_sets_are_refused(ids: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check_id_sets(ids)


def test_too_few_models_and_collinear_sets_are_refused() -> None:
    with pytest.raises(NoFitError, match=r"made has 14 models .* a fit on 3 `id_sets` takes 15"):
        measure_multi_id(made(), IDS, made(14), "made")
    twins = [Result(each.model, {**each.accuracies, "laion": each.accuracies["yfcc"]}) for each in made()]
    with pytest.raises(NoFitError, match="yfcc follow from those on the other `id_sets` in made"):
        measure_multi_id(twins, IDS, twins, "made")
    flat = [Result(each.model, {**each.accuracies, "yfcc": 50.0}) for each in made()]
    with pytest.raises(NoFitError, match="yfcc follow from"):
        measure_multi_id(flat, IDS, flat, "made")
    absent = [Result("absent", {"imagenet": 50.0, "imagenet-v2": 40.0})]
    with pytest.raises(NoFitError, match="no model of the results has imagenet, yfcc, laion and a shift"):
        measure_multi_id(absent, IDS, made(), "made")


def test_models_without_a_logit_are_left_out() -> None:
    models = [*made(), Result("zero", {**made()[0].accuracies, "yfcc": 0.0})]
    report = measure_multi_id(models, IDS, models, "made")
    assert report.fits[0].left_out == ("zero",)
    assert report.models[-1].shifts == {}


def test_the_table_has_both_baselines_and_the_figure_a_note() -> None:
    models = made(noise=0.1)
    report, multi = measure_robustness(models), measure_multi_id(models, IDS, models, "made")
    lines = format_robustness(report, multi).splitlines()
    single, several = (line for line in lines if line.startswith("model 7 "))
    assert single.endswith("auto")
    assert several.endswith("imagenet + yfcc + laion")
    assert f"{multi.models[7].shifts['imagenet-v2'].value:+.2f}" in several
    assert any(f"R² {multi.single[0].r2:.4f}" in line and "imagenet alone" in line for line in lines)
    (panel,) = make_panels(report, multi=multi)
    assert panel.note == f"3 ID sets: n 30, R² {multi.fits[0].r2:.4f}, MAE {multi.fits[0].mae:.2f} points"


def test_the_command(tmp_path: Path) -> None:
    write_table(tmp_path / "own.csv", made(noise=0.1))
    write_table(tmp_path / "few.csv", made(4, seed=1))
    out, ids = tmp_path / "ER.csv", ("--id", "imagenet", "--id", "yfcc", "--id", "laion")
    few_csv, own_csv = str(tmp_path / "few.csv"), str(tmp_path / "own.csv")
    code, told = invoke("robustness", few_csv, "--baseline-from", own_csv, *ids, "--out", str(out))
    assert code == 0, told
    assert "over the models of own.csv (Shi et al. 2023)" in told
    with out.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    few, own = read_results(tmp_path / "few.csv", own=IDS).rows, read_results(tmp_path / "own.csv", own=IDS).rows
    report = measure_multi_id(few, IDS, own, "own.csv")
    for row, model in zip(rows, report.models, strict=True):
        found = model.shifts["imagenet-v2"]
        assert float(row["imagenet-v2_multi_id_effective_robustness"]) == pytest.approx(found.value, abs=1e-4)
        assert float(row["imagenet-v2_multi_id_predicted"]) == pytest.approx(found.predicted, abs=1e-4)
        assert float(row["imagenet-v2_multi_id_r2"]) == pytest.approx(report.fits[0].r2, abs=1e-4)
        assert float(row["imagenet-v2_single_id_mae"]) == pytest.approx(report.single[0].mae, abs=1e-4)
        assert (row["multi_id_sets"], row["baseline"]) == ("imagenet + yfcc + laion", "own.csv")
    for given, sentence in (
        (
            ids,
            "few.csv has 4 models with imagenet, yfcc, laion and imagenet-v2 above 0 and below 100 %; a fit on 3 --id",
        ),
        (("--id", "imagenet"), "--id takes two or more"),
        (
            ("--id", "yfcc", "--id", "laion", "--id", "cc12m"),
            "few.csv has no column 'cc12m'; add the accuracies on this --id",
        ),
    ):
        code, told = invoke("robustness", few_csv, *given, "--out", str(tmp_path / "no.csv"))
        assert code == 2
        assert sentence in told
        assert not (tmp_path / "no.csv").exists()


def test_a_test_set_of_ones_own_goes_from_evaluate_to_the_table(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    measured = {"imagenet": (0.5, 50_000), "yfcc": (0.25, 400), "imagenet-v2": (0.4, 10_000)}
    check_results(path, dict.fromkeys(measured, path))
    add_row(path, "mine", measured)
    table = read_results(path)
    assert table.own == ("yfcc",)
    assert table.rows[0].accuracies["yfcc"] == 25.0
    assert table.rows[0].size("yfcc") == 400
    named = parse_results("model,imagenet,imagenet-v2,yfcc\nmine,50,40,25\n", own=["yfcc"])
    assert named.rows[0].size("yfcc") is None
    for name in ("family", "yfcc_n"):
        with pytest.raises(InputError, match=f"'{name}' cannot be a column"):
            check_results(path, {**dict.fromkeys(measured, path), name: path})
