"""What is imported to stay is not looked through for garbage, and what is made later is."""

import subprocess
import sys


def printed(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_what_is_imported_to_stay_is_left_alone_and_all_else_is_collected():
    code = (
        "import gc, weakref; from peftlab.imports import import_to_stay\n"
        "print(import_to_stay('email.mime.text').__name__, gc.isenabled(), gc.get_freeze_count() > 1000)\n"
        "class Own: pass\n"
        "own = Own(); own.me = own; gone = weakref.ref(own); del own\n"
        "import_to_stay('email.mime.text'); gc.collect(); print(gone() is None)"
    )
    assert printed(code) == ["email.mime.text", "True", "True", "True"]


def test_a_module_that_fails_leaves_the_collector_as_it_was():
    code = (
        "import gc; from peftlab.imports import import_to_stay\n"
        "try: import_to_stay('no.such.module')\n"
        "except ModuleNotFoundError: print(gc.isenabled())\n"
        "gc.disable(); import_to_stay('email.mime.text'); print(gc.isenabled())"
    )
    assert printed(code) == ["True", "False"]
