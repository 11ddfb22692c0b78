import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.reference import REFERENCE_DEFAULTS
from ultralytics.cfg.config import (
    KNOBS,
    UNSUPPORTED,
    WITHOUT_EFFECT,
    Config,
    check_classes,
    get_cfg,
    parse_value,
    parse_word,
    without_effect,
)
from ultralytics.cfg.reference import DEFAULT_CFG_DICT, DEFAULT_CFG_PATH, SETTINGS, copy_default_cfg, default_text
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError


def test_defaults_are_the_references():
    c = Config()
    assert (c.epochs, c.batch, c.imgsz, c.patience, c.lr0, c.lrf) == (100, 16, 640, 100, 0.01, 0.01)
    assert (c.momentum, c.weight_decay, c.warmup_epochs, c.warmup_momentum) == (0.937, 0.0005, 3.0, 0.8)
    assert (c.box, c.cls, c.dfl, c.nbs, c.close_mosaic, c.workers) == (7.5, 0.5, 1.5, 64, 10, 8)
    assert (c.hsv_h, c.hsv_s, c.hsv_v, c.translate, c.scale, c.fliplr, c.mosaic) == (0.015, 0.7, 0.4, 0.1, 0.5, 0.5, 1)
    assert (c.iou, c.max_det, c.conf, c.seed, c.deterministic, c.amp) == (0.7, 300, None, 0, True, True)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epoch", 3, "did you mean 'epochs'"),
        ("img_size", 3, "imgsz"),
        ("epochs", 0, "valid: 1 or more"),
        ("epochs", 2.5, "an integer"),
        ("epochs", True, "an integer"),
        ("lrf", "small", "a number"),
        ("mosaic", 1.5, "valid: 0 to 1"),
        ("amp", "perhaps", "True or False"),
        ("batch", -2, "1 or more"),
        ("batch", 0, "1 or more"),
        ("cache", "tape", "ram or disk"),
        ("split", "tset", "train, val, test"),
        ("scale", "z", "n, s, m, l, x"),
        ("freeze", [-1], "0 or more"),
        ("epochs", None, "default 100"),
        ("device", True, "cpu"),
        ("fraction", 0, "fraction=0 is out of range.*above 0"),
        ("time", 0.0, "above 0"),
        ("box", float("inf"), "finite"),
        ("seed", 10**20, "seed=100000000000000000000 is out of range"),
        ("scale", "q", "^scale=q is not possible"),
        ("optimizer", "foo", "auto, SGD"),
    ],
)
def test_a_wrong_key_or_value_is_told_in_one_line(key, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        get_cfg(None, {key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", sorted(UNSUPPORTED))
def test_keys_of_the_reference_that_do_nothing_say_why(key):
    assert key not in KNOBS
    with pytest.raises(ConfigError, match=key):
        Config().set(key, 2, "argument")


def test_the_references_keys_are_taken_at_their_defaults(tmp_path):
    """All 105, as its default.yaml has them and in what means the same; in a file, typed, and one by one."""
    assert len(REFERENCE_DEFAULTS) == 105
    for key, value in REFERENCE_DEFAULTS.items():
        get_cfg(None, {key: value})
        if key in UNSUPPORTED:
            for same in (None, "", *(["None", str(value)] if key != "cfg" else []), *([] if value else [False])):
                get_cfg(None, {key: same})
    file = tmp_path / "default.yaml"
    file.write_text(yaml.safe_dump(REFERENCE_DEFAULTS))
    for config in (get_cfg(file), get_cfg(REFERENCE_DEFAULTS), get_cfg(None, REFERENCE_DEFAULTS)):
        assert config.to_dict() == Config().to_dict()
    file.write_text("save_dir: runs/detect/train\nmodel: a.pt\nproject: null\nfreeze: None\ntracker: botsort.yaml\n")
    config = get_cfg(file)
    assert (config.model, config.project, config.freeze) == ("a.pt", None, None)
    assert "project" not in config.sources  # left open says nothing


@pytest.mark.parametrize(
    ("key", "value"),
    [("save_hybrid", True), ("cfg", "a.yaml"), ("keras", True),
     ("save_dir", "here"), ("optimize", "True")],
)  # fmt: skip
def test_another_value_of_a_key_that_does_nothing_is_told(key, value):
    with pytest.raises(ConfigError, match=f"the key '{key}' has no effect"):
        Config().set(key, value, "argument")


def test_a_letter_is_the_models_scale_and_a_number_the_zoom():
    c = get_cfg(None, {"scale": "s"})
    assert (c.model_scale, c.scale) == ("s", 0.5)
    assert get_cfg(None, {"scale": 0.9}).scale == 0.9


def test_later_sources_win_and_are_remembered(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("epochs: 7\nlr0: 1e-3\nbatch: 4\n")
    c = get_cfg(recipe, {"batch": 8}, "command line")
    assert (c.epochs, c.lr0, c.batch, c.imgsz) == (7, 0.001, 8, 640)
    assert (c.sources["epochs"], c.sources["batch"]) == (str(recipe), "command line")
    c.save_yaml(tmp_path / "args.yaml")
    text = (tmp_path / "args.yaml").read_text()
    assert "batch: 8  # command line" in text
    again = get_cfg(tmp_path / "args.yaml")
    assert again.to_dict() == c.to_dict()


def test_a_wrong_recipe_is_named_with_its_line(tmp_path):
    (tmp_path / "bad.yaml").write_text("epochs: 3\nlr0: [1\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml, line"):
        get_cfg(tmp_path / "bad.yaml")
    (tmp_path / "key.yaml").write_text("epohcs: 3\n")
    with pytest.raises(ConfigError, match=r"key\.yaml.*epochs"):
        get_cfg(tmp_path / "key.yaml")
    with pytest.raises(MissingFileError, match="tried"):
        get_cfg(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-1", -1), ("0.5", 0.5), (".5", 0.5), ("1e-3", 1e-3), ("True", True), ("false", False),
        ("None", None),
        ("[0, 2]", [0, 2]), ("(1,2)", [1, 2]), ("cpu", "cpu"), ("'3'", "3"), ("", None), ("a b", "a b"),
        ("__import__('os').system('true')", "__import__('os').system('true')"),
    ],
)  # fmt: skip
def test_words_of_the_command_line(text, value):
    got = parse_value(text)
    assert got == value
    assert type(got) is type(value)


@given(st.text(max_size=30))
def test_any_word_is_read_without_an_exception(text):
    parse_value(text)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))


@given(st.sampled_from(sorted(KNOBS)), st.one_of(SCALARS, st.lists(st.integers(), max_size=3)))
def test_any_value_is_taken_or_refused_in_one_line(key, value):
    try:
        config = get_cfg(None, {key: value})
    except ConfigError as e:
        message = str(e)
    else:
        message = yaml.safe_dump(config.to_dict())
    assert key in message or "scale" in message


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("name", "001", "001"), ("name", "2024.10", "2024.10"), ("name", "1e5", "1e5"), ("name", "a,", "a,"),
        ("name", "None", None), ("name", "'none'", "none"), ("name", "True", "True"), ("project", "007", "007"),
        ("source", "0", "0"), ("source", "[x]", "[x]"), ("resume", "001", "001"), ("resume", "true", True),
        ("pretrained", "3.5", "3.5"), ("pretrained", "False", False), ("epochs", "3,", 3), ("lr0", "1e-3,", 1e-3),
        ("device", "0,1", "0,1"), ("device", "auto", None), ("classes", "[0, 2],", [0, 2]), ("classes", "all", None),
        ("line_width", "auto", None), ("scale", "s", "s"), ("scale", "0.5", 0.5),
    ],
)  # fmt: skip
def test_a_word_is_read_as_its_keys_kind(key, text, value):
    got = parse_word(key, text)
    assert got == value
    assert type(got) is type(value)


