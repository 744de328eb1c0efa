"""The numbers of the crawl: pace, waits, pauses, timeouts, retries and sizes; all of crawler/ takes them from here.

Times are seconds unless a comment says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from imagenet_captions.errors import InputError

FLICKR_ENDPOINT = "https://api.flickr.com/services/rest/"
FLICKR_RATE = 1.0  # "under 3600 queries per hour across the whole key", https://www.flickr.com/services/developer/api/

# One call.
CONNECT_SECONDS = 10.0  # to open a connection
READ_SECONDS = 30.0  # between two bytes of an answer
CALL_SECONDS = 60.0  # from the beginning of a call to the last byte of its answer
GRACE_SECONDS = 1.0  # the loop gives up a call this much later than the client, which says more about the fault
LARGEST_ANSWER = 8 << 20  # bytes, unpacked; Flickr's have a few kilobytes
LARGEST_TRANSFER = LARGEST_ANSWER + (1 << 20)  # bytes on the wire, with status, headers and the framing of chunks
PIECE = 1 << 16  # bytes of an answer that are read at a time

# Several calls.
CALLS_AT_ONCE = 16
# Threads pay off only where answers take longer than this. On loopback, where this process itself takes the time, eight
# threads are slower than one, and one is slower than none.
SHORTEST_SPACING = 0.01
# How late a call may be without moving the later ones. Without it the oversleeping of every wait would add up and use
# less than the pace; with it two calls can come closer to each other by this much.
SLACK = 0.02
LONGEST_NAP = 0.2  # longer waits are cut into naps, to see an interrupt in time
SECONDS_A_LINE = 600.0  # between two lines of progress in a log file

# The store.
ANSWERS_AT_ONCE = 900  # rows of a query, below the 999 parameters that old builds of SQLite take
MOST_HELD = 64 << 20  # bytes of answers in memory at a time


@dataclass(frozen=True)
class RetrySettings:
    """How long and how often the crawl tries again: seconds, and numbers of attempts.

    Raises InputError for values that are not above 0, which would hammer the host or never ask it.
    """

    first_wait: float = 0.5
    longest_wait: float = 300.0
    first_pause: float = 1.0
    longest_pause: float = 300.0
    longest_retry_after: float = 3600.0
    tries: int = 12  # attempts after which a photo is set aside for this run
    tries_again: int = 3  # the same for a photo that has failed `tries` times before this run
    failures_in_a_row: int = 50  # over all photos; a fault rate of 30 % never comes near it
    pauses_in_a_row: int = 20  # more than an hour at `longest_pause`, and Flickr counts by the hour

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise InputError(f"`{field.name}` must be more than 0, not {value}")
