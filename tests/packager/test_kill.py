"""A run that is killed, whenever, leaves what the same command ends right from."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imagenet_captions.packager.package import PackageSettings, package, verify
from tests.packager.made import contents, train_folder, write_captions

# Stops at a named moment, says so, and waits there to be killed.
PROGRAM = """
import sys, time
from pathlib import Path
from imagenet_captions.dataset import writing
from imagenet_captions.engines.local import LOCAL
from imagenet_captions.packager.package import PackageSettings, package

def stop():
    print("here", flush=True)
    time.sleep(600)

def between_shards(*args, run=LOCAL.run, **kwargs):
    for number, shard in enumerate(run(*args, **kwargs)):
        if number == 2:
            stop()
        yield shard

def within_the_swap(*args, rename=Path.rename, calls=[]):
    calls.append(args)
    if len(calls) == 2:
        stop()
    return rename(*args)

writing.SMALL_SHARD = 1000
if sys.argv[1] == "between shards":
    LOCAL.run = between_shards
else:
    Path.rename = within_the_swap
package(Path("captions.parquet"), Path("out"), PackageSettings(Path("images")), workers=int(sys.argv[2]))
"""


@pytest.mark.parametrize(("there", "moment"), [(True, "within the swap"), (False, "between shards")])
def test_killed_and_run_again(tmp_path: Path, there: bool, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagenet_captions.dataset.writing.SMALL_SHARD", 1000)
    captions = write_captions(tmp_path / "captions.parquet")
    settings = PackageSettings(train_folder(tmp_path / "images"))
    package(captions, tmp_path / "whole", settings)
    expected = contents(tmp_path / "whole")
    if there:
        package(captions, tmp_path / "out", PackageSettings())
    workers = "2" if moment == "between shards" else "1"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, moment, workers], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    if there and (tmp_path / "out").exists():
        verify(tmp_path / "out")  # the old one or the new one, and whole
    package(captions, tmp_path / "out", settings)
    assert contents(tmp_path / "out") == expected
    assert {path.name for path in tmp_path.iterdir()} - {captions.name, "captions.outcomes.parquet"} == {
        "images", "out", "whole",
    }  # fmt: skip
