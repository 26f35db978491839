// The pages say everything without this script. With it they follow Airflow's light or dark, load what has changed,
// and can be walked by arrow keys. It is loaded before the page is drawn, so that no page flashes in the other colours.
"use strict";

// Airflow keeps its choice in its own page, or in the storage that all pages of the site share.
const followTheme = () => {
  let theme = "";
  try {
    const outside = window.top === window ? null : window.top.document.documentElement;
    const chosen = outside ? outside.className : localStorage.getItem("theme");
    theme = (String(chosen || "").match(/\b(dark|light)\b/) || [""])[0];
  } catch {
    // A frame of somebody else: the reader's own setting holds.
  }
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
};
followTheme();
try {
  if (window.top !== window) {
    new MutationObserver(followTheme).observe(window.top.document.documentElement, { attributeFilter: ["class"] });
  }
} catch {
  // As above.
}
window.addEventListener("storage", followTheme);

// Airflow shows a page in a frame whose sandbox lets no link leave it. A link that has to is therefore followed
// by a link in Airflow's own page. Outside of a frame, and without this script, target="_top" does by itself.
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest('a[target="_top"]') : null;
  if (!link || window.top === window || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const outside = window.top.document.createElement("a");
  outside.href = link.href;
  window.top.document.body.append(outside);
  outside.click();
  outside.remove();
});

// A table of months is one stop of the Tab key; arrows move within it.
const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const prepareGrids = (root) => {
  for (const grid of root.querySelectorAll("[data-grid]")) {
    grid.querySelectorAll("tbody a").forEach((link, number) => { link.tabIndex = number ? -1 : 0; });
  }
};
document.addEventListener("keydown", (event) => {
  const step = steps[event.key];
  const cell = step && event.target instanceof Element ? event.target.closest("[data-grid] td") : null;
  if (!cell || event.altKey || event.ctrlKey || event.metaKey) return;
  const rows = [...cell.closest("tbody").rows];
  let row = rows.indexOf(cell.parentElement);
  let column = cell.cellIndex;
  let link = null;
  do {
    row += step[0];
    column += step[1];
    link = rows[row] && rows[row].cells[column] ? rows[row].cells[column].querySelector("a") : null;
  } while (!link && rows[row] && rows[row].cells[column]);
  event.preventDefault();
  if (!link) return;
  if (event.shiftKey && monthOf(link)) chooseRange(range.from || cell.dataset.month, monthOf(link));
  cell.closest("[data-grid]").querySelectorAll('a[tabindex="0"]').forEach((each) => { each.tabIndex = -1; });
  link.tabIndex = 0;
  link.focus();
});

// A range of months: dragged over, or from the month that had the focus to the one that gets it while Shift is held.
// The two lists of the form below the matrix say the same, and are what is sent.
const range = { from: "", to: "", dragged: false };
const monthOf = (target) => {
  const cell = target instanceof Element ? target.closest("[data-grid] td[data-month]") : null;
  return cell && document.querySelector("[data-range]") ? cell.dataset.month : "";
};
const showRange = () => {
  const form = document.querySelector("[data-range]");
  if (!form) return;
  const [first, last] = [range.from, range.to].sort();
  const cells = [...document.querySelectorAll("[data-grid] td[data-month]")];
  const picked = cells.filter((cell) => first && cell.dataset.month >= first && cell.dataset.month <= last);
  for (const cell of cells) cell.classList.toggle("picked", picked.includes(cell));
  const unpublished = picked.filter((cell) => !cell.querySelector('a[href*="results/"]')).length;
  form.querySelector("[data-said]").textContent = first
    ? `${first} to ${last}: ${picked.length} month${picked.length === 1 ? "" : "s"}, ${unpublished} not published.` : "";
};
const chooseRange = (from, to) => {
  [range.from, range.to] = [from, to];
  const form = document.querySelector("[data-range]");
  const [first, last] = [from, to].sort();
  if (form && from) [form.elements.first.value, form.elements.last.value] = [first, last];
  showRange();
};
document.addEventListener("change", (event) => {
  const form = event.target instanceof Element ? event.target.closest("[data-range]") : null;
  if (form) chooseRange(form.elements.first.value, form.elements.last.value);
});
let pressed = "";
let before = "";
document.addEventListener("pointerdown", (event) => {
  range.dragged = false;
  // The press moves the focus; a range begins where it was.
  before = monthOf(document.activeElement);
  pressed = event.button === 0 && event.pointerType !== "touch" && !event.shiftKey ? monthOf(event.target) : "";
});
document.addEventListener("pointerover", (event) => {
  const month = pressed && event.buttons === 1 ? monthOf(event.target) : "";
  if (!month || (month === pressed && !range.dragged)) return;
  range.dragged = true;
  chooseRange(pressed, month);
});
document.addEventListener("pointerup", () => { pressed = ""; });
document.addEventListener("dragstart", (event) => { if (monthOf(event.target)) event.preventDefault(); });
document.addEventListener("click", (event) => {
  const month = monthOf(event.target);
  const byKey = event.detail === 0;
  if (!month || byKey || !(range.dragged || event.shiftKey)) return;
  // The month is chosen, and its page not opened.
  event.preventDefault();
  event.stopPropagation();
  if (!range.dragged) chooseRange(range.from || before || month, month);
}, true);
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && range.from) chooseRange("", ""); });

