"""Broken data files: good ones of every kind, mutated by a seed."""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.tiny_run import pair_rows

KINDS = (".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet", ".arrow")
ODD: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2**70, 1.5, float("nan"), float("inf"), "", " ", "\x00", "\ud800", "é\u3000", "true", [], {},
    [None], [[]], {"role": "user"}, [{"role": "user", "content": 3}], [{"role": "assistant", "content": "a"}],
    [{"role": "user", "content": "\udfff"}, {"role": "assistant", "content": "b"}], "\n\nHuman: a\n\nAssistant: b",
    "\n\nAssistant: \n\nHuman:", "<|im_end|>",
)  # fmt: skip
BYTES = (b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"', b"\\", b"\\ud800", b"{", b"]", b",", b"\r",
         b"\n", b"\n\n", b"\x1a", b"NaN", b"1e999", b"'")  # fmt: skip


def good_rows(chance: random.Random) -> list[dict[str, Any]]:
    """Six rows of one of the known formats."""
    rows = pair_rows(6)
    match chance.randrange(4):
        case 0:
            return rows
        case 1:
            start = [f"\n\nHuman: {row['prompt']}\n\nAssistant: " for row in rows]
            return [
                {"chosen": s + r["chosen"], "rejected": s + r["rejected"]} for s, r in zip(start, rows, strict=True)
            ]
        case 2:
            labels: dict[str, Any] = {"is_response_0_safe": True, "is_response_1_safe": False}
            labels |= {"better_response_id": 0, "safer_response_id": 0}
            return [
                {"prompt": r["prompt"], "response_0": r["chosen"], "response_1": r["rejected"], **labels} for r in rows
            ]
        case _:
            question = [[{"role": "user", "content": row["prompt"]}] for row in rows]
            return [
                {s: [*q, {"role": "assistant", "content": row[s]}] for s in ("chosen", "rejected")}
                for q, row in zip(question, rows, strict=True)
            ]


def broken_value(value: Any, chance: random.Random) -> Any:
    """A value with one place in it replaced, dropped, doubled or wrapped."""
    if isinstance(value, (dict, list)) and value and chance.random() < 0.8:
        copy: Any = value.copy()
        key = chance.choice(list(copy)) if isinstance(copy, dict) else chance.randrange(len(copy))
        match chance.randrange(4):
            case 0:
                del copy[key]
            case 1 if isinstance(copy, dict):
                copy[chance.choice(("extra", "", "prompt", "chosen\x00"))] = copy.pop(key)
            case _:
                copy[key] = broken_value(copy[key], chance)
        return copy
    if chance.random() < 0.1:
        return [value] if chance.random() < 0.5 else {"role": value}
    return chance.choice(ODD)


def written(rows: list[Any], kind: str) -> bytes:
    """Rows as a file of a kind; for CSV, Parquet and Arrow, whatever of them such a file can hold."""
    match kind:
        case ".json":
            return json.dumps(rows).encode()
        case ".csv":
            text = io.StringIO()
            out = csv.writer(text)
            out.writerow(rows[0] if isinstance(rows[0], dict) and rows[0] else ["prompt", "chosen", "rejected"])
            out.writerows(list(row.values()) if isinstance(row, dict) else [row] for row in rows)
            return text.getvalue().encode(errors="surrogatepass")
        case ".parquet" | ".arrow":
            try:
                return _columnar(pa.Table.from_pylist([row for row in rows if isinstance(row, dict)]), kind)
            except (pa.ArrowException, UnicodeError, OverflowError):  # no such file can hold such rows
                text = pa.array([json.dumps(row) for row in rows])
                return _columnar(pa.table({"prompt": text, "chosen": text, "rejected": text}), kind)
        case _:
            return b"\n".join(json.dumps(row).encode() for row in rows) + b"\n"


def _columnar(table: pa.Table, kind: str) -> bytes:
    sink = pa.BufferOutputStream()
    if kind == ".parquet":
        pq.write_table(table, sink)
    else:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


def _nested(data: bytes, chance: random.Random) -> bytes:
    depth = chance.choice((10, 500, 1000, 3000, 20_000))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"prompt":', b"}")))
    deep = opening * depth + b"1" + closing * chance.choice((depth, depth - 1, 0))
    at = chance.choice((0, len(data), data.find(b": ") + 2))
    return data[:at] + deep + data[at:]


def _recoded(data: bytes, chance: random.Random) -> bytes:
    text = data.decode("latin-1")
    return text.encode(chance.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7", "utf-8")))


def _spliced(data: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        data = data[:at] + chance.choice(BYTES) + data[at + chance.randint(0, 3) :]
    return data


def _flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _cut(data: bytes, chance: random.Random) -> bytes:
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return chance.choice((data[:last], data[first:], data[:first] + data[last:], data[:last] + data[first:]))


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (_nested, _recoded, _spliced, _flipped, _cut)


def broken_file(kind: str, seed: int) -> bytes:
    """One broken file of a kind; the same for the same seed."""
    chance = random.Random(f"{kind} {seed}")
    rows: list[Any] = good_rows(chance)
    structural = chance.random() < 0.4
    if structural:
        rows = [broken_value(row, chance) if chance.random() < 0.6 else row for row in rows]
    data = written(rows, kind)
    packed = kind.endswith(".gz")
    if packed and chance.random() < 0.5:
        data = gzip.compress(data, mtime=0)
        packed = False
    if not structural or chance.random() < 0.2:
        data = chance.choice(MUTATIONS)(data, chance)
    return gzip.compress(data, mtime=0) if packed else data
