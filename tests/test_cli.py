import errno
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ultralytics
from ultralytics.cfg.config import KNOBS
from ultralytics.cli import MODES, main

CLONE = Path(ultralytics.__file__).parents[1]


def command(*words, cwd):
    """Run `python -m ultralytics` as a user does; exit code, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "ultralytics", *words],
        cwd=cwd, env={"PYTHONPATH": str(CLONE), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "2"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "did you mean 'train'"),
        (["train", "epohcs=3"], "did you mean 'epochs'"),
        (["train", "epochs"], "epochs=VALUE"),
        (["train", "data=x.yaml", "model=yolov8n.yaml", "epochs=-1"], "epochs=-1 is out of range"),
        (["train", "model=yolov8n.yaml"], "no data set given"),
        (["train", "--nosuch"], "no key=value"),
        (["val", "data=shapes.yaml"], "no model given"),
        (["val", "model=gone.pt", "data=shapes.yaml"], "no such weights file"),
        (["val", "model=yolov8q.yaml", "data=shapes.yaml"], "no such model YAML; tried"),
        (["predict", "model=yolov8n.yaml"], "nothing to predict on"),
        (["predict", "model=yolov8n.yaml", "source=gone.jpg"], r"gone.jpg"),
        (["info"], "no model given"),
        (["info", "model=yolov8n.yaml", "size=3"], "unknown key 'size'"),
        (["prepare"], "prepare what?"),
        (["prepare", "cocoo"], "unknown kind of data"),
        (["prepare", "voc", "source=gone"], "out is missing"),
        (["prepare", "voc", "source=gone", "out=x"], "there is no folder"),
        (["prepare", "shapes", "seed=-1"], "0 or more"),
        (["val", "mode=train", "model=yolov8n.yaml"], "contradicts"),
        (["train", "device=7", "model=yolov8n.yaml", "data=shapes.yaml"], "device=7"),
        (["train", "device=gpu", "model=yolov8n.yaml", "data=shapes.yaml"], "device=gpu is unknown"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_users_mistake_is_one_line_and_code_2(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_fault_of_ours_is_not_hidden(monkeypatch):
    def broken(_):
        raise RuntimeError("ours")

    monkeypatch.setattr("ultralytics.cli._dispatch", broken)
    with pytest.raises(RuntimeError, match="ours"):
        main(["train"])


def test_a_full_disk_is_one_line_wherever_it_is_noticed(monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/results.png")

    monkeypatch.setattr("ultralytics.cli._dispatch", full)
    assert main(["train"]) == 2
    assert capsys.readouterr().err.startswith("error: runs/results.png: No space left on device")


@pytest.mark.parametrize("mode", MODES)
def test_help_lists_every_key_of_a_mode(mode, capsys):
    assert main([mode, "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage:" in out
    for key, field in KNOBS.items():
        if mode in field.metadata["modes"] and key not in ("mode", "task", "model_scale"):
            assert f"  {key} " in out, key


def test_the_overview_and_the_version(capsys):
    assert main([]) == 0
    assert "train" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert "8.2.103" in capsys.readouterr().out


def test_info_prints_the_sizes(capsys):
    assert main(["info", "model=yolov8n-fla.yaml"]) == 0
    assert "parameters" in capsys.readouterr().out
    assert main(["detect", "info", "model", "=", "yolov8.yaml", "scale=s", "detailed=True"]) == 0
    out = capsys.readouterr().out
    assert "Detect" in out
    assert "11,1" in out  # YOLOv8s has 11.1 million parameters


def test_commands_from_another_folder(tiny, toy, tmp_path):
    """Train, resume, validate and predict as a user would, each in a process of its own."""
    work = tmp_path / "some folder"
    work.mkdir()
    common = ["imgsz=64", "workers=0", "device=cpu"]
    code, out, err = command("train", f"model={tiny}", f"data={toy}", "epochs=1", "batch=4", *common, cwd=work)
    assert code == 0, err
    best = work / "runs" / "detect" / "train" / "weights" / "best.pt"
    assert best.exists()
    assert "weights  runs/detect/train/weights/best.pt" in out
    assert (work / "runs" / "detect" / "train" / "results.png").exists()
    code, _, err = command("train", "resume=True", "epochs=2", cwd=work)
    assert code == 0, err
    assert len((best.parents[1] / "results.csv").read_text().splitlines()) == 3
    code, out, err = command("val", f"model={best}", f"data={toy}", *common, cwd=work)
    assert code == 0, err
    assert "mAP50-95" in out
    assert (work / "runs" / "detect" / "val" / "metrics.json").exists()
    code, _, err = command("predict", f"model={best}", f"source={toy.parent / 'images' / 'val'}", *common, cwd=work)
    assert code == 0, err
    assert len(list((work / "runs" / "detect" / "predict").iterdir())) == 6


def test_importing_is_light(tmp_path):
    code = (
        "import ultralytics, sys; assert not {'torch', 'cv2', 'numpy'} & set(sys.modules);"
        "print(ultralytics.REFERENCE_VERSION)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(CLONE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "8.2.103"
    help_code = (
        "import sys; from ultralytics.cli import main; main(['train', '--help']); assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", help_code], cwd=tmp_path, env={"PYTHONPATH": str(CLONE)}, capture_output=True, check=True
    )


PUBLIC = {
    "ultralytics": "YOLO",
    "ultralytics.data.augment": "LetterBox RandomPerspective Mosaic MixUp RandomHSV RandomFlip",
    "ultralytics.models.yolo.detect": "DetectionTrainer DetectionValidator DetectionPredictor",
    "ultralytics.nn.modules": "Conv DWConv C2f Bottleneck SPPF Concat Detect DFL FocusedLinearAttention",
    "ultralytics.nn.tasks": "DetectionModel parse_model",
    "ultralytics.utils.loss": "v8DetectionLoss",
    "ultralytics.utils.metrics": "ConfusionMatrix DetMetrics Metric ap_per_class compute_ap bbox_iou box_iou smooth",
    "ultralytics.utils.ops": "non_max_suppression scale_boxes clip_boxes xywh2xyxy xyxy2xywh xyxy2xywhn xywhn2xyxy",
    "ultralytics.utils.tal": "TaskAlignedAssigner make_anchors dist2bbox bbox2dist",
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_where_the_reference_has_them(module):
    found = importlib.import_module(module)
    assert not [name for name in PUBLIC[module].split() if not hasattr(found, name)]
