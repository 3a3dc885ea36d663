#!/usr/bin/env node
// Compares a page walker with test vectors: `crosswalk corpus export | node docs/examples/vectors.mjs`.
// The walker is the function `walk`, 4-level and 5-level paging as the SDM has them: replace it by a call of
// your own. docs/guide/src/corpus.md describes the fields of a vector.
import { createInterface } from "node:readline";

const bit = (n) => 1n << BigInt(n);
const [P, RW, US, A, D, PS, G, XD] = [0, 1, 2, 5, 6, 7, 8, 63].map(bit);
const ADDRESS = bit(52) - bit(12);
const [WP, AM] = [16, 18].map(bit); // CR0
const [SMEP, SMAP, PKE, PKS, LASS, LAM_SUP] = [20, 21, 22, 24, 27, 28].map(bit); // CR4
const [NXE, UAIE] = [11, 20].map(bit); // EFER
const LAM_USER = bit(61) | bit(62); // CR3
const CODE = { P: 1, W: 2, U: 4, RSVD: 8, I: 16, PK: 32 };
const LEVELS = { "4level": 4, "5level": 5 };

/** One page: its physical address, or the error code of a page fault; and the entries that change. */
function walk({ mode, state, entries, access, profile }, address) {
  const memory = new Map(entries.map((entry) => [BigInt(entry.address), BigInt(entry.value)]));
  const pins = profile.pins ?? {};
  const [cr0, cr3, cr4, efer] = ["cr0", "cr3", "cr4", "efer"].map((name) => BigInt(state[name]));
  const user = access.ring === 3 && !access.implicit;
  const write = access.kind === "write" || access.kind === "rmw";
  const fetch = access.kind === "fetch";
  const bySmep = cr4 & SMEP && (pins.smep_alone_reports_fetch ?? true);
  const code = (write && CODE.W) | (user && CODE.U) | (fetch && Boolean(efer & NXE || bySmep) && CODE.I);
  const above = bit(52) - bit(profile.max_physical_address);
  const globalIsReserved = pins.global_in_pml4e_is_reserved ?? profile.vendor === "amd";

  let table = cr3 & ADDRESS & ~above;
  let [rights, disabled, entry, shift] = [RW | US, 0n, 0n, 0n];
  const changed = new Map();
  for (let level = LEVELS[mode]; ; level--) {
    shift = BigInt(3 + 9 * level);
    const at = table + 8n * ((address >> shift) & 511n);
    entry = memory.get(at) ?? 0n;
    const mayBeLarge = level === 2 || (level === 3 && profile.features.includes("page_1gb"));
    const isLeaf = level === 1 || (mayBeLarge && entry & PS);

    let reserved = above | (efer & NXE ? 0n : XD);
    if (level > 1) reserved |= isLeaf ? bit(shift) - bit(13) : PS; // bit 12 of a large page is its PAT bit
    if (level > 3 && globalIsReserved) reserved |= G;
    if (!(entry & P)) return { code };
    if (entry & reserved) return { code: code | CODE.P | CODE.RSVD };

    [rights, disabled] = [rights & entry, disabled | (entry & XD)];
    const after = entry | A | (isLeaf && write ? D : 0n);
    if (after !== entry) changed.set(at, after);
    if (isLeaf) break;
    table = entry & ADDRESS;
  }

  const isUserPage = rights & US;
  let denied = (user && !isUserPage) || (write && (user || cr0 & WP) && !(rights & RW)) || (fetch && disabled);
  if (isUserPage && !user) denied ||= fetch ? cr4 & SMEP : cr4 & SMAP && !(state.ac && !access.implicit);
  let key = 0;
  if (cr4 & (isUserPage ? PKE : PKS) && !fetch) {
    const rightsOfKeys = BigInt(isUserPage ? state.pkru : state.pkrs);
    const disable = rightsOfKeys >> (2n * ((entry >> 59n) & 15n));
    if (disable & 1n || (disable & 2n && write && (cr0 & WP || (isUserPage && user)))) key = CODE.PK;
  }
  if (denied || key) return { code: code | CODE.P | key };
  const offset = bit(shift) - 1n;
  return { address: (entry & ADDRESS & ~offset) | (address & offset), changed };
}

