"use strict";
// The player of a scenario. What happened at each step is in the page's tables of history; the maps are in its data,
// as lists whose places the functions below name.
const byId = (id) => document.getElementById(id);
const stories = JSON.parse(byId("data").textContent);
const histories = [...document.querySelectorAll(".history")];
let story = null, rows = [], step = 0, timer = null;

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

// Each process has the colour of its letter; after six of them the colours start again, and the letter is there.
const colour = (letter) => `var(--p${((letter.codePointAt(0) - 65) % 6 + 6) % 6})`;
function letterOf(process) {
  const made = element("span", "who", process);
  made.style.setProperty("--who", colour(process));
  return made;
}

// What the lists of a map hold.
const named = {
  process: ([letter, regions, pages]) => ({ letter, regions: regions.map(named.region), pages: pages.map(named.page) }),
  region: ([kind, start, pages, limit, rights]) => ({ kind, start: BigInt("0x" + start), pages, limit, rights }),
  page: ([address, frame, entry, slot]) => ({ address: BigInt("0x" + address), frame, entry: BigInt("0x" + (entry ?? "0")), slot }),
  frame: ([number, use, detail, owner, mappedBy, bits, slot]) =>
    ({ number, use, detail, owner, mappedBy: [...mappedBy], cow: (bits & 1) > 0, dirty: (bits & 2) > 0, accessed: (bits & 4) > 0, slot }),
  slot: ([number, image, references]) => ({ number, image, references }),
};
function mapAt(index) {
  const { processes, frames, slots, hand } = story.steps[index].map;
  return { processes: processes.map(named.process), frames: frames.map(named.frame), slots: slots.map(named.slot), hand };
}
const hex = (number) => number.toString(16);

// The steps of the history.
const classOf = (index) => ["minor", "major", "invalid", "clock"].find((name) => rows[index].classList.contains(name)) ?? "did";
const isFault = (index) => ["minor", "major", "invalid"].includes(classOf(index));
const faultBefore = () => rows.findLastIndex((_, index) => index < step && isFault(index));
const faultAfter = () => rows.findIndex((_, index) => index > step && isFault(index));
const parted = () => rows.findIndex((row) => row.classList.contains("parts"));

function choose(index) {
  stop();
  story = stories[index];
  histories.forEach((history, place) => { history.hidden = place !== index; });
  rows = [...histories[index].querySelectorAll(".rows tbody tr")];
  // A history without steps is not played.
  byId("player").hidden = byId("stage").hidden = rows.length === 0;
  byId("mode").selectedIndex = index;
  byId("slider").max = rows.length - 1;
  drawStrip();
}

function show(index) {
  if (rows.length === 0) return;
  step = Math.min(Math.max(index, 0), rows.length - 1);
  const map = mapAt(step), before = step > 0 ? mapAt(step - 1) : null;

  tell();
  drawProcesses(map, before);
  drawFrames(map, before);
  drawStore(map, before);
  mark();
}

// The sentence of the step, in software and on the machine.
function tell() {
  const cells = rows[step].cells;
  const process = cells[1].textContent;
  const what = element("p", "what", process ? letterOf(process) : null, cells[2].querySelector(".words").textContent);
  const about = cells[2].querySelector(".about")?.textContent ?? "";
  byId("sentence").replaceChildren(what, element("p", "note", about));

  const other = byId("other");
  if (!other) return;
  const sign = cells[3].textContent;
  byId("sign").textContent = sign;
  byId("sign").classList.toggle("bad", sign !== "=");
  if (sign === "=") {
    const same = element("p", "what", process ? letterOf(process) : null, cells[4].textContent);
    other.replaceChildren(same, element("p", "note", "The same, and so is all memory in use when what was asked for is done."));
  } else if (sign) {
    const lines = [...cells[4].children].map((line) => element("p", "what bad", line.textContent));
    other.replaceChildren(...lines, element("p", "note", "Here the histories part; below is how, and why where that is known."));
  } else {
    other.replaceChildren(element("p", "note", parted() < 0 ? "Not run." : `The machine ran no more: the histories parted at step ${parted() + 1}.`));
  }
}

