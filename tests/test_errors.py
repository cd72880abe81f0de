"""Whatever a message holds, it is one line of at most a few hundred characters that a terminal can show."""

import pytest

from fuzzing.hostile import TEXTS
from peftlab.errors import LONGEST_MESSAGE, SkippedError, UserError, nearest, prefix_errors, shown


@pytest.mark.parametrize("text", [*TEXTS, "\x85", "a\u2029b", "\x9b31m", "\x1b]0;title\x07", "\t" * 2**20])
@pytest.mark.parametrize("error", [UserError, SkippedError])
def test_a_message_is_one_printable_line_of_bounded_length(error: type[Exception], text: str) -> None:
    said = str(error(f"labels.tsv:3: label '{text}'; allowed are yes, no"))
    assert said.isprintable()
    assert len(said) <= LONGEST_MESSAGE
    assert said.startswith("labels.tsv:3: label '")
    assert said.endswith("; allowed are yes, no")
    assert shown(said) == said


@pytest.mark.parametrize(
    ("value", "most", "said"),
    [
        ("plain, ü and 漢", 60, "plain, ü and 漢"),
        ("a\nb\x1b\0\u2028\ud800", 60, r"a\nb\x1b\x00\u2028\ud800"),
        ("0123456789" * 3, 12, "0123456…6789"),
        ({"a": "\x1b"}, 60, r"{'a': '\x1b'}"),
        (None, 60, "None"),
    ],
)
def test_what_a_file_holds_is_escaped_and_cut_in_the_middle(value: object, most: int, said: str) -> None:
    assert shown(value, most) == said


def test_a_prefix_leaves_the_message_what_it_is() -> None:
    with pytest.raises(UserError, match=r"^a: b\\x1b$"), prefix_errors("a: "):
        raise UserError("b\x1b")


def test_a_word_of_a_megabyte_is_compared_with_known_ones_in_no_time() -> None:
    assert nearest("strategi" * 2**17, ["strategy"] * 50) == ""
    assert nearest("stratgy", ["strategy", "seed"]) == " (did you mean strategy?)"