def test_text_in_a_recipe_stays_text(tmp_path):
    config = get_cfg(None, {"name": "001", "project": "1e5"})
    config.save_yaml(tmp_path / "args.yaml")
    again = get_cfg(tmp_path / "args.yaml")
    assert (again.name, again.project) == ("001", "1e5")


def test_an_optimiser_is_found_in_any_case():
    assert get_cfg(None, {"optimizer": "adamw"}).optimizer == "AdamW"
    assert get_cfg(None, {"optimizer": "AUTO"}).optimizer == "auto"


def test_classes_that_are_not_there_are_told():
    check_classes(None, 3, "the model")
    check_classes([0, 2], 3, "the model")
    with pytest.raises(ConfigError, match=r"no class 99.*the model has 0 to 79"):
        check_classes([0, 99], 80, "the model")
    with pytest.raises(ConfigError, match="no class 3"):
        check_classes(3, 3, "the data set")


def test_imgsz_is_a_pair_where_nothing_is_trained_or_measured():
    for pair in ([320, 640], (320, 640), "320,640", "[320,640]", "(320, 640)", "320x640"):
        assert get_cfg(None, {"imgsz": pair}, mode="export").frame == (320, 640)
        config = get_cfg(None, {"imgsz": pair}, mode="predict")
        assert (config.imgsz, config.frame) == (640, (320, 640))
        assert get_cfg(config, mode="predict").frame == (320, 640)
        for mode in ("train", "val"):
            with pytest.raises(
                ConfigError, match=r"imgsz=\[320,640\]: a pair is possible in predict, .*explain.* only.*imgsz=640"
            ):
                get_cfg(None, {"imgsz": pair}, mode=mode)
    for one in ([640, 640], [640], 640.0, "640,640"):
        assert get_cfg(None, {"imgsz": one}).frame == (640, 640)
    config.set("imgsz", 128, "argument")
    assert config.frame == (128, 128)
    for wrong in ([1, 2, 3], [], [640, 9999], [8, 640], [640, "x"], [640, None], "a,b", [640, 1.5]):
        with pytest.raises(ConfigError, match="imgsz"):
            get_cfg(None, {"imgsz": wrong}, mode="predict")


