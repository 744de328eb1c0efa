"""Rows of RESULTS.csv, as `evaluate` adds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.robustness.tables import add_row, check_results, read_results

MEASURED = {"imagenet": (0.25, 50_000), "imagenet-r": (0.5, 29_000), "imagenet_on_r_classes": (0.75, 10_000)}


def test_a_new_table_holds_fractions_and_sizes(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    add_row(path, "mine, small", MEASURED)
    table = read_results(path)
    assert table.units == "fraction"
    assert dict(table.rows[0].accuracies) == {"imagenet": 25.0, "imagenet-r": 50.0, "imagenet_on_r_classes": 75.0}
    assert table.rows[0].images == {"imagenet": 50_000, "imagenet-r": 29_000, "imagenet_on_r_classes": 10_000}
    assert table.rows[0].model == "mine, small"


def test_a_table_keeps_its_unit_rows_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("model,family,imagenet,imagenet-v2\nold,CNN,70.5,60.25\nmine,x,1,2\n")
    add_row(path, "mine", MEASURED)
    table = read_results(path)
    assert table.units == "percent"
    old, mine = table.rows
    assert (old.model, old.family, dict(old.accuracies)) == ("old", "CNN", {"imagenet": 70.5, "imagenet-v2": 60.25})
    assert dict(mine.accuracies) == {"imagenet": 25.0, "imagenet-r": 50.0, "imagenet_on_r_classes": 75.0}


KEPT = '"old, large", CNN,70.50,"60.25"\r\n\r\n"two\nlines",,1,2\r\n'


def test_other_rows_stay_byte_for_byte_and_a_link_and_the_mode_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "disk" / "results.csv", tmp_path / "results.csv"
    path.parent.mkdir()
    path.write_bytes(f"\ufeffmodel, family,imagenet,imagenet-v2\r\nmine,x,1,2\r\n{KEPT}last,,3,4".encode())
    path.chmod(0o600)
    link.symlink_to(path)
    measured = {"imagenet": (0.25, 50_000), "imagenet-v2": (0.5, 10_000)}
    add_row(link, "mine", measured)
    first = path.read_bytes().decode()
    header, mine = (
        "\ufeffmodel, family,imagenet,imagenet-v2,imagenet_n,imagenet-v2_n",
        "mine,,25.0000,50.0000,50000,10000",
    )
    kept = KEPT.replace('"60.25"', '"60.25",,').replace(",1,2", ",1,2,,")
    assert first == f"{header}\r\n{mine}\r\n{kept}last,,3,4,,\r\n"
    add_row(link, "new", measured)
    assert path.read_bytes().decode() == first + mine.replace("mine", "new") + "\r\n"
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_robustness_needs_is_asked_for_first(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with pytest.raises(InputError, match="needs ImageNet and a shift"):
        check_results(path, {"imagenet": path})
    check_results(path, {"imagenet": path, "imagenet-a": path})
    answers = tmp_path / "m.answers.parquet"
    with pytest.raises(InputError, match="is to be written twice"):
        check_results(answers, {"imagenet": path, "imagenet-a": path}, out=tmp_path / "m.json")
    path.write_text("nonsense")
    with pytest.raises(InputError):
        check_results(path, {"imagenet": path, "imagenet-a": path})
