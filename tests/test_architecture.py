"""Imports run one way, as docs/architecture.md draws it, and only the command line speaks of flags."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

import imagenet_captions

ROOT = Path(imagenet_captions.__file__).parent
STAGES = {"crawler", "cleaner", "packager", "labelling", "statistics", "training", "evaluation"}
COMPOSING = {"ablations", "demo"}  # they know the stages, as `pipeline` does
ABOVE = {"cli", "pipeline", *COMPOSING}

# What may name flags: a command line of its own, commands that a file of ours quotes, and other programs' flags.
WITH_FLAGS = {
    "demo/flickr_stand_in.py",
    "exports/settings.py",
    "options.py",
    "statistics/report.py",
    "ablations/report.py",
}
DECLARE = ("option", "argument")
OTHER_PROGRAMS = ("`ray start --head`",)


@lru_cache(maxsize=2)
def nodes(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def imports(file: Path) -> Iterator[str]:
    """The full names of all that a file imports."""
    for node in nodes(file):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            yield from (module + alias.name for alias in node.names)


def imported(file: Path) -> set[str]:
    """The first part below our package of every module of ours that a file imports."""
    return {name.split(".")[1] for name in imports(file) if name.startswith("imagenet_captions.")}


@pytest.mark.parametrize("package", sorted(path.parent.name for path in ROOT.glob("*/__init__.py")))
def test_arrows_point_down(package: str) -> None:
    allowed = {
        "cli": STAGES | ABOVE,
        "pipeline": STAGES | {"pipeline"},
        **dict.fromkeys(COMPOSING, STAGES | {package, "pipeline"}),
        **{stage: {stage} for stage in STAGES},
    }.get(package, set())
    for file in sorted((ROOT / package).rglob("*.py")):
        wrong = imported(file) & (STAGES | ABOVE) - allowed
        assert not wrong, f"{file.relative_to(ROOT)} imports {sorted(wrong)}"


def test_what_lies_at_the_top_is_below_the_stages() -> None:
    for file in sorted(ROOT.glob("*.py")):
        if file.stem not in {"__init__", "__main__"}:
            assert not imported(file) & (STAGES | ABOVE), file.name


def test_a_wheel_holds_every_data_file() -> None:
    """Every file of the package that is not Python, dot files left out, matches a pattern of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT.parent / "setup.cfg")
    shipped = {
        path
        for package, patterns in config["options.package_data"].items()
        for pattern in patterns.split(",")
        for path in ROOT.joinpath(*package.split(".")[1:]).glob(pattern.strip())
    }
    files = {path for path in ROOT.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    missing = {path for path in files - shipped if not path.name.startswith(".")}
    assert not missing, sorted(missing)
    assert ROOT / "ablations" / "micro_words.tsv" in files & shipped


# Modules whose package has another name, or comes with another.
PACKAGES = {"PIL": "pillow", "open_clip": "open_clip_torch", "markupsafe": "jinja2", "tokenizers": "transformers"}
NOT_NEEDED = {"wandb", "typing_extensions"}  # a logger that users install themselves; for the type checker


def test_what_is_imported_is_declared() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT.parent / "setup.cfg")
    extras = config["options.extras_require"]
    texts = [config["options"]["install_requires"], *(extras[name] for name in ("cloud", "report", "ray", "train"))]
    declared = {name.replace("-", "_") for name in re.findall(r"^([\w-]+)", "\n".join(texts), re.MULTILINE)}
    found = {name.partition(".")[0] for file in ROOT.rglob("*.py") for name in imports(file)}
    found -= sys.stdlib_module_names
    assert {PACKAGES.get(module, module) for module in found} - {*declared, *NOT_NEEDED, ROOT.name} == set()


TESTS = sorted(Path(__file__).parent.rglob("*.py"))


def test_no_test_imports_from_another_or_patches_a_private_name() -> None:
    """What two need lies in a module whose name does not begin with test_; a name that tests change is public."""
    for file in TESTS:
        assert not [name for name in imports(file) if re.match(r"tests\.(.*\.)?test_", name)], file
        for node in nodes(file):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
                texts = [str(each.value) for each in node.args[:2] if isinstance(each, ast.Constant)]
                private = [text for text in texts if re.search(r"(^|\.)_(?!_)\w+$", text)]
                assert not private, f"{file.name}:{node.lineno} patches {private}"


def test_the_library_names_parameters_and_no_flags() -> None:
    """Only the command line and its help speak of flags; the library writes the parameter between backquotes."""
    for file in sorted(ROOT.rglob("*.py")):
        where = file.relative_to(ROOT)
        if where.parts[0] == "cli" or where.as_posix() in WITH_FLAGS:
            continue
        declared = [node for node in nodes(file) if isinstance(node, ast.Call) and ast.unparse(node.func) in DECLARE]
        help_texts = {part for node in declared for part in ast.walk(node)}
        for node in nodes(file):
            if node not in help_texts and isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                for words in OTHER_PROGRAMS:
                    text = text.replace(words, "")
                found = re.findall(r"(?<![\w!-])--(?:[a-z][a-z-]*|(?=%s)|$)", text)
                assert not found, f"line {node.lineno} of {where} names {found}"
