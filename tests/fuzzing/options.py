"""Options: command lines that nobody means, up to the plan of a run; now and then the run too."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fuzzing.cases import Case, draw_of
from fuzzing.hostile import VALUES, Draw
from peftlab import arguments, hydra_errors
from peftlab.cache import RunCache
from peftlab.cli import CONF
from peftlab.errors import UserError
from peftlab.hydra_internals import compose_apart
from peftlab.options.roles import flatten
from peftlab.plan import make_plan
from peftlab.run import run
from peftlab.run_config import check_identity
from runs import SILENT, SMALL

RUN_EVERY = 12  # a run takes a second, a plan a tenth
STRATEGIES = ["hifi", "lora", "bitfit", "adapter", "prefix", "child-tuning", "diff-pruning", "peft", "compacter"]
TYPED = [
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "nan",
    "[]",
    "{}",
    "[1,{a:2}]",
    "''",
    "~",
    "${seed}",
    "${no}",
    "x" * 9000,
]
ODD = [
    "=",
    "a",
    "a=",
    "+=1",
    "~~seed",
    "seed",
    "task@x=rte",
    "seed=[",
    "a.b..c=1",
    "-x",
    "--cfg",
    "shots='",
    "+a={b:",
]


class Options:
    """The cases of the piece; runs are done in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, RunCache(2)

    def case(self, seed: int, number: int) -> Case:
        """Return a case: one to three options of a valid command line are replaced, added or taken away."""
        draw = draw_of("options", seed, number)
        strategy = draw.choice(STRATEGIES)
        if draw.random() < 0.5:
            changes = [_typed(draw) for _ in range(draw.randint(1, 3))]
            return Case(f"{strategy} {' '.join(changes)[:100]}", partial(self._typed, strategy, changes, draw))
        return Case(f"{strategy} values {number}", partial(self._values, strategy, draw))

    def _typed(self, strategy: str, changes: list[str], draw: Draw) -> None:
        line = [f"+strategy={strategy}", "task=demo", *SMALL.split(), *SILENT.split(), *changes]
        try:
            typed = arguments.normalise(line)
            arguments.check(typed, CONF)
            config = compose_apart(CONF, [argument for argument in typed if not argument.startswith("-")])
            plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except UserError:
            raise
        except hydra_errors.MISTAKES as error:
            raise UserError(hydra_errors.in_one_line(error, line, CONF)) from error
        assert isinstance(plain, dict)
        self._do({str(name): value for name, value in plain.items()}, draw)

    def _values(self, strategy: str, draw: Draw) -> None:
        config = json.loads(json.dumps(_base(strategy)))
        for _ in range(draw.randint(1, 3)):
            *above, last = draw.choice([name for name in flatten(config) if name]).split(".")
            if above and draw.random() < 0.2:
                *above, last = above
            table = config
            for name in above:
                table = table[name] if isinstance(table.get(name), dict) else config
            if draw.random() < 0.1:
                table.pop(last, None)
            else:
                table[last] = draw.choice(VALUES)
        self._do(config, draw)

    def _do(self, config: dict[str, Any], draw: Draw) -> None:
        trainer = config.get("trainer")
        is_short = isinstance(trainer, dict) and trainer.get("max_steps") == 2
        if draw.randrange(RUN_EVERY) or not is_short:
            check_identity(config)
            make_plan(config, self.cache)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            run(config, self.folder, self.cache)


_bases: dict[str, dict[str, Any]] = {}


def _base(strategy: str) -> dict[str, Any]:
    if strategy not in _bases:
        line = arguments.normalise([f"+strategy={strategy}", "task=demo", *SMALL.split(), *SILENT.split()])
        plain = OmegaConf.to_container(compose_apart(CONF, line), resolve=True)
        assert isinstance(plain, dict)
        _bases[strategy] = {str(name): value for name, value in plain.items()} | {
            "data": {**plain["data"], "cache_dir": None}
        }
    return _bases[strategy]


def _typed(draw: Draw) -> str:
    if draw.random() < 0.2:
        return draw.choice(ODD)
    name = draw.choice([name for name in flatten(_base("hifi")) if not name.startswith(("strategy", "recipe"))])
    if draw.random() < 0.2:
        name = name.rpartition(".")[0] or name
    return f"{draw.choice(['', '', '+', '++', '~'])}{name}={draw.choice(TYPED)}"
