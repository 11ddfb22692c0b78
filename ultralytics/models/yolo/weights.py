"""Networks out of weights files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics.cfg.model import load_model_spec
from ultralytics.cfg.paths import find_model_yaml
from ultralytics.cfg.words import split_names
from ultralytics.engine.formats.table import format_of, open_exported
from ultralytics.engine.ranks.device import select_device
from ultralytics.engine.weights.checkpoint import Checkpoint, load_checkpoint
from ultralytics.nn.backend import backend_of
from ultralytics.nn.several import EnsembleBackend, Several
from ultralytics.nn.tasks import DetectionModel, network_of
from ultralytics.utils.errors import CheckpointError, ConfigError, ModelError, UserError
from ultralytics.utils.files import user_path
from ultralytics.utils.log import LOGGER
from ultralytics.utils.output_path import target_file
from ultralytics.utils.yaml import read_yaml


def new_weights_file(out: str | Path, overwrite: bool) -> Path:
    """Return the path of a weights file that a command is to write.

    Raises:
        ConfigError: its name is not that of a weights file, or it is there, and may not be replaced.
    """
    if user_path(out).suffix != ".pt":
        raise ConfigError(f"out={out} is not a weights file", hint="give it the ending .pt")
    return target_file(out, overwrite, "a weights file", needs_folder=False)


@contextlib.contextmanager
def naming_plugins(checkpoint: Checkpoint) -> Iterator[None]:
    """Name a file's plugins where its network cannot be built because they are not loaded.

    Raises:
        ModelError: it cannot be built.
    """
    try:
        yield
    except ModelError as e:
        if checkpoint.plugins and "unknown module" in e.what:
            files = ",".join(dict.fromkeys(checkpoint.plugins))
            hint = f"it was trained with plugins; if you trust them: plugins=[{files}]"
            raise ModelError(e.what, str(checkpoint.path), hint) from None
        raise


def model_of(checkpoint: Checkpoint) -> DetectionModel:
    """Return the network of a weights file, without its weights.

    Raises:
        ModelError: it cannot be built; where the file was trained with plugins that are not loaded, they are named.
    """
    with naming_plugins(checkpoint):
        return network_of(load_model_spec(checkpoint.spec))(checkpoint.spec, verbose=False)


def load_trained(path: str | Path, device: torch.device | None = None) -> tuple[DetectionModel, Checkpoint]:
    """Return the model of a weights file, ready to evaluate, and the file's content.

    Raises:
        CheckpointError: a file of this project that does not fill its network; one of the reference's only gets a
            warning.
    """
    checkpoint = load_checkpoint(path)
    model = model_of(checkpoint)
    report = model.load(checkpoint.weights, checkpoint.spec)
    unmatched = len(report.mismatched) + len(report.new) + len(report.unused) + len(report.other_classes)
    if unmatched and checkpoint.source == "own":
        raise CheckpointError(
            f"the tensors do not match the network of the file: {len(report.loaded)} of {len(model.state_dict())} fit",
            str(path),
            "the file was saved fused or by other code; use an earlier copy",
        )
    if report.mismatched or report.new:
        for line in report.lines():
            LOGGER.warning(line)
    model.names = checkpoint.names or model.names
    return model.to(device) if device is not None else model, checkpoint


def head_of(model: str) -> str:
    """Return the module of the last row of a model YAML; "" where it has none: building it says what is wrong."""
    data = read_yaml(find_model_yaml(model)[0], ModelError).data
    rows = data.get("head") if isinstance(data, dict) else None
    last = rows[-1] if isinstance(rows, list) and rows else None
    return str(last[2]) if isinstance(last, list) and len(last) > 2 else ""


def listed(model: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the files that a model is made of: of a list, or of the text "[a.pt,b.pt]", each.

    Raises:
        ConfigError: the list is empty.
    """
    if isinstance(model, str | Path):
        text = str(model).strip()
        if not (text.startswith("[") and text.endswith("]")) or user_path(text).exists():
            return [str(model)]
        model = split_names(text)
    if not model:
        raise ConfigError("model=[] names no network", hint="give one file, or several as [a.pt,b.pt]")
    return [str(file) for file in model]


def network(model: str | Path | Sequence[str | Path]) -> Any:
    """Return the model of a weights file or YAML, or what runs an exported file; of several files an ensemble."""
    files = listed(model)
    if len(files) > 1:
        return EnsembleBackend([network(file) for file in files])
    model = files[0]
    if format_of(model) is not None:
        return open_exported(model)
    if str(model).endswith(".pt"):
        return load_trained(model)[0]
    return network_of(head_of(str(model)))(str(model), verbose=False)


def reopened(net: Any, device: torch.device) -> Any:
    """Return a network with its exported files opened for a device, where their runtimes can."""
    if isinstance(net, EnsembleBackend):
        return net.each(lambda one: reopened(one, device))
    return net if isinstance(net, nn.Module) else open_exported(net.path, device)


