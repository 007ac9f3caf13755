"""What notices are sent to: a real HTTP receiver and a real, small SMTP server, each in a thread on loopback."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hooks:
    """What a webhook receiver was sent: headers (lower case) and body. The next answers have the statuses in `answers`, then 204."""

    port: int = 0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?from=router"


@dataclass
class Mails:
    """What a mail server was given. `busy` connections are turned away first."""

    port: int = 0
    got: list[tuple[list[str], Message]] = field(default_factory=list)
    busy: int = 0


@contextmanager
def webhooks() -> Iterator[Hooks]:
    """A receiver of webhooks."""
    hooks = Hooks()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = hooks.answers.pop(0) if hooks.answers else 204
            if status == 204:
                hooks.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hooks.port = server.server_address[1]
    with _served(server):
        yield hooks


@contextmanager
def mail_server() -> Iterator[Mails]:
    """An SMTP server that takes whatever it is given."""
    mails = Mails()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if mails.busy:
                mails.busy -= 1
                self.say("421 busy")
                return
            self.say("220 here")
            recipients: list[str] = []
            while line := self.rfile.readline().decode().strip():
                verb = line.split(":")[0].split(" ")[0].upper()
                if verb == "QUIT":
                    self.say("221 bye")
                    return
                if verb == "RCPT":
                    recipients.append(line.partition("<")[2].partition(">")[0])
                if verb == "DATA":
                    self.say("354 go on")
                    read = iter(self.rfile.readline, b".\r\n")
                    raw = b"".join(piece[1:] if piece.startswith(b".") else piece for piece in read)
                    mails.got.append((recipients, message_from_bytes(raw)))
                self.say("250 fine")

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    mails.port = server.server_address[1]
    with _served(server):
        yield mails


@contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
