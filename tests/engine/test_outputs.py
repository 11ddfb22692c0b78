import os
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.engine.outputs import CROPS, IMAGES, LABELS, OutputNames, distinct, free_path

ALL = [IMAGES, LABELS, CROPS]


def stems(folder, files, kinds=None, **kwargs):
    videos = [f.endswith((".mp4", ".avi")) for f in files]
    sources = [None if f.startswith("image") else f for f in files]
    return OutputNames(folder, sources, [Path(f).stem for f in files], kinds or ALL, videos, **kwargs).stems


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["a/x.jpg", "b/x.jpg", "c/x.png"], ["x", "x_2", "x_3"]),
        (["x.png", "x.jpg"], ["x", "x_2"]),  # suffixes may change, and labels have one
        (["a/A.jpg", "b/a.jpg", "c/ü.jpg", "d/u\u0308.jpg"], ["A", "a_2", "ü", "u\u0308_2"]),
        (["a/x.jpg", "b/x.jpg", "c/x_2.jpg"], ["x", "x_3", "x_2"]),  # a name of a source's own is not taken away
        (["a.b.jpg", "a.jpg", "a.b.png"], ["a.b", "a", "a.b_2"]),
        (["a/clip.mp4", "b/clip.mp4", "clip.avi"], ["clip", "clip_2", "clip_3"]),
        (["clip.mp4", "clip_1.jpg"], ["clip_2", "clip_1"]),  # labels of its first frame would be clip_1.txt
        (["x.jpg", "x.jpg"], ["x", "x_2"]),
        (["x.mp4", "x.incomplete.mp4"], ["x", "x.incomplete_2"]),
    ],
    ids=str,
)
def test_every_source_has_a_name_of_its_own(tmp_path, files, wanted):
    assert stems(tmp_path, files, new=True) == wanted
    assert not list(tmp_path.iterdir())


def test_the_same_source_keeps_its_name_and_another_does_not_take_it(tmp_path):
    assert stems(tmp_path, ["a/x.jpg", "b/x.jpg"]) == ["x", "x_2"]
    (tmp_path / "x.jpg").touch()
    (tmp_path / "x_2.jpg").touch()
    assert stems(tmp_path, ["a/x.jpg", "b/x.jpg"]) == ["x", "x_2"]
    assert stems(tmp_path, ["b/x.jpg"]) == ["x_2"]
    assert stems(tmp_path, ["c/X.png", "x_2.jpg"]) == ["X_3", "x_2_2"]
    assert stems(tmp_path, ["image0.jpg"]) == ["image0"]
    assert stems(tmp_path, ["image0.jpg"]) == ["image0_2"]  # another image, whatever it is called


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_files_of_the_folder_that_are_no_outputs_stay(tmp_path, kind, link):
    place = tmp_path / "run" / kind / ("cat" if kind == CROPS else "")
    place.mkdir(parents=True)
    (tmp_path / "x.txt").write_text("mine")
    if link is None:
        (place / "x.txt").write_text("mine")
    else:
        link(tmp_path / "x.txt", place / "x.txt")
    for _ in range(2):
        assert stems(tmp_path / "run", ["a/x.jpg"], [kind]) == ["x_2"]
    assert stems(tmp_path / "run", ["a/x.jpg"], [k for k in ALL if k != kind]) == ["x"]


def test_an_output_that_is_a_source_now_is_not_replaced(tmp_path):
    source = tmp_path / "run" / "x.jpg"
    source.parent.mkdir()
    source.touch()
    assert stems(source.parent, [str(source)], [LABELS]) == ["x"]  # recorded, and yet no picture may go there
    assert stems(source.parent, [str(source)]) == ["x_2"]
    (source.parent / "x_2.jpg").touch()
    files = [str(source), str(source.with_name("x_2.jpg"))]
    assert not {f"{s}.jpg" for s in stems(source.parent, files)} & {"x.jpg", "x_2.jpg"}


def test_a_record_that_cannot_be_read_counts_for_nothing(tmp_path):
    assert stems(tmp_path, ["a/x.jpg"]) == ["x"]
    (tmp_path / "x.jpg").touch()
    for text in ("", "{", "[1]", "\0"):
        (tmp_path / ".outputs.json").write_text(text)
        assert stems(tmp_path, ["a/x.jpg"])[0].startswith("x_")


def test_calls_at_one_time_share_no_name(tmp_path):
    with ThreadPoolExecutor(8) as pool:  # each opens the record for itself, as a process does
        made = list(pool.map(lambda i: tuple(stems(tmp_path, [f"{i}/x.jpg", f"{i}/y.jpg"])), range(16)))
    assert len({s for pair in made for s in pair}) == 32


def test_numbers_of_crops_make_no_name_of_another_source(tmp_path):
    names = OutputNames(tmp_path, ["x.jpg", "x_2.jpg"], ["x", "x_2"], [CROPS], new=True)
    assert list(islice(names.crops(0), 3)) == ["x", "x_3", "x_4"]
    assert list(islice(names.crops(1), 2)) == ["x_2", "x_2_2"]
    videos = OutputNames(tmp_path, ["a/v.mp4", "b/v.mp4"], ["v", "v"], [CROPS], [True, True], new=True)
    crops = [name for video in (0, 1) for frame in (1, 2, 3) for name in islice(videos.crops(video, frame), 3)]
    assert len(set(crops)) == len(crops)


def test_thousands_of_one_name_and_long_names(tmp_path):
    made = stems(tmp_path, [f"{i}/frame.jpg" for i in range(5_000)])
    assert len(set(made)) == 5_000
    long = [f"{i}/{'图' * 84}.jpg" for i in range(3)]
    made = stems(tmp_path, [*long, f"{os.fsdecode(b'x' + bytes([255]))}.jpg"])
    assert len(set(made)) == 4
    assert max(len(os.fsencode(s)) for s in made) < 230


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["a", "A", "a_2", "a_2_2", "a_1", "b"]), max_size=8), st.integers(0, 255))
def test_no_two_files_of_a_call_have_one_name(tmp_path_factory, names, videos):
    files = [f"{i}/{n}{'.mp4' if videos >> i & 1 else '.jpg'}" for i, n in enumerate(names)]
    given = OutputNames(
        tmp_path_factory.mktemp("o"), files, [Path(f).stem for f in files], ALL, [f.endswith("mp4") for f in files]
    )
    written = []
    for i, file in enumerate(files):
        frames = range(1, 4) if file.endswith("mp4") else [0]
        written.append(f"{given.stems[i]}.jpg")
        written += [f"labels/{given.stems[i]}{f'_{f}' if f else ''}.txt" for f in frames]
        written += [f"crops/{name}.jpg" for f in frames for name in islice(given.crops(i, f), 3)]
    folded = [w.casefold() for w in written]
    assert len(set(folded)) == len(folded)


def test_folders_of_classes_and_free_paths(tmp_path):
    assert distinct(["a_b", "a_b", "A_B", "a_b_2"]) == ["a_b", "a_b_3", "A_B_4", "a_b_2"]
    (tmp_path / "x.jpg").touch()
    (tmp_path / "x_2.jpg").symlink_to("nowhere")
    assert free_path(tmp_path / "x.jpg") == tmp_path / "x_3.jpg"
