// The page: sliders, and everything that follows from them.
const byId = (id) => document.getElementById(id);
const given = JSON.parse(byId("settings").textContent);
const sliders = { bits: byId("bits"), page: byId("page-bits"), entry: byId("entry"), levels: byId("levels"), use: byId("use") };
const split = byId("split");

/** An element with a class and contents. */
function element(name, className, ...contents) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...contents);
  return made;
}

// Numbers in words, as the program writes them.

const units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB"];
const log2 = (number) => number.toString(2).length - 1;
const isPower = (number) => number > 0n && (number & (number - 1n)) === 0n;
const counted = (number, noun) => `${number} ${noun}${BigInt(number) === 1n ? "" : "s"}`;
const withCommas = (number) => number.toString().replace(/\B(?=(\d{3})+$)/g, ",");
const roundedQuotient = (number, divisor) => (number + divisor / 2n) / divisor;

/** A size in the largest unit that it fills, to four digits. */
function sizeInWords(bytes) {
  const unit = Math.min(Math.floor(log2(bytes || 1n) / 10), 7);
  if (unit === 0) return counted(bytes, "byte");
  const one = 1n << BigInt(10 * unit);
  const whole = bytes / one;
  if (bytes % one === 0n) return `${whole} ${units[unit]}`;
  const digits = whole < 10n ? 3 : whole < 100n ? 2 : 1;
  const scaled = roundedQuotient(bytes * 10n ** BigInt(digits), one).toString();
  return `${scaled.slice(0, -digits)}.${scaled.slice(-digits)} ${units[unit]}`;
}

/** 4503599627370496 as 4.5 x 10^15. */
function scientific(number) {
  let exponent = Math.floor((number.toString().length - 1) / 3) * 3;
  let tenths = roundedQuotient(number * 10n, 10n ** BigInt(exponent));
  if (tenths >= 9995n) { exponent += 3; tenths = 10n; }
  const words = tenths < 100n ? `${tenths / 10n}.${tenths % 10n}` : `${roundedQuotient(tenths, 10n)}`;
  return `${words} × 10^${exponent}`;
}

const power = (number) => (number < 1024n ? `${number}` : number < 100_000_000n ? `2^${log2(number)} = ${withCommas(number)}` : `2^${log2(number)}, about ${scientific(number)}`);

/** How often a size fits into another. */
function quotient(large, small) {
  const whole = large / small;
  if (whole >= 1_000_000n) return scientific(whole);
  if (large % small === 0n) return withCommas(whole);
  const digits = whole < 10n ? 2 : whole < 100n ? 1 : 0;
  const scaled = roundedQuotient(large * 10n ** BigInt(digits), small).toString().padStart(digits + 1, "0");
  return digits === 0 ? withCommas(BigInt(scaled)) : `${scaled.slice(0, -digits)}.${scaled.slice(-digits)}`;
}

/** How often these tables fit into the flat one; if they are larger, the other way round. */
const timesFlat = (flat, bytes) => (bytes > flat ? `1 / ${quotient(bytes, flat)}` : quotient(flat, bytes));

// What the sliders say.

/** The sizes of an entry that can be chosen, the program's own choice first. */
function entrySizes(frameNumberBits) {
  const powers = [1, 2, 4, 8, 16, 32, 64].filter((bytes) => bytes >= leastEntryBytes(frameNumberBits));
  const own = given.entryBytes !== null && given.entryBytes >= leastEntryBytes(frameNumberBits) ? [given.entryBytes] : [];
  return [null, ...new Set([...powers, ...own].sort((one, other) => one - other))];
}

/** The index bits in the field; `null` if it is empty, and a sentence if they do not fit. */
function ownSplit(pageNumberBits) {
  const text = split.value.trim();
  if (text === "") return null;
  const bits = text.split(/[\s,+]+/).map(Number);
  if (!bits.every((count) => Number.isInteger(count) && count > 0)) return "expected numbers, such as 9, 9, 9, 9";
  const sum = bits.reduce((one, other) => one + other, 0);
  return sum === pageNumberBits ? bits : `expected a sum of ${pageNumberBits}, not ${sum}`;
}

