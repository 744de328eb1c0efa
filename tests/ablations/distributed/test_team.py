"""Processes of an ablation that lead and follow, as threads that share a store in memory."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from torch.distributed import HashStore

from imagenet_captions.ablations.ablate import ablate
from imagenet_captions.ablations.distributed import team as teams
from imagenet_captions.ablations.distributed import together
from imagenet_captions.ablations.distributed.team import Call, Team, joined_team
from imagenet_captions.ablations.distributed.together import check_shared, follow, leading
from imagenet_captions.ablations.settings import AblateSettings
from imagenet_captions.errors import ImagenetCaptionsError, InputError, StoppedEarly


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = logging.getLogger("imagenet_captions")
    level = package.level
    monkeypatch.setattr(teams, "SIGN_SECONDS", 0.05)
    monkeypatch.setattr(teams, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(together, "LAST_WORDS", 0.0)
    monkeypatch.setattr(together, "DISK_SECONDS", 0.0)
    yield
    package.setLevel(level)  # followers, which are processes elsewhere, share one logger here


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


def three(patience: float = 60.0) -> list[Team]:
    store = HashStore()
    return [Team(store, rank, 3, patience) for rank in range(3)]


def close(team: list[Team]) -> None:
    for each in team:
        each.close()


def test_followers_see_what_the_leader_wrote_and_end_with_it(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    written = tmp_path / "settings.json"
    written.write_text("{}")
    leader, *others = team = three()
    following = [pool.submit(follow, other) for other in others]
    with leading(leader):
        check_shared(leader, written, [written])
        with pytest.raises(InputError, match=r"process 1 on .*nowhere of the first process is not on this machine"):
            check_shared(leader, written, [written, tmp_path / "nowhere"])
        other = leader.call(Call("see", (str(written),), digest="of another file"))
        assert [answer.code for answer in leader.answers(other)] == [2, 2]
        assert leader.failed(other)
    assert [each.result(60) for each in following] == [None, None]
    close(team)


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        (InputError("the data is wrong"), 2, "the first process of this ablation failed: the data is wrong"),
        (StoppedEarly("a signal"), 3, "the first process of this ablation failed: a signal"),
        (ZeroDivisionError(), 1, "the first process of this ablation failed: it broke down"),
    ],
)
def test_followers_end_as_the_leader_does(
    pool: ThreadPoolExecutor, raised: Exception, code: int, sentence: str
) -> None:
    leader, *others = team = three()
    following = [pool.submit(follow, other) for other in others]
    with pytest.raises(type(raised)), leading(leader):
        raise raised
    for each in following:
        with pytest.raises(ImagenetCaptionsError, match=sentence) as found:
            each.result(60)
        assert found.value.exit_code == code
    close(team)


def test_an_interrupted_leader_interrupts_its_followers(pool: ThreadPoolExecutor) -> None:
    leader, *others = team = three()
    following = [pool.submit(follow, other) for other in others]
    with pytest.raises(KeyboardInterrupt), leading(leader):
        raise KeyboardInterrupt
    for each in following:
        with pytest.raises(KeyboardInterrupt):
            each.result(60)
    close(team)


def test_a_process_that_gives_no_sign_ends_the_others() -> None:
    leader, first, second = team = three(patience=0.5)
    second.close()
    first.answer(leader.call(Call("see")))
    with pytest.raises(StoppedEarly, match=r"process 2 of 3 has given no sign of life for 0 seconds; see what"):
        leader.answers(1)
    leader.close()
    first.next_call()
    with pytest.raises(StoppedEarly, match=r"process 0 of 3 has given no sign of life"):
        follow(first)
    close(team)


def test_signs_of_life_are_waited_for_as_long_as_they_come(pool: ThreadPoolExecutor) -> None:
    leader, *others = team = three(patience=0.5)
    number = leader.call(Call("see"))
    waiting = pool.submit(leader.answers, number)
    with pytest.raises(TimeoutError):
        waiting.result(3)
    for other in others:
        other.answer(number)
    assert [answer.rank for answer in waiting.result(60)] == [1, 2]
    close(team)


def test_a_follower_that_breaks_down_says_so(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space")

    leader, *others = team = three()
    monkeypatch.setattr(together, "sha256", full)
    (tmp_path / "settings.json").touch()
    following = [pool.submit(follow, other) for other in others]
    with pytest.raises(StoppedEarly, match=r"process 1 on \S+ has ended: no space; run the same command"):
        leader.answers(leader.call(Call("see", (str(tmp_path / "settings.json"),))))
    for each in following:
        with pytest.raises(OSError, match="no space"):
            each.result(60)
    close(team)


def test_the_end_of_the_store_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(HashStore):
        def check(self, keys: list[str]) -> bool:
            raise RuntimeError("Connection reset by peer")

    follower = Team(Gone(), 1, 2)
    with pytest.raises(StoppedEarly, match="the first process of this ablation, or its machine, has gone; run the"):
        follow(follower)
    follower.close()


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the first of two processes on one machine."""
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": 1}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(("nodes", "devices"), [(1, 1), (2, 1), (2, 2), (1, 3)])
def test_torchrun_starts_as_many_processes_as_are_asked_for(
    torchrun: None, tmp_path: Path, nodes: int, devices: int
) -> None:
    settings = AblateSettings(("size",), {}, tmp_path / "out", nodes=nodes, devices=devices)
    with pytest.raises(InputError, match=rf"torchrun started 2 processes .* ask for {devices} and {devices * nodes};"):
        ablate(settings)


def test_several_machines_need_torchrun(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`nodes` 2 needs torchrun"):
        ablate(AblateSettings(("size",), {}, tmp_path / "out", nodes=2))
    assert not (tmp_path / "out").exists()


def test_torchrun_must_not_start_processes_again(torchrun: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(InputError, match="max-restarts does not work"), joined_team():
        pass


def test_sigterm_ends_a_process_in_order(torchrun: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teams, "rendezvous", lambda *_, **__: iter([(HashStore(), 0, 2)]))
    before = signal.getsignal(signal.SIGTERM)

    def ended() -> None:
        with joined_team() as team:
            assert team is not None
            assert team.leads
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(60)

    with pytest.raises(StoppedEarly, match="stopped by a signal"):
        ended()
    assert signal.getsignal(signal.SIGTERM) == before