// A page by its region: `heap+2`; stacks grow down, so theirs are counted from the end.
function pageName(process, address) {
  for (const { kind, start, pages } of process?.regions ?? []) {
    const number = Number((address - start) / 4096n);
    if (address >= start && number < pages) return kind + (kind === "stack" ? `${number - pages}` : `+${number}`);
  }
  return hex(address);
}

function drawProcesses(map, before) {
  const cards = map.processes.map((process) => {
    const earlier = before?.processes.find(({ letter }) => letter === process.letter);
    const card = element("article", "process", element("h3", "", "Process ", letterOf(process.letter)));
    card.style.setProperty("--who", colour(process.letter));
    card.append(tablesOf(process, map), ...process.regions.map((region) => drawRegion(process, region, earlier)));
    return card;
  });
  byId("processes").replaceChildren(...(cards.length > 0 ? cards : [element("p", "note", "No process.")]));
}

// How many frames its tables take, level by level.
function tablesOf(process, map) {
  const own = map.frames.filter(({ use, owner }) => use === "t" && owner === process.letter);
  const list = element("p", "tables", `Tables: ${own.length} frames`);
  for (let level = story.levels; level > 0; level -= 1) {
    const count = own.filter(({ detail }) => detail === `${level}`).length;
    const squares = Array.from({ length: Math.min(count, 24) }, () => element("i"));
    list.append(element("span", "", `level ${level}: ${count}`, ...squares));
  }
  return list;
}

function drawRegion(process, region, earlier) {
  const list = element("ol", "pages");
  const reserve = Array.from({ length: region.limit - region.pages }, () => element("li", "cell none reserve", element("span", "name", "may grow")));
  const cells = Array.from({ length: region.pages }, (_, number) => drawPage(process, region, region.start + 4096n * BigInt(number), earlier));
  list.append(...(region.kind === "stack" ? [...reserve, ...cells] : [...cells, ...reserve]));

  const head = element("h4", "", `${region.kind} `, element("code", "", `0x${hex(region.start)} ${region.rights}`));
  return element("div", "region", head, list);
}

function drawPage(process, region, address, earlier) {
  const here = (pages) => pages?.find((page) => page.address === address);
  const page = here(process.pages), old = here(earlier?.pages);
  const cell = element("li", "cell", element("span", "name", pageName(process, address)));
  cell.title = `0x${hex(address)}`;
  cell.dataset.page = hex(address);

  if (!page) {
    cell.classList.add("none");
    cell.append(element("span", "", region.kind === "guard" ? "guard" : "untouched"));
  } else if (page.slot !== null) {
    cell.classList.add("stored");
    cell.dataset.slot = page.slot;
    cell.append(element("span", "place", `slot ${page.slot}`));
  } else {
    const flags = [page.entry & 2n ? "rw" : "ro", page.entry & 32n ? "A" : "", page.entry & 64n ? "D" : ""];
    cell.dataset.frame = page.frame;
    cell.dataset.entry = hex(page.entry);
    cell.append(element("span", "place", `\u2192 ${hex(page.frame)}`), element("span", "", flags.join(" ")));
  }

  const isSame = page?.frame === old?.frame && page?.slot === old?.slot && page?.entry === old?.entry;
  cell.classList.toggle("changed", step > 0 && !isSame);
  cell.classList.toggle("now", story.steps[step].page === hex(address) && rows[step].cells[1].textContent === process.letter);
  return cell;
}

function drawFrames(map, before) {
  const [first, count] = story.frames;
  const known = new Map(map.frames.map((frame) => [frame.number, frame]));
  const old = new Map((before?.frames ?? []).map((frame) => [frame.number, JSON.stringify(frame)]));
  const cells = Array.from({ length: count }, (_, place) => {
    const number = first + place, frame = known.get(number);
    const cell = frame ? drawFrame(frame, map) : element("li", "cell frame free", element("span", "name", hex(number)), element("span", "", "free"));
    cell.dataset.frame = number;
    cell.title = `0x${hex(number)}000`;

    cell.classList.toggle("hand", map.hand === number);
    cell.classList.toggle("changed", before !== null && old.get(number) !== (frame && JSON.stringify(frame)));
    cell.classList.toggle("now", story.steps[step].frame === number);
    return cell;
  });
  byId("frames").replaceChildren(...cells);

  const tables = map.frames.filter(({ use }) => use === "t").length;
  byId("frame-count").textContent = `${tables} for tables, ${map.frames.length - tables} for pages, ${count - map.frames.length} free`;
}

