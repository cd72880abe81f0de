"""What a sweep keeps in memory: the latest few of each kind, made once."""

from collections import Counter

from peftlab.kept import Kept


def asked(kept: Kept, keys: str) -> Counter[str]:
    """Ask for each letter in turn and count how often each had to be made."""
    made: Counter[str] = Counter()

    def make(key: str) -> str:
        made[key] += 1
        return f"value of {key}"

    for key in keys:
        assert kept.get("letters", key, lambda key=key: make(key)) == f"value of {key}"
    return made


def test_what_is_kept_is_made_once():
    assert asked(Kept(2), "abab") == {"a": 1, "b": 1}


def test_the_one_longest_unused_makes_room():
    assert asked(Kept(2), "abacab") == {"a": 1, "b": 2, "c": 1}


def test_nothing_is_kept_where_nothing_is_to_be():
    assert asked(Kept(0), "aaa") == {"a": 3}


def test_kinds_do_not_mix():
    kept = Kept(1)
    assert kept.get("data", "key", lambda: 1) == 1
    assert kept.get("backbone", "key", lambda: 2) == 2
    assert kept.get("data", "key", lambda: 3) == 1
