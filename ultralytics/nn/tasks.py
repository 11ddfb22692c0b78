"""`DetectionModel`: the rows of a model YAML as a network. `nn/parsing.py` builds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.cfg.model import ModelSpec, load_model_spec
from ultralytics.nn.first_pass import STRIDE_PROBE, first_pass
from ultralytics.nn.modules import Conv, ConvTranspose, RepConv, RepVGGDW
from ultralytics.nn.modules.classify import Classify as Classify  # where scripts look for it
from ultralytics.nn.modules.head import is_head, raw_maps

# Tutorials for YOLOv8 have an `elif m is MyModule:` added to parse_model. There is no such chain and nothing to add:
#   1. paste the class into ultralytics/nn/modules/X.py and import it at the top of this file; or
#   2. leave the tree alone, and name the file with the class in the model YAML: `plugins: [x.py]`.
# Either way the YAML may then use it by its name; `@register(rule)` above the class (nn/registry.py) is needed
# only where its arguments can be read in two ways, and the error says so.
from ultralytics.nn.parsing import parse_model
from ultralytics.nn.plugins import load_plugins
from ultralytics.nn.recompute import recomputed
from ultralytics.nn.several import passes
from ultralytics.nn.summary import PROBE, explain, summarise
from ultralytics.nn.transfer import Network, TransferReport, transfer
from ultralytics.utils.annotate import feature_visualization
from ultralytics.utils.classification import v8ClassificationLoss
from ultralytics.utils.errors import ModelError, UserError
from ultralytics.utils.lazy import later
from ultralytics.utils.log import LOGGER
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.task_loss import v8OBBLoss, v8PoseLoss, v8SegmentationLoss
from ultralytics.utils.text import counted
from ultralytics.utils.threads import one_thread
from ultralytics.utils.types import Batch

__all__ = [
    "BaseModel",
    "ClassificationModel",
    "DetectionModel",
    "OBBModel",
    "PoseModel",
    "SegmentationModel",
    "parse_model",
]

FOLDED = (Conv, ConvTranspose, RepConv, RepVGGDW)  # what `fuse` makes simpler
# What scripts for the reference import from here too.
_MODULES = """AConv ADown AIFI Bottleneck BottleneckCSP C1 C2 C2f C2fAttn C2fCIB C3 C3Ghost C3TR C3x CBFuse CBLinear
Concat Conv2 ConvTranspose DWConv DWConvTranspose2d Detect ELAN1 Focus GhostBottleneck GhostConv HGBlock HGStem
ImagePoolingAttn OBB PSA Pose RTDETRDecoder RepC3 RepConv RepNCSPELAN4 RepVGGDW ResNetLayer SCDown SPP SPPELAN SPPF
Segment WorldDetect v10Detect"""
_TORCH_UTILS = """fuse_conv_and_bn fuse_deconv_and_bn initialize_weights intersect_dicts model_info scale_img
time_sync"""
_LOADING = """Ensemble attempt_load_one_weight attempt_load_weights guess_model_scale guess_model_task torch_safe_load
yaml_model_load"""
_LOSSES = """E2EDetectLoss v8DetectionLoss v8OBBLoss v8PoseLoss v8SegmentationLoss"""
_OTHER_TASKS = """RTDETRDetectionModel WorldModel"""
__getattr__ = later(
    __name__,
    {
        **{name: f"ultralytics.nn.modules:{name}" for name in _MODULES.split()},
        **{name: f"ultralytics.utils.torch_utils:{name}" for name in _TORCH_UTILS.split()},
        **{name: f"ultralytics.utils.loss:{name}" for name in _LOSSES.split()},
        **{name: f"ultralytics.models.yolo.weights:{name}" for name in _LOADING.split()},
        **{name: f"ultralytics.utils.checks:{name}" for name in ("check_requirements", "check_suffix", "check_yaml")},
        **{name: f"ultralytics.utils:{name}" for name in ("colorstr", "emojis", "yaml_load")},
        **{name: f"ultralytics.cfg.reference:{name}" for name in ("DEFAULT_CFG_DICT", "DEFAULT_CFG_KEYS")},
        "make_divisible": "ultralytics.utils.ops:make_divisible",
    },
    {
        **dict.fromkeys(_OTHER_TASKS.split(), "its kind of network is not offered: DetectionModel"),
        **dict.fromkeys(("SafeClass", "SafeUnpickler", "temporary_modules"), "no pickle is run: torch_safe_load"),
    },
)


def _check_raw(raw: Any, head: Any, where: str) -> None:
    """Check that a head gives in training what the loss reads."""
    wanted = 4 * head.reg_max + head.nc
    if not isinstance(raw, list | tuple) or not raw or not all(isinstance(m, Tensor) and m.dim() == 4 for m in raw):
        raise ModelError("a head in training gives a list of maps, one per level", where)
    found = [int(m.shape[1]) for m in raw]
    if found != [wanted] * len(found):
        reason = f"its raw maps have {found} channels, and the loss reads 4·reg_max + nc = {wanted}"
        raise ModelError(reason, where, "boxes in 4·reg_max channels, then a channel per class")


def _contiguous(source: Any) -> Any:
    return [m.contiguous() for m in source] if isinstance(source, list) else source.contiguous()


def _refusal(spec: ModelSpec, number: int, x: Tensor, error: Exception) -> ModelError:
    """Return the error for a row that does not take an image of this shape."""
    row = spec.rows[number]
    reason = (str(error).splitlines() or [""])[0]
    return ModelError(
        f"it fails on images of {x.shape[2]}×{x.shape[3]} pixels: {type(error).__name__}: {reason}",
        row.where or f"row {number} ({row.module})",
        "make it independent of H and W, or keep to a shape it takes: square images in predict, "
        "rect_val=False in val; `check` tries the shapes of a run",
    )


class DetectionModel(nn.Module):  # size: what scripts for the reference call is here too
    """A detector built from a model YAML.

    A tensor (B, ch, H, W), RGB 0..1, with H and W multiples of the largest stride, goes in. In training the raw maps
    come out, in evaluation `(y, raw)`: see `Detect`.

    Args:
        cfg: a YAML's path or bundled name (the letter in "yolov8n-fla.yaml" is the scale), its content, or a ModelSpec.
        ch: input channels, instead of the YAML's.
        nc: classes, instead of the YAML's.
        verbose: print the rows while building.
        scale: the scale letter, for any file name.
        kpt_shape: keypoints of an object and numbers of each, instead of the YAML's; a network without keypoints leaves
            it alone.

    Attributes:
        task: what it is trained for.
        model: the rows.
        save: numbers of the rows that later ones read.
        checkpoint_rows: numbers of the rows that a training pass computes again in its backward pass.
        stride: (levels,) input pixels per cell of each of the head's maps.
        names: class names by id.
        yaml: the spec as plain data.
        norms: eps and momentum of batch norms; imgsz: side of an image where none is named, pixels.
    """

    task = "detect"
    whole_image = False  # it gives a class for each image, no places in it
    norms = (1e-3, 0.03)
    imgsz = 640

    def __init__(
        self,
        cfg: str | Path | dict[str, Any] | ModelSpec = "yolov8n.yaml",
        ch: int | None = None,
        nc: int | None = None,
        verbose: bool = True,
        scale: str | None = None,
        kpt_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.spec = load_model_spec(cfg, scale, nc, ch, kpt_shape)
        load_plugins(self.spec.plugins)
        self.model, self.save = parse_model(self.spec, verbose=verbose)
        for module in self.modules():  # as the reference, those of pasted classes too
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = self.norms
        self.names: dict[int, str] = {i: str(i) for i in range(self.spec.nc)}
        self.args: Any = {}  # a mapping or a Config: the gains of the loss
        self.checkpoint_rows: frozenset[int] = frozenset()
        self.names_rows = False  # in validation and prediction a row that fails is named
        self.criterion: Any = None
        self.inplace = True
        self.stride = self._init_head()
        self.end2end = bool(getattr(self.head, "end2end", False))
        if verbose:
            self.info()

    @property
    def yaml(self) -> dict[str, Any]:
        """The spec as plain data."""
        return self.spec.to_dict()

    @property
    def nc(self) -> int:
        """Classes."""
        return self.spec.nc

    @nc.setter
    def nc(self, nc: int) -> None:
        if nc != self.spec.nc:
            raise ModelError(f"it has {counted(self.spec.nc, 'class')}, and not {nc}", hint=f"build it with nc={nc}")

    @property
    def head(self) -> Any:
        """The last row: Detect, or a head of the user's own with `nc`, `reg_max`, `stride` and raw maps in training."""
        head = self.model[-1]
        if not is_head(head):
            rows = self.spec.rows
            raise ModelError(
                "the last row must be Detect or another head",
                rows[-1].where or f"row {len(rows) - 1}",
                "a head of your own is built as (nc, …, ch) and has the attributes nc, reg_max and stride",
            )
        return head

    @torch.no_grad()
    @one_thread()
    def _init_head(self) -> Tensor:
        """Measure the strides with a forward pass that leaves batch norms as they are,
        and set the head's first bias."""
        head, training = self.head, self.training
        self.eval()
        head.training = True  # the flag of the head alone: raw maps come out, no statistics move
        branches = raw_maps(first_pass(self))
        where = self.spec.rows[-1].where or f"row {len(self.spec.rows) - 1}"
        for raw in branches:
            _check_raw(raw, head, where)
        head.stride = torch.tensor([STRIDE_PROBE / m.shape[-2] for m in branches[0]])
        if hasattr(head, "bias_init"):
            try:
                head.bias_init()
            except Exception as e:  # of a subclass whose branches are other ones
                reason = f"its bias_init fails: {type(e).__name__}: {(str(e).splitlines() or [''])[0]}"
                raise ModelError(reason, where, "write a bias_init of its own, or one that does nothing") from None
        self.train(training)
        return head.stride  # type: ignore[no-any-return]  # a tensor, as just set

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute the output for images; for a batch with its labels, a mapping, the loss: see `predict` and `loss`."""
        is_batch = isinstance(x, Mapping)
        return self.loss(x, *args, **kwargs) if is_batch else self.predict(x, *args, **kwargs)

    def loss(self, batch: Batch, preds: Any = None) -> tuple[Tensor, Tensor]:
        """The loss to differentiate and its parts (box, cls, dfl) of a batch: `img` (B, 3, H, W) RGB 0..1, `batch_idx`
        (M,), `cls` (M,), `bboxes` (M, 4) xywh 0..1. `preds` is the model's output for it, where it is known."""
        if self.criterion is None:
            self.criterion = self.init_criterion()
        loss, parts = self.criterion(self.predict(batch["img"]) if preds is None else preds, batch)
        return loss, parts

    def init_criterion(self) -> Any:
        """Return the criterion to train with: outputs and batch → the loss to differentiate, and its parts."""
        return v8DetectionLoss(self)

    def predict(
        self, x: Tensor, profile: bool = False, visualize: Any = False, augment: bool = False, embed: Any = None
    ) -> Any:
        """Compute the output for images (B, ch, H, W); with `augment`, in evaluation, that of `nn.several.passes`.

        Args:
            visualize: a folder, into which the maps of every row are written, those of the first image.
            embed: numbers of rows; the averages of their channels, one vector per image, are returned instead.

        Raises:
            ModelError: one of the other arguments, which belong to what is not offered, is given.
        """
        if profile:
            raise ModelError("predict(profile=True) is not offered", hint="scripts/benchmark.sh measures times")
        if visualize is True:
            raise ModelError("visualize=True names no folder", hint="give the folder to write the maps into")
        if augment and int(getattr(self.head, "extra", 0)) > 0:
            LOGGER.warning("augment=True: of %s the passes cannot be joined, so there is one", type(self.head).__name__)
            augment = False
        if augment and not self.training and embed is None and not visualize:
            found = [y for y, _ in passes(self._predict_once, x, int(self.stride.max()))]
            return torch.cat(found, 1 if self.end2end else 2), None
        return self._predict_once(x, profile, visualize, embed)

    def _predict_once(self, x: Tensor, profile: bool = False, visualize: Any = False, embed: Any = None) -> Any:
        """Run the rows, see `predict`; outputs are kept only where a later row reads them."""
        kept: dict[int, Tensor] = {}
        vectors: list[Tensor] = []
        out: Any = x
        again = self.checkpoint_rows if self.training and torch.is_grad_enabled() else ()
        for layer in self.model:
            if isinstance(layer.f, int):
                source = out if layer.f == -1 else kept[layer.f]
            else:
                source = [out if f == -1 else kept[f % layer.i] for f in layer.f]  # type: ignore[union-attr]  # a row's attribute
            try:
                source = _contiguous(source) if layer.contiguous else source
                out = recomputed(layer, source) if layer.i in again else layer(source)
            except Exception as e:
                if not self.names_rows or isinstance(e, UserError) or "out of memory" in str(e):
                    raise
                raise _refusal(self.spec, layer.i, x, e) from e  # type: ignore[arg-type]  # a row's attribute
            if layer.i in self.save:
                kept[layer.i] = out  # type: ignore[index]  # a row's attribute
            if visualize:
                feature_visualization(out, type(layer).__name__, layer.i, save_dir=visualize)  # type: ignore[arg-type]  # a row's attribute
            if embed and layer.i in embed:
                vectors.append(out.mean((2, 3)))
                if layer.i == max(embed):
                    return torch.cat(vectors, 1).unbind(0)
        return out

    def _apply(self, fn: Any, recurse: bool = True) -> DetectionModel:
        """As torch's; the weights of rows that take contiguous maps alone stay contiguous, or their convolutions would
        hand on channels-last ones."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's own
        head: Any = self.model[-1]
        if getattr(head, "shape", None) is not None:
            head.shape = None  # grids that a head keeps are on the old device: the next pass makes new ones
        for layer in self.model:
            if layer.contiguous:
                for parameter in layer.parameters():
                    # A 1×1 kernel counts as contiguous either way, and its strides decide what comes out.
                    parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        return self

    def fuse(self, verbose: bool = False) -> DetectionModel:
        """Fold every batch norm into its convolution, and branches that are one convolution, in place, for inference.
        Copy the model first to go on training it."""
        for module in self.modules():
            if isinstance(module, FOLDED):
                module.fuse()
        if verbose:
            self.info()
        return self

    def is_fused(self, thresh: int = 0) -> bool:
        """Return True if no convolution has a batch norm left; `thresh` is the reference's, which counts norms."""
        return not any(isinstance(m, Conv | ConvTranspose) and isinstance(m.bn, nn.BatchNorm2d) for m in self.modules())

    def info(self, detailed: bool = False, verbose: bool = True, imgsz: int | None = None) -> dict[str, float]:
        """Log and return layers, parameters, gradients and GFLOPs at `imgsz`, counted as the reference does; `detailed`
        logs the rows too, and without `verbose` nothing is logged. `imgsz`: the network's own where None."""
        imgsz = imgsz or self.imgsz
        totals = summarise(self, imgsz)
        if not verbose:
            return totals
        if detailed:
            for line in explain(self, imgsz).lines():
                LOGGER.info(line)
        stem = Path(self.spec.yaml_file).stem or "model"
        LOGGER.info(
            "%s summary%s: %s layers, %s parameters, %s gradients, %s",
            stem.replace("yolo", "YOLO") + (f" (scale {self.spec.scale})" if self.spec.scale else ""),
            " (fused)" if self.is_fused() else "",
            *(f"{int(totals[k]):,}" for k in ("layers", "parameters", "gradients")),
            f"GFLOPs left out (it takes neither {PROBE} nor {imgsz} pixels)"
            if math.isnan(totals["gflops"])
            else f"{totals['gflops']:.1f} GFLOPs",
        )
        return totals

    def load(
        self,
        weights: Any,
        spec: ModelSpec | dict[str, Any] | bool | None = None,
        names: Mapping[int, str] | None = None,
        by_name: bool = False,
        verbose: bool = False,
    ) -> TransferReport:
        """Copy another network's tensors to where its rows are here; the report says how many, and what did not fit.

        Args:
            weights: a model, a Checkpoint or a state dict.
            spec: its rows; a DetectionModel and a Checkpoint have theirs.
            names: its class names; as above.
            by_name: match by row number and shape instead, as the reference does.
            verbose: log the report.
        """
        if isinstance(weights, Mapping) and isinstance(weights.get("model"), nn.Module):
            weights = weights["model"]  # a checkpoint as the reference's custom trainers hand it on
        if isinstance(spec, bool):
            verbose, spec = spec, None  # the reference's second argument
        if isinstance(weights, Mapping):
            state: Mapping[str, Tensor] = weights
        else:
            state = weights.state_dict()
            spec, names = spec or getattr(weights, "spec", None), names or getattr(weights, "names", None)
        if isinstance(spec, dict):
            spec = ModelSpec.from_dict(spec)
        source = Network(state, names=names or {})
        if spec is not None:
            source = Network(state, spec.rows, spec.width, names or {i: str(i) for i in range(spec.nc)})
        target = Network(self.state_dict(), self.spec.rows, self.spec.width, self.names)
        tensors, report = transfer(target, source, by_name)
        self.load_state_dict(tensors, strict=False)
        for line in report.lines() if verbose else ():
            LOGGER.info(line)
        return report


