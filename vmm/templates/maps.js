"use strict";
const byId = id => document.getElementById(id);
const blocks = [...document.querySelectorAll("[data-block]")];
const strips = document.querySelectorAll(".strip");
let zoom = 1, chosen = null;
for (const tool of document.querySelectorAll(".tools")) tool.hidden = false;
// One stop of the Tab key for each strip: arrow keys go on from there.
for (const block of blocks) block.tabIndex = block === block.parentElement.querySelector("a") ? 0 : -1;

function reveal(element) {
  for (let at = element; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
}
function choose(block, isFocused) {
  if (chosen) { chosen.classList.remove("chosen"); chosen.removeAttribute("aria-current"); }
  chosen = block;
  byId("panel").hidden = !block;
  if (!block) return;
  block.classList.add("chosen");
  block.setAttribute("aria-current", "true");
  const row = byId("b" + block.dataset.block);
  const names = [...row.closest("table").querySelectorAll("thead th")].map(head => head.textContent);
  const list = document.createElement("dl");
  [...row.cells].forEach((cell, column) => {
    if (cell.textContent.trim() === "") return;
    const part = document.createElement("div"), name = document.createElement("dt"), value = document.createElement("dd");
    name.textContent = names[column];
    value.append(...[...cell.childNodes].map(node => node.cloneNode(true)));
    part.append(name, value);
    list.append(part);
  });
  byId("about").replaceChildren(list);
  if (isFocused) block.focus({ preventScroll: true });
  block.scrollIntoView({ block: "nearest", inline: "nearest" });
}
document.addEventListener("keydown", event => {
  if (event.key === "Escape") return choose(null);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const index = blocks.indexOf(document.activeElement);
  if (!step || index < 0) return;
  event.preventDefault();
  choose(blocks[Math.min(Math.max(index + step, 0), blocks.length - 1)], true);
});
byId("shut").addEventListener("click", () => choose(null));

function scale(factor) {
  zoom = Math.min(Math.max(zoom * factor, 0.25), 16);
  for (const strip of strips) strip.style.setProperty("--z", zoom);
}
byId("more").addEventListener("click", () => scale(1.6));
byId("less").addEventListener("click", () => scale(1 / 1.6));

// An address is found in the block that has it: addresses of blocks rise.
const bounds = blocks.map(block => {
  const row = byId("b" + block.dataset.block);
  return [BigInt(row.cells[0].textContent), BigInt(row.cells[1].textContent)];
});
byId("address").addEventListener("change", event => {
  let address;
  try { address = BigInt(event.target.value.trim().replace(/_/g, "")); } catch { }
  const index = bounds.findIndex(([first, last]) => address !== undefined && first <= address && address <= last);
  choose(blocks[index] ?? null, false);
  byId("found").textContent = event.target.value.trim() === "" ? "" : address === undefined ? "not an address" : index < 0 ? "not mapped" : "";
});

function follow() {
  const target = location.hash.length > 1 && byId(location.hash.slice(1));
  if (!target) return;
  const block = target.id.startsWith("b") && document.querySelector(`[data-block="${target.id.slice(1)}"]`);
  if (block) return choose(block, false);
  choose(null);
  reveal(target);
  target.scrollIntoView({ block: "center" });
}
window.addEventListener("hashchange", follow);
document.addEventListener("click", event => {
  const link = event.target.closest('a[href^="#"]');
  const href = link?.getAttribute("href");
  if (!link || !(/^#b\d/.test(href) || href === location.hash)) return;
  event.preventDefault();
  history.replaceState(null, "", href);
  follow();
  if (link.dataset.block) link.focus({ preventScroll: true });
});
const setAll = isOpen => { for (const table of document.querySelectorAll("details.table")) table.open = isOpen; };
byId("open")?.addEventListener("click", () => setAll(true));
byId("close")?.addEventListener("click", () => setAll(false));
follow();
