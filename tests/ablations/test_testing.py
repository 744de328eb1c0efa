"""The answers of a run's test, in the form of now and of before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagenet_captions.ablations.testing import has_answers, read_answers
from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.results import answer_rows, answers_path, write_answers


def test_answers_of_now_and_of_before(tmp_path: Path) -> None:
    right = np.array([True, False, False])
    labels, predictions = np.array([0, 1, 1]), np.array([0, 0, -1])
    assert not has_answers(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    np.savez_compressed(tmp_path / "answers.npz", clean=right)
    assert has_answers(tmp_path)
    assert read_answers(tmp_path)["clean"].tolist() == right.tolist()
    rows = answer_rows("clean", ["1", "2", "3"], ["cat", "dog"], labels, predictions, ~right)
    write_answers(answers_path(tmp_path / "metrics.json"), [rows], {})
    assert read_answers(tmp_path)["clean"].tolist() == (~right).tolist(), "the new form counts"
    answers_path(tmp_path / "metrics.json").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"cannot be read .* and run again"):
        read_answers(tmp_path)
