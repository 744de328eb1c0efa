"""A real server on 127.0.0.1 that answers in any way a socket can."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.crawler.crawl_tools import KEY


@dataclass
class HostileServer:
    """What a server saw, and how it answers; each connection is served request by request until it is closed."""

    respond: Respond
    endpoint: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def drip(self, connection: socket.socket, text: bytes, seconds: float = 0.05) -> None:
        """Send the text over and over, a byte at a time, until the client goes away."""
        while not self.stopping.is_set():
            for byte in text:
                connection.sendall(bytes([byte]))
                self.stopping.wait(seconds)

    def flood(self, connection: socket.socket, text: bytes, most: int) -> int:
        """Send the text over and over until the client goes away, and return how much it took; fail at `most`."""
        sent = 0
        with contextlib.suppress(OSError):
            while not self.stopping.is_set() and sent < most:
                connection.sendall(text)
                sent += len(text)
        return sent

    def serve(self, connection: socket.socket) -> None:
        self.connections += 1
        with connection, contextlib.suppress(OSError):
            while not self.stopping.is_set():
                received = b""
                while KEY.encode() not in received:
                    part = connection.recv(65536)
                    if not part:
                        return
                    received += part
                self.requests.append(received)
                self.respond(self, connection)


Respond = Callable[[HostileServer, socket.socket], None]


@contextmanager
def hostile(respond: Respond) -> Iterator[HostileServer]:
    """Serve until the block ends."""
    server = HostileServer(respond)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}/services/rest/"

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=server.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server
        finally:
            server.stopping.set()
            listener.shutdown(socket.SHUT_RDWR)


def answering(text: bytes) -> Respond:
    """Answer every request with these bytes."""
    return lambda _, connection: connection.sendall(text)


def closing(text: bytes) -> Respond:
    """Answer with these bytes and close the connection."""

    def respond(_: HostileServer, connection: socket.socket) -> None:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_RDWR)

    return respond


def http(body: bytes, *headers: str) -> bytes:
    """A whole answer with its length."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunks(*parts: bytes) -> bytes:
    """An answer in chunks."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))
