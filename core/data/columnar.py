"""Parquet and Arrow (file and stream) -> records, read in batches; values keep their types."""

import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from core.data.bytes import Source
from core.data.findings import Notes, Refused
from core.data.limits import ROW_BYTES, check_rows
from core.data.records import PREVIEWED, SHOWN, TOO_LONG, Record
from core.data.words import clean

_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError)  # as the library says it


class Columnar:
    """Parquet and Arrow (file and stream), read in batches; values keep their types."""

    unit = "row"
    BATCH = 64  # rows, each of which may be a book
    HELD = 64 << 20  # bytes of a batch, written out

    def __init__(self, source: Source) -> None:
        self.source = source
        self.columns = [str(name) for name in self._opened(lambda file: _schema(file).names)]
        self._fraction = 0.0
        first = [record.fields for record in itertools.islice(self.records(Notes()), PREVIEWED)]
        self.preview = [
            [
                "" if value is None else clean(str(value)[:SHOWN])
                for value in (fields or {}).values()
            ]
            for fields in first
        ]

    def fraction(self) -> float:
        return self._fraction

    def _opened(self, use):
        try:
            with pa.memory_map(str(self.source.path)) as data:
                if self.source.kind == "parquet":
                    return use(pa.parquet.ParquetFile(data))
                if self.source.kind == "arrow":
                    return use(pa.ipc.open_file(data))
                return use(pa.ipc.open_stream(data))
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def records(self, notes: Notes) -> Iterator[Record]:
        number = 0
        with pa.memory_map(str(self.source.path)) as data:
            batches = _batches(data, self.source.kind, self.BATCH)
            while True:
                try:
                    batch, self._fraction = next(batches)
                    rows = batch.to_pylist() if _weight(batch) <= self.HELD else None
                except StopIteration:
                    return
                except _DAMAGE as error:
                    raise self._damaged(error) from error
                for at in range(batch.num_rows):
                    number += 1
                    if rows is not None:
                        yield Record(number, rows[at])
                    elif _weight(one := batch.slice(at, 1)) <= ROW_BYTES:
                        yield Record(number, one.to_pylist()[0])
                    else:
                        yield Record(number, None, TOO_LONG)

    def _damaged(self, error: Exception) -> Refused:
        return Refused(
            f"“{self.source.name}” is a {self.source.kind} file, but it is damaged "
            f"({str(error).splitlines()[0]}).",
            "Make or download it again.",
        )


def _schema(file: Any) -> pa.Schema:
    return file.schema_arrow if isinstance(file, pa.parquet.ParquetFile) else file.schema


def _batches(data: Any, kind: str, size: int) -> Iterator[tuple[pa.RecordBatch, float]]:
    if kind == "parquet":
        parquet = pa.parquet.ParquetFile(data)
        check_rows(parquet.metadata.num_rows)
        done = 0
        for batch in parquet.iter_batches(size):
            done += batch.num_rows
            yield batch, done / max(1, parquet.metadata.num_rows)
    elif kind == "arrow":
        arrow = pa.ipc.open_file(data)
        for index in range(arrow.num_record_batches):
            for batch in _sliced(arrow.get_batch(index), size):
                yield batch, (index + 1) / arrow.num_record_batches
    else:
        for whole in pa.ipc.open_stream(data):
            for batch in _sliced(whole, size):
                yield batch, data.tell() / max(1, data.size())


def _sliced(batch: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    check_rows(batch.num_rows)
    batch.validate(full=True)  # places beyond the file are believed otherwise, and end the process
    return (batch.slice(start, size) for start in range(0, batch.num_rows, size))


def _weight(part: pa.RecordBatch | pa.Array) -> int:
    """Bytes that it has at most when it is written out: a text may stand once for many rows."""
    if isinstance(part, pa.RecordBatch):
        return sum(map(_weight, part.columns))
    if isinstance(part, pa.ExtensionArray):
        return _weight(part.storage)
    kind = part.type
    if pa.types.is_dictionary(kind):
        if len(part) == 1:
            return _weight(part.dictionary_decode())
        return len(part) * _longest(part.dictionary)
    if pa.types.is_run_end_encoded(kind):
        return len(part) * _longest(part.values)
    if pa.types.is_struct(kind):
        return sum(_weight(part.field(number)) for number in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _weight(part.flatten())
    return part.nbytes


def _longest(values: pa.Array) -> int:
    """Bytes of the longest of the values."""
    return max((_weight(values.slice(at, 1)) for at in range(len(values))), default=0)
