// The parts of the page: what is drawn of a view, as elements.

/** An element with attributes and children; a child is an element or a text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SIGN_OF_CHANGE = "•";
const range = ({ high, low }) => (high === low ? String(high) : `${high}:${low}`);

/** A bit that can be flipped. */
function bitButton({ word, field, bit, value, before, id, flip }) {
  const isChanged = before !== undefined && before !== value;
  const what = field.kind === "flag" ? field.name : `bit ${bit} (${field.name})`;
  const label = `${word} ${what}: ${value}${isChanged ? `, was ${before}` : ""}`;
  return make("button", {
    type: "button",
    class: `bit b${value}${isChanged ? " changed" : ""}`,
    "data-bit": bit,
    "data-id": `${id}.${bit}`,
    "aria-label": label,
    title: label,
    disabled: flip === undefined,
    onclick: () => flip(bit, what, value),
  }, String(value));
}

/**
 * A word field by field, each bit a button. `before` is its value in the case as it was. One bit is a stop of the Tab
 * key; arrow keys go on from there.
 */
function drawWord(word, { id, before, flip, label }) {
  const fields = word.fields.map((field) => {
    const digits = [];
    for (let bit = field.high; bit >= field.low; bit--) {
      const value = Number(bitOf(word.value, bit));
      const old = before === undefined ? undefined : Number(bitOf(before, bit));
      digits.push(bitButton({ word: word.name, field, bit, value, before: old, id, flip }));
    }
    const name = field.kind === "ignored" || field.kind === "reserved" ? field.name || "–" : field.name;
    return make("div", { class: `field ${field.kind}${field.is_wrong ? " wrong" : ""}`, title: field.meaning || field.name },
      make("span", { class: "name" }, name),
      make("span", { class: "digits" }, ...digits),
      make("span", { class: "place" }, range(field)));
  });
  return make("div", { class: "word", role: "group", "aria-label": label ?? word.name }, ...fields);
}

/** What the fields of an entry mean, as sentences. */
function drawMeanings(word) {
  const said = word.fields.filter(({ meaning, kind, value, is_wrong: isWrong }) =>
    meaning && (isWrong || kind !== "ignored") && (kind !== "reserved" || BigInt(value) !== 0n));
  const items = said.toReversed().map((field) => make("div", { class: field.is_wrong ? "wrong" : "" },
    make("dt", {}, field.high === field.low ? `${field.name}=${BigInt(field.value)}` : field.name),
    make("dd", {}, `${field.is_wrong ? "✕ " : ""}${field.meaning}`)));
  return make("dl", { class: "meanings" }, ...items);
}

/** What a path allows after an entry. */
function drawRights(rights) {
  const chips = rights.map(({ name, has, lost }) => {
    const [sign, kind, words] = has ? ["✓", "has", "allowed"] : lost ? ["✕", "lost", "taken away here"] : ["–", "lacks", "taken away above"];
    return make("li", { class: `right ${kind}` }, `${sign} ${name}`, make("span", { class: "unseen" }, `: ${words}`));
  });
  return make("ul", { class: "rights", "aria-label": "what the path allows so far" }, ...chips);
}

/** An entry on the path: its table, itself bit by bit, what that means, and what is left of the rights. */
function drawEntry(entry, { number, step, before, flip }) {
  const { word, at, table, index, bytes } = entry;
  const isRead = number <= step, isCurrent = number === step;
  const place = `${at} = ${table} + ${bytes} × ${index}${entry.in_register ? ", held in a register" : ""}`;
  const heading = make("h3", {}, make("span", { class: "level" }, `${word.name} ${index}`), " ", make("code", { class: "note" }, isRead ? place : "not read yet"));
  const card = make("li", { class: `entry c${number}${isRead ? " read" : " ahead"}${isCurrent ? " current" : ""}`, "aria-current": isCurrent && "step" }, heading);
  if (!isRead) return card;

  const was = before !== undefined && BigInt(before) !== BigInt(word.value);
  card.append(make("p", { class: "entry-value" }, make("code", {}, padded(word)),
    was && make("span", { class: "was" }, ` ${SIGN_OF_CHANGE} was ${before}`)));
  card.append(drawWord(word, { id: `entry-${at}`, before, flip, label: `${word.name} at ${at}` }));
  if (isCurrent || entry.problem) card.append(drawMeanings(word));

  const leads = entry.problem
    ? make("p", { class: "bad" }, `✕ ${entry.problem}: the walk stops here`)
    : make("p", {}, `leads to the ${entry.leads_to} at `, make("code", {}, entry.target));
  card.append(leads);
  if (!entry.problem && !entry.in_register) card.append(drawRights(entry.rights));
  return card;
}

