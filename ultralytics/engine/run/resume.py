"""Where a stopped run goes on: its newest whole checkpoint, what may be changed, and the random streams."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ultralytics.cfg.config import Config, get_cfg
from ultralytics.cfg.paths import find_data_yaml, find_model_yaml, program
from ultralytics.engine.ranks.lifeline import LAUNCHED, interrupted_run
from ultralytics.engine.ranks.team import Team
from ultralytics.engine.run.folder import project_of
from ultralytics.engine.run.provenance import without_home
from ultralytics.engine.run.state import RunState
from ultralytics.engine.step.schedule import Schedule
from ultralytics.engine.weights.checkpoint import Checkpoint, load_checkpoint, load_newest
from ultralytics.utils.errors import CheckpointError, ConfigError, FinishedRunError, UserError
from ultralytics.utils.files import real_path, stamp, user_path
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted, one_line
from ultralytics.utils.yaml import read_yaml

# What a resumed run may change; everything else comes from its checkpoint.
RESUMABLE = (
    "data",
    "epochs",
    "batch",
    "imgsz",
    "device",
    "workers",
    "threads",
    "cache",
    "patience",
    "save_period",
    "save_every",
    "on_nan",
    "plots",
    "font",
    "verbose",
    "val",
    "close_mosaic",
    "plugins",
    "preflight",
    "compile",
    "checkpoint_rows",
    "log",
    "log_group",
    "log_images",
    "log_weights",
)


def previous_of(last: Path) -> Path:
    """Return the path of the save before: last.pt → last.prev.pt."""
    return last.with_name(f"{last.stem}.prev{last.suffix}")


_NEEDED = ("epoch", "optimizer_name", "weights", "ema", "train_args")


@dataclass
class Resumption:
    """What a run goes on from."""

    args: Config  # the run's configuration with what was changed
    folder: Path  # of the run
    checkpoint: Checkpoint | None  # None when the run was stopped before its first save, and begins again
    changed: dict[str, Any]  # keys that change, and their values before
    requested: dict[str, Any]  # the keys that the user gave
    stamp: tuple[int, ...] | None = field(init=False)

    def __post_init__(self) -> None:
        self.stamp = stamp(self.folder / "weights" / "last.pt")

    def check_untouched(self) -> None:
        """Make sure, now that the folder is this process's, that no other has trained on since last.pt was read.

        Raises:
            ConfigError: one has.
        """
        if stamp(self.folder / "weights" / "last.pt") != self.stamp:
            raise ConfigError(
                "another process has trained in this folder since it was read", str(self.folder), "resume it again"
            )


def read_resume(args: Config, again: bool = False) -> Resumption:
    """Find and read what `resume=` names.

    Args:
        args: as the command gives it; again: the command may be the one that began the run: it names the run's folder
            by its name, or the ranks were started anew.

    Raises:
        UserError: there is nothing to resume, or a key that cannot change was given.
    """
    path = find_last(args)
    previous = previous_of(path)
    folder = path.parent.parent
    if not path.is_file() and not previous.is_file() and path.name == "last.pt" and is_run(folder, path):
        return _from_the_beginning(folder / "args.yaml", args, again)
    loaded = load_newest(path, previous) if path.name == "last.pt" else load_checkpoint(path)
    if "optimizer" not in loaded.state:
        raise CheckpointError(
            "the file contains only weights, no training to resume", str(path), "resume from weights/last.pt of a run"
        )
    absent = [k for k in _NEEDED if k not in loaded.state]
    if absent:
        raise CheckpointError(f"incomplete: no {', '.join(absent)}", str(path), "use an earlier copy")
    if not is_run(folder, path):
        text = "it does not lie in a run's folder, beside whose args.yaml the results would go"
        raise ConfigError(text, str(path), "resume=RUN, with RUN/args.yaml and RUN/weights/last.pt")
    kept = {k: v for k, v in loaded.train_args.items() if k not in ("resume", "mode")}
    before = loaded.state.get("asked", {})
    new, changed = find_changes(kept, before, args, path, again)
    resumed = get_cfg(None, {**kept, **new}, "checkpoint")
    sources = loaded.state.get("sources")
    if sources is not None:  # files of earlier code have none
        resumed.sources = {k: sources.get(k, "default") for k in resumed.sources}
    resumed.sources |= {k: args.sources[k] for k in new}
    _refuse_fewer_epochs(loaded, new, path)
    _refuse_finished(loaded, resumed, changed, path, again)
    done, batches = loaded.state["epoch"] + 1, loaded.state.get("batches_done", 0)
    place = f"after epoch {done} of {resumed.epochs}"
    if batches:
        place = f"in epoch {done + 1} of {resumed.epochs}, after {batches} of {loaded.state['batches']} batches"
    text = f", with {', '.join(f'{k}={v}' for k, v in new.items())}" if new else ""
    LOGGER.info("Resuming %s %s%s", loaded.path.absolute(), place, text)
    asked = requested_keys(args)
    return Resumption(resumed, folder, loaded, changed, {**before, **{k: asked[k] for k in new}})


def requested_keys(args: Config) -> dict[str, Any]:
    """Return the keys of a command and its recipe, with their values before anything is resolved, paths in full: what
    the same command gives again, from whatever folder."""
    return {k: _in_full(k, v) for k, v in args.given("resume", "mode").items()}


def _in_full(key: str, value: Any) -> Any:
    """A path that names the same file from every folder; anything else as it is."""
    if key == "plugins" and isinstance(value, list):
        return [_in_full("", v) for v in value]
    if not isinstance(value, str) or key not in ("", "model", "data", "pretrained", "adapter", "teacher", "project"):
        return value
    letter: str | None = None
    try:
        path = user_path(value)
        if key == "data":
            path = find_data_yaml(value)
        elif key == "model" and path.suffix in (".yaml", ".yml"):
            path, letter = find_model_yaml(value)
    except UserError:  # it has gone
        path = Path(value)
    return without_home(str(real_path(path))) + (f" {letter}" if letter else "")


# What the args.yaml of a run holds in any case, and that of other programs does not.
_OURS = {"model", "data", "epochs", "on_nan", "save_every"}


def is_run(folder: Path, file: Path | None = None) -> bool:
    """Return True if a folder is that of a run of this project, by its args.yaml. A `file` must lie in its weights/."""
    if file is not None and (file.parent.name != "weights" or file.parent.parent != folder):
        return False
    try:
        data = read_yaml(folder / "args.yaml", ConfigError).data
    except (UserError, OSError):
        return False
    return isinstance(data, dict) and set(data) >= _OURS


def find_last(args: Config) -> Path:
    """Return the path of the last.pt that is meant; where it lies in no folder weights/, what it is a link to."""
    resume = args.resume
    if resume is not True:
        path = user_path(str(resume))
        return path / "weights" / "last.pt" if path.is_dir() else _placed(path)
    if str(args.model or "").endswith(".pt"):
        return _placed(user_path(str(args.model)))
    root = user_path(args.project or "runs")
    found = [p for name in ("last.pt", "last.prev.pt") for p in root.glob(f"**/weights/{name}")]
    found = [p for p in found if is_run(p.parent.parent)]
    if not found:
        raise ConfigError(
            f"resume=True, but there is no last.pt below {root.absolute()}", hint="give resume=RUN_FOLDER"
        )
    return max(found, key=lambda p: p.stat().st_mtime).with_name("last.pt")


def _placed(path: Path) -> Path:
    return path if path.parent.name == "weights" else real_path(path)


def _from_the_beginning(begun: Path, args: Config, again: bool) -> Resumption:
    """A run that was stopped before its first save: its args.yaml says all there is. Plugins are code, which the user
    names anew. The command that began it is taken by its word: args.yaml may hold what was found in its place."""
    kept = {k: v for k, v in get_cfg(begun).to_dict().items() if k not in ("resume", "mode", "plugins")}
    asked = requested_keys(args)
    same = {k: v for k, v in asked.items() if k not in ("model", "data")}
    new, changed = find_changes(kept, same if again else {}, args, begun, again)
    if again:
        new = {k: getattr(args, k) for k in asked}
    resumed = get_cfg(None, {**kept, **new}, str(begun))
    unsaid = get_cfg().to_dict()
    resumed.sources = {k: "default" if getattr(resumed, k) == unsaid[k] else s for k, s in resumed.sources.items()}
    resumed.sources |= {k: args.sources[k] for k in new}
    LOGGER.info("%s was stopped before its first save: it begins again", begun.parent.absolute())
    return Resumption(resumed, begun.parent, None, changed, {k: asked[k] for k in new})


def find_changes(
    kept: Mapping[str, Any], before: Mapping[str, Any], args: Config, path: Path, again: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys that change, and their values before. What was asked for `before` is no change, whatever it was
    resolved to.

    Raises:
        ConfigError: one of them cannot change.
    """
    # Where the run is looked for, or found, is no wish for another place; its own weights are no other model.
    free = {"project", "name", "exist_ok"} if again or args.resume is True else set()
    if args.model and real_path(user_path(args.model)).parent == real_path(path.parent):
        free.add("model")
    asked = requested_keys(args)
    changing = [
        k
        for k, v in asked.items()
        if k not in kept or (v != _in_full(k, kept[k]) and not (k in before and v == before[k]))
    ]
    # Of a command that begins runs, other data or another model may mean another run.
    changeable = [k for k in RESUMABLE if not (again and k == "data")]
    refused = [k for k in changing if k not in changeable and k not in free]
    if refused:
        text = f"{', '.join(refused)} cannot change when a run is resumed"
        hint = f"what can: {', '.join(changeable)}{'; choose another name= for another run' if again else ''}"
        raise ConfigError(text, str(path), hint)
    new = {k: getattr(args, k) for k in changing if k in RESUMABLE}
    return new, {k: kept.get(k) for k in new}


