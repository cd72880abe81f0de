"""Spoilt files, options and folders are taken or told in one line; `python tests/fuzz.py` does a thousand of them."""

import logging
from pathlib import Path

import pytest

from fuzz import fuzz
from fuzzing.cases import GOOD


@pytest.mark.parametrize(("piece", "cases"), [("files", 60), ("options", 20), ("folders", 10)])
def test_what_is_spoilt_is_told_in_one_line(piece: str, cases: int, tmp_path: Path) -> None:
    logging.disable(logging.WARNING)
    try:
        results = list(fuzz(piece, range(cases), 0, tmp_path))
    finally:
        logging.disable(logging.NOTSET)
    assert [(number, result) for number, result in results if result.ending not in GOOD] == []
    assert {result.ending for _, result in results} == set(GOOD)
