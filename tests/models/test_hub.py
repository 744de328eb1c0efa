from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from imagenet_captions.errors import InputError, NetworkError
from imagenet_captions.models.load import load_model

# As given, and as errors have them: without the spelling of the hub that a library takes.
NAMES = [
    ("open_clip:hf-hub:laion/some-model", "open_clip:laion/some-model"),
    ("timm:hf_hub:timm/resnet18.a1_in1k", "timm:timm/resnet18.a1_in1k"),
    ("transformers:kakaobrain/align-base", "transformers:kakaobrain/align-base"),
]


class Empty(BaseHTTPRequestHandler):
    """A hub that answers, and has no repository."""

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HTTPServer]:
    """A hub without repositories, and nothing fetched before; it answers once it serves."""
    with HTTPServer(("127.0.0.1", 0), Empty) as server:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        yield server


@pytest.mark.parametrize(("name", "shown"), NAMES)
def test_a_hub_that_is_not_reached_is_one_sentence_and_soon(hub: HTTPServer, name: str, shown: str) -> None:
    hub.server_close()
    start = time.monotonic()
    with pytest.raises(NetworkError) as caught:
        load_model(name)
    said = str(caught.value)
    assert said.startswith(f"{shown} would come from a hub that cannot be reached from here, or does not give it")
    assert said.endswith("; give a file or a folder that is on this machine")
    assert time.monotonic() - start < 20  # the hub's own client takes 23 s to 47 s
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize(("name", "shown"), NAMES[1:])
def test_a_repository_that_is_not_there(hub: HTTPServer, name: str, shown: str) -> None:
    thread = threading.Thread(target=hub.serve_forever)
    thread.start()
    try:
        with pytest.raises(InputError, match=f"the hub has no {shown}, or wants a login for it; check the name"):
            load_model(name)
    finally:
        hub.shutdown()
        thread.join()
