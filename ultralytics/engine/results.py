"""Results of a prediction: what was found in one image, ready to draw, save or take apart."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ultralytics.engine.outputs import distinct, free_path
from ultralytics.engine.predictions import OBB, BaseTensor, Boxes, Keypoints, Masks, Probs
from ultralytics.engine.tables import Tabular
from ultralytics.engine.window import has_display, show_in_notebook
from ultralytics.utils.annotate import sizes_for
from ultralytics.utils.boxes import clip_boxes, xyxy2xywh
from ultralytics.utils.environment import is_jupyter
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import not_written
from ultralytics.utils.images import imwrite
from ultralytics.utils.log import LOGGER
from ultralytics.utils.ops import scale_image
from ultralytics.utils.plotting import Annotator, colors
from ultralytics.utils.text import counted, safe_name
from ultralytics.utils.types import Float32Array, UInt8Array

__all__ = ["OBB", "BaseTensor", "Boxes", "Keypoints", "Masks", "Probs", "Results"]
CROP_GAIN, CROP_PAD = 1.02, 10  # crops are a little larger than their box: factor, then pixels
PARTS = {"boxes": Boxes, "masks": Masks, "probs": Probs, "keypoints": Keypoints, "obb": OBB}


class Results(Tabular):  # size: the reference's methods, each a few lines
    """What was found in one image or frame.

    Args:
        orig_img: BGR uint8 (H, W, 3).
        path: of the image.
        names: class names by id.
        boxes: (n, 6), or (n, 7) with ids, see `Boxes`.
        masks: (n, h, w), see `Masks`; probs: (nc,), see `Probs`; keypoints: (n, K, 2 or 3), see `Keypoints`.
        obb: (n, 7), or (n, 8) with ids, see `OBB`.
        speed: milliseconds of preprocess, inference, postprocess.

    Attributes:
        boxes, masks, probs, keypoints, obb: what was found, an object each; None where the task has none. Without
            anything given there are no boxes: `boxes` is empty.
        trails: of tracked objects, by id: (k, 2) the last centres of their boxes, pixels, oldest first.
    """

    boxes: Any  # Boxes or None, and so on: a script that knows its task need not ask
    masks: Any
    probs: Any
    keypoints: Any
    obb: Any

    def __init__(
        self,
        orig_img: UInt8Array,
        path: str,
        names: dict[int, str],
        boxes: Any = None,
        masks: Any = None,
        probs: Any = None,
        keypoints: Any = None,
        obb: Any = None,
        speed: dict[str, float | None] | None = None,
    ) -> None:
        self.orig_img, self.path, self.names = orig_img, path, names
        self.orig_shape: tuple[int, int] = (int(orig_img.shape[0]), int(orig_img.shape[1]))
        if all(part is None for part in (boxes, masks, probs, keypoints, obb)):
            boxes = torch.zeros((0, 6))
        self.boxes = self.masks = self.probs = self.keypoints = self.obb = None
        self._set(boxes=boxes, masks=masks, probs=probs, keypoints=keypoints, obb=obb)
        self.speed: dict[str, Any] = speed or {"preprocess": None, "inference": None, "postprocess": None}
        self.save_dir: str | None = None
        self.trails: dict[int, Float32Array] = {}

    def _set(self, **given: Any) -> None:
        for name, data in given.items():
            if data is not None:
                setattr(self, name, PARTS[name](data, self.orig_shape))

    def _parts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in PARTS if getattr(self, name) is not None}

    def __len__(self) -> int:
        return len(next(iter(self._parts().values())))

    def __getitem__(self, index: Any) -> Results:
        if self.probs is not None:
            raise TypeError("a classification result cannot be indexed: result.probs.data[i]")
        return self._each(lambda part: part[index])

    @property
    def objects(self) -> Any:
        """The boxes, upright (`Boxes`) or rotated (`OBB`); None of a classified image."""
        return self.boxes if self.obb is None else self.obb

    @property
    def is_track(self) -> bool:
        """True if the objects have ids."""
        return self.objects is not None and self.objects.is_track

    def _moved(self, move: Callable[[Any], Any]) -> Results:
        return self._each(lambda part: part._moved(move))

    def _each(self, change: Callable[[Any], Any]) -> Results:
        """Return the same image with each part changed."""
        other = self.new()
        other.boxes = None
        for name, part in self._parts().items():
            setattr(other, name, change(part))
        return other

    def new(self) -> Results:
        """Return the same image with nothing found."""
        other = Results(self.orig_img, self.path, self.names, speed=self.speed)
        other.save_dir, other.trails = self.save_dir, self.trails
        return other

    def update(
        self, boxes: Any = None, masks: Any = None, probs: Any = None, obb: Any = None, keypoints: Any = None
    ) -> None:
        """Replace what was found; the arguments are those of `Results`. Boxes are cut to the image."""
        if boxes is not None:
            corners = clip_boxes(boxes[:, :4], self.orig_shape)
            join = torch.cat if isinstance(boxes, Tensor) else np.concatenate
            boxes = join([corners, boxes[:, 4:]], 1)
        elif (obb is not None or probs is not None) and self.boxes is not None and not len(self.boxes):
            self.boxes = None  # those of `new`
        self._set(boxes=boxes, masks=masks, probs=probs, obb=obb, keypoints=keypoints)

    def plot(
        self,
        conf: bool = True,
        line_width: float | None = None,
        font_size: float | None = None,
        font: str | None = None,
        pil: bool = False,
        img: UInt8Array | Image.Image | None = None,
        im_gpu: Tensor | None = None,
        kpt_radius: int = 5,
        kpt_line: bool = True,
        labels: bool = True,
        boxes: bool = True,
        masks: bool = True,
        probs: bool = True,
        show: bool = False,
        save: bool = False,
        filename: str | Path | None = None,
        color_mode: str = "class",
    ) -> UInt8Array:
        """Draw what was found on the image; BGR uint8.

        Args:
            conf, labels: write scores, and names.
            boxes, masks, probs: draw boxes, rotated ones too; masks; the most likely classes.
            line_width, font_size: pixels; by the image's size when both are None, or that of small boxes: `sizes_for`.
            font: a font file, or the name of an installed one, to prefer.
            img: draw on this image instead: BGR uint8 (h, w, 3), or a Pillow image.
            kpt_radius: of keypoints, pixels; at least a little more than the line's width.
            kpt_line: join the keypoints of a person (17 of them, in COCO's order) by lines.
            show, save: see `show`; also write it to `filename`, see `save`.
            color_mode: a colour per "class" or "instance": by the id of a track, else object by object.
            pil, im_gpu: of the reference; all are drawn alike.

        Raises:
            UserError: another color_mode.
        """
        if color_mode not in ("class", "instance"):
            raise UserError(f"color_mode={color_mode!r} is unknown", hint='"class" or "instance"')
        drawn_on = self.orig_img if img is None else img
        example = "".join(self.names.values())
        found = self.objects if boxes and line_width is None and font_size is None else None
        small = None if found is None else sizes_for(_shape_of(drawn_on), found.numpy().xyxy)
        line_width, font_size = small or (line_width, font_size)
        annotator = Annotator(drawn_on, line_width, font_size, font, pil=True, example=example)
        if self.masks is not None and masks:
            self._draw_masks(annotator, color_mode)
        if self.objects is not None and boxes:
            self._draw_boxes(annotator, conf, labels, color_mode, small is not None)
        if self.keypoints is not None:
            for points in self.keypoints.numpy().data:
                annotator.kpts(points, self.orig_shape, kpt_radius, kpt_line)
        if self.probs is not None and probs:
            annotator.lines([f"{name} {score:.2f}" if conf else name for name, score in self._likely()])
        drawn = annotator.result()
        if show:
            _show_drawn(drawn, self.path)
        if save:
            imwrite(_target_of(filename, self.path), drawn)
        return drawn

    def _colors(self, mode: str) -> list[tuple[int, int, int]]:
        """Return the colour (BGR) of each object."""
        if self.objects is None or mode != "instance":
            numbers = range(len(self)) if self.objects is None else self.objects.cls.tolist()
        else:
            numbers = self.objects.id.tolist() if self.is_track else range(len(self))
        return [colors(int(i), bgr=True) for i in numbers]

    def _rising(self) -> list[int]:
        """Return the objects' places, the surest last: it is drawn on top."""
        if self.objects is None:
            return list(range(len(self)))
        order: list[int] = np.argsort(self.objects.numpy().conf, kind="stable").tolist()
        return order

    def _draw_masks(self, annotator: Annotator, mode: str) -> None:
        """Draw masks at the image's size, one after another."""
        data, tints = self.masks.numpy().data, self._colors(mode)
        order = self._rising()
        shape = annotator.im.height, annotator.im.width
        whole = (scale_image((data[i] > 0).astype(np.uint8) * 255, shape) > 127 for i in order)
        annotator.masks(whole, [tints[i] for i in order])

    def _draw_boxes(self, annotator: Annotator, conf: bool, labels: bool, mode: str, small: bool) -> None:
        """Draw the boxes and their texts; with `small` those texts alone that hide no box, the surest first."""
        found, tints, texts = self.objects.numpy(), self._colors(mode), dict[int, str]()
        places = found.xyxy if self.obb is None else found.xyxyxyxy
        for i in self._rising():
            words = []
            if found.is_track:
                number = int(found.id[i])
                words.append(f"id:{number}")
                if number in self.trails:
                    annotator.trail(self.trails[number], tints[i])
            words += [self._name(found.cls[i])] + [f"{found.conf[i]:.2f}"] * conf
            texts[i] = " ".join(words) if labels else ""
            annotator.box_label(places[i], "" if small else texts[i], tints[i], rotated=self.obb is not None)
        taken: list[tuple[float, ...]] = []
        for i in reversed(texts if small and labels else ()):
            annotator.caption(found.xyxy[i], texts[i], tints[i], taken, found.xyxy)

    def _name(self, number: float) -> str:
        """Return the name of a class."""
        return self.names.get(int(number), str(int(number)))

    def _likely(self) -> list[tuple[str, float]]:
        """Return the most likely classes and their probabilities."""
        return [(self._name(i), float(self.probs.data[i])) for i in self.probs.top5]

    def save(self, filename: str | Path | None = None, **kwargs: Any) -> str:
        """Write the drawn image, and return its path; keywords as of `plot`.

        Args:
            filename: replaced where it exists; without one results_NAME.jpg, numbered so that it is new.

        Raises:
            UserError: it is the file that was predicted on, or cannot be written.
        """
        target = _target_of(filename, self.path)
        self.plot(save=True, filename=target, **kwargs)
        return str(target)

    def verbose(self) -> str:
        """Return counts per class, such as "4 persons, 1 bus, "; "(no detections), " without any; of a classified
        image the most likely classes, such as "dog 0.70, cat 0.20, "."""
        if self.probs is not None:
            return "".join(f"{name} {score:.2f}, " for name, score in self._likely())
        if not len(self):
            return "(no detections), "
        if self.objects is None:
            return f"{counted(len(self), 'object')}, "
        counts = Counter(int(c) for c in self.objects.cls.tolist())
        return "".join(f"{n} {_plural(self._name(c), n)}, " for c, n in sorted(counts.items()))

    def save_txt(self, txt_file: str | Path, save_conf: bool = False) -> str:
        """Write a line `class PLACE [score] [id]` per object, in 0..1; the file is replaced, so running twice changes
        nothing.

        PLACE is x y w h of a box, then `x y [confidence]` of its keypoints; the outline of a mask, x y of each point;
        x y of the four corners of a rotated box. An object whose mask has no outline of three points has no line. Of a
        classified image a line `probability NAME` for each of the most likely classes.

        Raises:
            UserError: it is the file that was predicted on, or cannot be written.
        """
        path = _not_source(txt_file, self.path)
        if self.probs is not None:
            text = class_rows(self._likely())
        else:
            text = self._label_rows(save_conf)
        write_rows(path, text)
        return str(path)

    def _label_rows(self, save_conf: bool) -> str:
        if self.objects is None:
            raise UserError("save_txt writes classes, and this result has none", self.path, "give boxes or obb too")
        found = self.objects.cpu()
        places: Any
        if self.obb is not None:
            places = found.xyxyxyxyn.reshape(len(found), 8)
        elif self.masks is not None:
            outlines = self.masks.xyn
            lines = [i for i, outline in enumerate(outlines) if len(outline) >= 3]
            found, places = found[lines], [outlines[i].ravel() for i in lines]
        else:
            places = found.xywhn
            if self.keypoints is not None:
                points = self.keypoints.numpy()
                each = [points.xyn] if points.conf is None else [points.xyn, points.conf[..., None]]
                rows = np.concatenate(each, -1)
                rows = rows.reshape(len(rows), rows.shape[1] * rows.shape[2])  # -1 has no meaning where there are none
                places = np.concatenate([found.numpy().xywhn, rows], 1)
        return label_rows(found.cls, places, found.conf if save_conf else None, found.id)

    def save_crop(self, save_dir: str | Path, file_name: str | Path = "im.jpg") -> None:
        """Write every box as an image, SAVE_DIR/CLASS/NAME.jpg, numbered so that it is new."""
        stem = Path(file_name).name.removesuffix(".jpg")
        for folder, image in self.crops():
            imwrite(free_path(Path(save_dir) / folder / f"{stem}.jpg"), image)

    def crops(self) -> Iterator[tuple[str, UInt8Array]]:
        """Yield every box as a folder name, its class, and its part of the image, BGR uint8, a little enlarged; of a
        rotated one the upright box around it, of a classified image nothing."""
        if self.objects is None:
            return
        h, w = self.orig_shape
        folders = _class_folders(tuple(self.names.items()))
        boxes = self.objects.cpu()
        for (cx, cy, bw, bh), cls in zip(xyxy2xywh(boxes.xyxy).tolist(), boxes.cls.tolist(), strict=True):
            half_w, half_h = (bw * CROP_GAIN + CROP_PAD) / 2, (bh * CROP_GAIN + CROP_PAD) / 2
            x1, y1 = max(int(cx - half_w), 0), max(int(cy - half_h), 0)
            x2, y2 = min(int(cx + half_w) + 1, w), min(int(cy + half_h) + 1, h)
            if x1 < x2 and y1 < y2:  # a rotated box may be outside
                yield folders.get(int(cls), str(int(cls))), self.orig_img[y1:y2, x1:x2]

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, Any]]:
        """Plain data: name, class, confidence, box and, where there are some, track_id, segments and keypoints of each
        object; places in 0..1 with `normalize`. Of a classified image its most likely class."""
        if self.probs is not None:
            best = self.probs.top1
            score = round(float(self.probs.top1conf), decimals)
            return [{"name": self._name(best), "class": best, "confidence": score}]
        if self.objects is None:
            return [{} for _ in range(len(self))]
        found = self.objects.cpu()
        if self.obb is None:
            boxes = found.xyxyn if normalize else found.xyxy
            keys = ["x1", "y1", "x2", "y2"]
        else:
            boxes = (found.xyxyxyxyn if normalize else found.xyxyxyxy).reshape(len(found), 8)
            keys = [f"{axis}{i}" for i in range(1, 5) for axis in "xy"]
        rows: list[dict[str, Any]] = [
            {
                "name": self._name(c),
                "class": int(c),
                "confidence": round(score, decimals),
                "box": dict(zip(keys, (round(v, decimals) for v in box), strict=True)),
            }
            for box, score, c in zip(boxes.tolist(), found.conf.tolist(), found.cls.tolist(), strict=True)
        ]
        for name, values in (
            ("track_id", [int(i) for i in found.id] if found.is_track else None),
            ("segments", self._segments(normalize, decimals)),
            ("keypoints", self._points(normalize, decimals)),
        ):
            for row, value in zip(rows, values or (), strict=values is not None):
                row[name] = value
        return rows

    def _segments(self, normalize: bool, decimals: int) -> list[dict[str, list[float]]] | None:
        """Return the outlines as plain data."""
        if self.masks is None:
            return None
        outlines = self.masks.xyn if normalize else self.masks.xy
        return [{k: o[:, i].round(decimals).tolist() for i, k in enumerate("xy")} for o in outlines]

    def _points(self, normalize: bool, decimals: int) -> list[dict[str, list[float]]] | None:
        """Return the keypoints as plain data."""
        if self.keypoints is None:
            return None
        points = self.keypoints.numpy()
        places = points.xyn if normalize else points.xy
        found = [{k: p[:, i].round(decimals).tolist() for i, k in enumerate("xy")} for p in places]
        for row, scores in zip(found, points.conf if points.has_visible else (), strict=points.has_visible):
            row["visible"] = scores.round(decimals).tolist()
        return found

    def show(self, *args: Any, **kwargs: Any) -> None:
        """Show the drawn image in a notebook, or in the system's viewer; where there is neither, a line says so.
        Arguments are those of `plot`."""
        self.plot(*args, **{**kwargs, "show": True})


