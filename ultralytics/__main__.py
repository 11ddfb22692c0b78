"""`python -m ultralytics MODE key=value …`."""

import sys


def run() -> int:
    """The command line; a missing package is told as what it is."""
    try:
        from ultralytics.cli import main  # here, so that its imports are inside the try

        return main()
    except ModuleNotFoundError as e:
        if (e.name or "ultralytics").split(".")[0] == "ultralytics":
            raise
        mend = "source .venv/bin/activate, which scripts/train.sh makes, or pip install -r requirements.txt"
        print(f"error: the package {e.name} is missing in {sys.executable} ({mend})", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(run())
