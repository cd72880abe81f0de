"""`landscape.json` is read back as it was written, and nothing else is."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from peftlab.errors import UserError
from peftlab.results.landscapes import FILE_NAME, Landscape, Surface
from studies import landscape


@pytest.mark.parametrize("path", [True, False])
def test_what_is_written_is_read_back(path: bool, tmp_path: Path) -> None:
    found = landscape(path=path)
    assert Landscape.read(found.write(tmp_path)) == found


def test_the_file_is_plain_json_with_null_for_what_is_no_number(tmp_path: Path) -> None:
    found = landscape()
    found.runs[0].surface.losses[0][:2] = [math.inf, math.nan]
    content = json.loads(found.write(tmp_path).read_text(), parse_constant=pytest.fail)
    assert content["runs"][0]["surface"]["losses"][0][:2] == [None, None]
    assert content["runs"][0]["trajectory"]["explained"] == [0.9, 0.05]
    assert content["settings"]["points"] == 5


def test_a_surface_is_whole_when_it_has_all_rows_of_a_grid() -> None:
    assert not Surface().whole
    assert not Surface([0.0], [0.0, 1.0], [[1.0]]).whole
    assert Surface([0.0], [0.0, 1.0], [[1.0], [2.0]]).whole


# What is done to the content (what it returns, if anything, takes its place), and what is told.
BROKEN: dict[str, tuple[Any, str]] = {
    "another schema": (lambda c: c.update(schema=2), "schema 2 is not known here; allowed is 1"),
    "no object": (lambda c: [c], "schema None is not known here"),
    "an unknown key": (lambda c: c.update(runz=[]), "unknown key 'runz' (did you mean runs?)"),
    "no runs": (lambda c: c.pop("runs") and None, "key 'runs' is missing"),
    "a text for a loss": (lambda c: c["runs"][0].update(loss="low"), "'runs[0].loss' is \"low\", must be a number"),
    "a row too short": (
        lambda c: c["runs"][1]["surface"]["losses"][2].pop() and None,
        "run 1111111111111111: the losses are not those of its grid",
    ),
    "too many rows": (
        lambda c: c["runs"][0]["trajectory"]["surface"]["y"].pop() and None,
        "run 0000000000000000: the losses are not those of its grid",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_landscape_is_refused_with_its_file_named(kind: str, tmp_path: Path) -> None:
    change, told = BROKEN[kind]
    file = landscape().write(tmp_path)
    content = json.loads(file.read_text())
    file.write_text(json.dumps(change(content) or content))
    with pytest.raises(UserError) as caught:
        Landscape.read(file)
    assert str(caught.value).startswith(str(tmp_path / FILE_NAME))
    assert told in str(caught.value)


def test_a_file_that_is_not_there_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the landscape"):
        Landscape.read(tmp_path / FILE_NAME)
    (tmp_path / FILE_NAME).write_text('{"schema": NaN}')
    with pytest.raises(UserError, match="is not a whole JSON file"):
        Landscape.read(tmp_path / FILE_NAME)
