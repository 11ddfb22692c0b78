"""A study's YAML: which arms are trained with which seeds, under what, and on what they are tested.

    name: bccd-placements
    base: {data: data/bccd.yaml, pretrained: yolov8n.pt, imgsz: 320, cfg: cfg/recipes/small.yaml}
    arms:
      plain: {model: yolov8n.yaml}
      fla: {model: yolov8n-fla-sppf.yaml}
    control: plain
    seeds: 6
    test: {split: test}
    tune: {space: small.yaml, trials: 30}    # each arm's settings are searched first, with equal means

`base` and the arms hold keys of `train`, `test` those of `val`. A path is meant from the YAML's folder, where there is
such a file, else from the working folder, else among the bundled ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ultralytics.cfg.config import KNOBS, Config, asks_nothing, get_cfg, parse_word, unknown_key
from ultralytics.cfg.model import plugins_of
from ultralytics.cfg.paths import find_data_yaml, find_model_yaml, find_recipe, find_space, find_study
from ultralytics.study.tune.options import read_options, read_seeds
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError, nearest
from ultralytics.utils.files import missing, user_path
from ultralytics.utils.text import name_key, safe_name
from ultralytics.utils.yaml import Document, read_yaml

KEYS = ("name", "base", "arms", "control", "seeds", "test", "tune")
# What belongs to the study itself, by the key that a user might give.
OWN = {
    **dict.fromkeys(("project", "name", "exist_ok"), "the study names its folders: out=FOLDER"),
    "seed": "the study gives each run its seed: seeds",
    "resume": "the study goes on by itself where a run was stopped",
    **dict.fromkeys(("mode", "task"), "leave it out"),
}
OWN_TEST = {"model": "each run is tested with its best weights", "coco": "the study needs COCO's figures"}
# What may be otherwise when a study goes on: no figure depends on it.
FREE = (
    "cache", "device", "font", "log", "log_group", "log_images", "log_weights",
    "plots", "preflight", "save_every", "save_period", "verbose", "workers"
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One run of a study."""

    # arm, seed: which one
    arm: str
    seed: int
    keys: Mapping[str, Any]  # the configuration, recipe included, as far as it was given
    test: Mapping[str, Any]  # that of its validation on the test split, as far as it was given

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.arm}-{self.seed}"

    @property
    def plugins(self) -> list[str]:
        """Return the plugin files that its network needs: those of the key, and those that its model YAML names."""
        return plugins_of(self.keys.get("model"), self.keys.get("plugins"))


