"use strict";
// The arithmetic of page tables, as `crosswalk geometry` does it (vmm/geometry). All numbers that can be large are BigInt.
// A test compares both.

/** The smallest power of two of bytes that holds this number of bits; one byte for none. */
function roundedBytes(bits) {
  let bytes = 1;
  while (bytes * 8 < bits) bytes *= 2;
  return bytes;
}

/** The whole bytes of a frame number. */
const leastEntryBytes = (frameNumberBits) => Math.max(1, Math.ceil(frameNumberBits / 8));

/** The sizes of an address width, a page size and an entry size. `null` for the others takes what the program takes. */
function geometryOf({ addressBits, offsetBits, physicalBits, entryBytes }) {
  physicalBits = Math.max(physicalBits ?? addressBits, offsetBits, 1);
  const pageNumberBits = addressBits - offsetBits;
  const frameNumberBits = physicalBits - offsetBits;
  entryBytes ??= roundedBytes(frameNumberBits);

  const perByteEntry = Math.max(entryBytes, roundedBytes(physicalBits));
  return {
    addressBits, offsetBits, physicalBits, pageNumberBits, frameNumberBits, entryBytes,
    pageBytes: 1n << BigInt(offsetBits),
    pages: 1n << BigInt(pageNumberBits),
    frames: 1n << BigInt(frameNumberBits),
    flatTableBytes: BigInt(entryBytes) << BigInt(pageNumberBits),
    perByte: { entryBytes: perByteEntry, tableBytes: BigInt(perByteEntry) << BigInt(addressBits) },
  };
}

/** A page number split as evenly as possible: levels next to the root have one bit less. */
function evenSplit(pageNumberBits, count) {
  const smaller = count - (pageNumberBits % count);
  const bits = Math.floor(pageNumberBits / count);
  return Array.from({ length: count }, (_, level) => bits + (level >= smaller ? 1 : 0));
}

const ceilingOf = (number, divisor) => (number + divisor - 1n) / divisor;
const least = (...numbers) => numbers.reduce((one, other) => (other < one ? other : one));

/** The tables of a level that pages need, with this number of index bits above it. */
function tablesNeeded(geometry, pages, placement, bitsAbove) {
  const pagesOfOne = geometry.pages >> BigInt(bitsAbove);
  const needed = {
    aligned: () => ceilingOf(pages, pagesOfOne),
    across: () => 1n + (pages > 0n ? ceilingOf(pages - 1n, pagesOfOne) : 0n),
    scattered: () => pages,
  }[placement]();
  return least(needed, 1n << BigInt(bitsAbove), pages);
}

/** The number of tables at each level, root first, and the bytes of all. `null` if there are not so many pages. */
function costOf(geometry, indexBits, pages, placement) {
  if (pages > geometry.pages) return null;
  let bitsAbove = 0;
  let bytes = 0n;
  const tables = indexBits.map((bits, depth) => {
    const count = depth === 0 ? 1n : tablesNeeded(geometry, pages, placement, bitsAbove);
    bitsAbove += bits;
    bytes += count * (BigInt(geometry.entryBytes) << BigInt(bits));
    return count;
  });
  return { tables, bytes };
}

/** The uses for which the program counts tables. */
const uses = [
  { name: "1 MiB", bytes: 1n << 20n, placement: "aligned" },
  { name: "1 MiB", bytes: 1n << 20n, placement: "across" },
  { name: "1 GiB", bytes: 1n << 30n, placement: "aligned" },
  { name: "1 GiB", bytes: 1n << 30n, placement: "across" },
  { name: "100 pages", pages: 100n, placement: "scattered" },
  { name: "100 pages", pages: 100n, placement: "aligned" },
  { name: "everything", placement: "aligned" },
];

/** The number of pages that a use has. */
function pagesOf({ bytes, pages }, geometry) {
  if (pages !== undefined) return pages;
  return bytes === undefined ? geometry.pages : ceilingOf(bytes, geometry.pageBytes);
}