// The parts of a page that change are asked for again; while nothing has changed, the answer is empty.
const address = (element) => {
  const link = element && element.closest ? element.closest("a[href], button[id], summary[id], input[id]") : null;
  return link ? link.getAttribute("href") || `#${link.id}` : "";
};
const replaceParts = (text) => {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const live = (page) => [...page.querySelectorAll("[data-live][id]")];
  const ids = (page) => live(page).map((part) => part.id).join(" ");
  const parts = ids(document) && ids(document) === ids(fresh) ? live(document) : [document.getElementById("main")];
  for (const part of parts) {
    const other = fresh.getElementById(part.id);
    if (!other || part.innerHTML === other.innerHTML || part.contains(document.querySelector("form :focus"))) continue;
    const focused = part.contains(document.activeElement) ? address(document.activeElement) : "";
    part.replaceChildren(...document.importNode(other, true).childNodes);
    prepareGrids(part);
    showRange();
    if (focused) {
      const again = [...part.querySelectorAll("a[href], [id]")].find((each) => address(each) === focused);
      if (again) again.focus({ preventScroll: true });
    }
  }
  if (fresh.title) document.title = fresh.title;
  document.documentElement.dataset.poll = fresh.documentElement.dataset.poll || "";
};
const sayClock = (word, tone) => {
  for (const clock of document.querySelectorAll("[data-clock]")) {
    clock.hidden = false;
    clock.dataset.tone = tone;
    clock.textContent = `${word} ${new Date().toISOString().slice(11, 19)} UTC`;
  }
};
let etag = "";
const poll = async () => {
  const seconds = Number(document.documentElement.dataset.poll);
  if (!seconds) return;
  if (document.visibilityState === "visible") {
    try {
      const answer = await fetch(location.href, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
      if (answer.status === 200) {
        etag = answer.headers.get("ETag") || "";
        replaceParts(await answer.text());
      }
      sayClock(answer.ok || answer.status === 304 ? "live" : `answer ${answer.status} at`, answer.ok || answer.status === 304 ? "good" : "bad");
    } catch {
      sayClock("no answer since", "bad");
      setTimeout(poll, seconds * 3000);
      return;
    }
  }
  setTimeout(poll, seconds * 1000);
};

document.addEventListener("DOMContentLoaded", () => {
  prepareGrids(document);
  for (const hint of document.querySelectorAll("[data-range] .hint")) hint.hidden = false;
  if (Number(document.documentElement.dataset.poll)) setTimeout(poll, 1000);
  for (const block of document.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(block);
        button.textContent = "Selected: press Ctrl+C";
      }
    });
    (block.closest("pre") || block).after(button);
  }
});