function drawFrame(frame, map) {
  const holders = frame.use === "t" ? [frame.owner] : frame.mappedBy;
  const owner = map.processes.find(({ letter }) => letter === (frame.owner ?? holders[0]));
  const what = { t: `table L${frame.detail}`, p: frame.use === "p" ? pageName(owner, BigInt("0x" + frame.detail)) : "", s: `shared+${frame.detail}` }[frame.use];
  const marks = [frame.cow ? "cow" : "", frame.dirty ? "dirty" : "", frame.accessed ? "A" : ""].filter((mark) => mark !== "");

  const letters = holders.filter((letter) => letter !== null).join(" ");
  const cell = element("li", "cell frame", element("span", "name", hex(frame.number)), element("span", "place", letters || "no process"),
    element("span", "", what), element("span", "marks", marks.join(" ")));
  if (frame.use === "t") cell.classList.add("table");
  if (holders.length > 1) cell.classList.add("both");
  if (holders[0]) cell.style.setProperty("--who", colour(holders[0]));
  if (holders[1]) cell.style.setProperty("--with", colour(holders[1]));
  Object.assign(cell.dataset, { use: frame.use, owner: frame.owner ?? "", mappedBy: frame.mappedBy.join(""), slot: frame.slot ?? "" });
  return cell;
}

function drawStore(map, before) {
  const old = new Map((before?.slots ?? []).map((slot) => [slot.number, JSON.stringify(slot)]));
  const cells = map.slots.map((slot) => {
    const pages = map.processes.flatMap((process) => process.pages.filter((page) => page.slot === slot.number)
      .map(({ address }) => `${process.letter} ${pageName(process, address)}`));
    const copies = map.frames.filter((frame) => frame.slot === slot.number).map(({ number }) => `= ${hex(number)}`);
    const holders = [...pages, ...copies];
    const cell = element("li", "cell stored", element("span", "place", `slot ${slot.number}`), slot.image ? element("span", "", "image") : null,
      ...(holders.length > 0 ? holders : ["shared"]).map((holder) => element("span", "", holder)));
    cell.dataset.slot = slot.number;
    cell.classList.toggle("changed", before !== null && old.get(slot.number) !== JSON.stringify(slot));
    return cell;
  });
  byId("store").replaceChildren(...cells);
  const copy = map.frames.find(({ slot }) => slot !== null);
  const note = copy ? `= ${hex(copy.number)}: that frame has the same contents, and can be taken without writing.` : "";
  byId("store-note").textContent = cells.length > 0 ? note : "Nothing is kept here.";
}

// Where the player is: slider, strip, table, buttons, and the address of the page.
function mark() {
  const slider = byId("slider");
  slider.value = step;
  slider.setAttribute("aria-valuetext", `step ${step + 1} of ${rows.length}`);
  const [before, after] = [faultBefore(), faultAfter()];
  const faults = rows.map((_, index) => index).filter(isFault);
  byId("count").textContent = `Step ${step + 1} of ${rows.length}; ${faults.filter((index) => index <= step).length} of ${faults.length} faults so far. Keys: space, arrows, N and P for the next and the previous fault.`;

  byId("start").disabled = byId("back").disabled = step === 0;
  byId("end").disabled = byId("forward").disabled = step === rows.length - 1;
  byId("fault-before").disabled = before < 0;
  byId("fault-after").disabled = after < 0;

  for (const row of rows) row.removeAttribute("aria-current");
  rows[step].setAttribute("aria-current", "step");
  const box = rows[step].closest(".rows");
  box.scrollTop = rows[step].offsetTop - box.clientHeight / 2;
  const here = byId("strip").querySelector(".here");
  for (const end of ["x1", "x2"]) here?.setAttribute(end, step + 0.5);
  history.replaceState(null, "", `#${story.mode}-${step + 1}`);
}

