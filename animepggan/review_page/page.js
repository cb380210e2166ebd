// What a person sees and does: pictures by suspicion or by cluster, kept and rejected, marked, undone, ranked again.
"use strict";

const id = (name) => document.getElementById(name);
const main = id("faces");
const faces = new Map(); // place -> its button
let rows = new Map(); // place -> what the server says of it
let order = []; // places as they stand on the page
let view = "score";
let version = 0;
let edition = 0; // of the pictures: a place is another picture's in another one
let here = 0; // the place in `order` that has the keyboard
let anchor = null; // where the last click was, for Shift: a place in `order`
let marked = null; // [from, to] in `order`, of Shift and the arrows
let ended = false;

// ---------------------------------------------------------------- the server

let queue = Promise.resolve();

function send(message) {
  queue = queue.then(() => post(message));
  return queue;
}

async function post(message) {
  if (ended) return null;
  let answer, told;
  try {
    answer = await fetch("change", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(message),
    });
    told = await answer.json();
  } catch {
    return lost();
  }
  if (!answer.ok) {
    say(told.error);
    return null;
  }
  if (told.rows) take(told);
  return told;
}

function take(told) {
  version = told.version;
  for (const row of told.rows) {
    rows.set(row.place, row);
    paint(row.place);
  }
  count(told.counts);
}

async function load() {
  let told;
  try {
    told = await (await fetch("state")).json();
  } catch {
    return lost();
  }
  document.title = `Review: ${told.title}`;
  id("title").textContent = told.title;
  count(told.counts);
  if (told.ranking) return watch();
  if (told.edition !== edition) {
    loader.disconnect();
    faces.clear();
  }
  ({ version, edition } = told);
  rows = new Map(told.rows.map((row) => [row.place, row]));
  show();
  if (told.failure) say(told.failure);
  return told;
}

function count({ trained, left_out, kept, rejected, undoable }) {
  id("trained").textContent = trained.toLocaleString("en");
  id("left-out").textContent = left_out.toLocaleString("en");
  id("by-hand").textContent = (kept + rejected).toLocaleString("en");
  id("by-hand").parentElement.title = `${rejected} rejected, ${kept} kept by hand`;
  id("undo").disabled = undoable === 0;
  id("rank").disabled = kept + rejected === 0;
  id("rank").title = kept + rejected === 0 ? "Reject or keep a few pictures first" : "Rank the rest by what you decided";
}

// ---------------------------------------------------------------- the pictures

const loader = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const picture = target.firstChild;
      if (isIntersecting && !picture.hasAttribute("src")) {
        picture.src = `picture/${target.dataset.place}?${edition}`;
      } else if (!isIntersecting && !target.classList.contains("ready") && picture.hasAttribute("src")) {
        picture.removeAttribute("src"); // passed by in a hurry: others are waited for
      }
    }
  },
  { rootMargin: "500px 0px" },
);

function face(place) {
  let button = faces.get(place);
  if (button) return button;
  button = document.createElement("button");
  button.className = "face";
  button.dataset.place = place;
  button.tabIndex = -1;
  const picture = document.createElement("img");
  picture.alt = "";
  picture.draggable = false;
  picture.onload = () => button.classList.add("ready");
  picture.onerror = () => picture.hasAttribute("src") && button.classList.add("gone");
  button.append(picture, document.createElement("b"), document.createElement("i"));
  faces.set(place, button);
  loader.observe(button);
  return button;
}

function paint(place) {
  const row = rows.get(place);
  const button = face(place);
  const [, score, mark] = button.children;
  button.classList.toggle("out", !row.trained);
  button.classList.toggle("hand", row.by_hand);
  score.textContent = row.score === null ? "" : (Math.round(row.score * 10) / 10 || 0).toFixed(1);
  score.hidden = row.score === null;
  mark.textContent = row.trained ? "✓" : row.by_hand ? "✕" : "auto ✕";
  const what = row.by_hand || row.reason ? row.reason : row.trained ? "in training" : "left out";
  button.title = `${row.name}\n${what}`;
  button.setAttribute("aria-label", `${row.name}, ${row.trained ? "in training" : "left out"}, ${what}`);
  button.setAttribute("aria-pressed", String(!row.trained));
}

const suspicion = (place) => rows.get(place).score ?? -Infinity;
const bySuspicion = (one, two) => suspicion(two) - suspicion(one) || one - two;

function show() {
  const sorted = [...rows.keys()].sort(bySuspicion);
  sorted.forEach(paint);
  main.replaceChildren(view === "score" ? grid(sorted) : clusters(sorted));
  order = [...main.querySelectorAll(".face")].map((button) => Number(button.dataset.place));
  anchor = null;
  mark(null);
  focus(0, false);
  id("by-score").setAttribute("aria-pressed", String(view === "score"));
  id("by-cluster").setAttribute("aria-pressed", String(view === "cluster"));
}

