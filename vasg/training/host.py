"""Workers of one host exchange tensors through memory they share: one copy, where Gloo goes through the network stack."""

import mmap
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vasg.training import rows_kernel

_FIRST_BYTES = 1 << 20  # of a box; it doubles as needed
_SECONDS = 60.0  # that a worker has to come to the meeting


class Host:
    """What ``size`` workers have put into their boxes of shared memory, and a socket from each worker to each other.

    A worker has two boxes in turn: when it fills one again, everyone has answered the post before this one, so has read
    the one before that. The boxes have no name and the meeting place is removed at once: nothing is left of a killed
    worker, and its sockets close, which ends the others.
    """

    def __init__(self, index: int, size: int, total: Callable[[Tensor], Tensor]) -> None:
        """``total`` adds up a tensor over the workers by other means."""
        self.index, self.size, self._turn = index, size, 0
        self._mine = [os.memfd_create("vasg-box") for _ in range(2)]
        for box in self._mine:
            os.truncate(box, _FIRST_BYTES)
        number = int(total(torch.tensor([secrets.randbits(62) if index == 0 else 0])))
        meeting = Path(tempfile.gettempdir(), f"vasg-host-{number:x}")
        if index == 0:
            meeting.mkdir(0o700)
        try:
            self._peers = self._meet(meeting, total)
        finally:
            if index == 0:
                shutil.rmtree(meeting)
        self._theirs = {peer: self._boxes(to) for peer, to in self._peers.items()}
        self._maps: dict[int, mmap.mmap] = {}  # by descriptor

    def _meet(self, meeting: Path, total: Callable[[Tensor], Tensor]) -> dict[int, socket.socket]:
        """A socket to each other worker; the later one calls the earlier."""
        peers = {}
        total(torch.zeros(1))  # the place is there
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door, _short(meeting) as place:
            door.bind(f"{place}/{self.index}")
            door.listen(self.size)
            door.settimeout(_SECONDS)
            total(torch.zeros(1))  # all doors are open
            for peer in range(self.index):
                peers[peer] = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                peers[peer].connect(f"{place}/{peer}")
                peers[peer].send(bytes([self.index]))
            for _ in range(self.index + 1, self.size):
                caller, _ = door.accept()
                caller.setblocking(True)
                peers[caller.recv(1)[0]] = caller
        total(torch.zeros(1))  # nobody calls any more
        return peers

    def _boxes(self, peer: socket.socket) -> list[int]:
        socket.send_fds(peer, [b"boxes"], self._mine)
        return list(socket.recv_fds(peer, 5, 2)[1])

    def exchange(self, values: Tensor, counts: list[int]) -> tuple[list[Tensor], list[int]]:
        """See ``Workers.exchange``."""
        room = self._room((sum(counts), *values.shape[1:]), values)
        for peer in self._peers:
            room[_share(counts, peer)] = values[_share(counts, peer)]
        shown, sent = self._show(room, counts)
        parts = [part[_share(to, self.index)] for part, to in zip(shown, sent, strict=True)]
        parts[self.index] = values[_share(counts, self.index)]
        return parts, [to[self.index] for to in sent]

    def lend(self, table: Tensor, rows: Tensor, counts: list[int], wanted: list[int]) -> Tensor:
        """See ``Workers.lend``. Own rows are copied once, others' twice."""
        room = self._room((sum(counts), *table.shape[1:]), table)
        for peer in self._peers:
            take(table, rows[_share(counts, peer)], room[_share(counts, peer)])
        shown, sent = self._show(room, counts)
        borrowed = table.new_empty(sum(wanted), *table.shape[1:])
        for owner, part in enumerate(shown):
            if owner == self.index:
                take(table, rows[_share(counts, owner)], borrowed[_share(wanted, owner)])
            else:
                borrowed[_share(wanted, owner)] = part[_share(sent[owner], self.index)]
        return borrowed

    def total(self, *values: Tensor) -> Tensor:
        """[n] sums over all workers of all elements, each adding up its share of them: the same bits everywhere."""
        room = self._room((sum(part.numel() for part in values),), values[0])
        torch.cat([part.flatten() for part in values], out=room)
        shares = [len(room) * k // self.size for k in range(self.size + 1)]
        mine = slice(shares[self.index], shares[self.index + 1])
        shown, _ = self._show(room, [])
        room = self._room((mine.stop - mine.start,), values[0])
        torch.add(shown[0][mine], shown[1][mine], out=room)
        for part in shown[2:]:
            room += part[mine]
        return torch.cat(self._show(room, [])[0])

    def _room(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of this shape in the box whose turn it is, to be filled and shown."""
        self._turn = 1 - self._turn
        numbers = int(np.prod(shape))
        return self._map(self._mine[self._turn], numbers * like.element_size(), like)[:numbers].view(shape)

    def _show(self, room: Tensor, counts: list[int]) -> tuple[list[Tensor], list[list[int]]]:
        """Let everybody see ``room`` [n, ...] and ``counts``; returns what every worker shows, in their order.

        Types and the sizes behind the first are the same on all workers. What is returned may be read until the next is shown.
        Raises ConnectionError when a worker is gone.
        """
        shown, answers = {self.index: room}, {self.index: counts}
        for to in self._peers.values():
            to.send(np.array([len(room), *counts], np.int64).tobytes())
        for peer, to in self._peers.items():
            answer = to.recv(8 * (1 + len(counts)))
            if not answer:
                raise ConnectionError(f"training worker {peer} is gone")
            length, *answers[peer] = np.frombuffer(answer, np.int64).tolist()
            numbers = length * int(np.prod(room.shape[1:]))
            part = self._map(self._theirs[peer][self._turn], numbers * room.element_size(), room)[:numbers]
            shown[peer] = part.view(length, *room.shape[1:])
        everyone = range(self.size)
        return [shown[k] for k in everyone], [answers[k] for k in everyone]

    def _map(self, box: int, size: int, like: Tensor) -> Tensor:
        """The whole box as a vector of numbers ``like`` these, at least ``size`` bytes of them."""
        found = self._maps.get(box)
        if found is None or len(found) < size:
            if box in self._mine and os.fstat(box).st_size < size:
                os.truncate(box, 1 << (size - 1).bit_length())
            found = self._maps[box] = mmap.mmap(box, os.fstat(box).st_size)
        return torch.frombuffer(found, dtype=like.dtype)


def take(table: Tensor, rows: Tensor, found: Tensor) -> None:
    """``found`` [n, any] becomes the ``rows`` [n] of ``table``, which are not checked; all on the CPU."""
    rows_kernel.take(table.numpy(), rows.numpy(), found.numpy())


def _share(counts: list[int], k: int) -> slice:
    """Where the k-th of consecutive groups of so many rows lies."""
    begin = sum(counts[:k])
    return slice(begin, begin + counts[k])


@contextmanager
def _short(directory: Path) -> Iterator[str]:
    """A short path of ``directory``: that of a socket has 107 bytes at most, whatever TMPDIR is."""
    descriptor = os.open(directory, os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
