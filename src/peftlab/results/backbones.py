"""Which records have one backbone: those whose weights have one fingerprint, whatever they are called."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from peftlab.errors import UserError
from peftlab.options.schema import read_json
from peftlab.results.record import RunRecord

SHORT = 8  # digits of a fingerprint that stand in a name
# Records are younger than deltas, whose description has always had the fingerprint.
_DELTA = "delta.json"


class Backbones:
    """The backbones of some records, each with a name that no other has.

    A record from before fingerprints has that of its delta, or of a record whose backbone had the same files. Where
    there is neither, the files stand for the weights; and where nothing is known it is one with the only backbone of
    its name. Weights that have several names go by the first of those that are no folder's.
    """

    def __init__(self, records: Iterable[RunRecord]) -> None:
        known = [(record, _fingerprint(record)) for record in records]
        self._by_record = {id(record): weights for record, weights in known if weights}
        self._by_files = {_files(record): weights for record, weights in known if weights and _files(record)}
        self._by_name: dict[str, set[str]] = defaultdict(set)
        called: dict[str, set[str]] = defaultdict(set)
        for record, fingerprint in known:
            if weights := self._weights(record):
                # A run that failed early knew its folder, not yet its weights.
                self._by_name[record.backbone.removesuffix(f"-{weights[:SHORT]}")].add(weights)
                if fingerprint or weights == _files(record):
                    called[weights].add(record.backbone)
        self._names = _unique(called)

    def name(self, record: RunRecord) -> str:
        """Return what the backbone of one of the records is called."""
        weights = self._weights(record)
        if weights is None and len(namesakes := self._by_name.get(record.backbone, set())) == 1:
            (weights,) = namesakes
        return record.backbone if weights is None else self._names[weights]

    def _weights(self, record: RunRecord) -> str | None:
        files = _files(record)
        return self._by_record.get(id(record)) or self._by_files.get(files) or files


def _unique(called: Mapping[str, set[str]]) -> dict[str, str]:
    """Return one name for each backbone, with the first digits of what it is where another has the name too."""
    best = {
        weights: min(names, key=lambda name: (_is_folders(name, weights), name)) for weights, names in called.items()
    }
    often = Counter(best.values())
    return {weights: name if often[name] == 1 else f"{name} ({weights[:SHORT]})" for weights, name in best.items()}


def _is_folders(name: str, weights: str) -> bool:
    return name.endswith(f"-{weights[:SHORT]}")


def _files(record: RunRecord) -> str | None:
    """Return the hash of all files that the backbone was made of, its tokenizer's too."""
    return record.identity.get("backbone")


def _fingerprint(record: RunRecord) -> str | None:
    if record.fingerprint is not None or record.folder is None or not (record.folder / _DELTA).is_file():
        return record.fingerprint
    try:
        found = read_json(record.folder / _DELTA, "delta", lambda content: content.get("fingerprint"))
    except (UserError, AttributeError):
        return None
    return found if isinstance(found, str) else None
