"""Publishing: what is sent, what never is, and what is left when it is interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

import imagenet_captions as ic
from imagenet_captions.packager.package import PackageSettings, package, verify
from tests.command_line import invoke
from tests.packager.made import contents, train_folder, write_captions
from tests.publishing.hub_stand_in import OWNER, TOKEN, Hub, Repo, hub_stand_in

NAME = f"{OWNER}/captions"
# The client's own upload of a file warns so in its version 2.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_stand_in() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `texts`, the same with another caption as `later`, and `pictures`."""
    root = tmp_path_factory.mktemp("made")
    package(write_captions(root / "a.parquet"), root / "texts", PackageSettings())
    package(write_captions(root / "b.parquet", caption="later"), root / "later", PackageSettings())
    settings = PackageSettings(train_folder(root / "images"))
    package(write_captions(root / "c.parquet"), root / "pictures", settings)
    return root


def published(hub: Hub, folder: Path) -> Path:
    """Write what a repository has to a folder, as a download would."""
    for name, data in hub.repos[NAME].files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_dataset_is_published_whole_in_one_commit(hub: Hub, made: Path, tmp_path: Path) -> None:
    done = ic.publish(made / "texts", NAME)
    repo = hub.repos[NAME]
    files = contents(made / "texts")
    assert repo.files == {".gitattributes": repo.files[".gitattributes"], **files}
    assert repo.commits == ["initial commit", "Publish the dataset with imagenet-captions"]
    assert (repo.private, repo.gated) == (False, False)
    assert done.files == {name: len(data) for name, data in files.items()}
    assert done.url == f"{hub.endpoint}/datasets/{NAME}/commit/{repo.sha}"
    assert verify(published(hub, tmp_path / "copy")).rows == 12
    assert TOKEN not in f"{done}{done.url}"


def test_the_same_again_sends_nothing_and_a_later_version_only_what_changed(hub: Hub, made: Path) -> None:
    ic.publish(made / "texts", NAME)
    sent = hub.sent.copy()
    ic.publish(made / "texts", NAME)
    assert (hub.sent, len(hub.repos[NAME].commits)) == (sent, 2)
    hub.repos[NAME].files["notes.md"] = b"somebody's own"
    ic.publish(made / "later", NAME)
    assert len(hub.repos[NAME].commits) == 3
    assert set(hub.sent.values()) == {1}
    assert len(hub.sent - sent) == 1  # the captions are only in the shard of `default`
    assert contents(made / "later").items() <= hub.repos[NAME].files.items()
    assert hub.repos[NAME].files.keys() - contents(made / "later") == {".gitattributes", "notes.md"}


def test_images_are_published_on_demand_alone_and_behind_a_gate(hub: Hub, made: Path, tmp_path: Path) -> None:
    with pytest.raises(ic.InputError, match=r"has images.*make a copy without them.*or give `with_images`"):
        ic.publish(made / "pictures", NAME)
    assert (hub.calls, hub.repos) == ([], {})
    with pytest.raises(ic.InputError, match="has no images; leave out `with_images`"):
        ic.publish(made / "texts", NAME, with_images=True)
    ic.publish(made / "pictures", NAME, with_images=True, private=True)
    assert (hub.repos[NAME].gated, hub.repos[NAME].private) == ("auto", True)
    settings = next(at for at, call in enumerate(hub.calls) if call.endswith("/settings"))
    assert settings < next(at for at, call in enumerate(hub.calls) if "/large/" in call)
    copy = published(hub, tmp_path / "copy")
    assert verify(copy).images == 12
    card = (copy / "README.md").read_text()
    header = yaml.safe_load(card.split("---\n")[1])
    assert "non-commercial research and education" in header["extra_gated_prompt"]
    assert sorted(header["extra_gated_fields"].values()) == ["checkbox", "checkbox", "text", "text"]
    assert card.endswith((made / "pictures/README.md").read_text().removeprefix("---\n"))
    assert "extra_gated" not in (made / "pictures/README.md").read_text()


