"use strict";
// The page: it loads the model beside it, takes images and camera frames, and draws what detect.js finds.

const RUNTIME = "./ort.wasm.bundle.min.mjs";
const THREADS = 4; // at most, where the server allows several

const TEXTS = {
  en: {
    start: "Start the camera",
    stop: "Stop the camera",
    loading: "Loading the model …",
    ready: "Ready.",
    working: "Computing …",
    live: "The camera is on.",
    boxes: (n) => (n === 1 ? "1 object" : `${n} objects`),
    about: (name, classes, size) => `${name} · ${classes === 1 ? "1 class" : `${classes} classes`} · ${size} pixels`,
    seconds: (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`,
    fromDisk: "This page must come from a web server: run “python -m http.server” in its folder, and open http://localhost:8000.",
    noWasm: "This browser has no WebAssembly, which the network runs in.",
    noModel: "The model cannot be loaded",
    noImage: "This file is no image that the browser can read.",
    noRun: "The network failed",
    noCamera: "The camera cannot be used",
    insecure: "Browsers allow the camera on https:// and http://localhost only.",
  },
  zh: {
    title: "目标检测",
    open: "打开图像",
    start: "开启摄像头",
    conf: "最低置信度",
    iou: "最大重叠(IoU)",
    drop: "将图像拖到这里",
    before: "预处理",
    network: "推理",
    after: "NMS",
    fps: "帧率(FPS)",
    privacy: "图像不会离开本机:所有计算都在此页面中完成。",
    controls: "控制",
    found: "检测结果",
    loading: "正在加载模型…",
    ready: "就绪。",
    working: "正在计算…",
    live: "摄像头已开启。",
    stop: "关闭摄像头",
    boxes: (n) => `${n} 个目标`,
    about: (name, classes, size) => `${name} · ${classes} 类 · ${size} 像素`,
    fromDisk: "本页面需由网页服务器提供:在其文件夹中运行“python -m http.server”,再打开 http://localhost:8000。",
    noWasm: "此浏览器不支持 WebAssembly,无法运行网络。",
    noModel: "无法加载模型",
    noImage: "浏览器无法将此文件读取为图像。",
    noRun: "网络运行失败",
    noCamera: "无法使用摄像头",
    insecure: "浏览器只允许在 https:// 和 http://localhost 上使用摄像头。",
  },
};
const chinese = (navigator.language || "").toLowerCase().startsWith("zh");
const text = (key) => (chinese && TEXTS.zh[key]) || TEXTS.en[key];
const part = (id) => document.getElementById(id);

let ort, session, model; // the runtime, the network in it, and model.json
let last = null; // { image, height, width, place, output, dims, times }: the latest image, and the network's output for it
let stream = null; // of the camera
let queue = Promise.resolve(); // one image at a time

function translate() {
  if (!chinese) return;
  document.documentElement.lang = "zh";
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text) ?? node.textContent;
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", text(node.dataset.label));
  document.title = text("title");
}

function state(name, words) {
  document.documentElement.dataset.state = name;
  if (part("status").textContent !== words) part("status").textContent = words;
}

function fail(key, error) {
  const reason = error === undefined ? "" : `: ${(error && error.message) || error}`.replace(/\s+/g, " ").slice(0, 300);
  part("error").textContent = text(key) + reason;
  part("error").hidden = false;
  state("failed", "");
}

async function load() {
  state("loading", text("loading"));
  if (location.protocol === "file:") return fail("fromDisk");
  if (typeof WebAssembly === "undefined") return fail("noWasm");
  try {
    const answer = await fetch("model.json");
    if (!answer.ok) throw new Error(`model.json: ${answer.status}`);
    model = await answer.json();
    ort = await import(RUNTIME);
    ort.env.wasm.proxy = true; // in a worker, so that the page answers meanwhile
    // Memory that threads share is there only on pages that the server isolates from others.
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, THREADS) : 1;
    session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
    const size = model.args.dynamic ? `≤ ${Math.max(...model.imgsz)}` : model.imgsz.join(" × ");
    part("about").textContent = text("about")(model.description, Object.keys(model.names).length, size);
    settle("conf", model.args.conf);
    settle("iou", model.args.iou);
  } catch (error) {
    return fail("noModel", error);
  }
  part("file").disabled = part("camera").disabled = false;
  state("ready", text("ready"));
  return openNamed();
}

/** Where the file holds suppression, its lowest score is the least that the page can show, and its overlap stays. */
function settle(id, value) {
  if (model.args.nms && typeof value === "number") {
    part(id).value = value;
    if (id === "conf") part(id).min = value;
    else part(id).disabled = true;
    part(id).closest(".slider").classList.toggle("off", part(id).disabled);
  }
  showValue(id);
}

function showValue(id) {
  part(`${id}-value`).textContent = Number(part(id).value).toFixed(2);
}

/** Open the image that the address names, beside this page: index.html?image=test.jpg. */
async function openNamed() {
  const name = new URLSearchParams(location.search).get("image");
  if (name === null) return;
  const address = new URL(name, location.href);
  if (address.origin !== location.origin) return fail("noImage");
  const answer = await fetch(address).catch(() => null);
  if (answer === null || !answer.ok) return fail("noImage", name);
  await openFile(await answer.blob());
}

async function openFile(file) {
  stopCamera();
  let image;
  try {
    // As OpenCV reads it: turned as its camera was held, colors as they are stored.
    image = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch (error) {
    return fail("noImage");
  }
  part("error").hidden = true;
  state("busy", text("working"));
  return enqueue(async () => {
    await pause(); // lets the page say so first
    await compute(image, image.width, image.height);
    draw();
  });
}

function enqueue(task) {
  queue = queue.then(task).catch((error) => {
    stopCamera();
    fail("noRun", error);
  });
  return queue;
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

/** Run the network on an image or a video's frame. */
async function compute(source, width, height) {
  const begin = performance.now();
  const frame = Object.assign(document.createElement("canvas"), { width, height });
  const context = frame.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  const place = letterbox(height, width, model.imgsz, model.args.dynamic ? model.stride : 0);
  const input = toInput(pixels, height, width, place);
  const feeds = { [session.inputNames[0]]: new ort.Tensor("float32", input, [1, 3, place.height, place.width]) };
  const read = performance.now();
  const results = await session.run(feeds);
  const output = results[session.outputNames[0]];
  last = { image: frame, height, width, place, output: output.data, dims: output.dims };
  last.times = { before: read - begin, network: performance.now() - read };
}

function detections() {
  const [conf, iou] = [Number(part("conf").value), Number(part("iou").value)];
  const { output, dims, height, width, place } = last;
  const classes = Object.keys(model.names).length;
  const raw = !model.args.nms && dims[2] !== 6;
  const found = raw ? suppress(decode(output, classes, dims[2], conf), iou, 300) : decodeFinal(output, dims[1], conf);
  return toImage(found, height, width, place);
}

/** Draw the latest image and its boxes, as the sliders are set now. */
function draw() {
  const begin = performance.now();
  const found = detections();
  last.times.after = performance.now() - begin;
  const canvas = part("canvas");
  if (canvas.width !== last.width || canvas.height !== last.height) {
    canvas.width = last.width;
    canvas.height = last.height;
  }
  canvas.hidden = false;
  part("hint").hidden = true;
  part("stage").classList.add("filled");
  const context = canvas.getContext("2d");
  context.drawImage(last.image, 0, 0);
  const scale = last.width / Math.max(canvas.clientWidth, 1); // pixels of the image in one of the page
  for (const one of [...found].reverse()) drawBox(context, one, scale);
  report(found);
}

const color = (id) => `hsl(${(id * 137.5 + 210) % 360} 85% 38%)`;
const caption = (one) => `${model.names[one.id] ?? one.id} ${one.score.toFixed(2)}`;

function drawBox(context, one, scale) {
  const [x1, y1, x2, y2] = one.box;
  const size = 14 * scale;
  context.lineWidth = 2 * scale;
  context.strokeStyle = context.fillStyle = color(one.id);
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "top";
  const width = context.measureText(caption(one)).width + 0.5 * size;
  const x = Math.max(Math.min(x1 - scale, last.width - width), 0);
  const y = y1 - 1.3 * size >= 0 ? y1 - 1.3 * size : y1;
  context.fillRect(x, y, width, 1.3 * size);
  context.fillStyle = "white";
  context.fillText(caption(one), x + 0.25 * size, y + 0.18 * size);
}

/** Say in words what is drawn. */
function report(found) {
  const summary = text("boxes")(found.length);
  part("canvas").setAttribute("aria-label", summary);
  part("found").replaceChildren(
    ...found.map((one) => {
      const [item, words] = [document.createElement("li"), document.createElement("span")];
      words.textContent = caption(one);
      item.style.borderColor = color(one.id);
      item.append(words);
      return item;
    }),
  );
  part("timing").hidden = false;
  for (const [id, time] of Object.entries(last.times)) part(id).textContent = text("seconds")(time);
  const boxes = found.map(({ box, score, id }) => ({ box, score, class: id, name: model.names[id] }));
  part("result").textContent = JSON.stringify({ width: last.width, height: last.height, boxes, times: last.times });
  state("done", stream ? text("live") : summary);
}

async function startCamera() {
  if (!navigator.mediaDevices) return fail("noCamera", text("insecure"));
  part("error").hidden = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
    part("video").srcObject = stream;
    await part("video").play();
  } catch (error) {
    stopCamera();
    return fail("noCamera", error);
  }
  part("camera").textContent = text("stop");
  part("fps-row").hidden = false;
  return enqueue(live);
}

async function live() {
  const video = part("video");
  const mine = stream;
  let rate = 0;
  let before = performance.now();
  while (stream !== null && stream === mine) {
    if (video.videoWidth > 0) {
      await compute(video, video.videoWidth, video.videoHeight);
      if (stream !== mine) return;
      const now = performance.now();
      rate = rate === 0 ? 1000 / (now - before) : 0.9 * rate + (0.1 * 1000) / (now - before);
      before = now;
      part("fps").textContent = rate.toFixed(1);
      draw();
    }
    await new Promise(requestAnimationFrame); // stands still where the page is not seen
  }
}

function stopCamera() {
  if (stream === null) return;
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  part("video").srcObject = null;
  part("camera").textContent = text("start");
  part("fps-row").hidden = true;
  state("done", part("canvas").getAttribute("aria-label") || text("ready"));
}

function listen() {
  part("file").addEventListener("change", (event) => {
    if (event.target.files.length) openFile(event.target.files[0]);
    event.target.value = ""; // the same file may be opened again
  });
  part("camera").addEventListener("click", () => (stream ? stopCamera() : startCamera()));
  for (const id of ["conf", "iou"]) {
    showValue(id);
    part(id).addEventListener("input", () => {
      showValue(id);
      if (last !== null && stream === null) draw();
    });
  }
  const stage = document.body;
  const over = (on) => part("stage").classList.toggle("over", on);
  stage.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  stage.addEventListener("dragleave", () => over(false));
  stage.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    if (session && event.dataTransfer.files.length) openFile(event.dataTransfer.files[0]);
  });
  window.addEventListener("resize", () => last !== null && stream === null && draw());
}

translate();
listen();
load();
