"""An exported file outside this package: in a browser, and in the programs of docs/export.md."""

import glob
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.browser import CHROMIUM, Browser, served
from tests.helpers.networks import write_net
from ultralytics import YOLO
from ultralytics.cfg.config import get_cfg
from ultralytics.cli import main
from ultralytics.data.letterbox import LetterBox
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.engine.formats.table import open_exported
from ultralytics.models.yolo.detect import demo
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.nms import non_max_suppression

CLONE = Path(__file__).resolve().parents[2]
NODE = shutil.which("node")
INCLUDES = (os.environ.get("ONNXRUNTIME_INCLUDE", ""), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime")
STATE = "document.documentElement.dataset.state"
METADATA = Metadata({0: "红", 1: "<b>blue</b>"}, args={"dynamic": True, "nms": False}, description="tiny model")
node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def in_node(script, given):
    """What a script makes of `given`, with detect.js as `d`."""
    code = f"const d = require({json.dumps(str(demo.PAGE / 'detect.js'))});"
    code += "const given = JSON.parse(require('fs').readFileSync(0));"
    done = subprocess.run(
        [NODE, "-e", code + script], input=json.dumps(given), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@node
def test_the_page_fits_images_as_the_package_does():
    rng = np.random.default_rng(0)
    cases = [[*rng.integers(1, 3000, 2).tolist(), [640, 640], stride] for stride in (0, 32) for _ in range(150)]
    cases += [[*rng.integers(1, 900, 2).tolist(), [384, 640], stride] for stride in (0, 32) for _ in range(50)]
    cases += [[5, 64, [640, 640], 32], [480, 640, [64, 64], 32], [45, 70, [64, 64], 0], [3, 2000, [64, 64], 32]]
    found = in_node("console.log(JSON.stringify(given.map((c) => d.letterbox(...c))))", cases)
    for (height, width, frame, stride), place in zip(cases, found, strict=True):
        box = LetterBox(tuple(frame), auto=bool(stride), stride=stride or 32)
        (h, w), (top, bottom, left, right), (gain, _) = box.geometry((height, width))
        assert (place["h"], place["w"], place["top"], place["left"]) == (h, w, top, left), (height, width)
        assert (place["height"], place["width"]) == (h + top + bottom, w + left + right), (height, width)
        assert place["gain"] == pytest.approx(gain)


@node
@pytest.mark.parametrize("size", [(61, 83), (200, 133), (64, 64), (1, 7)])
def test_the_pages_input_is_what_the_network_was_evaluated_with(size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    ours = LetterBox((64, 64), auto=True, stride=32).render(image).transpose(2, 0, 1)
    rgba = np.dstack([image, np.full(size, 255, np.uint8)])
    script = """
        const [h, w, pixels] = given;
        const place = d.letterbox(h, w, [64, 64], 32);
        console.log(JSON.stringify(Array.from(d.toInput(Uint8ClampedArray.from(pixels), h, w, place))))"""
    theirs = np.array(in_node(script, [*size, rgba.ravel().tolist()]), np.float32) * 255
    off = np.abs(theirs.reshape(ours.shape) - ours)
    assert off.max() < 1.01
    assert (off > 0.01).mean() < (0.03 if size != (64, 64) else 1e-9)


@node
def test_the_page_suppresses_as_the_package_does():
    generator = torch.Generator().manual_seed(2)
    centres = torch.rand(2, 12, generator=generator).repeat_interleave(25, 1) * 500
    boxes = torch.cat((centres + torch.rand(2, 300, generator=generator) * 20, 40 + torch.rand(2, 300) * 20))
    output = torch.cat((boxes, torch.rand(3, 300, generator=generator)))
    assert output.shape == (7, 300)
    script = """
        const output = Float32Array.from(given.output);
        const kept = ([conf, iou, most]) => d.suppress(d.decode(output, 3, 300, conf), iou, most);
        const flat = (found) => found.map((one) => [...one.box, one.score, one.id]);
        console.log(JSON.stringify(given.cases.map((one) => flat(kept(one)))))"""
    cases = [(0.25, 0.7, 300), (0.6, 0.3, 300), (0.01, 0.95, 300), (0.25, 0.7, 5), (0.9999, 0.7, 300)]
    found = in_node(script, {"output": output.flatten().tolist(), "cases": cases})
    for (conf, iou, most), rows in zip(cases, found, strict=True):
        ours = non_max_suppression(output[None], conf, iou, max_det=most)[0]
        torch.testing.assert_close(torch.tensor(rows).reshape(-1, 6), ours, atol=1e-3, rtol=0)
    assert [bool(rows) for rows in found] == [True] * 4 + [False]


@node
def test_final_rows_and_places_in_the_image():
    rows = [[10, 20, 30, 200, 0.5, 1], [1, 2, 3, 4, 0.9, 0], [0, 0, 0, 0, 0, 0]]
    script = """
        const found = d.decodeFinal(Float32Array.from(given.flat()), 3, 0.25);
        const place = { top: 10, left: 0, gain: 2 };
        console.log(JSON.stringify(d.toImage(found, 90, 50, place)))"""
    first, second = in_node(script, rows)
    assert (first["id"], first["box"]) == (0, [0.5, 0, 1.5, 0])
    assert (second["id"], second["box"]) == (1, [5, 5, 15, 90])


def test_the_page_speaks_chinese_and_names_no_address_elsewhere():
    page, script = (demo.PAGE.joinpath(name).read_text(encoding="utf-8") for name in ("index.html", "demo.js"))
    english, chinese = (re.search(rf"  {lang}: {{(.*?)\n  }},", script, re.DOTALL)[1] for lang in ("en", "zh"))
    keys = set(re.findall(r"^    (\w+):", chinese, re.MULTILINE))
    assert set(re.findall(r'data-(?:text|label)="(\w+)"', page)) <= keys
    assert set(re.findall(r"^    (\w+):", english, re.MULTILINE)) - keys == {"seconds"}
    for name in demo.OURS:
        found = re.findall(r"https?://[\w:-]*", demo.PAGE.joinpath(name).read_text(encoding="utf-8"))
        assert {
            address for address in found if address not in ("http://localhost:8000", "https://", "http://localhost")
        } == set()
    assert set(re.findall(r'(?:src|href)="([^"]+)"', page)) - {"data:,"} == {"style.css", "detect.js", "demo.js"}
    assert sorted(file.name for file in demo.PAGE.iterdir()) == sorted(demo.OURS)


def settings(folder, **more):
    return get_cfg(None, {"format": "onnx", "batch": 1, "demo": str(folder), **more}, mode="export")


@pytest.mark.parametrize(
    ("more", "channels", "message"),
    [
        ({"format": "openvino"}, 3, "needs format=onnx"),
        ({"half": True}, 3, "half=True exclude"),
        ({"batch": 2}, 3, "one image at a time"),
        ({}, 1, "3 channels, not 1"),
    ],
)
def test_what_the_page_cannot_run_is_refused_before_anything_is_fetched(tmp_path, more, channels, message):
    with pytest.raises(ConfigError, match=message):
        demo.fetch_library(settings(tmp_path / "demo", **more), channels)


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        demo.fetch_library(settings(tmp_path), 3)
    with pytest.raises(ConfigError, match="names a file"):
        demo.fetch_library(settings(tmp_path / "notes.txt"), 3)


def test_the_archive_is_asked_for_and_checked(tmp_path):
    with pytest.raises(UserError, match=r"needs ONNX Runtime Web \(run `npm pack onnxruntime-web@[\d.]+` in "):
        demo.fetch_library(settings(tmp_path / "demo"), 3)
    (tmp_path / demo.ARCHIVE).write_bytes(b"another file")
    with pytest.raises(UserError, match="its checksum differs"):
        demo.fetch_library(settings(tmp_path / "demo"), 3)


@pytest.fixture
def packed(tmp_path):
    """An archive with files of the names that the page needs."""
    file = tmp_path / "library.tgz"
    with tarfile.open(file, "w:gz") as archive:
        for name in demo.LIBRARY:
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
    return file


def test_a_demo_is_written_and_written_again(tmp_path, packed):
    model, folder = tmp_path / "a.onnx", tmp_path / "demo"
    model.write_bytes(b"first")
    demo.write_demo(folder, packed, model, METADATA)
    written = {"README.txt", "model.json", "model.onnx", *demo.OURS, *demo.LIBRARY}
    assert {file.name for file in folder.iterdir()} == written
    data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert data["names"] == {"0": "红", "1": "<b>blue</b>"}
    assert data["stride"] == 32
    (folder / "test.jpg").write_bytes(b"mine")
    model.write_bytes(b"second")
    demo.write_demo(folder, packed, model, METADATA)
    assert {file.name for file in folder.iterdir()} == {*written, "test.jpg"}
    assert (folder / "model.onnx").read_bytes() == b"second"


@pytest.mark.slow
def test_the_command_writes_a_demo(tmp_path, packed, monkeypatch):
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(demo, "SHA256", hashlib.sha256(packed.read_bytes()).hexdigest())
    shutil.copy(packed, tmp_path / demo.ARCHIVE)
    net = write_net(tmp_path)
    torch.manual_seed(0)
    YOLO(str(net)).save(tmp_path / "net.pt")
    words = ["export", f"model={tmp_path / 'net.pt'}", "format=onnx", "imgsz=64", f"demo={tmp_path / 'demo'}"]
    assert main(words) == 0
    assert (tmp_path / "demo" / "model.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()
    assert json.loads((tmp_path / "demo" / "model.json").read_text(encoding="utf-8"))["imgsz"] == [64, 64]


@pytest.mark.slow
def test_an_installed_package_has_the_page(tmp_path):
    pytest.importorskip("setuptools")
    words = ["setup.py", "-q", "build", "--build-base", str(tmp_path / "build"), "--build-lib", str(tmp_path / "lib")]
    words = ["setup.py", "-q", "egg_info", "--egg-base", str(tmp_path), *words[2:]]
    done = subprocess.run([sys.executable, *words], cwd=CLONE, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "lib" / demo.PAGE.relative_to(CLONE)
    assert sorted(file.name for file in page.iterdir()) == sorted(demo.OURS)


# With the real weights


@pytest.fixture(scope="module")
def files(shared, tmp_path_factory):
    """YOLOv8n with real weights as two ONNX files: one that takes any size, one that takes 320×416."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for name, more in (("dynamic", {"dynamic": True}), ("fixed", {"imgsz": [320, 416]})):
        weights = shutil.copy(shared / "weights" / "yolov8n.pt", folder / f"{name}.pt")
        found[name] = Path(YOLO(str(weights)).export(format="onnx", **more))
    return found


@pytest.fixture(scope="module")
def images(shared):
    found = sorted(glob.glob(str(shared / "data" / "coco128-val" / "images" / "**" / "*.jpg"), recursive=True))
    assert len(found) > 40
    return [Path(found[i]) for i in (3, 10, 37)]


def predicted(file, image):
    """(class, score, box) of each object."""
    boxes = YOLO(str(file)).predict(str(image), save=False, verbose=False)[0].boxes
    return [(int(row[5]), row[4], row[:4]) for row in boxes.data.tolist()]


def assert_paired(ours, theirs, pixels, score):
    """Objects clearly above the lowest score are found by both, in the same places."""
    assert ours
    for some, others in ((ours, theirs), (theirs, ours)):
        for kind, sure, box in some:
            if sure < 0.3:
                continue
            near = [
                o for o in others if o[0] == kind and max(abs(a - b) for a, b in zip(o[2], box, strict=True)) <= pixels
            ]
            assert near, (kind, sure, box, others)
            assert min(abs(o[1] - sure) for o in near) <= score, (kind, sure, near)


@pytest.fixture(scope="module")
def pages(files, tmp_path_factory):
    """A demo of each file, with the published onnxruntime-web."""
    npm = shutil.which("npm")
    if npm is None or CHROMIUM is None:
        pytest.skip("npm and chromium are not both installed")
    folder = tmp_path_factory.mktemp("pages")
    words = [npm, "pack", f"onnxruntime-web@{demo.VERSION}"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"onnxruntime-web cannot be had: {done.stderr[-200:]}")
    found = {}
    for name, file in files.items():
        library = demo.fetch_library(settings(folder / name), 3)  # finds the archive, and checks it
        demo.write_demo(folder / name, library, file, open_exported(file).metadata)
        found[name] = folder / name
    return found


def shown(browser):
    """(class, score, box) of each object that the page shows, and all it says of the image."""
    result = json.loads(browser.run("document.getElementById('result').textContent"))
    return [(one["class"], one["score"], one["box"]) for one in result["boxes"]], result


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
def test_a_browser_finds_what_predict_finds(files, pages, images, tmp_path, kind):
    shutil.copy(images[0], pages[kind] / "test.jpg")
    with served(pages[kind]) as address, Browser(tmp_path / "profile") as browser:
        browser.open(f"{address}?image=test.jpg")
        for image in images:
            if image != images[0]:
                browser.run("document.getElementById('result').textContent = ''")
                browser.choose("#file", image)
            browser.wait(f"document.getElementById('result').textContent || {STATE} === 'failed'")
            assert browser.run(STATE) == "done", browser.run("document.getElementById('error').textContent")
            theirs, result = shown(browser)
            assert [result["height"], result["width"]] == list(cv2.imread(str(image)).shape[:2])
            assert min(result["times"].values()) >= 0
            assert_paired(predicted(files[kind], image), theirs, 0.5, 0.01)
        assert browser.complaints() == []
        assert {a for a in browser.addresses() if not a.startswith((address, "blob:", "data:"))} == set()
        before = len(shown(browser)[0])
        # The slider, by keyboard: fewer boxes at once, without another inference.
        browser.run("document.getElementById('conf').focus()")
        for _ in range(50):
            browser.ask(
                "Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39
            )
        assert browser.run("document.getElementById('conf-value').textContent") == "0.75"
        after = shown(browser)[0]
        assert len(after) < before
        assert all(score > 0.75 for _, score, _ in after)
        assert browser.run("document.getElementById('found').children.length") == len(after)


@pytest.mark.slow
def test_threads_where_the_server_isolates_the_page(files, pages, images, tmp_path):
    headers = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
    page = shutil.copytree(pages["fixed"], tmp_path / "page")
    shutil.copy(images[1], page / "test.jpg")
    with served(page, headers) as address, Browser(tmp_path / "profile") as browser:
        browser.open(f"{address}?image=test.jpg")
        browser.wait(f"['done', 'failed'].includes({STATE})")
        assert browser.run("crossOriginIsolated") is True
        assert browser.run("ort.env.wasm.numThreads") == min(os.cpu_count(), 4)
        assert_paired(predicted(files["fixed"], images[1]), shown(browser)[0], 0.5, 0.01)
        found = shown(browser)
        browser.run("document.getElementById('result').textContent = ''")
        browser.run("""(async () => {
            const dropped = new DataTransfer();
            dropped.items.add(new File([await (await fetch('test.jpg')).blob()], 'test.jpg', {type: 'image/jpeg'}));
            const event = new DragEvent('drop', {dataTransfer: dropped, bubbles: true, cancelable: true});
            document.getElementById('stage').dispatchEvent(event);
        })()""")
        browser.wait("document.getElementById('result').textContent")
        assert shown(browser)[0] == found[0]


@pytest.mark.slow
def test_the_camera_the_widths_and_chinese(pages, tmp_path):
    options = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--accept-lang=zh-CN")
    with served(pages["fixed"]) as address, Browser(tmp_path / "profile", *options) as browser:
        browser.open(address)
        browser.wait(f"{STATE} === 'ready'")
        assert browser.run("document.querySelector('h1').textContent") == "目标检测"
        browser.run("document.getElementById('camera').click()")
        browser.wait("Number(document.getElementById('fps').textContent) > 0")
        browser.wait(f"{STATE} === 'done'")
        assert browser.run("document.getElementById('camera').textContent") == "关闭摄像头"
        for width in (390, 1280):
            browser.width(width)
            assert browser.run("document.documentElement.scrollWidth") <= width
        browser.run("document.getElementById('camera').click()")
        browser.wait("document.getElementById('video').srcObject === null")
        assert browser.run("document.getElementById('camera').textContent") == "开启摄像头"
        assert browser.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [("model.onnx", b"no model"), ("model.json", b"{}"), ("ort-wasm-simd-threaded.wasm", b"no wasm")],
)
def test_a_page_that_cannot_load_says_so_in_one_line(pages, tmp_path, name, content):
    broken = shutil.copytree(pages["fixed"], tmp_path / "page")
    (broken / name).write_bytes(content)
    with served(broken) as address, Browser(tmp_path / "profile") as browser:
        browser.open(address)
        browser.wait(f"{STATE} === 'failed'")
        assert browser.run("document.getElementById('error').textContent").startswith("The model cannot be loaded: ")
        assert browser.run("document.getElementById('file').disabled") is True
        browser.open((broken / "index.html").as_uri())
        browser.wait(f"{STATE} === 'failed'")
        assert "python -m http.server" in browser.run("document.getElementById('error').textContent")


def snippet(language):
    text = (CLONE / "docs" / "export.md").read_text(encoding="utf-8")
    return re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)[1]


def printed(text, names):
    """(class, score, box) of each line that a program prints."""
    rows = [line.split() for line in text.splitlines()]
    return [(names(row[0]), float(row[1]), [float(n) for n in row[2:]]) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
def test_the_python_program_of_the_page_finds_what_predict_finds(files, images, tmp_path, kind):
    program = snippet("python")
    assert not re.search(r"torch|ultralytics", program)
    (tmp_path / "detect.py").write_text(program, encoding="utf-8")
    names = YOLO(str(files[kind])).names
    ids = {name.replace(" ", "_"): i for i, name in names.items()}
    for image in images:
        words = [sys.executable, tmp_path / "detect.py", files[kind], image]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert_paired(predicted(files[kind], image), printed(done.stdout, ids.__getitem__), 0.1, 0.001)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
def test_the_cpp_program_of_the_page_finds_what_predict_finds(files, images, tmp_path, kind):
    found = importlib.util.find_spec("onnxruntime")
    headers = next((f for f in INCLUDES if f and Path(f, "onnxruntime_cxx_api.h").is_file()), None)
    compiler = shutil.which("g++")
    wanted = {
        "g++": compiler,
        "onnxruntime (pip install -r requirements-export.txt)": found,
        "onnxruntime_cxx_api.h (libonnxruntime-dev, or ONNXRUNTIME_INCLUDE names its folder)": headers,
    }
    absent = [what for what, there in wanted.items() if there is None]
    if absent:
        pytest.skip(f"not found: {', '.join(absent)}")
    library = next(Path(found.origin).parent.glob("capi/libonnxruntime.so.*"))
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / name).symlink_to(library)
    (tmp_path / "detect.cpp").write_text(snippet("cpp"), encoding="utf-8")
    words = [
        compiler,
        "-std=c++17",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "detect.cpp",
        "-isystem",
        headers,
        "-L.",
        "-lonnxruntime",
    ]
    done = subprocess.run(
        [*words, "-o", "detect"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}

    def run(*words):
        words = [tmp_path / "detect", *words]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=environment)

    for image in images:
        cv2.imwrite(str(tmp_path / "image.ppm"), cv2.imread(str(image)))
        done = run(files[kind], tmp_path / "image.ppm")
        assert done.returncode == 0, done.stderr
        assert_paired(predicted(files[kind], image), printed(done.stdout, int), 1.0, 0.02)
    (tmp_path / "cut.ppm").write_bytes((tmp_path / "image.ppm").read_bytes()[:1000])
    for words in (
        (files[kind], tmp_path / "cut.ppm"),
        (files[kind], images[0]),
        (images[0], tmp_path / "image.ppm"),
        (),
    ):
        done = run(*words)
        assert done.returncode == 2
        assert re.fullmatch(r"error: [^\n]+\n", done.stderr)
