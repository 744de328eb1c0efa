"""The names and signatures that users build on.

`python -m tests.test_public_api` writes `public_api.txt` anew, after a change that is meant.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import imagenet_captions as ic

SNAPSHOT = Path(__file__).with_name("public_api.txt")
_SIMPLE = (str, int, float, bool, type(None), tuple)


def described() -> str:
    """Return a line for each public name."""
    return "".join(f"{_line(name, getattr(ic, name))}\n" for name in ic.__all__)


def _line(name: str, value: Any) -> str:
    if inspect.isclass(value) and issubclass(value, Exception):
        return f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
    signature = inspect.signature(value)
    parameters = [
        parameter if isinstance(parameter.default, (*_SIMPLE, type)) else parameter.replace(default="a default")
        for parameter in signature.parameters.values()
    ]
    return f"{'class ' if inspect.isclass(value) else ''}{name}{signature.replace(parameters=parameters)}"


def test_no_name_and_no_signature_changes_by_accident() -> None:
    assert described() == SNAPSHOT.read_text("utf-8"), "run `python -m tests.test_public_api` if this is meant"


def test_the_version_is_that_of_the_installed_package() -> None:
    assert ic.__version__ == importlib.metadata.version("imagenet-captions")


def test_functions_are_found_after_the_folders_were_imported() -> None:
    """A folder with the name of a function would replace it."""
    run = (
        "import imagenet_captions.pipeline.build, imagenet_captions.statistics.report, imagenet_captions as ic\n"
        "print(all(callable(getattr(ic, name)) for name in ic.__all__), dir(ic) == sorted(dir(ic)))"
    )
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.split() == ["True", "True"]


if __name__ == "__main__":
    SNAPSHOT.write_text(described(), "utf-8")
