"""A flag that would do nothing is refused: here stands every flag of every command, and when it has an effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.cli.main import SPECS
from imagenet_captions.demo.run import SAMPLE
from tests.storage.conftest import invoke

# Flags that have an effect whatever else is given, or that a command takes apart from all others.
ALWAYS = {
    "demo": "out",
    "build": "out release urls classes work images caption as_published deny workers engine",
    "match": "urls out ids classes deny engine overwrite",
    "extract-yfcc": "yfcc matches out overwrite",
    "crawl": "matches store endpoint rate limit refresh key_file tries yfcc deny",
    "clean": "out release matches store yfcc classes caption as_published deny json workers engine overwrite",
    "package": "out captions images workers engine",
    "verify": "dataset",
    "filter": "dataset class_ class_list contains matches has language license_ names_class split ids deny "
    "random_classes balance trim_tail like per_class sample out out_ids",
    "score": "dataset model out caption embeddings overwrite batch_size workers threads device",
    "export": "dataset to out deny",
    "publish": "dataset repo with_images private dry_run",
    "export-model": "model to out",
    "stats": "dataset images csv markdown html counts frequencies",
    "diff": "a b raw out",
    "explain": "dataset image_id work json",
    "label-by-text": "table out mode text case_sensitive workers engine overwrite",
    "train": "data out objective recipe show model init lock ids on steps batch_size lr warmup weight_decay drop_path "
    "accumulate clip_norm precision seed devices nodes accelerator workers threads grad_checkpointing save_every "
    "keep_every log log_every",
    "evaluate": "model on out classifier without results batch_size workers threads device overwrite",
    "compare": "models across_protocols out plot",
    # A dry run takes the command line of the run that it tells about.
    "ablate": "factor data out preset on prompts seeds epochs model workers threads devices nodes precision accumulate "
    "grad_checkpointing keep_every dry_run",
    "trajectories": "runs on out prompts batch_size workers threads device",
    "frequency": "run data out plot",
    "robustness": "results baseline baseline_from id_sets all_classes out plot",
}

CRAWL = {
    "endpoint": "--endpoint http://localhost:1",
    "rate": "--rate 3600/h",
    "limit": "--limit 3",
    "refresh": "--refresh 30",
    "key_file": "--key-file keys",
    "tries": "--tries 12",
}

# (command, flag, a command line where the flag has no effect); several values are those that are also the defaults.
WITHOUT_EFFECT = [
    *(("build", flag, f"build --out x --release r.json {given}") for flag, given in CRAWL.items()),
    *(("build", flag, f"build --out x --urls u.txt --no-crawl {given}") for flag, given in CRAWL.items()),
    ("build", "ids", "build --out x --release r.json --ids i.txt"),
    ("build", "yfcc", "build --out x --release r.json --yfcc y"),
    ("build", "no_crawl", "build --out x --release r.json --no-crawl"),
    ("build", "missing", "build --out x --release r.json --missing report"),
    ("build", "ray_address", "build --out x --release r.json --ray-address h:1"),
    ("match", "ray_address", "match --urls u.txt --ray-address h:1"),
    ("clean", "ray_address", "clean --release r.json --ray-address h:1"),
    ("package", "missing", "package --out x --missing report"),
    ("package", "ray_address", "package --out x --ray-address h:1"),
    ("filter", "val_fraction", "filter d --out x --val-fraction 0.1"),
    ("filter", "scores", "filter d --out x --scores s"),
    ("filter", "score_above", "filter d --out x --score-above 0.3"),
    ("filter", "score_top", "filter d --out x --score-top 0.3"),
    ("filter", "by", "filter d --out x --by mentions"),
    ("filter", "shuffle", "filter d --out-ids x --shuffle 0"),
    ("filter", "shards", "filter d --out x --shards 16"),
    ("filter", "seed", "filter d --out x --seed 0"),
    ("filter", "seed", "filter d --out x --has title --seed 3"),
    ("filter", "local_labels", "filter d --out-ids x --local-labels"),
    ("filter", "without_images", "filter d --out-ids x --without-images"),
    ("filter", "workers", "filter d --out-ids x --workers 2"),
    ("filter", "overwrite", "filter d --out x --overwrite"),
    ("export", "overwrite", "export d --to webdataset --out x --overwrite"),
    ("stats", "overwrite", "stats d --overwrite"),
    ("diff", "overwrite", "diff d e --overwrite"),
    ("robustness", "overwrite", "robustness published --overwrite"),
    ("export", "images", "export d --to slim --out x --images i"),
    ("export", "images", "export d --to release-json --out x --images i"),
    ("export", "caption", "export d --to attribution --out x --caption title"),
    ("export", "path_prefix", "export d --to webdataset --out x --path-prefix p"),
    ("export", "seed", "export d --to open-clip-csv --out x --seed 0"),
    ("export", "shard_size", "export d --to slim --out x --shard-size 1000"),
    ("export", "clip_benchmark", "export d --to slim --out x --clip-benchmark test"),
    ("export", "columns", "export d --to webdataset --out x --columns label"),
    ("export", "shuffle", "export d --to webdataset --out x --shuffle 1"),
    ("export", "workers", "export d --to slim --out x --workers 2"),
    ("export", "engine", "export d --to slim --out x --engine local"),
    ("export", "ray_address", "export d --to webdataset --out x --ray-address h:1"),
    ("label-by-text", "ray_address", "label-by-text t.csv --out x.csv --ray-address h:1"),
    ("train", "preset", "train d --out x --recipe micro-contrastive --preset paper"),
    ("train", "objective", "train d --out x --recipe micro-contrastive --objective contrastive"),
    ("train", "epochs", "train d --out x --objective contrastive --steps 9 --epochs 3"),
    ("train", "caption", "train d --out x --objective supervised --caption title"),
    ("train", "empty_classes", "train d --out x --objective contrastive --empty-classes fail"),
    ("train", "init_image", "train d --out x --objective supervised --init-image r"),
    ("train", "lock", "train d --out x --objective supervised --lock image"),
    ("train", "seed", "train --show contrastive --seed 0"),
    ("train", "data", "train d --show contrastive"),
    ("evaluate", "seed", "evaluate m --on a=b --out x --seed 0"),
    ("evaluate", "seed", "evaluate m --on a=b --out x --classifier prototypes --train t --seed 0"),
    ("evaluate", "prompts", "evaluate m --on a=b --out x --classifier head --prompts 80"),
    ("evaluate", "names", "evaluate m --on a=b --out x --classifier head --names curated"),
    ("evaluate", "train", "evaluate m --on a=b --out x --train t"),
    ("evaluate", "k", "evaluate m --on a=b --out x --classifier prototypes --train t --k 4"),
    ("evaluate", "labels", "evaluate m --on a=b --out x --labels l"),
    ("evaluate", "called", "evaluate m --on a=b --out x --as clip"),
    ("compare", "overwrite", "compare a b --overwrite"),
    ("frequency", "ids", "frequency r --ids i"),
    ("frequency", "caption", "frequency r --caption title"),
    ("frequency", "overwrite", "frequency r --overwrite"),
    ("trajectories", "labels", "trajectories r --on a=b --on c=d --out x --labels l"),
    ("stats", "thumbnails", "stats d --thumbnails open"),
    ("robustness", "units", "robustness published --units fraction"),
    ("robustness", "with_published", "robustness r.csv --without-published"),
    ("robustness", "with_published", "robustness published --plot f.svg --with-published"),
]
NEED_TORCH = {"evaluate", "train", "ablate", "trajectories", "export-model"}


def test_every_flag_stands_here() -> None:
    listed = {command: set(flags.split()) for command, flags in ALWAYS.items()}
    for command, flag, _ in WITHOUT_EFFECT:
        listed[command].add(flag)
    assert listed == {name: {flag.name for flag in spec.flags} for name, spec in SPECS.items()}


@pytest.mark.parametrize(("command", "flag", "line"), WITHOUT_EFFECT, ids=[line for *_, line in WITHOUT_EFFECT])
def test_a_flag_without_effect_is_refused(
    command: str, flag: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command in NEED_TORCH:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    Path("r.json").write_bytes((SAMPLE / "release.json").read_bytes())
    Path("u.txt").write_bytes((SAMPLE / "urls.txt").read_bytes())
    Path("i.txt").write_bytes((SAMPLE / "ids.txt").read_bytes())
    before = sorted(tmp_path.rglob("*"))
    code, told = invoke(*line.split())
    assert code == 2, told
    found = next(each for each in SPECS[command].flags if each.name == flag)
    assert any(name in told for name in found.names), told
    assert told.startswith("imagenet-captions: ")
    assert told.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
