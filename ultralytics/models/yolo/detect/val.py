"""Validation of a detector: the one evaluation function of training and of `val`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultralytics.cfg.config import Config, as_mapping, check_classes, get_cfg
from ultralytics.cfg.dataset import DatasetSpec, load_dataset
from ultralytics.cfg.paths import data_hint, weights_hint
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.data.prepare import names as published_names
from ultralytics.engine.callbacks import Callback, Callbacks
from ultralytics.engine.outputs import LABELS, OutputNames
from ultralytics.engine.ranks.device import select_device
from ultralytics.engine.ranks.team import Team, join
from ultralytics.engine.run.folder import new_run_dir
from ultralytics.engine.safety import threads
from ultralytics.engine.safety.pace import Pace
from ultralytics.models.yolo.weights import network
from ultralytics.nn.inference import inference_copy
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.analysis import analyse, table_lines
from ultralytics.utils.boxes import box_iou, scale_boxes, xywh2xyxy, xyxy2xywhn
from ultralytics.utils.coco import CROWD, DIFFICULT, Seen, coco_figures, predictions
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError
from ultralytics.utils.files import write_json
from ultralytics.utils.fonts import checked_font
from ultralytics.utils.gallery import draw_analysis
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.metrics import (
    IOU_THRESHOLDS,
    ConfusionMatrix,
    DetMetrics,
    ignored_predictions,
    match_predictions,
)
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import make_divisible
from ultralytics.utils.plotting import optional, plot_images
from ultralytics.utils.text import counted
from ultralytics.utils.threads import kept_threads
from ultralytics.utils.types import ANY_CLASS, UNKNOWN_AREA, Float64Array

Criterion = Callable[[Any, Mapping[str, Any]], tuple[Tensor, Tensor]]
PLOTTED_BATCHES = 3
SHOWN_FIGURES = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "AR_100")  # of COCO's, in the log
TRIAL_BATCHES = 4  # from so many on it is worth a trial with how many threads they take least
PLOTTED_IMAGES = 16  # of a batch


class DetectionValidator:
    """Run a detector over a loader and compute its metrics: `DetectionValidator(args={"model": …, "data": …})()`.

    Args:
        dataloader: batches of `utils.types.Batch`, whose images letterbox the originals; None: those of `args.data`.
        save_dir: where pictures, labels and metrics.json go; a new run folder when None.
        pbar: of the reference; not used.
        args: conf (0.001 when unset), iou, max_det, single_cls, agnostic_nms, classes, plots, font, save_txt,
        save_conf, half, verbose; model, data, split, batch, imgsz where there is no loader.
        _callbacks: functions by event.
        data: the data set's names and paths.
        team: the ranks that share the loader's batches. Each evaluates whole batches as one process forms them, the
            leader puts them in order, and all get its metrics: they do not depend on the number of ranks.

    Attributes:
        metrics: a DetMetrics; loss: mean loss parts when a criterion was given; speed: milliseconds per image.
        training: whether it validates a training's epoch; batch_i: number of the batch at work.
    """

    def __init__(
        self,
        dataloader: Any = None,
        save_dir: str | Path | None = None,
        pbar: Any = None,
        args: Config | Mapping[str, Any] | None = None,
        _callbacks: Mapping[str, list[Callback]] | None = None,
        data: DatasetSpec | None = None,
        team: Team | None = None,
    ) -> None:
        self.team = team or Team()
        self.dataloader, self.pbar, self.data = dataloader, pbar, data
        self.args = args if isinstance(args, Config) else get_cfg(None, as_mapping(args), mode="val")
        self.callbacks = _callbacks if isinstance(_callbacks, Callbacks) else Callbacks(_callbacks)
        self.save_dir = Path(save_dir) if save_dir else Path()
        self._placed = bool(save_dir)
        self.names = dict(data.names) if data else {}
        self.metrics = DetMetrics(save_dir=self.save_dir, names=self.names)
        self.loss: Tensor | None = None
        self.training = True
        self.batch_i: int | None = None
        self.nc = len(self.names)
        self.device: torch.device | None = None
        self.iouv = torch.from_numpy(IOU_THRESHOLDS)
        self.niou = len(IOU_THRESHOLDS)
        self.plots: dict[str, Any] = {}
        self.jdict: list[dict[str, Any]] = []
        self.stride = 32
        self._part: _Part | None = None
        self._stems: dict[str, str] = {}  # image file → stem of its label file
        self._keeps = False  # what COCO's figures need
        self._seen: list[Seen] = []
        self._shown: list[tuple[int, tuple[dict[str, Any], list[Tensor]]]] = []  # batches by number

    def add_callback(self, event: str, function: Callback) -> None:
        """Call `function(validator)` at an event; `engine.callbacks.EVENTS` lists them."""
        self.callbacks.add(event, function)

    def run_callbacks(self, event: str) -> None:
        """Call what is to be called at an event."""
        self.callbacks.run(event, self)

    def __call__(self, trainer: Any = None, model: Any = None) -> dict[str, float]:
        """Validate a trainer's averaged model, or a model by itself.

        Args:
            trainer: of the run whose epoch it is; model: a network, or the path of a weights file or YAML, `args.model`
                when None.

        Returns:
            Figures by results.csv column, `fitness` among them.
        """
        self.training = trainer is not None
        if trainer is not None:
            criterion = trainer.validation_criterion()
            metrics = self.evaluate(trainer.ema.ema, criterion, autocast=trainer.validation_dtype)
            loss = {} if self.loss is None else trainer.label_loss_items(self.loss, prefix="val")
            return {k: float(v) for k, v in metrics.results_dict.items()} | loss
        model = self.args.model if model is None else model
        if model is None:
            raise ConfigError("no model given", hint=weights_hint())
        net = model if isinstance(model, DetectionModel) else network(model)
        if self.dataloader is None:
            self._validate_split(net)
        else:
            self.evaluate(net, plots=self.args.plots)
            self.report()
        return {k: float(v) for k, v in self.metrics.results_dict.items()}

    # On a data set's split

    def _validate_split(self, net: DetectionModel) -> None:
        """Make the loader of `args.split`, evaluate, and report into a run folder."""
        args = self.args
        self.team = team = join()
        device = select_device(team.device_name(args.device))
        team.bind(device)
        if not args.data:
            raise ConfigError("no dataset given", hint=data_hint())
        args.font = checked_font(args.font)
        try:
            self.data = data = load_dataset(args.data, needs=[args.split])
        except MissingFileError as e:
            if args.sources.get("data") != "weights file":
                raise
            told = "the weights were trained on it; where it has moved, name its new place: data=NEW_PLACE/data.yaml"
            raise MissingFileError(e.what, e.where, told) from None
        check_classes(args.classes, net.nc, "the model")
        if args.single_cls:
            data.merge_classes()
        if data.nc > net.nc:
            raise ConfigError(f"the data set has {counted(data.nc, 'class')} and the model {net.nc}", str(args.data))
        self._compare_names(net, data)
        self.stride = max(int(net.stride.max()), 32)
        images = data.split(args.split)
        if not self._placed:
            self.save_dir = team.lead(lambda: new_run_dir(args.project, args.name or "val", args.exist_ok))
        self.names = dict(data.names)
        try:
            loader = self.get_dataloader(images, args.batch)
            with contextlib.closing(loader):
                self.dataloader = loader
                self.evaluate(net.to(device), plots=args.plots)
        except UserError:
            if not self._placed:
                with contextlib.suppress(OSError):  # not empty: an earlier run's, with exist_ok
                    self.save_dir.rmdir()
            raise
        finally:
            self.dataloader = None
        self.report()
        LOGGER.info("Results saved to %s", self.save_dir)

    def _compare_names(self, net: DetectionModel, data: DatasetSpec) -> None:
        """Say so when the data set's classes are not the model's."""
        for i, name in data.names.items():
            mine = net.names.get(i, str(i))
            if mine not in (name, str(i)) and not self.args.single_cls:
                told = "WARNING: %s: class %d is %r there and %r in the weights (classes: %d and %d)"
                LOGGER.warning(told, self.args.data, i, name, mine, len(data.names), len(net.names))
                return

    def build_dataset(self, img_path: Any, mode: str = "val", batch: int | None = None) -> Any:
        """The data set of a split's paths."""
        args = self.args
        assert self.data is not None
        rect = args.rect_val and (args.rect or args.sources.get("rect", "default") == "default")
        return build_yolo_dataset(
            args,
            img_path,
            int(batch or args.batch),
            self.data,
            mode=mode,
            rect=rect,
            stride=self.stride,
            cache_dir=self.save_dir,
        )

    def get_dataloader(self, dataset_path: Any, batch_size: int) -> Any:
        """Batches of a split's paths."""
        team = self.team
        with team.first():
            dataset = self.build_dataset(dataset_path, batch=batch_size)
        workers, share = team.workers(self.args.workers), team.share(whole=True)
        return build_dataloader(dataset, batch_size, workers, shuffle=False, share=share)

    # The evaluation

    @torch.inference_mode()
    @kept_threads()
    def evaluate(
        self,
        model: DetectionModel,
        criterion: Criterion | None = None,
        plots: bool = False,
        autocast: torch.dtype | None = None,
        desc: str = "",
    ) -> DetMetrics:
        """Evaluate a model on the loader; it is copied and fused, not changed.

        Args:
            criterion: also compute the mean validation loss.
            plots: keep what `draw` needs.
            autocast: precision of the forward pass on a GPU; None for the weights' own.
        """
        args = self.args
        self._keeps = criterion is None and (args.coco or args.save_json or args.analyse)  # not while a run trains
        device = next(model.parameters()).device
        if args.device is not None and not self.team.many:
            device = select_device(args.device, quiet=True)
        self.device = device
        net = inference_copy(model, device, args.half)
        threads.settle(args, device, lambda most: self._try_threads(net, most))  # in training they are settled
        pace = Pace("batch", "other processes slow it down", "the images come late: more workers=, or cache=ram")
        self._part = None
        self.run_callbacks("on_val_start")
        nc = net.nc
        confusion = ConfusionMatrix(nc=nc, conf=0.25 if args.conf in (None, 0.001) else args.conf) if plots else None
        self._part = mine = _Part(confusion)
        self.init_metrics(net)
        clock = _Clock(device, mine.spent)
        if args.save_txt:
            self._stems = self._name_labels()
        numbers = getattr(self.dataloader, "numbers", range(len(self.dataloader)))
        bar = progress(self.dataloader, desc=desc or self.get_desc(), label="Validating", total=len(self.dataloader))
        pace.rest()
        for number, batch in zip(numbers, bar, strict=True):
            pace.arrived()
            self.batch_i = number
            self.run_callbacks("on_val_batch_start")
            with clock("preprocess"):
                ready = self.preprocess(dict(batch))
                img = ready["img"]
            with clock("inference"), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                outputs = net(img)
            with clock("loss"):
                if criterion is not None:
                    on_device = {k: batch[k].to(device) for k in ("cls", "bboxes", "batch_idx")}
                    mine.loss[number] = criterion(outputs[1], on_device)[1]
            with clock("postprocess"):
                detections = self.postprocess(outputs)
            self.update_metrics(detections, ready)
            if plots and number < PLOTTED_BATCHES:
                mine.shown[number] = _shown(batch, detections)
            self.run_callbacks("on_val_batch_end")
            pace.stepped(img[:, 0].numel())
        bar.close()
        mine.loss = {k: v.cpu() for k, v in mine.loss.items()}
        parts = self.team.gather(mine)
        self.metrics, self.loss = self.team.lead(lambda: self._summarise(parts or [], self.names or net.names, nc))
        self._shown = sorted((n, v) for p in parts or [] for n, v in p.shown.items())
        seen = {n: v for p in parts or [] for n, v in p.seen.items()}
        self._seen = [s for n in sorted(seen) for s in seen[n]]
        self.run_callbacks("on_val_end")
        return self.metrics

    # Its steps, which a subclass may replace

    def init_metrics(self, model: DetectionModel) -> None:
        """Begin with no image seen."""
        self.nc = model.nc
        self._dtype = next(model.parameters()).dtype

    def get_desc(self) -> str:
        """The head of the table."""
        return ("%22s" + "%11s" * 6) % ("Class", "Images", "Instances", "Box(P", "R", "mAP50", "mAP50-95)")

    def preprocess(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Move a batch's images to the device: 0..1, channels last. Labels stay where they are."""
        img = batch["img"].to(self.device, non_blocking=True)
        batch["img"] = img.to(self._dtype, memory_format=torch.channels_last) / 255
        return batch

    def postprocess(self, preds: Any) -> list[Tensor]:
        """The model's output → (n, 6) detections of each image: xyxy pixels, score, class."""
        args = self.args
        return non_max_suppression(
            preds[0].float(),
            0.001 if args.conf is None else args.conf,
            args.iou,
            args.classes,
            agnostic=args.single_cls or args.agnostic_nms,
            multi_label=self.nc > 1,
            max_det=args.max_det,
            nc=self.nc,
        )

    def update_metrics(self, preds: list[Tensor], batch: Mapping[str, Any]) -> None:
        """Take a batch's detections."""
        mine = self._part
        assert mine is not None
        assert self.batch_i is not None
        found = [self._compare(detected.cpu(), batch, i, mine.confusion) for i, detected in enumerate(preds)]
        mine.add(self.batch_i, found, self.nc, sum(map(len, batch["ignored"])))

    @property
    def seen(self) -> int | None:
        """Images seen; None before the first validation."""
        return None if self._part is None else self._part.images

    @property
    def stats(self) -> dict[str, list[npt.NDArray[Any]]] | None:
        """What has been compared so far, an array per batch: tp, conf, pred_cls, target_cls."""
        if self._part is None:
            return None
        return {k: [s[k] for s in self._part.stats.values()] for k in _STATS}

    @property
    def confusion_matrix(self) -> ConfusionMatrix | None:
        """With `plots`."""
        return self.metrics.confusion_matrix or (self._part.confusion if self._part is not None else None)

    @property
    def speed(self) -> dict[str, float]:
        """Milliseconds per image of each stage."""
        return self.metrics.speed

    @property
    def metric_keys(self) -> list[str]:
        """Columns of the figures."""
        return self.metrics.keys

    def get_stats(self) -> dict[str, float]:
        """Figures by column."""
        return {k: float(v) for k, v in self.metrics.results_dict.items()}

    def _try_threads(self, net: DetectionModel, most: int) -> threads.Choice | None:
        """The number of threads for a validation that is worth a trial."""
        if self.team.many or len(self.dataloader) < TRIAL_BATCHES:
            return None
        side = make_divisible(self.args.imgsz, int(net.stride.max()))
        return threads.try_inference(net, (min(self.args.batch, TRIAL_BATCHES), 3, side, side), most)

    def _summarise(self, parts: Sequence[_Part], names: Mapping[int, str], nc: int) -> tuple[DetMetrics, Tensor | None]:
        """Metrics and mean loss out of what the ranks have seen, as if one of them had seen it in the loader's
        order."""
        metrics = DetMetrics(save_dir=self.save_dir, names=names)
        stats = {number: s for p in parts for number, s in p.stats.items()}
        losses = {number: v for p in parts for number, v in p.loss.items()}
        wide = np.zeros((0, len(IOU_THRESHOLDS)), np.bool_)
        empty = {k: wide if k in ("tp", "ignored") else np.zeros(0, np.float32) for k in _STATS}
        metrics.process(**{k: np.concatenate([stats[n][k] for n in sorted(stats)] or [empty[k]]) for k in _STATS})
        metrics.images = sum(p.images for p in parts)
        metrics.ignored = sum(p.regions for p in parts)
        metrics.nt_per_image = sum((p.per_class for p in parts if p.stats), np.zeros(nc, np.int64))
        spent = {k: sum(p.spent[k] for p in parts) for k in parts[0].spent}
        metrics.speed = {k: v / max(metrics.images, 1) * 1e3 for k, v in spent.items()}
        confusion = parts[0].confusion
        if confusion is not None:
            confusion.matrix = sum((p.confusion.matrix for p in parts[1:] if p.confusion), confusion.matrix)
            metrics.confusion_matrix = confusion
        ordered = [losses[n] for n in sorted(losses)]
        return metrics, sum(ordered[1:], ordered[0]) / len(ordered) if ordered else None

    def _compare(
        self, detected: Tensor, batch: Mapping[str, Any], i: int, confusion: ConfusionMatrix | None
    ) -> tuple[dict[str, Tensor], Seen | None]:
        """One image's detections against its labels, both in pixels of the original image: what the metrics need of
        it, and what COCO's figures do."""
        mine = batch["batch_idx"].view(-1) == i
        target_cls = batch["cls"].view(-1)[mine].cpu()
        frame, original, ratio_pad = batch["resized_shape"][i], batch["ori_shape"][i], batch["ratio_pad"][i]
        height, width = frame
        targets = xywh2xyxy(batch["bboxes"][mine].cpu().float()) * torch.tensor([width, height, width, height])
        targets = scale_boxes(frame, targets, original, ratio_pad=ratio_pad)
        detected = detected.clone()
        if self.args.single_cls:
            detected[:, 5] = 0
        detected[:, :4] = scale_boxes(frame, detected[:, :4], original, ratio_pad=ratio_pad)
        tp = torch.from_numpy(
            match_predictions(detected[:, 5].numpy(), target_cls.numpy(), box_iou(targets, detected[:, :4]).numpy())
        )
        regions = torch.tensor(batch["ignored"][i])
        regions[:, 1:5] = xywh2xyxy(regions[:, 1:5]) * torch.tensor([*original[::-1], *original[::-1]])
        boxes, classes = detected[:, :4], detected[:, 5].numpy()
        ignored = ignored_predictions(boxes, classes, tp.numpy(), regions)
        seen = None
        if self._keeps:
            areas = batch["areas"][i] if "areas" in batch else None
            seen = _seen(batch["im_file"][i], original, detected, targets, target_cls, regions, areas)
        if confusion is not None:
            regions[:, 0] = ANY_CLASS  # a pair is a pair whatever the classes
            free = np.zeros((len(detected), 1), np.bool_)
            spared = ignored_predictions(boxes, classes, free, regions, [confusion.iou_thres])
            confusion.process_batch(detected, targets, target_cls, torch.from_numpy(spared[:, 0]))
        if self.args.save_txt:
            self._save_txt(detected, original, batch["im_file"][i])
        found = {"tp": tp, "conf": detected[:, 4], "pred_cls": detected[:, 5], "target_cls": target_cls}
        return found | {"ignored": torch.from_numpy(ignored)}, seen

    def _name_labels(self) -> dict[str, str]:
        """Name the label files of the whole split, by its set of images alone: every rank finds the same names, with
        rect_val or without."""
        files = sorted(self.dataloader.dataset.labels.im_files)
        return dict(
            zip(files, OutputNames(self.save_dir, files, [Path(f).stem for f in files], [LABELS]).stems, strict=True)
        )

    def _save_txt(self, detected: Tensor, shape: tuple[int, int], file: str) -> None:
        folder = self.save_dir / LABELS
        folder.mkdir(parents=True, exist_ok=True)
        boxes = xyxy2xywhn(detected[:, :4], w=shape[1], h=shape[0])
        lines = [
            " ".join(f"{v:g}" for v in (cls, *box, *((conf,) if self.args.save_conf else ())))
            for box, conf, cls in zip(
                boxes.tolist(), detected[:, 4].tolist(), detected[:, 5].int().tolist(), strict=True
            )
        ]
        text = "".join(f"{line}\n" for line in lines)
        (folder / f"{self._stems[file]}.txt").write_text(text, encoding="utf-8", newline="\n")

    def report(self) -> None:
        """Print the table, write metrics.json and, last, draw the figures and images that `plots` asked for: none of
        them can cost the metrics."""
        self.print_results()
        if self.team.leads:
            self.save_metrics()
            self.report_coco()
            self.report_analysis()
            self._seen = []
            self.draw()

    def report_coco(self) -> None:
        """Add COCO's figures to the log and to metrics.json, and write predictions.json, as `coco` and `save_json`
        ask."""
        seen, names = self._seen, self.metrics.names
        if self.args.save_json:
            known = tuple(names.values()) == published_names.COCO
            ids = published_names.COCO_IDS if known else range(1, len(names) + 1)
            write_json(self.save_dir / "predictions.json", predictions(seen, ids))
        if not self.args.coco or not seen:
            return
        try:
            figures = coco_figures(seen, names)
        except ImportError as e:
            LOGGER.warning("COCO's figures are left out: %s (pip install hotcoco, or coco=False)", e)
            return
        told = [f"{k} {figures[k]:.3f}" for k in SHOWN_FIGURES if figures[k] is not None]
        LOGGER.info("COCO's figures: %s", ", ".join(told) or "there are no objects")
        self.metrics.coco = figures
        self.save_metrics()

    def report_analysis(self) -> None:
        """With `analyse`: add kinds of errors, figures by size and calibration to the log and to metrics.json, and draw
        them and the worst mistakes."""
        seen, names, font = self._seen, self.metrics.names, self.args.font
        if not self.args.analyse or not seen:
            return
        try:
            self.metrics.analysis = figures = analyse(seen, names)
        except ImportError as e:
            LOGGER.warning("the analysis is left out: %s (pip install hotcoco, or analyse=False)", e)
            return
        self.save_metrics()
        for line in table_lines(figures):
            LOGGER.info("%s", line)
        draw_analysis(figures, seen, names, self.save_dir, self.args.gallery, font)

    def draw(self) -> None:
        """Draw curves, confusion matrices and the first batches of an evaluation with `plots`; what cannot be drawn is
        a warning."""
        confusion, font = self.metrics.confusion_matrix, self.args.font
        shown, self._shown = self._shown, []
        if confusion is None:
            return
        self.metrics.plot_curves(font)
        for normalize in (True, False):
            confusion.plot(normalize, self.save_dir, tuple(self.metrics.names.values()), font=font)
        for number, (batch, detections) in shown:
            self._draw_batch(batch, detections, number)

    def _draw_batch(self, batch: Mapping[str, Any], detections: list[Tensor], number: int) -> None:
        names, font = self.metrics.names, self.args.font
        path = self.save_dir / f"val_batch{number}_labels.jpg"
        with optional(path):
            plot_images(batch, path, names, font=font)
        path = self.save_dir / f"val_batch{number}_pred.jpg"
        with optional(path):
            height, width = batch["img"].shape[2:]
            top = [d[:30] for d in detections]
            predicted = {
                "img": batch["img"],
                "im_file": batch["im_file"],
                "batch_idx": torch.cat([torch.full((len(d),), float(i)) for i, d in enumerate(top)]),
                "cls": torch.cat([d[:, 5] for d in top]),
                "conf": torch.cat([d[:, 4] for d in top]),
                "bboxes": xyxy2xywhn(torch.cat([d[:, :4] for d in top]), w=width, h=height),
            }
            plot_images(predicted, path, names, font=font)

    def print_results(self) -> None:
        """Print the table: all classes, then each class when there are several and `verbose`."""
        m = self.metrics
        LOGGER.info(self.get_desc())
        row = "%22s" + "%11i" * 2 + "%11.3g" * 4
        LOGGER.info(row % ("all", m.images, int(m.nt_per_class.sum()), *m.mean_results()))
        if self.args.verbose and len(m.names) > 1:
            for i, c in enumerate(m.ap_class_index):
                LOGGER.info(row % (m.names[int(c)][:22], m.nt_per_image[c], m.nt_per_class[c], *m.class_result(i)))
        if m.ignored:
            LOGGER.info("%s ignored: difficult objects and crowds count for nothing", counted(m.ignored, "region"))
        LOGGER.info(
            "Speed: %.1fms preprocess, %.1fms inference, %.1fms loss, %.1fms postprocess per image",
            *(m.speed[k] for k in ("preprocess", "inference", "loss", "postprocess")),
        )

    def save_metrics(self) -> None:
        """Write metrics.json."""
        write_json(self.save_dir / "metrics.json", self.metrics.to_dict())


_STATS = ("tp", "conf", "pred_cls", "target_cls", "ignored")


@dataclass
class _Part:
    """What a rank has seen, by the batch's place in the loader.

    Attributes:
        confusion: of its images; stats: arrays of _STATS; loss: parts; shown: what the pictures need.
        seen: what COCO's figures need; images: so many; regions: ignored ones in them; per_class: (nc,) images with
            labels of each class.
        spent: seconds by stage.
    """

    confusion: ConfusionMatrix | None
    stats: dict[int, dict[str, npt.NDArray[Any]]] = field(default_factory=dict)
    loss: dict[int, Tensor] = field(default_factory=dict)
    shown: dict[int, tuple[dict[str, Any], list[Tensor]]] = field(default_factory=dict)
    seen: dict[int, list[Seen]] = field(default_factory=dict)
    images: int = 0
    regions: int = 0
    per_class: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    spent: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("preprocess", "inference", "loss", "postprocess"), 0.0)
    )

    def add(self, number: int, compared: list[tuple[dict[str, Tensor], Seen | None]], nc: int, regions: int) -> None:
        """Take a batch's images and the count of their ignored regions."""
        self.regions += regions
        found = [f for f, _ in compared]
        self.seen[number] = [s for _, s in compared if s is not None]
        self.stats[number] = {k: torch.cat([f[k] for f in found]).numpy() for k in _STATS}
        self.images += len(found)
        self.per_class = np.zeros(nc, np.int64) + (self.per_class if len(self.per_class) else 0)
        for f in found:
            self.per_class += np.bincount(np.unique(f["target_cls"].long().numpy()), minlength=nc)