class ClassificationModel(DetectionModel):
    """A classifier built from a model YAML whose last row is `Classify`: logits (B, nc) come out in training, and
    probabilities in evaluation. Args and attributes as of `DetectionModel`; images of any size are taken."""

    task = "classify"
    whole_image = True
    norms = (1e-5, 0.1)
    imgsz = 224

    @torch.no_grad()
    @one_thread()
    def _init_head(self) -> Tensor:
        """Pass an image through; there are no strides to measure."""
        training = self.training
        self.eval()
        first_pass(self)
        self.train(training)
        stride: Tensor = self.head.stride
        return stride

    def init_criterion(self) -> Any:
        """Return cross entropy."""
        return v8ClassificationLoss()

    def predict(
        self, x: Tensor, profile: bool = False, visualize: Any = False, augment: bool = False, embed: Any = None
    ) -> Any:
        """Compute the output for images (B, ch, H, W), see `DetectionModel.predict`; `augment` looks once too."""
        return super().predict(x, profile, visualize, False, embed)


BaseModel = DetectionModel


class SegmentationModel(DetectionModel):
    """A network that finds objects and their masks, see `Segment`."""

    task = "segment"

    def __init__(
        self, cfg: str | Path | dict[str, Any] | ModelSpec = "yolov8n-seg.yaml", *args: Any, **kwargs: Any
    ) -> None:
        """As `DetectionModel`."""
        super().__init__(cfg, *args, **kwargs)

    def init_criterion(self) -> Any:
        """As `DetectionModel`'s."""
        return v8SegmentationLoss(self)