def is_over(state: Mapping[str, Any], epochs: int, changed: Mapping[str, Any]) -> bool:
    """Return True if a run's epochs are done, or it stopped before them and nothing that was changed alters that."""
    stopped = state.get("over", False) and not {"epochs", "patience"} & set(changed)
    return stopped or (state["epoch"] + 1 >= epochs and not state.get("batches_done"))


def _refuse_fewer_epochs(loaded: Checkpoint, new: Mapping[str, Any], path: Path) -> None:
    done, batches = loaded.state["epoch"] + 1, loaded.state.get("batches_done", 0)
    least = done + bool(batches)
    if "epochs" in new and new["epochs"] < least:
        text = (
            f"the run is in epoch {least}"
            if batches
            else f"{counted(done, 'epoch')} of the run {'is' if done == 1 else 'are'} done"
        )
        raise ConfigError(f"epochs={new['epochs']}, but {text}", str(path), f"epochs={least} or more")


def _refuse_finished(
    loaded: Checkpoint, args: Config, changed: Mapping[str, Any], path: Path, again: bool = False
) -> None:
    """A run that is over and has validated its best weights is left alone; one that was stopped in between is not.

    Raises:
        FinishedRunError: with `again`, for a job that was started once more. ConfigError: without.
    """
    if not is_over(loaded.state, args.epochs, changed):
        return
    folder = path.parent.parent
    if (path.parent / "best.pt").exists() and not (folder / "metrics.json").exists():
        return
    done = loaded.state["epoch"] + 1
    text = (
        f"its {counted(args.epochs, 'epoch')} {'is' if args.epochs == 1 else 'are'} done"
        if done >= args.epochs
        else f"it stopped early, after epoch {done}"
    )
    hint = "give more epochs=, or train from best.pt" if done >= args.epochs else "give a larger patience=, or epochs="
    text = f"{text}, nothing is left to resume"
    if again:
        finished = FinishedRunError(text, str(folder))
        finished.folder = str(folder.absolute())
        raise finished
    raise ConfigError(text, str(path), hint)