/** Moves a slider to its place, with what its place means. */
function place(slider, max, words) {
  slider.max = max;
  byId(`${slider.id}-value`).textContent = words();
  slider.setAttribute("aria-valuetext", words());
}

/** Everything that the controls choose. */
function chosen() {
  const addressBits = Number(sliders.bits.value);
  place(sliders.bits, 64, () => counted(addressBits, "bit"));
  sliders.page.max = Math.min(addressBits, 30);
  const offsetBits = Number(sliders.page.value);
  place(sliders.page, Math.min(addressBits, 30), () => sizeInWords(1n << BigInt(offsetBits)));

  const physicalBits = given.physicalBits;
  const unsized = geometryOf({ addressBits, offsetBits, physicalBits, entryBytes: null });
  const sizes = entrySizes(unsized.frameNumberBits);
  // The same size stays where it was, though other sizes come before it.
  const kept = sizes.indexOf(entryBytes);
  sliders.entry.max = sizes.length - 1;
  sliders.entry.value = kept < 0 ? 0 : kept;
  if (kept < 0) entryBytes = null;
  const geometry = geometryOf({ addressBits, offsetBits, physicalBits, entryBytes });
  place(sliders.entry, sizes.length - 1, () =>
    counted(geometry.entryBytes, "byte") + (entryBytes === null ? " (smallest)" : ""));

  sliders.levels.disabled = geometry.pageNumberBits === 0;
  sliders.levels.max = Math.max(1, Math.min(5, geometry.pageNumberBits));
  const own = ownSplit(geometry.pageNumberBits);
  const isOwn = Array.isArray(own) && own.join() !== evenSplit(geometry.pageNumberBits, own.length).join();
  split.setAttribute("aria-invalid", String(typeof own === "string"));
  byId("split-note").textContent = typeof own === "string" ? own : own ? "instead of the slider of levels" : "";
  const count = Array.isArray(own) ? own.length : Number(sliders.levels.value);
  place(sliders.levels, sliders.levels.max, () => counted(count, "level"));

  const use = uses[Number(sliders.use.value)];
  const useInWords = use.name === "everything" ? use.name : `${use.name}, ${use.placement}`;
  place(sliders.use, uses.length - 1, () => useInWords);

  const indexBits = geometry.pageNumberBits === 0 ? [] : isOwn ? own : evenSplit(geometry.pageNumberBits, count);
  return { geometry, use, useInWords, indexBits, isOwn };
}

// What follows from them.

/** Whether this is an example of the textbook: 32 or 64, or neither. */
function textbook({ addressBits, offsetBits, physicalBits, entryBytes }) {
  const isOne = offsetBits === 12 && physicalBits === addressBits && entryBytes === addressBits / 8;
  return isOne && (addressBits === 32 || addressBits === 64) ? addressBits : null;
}

function showAddress({ geometry, indexBits }) {
  const parts = indexBits.map((bits, depth) => ({ bits, name: indexBits.length === 1 ? "index" : `level ${indexBits.length - depth}`, kind: "index" }));
  parts.push({ bits: geometry.offsetBits, name: "offset", kind: "offset" });
  const shown = parts.filter(({ bits }) => bits > 0).map(({ bits, name, kind }) => {
    const part = element("span", kind, element("b", "", String(bits)), name);
    part.style.setProperty("--bits", bits);
    return part;
  });
  byId("address").replaceChildren(...shown);
  byId("address").setAttribute("aria-label", "the bits of an address: " +
    parts.map(({ bits, name }) => `${bits} of ${name}`).join(", "));
}

