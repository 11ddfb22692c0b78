"""The command line: MODE key=value …

Exit codes: 0 done, 1 a fault of ours (a traceback), 2 a mistake of the user's (one line), 130 interrupted, 141 nobody
reads the output any more, 143 ended by SIGTERM, 129 by SIGHUP; a training run has saved before it leaves with 129, 130
or 143. `predict` leaves with 2 after everything is done where a video could be read in part only.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ultralytics import REFERENCE_VERSION, __version__
from ultralytics.cfg.config import (
    KNOBS,
    MODE_DEFAULTS,
    UNSUPPORTED,
    asks_nothing,
    check_switches,
    get_cfg,
    parse_value,
    parse_word,
    unknown_key,
)
from ultralytics.cfg.model import ModelSpec, load_model_spec
from ultralytics.cfg.paths import MODEL_HINT, data_hint, weights_hint
from ultralytics.cfg.reference import (
    ABSENT_MODES,
    ABSENT_TASKS,
    SETTINGS,
    copy_default_cfg,
    default_text,
    merge_equals_args,
)
from ultralytics.cfg.surgery import describe_change, insert_rows, remove_rows, replace_rows, set_plugins
from ultralytics.utils import console
from ultralytics.utils.errors import (
    ConfigError,
    FinishedRunError,
    LostRankError,
    MissingFileError,
    ModelError,
    UserError,
    nearest,
)
from ultralytics.utils.files import user_path
from ultralytics.utils.log import LOGGER, setup_console
from ultralytics.utils.processes import EndedError, ended_in_order
from ultralytics.utils.text import one_line, printable
from ultralytics.utils.yaml import parse_yaml

MODES = {
    "train": "train a detector, then validate its best weights",
    "val": "validate weights on a split of a data set",
    "predict": "detect in pictures and videos",
    "explain": "draw what a detector's output rests on: activation maps, attention, receptive fields",
    "info": "print a model's rows: channels, shapes, parameters and operations",
    "check": "try a model at every shape a training run would meet, without training",
    "insert": "put a module after rows of a model YAML; references and row numbers follow",
    "replace": "put another module in the place of rows of a model YAML",
    "remove": "take rows out of a model YAML",
    "check-data": "read a whole data set and report what is wrong with it, file by file",
    "prepare": "make a data set ready: draw the embedded one, fetch or convert others",
    "export-coco": "write a split of a data set as COCO's instances JSON",
    "export-weights": "write weights as ultralytics 8.2.103 loads them, for its export, tracking and other tools",
    "save-adapter": "write the tensors of inserted rows, to fill other networks with: adapter=FILE",
    "subset": "draw some classes and images of a data set, or folds for cross-validation",
    "show": "draw images of a split with their boxes, before and after augmentation",
    "study": "train several networks with several seeds under one recipe, and test them; goes on where it was stopped",
    "compare": "validate finished runs, compare them by image and by seed, and write tables and figures",
}
EXAMPLES = {
    "train": "train model=cfg/models/yolov8n-fla.yaml data=data/shapes.yaml epochs=50 imgsz=320",
    "val": "val model=runs/detect/train/weights/best.pt data=data/shapes.yaml",
    "predict": "predict model=runs/detect/train/weights/best.pt source=images/",
    "explain": "explain model=runs/detect/train/weights/best.pt source=images/ kind=cam",
    "info": "info model=cfg/models/yolov8n-fla.yaml imgsz=640",
    "check": "check model=cfg/models/yolov8n-fla.yaml data=data/shapes.yaml imgsz=320",
    "insert": "insert model=cfg/models/yolov8.yaml after=9 module=FLABlock out=my.yaml",
    "replace": "replace model=cfg/models/yolov8.yaml rows=[6,8] module=C2f_FLA out=my.yaml",
    "remove": "remove model=cfg/models/yolov8-fla.yaml rows=10 out=my.yaml",
    "check-data": "check-data data=data/shapes.yaml split=train,val",
    "prepare": "prepare shapes | prepare voc source=VOC_FOLDER out=data/mine",
    "export-coco": "export-coco data=data/shapes.yaml split=val out=shapes-val.json",
    "export-weights": "export-weights model=best.pt format=ultralytics out=best-ultralytics.pt",
    "save-adapter": "save-adapter model=runs/detect/train/weights/best.pt out=fla-n.pt",
    "subset": "subset data=data/coco.yaml classes=person,car,bus n=2000 out=data/coco-traffic.yaml",
    "show": "show data=data/shapes.yaml split=train n=16 mosaic=0 degrees=10",
    "study": "study cfg=cfg/studies/quick.yaml | study report runs/study/quick",
    "compare": "compare runs=[runs/detect/plain,runs/detect/fla] data=data/shapes.yaml",
}
INFO_KEYS = {
    "model": "model YAML or weights file",
    "scale": "scale letter of the model YAML: n, s, m, l, x",
    "imgsz": "pixels of the image: one number, or [height,width] (640)",
    "batch": "images (1)",
    "nc": "number of classes (the YAML's own)",
    "plugins": "Python files that register your own modules, as [a.py,b.py]",
    "json": "print JSON for programs; also written --json",
}
_MODULE = 'a registered module, or a call: "FLABlock(4, focusing_factor=1)"; several as [A,B]'
_ROWS = "row number or name in that file; several as [4,6,sppf]"
_EDIT_KEYS = {
    "out": "the new YAML",
    "scale": "scale to try the new network at (n)",
    "plugins": INFO_KEYS["plugins"],
    "overwrite": "replace an existing file (False)",
}
EDIT_KEYS = {
    "insert": {"model": "model YAML to start from", "after": _ROWS, "module": _MODULE, **_EDIT_KEYS},
    "replace": {"model": "model YAML to start from", "rows": _ROWS, "module": _MODULE, **_EDIT_KEYS},
    "remove": {"model": "model YAML to start from", "rows": _ROWS, **_EDIT_KEYS},
}
_FONT = "for class names: a font file, or an installed one's name (one that has the letters)"
CHECK_DATA_KEYS = {
    "data": "data set YAML",
    "split": "splits to read, as train,val (all of the YAML)",
    "near": "look for near-duplicate images too (True)",
    "font": _FONT,
    "out": "folder for report.json, report.txt and check.png (runs/check-data, numbered)",
    "overwrite": "write into a folder that holds other files too (False)",
    "json": "print the report as JSON for programs; also written --json",
}
_PLACED = {"images": "copy, or link for hard links (copy)"}
_DRAWN = {
    "val": "part of the images to draw as val, where the source has no val split (0)",
    "test": "part of the images to draw as test, where it has no test split (0)",
    "seed": "of that draw (0)",
}
_FETCHED = {
    "download": "fetch the published archives into OUT/../downloads (False)",
    "mirror": "URL of a folder that holds the same archives",
}
PREPARE_KEYS = {
    "auto": {
        "source": "folder or file with annotations of any kind that is read here; which, is seen from its contents",
        "out": "folder to make",
        "names": "class names in the order of their ids, as [a,b] (those of the source)",
        **_DRAWN,
        **_PLACED,
    },
    "shapes": {"out": "folder to draw into (data/shapes)", "seed": "of the drawing (0)"},
    "voc": {
        "source": "folder or archive with images and XML files, in folders of any names, or the published archives",
        "out": "folder to make (data/VOC for the published data set)",
        "names": "class names in the order of their ids, as [a,b] (alphabetical)",
        "one_based": "whether pixels count from 1: True, False (auto)",
        **_DRAWN,
        **_PLACED,
        **_FETCHED,
    },
    "coco": {
        "source": "folder or archive of COCO 2017, of an export with a JSON per split, or an instances JSON; or [a,b]",
        "out": "folder to make (data/coco for the published data set)",
        "images": "folder of the images of a JSON; copy, or link for hard links; or both, as [folder,link] (copy)",
        **_DRAWN,
        **_FETCHED,
    },
    **{
        kind: {"source": what, "out": f"folder to make (data/{kind})", **drawn, **_PLACED, **_FETCHED}
        for kind, what, drawn in (
            ("coco128", "coco128.zip, or its folder", _DRAWN),
            ("bccd", "clone of BCCD_Dataset, its archive, or the folder BCCD in it", {}),
            ("visdrone", "folder with VisDrone2019-DET-train, -val and -test-dev, packed or not", _DRAWN),
        )
    },
    "yolo": {
        "source": "data set YAML, or folder or archive with images and label files (also CVAT's and darknet's)",
        "out": "folder to make",
        "names": "class names in the order of their ids, as [a,b] (those of the YAML, classes.txt, obj.names, …)",
        **_DRAWN,
        **_PLACED,
    },
    **{
        kind: {
            "source": what,
            "out": "folder to make",
            "names": "class names in the order of their ids, as [a,b] (alphabetical)",
            **_DRAWN,
            **_PLACED,
        }
        for kind, what in (
            ("labelme", "folder or archive with labelme's JSON files and their images, in folders of any names"),
            ("kitti", "folder or archive with KITTI label files and their images, such as label_2 and image_2"),
        )
    },
}
EXPORT_COCO_KEYS = {
    "data": "data set YAML",
    "split": "split of it (val)",
    "out": "the JSON file",
    "overwrite": "replace an existing file (False)",
}
EXPORT_WEIGHTS_KEYS = {
    "model": "weights file",
    "out": "the new weights file",
    "format": "ultralytics, the only one (ultralytics)",
    "half": "16-bit weights, as ultralytics writes them (True)",
    "plugins": INFO_KEYS["plugins"],
    "overwrite": "replace an existing file (False)",
}
SAVE_ADAPTER_KEYS = {
    "model": "weights file of a run, such as best.pt",
    "out": "the new file, .pt",
    "rows": "row numbers, as [10,16] (those that the pretrained weights of the run did not have)",
    "plugins": INFO_KEYS["plugins"],
    "overwrite": "replace an existing file (False)",
}
SUBSET_KEYS = {
    "data": "data set YAML to draw from",
    "out": "the new YAML; its images go into a folder of the same name beside it",
    "classes": "names or ids in the order of their new ids, as person,car or [person,traffic light] (all)",
    "n": "images to draw from train; with kfold from train and val (all that have one of the classes)",
    "val_n": "images to draw from val (all that have one of the classes)",
    "test_n": "images to draw from test (all that have one of the classes)",
    "backgrounds": "part of the drawn images that have none of the classes (0)",
    "seed": "of the drawing (0)",
    "kfold": "number of folds: OUT-fold0.yaml and so on, made of train and val (none)",
    "copy": "copy the images instead of linking them (False)",
    "workers": "threads that read (all cores)",
}
SHOW_KEYS = {
    "data": "data set YAML",
    "split": "train, val or test (train)",
    "n": "images, 1 to 64 (16)",
    "seed": "of the choice and the augmentation (0)",
    "imgsz": "side of a sample, pixels (640)",
    "font": _FONT,
    "out": "the picture, .jpg or .png (runs/show/DATA-SPLIT.jpg, numbered)",
    "overwrite": "replace an existing file (False)",
}
STUDY_KEYS = {
    "cfg": "the study: a YAML of arms, seeds and the keys of their runs (docs/studies.md)",
    "out": "its folder (runs/study/NAME)",
    "devices": "GPUs, one run at a time on each, as 0,1 (the runs' own device)",
    "jobs": "runs at a time, each in a process of its own (1, or one for each device)",
    "fair": "make no table of arms that were not treated alike; False: make it, and say so above it (True)",
    "submit": "slurm: let tasks of a cluster work at it, jobs= at a time; needs the package submitit (this machine)",
    "partition": "with submit: of the cluster (its own)",
    "gpus": "with submit: of each task (1)",
    "hours": "with submit: after which a task is stopped, saved and queued again (24)",
}
COMPARE_KEYS = {
    "runs": "folders of finished runs, or weights files, as [a,b]; those that differ in the seed alone make an arm",
    "control": "the run, or arm, that the others are compared with (the first)",
    "out": "folder of the report (runs/compare, numbered)",
    "split": "to validate on (test, or val where there is none)",
    "data": "data set YAML (that of the first run)",
    "plugins": INFO_KEYS["plugins"],
    "fair": "make no table where the runs differ in more than the network; False: say so above it (False)",
}
PROGRAM = "python -m ultralytics"
# A full or write-protected disk, wherever it is noticed.
STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    setup_console(error=False)
    # Training has its own way to stop; ranks are ended by what has started them.
    training = _many() or not {"train", "train-as-rank", "study-run"}.isdisjoint(words[:2])
    try:
        with contextlib.nullcontext() if training else ended_in_order():
            return _dispatch(words)
    except EndedError as e:
        console.say(f"ended by {e.signum.name}", error=True)
        return 128 + e.signum
    except _ReaderLeftError:
        return 128 + 13  # as a process that SIGPIPE ended
    except FinishedRunError as e:
        if os.environ.get("RANK", "0") == "0":
            console.say(str(e))
        return 0
    except UserError as e:
        _tell(e, " ".join(str(e).split()))
        return 2
    except LostRankError as e:
        _tell(e, str(e))
        return 1
    except OSError as e:
        if e.errno in (errno.EMFILE, errno.ENFILE):
            _tell(e, "no more files can be opened (raise the limit: ulimit -n)")
            return 2
        if e.errno not in STORAGE_ERRORS:
            return _fault(e)
        hint = "" if e.errno == errno.ENAMETOOLONG else " (free some space or choose another project=)"
        _tell(e, f"{one_line(str(e.filename or 'a file'))}: {e.strerror}{hint}")
        return 2
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0" and "ULTRALYTICS_LAUNCHED" not in os.environ:
            console.say("interrupted", error=True)
        return 130
    except Exception as e:
        return _fault(e)
    finally:
        setup_console(error=False)  # `--json` is over, and a program may go on
        console.settle()


def _many() -> bool:
    return os.environ.get("WORLD_SIZE", "1") != "1"


def _tell(error: Exception, line: str) -> None:
    """Print an error; of several processes, the one that fails first prints it, with its rank."""
    if _many():
        from ultralytics.engine.ranks.lifeline import (  # torch: one process needs it not for an error
            LAUNCHED,
            leave_trace,
        )

        line = f"rank {os.environ.get('RANK', '?')}: {line}"
        if not leave_trace(error, line) or LAUNCHED in os.environ:
            return
    console.say(f"error: {line}", error=True)


def _fault(error: Exception) -> int:
    """A fault of ours: a traceback, of several processes that of the first to fail."""
    if not _many():
        raise error
    from ultralytics.engine.ranks.lifeline import leave_trace  # as above

    rank = os.environ.get("RANK", "?")
    if leave_trace(error, f"rank {rank}: {type(error).__name__}: {' '.join(str(error).split())}"):
        console.tell(f"rank {rank}:\n{''.join(traceback.format_exception(error))}", sys.stderr)
    return 1


class _ReaderLeftError(Exception):
    """Whoever read our output has closed it (`… | head`)."""


def _answer(text: str) -> None:
    """Print what a command was asked for. Unlike a message it must arrive.

    Raises:
        _ReaderLeftError: nobody wants it any more. UserError: it cannot be written.
    """
    try:
        console.write(f"{printable(text)}\n", sys.stdout)
    except BrokenPipeError:
        raise _ReaderLeftError from None
    except OSError as e:
        if os.name == "nt" and e.errno == errno.EINVAL:  # how Windows tells a closed pipe
            raise _ReaderLeftError from None
        raise UserError(f"it cannot be written: {e.strerror or e}", "standard output") from None


def _dispatch(words: list[str]) -> int:
    wants_help = any(w in ("-h", "--help", "help") for w in words)
    words = [w for w in words if w not in ("-h", "--help", "help")]
    if any(w in ("--version", "-V", "-v", "version") for w in words):
        _answer(f"{__version__} (interface of ultralytics {REFERENCE_VERSION})")
        return 0
    if words and words[0] == "train-as-rank":
        from ultralytics.models.yolo.detect.ranks import run_job  # torch takes seconds to import: not for --help

        run_job(words[1])
        return 0
    if words and words[0] == "study-run":
        from ultralytics.study.job import run_job as run_of_a_study  # as above

        return run_of_a_study(Path(words[1]), int(words[2]))
    words = _mode_first(words)
    if not words:
        _answer(_overview())
        return 0
    mode, rest = words[0], words[1:]
    if (mode, *rest[:1]) == ("study", "report") and not wants_help:
        return _study_report(rest[1:])
    if mode in SPECIALS and mode not in MODES:
        return _special(mode, rest, wants_help)
    if mode not in MODES:
        raise ConfigError(f"unknown mode {mode!r}", hint=nearest(mode, MODES) or f"one of {', '.join(MODES)}")
    if wants_help:
        _answer(_help(mode, rest))
        return 0
    if mode == "prepare":
        return _prepare(rest)
    given = _pairs(rest, mode)
    if mode not in RUN_MODES:
        check_switches(given, SWITCHES)
    if mode == "info":
        return _info(given)
    if mode == "check-data":
        return _check_data(given)
    if mode == "export-coco":
        return _export_coco(given)
    if mode == "export-weights":
        return _export_weights(given)
    if mode == "save-adapter":
        return _save_adapter(given)
    if mode in EDIT_KEYS:
        return _edit(mode, given)
    if mode == "subset":
        return _subset(given)
    if mode == "show":
        return _show(given)
    if mode == "study":
        return _study(given)
    if mode == "compare":
        return _compare(given)
    return _run(mode, given)


SPECIALS = {
    "checks": "print versions, hardware and whether the packages fit",
    "settings": "print the settings: fixed here, as nothing depends on a file in the home folder",
    "cfg": "print every key with its default",
    "copy-cfg": "write default_copy.yaml, every key with its default, to change and give as cfg=",
}
_SHORT = {"-s": "settings", "--settings": "settings", "setting": "settings", "--checks": "checks", "--cfg": "cfg"}


def _mode_first(words: list[str]) -> list[str]:
    """The words with the mode in front and without those of the reference that say the task: `detect train …`,
    `train detect …`, `task=detect mode=train …`, `model=x.pt predict`.

    Raises:
        ConfigError: a task or a mode that is not offered, or no mode.
    """
    words = [_SHORT.get(w, w) for w in merge_equals_args(words)]
    if words and words[0] in MODES and words[0] not in RUN_MODES:
        return words
    kept: list[str] = []
    modes: list[str] = []
    for word in words:
        key, equals, value = word.removeprefix("--").removesuffix(",").partition("=")
        task = value if equals and key == "task" else word if not equals else ""
        if task in ABSENT_TASKS:
            raise ConfigError(f"task {task!r} is not offered", hint=ABSENT_TASKS[task])
        mode = value if equals and key == "mode" else word if not equals else ""
        if mode in ABSENT_MODES:
            raise ConfigError(f"{mode!r} is not offered", hint=ABSENT_MODES[mode])
        if mode in RUN_MODES and not (modes and equals):  # after a mode, mode= is a key that may contradict it
            modes.append(mode)
        elif task != "detect":
            kept.append(word)
    if len(modes) > 1:
        raise ConfigError(f"two modes given: {' and '.join(modes)}", hint="one at a time")
    if not modes and kept and all("=" in word for word in kept):
        files = [word.partition("=")[2].strip("'\"") for word in kept if word.removeprefix("--").startswith("cfg=")]
        config = get_cfg(files[-1]) if files else None
        if config is not None and "mode" in config.sources:  # as the file says
            return [config.mode, *kept]
        raise ConfigError("no mode given", hint=f"such as: {PROGRAM} predict {' '.join(kept[:3])}")
    return modes + kept


def _special(word: str, rest: list[str], wants_help: bool) -> int:
    """The reference's words that are no modes."""
    if wants_help:
        _answer(f"usage: {PROGRAM} {word}\n\n{SPECIALS[word]}.")
        return 0
    if word == "settings":
        if rest and rest[0] == "reset":
            _answer("there is nothing to reset: settings are fixed, and nothing depends on a file in the home folder")
            return 0
        given = {key: parse_value(value) for key, _, value in (w.partition("=") for w in rest)}
        SETTINGS.update(given)
        _answer(str(SETTINGS))
        return 0
    if rest:
        raise ConfigError(f"{word} takes nothing more, and {rest[0]!r} was given", hint="leave it out")
    if word == "cfg":
        _answer(default_text().rstrip())
    elif word == "copy-cfg":
        target = copy_default_cfg()
        _answer(f"written: {target}\nchange it and give it: {PROGRAM} train {shlex.quote(f'cfg={target.name}')}")
    else:
        from ultralytics.utils.checks import collect_system_info  # torch takes seconds to import

        collect_system_info()
    return 0


