"""The jobs that the processes of an ablation do together: check shared files, train a run, end."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from imagenet_captions.ablations.distributed.team import END, Call, Team
from imagenet_captions.ablations.distributed.train_apart import FAILURES, Ended, failure, run_apart, tell
from imagenet_captions.errors import ImagenetCaptionsError, InputError, StoppedEarly
from imagenet_captions.storage.files import sha256
from imagenet_captions.storage.places import expand_pattern, is_remote
from imagenet_captions.training.settings import TrainResult, TrainSettings, read_done
from imagenet_captions.training.train import train

_SEE, _TRAIN = "see", "train"
_INTERRUPTED = 130
DISK_SECONDS = 120.0  # a network's disk may show a new file late
LAST_WORDS = 5.0


@contextmanager
def leading(team: Team) -> Iterator[None]:
    """Tell the followers at the end how the ablation ended."""
    code, reason = 1, "it broke down"
    try:
        yield
        code, reason = 0, ""
    except ImagenetCaptionsError as error:
        code, reason = error.exit_code, str(error)
        raise
    except KeyboardInterrupt:
        code, reason = _INTERRUPTED, "it was interrupted"
        raise
    finally:
        team.dismiss(code, reason)


def check_shared(team: Team, written: Path, data: Sequence[Path]) -> None:
    """Raise InputError if a follower does not see a file that this process wrote, or the data."""
    local = [path for path in data if not is_remote(path) and expand_pattern(path) is None]
    paths = tuple(str(path.resolve()) for path in (written, *local))
    for answer in team.answers(team.call(Call(_SEE, paths, sha256(written)))):
        if answer.code:
            raise InputError(f"process {answer.rank} on {answer.host}: {answer.reason}")


def train_together(team: Team, settings: TrainSettings, told: Path) -> TrainResult | None:
    """Train a run in one more process beside each of the team; all of them read the settings from the file `told`."""
    if read_done(settings.out) is not None:
        return train(settings)  # only checks that the finished run has these settings
    tell(replace(settings, out=settings.out.resolve()), told)
    call = Call(_TRAIN, (str(told.resolve()),), sha256(told), _free_port())
    number = team.call(call)
    own = _train(team, number, call)
    answers = [team.own(own.code, own.reason, own.stopped), *team.answers(number)]
    failed = [answer for answer in answers if answer.code]
    if failed:
        # The others fail too, because the connection is lost: the process that gives a reason is the first cause.
        worst = min(failed, key=lambda answer: (not answer.reason, answer.stopped))
        where = f" in process {worst.rank} on {worst.host}"
        raise failure(settings.out, Ended(worst.code, worst.reason), where)
    return read_done(settings.out)


def follow(team: Team) -> None:
    """Do the leader's jobs until it ends; raises an error with the leader's exit code if the ablation failed."""
    package = logging.getLogger(__name__.partition(".")[0])
    before = package.level
    package.setLevel(logging.ERROR)  # the leader speaks for all
    try:
        while (call := _follow_call(team)).job != END:
            pass
    except BaseException as error:
        team.leave(str(error) or type(error).__name__)
        raise
    finally:
        package.setLevel(before)
    if not call.code:
        return
    # torchrun ends the leader as soon as a follower on its machine fails. First the leader prints its own sentence.
    with suppress(StoppedEarly):
        time.sleep(LAST_WORDS)
    if call.code == _INTERRUPTED:
        raise KeyboardInterrupt
    failed = FAILURES.get(call.code, InputError)(f"the first process of this ablation failed: {call.reason}")
    failed.exit_code = call.code
    raise failed


def _follow_call(team: Team) -> Call:
    """Do the job of the next call, answer it, and return the call."""
    number, call = team.next_call()
    if call.job == END:
        team.answer(number)
        return call
    unseen = _unseen(call)
    if unseen is not None:
        reason = (
            f"{unseen} of the first process is not on this machine ({socket.gethostname()}); put `out` and the data "
            "on a disk that all machines have under the same path"
        )
        team.fail(number)
        team.answer(number, InputError.exit_code, reason)
    elif call.job == _TRAIN:
        ended = _train(team, number, call)
        team.answer(number, ended.code, ended.reason, ended.stopped)
    else:
        team.answer(number)
    return call


def _train(team: Team, number: int, call: Call) -> Ended:
    """Take part in a training, as the leader and every follower do."""
    # Each training has its own port and store: torchrun's store still holds the keys of the training before.
    meeting = {"MASTER_PORT": str(call.port), "TORCHELASTIC_USE_AGENT_STORE": "False"}
    ended = run_apart(Path(call.paths[0]), meeting, lambda: team.failed(number))
    if ended.code:
        team.fail(number)
    return ended


def _unseen(call: Call) -> str | None:
    """Return the first of a call's files that this machine does not have, after waiting for it a while."""
    until = time.monotonic() + DISK_SECONDS
    while True:
        written, *others = map(Path, call.paths)
        same = written.is_file() and sha256(written) == call.digest
        unseen = [str(path) for path in ([] if same else [written]) + [path for path in others if not path.exists()]]
        if not unseen or time.monotonic() > until:
            return unseen[0] if unseen else None
        time.sleep(1)


def _free_port() -> int:
    """Return a free port of this machine, for the first process of a training to listen at."""
    with socket.socket() as opened:
        opened.bind(("", 0))
        return int(opened.getsockname()[1])
