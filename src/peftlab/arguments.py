"""What is done to a command line before Hydra sees it."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import yaml
from hydra.errors import HydraException

from peftlab.errors import UserError, nearest, require
from peftlab.hydra_internals import HYDRA_OPTIONS, flag_parser, override_values
from peftlab.redaction import holds_secret, is_secret_name
from peftlab.search_path import split_config_dirs

_SWEEP = ("-m", "--multirun")
# Flags that show something instead of running: they need no strategy.
_SHOWING = ("-h", "--help", "--hydra-help", "-c", "--cfg", "-i", "--info", "--version", "-sc", "--shell-completion")
DRY_RUN = "--dry-run"
# Names, or a sweep over names; whatever else Hydra's grammar allows, as glob(*), is left to Hydra.
_NAMES = re.compile(r"[\w\-, '/]*")


def without_dry_run(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Return whether a command only asks what it would do (`--dry-run`), and its words without the flag."""
    return DRY_RUN in arguments, [argument for argument in arguments if argument != DRY_RUN]


def normalise(arguments: list[str]) -> list[str]:
    """Return the arguments as Hydra 1.3 takes them.

    `-m` and `--config-dir` come first, since Hydra's parser takes one row of overrides only; `strategy=x` becomes
    `+strategy=x`, since `strategy` has no default to be replaced; `strategy.options.r=4` is added, since another
    library's options are listed in no file; `shots=16` becomes `shots='16'`, since a group's choice must be a text.
    """
    flags = ["-m"] if any(argument in _SWEEP for argument in arguments) else []
    folders, rest = split_config_dirs([argument for argument in arguments if argument not in _SWEEP])
    return flags + folders + [*map(_normal, rest), *_chosen_by_path(rest)]


def normalise_line(line: str) -> str:
    """Return an unfinished command line for Hydra's shell completion; its last word stays as it is typed."""
    done, space, last = line.rpartition(" ")
    words = [_normal(word) for word in split_config_dirs(done.split(" "))[1] if word not in _SWEEP]
    return " ".join(words) + space + last


def check(arguments: list[str], *roots: Path) -> None:
    """Check flags and choices before Hydra, which would find some mistakes only after it has begun to write.

    `roots` are the folders that hold groups, the laboratory's first.

    Raises:
        UserError: an unknown flag; a value that needs quotes; no strategy, or two; a choice that is not in its group;
            a secret.
    """
    _check_flags(arguments)
    _check_secrets(arguments)
    pairs = [argument.partition("=") for argument in arguments]
    given = [(name.lstrip("+"), value) for name, equals, value in pairs if equals]
    _check_grammar(arguments)
    if not only_shows(arguments):
        _check_strategy([value for name, value in given if name == "strategy"], "experiment" in dict(given), roots)
    known = groups(roots)
    for name, value in given:
        _check_hydra(name)
        _check_recipe(name, roots)
        group = re.split("[@/]", name)[0]
        if group in known:
            require(
                ".." not in value, f"{name}={value}: allowed are names; --config-dir FOLDER brings a folder of yours"
            )
            if _NAMES.fullmatch(value):
                _check_names(group, value, roots)


