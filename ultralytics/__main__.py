"""`python -m ultralytics MODE key=value …`, or from any folder `python CLONE/ultralytics MODE key=value …`."""

import os
import sys

if not __package__:  # started by its folder, which is the first place to import from then
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run() -> int:
    """Run the command line. A missing package is reported by its name, an interruption of the imports as one."""
    try:
        from ultralytics.utils.console import prepare_streams  # here, so that imports are inside the try

        prepare_streams()
        from ultralytics.cli import main  # as above

        return main()
    except ModuleNotFoundError as e:
        if (e.name or "ultralytics").split(".")[0] == "ultralytics":
            raise
        hint = "source .venv/bin/activate, which scripts/train.sh makes, or pip install -r requirements.txt"
        print(f"error: the package {e.name} is missing in {sys.executable} ({hint})", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0" and "ULTRALYTICS_LAUNCHED" not in os.environ:
            print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())
