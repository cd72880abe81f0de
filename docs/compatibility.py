"""`python docs/compatibility.py`: which strategy fits which family, as each says itself, into `compatibility.md`.

`tests/strategies/test_every_family.py` trains, stores, loads and merges every pair that is said to fit.
"""

from collections.abc import Iterator
from pathlib import Path

from peftlab.backbones.architecture import ARCHITECTURES
from peftlab.check.small import example, small_backbone
from peftlab.errors import MissingPackageError
from peftlab.strategies.contract import Strategy
from peftlab.strategies.registry import create_strategy, strategy_names

PAGE = Path(__file__).resolve().with_suffix(".md")
HEAD = """# Strategies and families

Made by `python docs/compatibility.py` from what each strategy says of itself. `tests/strategies/test_every_family.py`
trains every pair that fits on a small random model of each type: it starts at transformers' own logits, changes what it
declares and nothing else, comes back from its stored delta, and merges into a plain model of transformers or is taken
out. A family is a file in `src/peftlab/backbones/architectures/`. `adapterhub` runs on what the adapters library knows,
in an environment of its own (`make test-adapters`).

"""


def rows() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield each family, one of its types, and why a strategy does not fit that, by the strategy's name."""
    for family in sorted(ARCHITECTURES.classes(), key=lambda one: one.name):
        for model_type in family.model_types if family.__module__.startswith("peftlab.") else ():
            kind = example(model_type).kind
            view = small_backbone(model_type, kind.output_layer).view
            found = {name: strategy.skip(view, kind) for name, strategy in _strategies().items()}
            yield family.name, model_type, {name: why for name, why in found.items() if why}


def page() -> str:
    """Return the page as Markdown: a table of families, and below it each reason once."""
    names = list(_strategies())
    found = list(rows())
    reasons = list(dict.fromkeys(f"{name}: {why}" for _, _, skips in found for name, why in skips.items()))
    lines = [f"| family | type | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for family, model_type, skips in found:
        cells = [f"no ({reasons.index(f'{name}: {skips[name]}') + 1})" if name in skips else "yes" for name in names]
        lines.append(f"| {family} | {model_type} | {' | '.join(cells)} |")
    notes = [f"{number}. {reason}." for number, reason in enumerate(reasons, start=1)]
    return HEAD + "\n".join([*lines, "", *notes]) + "\n"


def _strategies() -> dict[str, Strategy]:
    made: dict[str, Strategy] = {}
    for name in strategy_names():
        try:
            made[name] = create_strategy(name, {})
        except MissingPackageError:
            continue
    return made


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