def test_a_password_in_the_hubs_address_is_not_shown(hub: Hub, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://me:opensesame@127.0.0.1:9")
    code, told = invoke("publish", str(made / "texts"), NAME)
    sentence = "the hub http://127.0.0.1:9 cannot be reached from here; run it again with a network"
    assert (code, told) == (2, f"imagenet-captions: {sentence}\n")


def test_a_dry_run_lists_and_asks_nobody(hub: Hub, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    code, told = invoke("publish", str(made / "texts"), NAME, "--dry-run")
    files = contents(made / "texts")
    *rows, whole, last = told.splitlines()
    assert {name: size for name, size, _ in map(str.split, rows)} == {k: f"{len(v):,}" for k, v in files.items()}
    assert whole.split() == [str(len(files)), "files", f"{sum(map(len, files.values())):,}", "bytes"]
    assert (code, last) == (0, "nothing was sent: this was a dry run")
    assert hub.calls == []
    _, told = invoke("publish", str(made / "pictures"), NAME, "--with-images", "--dry-run")
    assert told.startswith("ImageNet's terms of access (https://www.image-net.org/download.php) bind everyone")


@pytest.mark.parametrize(
    ("token", "name", "told"),
    [
        ("hf_of_somebody", NAME, "the hub does not know the token; log in again with `hf auth login`"),
        (TOKEN, "others/captions", "the token may not write to others/captions; give a name of your own"),
        ("", NAME, "no token for the hub was found; log in with `hf auth login`"),
        (TOKEN, "captions", "a repository is named ORG/NAME, such as my-group/captions, not 'captions'"),
    ],
)
def test_a_refusal_is_one_sentence(
    hub: Hub, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str, name: str, told: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    code, said = invoke("publish", str(made / "texts"), name)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"imagenet-captions: {told}")
    assert hub.repos == {}


def test_shards_of_an_earlier_version_are_removed(hub: Hub, made: Path, tmp_path: Path) -> None:
    ic.filter(made / "texts", ic.FilterSettings(shuffle=1, shards=2), out=tmp_path / "shards")
    ic.publish(tmp_path / "shards", NAME)
    ic.publish(made / "texts", NAME)
    assert hub.repos[NAME].files.keys() - {".gitattributes"} == contents(made / "texts").keys()


LISTS_NOTHING = b'{"format": "imagenet-captions dataset", "files": {}}'


@pytest.mark.parametrize(
    ("files", "foreign"),
    [
        ({"README.md": b"my notes"}, "README.md"),
        ({"manifest.json": b'{"format": "x", "files": {}}'}, "manifest.json"),
        ({"manifest.json": LISTS_NOTHING, "README.md": b""}, "README.md"),
    ],
)
def test_a_repository_of_others_is_left_alone(hub: Hub, made: Path, files: dict[str, bytes], foreign: str) -> None:
    hub.repos[NAME] = Repo(files={".gitattributes": b"", **files})
    with pytest.raises(ic.InputError, match=f"^the repository {NAME} holds {foreign}, which is not ours; give another"):
        ic.publish(made / "texts", NAME)
    assert (hub.sent, hub.repos[NAME].files) == ({}, {".gitattributes": b"", **files})


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("README.md", r"README\.md of the repository group/captions was edited there; keep the edit elsewhere"),
        ("data/train-00001-of-00002.parquet", r"holds data/train-00001-of-00002\.parquet, which is not ours"),
    ],
)
def test_what_was_edited_on_the_hub_is_not_lost(hub: Hub, made: Path, name: str, sentence: str) -> None:
    ic.publish(made / "texts", NAME)
    edited = hub.repos[NAME].files[name] = b"---\nlicense: mit\n---\nedited"
    with pytest.raises(ic.InputError, match=sentence):
        ic.publish(made / "later", NAME)
    assert hub.repos[NAME].files[name] == edited
    assert len(hub.repos[NAME].commits) == 2
    del hub.repos[NAME].files[name]
    ic.publish(made / "later", NAME)
    assert contents(made / "later").items() <= hub.repos[NAME].files.items()


