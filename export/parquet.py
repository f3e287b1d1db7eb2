"""Parquet files in memory and in open files, read and written with the precautions that Arrow needs."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(source: Any, columns: list[str] | None = None, is_remote: bool = False) -> pa.Table:
    """A Parquet file as a table.

    By this thread alone, unless storage is remote: pyarrow.parquet.read_table starts a thread of Arrow even where it is
    asked to use none, and a process that ends while one starts, as one that refuses its input does, is aborted
    ("terminate called without an active exception": 2 of 300 processes on a busy machine).

    Args:
        source: an open file, or its content in a BytesIO or BufferReader.
        columns: the columns to read, if not all.
        is_remote: read ranges ahead, in parallel.
    """
    with pq.ParquetFile(source, pre_buffer=is_remote) as file:
        return file.read(columns=columns, use_threads=is_remote)


def parquet_bytes(table: pa.Table, **options: object) -> pa.Buffer:
    """A table as a Parquet file, zstd by default. Without rows it has no row group: some readers refuse one."""
    sink = pa.BufferOutputStream()
    options = {"compression": "zstd", **options}
    if table.num_rows:
        pq.write_table(table, sink, **options)
    else:
        options.pop("row_group_size", None)
        with pq.ParquetWriter(sink, table.schema, **options):
            pass
    return sink.getvalue()


def is_signed(footer: pq.FileMetaData, stream: pa.NativeFile) -> bool:
    """Whether a signature follows the footer of a Parquet file, as it does where columns are encrypted.

    Arrow ends the process that looks at such a column's metadata without its key.
    """
    size = int.from_bytes(stream.read_at(4, stream.size() - 8), "little")  # the last four bytes are "PAR1"
    return bool(size != footer.serialized_size)
