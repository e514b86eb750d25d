"""A TCP proxy on loopback that withholds what passes, so that a timeout falls exactly where a test wants it."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal

Trouble = Literal["", "lose answer", "hold answer", "hold request"]


class SlowProxy:
    """Passes everything on to 127.0.0.1:`target`, until `trouble` is set: then the next piece that it concerns is withheld.

    lose answer: the request gets through; its answer is thrown away and the connection cut.
    hold answer: the request gets through; its answer waits until the client has gone, or `release`.
    hold request: the request waits, even when the client has gone; `release` delivers it, `drop` throws it away.
    `met` is set when a request meets trouble, `answered` whenever the server answers.
    `every` makes trouble come again at every so-manieth request, however many connections there are.
    """

    def __init__(self, target: int, every: int = 0) -> None:
        self.trouble: Trouble = ""
        self.met, self.answered = threading.Event(), threading.Event()
        self.count = 0
        self._target, self._every, self._requests = target, every, 0
        self._kind: Trouble = ""
        self._lock = threading.Lock()
        self._go, self._dropped = threading.Event(), False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def again(self, kind: Trouble) -> None:
        """From now on `kind` comes at every `every`th request."""
        self._kind = kind

    def release(self) -> None:
        """Let go of what is held."""
        self._go.set()

    def drop(self) -> None:
        """Throw away what is held, and cut its connection."""
        self._dropped = True
        self._go.set()

    def close(self) -> None:
        """Take no more connections, and let go."""
        self.drop()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            ends = _Ends(near, socket.create_connection(("127.0.0.1", self._target)))
            for way in (self._up, self._down):
                threading.Thread(target=way, args=(ends,), daemon=True).start()

    def _take(self) -> Trouble:
        """The trouble that the request in hand meets."""
        with self._lock:
            self._requests += 1
            if self._kind and self._every and self._requests % self._every == 0:
                self.trouble = self._kind
            trouble, self.trouble = self.trouble, ""
            if trouble:
                self.count += 1
                self.met.set()
            return trouble

    def _up(self, ends: _Ends) -> None:
        """From client to server. When the client goes, the server is told after all that was sent."""
        with contextlib.suppress(OSError):
            while data := ends.near.recv(1 << 20):
                trouble = self._take()
                if trouble == "hold request":
                    ends.answered.clear()
                    self._go.wait()
                    if self._dropped:
                        break
                elif trouble:
                    ends.withheld.append(trouble)
                ends.far.sendall(data)
        ends.gone.set()
        if not self._dropped:
            ends.answered.wait(60)  # a server may drop a request whose client has hung up
        with contextlib.suppress(OSError):
            ends.far.shutdown(socket.SHUT_WR)

    def _down(self, ends: _Ends) -> None:
        """From server to client."""
        with contextlib.suppress(OSError):
            while data := ends.far.recv(1 << 20):
                ends.answered.set()
                self.answered.set()
                trouble = ends.withheld.pop() if ends.withheld else ""
                if trouble == "lose answer":
                    break
                while trouble and not ends.gone.is_set() and not self._go.wait(0.02):
                    pass
                ends.near.sendall(data)
        for end in (ends.near, ends.far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class _Ends:
    """One connection's two sockets; `withheld` is what its next answer meets, `gone`: the client has gone;
    `answered` is not set while the server owes an answer to a request that was held."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.withheld: list[Trouble] = []
        self.gone, self.answered = threading.Event(), threading.Event()
        self.answered.set()