def test_a_public_repository_does_not_get_private_and_a_branch_has_to_be_there(hub: Hub, made: Path) -> None:
    hub.repos[NAME] = Repo()
    for given, sentence in (
        ({"private": True}, "exists and is public"),
        ({"revision": "absent"}, "the hub has no such branch of"),
    ):
        with pytest.raises(ic.InputError, match=sentence):
            ic.publish(made / "texts", NAME, **given)
    assert (hub.sent, len(hub.repos[NAME].commits)) == ({}, 1)


def test_what_somebody_else_commits_meanwhile_is_not_overwritten(hub: Hub, made: Path) -> None:
    hub.before_a_commit = lambda: hub.repos[NAME].commits.append("another's")
    with pytest.raises(ic.NetworkError, match=r"did not take group/captions \(.*; run the same command again"):
        ic.publish(made / "texts", NAME)
    assert hub.repos[NAME].commits == ["initial commit", "another's"]


def test_a_dataset_that_is_not_whole_is_not_published(hub: Hub, made: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(made / "texts", tmp_path / "texts")
    (copied / "croissant.json").unlink()
    with pytest.raises(ic.InputError, match=r"is damaged: croissant\.json is not there whole"):
        ic.publish(copied, NAME)
    assert hub.calls == []
    copied = shutil.copytree(made / "texts", tmp_path / "edited")
    (copied / "README.md").write_text((copied / "README.md").read_text().replace("Flickr", "flickR", 1))
    with pytest.raises(ic.InputError, match=r"is damaged: README\.md has other bytes"):
        ic.publish(copied, NAME)
    assert len(hub.repos[NAME].commits) == 1


def test_a_branch_a_pull_request_and_a_message_go_to_the_client(hub: Hub, made: Path) -> None:
    flags = ["--revision", "draft", "--create-pr", "--message", "The rebuild of May"]
    code, told = invoke("publish", str(made / "texts"), NAME, *flags)
    assert (code, f"{hub.endpoint}/datasets/{NAME}/discussions/1\n" in told) == (0, True)
    assert f"POST /api/datasets/{NAME}/commit/draft?create_pr=1" in hub.calls
    assert hub.repos[NAME].commits[-1] == "The rebuild of May"


@pytest.mark.slow
def test_a_killed_upload_goes_on_and_is_never_half_published(hub: Hub, made: Path, tmp_path: Path) -> None:
    manifest = json.loads((made / "texts/manifest.json").read_text())
    held = manifest["files"]["raw/train-00000-of-00001.parquet"]["sha256"]
    others = {entry["sha256"] for name, entry in manifest["files"].items() if name.endswith(".parquet")} - {held}
    waiting, go_on = threading.Event(), threading.Event()

    def wait(oid: str) -> None:
        if oid == held and not go_on.is_set():
            waiting.set()
            go_on.wait(60)
            raise BrokenPipeError

    hub.before_a_file = wait
    command = [sys.executable, "-m", "imagenet_captions", "publish", str(made / "texts"), NAME]
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    environment = {**os.environ, **settings, "HF_TOKEN": TOKEN}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert waiting.wait(60)
    while not others <= hub.sent.keys():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    go_on.set()
    assert hub.repos[NAME].files.keys() == {".gitattributes"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{hub.endpoint}/datasets/{NAME}/commit/{hub.repos[NAME].sha}"
    assert TOKEN not in done.stdout + done.stderr
    assert hub.sent == dict.fromkeys([*others, held], 1)
    assert len(hub.repos[NAME].commits) == 2
    assert contents(made / "texts").items() <= hub.repos[NAME].files.items()
