"""How far an answer in words is the right one: the rules of SQuAD's evaluation scripts (v1.1 and v2.0), and ReCoRD's.

Both compare words in lower case without punctuation and the articles a, an, the. They differ where nothing is left of
an answer: version 1.1 counts no word in common, so the F1 of "the" against "a" is 0 (their exact match is 1); version
2.0 gives 1 where nothing is left of both, as an unanswerable question's right answer is none.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)

Rule = Callable[[str, str], float]


def normalised(text: str) -> str:
    """Return the words that are compared, with one blank between them."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(found: str, gold: str) -> float:
    """Return 1 where both are the same words in the same order, else 0."""
    return float(normalised(found) == normalised(gold))


def f1(found: str, gold: str) -> float:
    """Return the F1 score of the words found, in [0, 1], by the rule of version 1.1."""
    words, right = normalised(found).split(), normalised(gold).split()
    common = sum((Counter(words) & Counter(right)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(words), common / len(right)
    return 2 * precision * recall / (precision + recall)


def f1_with_none(found: str, gold: str) -> float:
    """Return the F1 score of the words found, in [0, 1], by the rule of version 2.0, where an answer may be none."""
    if not normalised(found) or not normalised(gold):
        return exact_match(found, gold)
    return f1(found, gold)


def best_of(rule: Rule, found: str, gold: Sequence[str]) -> float:
    """Return the value of a rule against the right answer that suits best; no right answer: against none, ""."""
    return max(rule(found, text) for text in gold or ("",))


def right_answers(texts: Sequence[str]) -> list[str]:
    """Return the right answers of which the rule of version 2.0 leaves something."""
    return [text for text in texts if normalised(text)]