/** What a processor does with a case, as far as this program knows; undefined if it does not. */
function run(testCase) {
  const { mode, state, access } = testCase;
  const levels = LEVELS[mode];
  const [cr0, cr3, cr4, efer] = ["cr0", "cr3", "cr4", "efer"].map((name) => BigInt(state[name]));
  const masked = cr4 & (LASS | LAM_SUP) || cr3 & LAM_USER || efer & UAIE;
  if (!levels || testCase.before || access.shadow_stack || masked) return undefined;

  const size = BigInt(access.size);
  const isData = ["read", "write", "rmw"].includes(access.kind) && !access.implicit;
  const alignment = { 2: 2n, 4: 4n, 6: 4n, 8: 8n }[access.size] ?? 1n;
  if (access.size > 15) return undefined; // FXSAVE and its like have rules of their own
  if (cr0 & AM && state.ac && access.ring === 3 && isData && BigInt(access.address) % alignment)
    return { fault: { vector: 17, error_code: 0 } };

  // In compatibility mode an address has 32 bits, but not that of a descriptor.
  const bits = access.compatibility && !access.implicit ? 32 : 64;
  const first = BigInt.asUintN(bits, BigInt(access.address));
  const last = BigInt.asUintN(bits, first + size - 1n);
  const sign = 11 + 9 * levels; // bits 63:47, or 63:56, are all the same
  const isCanonical = (address) => BigInt.asUintN(64, BigInt.asIntN(sign + 1, address)) === address;
  if (!isCanonical(first) || !isCanonical(last))
    return { fault: { vector: access.segment === "stack" && access.kind !== "fetch" ? 12 : 13, error_code: 0 } };

  const page = (address) => address >> 12n;
  const parts = page(first) === page(last) ? [first] : [first, page(last) << 12n];
  const [translated, changed] = [[], new Map()];
  for (const address of parts) {
    const found = walk(testCase, address);
    if (found.code !== undefined) return { fault: { vector: 14, error_code: found.code, cr2: address } };
    translated.push(found.address);
    found.changed.forEach((value, at) => changed.set(at, (changed.get(at) ?? 0n) | value));
  }
  return { translated, changed };
}

/** Whether a result is one of the outcomes that the manuals allow. */
function isAllowed(result, allowed) {
  return allowed.some(({ fault, translated, entries }) => {
    if (Boolean(fault) !== Boolean(result.fault)) return false;
    if (fault) {
      const { vector, error_code, cr2 } = result.fault;
      const isSameCr2 = fault.cr2 === null ? cr2 === undefined : BigInt(fault.cr2) === cr2;
      return fault.vector === vector && Number(fault.error_code) === error_code && isSameCr2;
    }
    // The entries that are listed may change, or must; all others stay as they are.
    const listed = new Set(entries.map((entry) => BigInt(entry.address)));
    const isSame = (entry) => {
      const [at, before, must, may] = [entry.address, entry.before, entry.must_set, entry.may_set].map(BigInt);
      const value = result.changed.get(at) ?? before;
      return ((value ^ (before | must)) & ~may) === 0n;
    };
    const others = [...result.changed.keys()].filter((at) => !listed.has(at));
    const isThere = translated.length === result.translated.length &&
      translated.every((part, i) => BigInt(part.address) === result.translated[i]);
    return isThere && entries.every(isSame) && !others.length;
  });
}

const counts = { agree: 0, differ: 0, skipped: 0 };
if (process.argv.length > 2) {
  console.error("vectors.mjs: the vectors come from standard input: expected no argument");
  process.exit(2);
}
for await (const line of createInterface({ input: process.stdin })) {
  const vector = JSON.parse(line);
  const result = run(vector.case);
  if (result === undefined) {
    counts.skipped++;
  } else if (isAllowed(result, vector.allowed.access)) {
    counts.agree++;
  } else if (counts.differ++ < 10) {
    const shown = (_, value) => (typeof value === "bigint" ? "0x" + value.toString(16) : value);
    console.log(`${vector.name}: expected ${JSON.stringify(vector.allowed.access)}`);
    console.log(`  found ${JSON.stringify(result, shown)}`);
  }
}
console.log(`${counts.agree} agree, ${counts.differ} differ, ${counts.skipped} skipped`);
// Nothing that was compared is nothing that agrees.
process.exitCode = counts.differ || !counts.agree ? 1 : 0;