// All steps at a glance: the frames of tables and pages as areas, faults and the clock as lines from the top.
function drawStrip() {
  const svg = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const height = (count) => 100 - 100 * count / story.frames[1];
  const area = (counts) => `0,100 ${counts.map((count, index) => `${index},${height(count)} ${index + 1},${height(count)}`).join(" ")} ${counts.length},100`;
  const all = story.steps.map(({ map }) => map.frames.length);
  const tables = story.steps.map(({ map }) => map.frames.filter(([, use]) => use === "t").length);

  const picture = svg("svg", { viewBox: `0 0 ${rows.length} 100`, preserveAspectRatio: "none" });
  picture.append(svg("polygon", { class: "pages", points: area(all) }), svg("polygon", { class: "tables", points: area(tables) }));
  const lengths = { clock: 18, minor: 30, major: 48, invalid: 100 };
  rows.forEach((row, index) => {
    const name = row.classList.contains("parts") ? "parts" : classOf(index);
    const length = name === "parts" ? 100 : lengths[name];
    if (length) picture.append(svg("line", { class: name, x1: index + 0.5, x2: index + 0.5, y1: 0, y2: length }));
  });
  picture.append(svg("line", { class: "here", x1: 0, x2: 0, y1: 0, y2: 100 }));
  byId("strip").replaceChildren(picture);
}

function stop() {
  clearInterval(timer);
  timer = null;
  const [sign, word] = byId("play").children;
  sign.textContent = "\u25b6";
  word.textContent = "Play";
}
function play() {
  if (rows.length === 0) return;
  if (step === rows.length - 1) show(0);
  const [sign, word] = byId("play").children;
  sign.textContent = "\u23f8\ufe0e";
  word.textContent = "Pause";
  timer = setInterval(() => {
    show(step + 1);
    if (step === rows.length - 1) stop();
  }, Number(byId("speed").value));
}
const toggle = () => (timer === null ? play() : stop());
function go(index) {
  stop();
  if (index >= 0) show(index);
}

const actions = {
  start: () => go(0), end: () => go(rows.length - 1), back: () => go(Math.max(step - 1, 0)), forward: () => go(step + 1),
  "fault-before": () => go(faultBefore()), "fault-after": () => go(faultAfter()), play: toggle,
};
for (const [id, action] of Object.entries(actions)) byId(id).addEventListener("click", action);
byId("slider").addEventListener("input", (event) => go(Number(event.target.value)));
byId("speed").addEventListener("change", () => { if (timer !== null) { stop(); play(); } });
byId("mode").addEventListener("change", (event) => { choose(event.target.selectedIndex); show(0); });

// Keys, wherever the focus is; a control keeps those of its own.
const keys = { " ": "play", ArrowLeft: "back", ArrowRight: "forward", Home: "start", End: "end", n: "fault-after", p: "fault-before" };
document.addEventListener("keydown", (event) => {
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = keys[name], tag = event.target.tagName;
  const isOwn = tag === "SELECT" || (tag === "BUTTON" && name === " ") || (tag === "INPUT" && name.length > 1);
  if (!action || isOwn || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  actions[action]();
});

// A step of the table is a place to go to, and a frame shows where it is mapped.
document.addEventListener("click", (event) => {
  const row = event.target.closest("tbody tr");
  if (row && rows.includes(row) && getSelection().isCollapsed) go(rows.indexOf(row));
});
function link(event) {
  const frame = event.target.closest?.("[data-frame]")?.dataset.frame;
  for (const cell of document.querySelectorAll(".cell")) cell.classList.toggle("linked", frame !== undefined && cell.dataset.frame === frame);
}
document.addEventListener("pointerover", link);

function follow() {
  const [, mode, number] = /^#(\w+)-(\d+)$/.exec(location.hash) ?? [];
  const known = stories.findIndex((one) => one.mode === mode);
  choose(Math.max(known, 0));
  show(known < 0 ? 0 : Number(number) - 1);
}
window.addEventListener("hashchange", follow);
document.body.classList.add("has-player");
follow();
