from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from imagenet_captions.errors import InputError, NetworkError
from imagenet_captions.models.load import load_model

NAMES = [
    "open_clip:RN50@openai",
    "open_clip:laion/some-model",
    "open_clip:hf-hub:laion/some-model",
    "timm:resnet18",
    "timm:timm/resnet18.a1_in1k",
    "timm:hf_hub:timm/resnet18.a1_in1k",
    "transformers:kakaobrain/align-base",
]
# As errors have them, without the spelling of the hub that a library takes.
SHOWN = [name.replace("hf-hub:", "").replace("hf_hub:", "") for name in NAMES]


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub whose port nobody listens on, and nothing fetched before."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A hub that answers, and has no repository."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("dead")
@pytest.mark.parametrize(("name", "shown"), list(zip(NAMES, SHOWN, strict=True)))
def test_a_hub_that_is_not_reached_is_one_sentence_and_soon(name: str, shown: str) -> None:
    start = time.monotonic()
    with pytest.raises(NetworkError) as caught:
        load_model(name)
    said = str(caught.value)
    assert said.startswith(f"{shown} would come from a hub that cannot be reached from here, or does not give it")
    assert said.endswith("; give a file or a folder that is on this machine")
    assert time.monotonic() - start < 20  # the hub's own client takes 23 s to 47 s
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(("name", "shown"), list(zip(NAMES, SHOWN, strict=True))[4:])
def test_a_repository_that_is_not_there(name: str, shown: str) -> None:
    with pytest.raises(InputError, match=f"the hub has no {shown}, or wants a login for it; check the name"):
        load_model(name)