function grid(places) {
  const box = document.createElement("div");
  box.className = "grid";
  box.append(...places.map(face));
  return box;
}

function clusters(sorted) {
  const together = new Map();
  for (const place of sorted) {
    const cluster = rows.get(place).cluster ?? `alone ${place}`;
    together.set(cluster, [...(together.get(cluster) ?? []), place]); // in the order of their most suspicious ones
  }
  const found = [...together.values()];
  const box = document.createElement("div");
  box.className = "clusters";
  box.append(...found.filter((places) => places.length > 1).map((places) => section(`${places.length} alike`, places)));
  const alone = found.filter((places) => places.length === 1).flat();
  if (alone.length) {
    const rest = document.createElement("section");
    rest.className = "alone";
    rest.append(heading("Like no other"), grid(alone));
    box.append(rest);
  }
  return box;
}

function heading(text) {
  const line = document.createElement("div");
  const title = document.createElement("h2");
  title.textContent = text;
  line.append(title);
  return line;
}

function section(title, places) {
  const box = document.createElement("section");
  box.style.setProperty("--n", places.length);
  const line = heading(title);
  for (const [text, what] of [["Reject", "reject"], ["Keep", "keep"]]) {
    const button = document.createElement("button");
    button.textContent = text;
    button.setAttribute("aria-label", `${text} these ${places.length}`);
    button.onclick = () => send({ do: what, places });
    line.append(button);
  }
  box.append(line, grid(places));
  return box;
}

// ---------------------------------------------------------------- many at once

const span = ([from, to]) => order.slice(Math.min(from, to), Math.max(from, to) + 1);

function mark(range) {
  if (marked) span(marked).forEach((place) => face(place).classList.remove("swept"));
  marked = range;
  if (marked) span(marked).forEach((place) => face(place).classList.add("swept"));
}

function focus(at, seen = true) {
  face(order[here])?.setAttribute("tabindex", "-1");
  here = Math.max(0, Math.min(order.length - 1, at));
  const button = face(order[here]);
  button.tabIndex = 0;
  if (!seen) return;
  button.focus({ preventScroll: true });
  button.scrollIntoView({ block: "nearest" });
}

main.addEventListener("focusin", (event) => {
  const index = at(event.target);
  if (index >= 0 && index !== here) focus(index, false);
});

const at = (target) => {
  const button = target?.closest?.(".face");
  return button ? order.indexOf(Number(button.dataset.place)) : -1;
};

function toggle(index) {
  const row = rows.get(order[index]);
  anchor = index;
  return send({ do: row.trained ? "reject" : "keep", places: [row.place] });
}

function sinceAnchor(index) { // what the last click did, to all from there to here
  if (anchor === null) return toggle(index);
  const what = rows.get(order[anchor]).trained ? "keep" : "reject";
  const places = span([anchor, index]);
  anchor = index;
  return send({ do: what, places });
}

main.addEventListener("click", (event) => {
  const index = at(event.target);
  if (index < 0 || drag?.moved) return;
  mark(null);
  focus(index, false);
  if (event.shiftKey) queue.then(() => sinceAnchor(index));
  else queue.then(() => toggle(index)); // after those before it, which may be of the same picture
});

let drag = null; // {from, what, moved}, while a mouse's button is down and until the click that follows

main.addEventListener("pointerdown", (event) => {
  const index = at(event.target);
  drag = null;
  if (index < 0 || event.button !== 0 || event.pointerType === "touch" || event.shiftKey) return;
  drag = { from: index, down: true, moved: false, x: event.clientX, y: event.clientY };
});

addEventListener("pointermove", (event) => {
  if (!drag?.down) return;
  drag.x = event.clientX;
  drag.y = event.clientY;
  sweep();
});

function sweep() {
  const index = at(document.elementFromPoint(drag.x, drag.y));
  if (index < 0 || (index === drag.from && !drag.moved)) return;
  if (!drag.moved) requestAnimationFrame(roll);
  drag.moved = true;
  mark([drag.from, index]);
}

function roll() { // the page goes on while the mouse is at its edge
  if (!drag?.down) return;
  const top = document.querySelector("header").offsetHeight + 40;
  const step = drag.y < top ? -14 : drag.y > innerHeight - 60 ? 14 : 0;
  if (step) {
    scrollBy(0, step);
    sweep();
  }
  requestAnimationFrame(roll);
}

addEventListener("pointerup", () => {
  if (!drag?.down) return;
  drag.down = false;
  if (!drag.moved || !marked) return;
  const places = span(marked);
  const what = rows.get(order[drag.from]).trained ? "reject" : "keep";
  anchor = marked[1];
  focus(anchor, false);
  mark(null);
  send({ do: what, places });
  setTimeout(() => (drag = null)); // after the click that may follow
});

addEventListener("pointercancel", () => {
  drag = null;
  mark(null);
});

