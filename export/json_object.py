"""JSON objects from untrusted files."""

import json
from typing import Any

from vae_core.errors import UserError


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `data`; `where` names its file in errors.

    Raises:
        UserError: the data is not JSON, not an object, or an object in it has a duplicate key, which readers resolve
            differently.
    """
    try:
        value = json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} must be valid JSON, got {error}; copy or create it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{where} must hold a JSON object, got {value!r:.100}; copy or create it again")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key!r:.100} twice")
        values[key] = value
    return values