def changed_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what is to say of data that are not those a run was saved with, one line for each split.

    Args:
        before, now: records of provenance. Splits that one of them does not hold are not compared.
    """
    text = []
    consequences = {
        "train": "the result will not equal the run that was never stopped",
        "val": "figures from here on, and which epoch is the best, compare with those of other images",
    }
    for split, consequence in consequences.items():
        then, here = (mapping_or_empty(mapping_or_empty(r.get("data")).get(split)) for r in (before, now))
        if not then or not here or then.get("digest") == here.get("digest"):
            continue
        numbers = [r.get("images") for r in (then, here)]
        then_had = counted(numbers[0], "image") if isinstance(numbers[0], int) else "other images"
        what = f"{then_had} then, {numbers[1]} now"
        if numbers[0] == numbers[1]:
            what = f"{then_had} as then, but other names, contents or labels"
            if before.get("code") != now.get("code"):
                what += ", or this version of the code reads them otherwise"
        text.append(f"the {split} data have changed since the run was saved ({what}): {consequence}")
    return text


def mapping_or_empty(value: Any) -> dict[str, Any]:
    """Return what a file holds where a mapping belongs; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def changed_plugins(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of plugin files that are not those a run was saved with; before, now: records of provenance."""
    then, here = (mapping_or_empty(r.get("plugins")) for r in (before, now))
    known = {Path(file).name: digest for file, digest in then.items()}
    return [file for file, digest in here.items() if known.get(Path(file).name, digest) != digest]


def check_names(before: Mapping[int, str], now: Mapping[int, str], where: str, weights: Path) -> None:
    """Refuse classes that are not those of the run: its weights would get the wrong names, and keep them.

    Args:
        before: of the checkpoint; now: of the dataset; where: its YAML; weights: the run's, for the message.

    Raises:
        ConfigError: what has changed.
    """
    named = {i: one_line(name, 200) for i, name in now.items()}  # as a checkpoint is read
    if named == before:
        return
    hint = f"restore them, or begin a new run from the weights: model={weights}"
    if len(named) != len(before):
        text = f"the dataset has {counted(len(named), 'class')}, and the run has {len(before)}"
        raise ConfigError(f"{text}; a resumed run cannot change them", where, hint)
    differ = [i for i in before if named.get(i) != before[i]]
    permuted = sorted(named.values()) == sorted(before.values())
    what = "the order of the class names has" if permuted else "the class names have"
    some = ", ".join(f"class {i} is {named.get(i)!r} and was {before[i]!r}" for i in differ[:3])
    more = f", and {len(differ) - 3} more" if len(differ) > 3 else ""
    raise ConfigError(f"{what} changed since the run began: {some}{more}", where, hint)


def resume_command(folder: Path, plugins: object = None) -> str:
    """Return what to type to go on, in any folder. Plugins are code, and a checkpoint does not bring its own."""
    files = [plugins] if isinstance(plugins, str) else list(plugins) if isinstance(plugins, list | tuple) else []
    listed = ",".join(f'"{f}"' if "," in f else f for f in (str(Path(f).absolute()) for f in files))
    words = [f"resume={folder.absolute()}"] + ([f"plugins=[{listed}]"] if files else [])
    launcher: list[str] = []
    if os.environ.get("WORLD_SIZE", "1") != "1" and LAUNCHED not in os.environ:  # the user's own torchrun
        launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={os.environ.get('LOCAL_WORLD_SIZE', '1')}"]
    return program("train", *words, anywhere=True, launcher=launcher)


def find_resumption(args: Config, team: Team) -> Resumption | None:
    """Return what `resume=` means, the same on every rank; None for a new run. `args.resume` becomes its folder."""
    automatic = args.resume == "auto"
    restarted = automatic or not args.resume
    args.resume = team.lead(lambda: find_interrupted(args))
    return team.lead(lambda: read_resume(args, restarted)) if args.resume else None


def find_interrupted(args: Config) -> bool | str:
    """Return the folder of the run that `resume=` means: with `auto`, and after torchrun has started the ranks anew.

    Raises:
        ConfigError: `resume=auto` without a name.
    """
    automatic = args.resume == "auto"
    if automatic and not args.name:
        raise ConfigError("resume=auto finds a run by its name, and none is given", hint="name=NAME")
    interrupted = interrupted_run()
    if interrupted is not None and (interrupted / "args.yaml").is_file():
        return str(interrupted)
    if not automatic:
        return args.resume
    folder = project_of(args) / str(args.name)
    return str(folder) if (folder / "args.yaml").is_file() else False


def log_changes(
    resumption: Resumption, before: Mapping[str, Any], now: Mapping[str, Any], schedule: Schedule, state: RunState
) -> None:
    """Log what a resumed run does otherwise than it would have done.

    Args:
        resumption: of the run, as it is now.
        before: the record that it was saved with.
        now: its record.
        schedule, state: of the run, restored.
    """
    args, changed = resumption.args, resumption.changed
    if "epochs" in changed:
        planned = replace(schedule, epochs=changed["epochs"])
        place = state.finished * state.batches + state.batches_done
        LOGGER.info(
            "The schedule now spans %s instead of %d: the learning rate goes on at %.4g instead of %.4g%s",
            counted(state.epochs, "epoch"),
            changed["epochs"],
            schedule.at(place, state.finished).lr * state.lr_factor,
            planned.at(place, min(state.finished, changed["epochs"])).lr * state.lr_factor,
            f", and mosaic ends {counted(args.close_mosaic, 'epoch')} before the new end" if args.close_mosaic else "",
        )
    if {"batch", "imgsz", "device", "compile"} & set(changed):
        LOGGER.info("With another batch, imgsz, device or compile it will not equal the run that was never stopped")
    for line in changed_data(before, now):
        LOGGER.warning(line)
    for file in changed_plugins(before, now):
        LOGGER.warning("the plugin %s has changed since the run was saved: its modules may compute otherwise", file)
    if changed.get("threads") not in (None, args.threads):
        LOGGER.info(
            "With threads=%s instead of %d its sums are rounded in another order: it will not equal, to the bit, %s",
            args.threads,
            changed["threads"],
            "the run that was never stopped",
        )