main.addEventListener("contextmenu", (event) => { // a finger that rests
  if (event.pointerType !== "touch" || at(event.target) < 0) return;
  event.preventDefault();
  const index = at(event.target);
  queue.then(() => sinceAnchor(index));
});

// ---------------------------------------------------------------- keys

function step(key) {
  if (key === "ArrowLeft") return here - 1;
  if (key === "ArrowRight") return here + 1;
  if (key === "Home") return 0;
  if (key === "End") return order.length - 1;
  const down = key === "ArrowDown" ? 1 : -1;
  const box = face(order[here]).getBoundingClientRect();
  let best = here, row = null;
  for (let index = here + down; index >= 0 && index < order.length; index += down) {
    const other = face(order[index]).getBoundingClientRect();
    if (Math.abs(other.top - box.top) < 2) continue;
    if (row !== null && Math.abs(other.top - row) > 2) break;
    const bestBox = face(order[best]).getBoundingClientRect();
    if (row === null || Math.abs(other.left - box.left) < Math.abs(bestBox.left - box.left)) best = index;
    row = other.top;
  }
  return best;
}

function decide(what) {
  const last = marked ? Math.max(...marked) : here;
  const places = marked ? span(marked) : [order[here]];
  anchor = last;
  mark(null);
  send({ do: what, places });
  focus(last + 1);
}

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || !order.length || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ((event.ctrlKey || event.metaKey) && key !== "z") return;
  if (key.startsWith("Arrow") || key === "Home" || key === "End") {
    const from = marked ? marked[0] : here;
    const inside = document.activeElement?.classList.contains("face");
    focus(inside ? step(key) : here);
    mark(event.shiftKey && inside ? [from, here] : null);
  } else if (["x", "r", "Delete", "Backspace"].includes(key)) decide("reject");
  else if (key === "k") decide("keep");
  else if (key === "u" || key === "z") undo();
  else if (key === "m") rank();
  else if (key === "v") turn(view === "score" ? "cluster" : "score");
  else if (key === "Escape") mark(null);
  else return;
  event.preventDefault();
});

// ---------------------------------------------------------------- the buttons

async function undo() {
  const told = await send({ do: "undo" });
  if (!told) return;
  if (told.rows.length === rows.size) return show(); // a ranking was taken back
  const first = Math.min(...told.rows.map((row) => order.indexOf(row.place)));
  if (first >= 0 && first < order.length) focus(first);
  for (const { place } of told.rows) {
    face(place).classList.add("flash");
    setTimeout(() => face(place).classList.remove("flash"), 1000);
  }
}

function turn(to) {
  if (view === to) return;
  view = to;
  show();
  scrollTo(0, 0);
}

async function rank() {
  if (id("rank").disabled) return;
  if (await send({ do: "rank" })) watch();
}

async function watch() {
  const before = Number(id("left-out").textContent.replaceAll(",", ""));
  const dialog = id("ranking");
  if (!dialog.open) dialog.showModal();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 400));
    let told;
    try {
      told = await (await fetch("state")).json();
    } catch {
      dialog.close();
      return load();
    }
    if (!told.ranking) break;
    const { what, done, total } = told.ranking;
    if (total) {
      id("ranking-what").textContent = `${what}: ${done.toLocaleString("en")} of ${total.toLocaleString("en")}`;
      id("ranking-bar").value = done / total;
    }
  }
  dialog.close();
  id("ranking-bar").removeAttribute("value");
  const told = await load();
  scrollTo(0, 0);
  if (!told || told.failure) return;
  const more = told.counts.left_out - before;
  say(more > 0 ? `Ranked again: ${more} more left out` : "Ranked again");
}

function say(text) {
  const notice = id("notice");
  notice.textContent = text;
  notice.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => notice.classList.remove("shown"), 6000);
}

function lost() {
  return end("This review has ended", "What you decided up to here is saved. To go on, start the review again.");
}

function end(title, text) {
  ended = true;
  id("notice").classList.remove("shown");
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  id("end-title").textContent = title;
  id("end-text").textContent = text;
  id("end").addEventListener("cancel", (event) => event.preventDefault());
  id("end").showModal();
  return null;
}

id("undo").onclick = undo;
id("rank").onclick = rank;
id("by-score").onclick = () => turn("score");
id("by-cluster").onclick = () => turn("cluster");
id("ranking-stop").onclick = () => post({ do: "stop" });
id("done").onclick = async () => {
  const told = await send({ do: "done" });
  if (!told) return;
  const { trained, left_out } = told.counts;
  end("Done", `${trained.toLocaleString("en")} pictures in training, ${left_out.toLocaleString("en")} left out. All of it is saved.\nYou can close this page; the terminal goes on.`);
};
addEventListener("visibilitychange", async () => { // another page may have decided meanwhile
  if (document.hidden || ended || id("ranking").open) return;
  try {
    const told = await (await fetch("state")).json();
    if (told.version !== version) load();
  } catch {
    lost();
  }
});
load();
