"""Records are of one backbone where its weights have one fingerprint, whatever it was called and wherever it lay."""

import json
from pathlib import Path

import pytest
from records import finished

from peftlab.report.study import gather
from peftlab.results.backbones import Backbones
from peftlab.results.record import RunRecord
from peftlab.results.table import summarise

A, B = "a" * 64, "b" * 64
FILES, OTHERS = {"backbone": "1" * 64}, {"backbone": "2" * 64}


def of(name: str, fingerprint: str | None = None, files: dict[str, str] | None = None, seed: int = 1) -> RunRecord:
    return finished(seed=seed, backbone=name, fingerprint=fingerprint, identity=files or {})


# Records, and what their backbones are called beside each other.
TABLE: dict[str, tuple[list[RunRecord], list[str]]] = {
    "one name, other weights": ([of("bert", A), of("bert", B)], ["bert (aaaaaaaa)", "bert (bbbbbbbb)"]),
    "one in two places": ([of("mine-aaaaaaaa", A), of("bert", A)], ["bert", "bert"]),
    "in two folders": ([of("there-aaaaaaaa", A), of("here-aaaaaaaa", A)], ["here-aaaaaaaa"] * 2),
    "from before fingerprints, alone": ([of("bert"), of("bert")], ["bert", "bert"]),
    "from before, of other files": (
        [of("bert", None, FILES), of("bert", None, OTHERS)],
        ["bert (11111111)", "bert (22222222)"],
    ),
    "from before, of the same files": ([of("bert", None, FILES), of("bert", A, FILES)], ["bert", "bert"]),
    "from before, of a known name": ([of("bert"), of("bert", A)], ["bert", "bert"]),
    "from before, of a name that two have": (
        [of("bert"), of("bert", A), of("bert", B)],
        ["bert", "bert (aaaaaaaa)", "bert (bbbbbbbb)"],
    ),
    "failed before its weights were read": ([of("mine"), of("mine-aaaaaaaa", A)], ["mine-aaaaaaaa"] * 2),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_backbones_are_called(case: str) -> None:
    records, expected = TABLE[case]
    for turned in (False, True):
        order = records[::-1] if turned else records
        backbones = Backbones(order)
        assert [backbones.name(record) for record in records] == expected


def test_a_record_from_before_has_the_fingerprint_of_its_delta(tmp_path: Path) -> None:
    records = [of("bert"), of("bert"), of("bert")]
    for record, fingerprint in zip(records, (A, B, None), strict=True):
        folder = tmp_path / str(fingerprint)
        record.write(folder)
        (folder / "delta.json").write_text(json.dumps({"fingerprint": fingerprint}) if fingerprint else "{")
    backbones = Backbones(records)
    assert [backbones.name(record) for record in records] == ["bert (aaaaaaaa)", "bert (bbbbbbbb)", "bert"]


def test_other_weights_share_no_setting_of_a_table_or_a_page() -> None:
    records = [of("bert", weights, seed=seed) for weights in (A, B) for seed in (1, 2)]
    assert len({cell.setting for cell in summarise(records)}) == 2
    assert len(gather(records).blocks) == 2


def test_one_backbone_in_two_places_is_one_row() -> None:
    records = [of("bert", A, seed=1), of("mine-aaaaaaaa", A, seed=2)]
    (cell,) = summarise(records)
    assert cell.seeds == (1, 2)
    (cell,) = gather(records).cells
    assert cell.seeds == (1, 2)
