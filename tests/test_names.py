"""Names as long as file systems and dashboards take them: the beginning can be read, and no two become one."""

import re

import pytest

from peftlab.names import shortened
from peftlab.recording import describe_run, new_record
from peftlab.resolvers import path_part
from runs import small


@pytest.mark.parametrize(("name", "most"), [("rte", 60), ("a" * 60, 60), ("é" * 30, 60)])
def test_a_name_that_is_short_enough_stays(name, most):
    assert shortened(name, most) == name


@pytest.mark.parametrize("letter", ["a", "é", "語"])
def test_long_names_of_one_beginning_stay_two_readable_ones(letter):
    names = [shortened(letter * 100 + end, 60) for end in "xy"]
    assert names[0] != names[1]
    for name in names:
        assert len(name.encode()) <= 60
        assert re.fullmatch(rf"{letter}{{17,}}-[0-9a-f]{{8}}", name)


def test_a_run_with_the_longest_names_fits_a_file_system_and_a_dashboard():
    config = small("", "bitfit")
    for group, letter in (("task", "語"), ("strategy", "é"), ("backbone", "b")):
        config[group]["name"] = letter * 200
    told = describe_run(config, new_record(config))
    again = describe_run(config | {"seed": 2}, new_record(config))
    assert len(told["name"].encode()) <= 128
    assert len(told["group"].encode()) <= 128
    assert all(len(tag.encode()) <= 64 for tag in told["tags"])
    assert (told["group"], told["tags"]) == (again["group"], again["tags"])
    assert told["name"] != again["name"]
    folder = f"{path_part(config['strategy']['name'])}-{path_part(config['task']['name'])}-seed4294967295-01234567"
    assert len(folder.encode()) <= 255