def only_shows(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks to be shown something, and runs nothing."""
    return any(argument.partition("=")[0] in _SHOWING for argument in arguments)


def groups(roots: Sequence[Path]) -> set[str]:
    """Return the names of the config groups in some folders."""
    return {path.parent.name for root in roots for path in root.glob("*/*.yaml")}


def choices(conf: Path, group: str) -> list[str]:
    """Return the choices of a config group: its files, without ending."""
    return sorted(path.stem for path in (conf / group).glob("*.yaml"))


def _normal(argument: str) -> str:
    if argument.startswith("strategy="):
        return f"+{argument}"
    if argument.startswith("strategy.options."):
        return f"++{argument}"
    if argument.startswith("backbone.path="):
        return f"++{argument}"
    return re.sub(r"\b(?<!')(\d+)\b(?!')", r"'\1'", argument) if argument.startswith("shots=") else argument


def _chosen_by_path(arguments: Sequence[str]) -> list[str]:
    """Return the choice of backbone that weights in a folder ask for, where none was made."""
    given = dict(argument.lstrip("+").partition("=")[::2] for argument in arguments)
    named = given.get("backbone.path", "") not in ("", "null")
    return ["backbone=folder"] if named and "backbone" not in given else []


def _check_flags(arguments: list[str]) -> None:
    parser = flag_parser()
    # argparse would print its whole usage, and end the process.
    parser.error = _refuse  # type: ignore[method-assign]
    parser.parse_args(arguments)


def _check_secrets(arguments: list[str]) -> None:
    """Refuse keys and tokens, which Hydra would write into the run's folder."""
    for name, equals, value in (argument.partition("=") for argument in arguments):
        if equals and value and (is_secret_name(name.lstrip("+~")) or holds_secret(value)):
            raise UserError(
                f"{name}: a key, token or password has no place on a command line or in a configuration; "
                "give it in the environment (WANDB_API_KEY, HF_TOKEN)"
            )


def _check_grammar(arguments: Sequence[str]) -> None:
    """Refuse a value whose characters Hydra reads as grammar, `=`, `#` or `&` in a path, and say how it is written."""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or argument.startswith("-") or _reads([argument]):
            continue
        # Hydra takes a backslash as one, unless a quote follows.
        escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + ('\\"' if found[2] else ""), value)
        quoted = f'{name}="{escaped}"'
        if not value.startswith(("[", "{")) and _reads([quoted]):
            raise UserError(f"{argument}: has a character that needs quotes: {shlex.quote(quoted)}")


def _reads(overrides: Sequence[str]) -> bool:
    try:
        override_values(overrides)
    except HydraException:
        return False
    return True


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}; --hydra-help lists the flags")


def _check_hydra(name: str) -> None:
    """Refuse what Hydra would take and nobody would read."""
    top, _, rest = name.partition(".")
    option = rest.partition(".")[0]
    known = HYDRA_OPTIONS
    require(
        top != "hydra" or option in known,
        f"{name}: Hydra has no such option{nearest(option, known)}; it has {', '.join(known)}",
    )


def _check_recipe(name: str, roots: Sequence[Path]) -> None:
    """Refuse a row of a recipe that no strategy, and an entry that no task, would ever take."""
    recipe, part, row, *_ = *name.split("."), "", "", ""
    if recipe != "recipe" or part not in ("strategies", "searched", "epochs"):
        return
    known = _all_choices(roots, "task" if part == "epochs" else "strategy")
    files = [path for root in roots for path in (root / "recipe").glob("*.yaml")]
    there = [yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in files]
    known = sorted({*known, *(key for content in there for key in content.get(part) or {})})
    require(row in known, f"{name}: no such row{nearest(row, known)}; there are {', '.join(known)}")


def _check_strategy(values: list[str], has_experiment: bool, roots: Sequence[Path]) -> None:
    if not values and not has_experiment:
        raise UserError(f"no strategy given: add +strategy=NAME, one of {', '.join(_all_choices(roots, 'strategy'))}")
    if len(values) > 1:
        raise UserError(f"strategy is given twice: {', '.join(values)}; a sweep is +strategy={','.join(values)} -m")


def _all_choices(roots: Sequence[Path], group: str) -> list[str]:
    return sorted({name for root in roots for name in choices(root, group)})


def _check_names(group: str, value: str, roots: Sequence[Path]) -> None:
    for name in (name.strip(" '") for name in value.split(",")):
        # A choice may lie in a folder of its group: original/lora.
        folder, slash, _ = name.rpartition("/")
        known = [f"{folder}{slash}{choice}" for choice in _all_choices(roots, f"{group}/{folder}")]
        if name not in known:
            there = ", ".join(known) or "none"
            raise UserError(f"{group}={name}: no such {group}{nearest(name, known)}; there are {there}")
        files = list(
            dict.fromkeys(file.resolve() for root in roots if (file := root / group / f"{name}.yaml").is_file())
        )
        require(
            len(files) == 1, f"{group}={name}: is there twice, {' and '.join(map(str, files))}; give one another name"
        )
