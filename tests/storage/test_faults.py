"""Faults of disks, stores and networks are errors of ours, each of a class that says what can be done."""

from __future__ import annotations

import configparser
import errno
import pickle
import re
from pathlib import Path

import pytest

import imagenet_captions as ic
from imagenet_captions.errors import InputError
from imagenet_captions.storage import faults as extras
from imagenet_captions.storage.faults import message_of, missing_object, reason_of, reporting_faults
from imagenet_captions.storage.files import replacing


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.ELOOP])
def test_a_full_disk_has_a_class_of_its_own(tmp_path: Path, number: int) -> None:
    path = tmp_path / "out.csv"
    with pytest.raises(OSError, match=r"run the same command again|odd") as caught, replacing(path):
        raise OSError(number, "odd")
    assert isinstance(caught.value, ic.DiskFullError) == (number != errno.ELOOP)
    assert str(path) in str(caught.value) or number == errno.ELOOP
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [ConnectionError("reset"), NotImplementedError("no"), PermissionError("no")])
def test_a_fault_behind_a_network_is_one_sentence(fault: Exception) -> None:
    said = f"s3://b/x cannot be used: {type(fault).__name__}: .*; check"
    with pytest.raises(ic.ImagenetCaptionsError, match=said) as caught, reporting_faults("s3://b/x"):
        raise fault
    assert isinstance(caught.value, ic.InputError if isinstance(fault, PermissionError) else ic.NetworkError)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("error", [missing_object("s3://b/x"), ic.DiskFullError("x: full"), ic.NetworkError("x fails")])
def test_an_error_comes_whole_out_of_a_worker(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("Couldn't deserialize thrift"), "OSError: Couldn't deserialize thrift"),
        (ValueError(), "ValueError"),
        (ValueError("two\nlines \x1b[31m"), "ValueError: two lines  [31m"),
        (OSError("https://me:opensesame@hub/a failed"), "OSError: https://hub/a failed"),
        (OSError("PUT s3://b/x?X-Amz-Signature=ab failed"), "OSError: PUT s3://b/x failed"),
        (OSError("token hf_abcdefghijk is bad"), "OSError: token *** is bad"),
        (OSError("Bearer abcdef is bad"), "OSError: Bearer *** is bad"),
        (OSError("the key was very-secret-9"), "OSError: the key was ***"),
    ],
)
def test_a_librarys_message_is_shown_without_secrets(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-9")
    assert message_of(error) == said
    if isinstance(error, OSError):
        assert reason_of(error) == f"{said}; check the path"


ROOT = Path(__file__).parents[2]


def test_a_missing_extra_is_named_with_its_command_and_its_place(monkeypatch):
    missing = {"torch", "matplotlib"}
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module in missing else object())
    with pytest.raises(InputError) as caught:
        extras.require("train", "training")
    assert str(caught.value) == (
        "training needs torch, which is not installed; for the extra 'train' run pip install '.[train]' in a clone of "
        "imagenet-captions (see Install in its README)"
    )


def test_every_extra_that_is_named_is_one_of_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "imagenet_captions").rglob("*.py"))
    named = set(re.findall(r"(?:\brequire|how_to_install)\(\"(\w+)\"", code)) | set(extras._MODULES)
    assert named == {"train", "ray", "report", "cloud"} <= set(config["options.extras_require"])