def _run(mode: str, given: dict[str, Any]) -> int:
    for key, value in given.items():
        if key != "cfg" and key not in KNOBS and key not in RENAMED and not asks_nothing(key, value):
            raise unknown_key(key)
    given = {key: value for key, value in given.items() if key in KNOBS or not asks_nothing(key, value)}
    for key, value in list(given.items()):
        # A recipe may hold the keys of every mode; what is typed is meant for this one, unless it is the default.
        modes = KNOBS[key].metadata["modes"] if key in KNOBS else (mode,)
        if ("train" if mode == "check" else mode) in modes or (key == "scale" and isinstance(value, str)):
            continue
        if value != KNOBS[key].default:
            raise ConfigError(f"{key} is a key of {' and '.join(modes)}, not of {mode}", hint="leave it out")
        del given[key]
    model = given.get("model")
    if mode in ("val", "predict", "explain") and not model and given.get("cfg"):
        model = given["model"] = get_cfg(None, given, "command line", mode).model
    if mode not in ("train", "check") and not model:
        raise ConfigError("no model given", hint=weights_hint())
    if given.get("mode") not in (None, mode, "train" if mode == "check" else mode):
        raise ConfigError(f"mode={given['mode']} contradicts the command {mode}")
    from ultralytics.engine.ranks.launch import several_devices  # torch takes seconds to import: not for --help
    from ultralytics.engine.ranks.team import leave
    from ultralytics.models.yolo.detect.ranks import train_on_ranks
    from ultralytics.models.yolo.detect.train import DetectionTrainer
    from ultralytics.models.yolo.model import YOLO

    if mode == "train":
        names = several_devices(get_cfg(None, given, "command line").device)
        if names:
            train_on_ranks(names, None, given, source="command line")
            return 0
        trainer = DetectionTrainer(overrides=given, source="command line")
        trainer.train()
        leave(trainer.team)
        return 0
    if mode == "check":
        DetectionTrainer.check(given, source="command line")
        return 0
    given.pop("mode", None)
    yolo = YOLO(given.pop("model"), scale=given.pop("scale", None), plugins=given.get("plugins"))
    if mode == "val":
        yolo.val(_source="command line", **given)
        return 0
    if mode == "explain":
        for _ in yolo.explain(_sources(given.pop("source", None)), stream=True, _source="command line", **given):
            pass
        return 0
    given.setdefault("save", True)
    given["source"] = _sources(given.get("source"))
    for _ in yolo.predict(stream=True, _source="command line", **given):
        pass
    assert yolo.predictor is not None
    incomplete = yolo.predictor.incomplete
    if incomplete:
        file, what = next(iter(incomplete.items()))
        more = f", and {len(incomplete) - 1} more as named above" if len(incomplete) > 1 else ""
        raise UserError(f"{what}{more}", file, "everything that could be read is done")
    return 0


