"""Commands on several runs: study, study report, compare."""

from __future__ import annotations

from typing import Any

from ultralytics.cfg.knob import knob
from ultralytics.cli.command import Command
from ultralytics.cli.commands.models import PLUGINS
from ultralytics.cli.words import read_names
from ultralytics.utils import events
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import user_path

_FAIR = "True: no table if the arms were not treated alike; False: make it, with the differences listed above it"


class Study(Command, name="study"):
    """Train several networks with several seeds under one recipe, and test them; resume it if it was stopped."""

    example = "study cfg=cfg/studies/quick.yaml | study report runs/study/quick"
    cfg: str = knob(
        "", "the study: a YAML of arms, seeds and the keys of their runs (docs/studies.md)", needed="no study given"
    )
    out: str | None = knob(None, "its folder", none="runs/study/NAME")
    devices: Any = knob(None, "GPUs, one run at a time on each, as 0,1", none="the runs' own device")
    jobs: int | None = knob(None, "runs at a time, each in a process of its own", none="1, or one for each device")
    fair: bool = knob(True, _FAIR)
    submit: str | None = knob(
        None,
        "slurm: let tasks of a cluster work at it, jobs= at a time; needs the package submitit",
        none="this machine",
    )
    partition: str | None = knob(None, "with submit: of the cluster", none="its own")
    gpus: int = knob(1, "with submit: of each task")
    hours: Any = knob(24, "with submit: after which a task is stopped, saved and queued again")

    @classmethod
    def check(cls, given: dict[str, Any]) -> None:
        """Refuse what has no effect with, or without, a cluster."""
        submitted = "submit" in given
        reason = "a task has the GPUs it is given" if submitted else "it needs submit=slurm"
        for key in ("devices",) if submitted else ("partition", "gpus", "hours"):
            if key in given:
                raise ConfigError(f"{key}={given[key]} has no effect: {reason}", hint="leave it out")

    def run(self) -> int:
        """Run the study. Exit code 2 when a run has failed."""
        from ultralytics.study.runner import complaint, run_study  # torch takes seconds to import
        from ultralytics.study.submit import submit_study

        given = {k: v for k, v in self.given.items() if k not in ("cfg", "submit")}
        if self.submit is not None:
            submit_study(self.cfg, cluster=self.submit, **given)
            return 0
        error = complaint(run_study(self.cfg, **given))
        if error is not None:
            raise error
        return 0


class StudyReport(Command, name="study report"):
    """Write the report of a study from its folder."""

    example = "study report runs/study/quick"
    positional = "out"
    out: str = knob("", "folder of the study", needed="study report takes one folder")
    fair: bool = knob(True, _FAIR)

    def run(self) -> int:
        from ultralytics.study.report import write_report  # torch takes seconds to import

        write_report(user_path(self.out), fair=self.fair)
        return 0


class Report(Command, name="report"):
    """Write one HTML page of a run or a study: curves, figures, images, settings, commands."""

    example = "report runs/detect/train"
    positional = "folder"
    folder: str = knob("", "folder of a run or a study, or a weights file in it", needed="report takes one folder")
    out: str | None = knob(None, "the page, an HTML file", none="report.html in the folder")
    images: float = knob(8.0, "MB that the images in the page may take, 0 for none", low=0, high=500)
    serve: bool = knob(False, "show the page to this machine's browsers and renew it while the run trains")
    port: int = knob(8008, "with serve=True: where, 0 for any that is free", high=65535, low=0)

    @classmethod
    def check(cls, given: dict[str, Any]) -> None:
        """Refuse what has no effect with, or without, serve=True."""
        for key, serves in (("out", True), ("port", False)):
            if key in given and bool(given.get("serve")) is serves:
                why = "a page that is served is not written" if serves else "it needs serve=True"
                raise ConfigError(f"{key}={given[key]} has no effect: {why}", hint="leave it out")

    def run(self) -> int:
        from ultralytics.report.page import write_page  # torch takes seconds to import
        from ultralytics.report.serve import serve_page

        given = {k: v for k, v in self.given.items() if k not in ("serve", "folder")}
        if self.serve:
            serve_page(self.folder, **given)
        else:
            page = write_page(self.folder, **given)
            events.emit("result", text=str(page), file=page)
        return 0


class Compare(Command, name="compare"):
    """Validate finished runs, compare them by image and by seed, and write tables and figures."""

    example = "compare runs=[runs/detect/plain,runs/detect/fla] data=data/shapes.yaml"
    runs: list[str] | None = knob(
        None,
        "folders of finished runs, or weights files, as [a,b]; those that differ in the seed alone make an arm",
        needed="runs is missing",
        read=read_names,
    )
    control: str | None = knob(None, "the run, or arm, that the others are compared with", none="the first")
    out: str | None = knob(None, "folder of the report", none="runs/compare, numbered")
    split: str | None = knob(None, "to validate on", none="test, or val where there is none")
    data: str | None = knob(None, "dataset YAML", none="that of the first run")
    plugins: str | list[str] | None = knob(None, PLUGINS)
    fair: bool = knob(
        False,
        "True: no table if the runs differ in more than the network; False: make it, with the differences above it",
    )

    def run(self) -> int:
        from ultralytics.study.comparing import compare_runs  # torch takes seconds to import

        compare_runs(**self.given)
        return 0