const padded = ({ value, width }) => "0x" + BigInt(value).toString(16).padStart(width / 4, "0");

/** The address in its parts, each bit a button. */
function drawAddress(walk, { before, flip, step }) {
  const word = {
    name: "address",
    value: walk.address,
    width: walk.parts[0].high + 1,
    fields: walk.parts.map(({ name, high, low }) => ({ name, high, low, kind: "number", meaning: "", is_wrong: false })),
  };
  const row = drawWord(word, { id: "address", before, flip, label: `linear address ${walk.address}` });
  const levels = walk.parts.filter(({ name }) => name !== "sign");
  [...row.children].forEach((field, index) => {
    const part = walk.parts[index];
    const number = levels.indexOf(part) + 1;
    field.classList.add(part.name === "offset" ? "c6" : `c${number}`);
    if (number > 0 && number === step) field.classList.add("current");
    field.querySelector(".place").append(` = ${part.value}`);
  });
  return row;
}

/** The flags of a register as switches. */
function drawFlags(word, { before, flip }) {
  const flags = word.fields.filter(({ kind }) => kind === "flag").map((field) => {
    const value = Number(BigInt(field.value));
    const isChanged = Number(bitOf(before, field.low)) !== value;
    return make("button", {
      type: "button",
      class: `flag b${value}${isChanged ? " changed" : ""}`,
      "aria-pressed": value === 1 ? "true" : "false",
      "data-id": `${word.name}.${field.low}`,
      title: field.meaning || field.name,
      onclick: () => flip(field.low, field.name, value),
    }, `${field.name} `, make("b", {}, String(value)), isChanged && make("span", { class: "unseen" }, ", changed"));
  });
  const said = word.fields.filter(({ meaning }) => meaning).map(({ name, value, meaning }) => `${name}=${BigInt(value)} ${meaning}`);
  return make("div", {},
    make("div", { class: "flags", role: "group", "aria-label": word.name }, ...flags),
    make("p", { class: "note" }, said.join(" · ")));
}

/** An error code bit by bit. */
function drawErrorCode(word) {
  const fields = word.fields.map((field) => make("li", { class: BigInt(field.value) === 1n ? "set" : "" },
    make("span", { class: "name" }, field.name),
    make("b", {}, String(BigInt(field.value))),
    make("span", { class: "meaning" }, field.meaning)));
  return make("ol", { class: "error-code", "aria-label": "error code, bit by bit" }, ...fields);
}

/** The outcomes that are allowed, with the entries that each changes. */
function drawOutcomes({ prediction }, errorCodes) {
  const ways = prediction.alternatives.map((way, index) => {
    const isFault = way.fault !== null;
    const choice = way.choice && make("span", { class: "note" }, ` if ${way.member} (${way.choice})`);
    const code = errorCodes[index] && drawErrorCode(errorCodes[index]);
    const updates = way.updates.map(({ level, at, sets, may_set: maySet, rule }) => make("li", {},
      sets.length > 0 && `sets ${sets.join(" and ")} in the ${level} at `,
      sets.length > 0 && make("code", {}, at),
      sets.length > 0 && maySet.length > 0 && "; ",
      maySet.length > 0 && `may set ${maySet.join(" and ")} in the ${level} at `,
      maySet.length > 0 && make("code", {}, at),
      maySet.length > 0 && ` (${rule})`));
    return make("li", {},
      make("p", { class: isFault ? "end bad" : "end good" }, `${isFault ? "▲" : "✓"} ${way.outcome}`, choice),
      code,
      updates.length > 0 && make("ul", { class: "updates" }, ...updates));
  });
  return make("ul", { class: "outcomes" }, ...ways);
}

/** A step of a sequence: what happens, how it ends, and what may be cached then. */
function drawStep({ action, outcomes, observed, dropped, cached }) {
  const lines = [
    outcomes.length > 0 && `outcome: ${outcomes.join(", or ")}`,
    observed !== null && `machine: ${observed}`,
    ...dropped.map((what) => `drops: ${what}`),
    ...cached.map(({ what, memory }) => `cached: ${what}${memory === null ? "" : `; ${memory}`}`),
  ];
  const said = lines.filter(Boolean).map((line) => make("p", {}, line));
  return make("li", {}, make("p", {}, make("strong", {}, action)), ...said);
}

/** What a machine did, in a line beside the outcome; more of it is below. It ran the case as it was. */
function drawBeside({ machine, flavour, verdict, known, observed, reason }, isOther) {
  const agrees = verdict === "agree" || known;
  return make("li", {},
    make("strong", { class: agrees ? "good" : "bad" }, `${agrees ? "✓" : "▲"} ${machine} ${flavour}`),
    `: ${observed ?? reason ?? verdict}${isOther ? ", before the change" : ""}`);
}
