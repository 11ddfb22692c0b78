"use strict";
// From an image to the input of the network, and from its output to boxes. Needs no page: node can load it as well.

const FILL = 114; // grey of the pixels outside the image
const UNIT = 2048; // of the shares in bilinear interpolation: whole numbers, as OpenCV computes
const MOST_CANDIDATES = 30000; // that suppression looks at

/** Round halves to the even neighbour, as Python does: sizes must be the same there and here. */
function roundEven(x) {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

/**
 * Fit an image into a frame, keeping its proportions.
 *
 * @param {number} height of the image, and width: pixels
 * @param {number[]} frame [height, width]
 * @param {number} stride of the network where the frame may shrink to the smallest multiple of it, else 0
 * @returns what the frame becomes (height, width), where the image lies in it (top, left, h, w), and its gain
 */
function letterbox(height, width, frame, stride) {
  const gain = Math.min(frame[0] / height, frame[1] / width);
  const h = Math.max(roundEven(height * gain), 1);
  const w = Math.max(roundEven(width * gain), 1);
  let [dh, dw] = [frame[0] - h, frame[1] - w];
  if (stride) [dh, dw] = [dh % stride, dw % stride];
  const top = roundEven(dh / 2 - 0.1) + 0; // + 0: not -0
  const left = roundEven(dw / 2 - 0.1) + 0;
  return { height: h + dh, width: w + dw, top, left, h, w, gain };
}

/**
 * Draw an image into its frame and make it the network's input: (3, height, width), RGB 0..1.
 *
 * A canvas would be scaled as its browser likes; this is OpenCV's bilinear interpolation, which the network was
 * evaluated with.
 *
 * @param {Uint8ClampedArray} pixels RGBA
 * @param {number} height of the image, and width
 * @param place from `letterbox`
 */
function toInput(pixels, height, width, place) {
  const size = place.height * place.width;
  const input = new Float32Array(3 * size).fill(FILL / 255);
  const columns = taps(width, place.w);
  const rows = taps(height, place.h);
  for (let y = 0; y < place.h; y++) {
    const above = rows.low[y] * width;
    const below = rows.high[y] * width;
    const v = rows.share[y];
    let out = (y + place.top) * place.width + place.left;
    for (let x = 0; x < place.w; x++, out++) {
      const left = columns.low[x];
      const right = columns.high[x];
      const u = columns.share[x];
      const a = (above + left) * 4;
      const b = (above + right) * 4;
      const c = (below + left) * 4;
      const d = (below + right) * 4;
      for (let channel = 0; channel < 3; channel++) {
        const upper = pixels[a + channel] * (UNIT - u) + pixels[b + channel] * u;
        const lower = pixels[c + channel] * (UNIT - u) + pixels[d + channel] * u;
        const sum = (((UNIT - v) * (upper >> 4)) >> 16) + ((v * (lower >> 4)) >> 16);
        input[channel * size + out] = ((sum + 2) >> 2) / 255;
      }
    }
  }
  return input;
}

/** For each of `to` pixels along a side: its two neighbours among `from`, and the share of the second, of UNIT. */
function taps(from, to) {
  const [low, high, share] = [new Int32Array(to), new Int32Array(to), new Int32Array(to)];
  for (let i = 0; i < to; i++) {
    const at = Math.min(Math.max(((i + 0.5) * from) / to - 0.5, 0), from - 1);
    low[i] = Math.floor(at);
    high[i] = Math.min(low[i] + 1, from - 1);
    share[i] = roundEven((at - low[i]) * UNIT);
  }
  return { low, high, share };
}

/**
 * The best class of each anchor, where its score is above `conf`; best first.
 *
 * @param {Float32Array} output (1, 4 + classes, anchors): centre, width, height in pixels of the frame, then scores
 * @returns {Array} of { box: [x1, y1, x2, y2], score, id }
 */
function decode(output, classes, anchors, conf) {
  const [best, ids] = [new Float32Array(anchors).fill(conf), new Int32Array(anchors).fill(-1)];
  for (let id = 0, k = 4 * anchors; id < classes; id++) {
    for (let a = 0; a < anchors; a++, k++) {
      if (output[k] > best[a]) [best[a], ids[a]] = [output[k], id];
    }
  }
  const found = [];
  for (let a = 0; a < anchors; a++) {
    if (ids[a] < 0) continue;
    const [x, y] = [output[a], output[anchors + a]];
    const [w, h] = [output[2 * anchors + a] / 2, output[3 * anchors + a] / 2];
    found.push({ box: [x - w, y - h, x + w, y + h], score: best[a], id: ids[a] });
  }
  return found.sort((p, q) => q.score - p.score);
}

/** The rows (1, n, 6) of an output that is final: x1, y1, x2, y2, score, class; those above `conf`. */
function decodeFinal(output, n, conf) {
  const found = [];
  for (let i = 0; i < n; i++) {
    const row = output.subarray(6 * i, 6 * i + 6);
    if (row[4] > conf) found.push({ box: Array.from(row.subarray(0, 4)), score: row[4], id: Math.round(row[5]) });
  }
  return found.sort((p, q) => q.score - p.score);
}

/** Intersection over union of two boxes. */
function overlap(a, b) {
  const w = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const h = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (w <= 0 || h <= 0) return 0;
  const both = w * h;
  return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both);
}

/** Drop what overlaps a better box of its class by more than `iou`. `found` is sorted, best first. */
function suppress(found, iou, most) {
  const kept = [];
  for (const one of found.slice(0, MOST_CANDIDATES)) {
    if (kept.length >= most) break;
    if (kept.every((better) => better.id !== one.id || overlap(better.box, one.box) <= iou)) kept.push(one);
  }
  return kept;
}

/** Boxes in pixels of the image, cut to it. */
function toImage(found, height, width, place) {
  const cut = (value, most) => Math.min(Math.max(value, 0), most);
  return found.map((one) => ({
    ...one,
    box: one.box.map((value, i) =>
      i % 2 === 0 ? cut((value - place.left) / place.gain, width) : cut((value - place.top) / place.gain, height),
    ),
  }));
}

if (typeof module !== "undefined") {
  module.exports = { roundEven, letterbox, toInput, decode, decodeFinal, overlap, suppress, toImage };
}