class PoseModel(DetectionModel):
    """A network that finds objects and their keypoints, see `Pose`."""

    task = "pose"

    def __init__(
        self,
        cfg: str | Path | dict[str, Any] | ModelSpec = "yolov8n-pose.yaml",
        ch: int | None = None,
        nc: int | None = None,
        data_kpt_shape: Sequence[int | None] = (None, None),
        verbose: bool = True,
        scale: str | None = None,
        kpt_shape: Sequence[int] | None = None,
    ) -> None:
        """As `DetectionModel`; `data_kpt_shape` is the reference's name of `kpt_shape`."""
        if kpt_shape is None and any(data_kpt_shape):
            kpt_shape = [n or 0 for n in data_kpt_shape]
        super().__init__(cfg, ch, nc, verbose, scale, kpt_shape)

    def init_criterion(self) -> Any:
        """As `DetectionModel`'s."""
        return v8PoseLoss(self)

    @property
    def kpt_shape(self) -> tuple[int, int]:
        """Keypoints of an object, and numbers of each: 2 or 3."""
        count, numbers = self.head.kpt_shape
        return int(count), int(numbers)

    @kpt_shape.setter
    def kpt_shape(self, shape: Sequence[int]) -> None:
        if tuple(shape) != self.kpt_shape:
            message = f"its kpt_shape is {list(self.kpt_shape)}, and not {list(shape)}"
            raise ModelError(message, hint=f"build it with kpt_shape={list(shape)}")


class OBBModel(DetectionModel):
    """A network that finds rotated boxes, see `OBB`."""

    task = "obb"

    def __init__(
        self, cfg: str | Path | dict[str, Any] | ModelSpec = "yolov8n-obb.yaml", *args: Any, **kwargs: Any
    ) -> None:
        """As `DetectionModel`."""
        super().__init__(cfg, *args, **kwargs)

    def init_criterion(self) -> Any:
        """As `DetectionModel`'s."""
        return v8OBBLoss(self)


# By the class of the last row.
NETWORKS: dict[str, type[DetectionModel]] = {
    "Classify": ClassificationModel,
    "Detect": DetectionModel,
    "Segment": SegmentationModel,
    "Pose": PoseModel,
    "OBB": OBBModel,
}


def network_of(model: ModelSpec | str) -> type[DetectionModel]:
    """Return the class of network that a spec, or the name of its head, asks for; a head of the user's own detects."""
    head = model if isinstance(model, str) else model.rows[-1].module
    return NETWORKS.get(head.rpartition(".")[2], DetectionModel)