@dataclass(frozen=True)
class Study:
    """What a study's YAML says, its paths resolved."""

    file: Path  # the YAML
    name: str
    base: Mapping[str, Any]  # keys of every run
    arms: Mapping[str, Mapping[str, Any]]  # name → keys that it adds or replaces
    control: str  # the arm that the others are compared with
    seeds: Sequence[int]  # of the runs of each arm
    test: Mapping[str, Any]  # keys of its test
    tune: Mapping[str, Any] | None = None  # options of the tune of each arm, as `tune.options.TuneOptions.to_data`
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of each arm: the `values`, and their origin

    @property
    def declared(self) -> set[str]:
        """Keys in which arms may differ: those under `arms`, those of recipes that are named there, and those that are
        tuned, with what follows from them."""
        found = {key for keys in self.arms.values() for key in keys}
        tuned = set((self.tune or {}).get("space", ()))
        found |= tuned | ({"steps planned", "steps done"} if tuned & {"nbs", "batch"} else set())
        for keys in self.arms.values():
            if "cfg" in keys:
                for recipe in (keys["cfg"], self.base.get("cfg")):
                    found |= set(get_cfg(recipe).given())
        return found | ({"model_scale"} if "scale" in found else set())

    def run(self, arm: str, seed: int) -> Run:
        """Return the run of an arm with a seed."""
        found = self.tuned.get(arm, {}).get("values", {})
        keys = {"plots": False, **self.base, **self.arms[arm], **found, "seed": seed}
        config = get_cfg(keys.pop("cfg", None), keys, str(self.file))
        return Run(arm, seed, config.given("mode", "task"), self.test)

    def runs(self) -> list[Run]:
        """All runs, in an order of which every beginning holds about as many of each arm: seed by seed, and the arm
        that is first moves on with the seed."""
        arms = list(self.arms)
        return [
            self.run(arm, seed)
            for i, seed in enumerate(self.seeds)
            for arm in arms[i % len(arms) :] + arms[: i % len(arms)]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the keys of the YAML."""
        return {
            "name": self.name,
            "base": dict(self.base),
            "arms": {name: dict(keys) for name, keys in self.arms.items()},
            "control": self.control,
            "seeds": list(self.seeds),
            "test": dict(self.test),
            **({} if self.tune is None else {"tune": dict(self.tune)}),
        }

    def yaml_text(self) -> str:
        """Return the study as a YAML that `read_study` reads."""
        return yaml.safe_dump(self.to_dict(), allow_unicode=True, sort_keys=False, width=120)


def read_study(name: str | Path) -> Study:
    """Read a study and check it, each key of each run and every file it names included.

    Raises:
        UserError: what is wrong, with file and line.
    """
    file = find_study(name).absolute()
    document = read_yaml(file, ConfigError)
    return _Reader(file, document).study()


class _Reader:
    """Checks a study's parts; messages name the line."""

    def __init__(self, file: Path, document: Document) -> None:
        self.file, self.document = file, document

    def where(self, *path: str) -> str:
        """File and line of a value, as deep as the path leads."""
        return f"{self.file}, line {self.document.line_of(*path)}"

    def error(self, what: str, *path: str, hint: str = "") -> ConfigError:
        return ConfigError(what, self.where(*path), hint)

    def study(self) -> Study:
        data = self.document.data
        if not isinstance(data, dict):
            raise ConfigError("a study is a mapping of keys to values", str(self.file), f"keys: {', '.join(KEYS)}")
        for key in data:
            if key not in KEYS:
                hint = nearest(str(key), KEYS) or f"a study has the keys {', '.join(KEYS)}"
                if str(key) in KNOBS:
                    hint = f"keys of all runs stand under base, those of an arm under arms: base: {{{key}: …}}"
                raise self.error(f"unknown key {str(key)!r}", str(key), hint=hint)
        base = self.keys(data.get("base"), "base")
        arms = self.arms(data.get("arms"))
        study = Study(
            file=self.file,
            name=self.name(data.get("name")),
            base=base,
            arms=arms,
            control=self.control(data.get("control"), arms),
            seeds=self.seeds(data.get("seeds", 1)),
            test=self.keys(data.get("test"), "test"),
        )
        study = replace(study, tune=self.tune(data["tune"], study)) if data.get("tune") is not None else study
        self.check_runs(study)
        return study

    def name(self, value: Any) -> str:
        name = self.file.stem if value is None else str(value)
        if safe_name(name) != name:
            raise self.error(f"name: {name!r} cannot be a folder's name", "name", hint=f"such as {safe_name(name)}")
        return name

    def arms(self, value: Any) -> dict[str, dict[str, Any]]:
        if not isinstance(value, dict) or not value:
            raise self.error("arms must be a mapping: name → keys", "arms", hint="such as plain: {model: yolov8n.yaml}")
        arms: dict[str, dict[str, Any]] = {}
        for name, keys in value.items():
            arm = str(name)
            if safe_name(arm) != arm:
                raise self.error(f"{arm!r} cannot be a folder's name", "arms", arm, hint=f"such as {safe_name(arm)}")
            same = next((a for a in arms if name_key(a) == name_key(arm)), None)
            if same is not None:
                raise self.error(f"the arms {same!r} and {arm!r} would share a folder", "arms", arm, hint="rename one")
            arms[arm] = self.keys(keys, "arms", arm)
        return arms

    def control(self, value: Any, arms: Mapping[str, Any]) -> str:
        control = next(iter(arms)) if value is None else str(value)
        if control not in arms:
            hint = nearest(control, arms) or f"the arms are {', '.join(arms)}"
            raise self.error(f"control: no arm is called {control!r}", "control", hint=hint)
        return control

    def seeds(self, value: Any) -> list[int]:
        try:
            return read_seeds(value)
        except ConfigError as e:
            raise self.error(e.what, "seeds", hint=e.hint) from None

    def tune(self, value: Any, study: Study) -> dict[str, Any]:
        """Options of the tune of each arm. Its seeds are others than those of the runs, for which it would be an
        advantage to have been chosen by."""
        if not isinstance(value, dict):
            raise self.error("tune must be a mapping of options", "tune", hint="such as tune: {trials: 30}")
        options = read_options(value, lambda *path: self.where("tune", *path), self.file_of, max(study.seeds) + 1)
        both = sorted(set(options.seeds) & set(study.seeds))
        if both:
            hint = "leave seed out, and seeds a number"
            raise self.error(f"seed {both[0]} is one of the runs: it would be tuned on", "tune", hint=hint)
        if "model" in options.space:
            raise self.error("the space has model, by which the arms differ", "tune", "space", hint="leave it out")
        return options.to_data()

    def keys(self, value: Any, *place: str) -> dict[str, Any]:
        """Keys of the configuration, each by itself of the right kind; paths resolved."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error(f"{place[-1]} must be a mapping of keys to values", *place)
        testing = place == ("test",)
        own, mode = OWN | (OWN_TEST if testing else {}), "val" if testing else "train"
        config, found = Config(), dict[str, Any]()
        for key, given in value.items():
            key = str(key)
            try:
                if key in own:
                    raise ConfigError(f"{key} is not a key of a study's runs", hint=own[key])
                if key == "cfg" and not testing:
                    if not isinstance(given, str):
                        raise ConfigError(f"cfg={given} must be a file", hint="such as cfg: small.yaml")
                    found[key] = self.file_of(key, given)
                    continue
                if key not in KNOBS and not asks_nothing(key, given):
                    raise unknown_key(key)
                if key in KNOBS and mode not in KNOBS[key].modes:
                    modes = " and ".join(KNOBS[key].modes)
                    raise ConfigError(f"{key} is a key of {modes}, not of {mode}", hint="leave it out")
                if isinstance(given, str) and key in KNOBS and KNOBS[key].kind in ("int", "float", "fraction"):
                    given = parse_word(key, given)  # YAML reads 1e-3 as text
                known = self.file_of(key, given)
                config.set(key, known, "argument")
            except UserError as e:
                named = not e.where or str(given) in e.what
                raise type(e)(
                    e.what if named else f"{key}={given}: {e.what}", self.where(*place, key), e.hint
                ) from None
            found[key] = known
        return found

    def file_of(self, key: str, value: Any) -> Any:
        """Return a value with the paths in it in full, as far as files lie beside the YAML or in the working folder.

        Raises:
            MissingFileError: there is no such file.
        """
        if isinstance(value, list):
            return [self.file_of(key, v) for v in value]
        if not isinstance(value, str) or key in ("imgsz", "name"):
            return value
        given = user_path(value)
        beside = [path for path in (self.file.parent / given, Path.cwd() / given) if key == "data" and path.is_dir()]
        if beside:  # class folders
            return str(beside[0])
        if not Path(value).suffix:
            return value
        for path in (self.file.parent / given, Path.cwd() / given):
            if self.is_there(key, path):
                return str(path)
        if key == "model" and given.suffix in (".yaml", ".yml"):
            find_model_yaml(given)
        elif key == "data":
            find_data_yaml(given)
        elif key == "cfg":
            find_recipe(given)
        elif key == "space":
            find_space(given)
        elif given.suffix in (".pt", ".py", ".yaml", ".yml"):
            kind = "weights file" if given.suffix == ".pt" else "file"
            folders = " and ".join(dict.fromkeys(map(str, (self.file.parent, Path.cwd()))))
            raise missing(kind, given, f"looked for in {folders}; nothing is downloaded")
        return value

    @staticmethod
    def is_there(key: str, path: Path) -> bool:
        if key != "model" or path.suffix not in (".yaml", ".yml"):
            return path.is_file()
        try:
            find_model_yaml(path)  # a scale letter may be in the name
        except MissingFileError:
            return False
        return True

    def check_runs(self, study: Study) -> None:
        """Resolve a run of each arm, its recipe included."""
        for arm in study.arms:
            try:
                keys = study.run(arm, study.seeds[0]).keys
            except UserError as e:
                raise type(e)(e.what, e.where or self.where("arms", arm), e.hint) from None
            for key, hint in (("model", "model: yolov8n.yaml"), ("data", "data: data/mine/data.yaml")):
                if not keys.get(key):
                    message = f"the arm {arm!r} has no {key}, and base has none"
                    raise self.error(message, "arms", arm, hint=f"such as {hint}")
