"use strict";
// Everything can be read without this: it sorts, filters, hides columns, copies commands and moves sliders.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, settings) => Object.assign(document.createElement(name), settings);
  const table = document.getElementById("table");
  const bodies = all(":scope > tbody", table);
  const headings = all("thead th", table);
  const cell = (body, number) => body.rows[0].cells[number];
  const value = (body, number) => {
    const one = cell(body, number);
    return one.dataset.v ?? one.textContent;
  };

  // Evidence: a button on the method's name, made when the line is first shown.
  const prepare = (body) => {
    if (!body.rows[1] || body.querySelector(".open-it")) return;
    const name = cell(body, 0);
    const button = make("button", { className: "open-it", type: "button", textContent: name.textContent });
    button.setAttribute("aria-expanded", "false");
    button.title = "Show the evidence";
    name.replaceChildren(button);
  };
  const open = (body, wanted) => {
    prepare(body);
    body.hidden = false;
    const [line, evidence] = body.rows;
    evidence.classList.toggle("open", wanted);
    evidence.querySelector("details").open = wanted;
    line.querySelector(".open-it").setAttribute("aria-expanded", String(wanted));
    const command = evidence.querySelector(".command");
    if (wanted && !command.querySelector("button")) {
      command.append(make("button", { type: "button", className: "copy", textContent: "Copy" }));
    }
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = make("textarea", { value: text });
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  };
  for (const command of all("article .command")) {
    command.append(make("button", { type: "button", className: "copy", textContent: "Copy" }));
  }
  document.addEventListener("click", async ({ target }) => {
    if (target.matches(".open-it")) {
      const body = target.closest("tbody");
      open(body, !body.rows[1].classList.contains("open"));
    } else if (target.matches(".copy")) {
      const done = await copy(target.previousElementSibling.textContent);
      target.textContent = done ? "Copied" : "Not copied: select it";
      setTimeout(() => { target.textContent = "Copy"; }, 2000);
    }
  });
  table.addEventListener("toggle", ({ target }) => {
    const row = target.closest?.("tr.evidence");
    if (row && !target.open && row.classList.contains("open")) open(row.parentElement, false);
  }, true);
  const named = () => {
    const body = location.hash.startsWith("#r-") && document.getElementById(location.hash.slice(1));
    if (body && body.rows[1]) open(body, true);
  };
  addEventListener("hashchange", named);

  // Sorting: numbers as numbers, empty cells last.
  const sorted = (number, ascending) => {
    const numeric = headings[number].classList.contains("n");
    const keys = new Map(bodies.map((body) => [body, value(body, number)]));
    const sign = ascending ? 1 : -1;
    const order = (a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (numeric ? parseFloat(x.replaceAll(",", "")) - parseFloat(y.replaceAll(",", "")) : x.localeCompare(y));
    };
    bodies.sort(order);
    table.append(...bodies);
    filtered();
  };
  headings.forEach((heading, number) => {
    const button = make("button", { type: "button", textContent: heading.textContent });
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sorted(number, ascending);
    });
  });

  // Filters. Of many lines the first are shown until all are asked for: a browser takes long to lay out thousands.
  let most = 250;
  const controls = document.querySelector(".controls");
  const filters = all("[data-filter]", controls);
  const column = (name) => headings.findIndex((heading) => heading.textContent === name);
  const count = controls.querySelector(".count");
  const every = make("button", { type: "button", textContent: "Show all" });
  count.after(every);
  every.addEventListener("click", () => { most = Infinity; filtered(); });
  const filtered = () => {
    const wanted = filters.map((filter) => [filter.dataset.filter, filter.type === "checkbox" ? filter.checked : filter.value.trim()]);
    const tests = wanted.filter(([, asked]) => asked !== "" && asked !== false).map(([name, asked]) => {
      if (name === "current") return (body) => !body.classList.contains("old");
      if (name === "text") return (body) => body.rows[0].textContent.toLowerCase().includes(asked.toLowerCase());
      const number = column(name);
      return (body) => cell(body, number).textContent === asked;
    });
    let found = 0;
    for (const body of bodies) {
      const fits = tests.every((test) => test(body));
      body.hidden = !fits || found >= most;
      found += fits;
      if (!body.hidden) prepare(body);
    }
    const cut = found > most ? `, the first ${most} of them shown` : "";
    count.textContent = `${found} of ${bodies.length} lines${cut}`;
    every.hidden = !cut;
  };
  controls.hidden = false;
  controls.addEventListener("submit", (event) => event.preventDefault());
  filters.forEach((filter) => filter.addEventListener("input", filtered));
  filtered();
  named();
  document.documentElement.classList.add("ready");

  // Columns.
  const rule = document.head.appendChild(make("style", {}));
  const boxes = all("[data-column]", controls);
  const hide = () => {
    const off = boxes.filter((box) => !box.checked).map((box) => box.dataset.column);
    const cells = off.map((number) => `#table>thead>tr>:nth-child(${number}),#table>tbody>tr:not(.evidence)>:nth-child(${number})`);
    rule.textContent = cells.length ? `${cells.join(",")}{display:none}` : "";
  };
  boxes.forEach((box) => box.addEventListener("input", hide));
  hide();

  // What a bar or a point says, where it has the focus or the pointer.
  for (const section of all("section:has(.chart)")) {
    const told = section.querySelector(".told");
    if (!told) continue;
    told.hidden = false;
    told.textContent = "Point at a bar, or move to it by the keyboard, for its counts.";
    const tell = ({ target }) => {
      const group = target.closest?.("g[aria-label]");
      if (group) told.textContent = group.getAttribute("aria-label");
    };
    section.addEventListener("pointerover", tell);
    section.addEventListener("focusin", tell);
  }

  // Samples: one epoch at a time.
  for (const samples of all(".samples")) {
    const frames = all(".frames > figure", samples);
    const label = samples.querySelector(".slider");
    const [range, output] = [label.querySelector("input"), label.querySelector("output")];
    const move = () => {
      frames.forEach((frame, number) => { frame.hidden = number !== Number(range.value); });
      output.textContent = frames[range.value].dataset.name;
      range.setAttribute("aria-valuetext", output.textContent);
    };
    label.hidden = frames.length < 2;
    range.addEventListener("input", move);
    move();
  }
})();
