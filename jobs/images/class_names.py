"""Names of classes, as Hugging Face's `datasets` stores them in a Parquet file, kept with a column that is copied.

The file's schema has the metadata `huggingface`, with a feature for each column, which for classes is
`{"_type": "ClassLabel", "names": […]}`. While a column is copied, its feature is in the metadata of its field.
"""

import json
from collections.abc import Iterator, Sequence

import pyarrow as pa

_KEY = b"huggingface"


def fields_with_names(schema: pa.Schema) -> Iterator[pa.Field]:
    """The fields of a file's schema, those of classes with their names."""
    try:
        features = json.loads((schema.metadata or {})[_KEY])["info"]["features"]
        found = {name: each for name, each in features.items() if each.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        found = {}
    for field in schema:
        # Classes are integers of 64 bits, or `datasets` ignores the feature.
        named = field.name in found and field.type == pa.int64()
        yield field.with_metadata({_KEY: json.dumps(found[field.name])}) if named else field


def names_of(schema: pa.Schema) -> tuple[bytes | None, ...]:
    """The names of classes of each field, None without, to compare schemas by."""
    return tuple((field.metadata or {}).get(_KEY) for field in schema)


def common_names(fields: Sequence[pa.Field]) -> dict[bytes, bytes] | None:
    """The metadata that one column has in all files; None if they name the classes differently, or do not."""
    first, *others = ((field.metadata or {}).get(_KEY) for field in fields)
    return {_KEY: first} if first is not None and all(each == first for each in others) else None


def with_names(schema: pa.Schema) -> pa.Schema:
    """A schema for a file: the names of classes from its fields are in its metadata, too."""
    features = {field.name: json.loads(field.metadata[_KEY]) for field in schema if _KEY in (field.metadata or {})}
    if not features:
        return schema
    described = json.dumps({"info": {"features": features}})
    return schema.with_metadata({**(schema.metadata or {}), _KEY: described})
