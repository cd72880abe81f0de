"""A dataclass is built from options, or one line says which option is wrong and what is allowed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from peftlab.errors import UserError
from peftlab.options.schema import build


@dataclass(frozen=True)
class Source:
    path: str
    splits: dict[str, str] = field(default_factory=dict)


@dataclass
class Options:
    size: int
    rate: float = 0.1
    deep: bool = False
    label: str = "none"
    kind: Literal["row", "column"] = "row"
    limit: int | None = None
    step: int | float = 1
    names: list[str] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    free: Mapping[str, Any] | None = None
    anything: Any = None
    source: Source | None = None
    sources: list[Source] = field(default_factory=list)
    share: float | None = None
    derived: int = field(init=False, default=0)


GOOD = [
    ("size", 3, 3),
    ("size", -1, -1),
    ("rate", 1, 1.0),
    ("rate", 1e-3, 1e-3),
    ("deep", True, True),
    ("label", "", ""),
    ("kind", "column", "column"),
    ("limit", None, None),
    ("limit", 4, 4),
    ("step", 0.5, 0.5),
    ("names", ["a", "b"], ["a", "b"]),
    ("names", [], []),
    ("rates", [0, 0.5], [0, 0.5]),
    ("files", {"train": "train.tsv"}, {"train": "train.tsv"}),
    ("free", {"a": 1, "b": [2]}, {"a": 1, "b": [2]}),
    ("free", None, None),
    ("anything", ["a", {}], ["a", {}]),
    ("source", {"path": "here", "splits": {"a": "b"}}, Source("here", {"a": "b"})),
    ("source", Source("here"), Source("here")),
    ("source", None, None),
    ("sources", [{"path": "here"}, {"path": "there"}], [Source("here"), Source("there")]),
    ("share", 1, 1.0),
]

BAD = [
    ({}, "strategy.size: missing"),
    ({"size": 1, "siez": 2}, "strategy.siez: no such option (did you mean size"),
    ({"size": 1, "zzz": 2}, "strategy.zzz: no such option; allowed are size, rate, deep"),
    ({"size": 1, "derived": 2}, "strategy.derived: no such option"),
    ({"size": 1, 7: 2}, "strategy.7: no such option"),
    ({"size": "3"}, "strategy.size=3: allowed is a whole number"),
    ({"size": 3.0}, "strategy.size=3.0: allowed is a whole number"),
    ({"size": True}, "strategy.size=True: allowed is a whole number"),
    ({"size": None}, "strategy.size=None: allowed is a whole number"),
    ({"size": 1, "rate": "fast"}, "strategy.rate=fast: allowed is a number"),
    ({"size": 1, "rate": False}, "strategy.rate=False: allowed is a number"),
    ({"size": 1, "deep": 1}, "strategy.deep=1: allowed are true, false"),
    ({"size": 1, "label": 3}, "strategy.label=3: allowed is a text"),
    ({"size": 1, "kind": "colum"}, "strategy.kind=colum: allowed are row, column"),
    ({"size": 1, "limit": "no"}, "strategy.limit=no: allowed is a whole number or is null"),
    ({"size": 1, "limit": True}, "strategy.limit=True"),
    ({"size": 1, "step": True}, "strategy.step=True"),
    ({"size": 1, "names": "ab"}, "strategy.names=ab: allowed is a list, each entry of which is a text"),
    ({"size": 1, "names": ["a", 2]}, "strategy.names[1]=2: allowed is a text"),
    ({"size": 1, "rates": [1, True]}, "strategy.rates[1]=True: allowed is a number"),
    ({"size": 1, "files": {"train": 3}}, "strategy.files.train=3: allowed is a text"),
    ({"size": 1, "files": ["train"]}, "strategy.files=['train']: allowed is a table"),
    ({"size": 1, "source": "here"}, "strategy.source=here: allowed is a table with path, splits or is null"),
    ({"size": 1, "source": {}}, "strategy.source.path: missing"),
    ({"size": 1, "source": {"paht": "here"}}, "strategy.source.paht: no such option (did you mean path?)"),
    ({"size": 1, "source": {"path": 3}}, "strategy.source.path=3: allowed is a text"),
    ({"size": 1, "sources": [{"path": "a"}, {}]}, "strategy.sources[1].path: missing"),
    ({"size": 1, "free": 3}, "strategy.free=3: allowed is a table, each entry of which is any value or is null"),
]


@pytest.mark.parametrize(("name", "given", "kept"), GOOD)
def test_a_value_of_the_fields_type_is_taken(name, given, kept):
    value = getattr(build(Options, {"size": 1, name: given}, "strategy"), name)
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(("options", "message"), BAD)
def test_a_mistake_is_one_line_that_names_the_option_and_what_is_allowed(options, message):
    with pytest.raises(UserError) as caught:
        build(Options, options, "strategy")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fields_that_are_not_given_keep_their_defaults():
    assert build(Options, {"size": 2}, "strategy") == Options(2)


def test_the_dataclass_checks_its_own_values_after_the_types():
    @dataclass
    class Positive:
        size: int

        def __post_init__(self):
            if self.size < 1:
                raise UserError(f"size={self.size}: allowed is 1 or more")

    with pytest.raises(UserError, match="size=0: allowed is 1 or more"):
        build(Positive, {"size": 0}, "here")