OF_BOXES = {"conf": 0.5, "iou": 0.5, "max_det": 3, "classes": 1, "agnostic_nms": True, "single_cls": True}
IDLE = [
    ("train", {"patience": 5, "val": False}, "patience=5 has no effect: val=False, so no progress is measured"),
    ("train", {"patience": 0, "val": False}, ""),
    ("train", {"patience": 5}, ""),
    ("train", {"save_period": 2, "save": False}, "save_period=2 has no effect: save=False"),
    ("train", {"save_period": 7, "epochs": 6}, "save_period=7 has no effect: there are 6 epochs"),
    ("train", {"save_period": 6, "epochs": 6}, ""),
    ("train", {"save_period": 7, "epochs": 6, "time": 1.5}, "epochs=6 has no effect: time=1.5 decides"),
    ("train", {"mosaic": 0.5, "rect": True}, "mosaic=0.5 has no effect: rect=True"),
    ("train", {"mixup": 0.5, "rect": True}, "mixup=0.5 has no effect: rect=True"),
    ("train", {"copy_paste": 0.5, "rect": True}, "copy_paste=0.5 has no effect: rect=True"),
    ("train", {"close_mosaic": 5, "mosaic": 0, "copy_paste": 0.5}, ""),
    ("train", {"close_mosaic": 5, "rect": True}, "close_mosaic=5 has no effect: rect=True"),
    ("train", {"close_mosaic": 5, "mosaic": 0}, "close_mosaic=5 has no effect: mosaic=0, mixup=0"),
    ("train", {"close_mosaic": 5, "mosaic": 0, "mixup": 0.5}, ""),
    ("train", {"close_mosaic": 0, "mosaic": 0}, ""),
    ("train", {"distill": "cwd"}, "distill=cwd has no effect: there is no teacher="),
    ("train", {"distill_gain": 2.0}, "distill_gain=2.0 has no effect: there is no teacher="),
    ("train", {"distill": "cwd", "teacher": "larger.pt"}, ""),
    ("train", {"warmup_momentum": 0.5, "warmup_epochs": 0}, "warmup_momentum=0.5 has no effect: warmup_epochs=0"),
    ("train", {"warmup_bias_lr": 0.5, "warmup_epochs": 0}, "warmup_bias_lr=0.5 has no effect"),
    ("train", {"tile_visible": 0.5}, "tile_visible=0.5 has no effect: there are no tiles="),
    ("train", {"tile_background": 0.5}, "tile_background=0.5 has no effect: there are no tiles="),
    ("train", {"tile_background": 0.5, "tiles": 64, "merge": "wbf"}, ""),
    ("val", {"save_conf": True}, "save_conf=True has no effect: save_txt=False"),
    ("predict", {"save_conf": True, "save_txt": True, "save": True}, ""),
    ("predict", {"show_labels": False, "save": False}, "show_labels=False has no effect: save=False"),
    ("predict", {"line_width": 3, "save": True}, ""),
    ("predict", {"line_width": 3, "save": False, "show": True}, ""),
    ("predict", {"show_boxes": False, "save": False, "save_frames": True}, ""),
    ("predict", {"agnostic_nms": True, "single_cls": True}, "agnostic_nms=True has no effect: single_cls=True"),
    ("predict", {"overlap": 0.3}, "overlap=0.3 has no effect: there are no tiles="),
    ("val", {"whole": False}, "whole=False has no effect: there are no tiles="),
    ("val", {"overlap": 0.3, "whole": False, "tiles": 64, "merge": "wbf"}, ""),
    ("track", {"merge": "nms"}, "merge=nms has no effect: there is one network, and neither tiles= nor augment=True"),
    ("val", {"merge_iou": 0.6, "model": "a.pt"}, "merge_iou=0.6 has no effect: there is one network"),
    ("val", {"merge_iou": 0.6, "model": "[a.pt,b.pt]"}, ""),
    ("predict", {"merge": "wbf", "augment": True}, ""),
    ("explain", {"points": [[3, 4]]}, "points=[[3.0, 4.0]] has no effect: kind=cam"),
    ("explain", {"heads": "all", "kind": "erf"}, "heads=all has no effect: kind=erf"),
    ("explain", {"heads": 0, "points": [3, 4], "kind": "attention"}, ""),
    ("explain", {"max_images": 3}, "max_images=3 has no effect: kind=cam"),
    *(("explain", {k: v, "kind": "erf"}, f"{k}={v} has no effect: kind=erf") for k, v in OF_BOXES.items()),
]


