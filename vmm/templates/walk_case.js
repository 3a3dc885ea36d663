// Cases as JSON, changed by one bit or one choice. Each function changes the case that it is given.

const toHex = (value) => "0x" + value.toString(16);
const bitOf = (text, bit) => (BigInt(text) >> BigInt(bit)) & 1n;
const flipped = (text, bit) => toHex(BigInt(text) ^ (1n << BigInt(bit)));

/** The bits of registers on which others depend. */
const CR0_WP = 16, CR0_PG = 31, CR4_PAE = 5, CR4_LA57 = 12, EFER_LME = 8, EFER_LMA = 10;

/** The last action of a sequence with this name for which a condition holds. */
function lastAction(chosen, name, holds = () => true) {
  return (chosen.before ?? []).findLast((action) => action[name] !== undefined && holds(action[name]));
}

/** Flips a bit of an entry: in the last store that a sequence makes there, else in memory before it. */
function flipEntry(chosen, { at, in_register: inRegister, index }, bit) {
  const { pdptes } = chosen.state;
  const isRegister = inRegister && pdptes !== undefined;
  if (isRegister) pdptes[index] = flipped(pdptes[index], bit);

  const isThere = ({ address }) => BigInt(address) === BigInt(at);
  const entry = lastAction(chosen, "write", isThere)?.write ?? chosen.entries.find(isThere);
  if (entry) {
    entry.value = flipped(entry.value, bit);
  } else if (!isRegister) {
    chosen.entries.push({ address: at, value: flipped("0x0", bit) });
  }
}

/** The actions that load each register. */
const LOADS = { CR0: "mov_cr0", CR3: "mov_cr3", CR4: "mov_cr4", EFER: "wrmsr_efer", PKRU: "pkru" };

/** Flips a bit of a register: in the last action of a sequence that loads it, else before all of them. */
function flipRegister(chosen, register, bit) {
  const isProtect = (action) => register === "CR0" && bit === CR0_WP && action.write_protect !== undefined;
  const loads = (action) => isProtect(action) || action[LOADS[register]] !== undefined;
  const load = (chosen.before ?? []).findLast(loads);
  if (load && isProtect(load)) {
    load.write_protect = !load.write_protect;
  } else if (load) {
    load[LOADS[register]] = flipped(load[LOADS[register]], bit);
  } else {
    const { state } = chosen;
    const name = register.toLowerCase();
    // Another CR3 loads other PDPTEs.
    if (register === "CR3") storePdptes(chosen);
    state[name] = flipped(state[name] ?? "0x0", bit);
    if (!(register === "EFER" && bit === EFER_LMA)) followMode(chosen);
  }
}

/** What follows from the control registers: EFER.LMA, as a processor sets it, the mode, and what only some modes have. */
function followMode(chosen) {
  const { state, mode: before } = chosen;
  const isPaged = bitOf(state.cr0, CR0_PG) === 1n;
  const isLong = isPaged && bitOf(state.efer, EFER_LME) === 1n;
  if ((bitOf(state.efer, EFER_LMA) === 1n) !== isLong) state.efer = flipped(state.efer, EFER_LMA);

  if (!isPaged) chosen.mode = "unpaged";
  else if (bitOf(state.cr4, CR4_PAE) === 0n) chosen.mode = "32bit";
  else if (!isLong) chosen.mode = "pae";
  else chosen.mode = bitOf(state.cr4, CR4_LA57) === 1n ? "5level" : "4level";

  if (chosen.mode !== "pae") storePdptes(chosen);
  const [from, to] = [entryBytes(before), entryBytes(chosen.mode)];
  if (from !== to) resizeEntries(chosen, from, to);
  if (chosen.mode === "pae") {
    // What the MOV loads that turns PAE paging on, or that loads CR3.
    state.pdptes ??= [0n, 1n, 2n, 3n].map((index) => entryIn(chosen, pdptesAt(state) + 8n * index, 8n));
  }
  if (!isLong) delete chosen.access.compatibility;
}

/** The address of the PDPTEs that CR3 leads to. */
const pdptesAt = ({ cr3 }) => BigInt(cr3) & 0xffff_ffe0n;

/** Lists the PDPTEs that memory has because the registers have them, unless they are 0, and takes them out of the registers. */
function storePdptes({ state, entries }) {
  for (const [index, value] of (state.pdptes ?? []).entries()) {
    const at = pdptesAt(state) + 8n * BigInt(index);
    const isListed = entries.some(({ address }) => BigInt(address) === at);
    if (!isListed && BigInt(value) !== 0n) entries.push({ address: toHex(at), value });
  }
  delete state.pdptes;
}

/** The number of bytes in an entry of a mode. */
const entryBytes = (mode) => (mode === "32bit" ? 4n : 8n);

/** The entry of so many bytes at an address, in memory before a sequence. */
function entryIn(chosen, at, bytes) {
  const { mode, state, entries } = structuredClone(chosen);
  storePdptes({ state, entries });
  const words = new WordMemory();
  for (const entry of entries) words.store(entry, entryBytes(mode));
  return toHex(words.load(BigInt(at), bytes));
}

/** The same memory, and the same stores, in entries of another size. */
function resizeEntries(chosen, from, to) {
  const words = new WordMemory();
  const resized = (entry) => {
    const [low, high] = to === 4n ? [0n, 4n].map((offset) => BigInt(entry.address) + offset) : [BigInt(entry.address) & ~7n];
    const before = high === undefined ? 0n : words.load(high, to);
    words.store(entry, from);
    // The upper half is left out where it stays as it is.
    const places = high === undefined || words.load(high, to) === before ? [low] : [low, high];
    return places.map((at) => ({ address: toHex(at), value: toHex(words.load(at, to)) }));
  };

  const entries = new Map(chosen.entries.flatMap(resized).map((entry) => [entry.address, entry]));
  chosen.entries = [...entries.values()];
  chosen.before &&= chosen.before.flatMap((action) => (action.write ? resized(action.write).map((write) => ({ write })) : [action]));
}

/** Memory in words of 4 bytes, by their addresses. */
class WordMemory extends Map {
  store({ address, value }, bytes) {
    for (let offset = 0n; offset < bytes; offset += 4n) {
      this.set(BigInt(address) + offset, (BigInt(value) >> (8n * offset)) & 0xffff_ffffn);
    }
  }

  load(at, bytes) {
    const word = (offset) => (this.get(at + offset) ?? 0n) << (8n * offset);
    return bytes === 4n ? word(0n) : word(0n) | word(4n);
  }
}

/** Changes a field of the access. The instruction follows: it is the plainest of its kind. */
function changeAccess(chosen, field, value) {
  const { access, state } = chosen;
  if (field === "ac") {
    state.ac = value;
    return;
  }
  access[field] = value;
  if (field === "kind" || field === "shadow_stack") {
    delete access.instruction;
    if (access.source !== undefined) delete access.source;
  }
}

/** Flips a bit of a linear address: that of the access, or of its source. */
function flipAddress(chosen, field, bit) {
  chosen.access[field] = flipped(chosen.access[field], bit);
}
