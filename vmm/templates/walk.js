// The page of a walk: its steps, and what would be different. What it shows is a view (crosswalk_explain::View): first
// that of the case as it was, then one of the module for each change.

const byId = (id) => document.getElementById(id);
const original = JSON.parse(byId("view").textContent);

/** The views from the case as it was to the one that is shown, each with what changed it. */
let history = [{ view: original, change: null }];
let step = 0;
let answer = null;
const starting = startModule(byId("module")).then(
  (started) => { answer = started; },
  (problem) => { byId("refused").textContent = `Nothing can be flipped: the module does not start (${problem}).`; });
/** The change that is being made. */
let working = starting;

const current = () => history[history.length - 1].view;

/** The steps of a view: of each walk the address, its entries and its end, and then the outcome. */
function stepsOf({ picture }) {
  const steps = picture.walks.flatMap((walk, number) => {
    const last = walk.entries.length + 1;
    return Array.from({ length: last + 1 }, (_, index) => ({ walk: number, index, isEnd: index === last }));
  });
  return [...steps, { walk: picture.walks.length, index: 0, isEnd: false }];
}

/** What happens at a step, in a sentence. */
function sentence({ picture, explained }, { walk: number, index, isEnd }) {
  const walk = picture.walks[number];
  if (!walk) {
    const ways = explained.prediction.alternatives.map(({ outcome }) => outcome);
    return `The outcome: ${ways.join(", or ")}.`;
  }
  if (isEnd) return walk.end.kind === "none" ? `There is no walk: ${walk.end.words}.` : `The walk ${verb(walk.end)}.`;
  if (index === 0) {
    const parts = walk.parts.map(({ name, value }) => `${name} ${value}`).join(", ");
    return `The address ${walk.address} is split: ${parts}.`;
  }

  const entry = walk.entries[index - 1];
  const lost = entry.rights.filter((right) => right.lost).map(({ name }) => name);
  const what = `${entry.word.name} ${entry.index} at ${entry.at}`;
  if (entry.problem) return `${what}: ${entry.problem}.`;
  const takes = lost.length > 0 ? ` It takes away: ${lost.join(", ")}.` : "";
  return `${what} leads to the ${entry.leads_to} at ${entry.target}.${takes}`;
}

const verb = ({ kind, words }) => (kind === "denied" ? `is complete, and the access is ${words}` : words);

/** Makes a change after those before it. What fails leaves the page as it is. */
function change(description, edit) {
  working = working.then(() => walkAgain(description, edit)).catch((problem) => {
    byId("refused").textContent = `Refused: ${problem.message ?? problem}`;
  });
}

/** Makes a change, and the walk again. One that no case can say is refused, with the reason. */
function walkAgain(description, edit) {
  if (!answer) return;
  const changed = structuredClone(current().explained.case);
  edit(changed);
  const { view, error } = JSON.parse(answer("explain", JSON.stringify(changed)));
  byId("refused").textContent = error ? `Refused: ${error}` : "";
  if (!view) return render();

  // What is at its end stays there.
  const isLast = step === stepsOf(current()).length - 1;
  history.push({ view, change: description });
  step = isLast ? Infinity : step;
  render();
}

/** A flip in words: `CR0: WP 1 → 0`. */
const described = (word, what, old) => `${word}: ${what} ${old} → ${1 - old}`;

function undo(count) {
  history.length = Math.max(1, history.length - count);
  byId("refused").textContent = "";
  render();
}

/** The register of the case as it was. */
const registerBefore = (name) => original.picture.registers.find((word) => word.name === name)?.value ?? "0x0";

/** The entry that the case as it was has in the place of this one. */
function entryBefore({ at, bytes }) {
  const entries = original.picture.walks.flatMap((walk) => walk.entries);
  const known = entries.find((entry) => BigInt(entry.at) === BigInt(at) && entry.bytes === bytes);
  return known ? known.word.value : entryIn(original.explained.case, at, BigInt(bytes));
}

function render() {
  const focused = document.activeElement?.dataset?.id;
  const view = current();
  const steps = stepsOf(view);
  step = Math.min(Math.max(step, 0), steps.length - 1);
  const at = steps[step];
  const number = Math.min(at.walk, view.picture.walks.length - 1);
  const index = at.walk > number ? Infinity : at.index;

  renderControls(view, steps);
  renderPicture(view, at);
  renderWalk(view, number, index);
  renderRegisters(view);
  renderAccess(view);
  renderResult(view);
  renderChanges(view);
  for (const word of document.querySelectorAll(".word")) rove(word);
  if (focused) document.querySelector(`[data-id="${focused}"]`)?.focus({ preventScroll: true });
}