class AutoBackend:
    """Under the reference's name: runs a network, a weights file or an exported file, whichever it is given.

    Args:
        weights: the network, or the file; several files are an ensemble.
        device: to run on.
        fp16: fp16 weights of a network (CUDA only).
        dnn, data, batch, fuse, verbose: of the reference, not used: names are in every file, and networks are fused.

    Attributes:
        model: the Backend; names, nc, stride, task, device: of it.
        fp16: it takes images in fp16.
    """

    def __init__(
        self,
        weights: str | Path | Sequence[str | Path] | nn.Module = "yolov8n.pt",
        device: Any = None,
        dnn: bool = False,
        data: Any = None,
        fp16: bool = False,
        batch: int = 1,
        fuse: bool = True,
        verbose: bool = True,
    ) -> None:
        chosen = None if device is None else select_device(device, quiet=True)
        found: Any = weights if isinstance(weights, nn.Module) else network(weights)
        found = found if chosen is None else reopened(found, chosen)
        self.model = backend_of(found, chosen, fp16)
        self.names, self.nc, self.stride = self.model.names, self.model.nc, self.model.stride
        file = getattr(self.model, "metadata", None)
        self.task = file.task if file is not None else getattr(getattr(self.model, "model", None), "task", "detect")
        self.device, self.fp16 = self.model.device, self.model.dtype == torch.float16

    def __call__(self, im: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Return the head's output in evaluation for images (B, 3, H, W), RGB 0..1."""
        found = self.model(im.to(self.model.device, self.model.dtype))
        if isinstance(found, Several) and found.open:  # an ensemble, whose anchors the reference puts together
            return torch.cat([y for y, _ in found.outputs], 2), None
        return found

    def warmup(self, imgsz: tuple[int, int, int, int] = (1, 3, 640, 640)) -> None:
        """Run once on nothing."""
        self(torch.zeros(imgsz))


# Under the reference's names, in nn.tasks


def attempt_load_one_weight(
    weight: str | Path, device: Any = None, inplace: bool = True, fuse: bool = False
) -> tuple[DetectionModel, dict[str, Any]]:
    """Return the model of a weights file of either kind, fp32 in evaluation mode, and the file's content; no code
    of the file is run.

    Args:
        device: to put it on; inplace: of the reference, not used; fuse: fold the batch norms.
    """
    model, checkpoint = load_trained(weight, None if device is None else select_device(device, quiet=True))
    model.inplace, model.pt_path = inplace, str(weight)  # type: ignore[assignment]  # the reference's
    model.args = dict(checkpoint.train_args)
    model.float().eval().requires_grad_(False)
    return model.fuse() if fuse else model, _reference_content(model, checkpoint)


def attempt_load_weights(
    weights: str | Path | Sequence[str | Path], device: Any = None, inplace: bool = True, fuse: bool = False
) -> Any:
    """Return the model of a weights file, see `attempt_load_one_weight`; of several an `Ensemble`.

    Raises:
        ConfigError: those of an ensemble have other classes than the first.
    """
    models = [attempt_load_one_weight(file, device, inplace, fuse)[0] for file in listed(weights)]
    if len(models) == 1:
        return models[0]
    EnsembleBackend(models)  # refuses what cannot be joined
    return Ensemble(models)


def torch_safe_load(weight: str | Path, safe_only: bool = False) -> tuple[dict[str, Any], str]:
    """Return a weights file's content with its model under "model", and its path. Every load here is safe."""
    model, checkpoint = load_trained(weight)
    return _reference_content(model, checkpoint), str(weight)


def _reference_content(model: DetectionModel, checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as the reference's scripts know it."""
    return checkpoint.content() | {"model": model, "ema": None, "updates": None, "optimizer": None}


def yaml_model_load(path: str | Path) -> dict[str, Any]:
    """Return a model YAML's content, with the scale that its name says."""
    return load_model_spec(path).to_dict()


def guess_model_scale(model_path: str | Path) -> str:
    """Return the scale letter in a model YAML's name: "n" of yolov8n.yaml; "" without one."""
    found = re.search(r"yolov\d+([nslmx])", Path(model_path).stem)
    return found[1] if found else ""


def guess_model_task(model: Any) -> str:
    """Return the task of a network, or of a model by its YAML, file or name; "detect" where nothing says."""
    if isinstance(model, nn.Module):
        return str(getattr(model, "task", "detect"))
    if isinstance(model, Mapping):
        rows = model.get("head")
        last = rows[-1] if isinstance(rows, list) and rows else None
        return network_of(str(last[2])).task if isinstance(last, list) and len(last) > 2 else "detect"
    file = Path(str(model))
    if file.suffix == ".pt" and user_path(file).is_file():
        return network_of(load_model_spec(load_checkpoint(file).spec)).task
    for name in (file, file.with_suffix(".yaml").name):  # weights are called as the model YAML that they are of
        with contextlib.suppress(UserError, ValueError):
            return network_of(head_of(str(name))).task
    return "detect"


class Ensemble(nn.ModuleList):
    """Several networks whose anchors are put into one output, under the reference's name; `YOLO([a.pt, b.pt])` predicts
    and validates with an ensemble, and joins the boxes of each.

    Attributes:
        names, nc: of the first; stride: the largest.
    """

    def __init__(self, models: Sequence[nn.Module] = ()) -> None:
        super().__init__(models)

    @property
    def names(self) -> dict[int, str]:
        """Class names by id."""
        first: Any = self[0]
        return first.names  # type: ignore[no-any-return]  # a DetectionModel's

    @property
    def nc(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def stride(self) -> torch.Tensor:
        """Strides of the network with the largest."""
        strides: list[torch.Tensor] = [m.stride for m in self]  # type: ignore[misc]  # of DetectionModels
        return max(strides, key=lambda stride: float(stride.max()))

    def forward(
        self, x: torch.Tensor, augment: bool = False, profile: bool = False, visualize: bool = False
    ) -> tuple[torch.Tensor, None]:
        """Return the output (B, 4 + nc, A) with the anchors of all networks."""
        networks: list[Any] = list(self)
        outputs: list[torch.Tensor] = [m(x, profile, visualize, augment)[0] for m in networks]
        return torch.cat(outputs, 2), None
