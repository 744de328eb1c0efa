"""One run at a time works on an output or a folder."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.storage.outputs import holding, locked


def test_a_lock_refuses_a_second_run_and_ends_with_a_killed_one(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = "import sys, time, pathlib; from imagenet_captions.storage.outputs import locked\n" + (
        "with locked(pathlib.Path(sys.argv[1]), 'it'):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="the store is in use by another run"), locked(lock, "the store"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked(lock, "the store"):
        assert lock.exists()


def test_an_output_is_held_for_one_run_and_leaves_no_file_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    holder = (
        "import sys, time, pathlib; from imagenet_captions.storage.outputs import holding\n"
        "with holding([pathlib.Path(sys.argv[1])]):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(out)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        link = tmp_path / "link"
        link.symlink_to(out)
        for path in (out, link, tmp_path / "x" / ".." / "out.csv"):
            with pytest.raises(InputError, match=r"the output .* is in use by another run"), holding([path]):
                pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with holding([out]), holding([out]):  # a stage within a build holds what the build holds
        assert list(tmp_path.iterdir()) == [link]
