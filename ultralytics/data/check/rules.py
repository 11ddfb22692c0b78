"""Every kind of finding: its severity, what it means, and the rule that finds it, in the order of the report.

A rule is a function of an image (`Look`), a split (`Split`) or the dataset (`Checked`) that yields findings. To add
one, write the function beside its like and add a row here; its place is its place in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from ultralytics.data.check import dataset, images, marks, rows, splits
from ultralytics.data.check.dataset import Checked
from ultralytics.data.check.findings import ERROR, NOTE, WARNING, Finding
from ultralytics.data.check.images import Look
from ultralytics.data.check.splits import Split


class Rule(NamedTuple):
    """A kind of finding. find: yields findings of it, and perhaps of other kinds; of: what `find` is given."""

    kind: str
    severity: str
    find: Callable[[Any], Iterator[Finding]]
    sentence: str
    of: type


image, split, whole = (partial(Rule, of=of) for of in (Look, Split, Checked))
RULES = (
    split("split-corners", WARNING, splits.corners, "labels of a split that are corners, not centre and size"),
    whole("leak-file", WARNING, dataset.shared_files, "images in two splits: what training has seen cannot test it"),
    whole("leak-bytes", WARNING, dataset.copies, "copies in two splits: what training has seen cannot test it"),
    whole("leak-pixels", WARNING, dataset.copies, "the same image, stored differently, in two splits"),
    whole("leak-near", WARNING, dataset.copies, "nearly the same image in two splits"),
    whole("yaml", ERROR, dataset.yaml, "the dataset's YAML"),
    whole("names", WARNING, dataset.names, "class names"),
    whole("split-missing", ERROR, dataset.listing, "a split that is not there"),
    whole("split-empty", ERROR, dataset.listing, "a split without images"),
    split("split-unusable", ERROR, splits.unusable, "a split of which nothing can be used"),
    whole("folder-unreadable", ERROR, dataset.listing, "folders that cannot be read"),
    image("image-missing", ERROR, images.unreadable, "images listed, but not there"),
    image("image-link", ERROR, images.unreadable, "links that lead nowhere"),
    whole("class-folder", WARNING, dataset.listing, "folders, images and files of no class"),
    whole("folder-link", WARNING, dataset.listing, "links that are not followed, or lead nowhere"),
    image("image-unreadable", ERROR, images.unreadable, "images that cannot be read"),
    image("image-empty", ERROR, images.unusable, "empty files"),
    image("image-undecodable", ERROR, images.unusable, "images that cannot be decoded"),
    image("image-float", ERROR, images.unusable, "images of floats"),
    image("image-truncated", ERROR, images.unusable, "images that are cut off"),
    image("image-small", ERROR, images.unusable, "images too small"),
    image("image-huge", ERROR, images.unusable, "images too large to decode"),
    image("label-unreadable", ERROR, rows.problems, "label files that cannot be read"),
    image("label-text", ERROR, rows.problems, "label files that are not UTF-8 text"),
    image("label-class-range", ERROR, rows.class_range, "class ids the dataset does not have: training stops"),
    image("label-class", ERROR, rows.problems, "class ids that are none"),
    image("label-number", ERROR, rows.problems, "words that are not numbers"),
    image("label-columns", ERROR, rows.problems, "rows with a wrong number of columns"),
    image("label-coordinate", ERROR, rows.problems, "coordinates outside 0..1"),
    image("label-area", WARNING, rows.problems, "boxes without area"),
    image("label-duplicate", WARNING, rows.problems, "rows written twice"),
    image("label-link", WARNING, rows.links, "label links that lead nowhere"),
    split("label-glued", WARNING, splits.glued, "rows that look like several in one line"),
    split("label-poses", WARNING, splits.poses, "rows that look like poses"),
    split("label-misplaced", WARNING, splits.misplaced, "label files that lie where they are not read"),
    image("label-corners", WARNING, rows.corners, "rows that look like corners"),
    whole("label-name", WARNING, dataset.orphans, "labels whose name differs from the image's by case or Unicode form"),
    whole("label-orphan", WARNING, dataset.orphans, "label files without image"),
    split("split-no-boxes", WARNING, splits.no_boxes, "a split without boxes"),
    whole("class-absent", WARNING, dataset.classes, "classes that a split lacks"),
    whole("duplicate-labels", WARNING, dataset.conflicts, "one image with different labels"),
    whole("duplicate-bytes", WARNING, dataset.copies, "copies within a split"),
    whole("duplicate-pixels", WARNING, dataset.copies, "the same image, stored differently, within a split"),
    whole("duplicate-near", WARNING, dataset.copies, "nearly the same image within a split"),
    whole("listed-twice", WARNING, dataset.listing, "images listed twice"),
    split("name-shared-label", WARNING, splits.collisions, "images that share a label file"),
    split("name-collision", WARNING, splits.collisions, "names that differ only by case or Unicode form"),
    image("box-outside", WARNING, rows.outside, "boxes that reach over the edge"),
    image("box-cut", WARNING, rows.cut, "rows that are cut off at the edge"),
    image("box-near-duplicate", WARNING, rows.near_duplicates, "boxes of one class that nearly coincide"),
    image("keypoints-astray", WARNING, marks.astray, "keypoints far outside of their boxes"),
    whole("keypoints-mirror", WARNING, dataset.mirror, "poses without flip_idx"),
    image("image-large", WARNING, images.large, "very large images"),
    image("ignore-unreadable", WARNING, rows.ignored, "ignore files that cannot be read"),
    image("ignore-text", WARNING, rows.ignored, "ignore files that are not UTF-8 text"),
    image("ignore-number", WARNING, rows.ignored, "ignore rows: words that are not numbers"),
    image("ignore-class", WARNING, rows.ignored, "ignore rows: class ids that are none"),
    image("ignore-columns", WARNING, rows.ignored, "ignore rows with a wrong number of columns"),
    image("ignore-coordinate", WARNING, rows.ignored, "ignore rows: coordinates outside 0..1"),
    image("ignore-area", WARNING, rows.ignored, "ignore rows without area"),
    image("ignore-duplicate", WARNING, rows.ignored, "ignore rows written twice"),
    image("ignore-link", WARNING, rows.links, "ignore links that lead nowhere"),
    whole("ignore-orphan", WARNING, dataset.orphans, "ignore files without image"),
    image("areas-unreadable", WARNING, rows.areas, "files of areas that cannot be read"),
    image("areas-text", WARNING, rows.areas, "files of areas that are not UTF-8 text"),
    image("areas-number", WARNING, rows.areas, "areas that are not a number above 0"),
    image("areas-columns", WARNING, rows.areas, "files of areas that do not fit their labels"),
    image("areas-link", WARNING, rows.links, "links to areas that lead nowhere"),
    whole("areas-orphan", WARNING, dataset.orphans, "files of areas without image"),
    whole("class-unused", NOTE, dataset.classes, "classes without a box"),
    split("unlabelled", NOTE, splits.unlabelled, "images without a label file: backgrounds"),
    whole("label-unlisted", NOTE, dataset.orphans, "label files of images that no split lists"),
    whole("ignore-unlisted", NOTE, dataset.orphans, "ignore files of images that no split lists"),
    whole("areas-unlisted", NOTE, dataset.orphans, "files of areas of images that no split lists"),
    image("label-mixed", NOTE, rows.mixed, "polygons and boxes in one file"),
    image("polygon-crossing", NOTE, marks.crossing, "outlines that cross themselves"),
    image("corners-skewed", NOTE, marks.skewed, "corners that are not a rectangle"),
    image("keypoints-none", NOTE, marks.invisible, "objects without a keypoint in sight"),
    image("box-tiny", NOTE, rows.tiny, "boxes that are hardly seen"),
    image("box-whole", NOTE, rows.whole, "boxes that cover the whole image"),
    image("image-suffix", NOTE, images.suffix, "names that contradict the content"),
    image("image-channels", NOTE, images.channels, "images that are not 8-bit colour"),
    image("image-exif", NOTE, images.turned, "images turned by EXIF"),
    image("image-frames", NOTE, images.frames, "several images in one file"),
    image("image-aspect", NOTE, images.aspect, "very long images"),
    whole("files-ignored", NOTE, dataset.listing, "files that are not read"),
)
KINDS = {rule.kind: rule for rule in RULES}
ORDER = {kind: i for i, kind in enumerate(KINDS)}
_FINDERS = {of: tuple(dict.fromkeys(r.find for r in RULES if r.of is of)) for of in (Look, Split, Checked)}


def find(subject: Look | Split | Checked) -> Iterator[Finding]:
    """Apply all rules of an image, a split or the dataset."""
    for rule in _FINDERS[type(subject)]:
        for finding in rule(subject):
            yield finding if finding.severity else finding._replace(severity=KINDS[finding.kind].severity)