RENAMED = ("boxes", "line_thickness", "hide_labels", "hide_conf")


def _info(given: dict[str, Any]) -> int:
    _known(given, INFO_KEYS, "info")
    if not given.get("model"):
        raise ConfigError("no model given", hint=MODEL_HINT)
    imgsz, batch, nc = given.get("imgsz", 640), given.get("batch", 1), given.get("nc")
    size = imgsz if isinstance(imgsz, list) else [imgsz, imgsz]
    if len(size) != 2 or not all(type(n) is int and n >= 32 for n in size):
        raise ConfigError(f"imgsz={imgsz} must be pixels of 32 or more, or [height,width]")
    if type(batch) is not int or batch < 1:
        raise ConfigError(f"batch={batch} must be an integer of 1 or more")
    from ultralytics.engine.run.provenance import describe, readable  # torch takes seconds to import
    from ultralytics.models.yolo.model import YOLO

    as_json = bool(given.get("json"))
    setup_console(verbose=not as_json, error=as_json)
    model = YOLO(str(given["model"]), scale=given.get("scale"), plugins=given.get("plugins"), nc=nc)
    setup_console(verbose=not as_json)
    report = model.report((size[0], size[1]), batch)
    record = readable(model.ckpt.state.get("provenance")) if model.ckpt else {}
    if as_json:
        _answer(json.dumps(report.to_dict() | ({"provenance": record} if record else {})))
    else:
        _answer("\n".join([*report.lines(), *(["", "Provenance"] if record else []), *describe(record)]))
    return 0


