"""`python tests/long_sweep.py [JOBS]`: many short jobs in one process, which must not grow or change.

The strategies take turns, each once before it comes again, so that each job follows another method's. Checked are the
resident memory after the last job (within 5 % of that after the fifth), open files and threads (as many as after the
first), and each job's outcome: that of the same job in a fresh process. Prints a line a job and the count; ends with
code 1 when anything differs.
"""

import gc
import os
import re
import sys
import tempfile
import threading
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "tests" / "training")]

from test_resumption import outcome  # noqa: E402

from kill_anywhere import start  # noqa: E402
from peftlab.results.record import RunRecord  # noqa: E402
from peftlab.run import run  # noqa: E402
from runs import small, write_rte  # noqa: E402

STRATEGIES = ("hifi", "full", "lora", "child-tuning", "bitfit", "adapter")
ALLOWED_GROWTH = 0.05


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    gc.collect()
    found = re.search(r"VmRSS:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1)) * 1024


def main(jobs: int) -> bool:
    """Do `jobs` jobs; return whether all is well."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        where = f"task=rte data.root={write_rte(root / 'glue')} data.cache_dir={root}/cache"
        fresh, seen, different = {}, [], 0
        for strategy in STRATEGIES:
            os.waitpid(start(small(where, strategy), root / strategy), 0)
            fresh[strategy] = outcome(RunRecord.read(root / strategy))
        for number in range(jobs):
            strategy = STRATEGIES[number % len(STRATEGIES)]
            same = outcome(run(small(where, strategy), root / str(number))) == fresh[strategy]
            different += not same
            seen.append((resident(), len(os.listdir("/proc/self/fd")), threading.active_count()))
            print(f"{number + 1:3d} {strategy:13s} {seen[-1][0] / 2**20:7.1f} MiB, {seen[-1][1]} files, "
                  f"{seen[-1][2]} threads  {'same' if same else 'OTHER'}")  # fmt: skip
    growth = seen[-1][0] / seen[min(4, jobs - 1)][0] - 1
    left = [last - first for last, first in zip(seen[-1][1:], seen[0][1:], strict=True)]
    print(f"{jobs} jobs: {different} differ, memory {growth:+.1%} since the fifth, {left} files and threads more")
    return different == 0 and growth <= ALLOWED_GROWTH and max(left) <= 0


if __name__ == "__main__":
    sys.exit(not main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
