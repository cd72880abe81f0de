"""What is done to a command line before Hydra sees it."""

from pathlib import Path

from peftlab.errors import UserError, nearest

_SWEEP = ("-m", "--multirun")
# Flags that show something instead of running: they need no strategy.
_SHOWING = ("-h", "--help", "--hydra-help", "-c", "--cfg", "-i", "--info", "--version", "-sc", "--shell-completion")


def normalise(arguments: list[str]) -> list[str]:
    """Return the arguments as Hydra 1.3 takes them.

    `-m` comes first, since Hydra's parser takes one row of overrides only; `strategy=x` becomes `+strategy=x`,
    since `strategy` has no default to be replaced.
    """
    flags = ["-m"] if any(argument in _SWEEP for argument in arguments) else []
    rest = [argument for argument in arguments if argument not in _SWEEP]
    return flags + [f"+{argument}" if argument.startswith("strategy=") else argument for argument in rest]


def check_strategy(arguments: list[str], conf: Path) -> None:
    """Check that a run names a strategy that exists.

    Raises:
        UserError: none is named, or one is not known; lists the strategies or the nearest names.
    """
    if any(argument.split("=")[0] in _SHOWING for argument in arguments):
        return
    known = choices(conf, "strategy")
    given = [argument.partition("=")[2] for argument in arguments if argument.startswith("+strategy=")]
    if not given and not any(argument.lstrip("+").startswith("experiment=") for argument in arguments):
        raise UserError(f"no strategy given: add +strategy=NAME, one of {', '.join(known)}")
    for name in (name.strip() for names in given for name in names.split(",")):
        if name not in known:
            near = nearest(name, known)
            raise UserError(f"strategy={name}: no such strategy{near}; there are {', '.join(known)}")


def choices(conf: Path, group: str) -> list[str]:
    """Return the choices of a config group: its files, without ending."""
    return sorted(path.stem for path in (conf / group).glob("*.yaml"))
