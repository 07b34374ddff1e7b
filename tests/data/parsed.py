"""A source read from end to end in this process."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bdpo.data.blocks import Block, collect
from bdpo.data.responses import pair_blocks
from bdpo.data.rows import Parsed, RawRow
from bdpo.data.sources import find_shape


def read_source(rows: Iterable[RawRow], **how: Any) -> list[Parsed]:
    """What becomes of rows, by the arguments of `find_shape`."""
    return read_source_blocks(collect(rows), **how)


def read_source_blocks(blocks: Iterable[Block], **how: Any) -> list[Parsed]:
    shape, blocks = find_shape(blocks, **how)
    if shape.is_paired:
        return [parsed for block in blocks for parsed in shape.parse(block.rows())]
    with tempfile.TemporaryDirectory() as folder:
        return [parsed for paired in pair_blocks(shape, blocks, Path(folder)) for parsed in paired]