def _shape_of(image: UInt8Array | Image.Image) -> tuple[int, ...]:
    """Return height and width, and what follows them in an array."""
    return (image.height, image.width) if isinstance(image, Image.Image) else image.shape


def _target_of(filename: str | Path | None, source: str) -> Path:
    """Return where to write an image: without a name, beside nothing that is there."""
    if not filename:
        return free_path(Path(f"results_{Path(source).stem or 'image'}.jpg"))
    return _not_source(filename, source)


def _not_source(filename: str | Path, source: str) -> Path:
    """Return a name to write to.

    Raises:
        UserError: it is the file that was predicted on, also through a link.
    """
    target = Path(filename)
    if target.exists() and os.path.exists(source) and target.samefile(source):
        raise UserError("this is the image that was predicted on", str(filename), "give another name to save as")
    return target


def label_rows(classes: Any, places: Any, scores: Any = None, ids: Any = None) -> str:
    """Return a line `class PLACE [score] [id]` per object.

    Args:
        classes: (n,) ids; a tensor or an array, as the others.
        places: (n, k) numbers in 0..1: centre, width and height of boxes, and what follows them; or n sequences.
        scores: (n,).
        ids: (n,) of tracks.
    """
    ends = [[f"{s:g}"] for s in scores.tolist()] if scores is not None else [[] for _ in range(len(classes))]
    for end, i in zip(ends, ids.tolist() if ids is not None else (), strict=ids is not None):
        end.append(str(int(i)))
    rows: Sequence[Any] = places if isinstance(places, Sequence) else places.tolist()
    return "".join(
        " ".join([*(f"{v:g}" for v in (int(c), *row)), *end]) + "\n"
        for c, row, end in zip(classes.tolist(), rows, ends, strict=True)
    )


