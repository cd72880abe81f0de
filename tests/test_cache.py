"""What a sweep keeps in memory: the latest few of each kind, made once."""

from collections import Counter

from peftlab.cache import RunCache


def asked(cache: RunCache, keys: str) -> Counter[str]:
    """Ask for each letter in turn and count how often each had to be made."""
    made: Counter[str] = Counter()

    def make(key: str) -> str:
        made[key] += 1
        return f"value of {key}"

    for key in keys:
        assert cache.get("letters", key, lambda key=key: make(key)) == f"value of {key}"
    return made


def test_what_is_kept_is_made_once():
    assert asked(RunCache(2), "abab") == {"a": 1, "b": 1}


def test_the_one_longest_unused_makes_room():
    assert asked(RunCache(2), "abacab") == {"a": 1, "b": 2, "c": 1}


def test_nothing_is_kept_where_nothing_is_to_be():
    assert asked(RunCache(0), "aaa") == {"a": 3}


def test_kinds_do_not_mix():
    cache = RunCache(1)
    assert cache.get("data", "key", lambda: 1) == 1
    assert cache.get("backbone", "key", lambda: 2) == 2
    assert cache.get("data", "key", lambda: 3) == 1
