"use strict";
/* Nothing on the page needs this: it sorts tables, shows examples beside the map, and copies text. */
(function () {
  function make(name, css, text) {
    const made = document.createElement(name);
    if (css) made.className = css;
    if (text) made.textContent = text;
    return made;
  }

  function value(cell) {
    if (!cell) return "";
    return cell.dataset.v === undefined ? cell.textContent.trim() : Number(cell.dataset.v);
  }

  function compare(a, b) {
    const numbers = typeof a === "number" && typeof b === "number";
    if (numbers) return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, undefined, { numeric: true });
  }

  function sort(table, column, heads) {
    const head = heads[column];
    const rows = Array.from(table.tBodies[0].rows);
    const first = rows.some((row) => typeof value(row.cells[column]) === "number") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    heads.forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => sign * compare(value(a.cells[column]), value(b.cells[column])));
    table.tBodies[0].append(...rows);
  }

  document.querySelectorAll("table.sortable").forEach((table) => {
    if (!table.tHead || table.tBodies[0].rows.length < 2) return;
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const button = make("button", "", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => sort(table, column, heads));
      head.replaceChildren(button);
    });
  });

  document.querySelectorAll("pre.copy").forEach((block) => {
    const button = make("button", "copier", "Copy");
    button.type = "button";
    button.addEventListener("click", () => {
      const range = document.createRange();
      range.selectNodeContents(block);
      const chosen = window.getSelection();
      chosen.removeAllRanges();
      chosen.addRange(range);
      let done = false;
      try { done = document.execCommand("copy"); } catch (error) { done = false; }
      button.textContent = done ? "Copied" : "Selected: press Ctrl+C";
      setTimeout(() => { button.textContent = "Copy"; }, 2500);
    });
    block.after(button);
  });

  const maps = Array.from(document.querySelectorAll("svg.map"));
  if (!maps.length) return;
  const stored = document.getElementById("shown");
  const cards = new Map((stored ? JSON.parse(stored.textContent) : []).map((one) => [String(one[0]), one]));
  const points = maps.map((map) => Array.from(map.querySelectorAll("path[data-k]")).map((mark) => {
    const box = mark.getBBox();
    const title = mark.querySelector("title");
    const words = title ? title.textContent : "";
    if (title) title.remove();
    return { mark: mark, words: words, item: mark.dataset.i, x: box.x + box.width / 2, y: box.y + box.height / 2 };
  }));
  const tips = maps.map((map) => {
    const tip = make("div", "tip");
    tip.hidden = true;
    tip.setAttribute("role", "status");
    map.parentNode.append(tip);
    return tip;
  });
  const current = maps.map(() => -1);

  function clear() {
    document.querySelectorAll(".map .here").forEach((one) => one.classList.remove("here"));
    tips.forEach((tip) => { tip.hidden = true; });
  }

  function place(tip, map, point) {
    const around = map.parentNode.getBoundingClientRect();
    const drawn = map.getBoundingClientRect();
    const x = drawn.left - around.left + (point.x / 340) * drawn.width;
    const y = drawn.top - around.top + (point.y / 340) * drawn.height;
    const left = x > around.width / 2 ? x - tip.offsetWidth - 12 : x + 12;
    tip.style.left = Math.max(0, Math.min(left, around.width - tip.offsetWidth)) + "px";
    tip.style.top = Math.max(0, y > drawn.height / 2 ? y - tip.offsetHeight - 8 : y + 8) + "px";
  }

  function show(at, number) {
    clear();
    current[at] = number;
    if (number < 0) return;
    const point = points[at][number];
    points.forEach((several) => {
      const same = several[number];
      if (same && same.item === point.item) same.mark.classList.add("here");
    });
    const card = cards.get(point.item);
    const tip = tips[at];
    tip.replaceChildren();
    if (card && card[1]) {
      const drawn = document.createElementNS(maps[at].namespaceURI, "svg");
      const use = document.createElementNS(maps[at].namespaceURI, "use");
      drawn.setAttribute("class", "thumb");
      drawn.setAttribute("viewBox", "0 0 96 96");
      use.setAttribute("href", "#" + card[1]);
      drawn.append(use);
      tip.append(drawn);
    }
    tip.append(make("p", "", point.words));
    if (card && card[2]) tip.append(make("p", "item", card[2]));
    tip.hidden = false;
    place(tip, maps[at], point);
  }

  function visible(point) { return !point.mark.classList.contains("away"); }

  function nearest(at, x, y, reach) {
    let best = -1, least = reach * reach;
    points[at].forEach((point, number) => {
      const far = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (far < least && visible(point)) { least = far; best = number; }
    });
    return best;
  }

  function next(at, key) {
    const list = points[at];
    if (current[at] < 0) return nearest(at, 170, 170, 1000);
    const from = list[current[at]];
    const dx = key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0;
    const dy = key === "ArrowDown" ? 1 : key === "ArrowUp" ? -1 : 0;
    let best = current[at], least = Infinity;
    list.forEach((point, number) => {
      const along = (point.x - from.x) * dx + (point.y - from.y) * dy;
      const aside = Math.abs((point.x - from.x) * dy) + Math.abs((point.y - from.y) * dx);
      if (along > 0.05 && along + 2 * aside < least && visible(point)) { least = along + 2 * aside; best = number; }
    });
    return best;
  }

  maps.forEach((map, at) => {
    map.setAttribute("tabindex", "0");
    map.setAttribute("aria-label", map.getAttribute("aria-label") + "; arrow keys go from point to point");
    const look = (event) => {
      const box = map.getBoundingClientRect();
      const scale = 340 / box.width;
      const found = nearest(at, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale, 16);
      if (found !== current[at] || tips[at].hidden) show(at, found);
    };
    map.addEventListener("pointermove", look);
    map.addEventListener("pointerdown", look);
    map.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") clear(); });
    map.addEventListener("blur", clear);
    map.addEventListener("focus", () => { if (map.matches(":focus-visible")) show(at, next(at, "")); });
    map.addEventListener("keydown", (event) => {
      if (event.key.startsWith("Arrow")) { event.preventDefault(); show(at, next(at, event.key)); }
      if (event.key === "Escape") clear();
    });
  });

  const chosen = new Set();
  document.querySelectorAll(".legend li").forEach((entry) => {
    const button = make("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(...entry.childNodes);
    entry.append(button);
    button.addEventListener("click", () => {
      const label = entry.dataset.k;
      if (!chosen.delete(label)) chosen.add(label);
      button.setAttribute("aria-pressed", String(chosen.has(label)));
      points.flat().forEach((point) => {
        point.mark.classList.toggle("away", chosen.size > 0 && !chosen.has(point.mark.dataset.k));
      });
    });
  });
})();
