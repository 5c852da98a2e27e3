"""Parquet and Arrow (file and stream) -> records, read in batches; values keep their types."""

import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from core.data.bytes import Source
from core.data.findings import Notes, Refused
from core.data.records import PREVIEWED, SHOWN, Record
from core.data.words import clean

_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError)  # as the library says it


class Columnar:
    """Parquet and Arrow (file and stream), read in batches; values keep their types."""

    unit = "row"
    BATCH = 1024

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
                    rows = batch.to_pylist()
                except StopIteration:
                    return
                except _DAMAGE as error:
                    raise self._damaged(error) from error
                for fields in rows:
                    number += 1
                    yield Record(number, fields)

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
        done = 0
        for batch in parquet.iter_batches(size):
            done += batch.num_rows
            yield batch, done / max(1, parquet.metadata.num_rows)
    elif kind == "arrow":
        arrow = pa.ipc.open_file(data)
        for index in range(arrow.num_record_batches):
            yield arrow.get_batch(index), (index + 1) / arrow.num_record_batches
    else:
        for batch in pa.ipc.open_stream(data):
            yield batch, data.tell() / max(1, data.size())