def _seen(
    file: str,
    shape: tuple[int, int],
    detected: Tensor,
    targets: Tensor,
    classes: Tensor,
    regions: Tensor,
    areas: Float64Array | None,
) -> Seen:
    """An image for COCO's figures. All is in pixels of the original: detections (n, 6) and targets (k, 4) begin with
    x1, y1, x2, y2, and regions (r, 6) with their class, which these follow, and then 1 for a crowd; areas (k,) are of
    the targets' masks."""
    found, objects, ignored = (t.double().numpy().copy() for t in (detected, targets, regions))
    for corners in (found[:, :4], objects, ignored[:, 1:5]):
        corners[:, 2:] -= corners[:, :2]
    known = np.column_stack([objects, classes.double().numpy(), np.zeros(len(objects))])
    kinds = np.where(ignored[:, 5] > 0, CROWD, DIFFICULT)
    spared = np.column_stack([ignored[:, 1:5], ignored[:, 0], kinds])
    own = None if areas is None else np.concatenate([areas, np.full(len(ignored), UNKNOWN_AREA)])
    return Seen(file, shape, found, np.concatenate([known, spared]), own)


def _shown(batch: Mapping[str, Any], detections: list[Tensor]) -> tuple[dict[str, Any], list[Tensor]]:
    """The images of a batch that a picture has room for, and their detections."""
    kept = {k: batch[k] for k in ("batch_idx", "cls", "bboxes", "im_file", "ignored", "ratio_pad", "ori_shape")}
    kept["img"] = batch["img"][:PLOTTED_IMAGES].clone()  # what a rank sends holds these alone
    return kept, [d.cpu() for d in detections]


class _Clock:
    """Adds the time a block takes to its entry, waiting for the GPU."""

    def __init__(self, device: torch.device, spent: dict[str, float]) -> None:
        self.device, self.spent, self.name, self.start = device, spent, "", 0.0

    def __call__(self, name: str) -> _Clock:
        self.name = name
        return self

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def __enter__(self) -> None:
        self.start = self.now()

    def __exit__(self, *_: object) -> None:
        self.spent[self.name] += self.now() - self.start
