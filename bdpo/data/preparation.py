"""Blocks prepared here, or on several cores where there are many; the results are the same."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Self

from bdpo.data.blocks import Block
from bdpo.data.prepare import Prepared, Preparer, Task
from bdpo.data.rows import Parsed
from bdpo.data.sources import Shape
from bdpo.data.workers import Workers, num_cores

_ALONE_BLOCKS = 8
"""Blocks that take less time than it takes to start processes."""
_MOST_PROCESSES = 16
"""As many as one process can read blocks for and take them back, about; each has libraries and blocks in memory."""
Rows = tuple[Shape, str | None, Block | list[Parsed]]
"""How rows are read, what their source is called (None: by their files), and the rows, raw or already paired."""


class Preparation:
    """Prepares the blocks of one source after the other."""

    def __init__(self, preparer: Preparer) -> None:
        self._preparer = preparer
        self._prepare = preparer.start()
        self._open = ExitStack()
        self._workers: Workers | None = None
        self._num_blocks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._open.close()

    def run(self, blocks: Iterable[Rows]) -> Iterator[Prepared]:
        """What became of blocks, in their order.

        Args:
            blocks: how rows are read, what their source is called, and the rows.
        """
        tasks = self._numbered(blocks)
        if self._num_blocks < _ALONE_BLOCKS:
            yield from map(self._prepare, islice(tasks, _ALONE_BLOCKS - self._num_blocks))
        # Code that a model brings along may not load elsewhere.
        if num_cores() == 1 or self._preparer.model.trust_remote_code:
            yield from map(self._prepare, tasks)
            return
        for task in tasks:
            if self._workers is None:
                num = min(num_cores(), _MOST_PROCESSES)
                self._workers = self._open.enter_context(Workers(self._preparer, num))
            yield from self._workers.map(_after(task, tasks))

    def _numbered(self, blocks: Iterable[Rows]) -> Iterator[Task]:
        for block in blocks:
            yield Task(self._num_blocks, *block)
            self._num_blocks += 1


def _after(first: Task, rest: Iterable[Task]) -> Iterator[Task]:
    yield first
    yield from rest
