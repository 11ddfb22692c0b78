"use strict";
// Draws the charts of the page from the JSON beside them, sorts and filters tables, and renews a page that is served.
// It writes text and attributes only, never HTML.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const HINT = "Point at the chart to read values, drag across it to zoom.";
  const HEIGHT = 240, ROWS = 500, SPOKEN = 8;
  const ROOM = { left: 52, right: 12, top: 10, bottom: 38 };
  const views = new Map();  // chart's id → what is zoomed and hidden; outlasts a renewal

  function make(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function shape(name, attributes = {}, text = "") {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  }

  function shown(value) {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e5 || size < 1e-3) return Number(value.toPrecision(3)).toExponential();
    return String(Number(value.toPrecision(4)));
  }

  function ticks(low, high, most, whole) {
    const rough = (high - low) / Math.max(most, 1);
    const power = 10 ** Math.floor(Math.log10(rough));
    let step = [1, 2, 5, 10].map(k => k * power).find(s => s >= rough * 0.999) || rough;
    if (whole) step = Math.max(Math.round(step), 1);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-6); k * step <= high + step * 1e-6; k++) found.push(Number((k * step).toPrecision(12)));
    return found;
  }

  class Plot {
    constructor(figure) {
      this.figure = figure;
      this.data = JSON.parse(figure.querySelector("script").textContent);
      this.lines = this.data.lines;
      const all = this.lines.flatMap(line => line.x);
      this.ends = all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
      if (this.ends[0] === this.ends[1]) this.ends = [this.ends[0] - 0.5, this.ends[1] + 0.5];
      const kept = views.get(figure.id);
      this.view = kept || { range: null, hidden: new Set(this.lines.filter(l => !l.shown).map(l => l.name)) };
      views.set(figure.id, this.view);
      this.cursor = null;
      this.build();
      this.draw();
      new ResizeObserver(() => { if (this.wide !== this.plot.clientWidth) this.draw(); }).observe(this.plot);
    }

    build() {
      const name = this.data.title;
      const button = (sign, label, act) => {
        const made = make("button", { type: "button", "aria-label": `${label}: ${name}`, title: label }, sign);
        made.addEventListener("click", act);
        return made;
      };
      this.buttons = {
        in: button("+", "Zoom in", () => this.zoom(0.5)), out: button("−", "Zoom out", () => this.zoom(2)),
        left: button("←", "Move left", () => this.move(-1)), right: button("→", "Move right", () => this.move(1)),
        all: button("All", "Show all", () => this.reset()),
      };
      const help = "Left and right read values, plus and minus zoom, 0 shows all.";
      this.plot = shape("svg", { class: "plot", tabindex: 0, role: "group", "aria-label": `${name}. ${this.data.about} ${help}`, height: HEIGHT });
      this.readout = make("p", { class: "readout", "aria-live": "polite" }, HINT);
      this.legend = make("ul", { class: "legend", "aria-label": `Lines: ${name}` });
      this.lines.forEach((line, i) => {
        const key = shape("svg", { "aria-hidden": "true", viewBox: "0 0 24 8" });
        key.append(shape("line", { class: `curve ${this.style(i)}`, x1: 0, x2: 24, y1: 4, y2: 4 }));
        const toggle = make("button", { type: "button", "aria-pressed": !this.view.hidden.has(line.name) }, key, line.name);
        toggle.addEventListener("click", () => {
          const hidden = this.view.hidden;
          if (!hidden.delete(line.name)) hidden.add(line.name);
          toggle.setAttribute("aria-pressed", !hidden.has(line.name));
          this.draw();
        });
        this.legend.append(make("li", {}, toggle));
      });
      const numbers = make("details", { id: `${this.figure.id}-numbers` }, make("summary", {}, "Numbers"));
      numbers.addEventListener("toggle", () => { if (numbers.open && numbers.children.length === 1) numbers.append(this.table()); });
      this.figure.append(make("div", { class: "tools" }, ...Object.values(this.buttons)), this.plot, this.readout,
        ...(this.lines.length > 1 ? [this.legend] : []), numbers);
      this.listen();
    }

    style(i) {
      const line = this.lines[i];
      return `s${i % 8} ${line.dashed ? "dash" : i >= 16 ? "k2" : i >= 8 ? "k1" : ""}`;
    }

    listen() {
      const at = event => event.clientX - this.plot.getBoundingClientRect().left;
      let from = null;
      this.plot.addEventListener("pointerdown", event => {
        if (event.button) return;
        from = at(event);
        this.plot.setPointerCapture(event.pointerId);
      });
      this.plot.addEventListener("pointermove", event => {
        this.point(this.toValue(at(event)));
        if (from !== null && Math.abs(at(event) - from) > 8) this.pick(from, at(event));
      });
      const finish = event => {
        if (from === null) return;
        const [a, b] = [from, at(event)].sort((p, q) => p - q);
        from = null;
        if (event.type === "pointerup" && b - a > 8) this.show(this.toValue(a), this.toValue(b));
        else if (event.type === "pointerup") this.point(this.toValue(b));
        this.draw();
      };
      this.plot.addEventListener("pointerup", finish);
      this.plot.addEventListener("pointercancel", finish);
      this.plot.addEventListener("dblclick", () => this.reset());
      this.plot.addEventListener("keydown", event => {
        const act = { "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), "0": () => this.reset(),
          ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1), Escape: () => this.reset() }[event.key];
        if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        act();
      });
    }

    get range() { return this.view.range || this.ends; }

    show(low, high) {
      const [first, last] = this.ends;
      const least = (last - first) / 1000;
      low = Math.max(low, first);
      high = Math.min(high, last);
      if (high - low < least) return;
      this.view.range = low <= first && high >= last ? null : [low, high];
      this.draw();
    }

    zoom(factor) {
      const [low, high] = this.range;
      const middle = this.cursor !== null && this.cursor > low && this.cursor < high ? this.cursor : (low + high) / 2;
      this.show(middle - (middle - low) * factor, middle + (high - middle) * factor);
    }

    move(sign) {
      const [low, high] = this.range;
      const wide = high - low;
      let start = low + sign * wide / 2;
      start = Math.min(Math.max(start, this.ends[0]), this.ends[1] - wide);
      this.show(start, start + wide);
    }

    reset() {
      this.view.range = null;
      this.cursor = null;
      this.readout.textContent = HINT;
      this.draw();
    }

    visible() { return this.lines.map((line, i) => [line, i]).filter(([line]) => !this.view.hidden.has(line.name)); }

    places() {
      const [low, high] = this.range;
      const all = new Set(this.visible().flatMap(([line]) => line.x.filter(x => x >= low && x <= high)));
      return [...all].sort((a, b) => a - b);
    }

    step(sign) {
      const places = this.places();
      if (!places.length) return;
      const now = places.indexOf(this.cursor);
      this.point(places[now < 0 ? (sign > 0 ? 0 : places.length - 1) : Math.min(Math.max(now + sign, 0), places.length - 1)]);
    }

    point(value) {
      const places = this.places();
      if (!places.length) return;
      this.cursor = places.reduce((best, x) => Math.abs(x - value) < Math.abs(best - value) ? x : best);
      const texts = [];
      for (const [line] of this.visible()) {
        const k = line.x.indexOf(this.cursor);
        if (k >= 0 && line.y[k] !== null) texts.push(`${line.name} ${shown(line.y[k])}`);
      }
      const more = texts.length > SPOKEN ? `, and ${texts.length - SPOKEN} more` : "";
      this.readout.textContent = `${this.data.x} ${shown(this.cursor)}: ${texts.slice(0, SPOKEN).join(", ")}${more}`;
      this.mark();
    }

    toValue(pixel) {
      const [low, high] = this.range;
      return low + (pixel - ROOM.left) / this.inner * (high - low);
    }

    toX(value) {
      const [low, high] = this.range;
      return ROOM.left + (value - low) / (high - low) * this.inner;
    }

    toY(value) { return HEIGHT - ROOM.bottom - (value - this.low) / (this.high - this.low) * (HEIGHT - ROOM.top - ROOM.bottom); }

    scale() {
      const [low, high] = this.range;
      const values = [];
      for (const [line] of this.visible()) {
        for (const part of [line.y, line.low, line.high]) {
          if (!part) continue;
          line.x.forEach((x, k) => {
            if (part[k] === null) return;
            if (x >= low && x <= high) values.push(part[k]);
            if (!k || part[k - 1] === null) return;
            for (const end of [low, high]) {  // where the line enters and leaves
              const share = (end - line.x[k - 1]) / (x - line.x[k - 1]);
              if (share > 0 && share < 1) values.push(part[k - 1] + share * (part[k] - part[k - 1]));
            }
          });
        }
      }
      let [least, most] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
      if (!this.view.range) {  // what is zoomed fills the chart
        if (this.data.low !== null) least = Math.min(this.data.low, least);
        if (this.data.high !== null) most = Math.max(this.data.high, most);
      }
      const gap = (most - least) * 0.05 || Math.abs(most) * 0.05 || 0.5;
      this.low = this.data.low === least ? least : least - gap;
      this.high = this.data.high === most ? most : most + gap;
    }

    draw() {
      this.wide = this.plot.clientWidth || 320;
      this.inner = Math.max(this.wide - ROOM.left - ROOM.right, 10);
      this.scale();
      this.plot.setAttribute("viewBox", `0 0 ${this.wide} ${HEIGHT}`);
      this.plot.replaceChildren();
      const bottom = HEIGHT - ROOM.bottom, end = ROOM.left + this.inner;
      const add = (...rest) => { const made = shape(...rest); this.plot.append(made); return made; };
      for (const y of ticks(this.low, this.high, 5, false)) {
        add("line", { class: "rule", x1: ROOM.left, x2: end, y1: this.toY(y), y2: this.toY(y) });
        add("text", { x: ROOM.left - 6, y: this.toY(y) + 4, "text-anchor": "end" }, shown(y));
      }
      const [low, high] = this.range;
      for (const x of ticks(low, high, Math.min(this.inner / 60, 8), this.data.whole)) {
        add("line", { class: "rule", x1: this.toX(x), x2: this.toX(x), y1: ROOM.top, y2: bottom });
        add("text", { x: this.toX(x), y: bottom + 16, "text-anchor": "middle" }, shown(x));
      }
      add("line", { class: "axis", x1: ROOM.left, x2: end, y1: bottom, y2: bottom });
      add("text", { x: ROOM.left + this.inner / 2, y: HEIGHT - 4, "text-anchor": "middle" }, this.data.x);
      const clip = add("clipPath", { id: `${this.figure.id}-clip` });
      clip.append(shape("rect", { x: ROOM.left - 6, y: ROOM.top - 6, width: this.inner + 12, height: bottom - ROOM.top + 12 }));
      const group = add("g", { "clip-path": `url(#${this.figure.id}-clip)` });
      for (const [line, i] of this.visible()) this.curve(group, line, i);
      this.marks = add("g", {});
      this.mark();
      this.buttons.in.disabled = (high - low) / (this.ends[1] - this.ends[0]) < 0.002;
      for (const key of ["out", "all", "left", "right"]) this.buttons[key].disabled = !this.view.range;
    }

    curve(group, line, i) {
      const path = (xs, ys) => {
        let text = "", open = false;
        xs.forEach((x, k) => {
          if (ys[k] === null) { open = false; return; }
          text += `${open ? "L" : "M"}${this.toX(x).toFixed(1)} ${this.toY(ys[k]).toFixed(1)}`;
          open = true;
        });
        return text;
      };
      if (line.low && line.high) {
        const back = [...line.x].reverse(), lows = [...line.low].reverse();
        group.append(shape("path", { class: `band ${this.style(i)}`, d: `${path(line.x, line.high)}${path(back, lows).replace("M", "L")}Z` }));
      }
      group.append(shape("path", { class: `curve ${this.style(i)}`, d: path(line.x, line.y) }));
      if (line.dots) line.x.forEach((x, k) => {
        if (line.y[k] !== null) group.append(shape("circle", { class: `dot ${this.style(i)}`, cx: this.toX(x), cy: this.toY(line.y[k]), r: 4 }));
      });
    }

    mark() {
      this.marks.replaceChildren();
      const [low, high] = this.range;
      if (this.cursor === null || this.cursor < low || this.cursor > high) return;
      const x = this.toX(this.cursor);
      this.marks.append(shape("line", { class: "cursor", x1: x, x2: x, y1: ROOM.top, y2: HEIGHT - ROOM.bottom }));
      for (const [line, i] of this.visible()) {
        const k = line.x.indexOf(this.cursor);
        if (k >= 0 && line.y[k] !== null) this.marks.append(shape("circle", { class: `dot ${this.style(i)}`, cx: x, cy: this.toY(line.y[k]), r: 5 }));
      }
    }

    pick(from, to) {
      const [a, b] = [from, to].sort((p, q) => p - q).map(p => Math.min(Math.max(p, ROOM.left), ROOM.left + this.inner));
      this.marks.append(shape("rect", { class: "pick", x: a, width: b - a, y: ROOM.top, height: HEIGHT - ROOM.top - ROOM.bottom }));
    }

    table() {
      const lines = this.visible().map(([line]) => line);
      const places = [...new Set(lines.flatMap(line => line.x))].sort((a, b) => a - b);
      const row = x => make("tr", {}, make("th", { scope: "row" }, shown(x)),
        ...lines.map(line => make("td", { class: "number" }, shown(line.y[line.x.indexOf(x)]))));
      const head = make("tr", {}, ...[this.data.x, ...lines.map(l => l.name)].map(name => make("th", { scope: "col" }, name)));
      const table = make("table", {}, make("caption", {}, this.data.title), make("thead", {}, head), make("tbody", {}, ...places.slice(0, ROWS).map(row)));
      return make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": this.data.title }, table);
    }
  }

  function key(cell) {
    const text = cell.textContent.trim();
    const value = parseFloat(text.replace(/,/g, "").replace("−", "-"));
    return [Number.isNaN(value) ? null : value, text];
  }

  function sortable(table) {
    table.querySelectorAll("thead th").forEach((head, place) => {
      const button = make("button", { type: "button" }, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        table.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].map(row => [key(row.cells[place]), row]);
        const numbers = rows.filter(([[value]]) => value !== null).length > rows.length / 2;
        rows.sort(([a], [b]) => {
          if (!numbers) return (down ? -1 : 1) * b[1].localeCompare(a[1], undefined, { numeric: true });
          if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null);
          return down ? b[0] - a[0] : a[0] - b[0];
        });
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  function findable(section) {
    const field = make("input", { type: "search", id: "find-setting" });
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      section.querySelectorAll("tbody tr").forEach(row => row.classList.toggle("filtered", !row.textContent.toLowerCase().includes(wanted)));
      const rest = section.querySelector("details");
      if (rest && wanted) rest.open = true;
    });
    section.querySelector("h2").after(make("label", { class: "find", for: "find-setting" }, "Find a setting", field));
  }

  function enlargeable(figure) {
    const image = figure.querySelector("img");
    image.replaceWith(make("div", { class: "frame", tabindex: 0, role: "group", "aria-label": image.alt }));
    figure.querySelector(".frame").append(image);
    const button = make("button", { type: "button", "aria-pressed": "false", "aria-label": `Full size: ${image.alt}` }, "Full size");
    button.addEventListener("click", () => button.setAttribute("aria-pressed", figure.classList.toggle("wide")));
    figure.querySelector("figcaption").append(button);
  }

  function start() {
    document.querySelectorAll("figure.chart").forEach(figure => new Plot(figure));
    document.querySelectorAll("table.sortable").forEach(sortable);
    document.querySelectorAll("#settings").forEach(findable);
    document.querySelectorAll("figure.image").forEach(enlargeable);
    document.documentElement.dataset.ready = "";
  }

  async function renew(seconds) {
    const news = document.getElementById("news");
    const say = text => { news.textContent = text; news.classList.toggle("hidden", !text); };
    let version = document.body.dataset.live;
    for (;;) {
      await new Promise(done => setTimeout(done, seconds * 1000));
      if (document.hidden) continue;
      try {
        const now = await (await fetch("/version", { cache: "no-store" })).text();
        if (now !== version) {
          const next = new DOMParser().parseFromString(await (await fetch("/", { cache: "no-store" })).text(), "text/html");
          const open = [...document.querySelectorAll("details[open][id]")].map(d => d.id);
          version = next.body.dataset.live;
          for (const part of ["header", "nav", "main", "footer"]) document.querySelector(part).replaceWith(document.importNode(next.querySelector(part), true));
          start();
          for (const id of open) { const found = document.getElementById(id); if (found) found.open = true; }
          document.body.dataset.live = version;
        }
        say("");
      } catch {
        say("The server has ended: this is the page as it was last.");
      }
    }
  }

  start();
  if (document.body.dataset.live) renew(3);
})();
