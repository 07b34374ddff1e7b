"""Token ids as Parquet holds them, to tuples."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def id_tuples(column: pa.ChunkedArray) -> list[tuple[int, ...]]:
    """Lists of token ids, none of them null, as tuples that take 8 bytes an id.

    Equal ids are one number and equal lists one tuple; of numbers of its own each id would take 40.
    """
    most = pc.max(pc.list_flatten(column)).as_py()
    numbers = np.arange(0 if most is None else most + 1).astype(object)
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    found = []
    for chunk in column.chunks:
        flat = chunk.flatten().to_numpy()
        bounds = np.cumsum(pc.list_value_length(chunk).to_numpy())
        for ids in np.split(flat, bounds[:-1]) if len(chunk) else ():
            made = tuple(numbers[ids].tolist())
            found.append(known.setdefault(made, made))
    return found
