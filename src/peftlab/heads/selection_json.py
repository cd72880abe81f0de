"""The form of selection.json: what each field must be, and one clear line where it is not."""

import json
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from peftlab.errors import UserError, require, shown
from peftlab.heads.scores import MEASURES
from peftlab.options.schema import parse_json

SCHEMA = 2
_FIRST = (
    *("schema", "layers", "heads", "examples", "options", "chosen", "ranks"),
    *("iterations", "ranking", "pagerank", "richness", "correlation"),
)
# The fields of each form that can be read; in 1 no spectrum was kept.
FIELDS = {1: _FIRST, 2: (*_FIRST, "spectrum")}
# There where an example is several sequences, where a score was measured on labels, where layers divide a budget.
OPTIONAL = ("sequences", *MEASURES, "heads_by_layer")


def dumps(fields: dict[str, Any]) -> str:
    """Return JSON text of the fields, one a line, with the schema number first."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in fields.items()]
    return "{\n" + ",\n".join([f'  "schema": {SCHEMA}', *lines]) + "\n}\n"


def loads(text: str) -> dict[str, Any]:
    """Return the checked fields, with float64 tensors for scores and int64 tensors for ranks and iterations.

    Raises UserError with one line that names the field, what it holds and what it may hold.
    """
    document = _document(text)
    fields = {key: _count(document, key) for key in ("layers", "heads", "examples")}
    layers, heads = fields["layers"], fields["heads"]
    require(isinstance(document["options"], dict), "options: must be an object")
    measured = {
        name: _numbers(document, name, (layers, heads), low=0) if name in document else None for name in MEASURES
    }
    by_layer = [len(layer) for layer in _chosen(document["chosen"], layers, heads)]
    stated = document.get("heads_by_layer", by_layer)
    require(stated == by_layer, f"heads_by_layer: must be {by_layer}, as chosen has them")
    return {
        **fields,
        "sequences": _count(document, "sequences") if "sequences" in document else None,
        "options": document["options"],
        "chosen": _chosen(document["chosen"], layers, heads),
        "ranks": _numbers(document, "ranks", (layers, heads), low=1, high=heads, kinds=(int,)),
        "iterations": _numbers(document, "iterations", (layers,), low=0, kinds=(int,)),
        "ranking": _numbers(document, "ranking", (layers, heads)),
        "pagerank": _numbers(document, "pagerank", (layers, heads), low=0),
        "richness": _numbers(document, "richness", (layers, heads), low=0),
        "correlation": _numbers(document, "correlation", (layers, heads, heads), low=0),
        "spectrum": _spectrum(document, layers, heads),
        **measured,
    }


def _document(text: str) -> dict[str, Any]:
    try:
        document = parse_json(text, any_number=True)
    except ValueError as error:
        raise UserError(f"is not JSON: {error}") from error
    require(isinstance(document, dict), "must hold one JSON object")
    schema = document.get("schema")
    known = FIELDS.get(schema if type(schema) is int else -1)
    if known is None:
        raise UserError(f"schema={shown(schema, 60)}: must be one of {', '.join(map(str, FIELDS))}")
    missing = [key for key in known if key not in document]
    unknown = [key for key in document if key not in (*known, *OPTIONAL)]
    require(not missing, f"lacks {', '.join(missing)}")
    require(not unknown, f"unknown {', '.join(unknown)}; known are {', '.join(known)}")
    return document


def _count(document: dict[str, Any], key: str) -> int:
    value = document[key]
    require(type(value) is int and value >= 1, f"{key}={shown(value, 60)}: must be a whole number of at least 1")
    return value


def _chosen(chosen: Any, layers: int, heads: int) -> list[list[int]]:
    require(
        isinstance(chosen, list) and len(chosen) == layers and all(isinstance(layer, list) for layer in chosen),
        f"chosen: must be {layers} lists, one a layer",
    )
    for index, layer in enumerate(chosen):
        whole = all(type(head) is int and 0 <= head < heads for head in layer)
        require(
            whole and layer == sorted(set(layer)),
            f"chosen, layer {index}: {layer} must be different heads from 0 to {heads - 1}, ascending",
        )
    require(any(chosen), "chosen: no layer has a head")
    return chosen


def _spectrum(document: dict[str, Any], layers: int, heads: int) -> Tensor | None:
    """Return the cumulative shares [layers, heads, D'], or None where they were not kept."""
    spectrum = document.get("spectrum")
    if spectrum is None:
        return None
    try:
        features = len(spectrum[0][0])
    except (TypeError, IndexError, KeyError):
        features = 1
    return _numbers(document, "spectrum", (layers, heads, features), low=0, high=1)


def _numbers(
    document: dict[str, Any],
    key: str,
    shape: tuple[int, ...],
    *,
    low: float = -math.inf,
    high: float = math.inf,
    kinds: tuple[type, ...] = (int, float),
) -> Tensor:
    """Return `document[key]` as a tensor of `shape`, its entries finite, of `kinds` and in [low, high]."""
    try:
        tensor = torch.tensor(document[key], dtype=torch.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        tensor = None
    if tensor is None or tensor.shape != shape:
        raise UserError(f"{key}: must be numbers in lists of shape {list(shape)}")
    require(
        all(type(leaf) in kinds for leaf in _leaves(document[key]))
        and bool((tensor.isfinite() & (tensor >= low) & (tensor <= high)).all()),
        f"{key}: must hold only {'whole' if kinds == (int,) else 'finite'} numbers from {low} to {high}",
    )
    return tensor.to(torch.int64) if kinds == (int,) else tensor


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
