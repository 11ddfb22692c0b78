"""Runs commands on files in a process that is watched, and checks what they did."""

import json
import os
import subprocess
import sys
from pathlib import Path

WATCH = Path(__file__).resolve().parent / "watch.py"
CLONE = WATCH.parents[2]
MEMORY = 1300  # MB that a command may take; 1024 of them are the largest network that is made before it is refused
CONTROL = 100  # MB that the control holds


def watched(folder, files, commands, only=None):
    """What each command did with each file: see tests/helpers/watch.py."""
    only = only or {}
    job = folder / "job.json"
    paths = {k: str(v) for k, v in files.items()}
    asked = {"folder": str(folder), "files": paths, "commands": commands, "only": only, "control": CONTROL}
    job.write_text(json.dumps(asked))
    (folder / "tmp").mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TORCHINDUCTOR")}  # torch sets it for itself
    environment |= {"PYTHONPATH": str(CLONE), "TMPDIR": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    held = bytearray(b"x") * (600 * 2**20)  # as much as earlier tests may leave; it must not count
    done = subprocess.run(
        [sys.executable, str(WATCH), str(job)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    del held
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    runs = sum(words[0] in only.get(name, [words[0]]) for words in commands for name in files)
    assert len(rows) == 1 + runs, done.stderr[-3000:]
    seen = " ".join(rows[0]["events"])
    assert all(e in seen for e in ("os.system", "pickle.find_class", "ran /stranger.py", "wrote", "socket.connect")), (
        seen
    )
    assert abs(rows[0]["peak"] - CONTROL) < 50
    return rows[1:]


def check(rows, canary):
    """No events, no canary, one line and code 2. Commands that take a file's tensors alone, for a network of their own,
    may succeed where the tensors are sound."""
    wrong = []
    for row in rows:
        tensors_alone = row["command"].startswith(("train model", "train pretrained", "check", "load"))
        sound = row["file"].startswith(("fields", "foreign")) and tensors_alone and row["code"] == 0
        one_line = row["code"] == 2 and row["err"].count("\n") == 1 and row["err"].startswith("error: ")
        printable = row["err"].rstrip("\n").isprintable() and len(row["err"]) < 5500
        if row["events"] or not (sound or one_line) or not printable or row["peak"] > MEMORY or row["seconds"] > 25:
            wrong.append(row)
    assert not wrong, json.dumps(wrong[:5], indent=1)
    assert not canary.exists()
