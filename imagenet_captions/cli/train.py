"""train, ablate and export-model: the runs of the experiments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from imagenet_captions.ablations.settings import AblateSettings
from imagenet_captions.cli.app import command
from imagenet_captions.cli.messages import before_torch, is_first_process
from imagenet_captions.errors import InputError
from imagenet_captions.models.config import LIBRARIES, OBJECTIVES
from imagenet_captions.options import Given, argument, option
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.files import METRICS
from imagenet_captions.training.recipes import RECIPES, Recipe
from imagenet_captions.training.settings import TrainSettings

if TYPE_CHECKING:
    from imagenet_captions.evaluation.settings import EvaluateSettings


*_NAMES, _LAST = sorted(RECIPES, key=lambda name: name.startswith("micro-"))


def train(
    *,
    data: Annotated[
        Path | None,
        argument("A dataset folder, Parquet with images, WebDataset shards, an open_clip CSV, or a folder of images."),
    ] = None,
    out: Annotated[Path | None, option("The run's folder.", metavar="RUN")] = None,
    objective: Annotated[str | None, option("The training objective.", choices=tuple(OBJECTIVES))] = None,
    preset: Annotated[
        str, option("The paper's recipe, or a small one for 32 x 32 on a CPU.", choices=("paper", "micro"))
    ] = "paper",
    recipe: Annotated[
        str | None,
        option(
            f"A recipe by name, in place of --objective and --preset: {', '.join(_NAMES)} or {_LAST}.",
            metavar="NAME",
        ),
    ] = None,
    show: Annotated[
        str | None, option("Print a recipe, with the reference of each value, and stop.", metavar="NAME")
    ] = None,
    on: Annotated[
        Sequence[str],
        option(
            "Then measure the model here: zero-shot, by its head, or by a linear probe after SimCLR. May be given "
            "often; `evaluate` has the names and more ways.",
            metavar="[NAME=]PATH",
        ),
    ] = (),
    changes: Annotated[dict[str, Any], Given(Recipe, preset=True)],
    settings: Annotated[dict[str, Any], Given(TrainSettings)],
) -> str | None:
    from imagenet_captions.training.recipes import choose_recipe, show_recipe

    if show is not None:
        return command("train").in_flags(show_recipe(show))
    if data is None or out is None:
        raise InputError("training needs DATA and `out` RUN; give both, or `show` RECIPE to read a recipe")
    chosen = choose_recipe(recipe, objective, preset, changes)
    if "steps" in settings and "epochs" in changes:
        raise InputError("`steps` and `epochs` both end the run; give one of them")

    require("train", "train")
    from imagenet_captions.training.settings import read_done

    asked = TrainSettings(data, out, chosen, **settings)
    needed = (asked.init, asked.init_image) if read_done(out) is None else ()  # a finished run needs neither any more
    before_torch("train", *filter(None, needed))
    measured = _measurement(asked, on)
    from imagenet_captions.training import train as training

    result = training.train(asked)
    if result is None:
        return None
    told = f"{result.model}: {result.steps} steps, loss {result.loss:.4f}, {result.seconds:.0f} s"
    if measured is None:
        return told
    from imagenet_captions.evaluation.evaluate import evaluate, format_metrics

    return f"{told}\n{format_metrics(evaluate(measured, out / METRICS))}\n{out / METRICS}"


def _measurement(settings: TrainSettings, tests: Sequence[str]) -> EvaluateSettings | None:
    """Return how the trained model will be measured, checked before hours of training; None without `on`."""
    from imagenet_captions.training.processes import process_rank

    if not tests or process_rank() != 0:
        return None
    import tempfile

    from imagenet_captions.evaluation.settings import (
        ClassifierSettings,
        EvaluateSettings,
        Reading,
        parse_test_sets,
    )
    from imagenet_captions.evaluation.testsets import open_test_set

    pairs = parse_test_sets([each if "=" in each else f"test={each}" for each in tests])
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in pairs:
            open_test_set(name, path, Path(scratch), None)
    kind = settings.recipe.needs.classifier
    classifier = ClassifierSettings(kind, train=settings.data if kind == "linear-probe" else None)
    reading = Reading(workers=1, threads=settings.threads)
    return EvaluateSettings(str(settings.out), pairs, classifier, reading)


def ablate(
    settings: AblateSettings,
    dry_run: Annotated[bool, option("Print the runs, their steps and what was published; do nothing.")] = False,
) -> object:
    if not dry_run or ":" in (settings.model or ""):  # a library's models are looked up in it
        before_torch("ablate")
    if dry_run:
        from imagenet_captions.ablations.plan import describe

        return command("ablate").in_flags(describe(settings)) if is_first_process() else None
    from imagenet_captions.ablations import ablate as ablating

    return ablating.ablate(settings)


def export_model(
    model: Annotated[
        str, argument("A run, a model folder, a checkpoint, or another library's model, as for evaluate.")
    ],
    to: Annotated[str, option("The library that is to load it.", choices=LIBRARIES)],
    out: Annotated[Path, option("A new folder for its files.")],
) -> object:
    before_torch("export-model", model)
    from imagenet_captions.models.load import export_model as write_model

    return write_model(model, to, out)
