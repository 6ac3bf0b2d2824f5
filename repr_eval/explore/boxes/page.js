"use strict";
// Boxes in pixels of the samples; right and bottom are the first pixels beyond a box.
const told = JSON.parse(document.getElementById("sheet").textContent);
const size = told.sheet.image_size;
const SMALLEST = 2; // pixels of a side: less is a click
const SIDES = ["left", "top", "right", "bottom"];
const byId = id => document.getElementById(id);
const samples = [...document.querySelectorAll(".sample")];
let boxes = [], before = [], saved = true;

function remember() { before.push(boxes.map(box => ({...box}))); saved = false; }

function place(element, box) {
  const percent = pixels => `${100 * pixels / size}%`;
  Object.assign(element.style, {left: percent(box.left), top: percent(box.top),
    width: percent(box.right - box.left), height: percent(box.bottom - box.top)});
  element.setAttribute("aria-label", `box of sample ${box.sample}: ` +
    SIDES.map(side => `${side} ${box[side]}`).join(", "));
}

function elementOf(box) {
  const element = document.createElement("div"), remove = document.createElement("button");
  element.className = "box";
  element.tabIndex = 0;
  element.setAttribute("role", "group");
  place(element, box);
  Object.assign(remove, {type: "button", textContent: "×", tabIndex: -1, title: "Delete this box"});
  remove.addEventListener("click", () => erase(box));
  element.append(remove);
  element.addEventListener("keydown", event => key(event, box, element));
  return element;
}

function show(focused) {
  for (const sample of samples) {
    sample.querySelectorAll(".box").forEach(element => element.remove());
    const own = boxes.filter(box => box.sample === Number(sample.dataset.sample));
    sample.setAttribute("aria-label", `sample ${sample.dataset.sample}, ${own.length} boxes; Enter makes one`);
    for (const box of own) {
      const element = elementOf(box);
      sample.append(element);
      if (box === focused) element.focus({preventScroll: true});
    }
  }
  const n = new Set(boxes.map(box => box.sample)).size;
  byId("count").textContent = `${boxes.length} ${boxes.length === 1 ? "box" : "boxes"} on ${n} of ${samples.length} samples`;
  byId("save").disabled = boxes.length === 0;
  byId("undo").disabled = before.length === 0;
}

function erase(box) {
  remember();
  boxes = boxes.filter(other => other !== box);
  show();
  samples[box.sample].focus({preventScroll: true});
}

function key(event, box, element) {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (event.key === "Delete" || event.key === "Backspace") erase(box);
  else if (step) {
    const [x, y] = step;
    const moved = {...box, right: box.right + x, bottom: box.bottom + y};
    if (!event.shiftKey) Object.assign(moved, {left: box.left + x, top: box.top + y});
    if (moved.left < 0 || moved.top < 0 || moved.right > size || moved.bottom > size) return event.preventDefault();
    if (moved.right - moved.left >= SMALLEST && moved.bottom - moved.top >= SMALLEST) {
      if (!event.repeat) remember();
      place(element, Object.assign(box, moved));
      byId("undo").disabled = false;
    }
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

for (const sample of samples) {
  const number = Number(sample.dataset.sample);
  let start = null, outline = null;
  const at = event => {
    const frame = sample.getBoundingClientRect();
    return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height]
      .map(share => Math.min(Math.max(share * size, 0), size));
  };
  const between = ([x, y], [u, v]) => ({sample: number,
    left: Math.floor(Math.min(x, u)), top: Math.floor(Math.min(y, v)),
    right: Math.ceil(Math.max(x, u)), bottom: Math.ceil(Math.max(y, v))});
  const stop = () => { outline?.remove(); start = outline = null; };
  sample.addEventListener("pointerdown", event => {
    if (event.button !== 0 || !event.isPrimary || event.target.closest("button")) return;
    start = at(event);
    sample.setPointerCapture(event.pointerId);
    outline = document.createElement("div");
    outline.className = "box drawn";
    sample.append(outline);
    place(outline, between(start, start));
  });
  sample.addEventListener("pointermove", event => { if (start) place(outline, between(start, at(event))); });
  sample.addEventListener("pointercancel", stop);
  sample.addEventListener("pointerup", event => {
    if (!start) return;
    const box = between(start, at(event));
    stop();
    if (box.right - box.left < SMALLEST || box.bottom - box.top < SMALLEST)
      return document.elementFromPoint(event.clientX, event.clientY)?.closest(".box, .sample")?.focus();
    remember();
    boxes.push(box);
    show();
  });
  sample.addEventListener("keydown", event => {
    if (event.key === "Escape") stop();
    if (event.key !== "Enter" || event.target !== sample) return;
    const quarter = Math.floor(size / 4);
    const box = {sample: number, left: quarter, top: quarter, right: size - quarter, bottom: size - quarter};
    remember();
    boxes.push(box);
    show(box);
    event.preventDefault();
  });
}

function text() {
  const ordered = [...boxes].sort((a, b) => a.sample - b.sample);
  const lines = ordered.map(box => "  " + JSON.stringify(box, ["sample", ...SIDES]));
  return `${told.head}${JSON.stringify(byId("object").value.trim())},\n "boxes": [\n${lines.join(",\n")}\n ]\n}\n`;
}

function opened(content) {
  if (content.format !== told.format || !Array.isArray(content.boxes)) throw new Error("no file of boxes");
  for (const [name, value] of Object.entries(told.sheet))
    if (name !== "sheet" && content[name] !== value) throw new Error(`other samples: its ${name} is ${content[name]}`);
  return content.boxes.map(({sample, left, top, right, bottom}) => {
    const fits = [sample, left, top, right, bottom].every(Number.isInteger) && samples[sample] &&
      0 <= left && left < right && right <= size && 0 <= top && top < bottom && bottom <= size;
    if (!fits) throw new Error(`a box that is not here: sample ${sample}: ${[left, top, right, bottom]}`);
    return {sample, left, top, right, bottom};
  });
}

byId("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text()], {type: "application/json"}));
  link.download = "boxes.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  saved = true;
});
byId("open").addEventListener("change", async event => {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  try {
    const content = JSON.parse(await file.text()), read = opened(content);
    remember();
    boxes = read;
    byId("object").value = content.object || byId("object").value;
    byId("told").textContent = "";
  } catch (error) { byId("told").textContent = `${file.name}: ${error.message}`; }
  show();
});
byId("undo").addEventListener("click", () => { boxes = before.pop(); saved = false; show(); });
byId("zoom").addEventListener("input", event =>
  document.documentElement.style.setProperty("--side", `${event.target.value}px`));
addEventListener("beforeunload", event => { if (!saved) event.preventDefault(); });
show();