def class_rows(likely: Iterable[tuple[str, float]]) -> str:
    """Return the text of a classified image's label file: a line `probability NAME` for each class."""
    return "".join(f"{score:.2f} {name}\n" for name, score in likely)


def write_rows(file: Path, text: str) -> None:
    """Write a label file, with the same ends of lines on every system.

    Raises:
        UserError: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as e:
        raise not_written(e, file, "free some space or choose another project=") from None


def _show_drawn(image: UInt8Array, path: str) -> None:
    """Show an image (BGR), see `Results.show`."""
    if is_jupyter():
        show_in_notebook(image)
    elif not has_display():
        LOGGER.warning("%s: it cannot be shown: there is no display (save(filename), and look at it)", path)
    else:
        Image.fromarray(np.ascontiguousarray(image[..., ::-1])).show(Path(path).name)


@functools.lru_cache(8)
def _class_folders(names: tuple[tuple[int, str], ...]) -> dict[int, str]:
    """A folder name for each class; classes whose names become the same one are numbered."""
    return dict(zip((i for i, _ in names), distinct(safe_name(name) for _, name in names), strict=True))


def _plural(name: str, n: int) -> str:
    """A class name for a count: "persons", but "bus" and "细胞" as they are."""
    takes_s = n > 1 and name[-1:].isascii() and name[-1:].isalpha() and not name.endswith("s")
    return f"{name}s" if takes_s else name
