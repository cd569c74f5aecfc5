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

_FIRST_BYTES = 1 << 20  # of a buffer; it doubles as needed
_SECONDS = 60.0  # that a worker has to come to the rendezvous


class Host:
    """The buffers of shared memory of ``size`` workers, and a socket from each worker to each other.

    The two buffers of a worker alternate: whoever has answered one message has finished reading the one before it, so that
    buffer may be filled again. They have no name, and the rendezvous folder is removed at once: nothing is left of a killed
    worker, and its sockets close, which ends the others.
    """

    def __init__(self, index: int, size: int, allreduce: Callable[[Tensor], Tensor]) -> None:
        """``allreduce`` adds up a tensor over the workers by other means."""
        self.index, self.size, self._turn = index, size, 0
        self._mine = [os.memfd_create("vasg-buffer") for _ in range(2)]
        for buffer in self._mine:
            os.truncate(buffer, _FIRST_BYTES)
        number = int(allreduce(torch.tensor([secrets.randbits(62) if index == 0 else 0])))
        rendezvous = Path(tempfile.gettempdir(), f"vasg-host-{number:x}")
        if index == 0:
            rendezvous.mkdir(0o700)
        try:
            self._peers = self._meet(rendezvous, allreduce)
        finally:
            if index == 0:
                shutil.rmtree(rendezvous)
        self._theirs = {peer: self._buffers(to) for peer, to in self._peers.items()}
        self._maps: dict[int, mmap.mmap] = {}  # by descriptor

    def _meet(self, rendezvous: Path, allreduce: Callable[[Tensor], Tensor]) -> dict[int, socket.socket]:
        """A socket to each other worker; the later one calls the earlier."""
        peers = {}
        allreduce(torch.zeros(1))  # the place is there
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, _short(rendezvous) as place:
            listener.bind(f"{place}/{self.index}")
            listener.listen(self.size)
            listener.settimeout(_SECONDS)
            allreduce(torch.zeros(1))  # all listeners are open
            for peer in range(self.index):
                peers[peer] = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                peers[peer].connect(f"{place}/{peer}")
                peers[peer].send(bytes([self.index]))
            for _ in range(self.index + 1, self.size):
                caller, _ = listener.accept()
                caller.setblocking(True)
                peers[caller.recv(1)[0]] = caller
        allreduce(torch.zeros(1))  # nobody calls any more
        return peers

    def _buffers(self, peer: socket.socket) -> list[int]:
        socket.send_fds(peer, [b"buffers"], self._mine)
        return list(socket.recv_fds(peer, 7, 2)[1])

    def alltoall(self, values: Tensor, counts: list[int]) -> tuple[list[Tensor], list[int]]:
        """See ``Workers.alltoall``."""
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

    def allreduce(self, *values: Tensor) -> Tensor:
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
        """A tensor of this shape in the buffer whose turn it is, to be filled and shown."""
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

    def _map(self, buffer: int, size: int, like: Tensor) -> Tensor:
        """The whole buffer as a vector of numbers ``like`` these, at least ``size`` bytes of them."""
        found = self._maps.get(buffer)
        if found is None or len(found) < size:
            if buffer in self._mine and os.fstat(buffer).st_size < size:
                os.truncate(buffer, 1 << (size - 1).bit_length())
            found = self._maps[buffer] = mmap.mmap(buffer, os.fstat(buffer).st_size)
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