def _check_data(given: dict[str, Any]) -> int:
    """Exit code 1 when something would stop a training, or cost it an image."""
    _known(given, CHECK_DATA_KEYS, "check-data")
    if not given.get("data"):
        raise ConfigError("no dataset given", hint=data_hint())
    splits = _words(str(given["split"])) if given.get("split") else None
    setup_console(error=bool(given.get("json")))
    out = user_path(given["out"]) if given.get("out") else None
    from ultralytics.data.check.check import check_data, check_place  # OpenCV takes a moment to import
    from ultralytics.engine.run.folder import new_run_dir
    from ultralytics.utils.fonts import checked_font
    from ultralytics.utils.plotting import optional, plot_dataset

    font = checked_font(given.get("font"))
    if out is not None:
        check_place(out, given.get("overwrite", False))
    report = check_data(str(given["data"]), splits, given.get("near", True))
    try:
        out = new_run_dir(out.parent, out.name, True) if out else new_run_dir("runs", "check-data")
        report.write(out)
        with contextlib.redirect_stdout(sys.stderr), optional(out / "check.png"):  # stdout may be read as JSON
            plot_dataset(report.boxes, report.per_image, report.shapes, report.names, out / "check.png", font)
    except UserError as e:  # those of run folders and pictures name project=
        raise UserError(e.what, e.where, "free some space or choose another out=") from None
    if given.get("json"):
        _answer(json.dumps(report.to_dict()))
    else:
        _answer("\n".join([*report.lines(more=str(out / "report.txt")), f"written: {out}"]))
    return 1 if report.count("error") else 0