function renderControls(view, steps) {
  const slider = byId("step");
  slider.max = steps.length - 1;
  slider.value = step;
  slider.setAttribute("aria-valuetext", `step ${step + 1} of ${steps.length}`);
  byId("count").textContent = `${step + 1} of ${steps.length}`;
  byId("sentence").textContent = sentence(view, steps[step]);
  for (const id of ["first", "back"]) byId(id).disabled = step === 0;
  for (const id of ["next", "last"]) byId(id).disabled = step === steps.length - 1;
}

/** Lights what the walk has come to. The drawing is made by the reference's own code, so it is no foreign text. */
function renderPicture({ svg }, at) {
  const stage = byId("stage");
  if (stage.drawn !== svg) stage.innerHTML = stage.drawn = svg;
  for (const part of stage.querySelectorAll(".part")) {
    const [walk, own] = [Number(part.dataset.walk), Number(part.dataset.step)];
    part.classList.toggle("unlit", walk > at.walk || (walk === at.walk && own > at.index));
    part.classList.toggle("lit", walk === at.walk && own === at.index && own > 0);
  }
}

function renderWalk({ explained, picture }, number, index) {
  const walk = picture.walks[number];
  const several = picture.walks.length > 1 ? ` (page ${number + 1} of ${picture.walks.length}: ${walk.access} at ${walk.address})` : "";
  byId("which").textContent = several;
  // The second page of an access has no address of its own in the case.
  const { access } = explained.case;
  const field = ["source", "address"].find((name) => access[name] !== undefined && BigInt(access[name]) === BigInt(walk.address));
  const flip = (bit, what, old) => change(described(field, what, old), (chosen) => flipAddress(chosen, field, bit));
  byId("address").replaceChildren(drawAddress(walk, {
    before: field && original.explained.case.access[field],
    flip: field && flip,
    step: index,
  }));

  const cards = walk.entries.map((entry, place) => drawEntry(entry, {
    number: place + 1,
    step: index,
    before: entryBefore(entry),
    flip: (bit, what, old) => change(
      described(`${entry.word.name} at ${entry.at}`, what, old),
      (chosen) => flipEntry(chosen, entry, bit)),
  }));
  const isAtEnd = index > walk.entries.length;
  const ending = walk.end.kind === "reached" ? "" : " fails";
  const end = make("li", { class: `entry end-of-walk${ending} ${isAtEnd ? "read" : "ahead"}` }, ...drawEnd(walk, isAtEnd));
  byId("entries").replaceChildren(...cards, end);
}

function drawEnd({ end, parts }, isAtEnd) {
  if (!isAtEnd) return [make("h3", {}, make("span", { class: "level" }, "The end"), " ", make("code", { class: "note" }, "not reached yet"))];
  const heading = make("h3", {}, make("span", { class: "level" }, end.kind === "reached" ? "The byte" : "The end"));
  if (end.kind !== "reached") return [heading, make("p", { class: "bad" }, `✕ ${end.words}`)];
  const offset = parts[parts.length - 1].value;
  const sum = end.page === null ? "the linear address itself" : `frame ${end.page} + offset ${offset}`;
  return [heading, make("p", { class: "good" }, "✓ ", make("code", {}, `${sum} = ${end.physical}`))];
}

function renderRegisters({ picture }) {
  const rows = picture.registers.map((word) => {
    const before = registerBefore(word.name);
    const flip = (bit, what, old) => change(
      described(word.name, what, old),
      (chosen) => flipRegister(chosen, word.name, bit));
    const hasFlags = ["CR0", "CR4", "EFER"].includes(word.name);
    const body = hasFlags
      ? drawFlags(word, { before, flip })
      : drawWord(word, { id: word.name, before, flip });
    return make("div", { class: "register" },
      make("h3", {}, word.name, " ", make("code", { class: "note" }, word.value)), body);
  });
  byId("registers").replaceChildren(...rows);
}

function renderAccess({ explained }) {
  const { access, state } = explained.case;
  const form = byId("access");
  const values = { ...access, ac: state.ac };
  for (const control of form.elements) {
    const { name, type } = control;
    if (!name) continue;
    const value = values[name];
    if (type === "radio") control.checked = String(value) === control.value;
    else if (type === "checkbox") control.checked = value === true;
    else select(control, String(value));
  }
  const isLong = explained.case.mode.endsWith("level");
  form.elements.compatibility.disabled = !isLong;
}

/** Chooses an option; a value that the list lacks is added. */
function select(control, value) {
  if (![...control.options].some((option) => option.value === value)) control.append(make("option", { value }, value));
  control.value = value;
}

