"""Commands on tracks: track-eval."""

from __future__ import annotations

import json

from ultralytics.cfg.knob import Fraction, knob
from ultralytics.cli.answer import answer
from ultralytics.cli.command import Command
from ultralytics.utils.files import user_path


class TrackEval(Command, name="track-eval"):
    """Compare tracks with ground truth: HOTA, MOTA, IDF1."""

    example = "track-eval gt=MOT17-02/gt/gt.txt found=runs/detect/track/mot/MOT17-02.txt"
    gt: str = knob("", "ground truth in the MOT challenge's format, or a folder of it", needed="no ground truth given")
    found: str = knob("", "tracks, as `track save_mot=True` writes them, or their folder", needed="no tracks given")
    iou: Fraction = knob(0.5, "least overlap of a pair, of MOTA and IDF1", positive=True)
    json: bool = knob(False, "print the figures as JSON for programs; also written --json")

    def run(self) -> int:
        """Print a line of figures per video."""
        from ultralytics.trackers.evaluate import evaluate_files  # SciPy takes a moment to import

        figures = evaluate_files(user_path(self.gt), user_path(self.found), self.iou)
        answer(json.dumps(figures) if self.json else "\n".join(_lines_of(figures)))
        return 0


def _lines_of(figures: dict[str, dict[str, float]]) -> list[str]:
    """Lines of a table, parts as per cent."""
    width = max(map(len, (*figures, "video")))
    names = list(next(iter(figures.values())))
    lines = [f"{'video':{width}}" + "".join(f"{name:>8}" for name in names)]
    for video, row in figures.items():
        cells = (f"{row[n]:8.0f}" if n in COUNTED else f"{100 * row[n]:8.1f}" for n in names)
        lines.append(f"{video:{width}}" + "".join(cells))
    return lines


COUNTED = ("IDSW", "FP", "FN", "MT", "ML", "objects", "tracks", "boxes", "found")