def _edit(mode: str, given: dict[str, Any]) -> int:
    """insert, replace and remove: a new model YAML, checked before it is written."""
    _known(given, EDIT_KEYS[mode], mode)
    for key in EDIT_KEYS[mode]:
        if key not in _EDIT_KEYS and given.get(key) in (None, "", []):
            raise ConfigError(f"{key} is missing", hint=f"such as: {PROGRAM} {EXAMPLES[mode]}")
    if not given.get("out"):
        raise ConfigError("out is missing", hint="out=my.yaml")
    model, out = str(given["model"]), user_path(str(given["out"]))
    if out.exists() and not given.get("overwrite"):
        raise ConfigError("it exists already", str(out), "give another out=, or overwrite=True")
    if not out.absolute().parent.is_dir():
        raise ConfigError("its folder does not exist", str(out.absolute()), "make it first")
    from ultralytics.nn.plugins import load_plugins  # torch takes seconds to import
    from ultralytics.nn.surgery import check_edit

    named = load_plugins(given.get("plugins"))
    scale = given.get("scale")
    rows, module = given.get("after" if mode == "insert" else "rows"), given.get("module")
    if mode == "insert":
        text = insert_rows(model, _listed(rows), _modules(str(module)), scale)
    elif mode == "replace":
        text = replace_rows(model, _listed(rows), _modules(str(module)), scale)
    else:
        text = remove_rows(model, _listed(rows), scale)
    before = load_model_spec(model, scale)
    load_plugins(before.plugins)
    plugins = list(dict.fromkeys([*before.plugins, *named]))
    if plugins:
        text = set_plugins(text, plugins, out.absolute().parent)
    data = parse_yaml(text, out, ModelError).data | {"yaml_file": str(out)}
    after = ModelSpec.from_dict(data, before.scale or None)
    notes = check_edit(before, after)
    with open(out, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    LOGGER.info("written: %s", out)
    for line in [*describe_change(before, after), *notes]:
        LOGGER.info("  %s", line)
    return 0


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _modules(text: str) -> str | list[str]:
    """One module for all rows, or a list of them in brackets; commas inside a call are its own."""
    if not (text.startswith("[") and text.endswith("]")):
        return text
    parts, depth = [""], 0
    for char in text[1:-1]:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def _known(given: dict[str, Any], keys: Mapping[str, str], what: str) -> None:
    for key in given:
        if key not in keys:
            raise ConfigError(f"unknown key {key!r}", hint=nearest(key, keys) or f"{what} takes {', '.join(keys)}")


def _prepare(words: list[str]) -> int:
    kinds = ", ".join(PREPARE_KEYS)
    if not words or words[0] not in PREPARE_KEYS:
        what = f"unknown kind of data {words[0]!r}" if words else "prepare what?"
        raise ConfigError(what, hint=f"one of {kinds}; such as: {PROGRAM} {EXAMPLES['prepare'].split(' | ')[1]}")
    kind, given = words[0], _pairs(words[1:], "prepare")
    _known(given, PREPARE_KEYS[kind], f"prepare {kind}")
    check_switches(given, SWITCHES)
    for key, value in given.items():
        kinds_of, told = _PREPARE_VALUES.get(key, ((), ""))
        if kinds_of and type(value) not in kinds_of:
            raise ConfigError(f"{key}={value} must be {told}")
    if given.get("seed", 0) < 0:
        raise ConfigError(f"seed={given['seed']} must be an integer of 0 or more")
    given = {k: v for k, v in given.items() if v is not None}
    if given.get("download") and "source" in given:
        raise ConfigError("source and download contradict each other", hint="leave one of them out")
    if "mirror" in given and not given.get("download"):
        raise ConfigError("mirror is where to download from", hint="add download=True")
    if "names" in given:
        given["names"] = _words(given["names"])
    if kind == "coco":
        given |= {k: _paths(str(given[k])) for k in ("source", "images") if k in given}
    for path in _listed(given.get("source", [])):  # what is typed is judged before what is left out
        if not os.path.exists(user_path(path)):
            raise MissingFileError("there is no such source", str(user_path(path).absolute()))
    for key in ("source", "out") if kind in ("auto", "yolo", "labelme", "kitti") else ():
        if not given.get(key):
            raise ConfigError(f"{key} is missing", hint=f"{PROGRAM} prepare {kind} source=FOLDER out=data/mine")
    from ultralytics.data import prepare  # OpenCV takes a moment to import

    made = getattr(prepare, f"prepare_{kind}")(**given)
    LOGGER.info(_ready(made))
    return 0


def _ready(made: Path) -> str:
    """What to type to use a data set, as a shell takes it."""
    return f"ready: {shlex.quote(f'data={made}')}"


_PREPARE_VALUES: dict[str, tuple[tuple[type, ...], str]] = {
    "seed": ((int,), "an integer of 0 or more"),
    "val": ((int, float), "a part of the images, 0 or more and below 1"),
    "test": ((int, float), "a part of the images, 0 or more and below 1"),
    "one_based": ((bool, str), "auto, True or False"),
}


def _paths(text: str) -> str | list[str]:
    """One path, or several between commas, in brackets or not; a path that is there may hold commas itself."""
    bracketed = text.startswith("[") and text.endswith("]")
    if not (bracketed or "," in text) or os.path.exists(os.path.expanduser(text)):
        return text
    return [part.strip() for part in (text[1:-1] if bracketed else text).split(",") if part.strip()]


def _subset(given: dict[str, Any]) -> int:
    _known(given, SUBSET_KEYS, "subset")
    for key in ("data", "out"):
        if not given.get(key):
            raise ConfigError(f"{key} is missing", hint=f"such as: {PROGRAM} {EXAMPLES['subset']}")
    given = {k: v for k, v in given.items() if v is not None}
    if "classes" in given:
        given["classes"] = _class_words(given["classes"])
    from ultralytics.data.subset.subset import kfold, subset  # numpy and OpenCV take a moment to import

    folds = given.pop("kfold", None)
    if folds is None:
        LOGGER.info(_ready(subset(**given)))
        return 0
    if "val_n" in given:
        raise ConfigError("val_n has no meaning with kfold, which pools train and val", hint="leave it out")
    for made in kfold(k=folds, **given):
        LOGGER.info(_ready(made))
    return 0


def _words(text: str) -> list[str]:
    """Names from "a,b" or "[a,b]"; quotes around a name are none of it, and commas in them part nothing."""
    inner = text[1:-1] if text.startswith(("[", "(")) and text.endswith(("]", ")")) else text
    words = [word.strip() for word in re.findall(r"""\s*("[^"]*"\s*|'[^']*'\s*|[^,]*)(?:,|$)""", inner)]
    return [w[1:-1] if len(w) > 1 and w[0] == w[-1] and w[0] in "'\"" else w for w in words if w]


def _class_words(text: str) -> list[int | str]:
    """Names and ids from `_words`."""
    return [int(w) if w.isdecimal() else w for w in _words(text)]


def _show(given: dict[str, Any]) -> int:
    for key in given:
        if key not in SHOW_KEYS and (key not in KNOBS or KNOBS[key].metadata["group"] != "augmentation"):
            known = [*SHOW_KEYS, *(k for k, f in KNOBS.items() if f.metadata["group"] == "augmentation")]
            hint = nearest(key, known) or "keys of show and of the augmentation: see `show --help`"
            raise ConfigError(f"unknown key {key!r}", hint=hint)
    if not given.get("data"):
        raise ConfigError("data is missing", hint=f"such as: {PROGRAM} {EXAMPLES['show']}")
    from ultralytics.data.show import show  # torch takes seconds to import

    own = {k: v for k, v in given.items() if k in SHOW_KEYS and v is not None}
    changes = {k: v for k, v in given.items() if k not in SHOW_KEYS}
    split = str(own.pop("split", "train"))
    LOGGER.info("written: %s", show(own.pop("data"), split, overrides=changes, source="command line", **own))
    return 0


def _study(given: dict[str, Any]) -> int:
    """Exit code 2 when a run has failed."""
    _known(given, STUDY_KEYS, "study")
    if not given.get("cfg"):
        raise ConfigError("no study given", hint=f"such as: {PROGRAM} {EXAMPLES['study']}")
    given = {k: v for k, v in given.items() if v is not None}
    idle = ("devices",) if "submit" in given else ("partition", "gpus", "hours")
    for key in idle:
        if key in given:
            told = "a task has the GPUs it is given" if "submit" in given else "it needs submit=slurm"
            raise ConfigError(f"{key}={given[key]} has no effect: {told}", hint="leave it out")
    from ultralytics.study.runner import complaint, run_study  # torch takes seconds to import
    from ultralytics.study.submit import submit_study

    if "submit" in given:
        submit_study(str(given.pop("cfg")), cluster=str(given.pop("submit")), **given)
        return 0
    error = complaint(run_study(str(given.pop("cfg")), **given))
    if error is not None:
        raise error
    return 0


def _study_report(words: list[str]) -> int:
    """`study report OUT [fair=False]`."""
    folders = [w for w in words if w.startswith("out=") or "=" not in w]
    if len(folders) != 1:
        raise ConfigError("study report takes one folder", hint=f"such as: {PROGRAM} study report runs/study/quick")
    given = _pairs([w for w in words if w not in folders], "study")
    _known(given, {"fair": STUDY_KEYS["fair"]}, "study report")
    check_switches(given, SWITCHES)
    from ultralytics.study.report import write_report  # torch takes seconds to import

    write_report(user_path(folders[0].removeprefix("out=")), **{k: v for k, v in given.items() if v is not None})
    return 0


def _compare(given: dict[str, Any]) -> int:
    _known(given, COMPARE_KEYS, "compare")
    if not given.get("runs"):
        raise ConfigError("runs is missing", hint=f"such as: {PROGRAM} {EXAMPLES['compare']}")
    given = {k: v for k, v in given.items() if v is not None}
    runs = given.pop("runs")
    from ultralytics.study.comparing import compare_runs  # torch takes seconds to import

    compare_runs(_words(runs) if isinstance(runs, str) else list(runs), **given)
    return 0


def _export_weights(given: dict[str, Any]) -> int:
    _known(given, EXPORT_WEIGHTS_KEYS, "export-weights")
    for key in ("model", "out"):
        if not given.get(key):
            raise ConfigError(f"{key} is missing", hint=f"such as: {PROGRAM} {EXAMPLES['export-weights']}")
    check_switches(given, ("half",))
    from ultralytics.models.yolo.export import export_weights  # torch takes seconds to import
    from ultralytics.nn.plugins import load_plugins

    load_plugins(given.pop("plugins", None))
    LOGGER.info("written: %s", export_weights(**{k: v for k, v in given.items() if v is not None}))
    return 0


def _save_adapter(given: dict[str, Any]) -> int:
    _known(given, SAVE_ADAPTER_KEYS, "save-adapter")
    for key in ("model", "out"):
        if not given.get(key):
            raise ConfigError(f"{key} is missing", hint=f"such as: {PROGRAM} {EXAMPLES['save-adapter']}")
    from ultralytics.models.yolo.adapter import save_adapter  # torch takes seconds to import
    from ultralytics.nn.plugins import load_plugins

    load_plugins(given.pop("plugins", None))
    LOGGER.info("written: %s", save_adapter(**{k: v for k, v in given.items() if v is not None}))
    return 0


def _export_coco(given: dict[str, Any]) -> int:
    _known(given, EXPORT_COCO_KEYS, "export-coco")
    for key in ("data", "out"):
        if not given.get(key):
            raise ConfigError(f"{key} is missing", hint=f"such as: {PROGRAM} {EXAMPLES['export-coco']}")
    from ultralytics.data.prepare import export_coco  # OpenCV takes a moment to import

    split = given.get("split") or "val"
    LOGGER.info("written: %s", export_coco(given["data"], given["out"], split, given.get("overwrite", False)))
    return 0


def _sources(source: Any) -> Any:
    """`source=[a,b]` as a list. One name in brackets is a glob, and a file or folder is meant by its very name."""
    if not isinstance(source, str) or not (source.startswith("[") and source.endswith("]")):
        return source
    if ("," in source or source[1:2] in ("'", '"')) and not os.path.lexists(source):
        return _words(source)
    return source


def _pairs(words: list[str], mode: str) -> dict[str, Any]:
    """key=value words as a mapping;
    `key = value` and a leading -- are understood, a bare word of a switch means True."""
    given: dict[str, Any] = {}
    for word in merge_equals_args(words):
        key, equals, value = word.removeprefix("--").partition("=")
        if not equals:
            key = key.rstrip(",")
            if key == "json" and mode in ("info", "check-data"):
                given[key] = True
                continue
            if mode in RUN_MODES and _is_switch(key):
                given[key] = True
                continue
            if key in KNOBS:
                raise ConfigError(f"{key} needs a value", hint=f"{key}=VALUE")
            raise ConfigError(
                f"{word!r} is no key=value", hint=nearest(key, KNOBS) or f"`{PROGRAM} {mode} --help` lists the keys"
            )
        if (mode, key) in (("subset", "classes"), ("prepare", "names")):
            given[key] = value.strip() or None
        elif mode in RUN_MODES and value.endswith(",") and not os.path.lexists(user_path(value)):
            given[key] = parse_word(key, value[:-1])  # as between arguments of a call
        elif key in _TEXTS or (key in KNOBS and mode in RUN_MODES):
            given[key] = parse_word(key, value)
        else:
            given[key] = parse_value(value.rstrip(","))
    return given


def _is_switch(key: str) -> bool:
    """Whether a key is True where its bare word stands; so is one of the reference that does nothing here."""
    if key in UNSUPPORTED:
        return isinstance(UNSUPPORTED[key].off, bool)
    return key in KNOBS and (KNOBS[key].metadata["kind"] == "bool" or isinstance(KNOBS[key].default, bool))


SWITCHES = ("copy", "download", "fair", "json", "near", "overwrite")  # of the other modes
RUN_MODES = ("train", "val", "predict", "check", "explain")
_TEXTS = ("cfg", "model", "module", "source", "out", "data", "split", "images", "mirror", "font", "runs", "control")


def _overview() -> str:
    lines = [
        f"YOLOv8 with Focused Linear Attention {__version__} (interface of ultralytics {REFERENCE_VERSION})",
        "",
        f"usage: {PROGRAM} MODE key=value …",
        "",
    ]
    lines += [f"  {mode:14} {meaning}" for mode, meaning in {**MODES, **SPECIALS}.items()]
    lines += ["", f"`{PROGRAM} MODE --help` lists a mode's keys. Examples:", ""]
    return "\n".join(lines + [f"  {PROGRAM} {e}" for e in EXAMPLES.values()])


def _help(mode: str, rest: Sequence[str] = ()) -> str:
    """A mode's keys; of `prepare` those of the kind that follows it, of every kind without one."""
    lines = [f"usage: {PROGRAM} {mode} key=value …", "", f"{MODES[mode]}.", f"example: {PROGRAM} {EXAMPLES[mode]}", ""]
    short = {
        "info": INFO_KEYS,
        "check-data": CHECK_DATA_KEYS,
        "subset": SUBSET_KEYS,
        "show": SHOW_KEYS,
        "study": STUDY_KEYS,
        "compare": COMPARE_KEYS,
        "export-coco": EXPORT_COCO_KEYS,
        "export-weights": EXPORT_WEIGHTS_KEYS,
        "save-adapter": SAVE_ADAPTER_KEYS,
        **EDIT_KEYS,
    }.get(mode)
    if short:
        lines += [f"  {k:14} {v}" for k, v in short.items()]
        if mode == "show":
            lines += ["", "augmentation:"]
            lines += [
                f"  {k:14} {f.metadata['help']} ({f.default})"
                for k, f in KNOBS.items()
                if f.metadata["group"] == "augmentation"
            ]
        return "\n".join(lines)
    if mode == "prepare":
        kinds = [w for w in rest if w in PREPARE_KEYS]
        if kinds:
            lines[0] = f"usage: {PROGRAM} {mode} {kinds[0]} key=value …"
        for kind, keys in ((k, PREPARE_KEYS[k]) for k in kinds or PREPARE_KEYS):
            lines += [f"{kind}:", *(f"  {k:14} {v}" for k, v in keys.items()), ""]
        return "\n".join(lines)
    group = ""
    lines += [f"  {'cfg':16} {'':10} a YAML of keys, a recipe; key=value wins over it"]
    for name, field in KNOBS.items():
        m = field.metadata
        if ("train" if mode == "check" else mode) not in m["modes"] or name in ("mode", "task"):
            continue
        if m["group"] not in ("run", group):
            group = m["group"]
            lines += ["", f"{group}:"]
        default = MODE_DEFAULTS.get(mode, {}).get(name, field.default)
        if default is None:
            default = {"name": "train" if mode == "check" else mode, "conf": "0.001"}.get(name, m["none"])
            default = "" if default is True else default
        valid = f" ({', '.join(map(str, m['choices']))})" if m["choices"] and name != "cache" else ""
        lines.append(f"  {name if name != 'model_scale' else 'scale=LETTER':16} {default!s:10} {m['help']}{valid}")
    return "\n".join(lines)