function showFacts({ geometry }) {
  const book = textbook(geometry);
  const facts = [
    ["pages", "pages", geometry.pages, `2^${geometry.addressBits} / 2^${geometry.offsetBits} = ${power(geometry.pages)}`, true],
    ["frames", "frames", geometry.frames, power(geometry.frames), false],
    ["frame number", "frame_number_bits", BigInt(geometry.frameNumberBits), `${counted(geometry.frameNumberBits, "bit")}, ${geometry.frameNumberBits / 8} bytes exactly`, true],
    ["entry", "entry_bytes", BigInt(geometry.entryBytes), counted(geometry.entryBytes, "byte"), true],
    ["flat table", "flat_table_bytes", geometry.flatTableBytes, `2^${geometry.pageNumberBits} entries × ${geometry.entryBytes} = ${sizeInWords(geometry.flatTableBytes)}`, true],
    ["per byte", "per_byte", geometry.perByte.tableBytes, `2^${geometry.addressBits} entries × ${geometry.perByte.entryBytes} = ${sizeInWords(geometry.perByte.tableBytes)}`, book === 32],
  ];
  byId("facts").replaceChildren(...facts.map(([name, field, exact, words, isOfBook]) => {
    const value = element("dd", "", words);
    value.dataset.fact = field;
    value.dataset.exact = exact;
    if (book !== null && isOfBook) value.append(" ", element("span", "star", "★ textbook"));
    return element("div", "", element("dt", "", name), value);
  }));

  const notes = {
    32: "★ The textbook's first example: 2^20 pages, frame numbers of 20 bits (2.5 bytes, rounded to 4), a flat table of 4 MiB, and 16 GiB with an entry for each byte.",
    64: "★ The textbook's second example: 2^52 pages, about 4.5 × 10^15 (where a textbook says 10^5, that is a slip), and a flat table of 32 PiB (it says roughly 40 peta bytes, which is this, rounded).",
  };
  byId("book").hidden = book === null;
  byId("book").textContent = notes[book] ?? "";
}

/** The tables that are compared: flat ones, even splits, and the chosen one. */
function compared({ geometry, use, indexBits, isOwn }) {
  const pages = pagesOf(use, geometry);
  const all = [
    { name: "flat, per byte", kind: "flat", bytes: geometry.perByte.tableBytes },
    { name: "flat, per page", kind: "flat", bytes: geometry.flatTableBytes },
  ];
  const add = (bits, name) => {
    const cost = costOf(geometry, bits, pages, use.placement);
    const isChosen = bits.join() === indexBits.join();
    if (cost) all.push({ name, kind: isChosen ? "chosen" : "", bits, ...cost });
  };
  for (let count = 2; count <= Math.min(5, geometry.pageNumberBits); count += 1) {
    add(evenSplit(geometry.pageNumberBits, count), `${count} levels`);
  }
  if (indexBits.length > 0 && !all.some(({ kind }) => kind === "chosen")) {
    add(indexBits, isOwn ? `own split, ${counted(indexBits.length, "level")}` : counted(indexBits.length, "level"));
  }
  return all;
}

function showRows(all, geometry) {
  byId("rows").replaceChildren(...all.map(({ name, kind, bits, tables, bytes }) => {
    const head = element("th", "", name);
    head.scope = "row";
    const size = element("td", "num", sizeInWords(bytes));
    const exact = element("td", "num", withCommas(bytes));
    exact.dataset.exact = bytes;
    const inTables = (tables ?? []).map((count) => (count >= 100_000n && isPower(count) ? `2^${log2(count)}` : `${count}`));
    const row = element("tr", kind, head, element("td", "", (bits ?? []).join(", ")), element("td", "", inTables.join(" + ")),
      exact, size, element("td", "num", timesFlat(geometry.flatTableBytes, bytes)));
    row.dataset.bits = (bits ?? []).join();
    row.dataset.tables = (tables ?? []).join();
    return row;
  }));
}

/** Sides of squares in pixels: the largest of a picture, one that is small, and the smallest that can be seen. */
const largestSide = 190;
const smallSide = 12;
const smallestSide = 2;

