"""`python -m tests.agent.quick MODULE.NAME=NUMBER … -- FLAGS`: an agent that waits less than ours do."""

import importlib
import sys

from shoal_agent.cli import main

if __name__ == "__main__":
    end = sys.argv.index("--")
    for assignment in sys.argv[1:end]:
        path, _, number = assignment.partition("=")
        module, _, name = path.rpartition(".")
        target = importlib.import_module(f"shoal_agent.{module}")
        getattr(target, name)  # one that there is no more is a mistake
        setattr(target, name, int(number) if number.isdigit() else float(number))
    sys.exit(main(sys.argv[end + 1 :]))