@pytest.mark.parametrize(("mode", "given", "message"), IDLE, ids=str)
def test_a_key_that_does_nothing_beside_others_is_told(mode, given, message, tmp_path):
    lines = without_effect(get_cfg(None, given, "command line"), mode)
    assert len(lines) == bool(message)
    assert not message or lines[0].startswith(message)
    other = "predict" if mode == "train" else "train"
    assert mode != "train" or not without_effect(get_cfg(None, given, "command line"), other)


def test_a_key_of_another_task_is_told():
    def lines(mode="train", **given):
        return without_effect(get_cfg(None, given, "command line"), mode)

    assert lines(erasing=0.5) == ["erasing=0.5 has no effect: it is for task=classify"]
    assert lines(crop_fraction=0.5, mode="val") == ["crop_fraction=0.5 has no effect: it is for task=classify"]
    assert not lines(erasing=0.5, task="classify")
    assert not lines(erasing=0.5, mode="val")
    assert not lines(erasing=0.4, auto_augment="randaugment")


def test_a_recipe_may_say_none_where_help_does(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("auto_augment: none\n", encoding="utf-8")
    assert get_cfg(recipe).auto_augment is None
    assert get_cfg(None, {"auto_augment": parse_word("auto_augment", "none")}).auto_augment is None


def test_pixels_are_read_as_pairs():
    for word in ("[[1,2],[3.5, 4]]", "[1,2], [3.5,4]"):
        assert parse_value(f"[{word}]" if word.startswith("[1") else word) == [[1, 2], [3.5, 4]]
    assert get_cfg(None, {"points": parse_value("[1,2]")}).points == [[1.0, 2.0]]
    assert parse_value("['a,b',c[0],[d]]") == ["a,b", "c[0]", ["d"]]


def test_every_rule_of_the_table_is_tried():
    tried = {message.split("=")[0] for _, _, message in IDLE if message}
    assert {k for _, keys, _, _ in WITHOUT_EFFECT for k in keys} - {"show_conf", "show_boxes", "line_width"} == tried


def test_only_what_was_given_is_told(tmp_path):
    assert without_effect(Config(val=False, save=False, rect=True, mosaic=0.0, warmup_epochs=0.0), "train") == []
    file = tmp_path / "args.yaml"
    file.write_text(get_cfg(None, {"val": False}).yaml_text())
    assert without_effect(get_cfg(file), "train") == []  # it holds all keys, and this one at its default
    file.write_text("val: False\npatience: 7\n")
    assert len(without_effect(get_cfg(file), "train")) == 1
    unable = {"amp": "no such numbers", "sync_bn": "one process"}
    assert without_effect(get_cfg(None, {"amp": True}), "train", unable) == ["amp=True has no effect: no such numbers"]
    assert without_effect(get_cfg(None, {"amp": False}), "train", unable) == []


def test_the_word_for_none_is_understood_everywhere():
    assert get_cfg(None, {"threads": "auto", "line_width": "auto"}).threads is None
    assert parse_word("threads", "auto") is None
    assert parse_word("threads", "2") == 2
    with pytest.raises(ConfigError, match="threads='none' must be an integer"):
        get_cfg(None, {"threads": "none"})


def test_the_bundled_default_yaml_says_what_the_code_says(request):
    """`pytest --rewrite` writes it."""
    if request.config.getoption("--rewrite"):
        DEFAULT_CFG_PATH.write_text(default_text(), encoding="utf-8")
    assert DEFAULT_CFG_PATH.read_text(encoding="utf-8") == default_text()
    assert yaml.safe_load(default_text()) == DEFAULT_CFG_DICT
    assert get_cfg("default.yaml").to_dict() == Config().to_dict()
    assert DEFAULT_CFG_DICT.keys() >= REFERENCE_DEFAULTS.keys()
    wrong = {k: (v, DEFAULT_CFG_DICT[k]) for k, v in REFERENCE_DEFAULTS.items() if DEFAULT_CFG_DICT[k] != v}
    assert wrong == {"freeze": ("None", None)}  # text, as its file has it


def test_a_copy_of_the_defaults_is_not_lost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = copy_default_cfg()
    assert copy == tmp_path / "default_copy.yaml"
    assert copy_default_cfg() == copy  # the same text
    copy.write_text("epochs: 3\n")
    with pytest.raises(UserError, match="the file already exists"):
        copy_default_cfg()


def test_settings_are_read_only():
    assert SETTINGS["runs_dir"] == "runs"
    SETTINGS.update({"runs_dir": "runs"})
    SETTINGS.reset()
    for change in (lambda: SETTINGS.update(runs_dir="x"), lambda: SETTINGS.__setitem__("wandb", True)):
        with pytest.raises(ConfigError, match="is not kept"):
            change()
    with pytest.raises(ConfigError, match="did you mean 'runs_dir'"):
        SETTINGS["run_dir"] = 3


def test_given_keys_are_those_that_something_has_set():
    config = get_cfg(None, {"epochs": 3, "mode": "train", "lr0": KNOBS["lr0"].default})
    assert config.given() == {"epochs": 3, "mode": "train", "lr0": 0.01}
    assert config.given("mode", "epochs") == {"lr0": 0.01}
    assert not config.is_default("lr0")
    assert config.is_default("momentum")