/** Pictures of squares to scale. The first small square of each is the largest of the next. */
function pictures(all) {
  let rest = [...all].sort((one, other) => (one.bytes < other.bytes ? 1 : one.bytes > other.bytes ? -1 : 0));
  const made = [];
  while (rest.length > 0) {
    const most = rest[0].bytes;
    const squares = rest.map((item) => ({ ...item, side: largestSide * Math.sqrt(Number(item.bytes) / Number(most)) }));
    made.push({ most, squares: squares.filter(({ side }) => side >= smallestSide) });
    const small = squares.findIndex(({ side }) => side < smallSide);
    rest = small < 0 ? [] : rest.slice(small);
  }
  return made;
}

function showPictures(all) {
  let before = null;
  byId("pictures").replaceChildren(...pictures(all).map(({ most, squares }) => {
    const scale = before === null ? `The largest square is ${sizeInWords(most)}.`
      : `Magnified ${quotient(before, most)} times: the largest square is ${sizeInWords(most)}.`;
    before = most;
    const shown = squares.map(({ name, kind, bytes, side }) => {
      const area = element("i", "");
      area.style.width = area.style.height = `${side}px`;
      const label = element("span", "", element("b", "", name), sizeInWords(bytes));
      return element("div", `square ${kind}`, area, label);
    });
    return element("figure", "picture", element("figcaption", "", scale), element("div", "squares", ...shown));
  }));
}

function showSummary({ geometry, useInWords, indexBits }, all) {
  const chosenTables = all.find(({ kind }) => kind === "chosen");
  const words = `Addresses of ${counted(geometry.addressBits, "bit")}, pages of ${sizeInWords(geometry.pageBytes)}: a flat table takes ${sizeInWords(geometry.flatTableBytes)}`;
  if (!chosenTables) {
    byId("summary").textContent = indexBits.length === 0 ? `${words}. One page is the whole space.` : `${words}. The space is smaller than ${useInWords}.`;
    return;
  }
  const saved = quotient(geometry.flatTableBytes, chosenTables.bytes);
  byId("summary").textContent = `${words}; ${counted(indexBits.length, "level")} for ${useInWords} take ${sizeInWords(chosenTables.bytes)}: the flat table is ${saved} times that.`;
}

function update() {
  const choice = chosen();
  const all = compared(choice);
  showAddress(choice);
  showFacts(choice);
  showRows(all, choice.geometry);
  showPictures(all);
  showSummary(choice, all);
  for (const button of document.querySelectorAll("[data-preset]")) {
    button.setAttribute("aria-pressed", String(isPreset(button.dataset.preset, choice)));
  }
}

// Examples to begin with.

const presets = {
  32: { addressBits: 32, pageBits: 12, entryBytes: null, levels: 2, split: "" },
  64: { addressBits: 64, pageBits: 12, entryBytes: null, levels: 4, split: "" },
  x86: { addressBits: 48, pageBits: 12, entryBytes: 8, levels: 4, split: "" },
};

function isPreset(name, { geometry, indexBits }) {
  if (name !== "x86") return textbook(geometry) === Number(name);
  return geometry.addressBits === 48 && geometry.entryBytes === 8 && indexBits.join() === "9,9,9,9";
}

/** The size of an entry that was chosen; `null` for the smallest. */
let entryBytes = given.entryBytes;

function set(settings) {
  sliders.bits.value = settings.addressBits;
  sliders.page.max = Math.min(settings.addressBits, 30);
  sliders.page.value = settings.pageBits;
  entryBytes = settings.entryBytes;
  sliders.levels.max = 5;
  sliders.levels.value = settings.levels;
  split.value = settings.split;
  update();
}

byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("controls").addEventListener("input", ({ target }) => {
  if (target === sliders.entry) {
    const { frameNumberBits } = geometryOf({ addressBits: Number(sliders.bits.value), offsetBits: Number(sliders.page.value), physicalBits: given.physicalBits, entryBytes: null });
    entryBytes = entrySizes(frameNumberBits)[Number(sliders.entry.value)];
  }
  update();
});
for (const button of document.querySelectorAll("[data-preset]")) {
  button.addEventListener("click", () => set(presets[button.dataset.preset]));
}
sliders.use.max = uses.length - 1;
sliders.use.value = 0;
byId("page").hidden = false;
set(given);