function renderResult({ explained, picture }) {
  byId("in-words").textContent = explained.access;
  byId("mode").textContent = `${picture.mode} paging`;
  byId("outcomes").replaceChildren(drawOutcomes(explained, picture.error_codes));
  byId("rules").textContent = explained.prediction.rules.join(", ");

  const was = original.explained.prediction.alternatives.map(({ outcome }) => outcome).join(", or ");
  const now = explained.prediction.alternatives.map(({ outcome }) => outcome).join(", or ");
  const isOther = history.length > 1;
  const isFault = explained.prediction.alternatives[0].fault !== null;
  byId("now").textContent = `${isOther && was !== now ? SIGN_OF_CHANGE : ""} ${isFault ? "▲" : "✓"} ${short(explained.prediction.alternatives[0].outcome)}`;
  byId("now").className = isFault ? "bad" : "good";
  byId("was").textContent = !isOther ? "" : was === now ? "The same as before the change." : `${SIGN_OF_CHANGE} was: ${was}`;
  byId("beside").replaceChildren(...original.explained.machines.map((machine) => drawBeside(machine, isOther)));
  byId("machines")?.classList.toggle("stale", isOther);
  byId("sequence")?.querySelector("ol").replaceChildren(...explained.steps.map(drawStep));
}

/** An outcome without its addresses. */
const short = (outcome) => outcome.split(/[: ]/)[0];

function renderChanges({ explained }) {
  const changes = history.slice(1).map(({ change: words }) => make("li", {}, words));
  byId("changes").replaceChildren(...changes);
  byId("unchanged").hidden = changes.length > 0;
  byId("undo").disabled = byId("reset").disabled = changes.length === 0;
  byId("command").textContent = `crosswalk explain '${JSON.stringify(explained.case)}'`;
}

/** One bit of a word is a stop of the Tab key. */
function rove(word) {
  const bits = [...word.querySelectorAll(".bit:not(:disabled)")];
  const chosen = bits.find((bit) => bit === document.activeElement) ?? bits[0];
  for (const bit of bits) bit.tabIndex = bit === chosen ? 0 : -1;
}

function go(to) {
  step = to;
  render();

  // Below the picture, the table of the step is what shows it.
  const isPictureGone = byId("stage").getBoundingClientRect().bottom < 200;
  const card = document.querySelector(".entry.current") ?? document.querySelector(".end-of-walk.read");
  if (isPictureGone) card?.scrollIntoView({ block: "nearest" });
}

const KEYS = { ArrowRight: () => step + 1, ArrowLeft: () => step - 1, Home: () => 0, End: () => Infinity };

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.altKey || event.metaKey || !KEYS[key]) return;

  // In a word the arrows go from bit to bit, and controls of a form have keys of their own.
  const word = target.closest?.(".word");
  if (word) {
    const bits = [...word.querySelectorAll(".bit:not(:disabled)")];
    const place = bits.indexOf(target);
    const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: bits.length - 1 }[key];
    bits[Math.min(Math.max(to, 0), bits.length - 1)].focus();
    rove(word);
    event.preventDefault();
  } else if (!target.matches?.("input, select, textarea, .scrolls")) {
    go(KEYS[key]());
    event.preventDefault();
  }
});

byId("step").addEventListener("input", (event) => go(Number(event.target.value)));
byId("first").addEventListener("click", () => go(0));
byId("back").addEventListener("click", () => go(step - 1));
byId("next").addEventListener("click", () => go(step + 1));
byId("last").addEventListener("click", () => go(Infinity));
byId("undo").addEventListener("click", () => undo(1));
byId("reset").addEventListener("click", () => undo(Infinity));
byId("copy").addEventListener("click", async () => {
  const text = byId("command").textContent;
  try {
    await navigator.clipboard.writeText(text);
    byId("copied").textContent = "copied";
  } catch {
    getSelection().selectAllChildren(byId("command"));
    byId("copied").textContent = "selected: copy it with the keyboard";
  }
});
byId("access").addEventListener("change", ({ target }) => {
  const { name, type, checked, value } = target;
  const number = name === "size" || name === "ring";
  const chosen = type === "checkbox" ? checked : number ? Number(value) : value;
  const { access, state } = current().explained.case;
  const old = name === "ac" ? state.ac : access[name] ?? false;
  change(`access: ${name} ${old} → ${chosen}`, (changed) => changeAccess(changed, name, chosen));
});

document.documentElement.classList.add("live");
for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
byId("as-text").open = false;
render();
