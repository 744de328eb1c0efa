"""The parts of an experiment: runs, the rows that each trains on, and which of them are compared."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

FACTORS = ("size", "distribution", "train-language", "test-language", "loss")  # the paper's
DOMAIN = "domain"
EVERY_FACTOR = (*FACTORS, DOMAIN)
ALL_TEXT = "title tags description"  # the caption of the dataset, as docs/reference/captions.md writes it
UNIFORM, LONG_TAIL, DARK = "uniform", "long-tail", "dark"
ZERO_SHOT = "zero-shot"
OWN, FROM_TEXT = "own", "text"  # a class as the data names it, or as the row's text names it

# What arms can be asked to share; `planning.check_fairness` looks at each.
IMAGES, STEPS, SEED, MODEL = "images", "steps", "seed", "model"

_NEW_IN_PICK = ("named", "named_rows", "domains", "unseen")


@dataclass(frozen=True)
class Pick:
    """A selection of a data set's rows to train on.

    `need` is the template of a caption that every row has, "" for none. `rows` limits their number by a seeded
    sample, even over the classes, in which a smaller one lies within a larger one; `kind` takes another sample of the
    same size: few classes with many images ("long-tail"), or each class's darkest images. `labels` says
    which class a row counts as: `FROM_TEXT` keeps of these rows those whose text names exactly one. `named` keeps the
    same rows with their own labels, and `named_rows` so many of them. `domains` are those of a mixture, in which the
    domain `unseen` lacks the held-out classes.
    """

    need: str = ALL_TEXT
    rows: int | None = None
    kind: str = UNIFORM
    labels: str = OWN
    named: bool = False
    named_rows: int | None = None
    domains: tuple[str, ...] = ()
    unseen: str = ""

    @property
    def reads_texts(self) -> bool:
        """Whether the pick needs the texts of the rows."""
        return self.named or self.labels == FROM_TEXT

    def key(self) -> str:
        """Return a short name, different for each pick, for files."""
        return hashlib.sha256(json.dumps(self.record(), sort_keys=True).encode()).hexdigest()[:10]

    def record(self) -> dict[str, Any]:
        """Return the pick for JSON; fields that older folders do not know are left out when unused."""
        return {name: value for name, value in asdict(self).items() if name not in _NEW_IN_PICK or value}


@dataclass(frozen=True)
class Run:
    """One row of the table: what is trained, on which rows, and how it is tested.

    `arm` is what it stands for in this table; `stem` what it is in any, without data and seed, such as "clip".

    `caption` is the template of the texts that a contrastive run sees. `init` names the run whose weights this one
    starts from; `model_of` the run whose model this one classifies with, without training of its own; `steps_of` the
    run whose number of steps it takes in place of its epochs.
    """

    name: str
    arm: str
    stem: str
    data: str
    pick: Pick
    objective: str
    recipe: str
    batch_size: int
    epochs: int
    seed: int
    caption: str = ""
    init: str | None = None
    model_of: str | None = None
    classifier: str = ZERO_SHOT
    prompts: str = ""
    steps_of: str | None = None

    def record(self) -> dict[str, Any]:
        """Return the run for JSON; fields that older folders do not know are left out when unused."""
        values = {**asdict(self), "pick": self.pick.record()}
        return {name: value for name, value in values.items() if name != "steps_of" or value}

    @property
    def trains(self) -> bool:
        """Whether the run has its own training."""
        return self.model_of is None

    @property
    def needs(self) -> tuple[str, ...]:
        """The runs that must be done before."""
        return tuple(name for name in (self.init, self.model_of) if name is not None)


@dataclass(frozen=True)
class Comparison:
    """Two arms, the question that their difference answers, and what they must share for that.

    `on` names the one shift that the question is about; without it, it is about all of them.
    """

    first: str
    second: str
    question: str
    equal: tuple[str, ...]
    on: str = ""


@dataclass(frozen=True)
class Table:
    """The runs and comparisons of one factor."""

    factor: str
    runs: tuple[Run, ...]
    comparisons: tuple[Comparison, ...]

    def arms(self) -> dict[str, list[Run]]:
        """Return the runs of each arm, one for each seed, in the table's order."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.arm, []).append(run)
        return found
