// Moves the sliders of the page of `geometry`. The first argument is a list of settings, as JSON: the address bits, the
// logarithm of the page size, the bytes of an entry or null, the number of levels, the place of the use, and index bits.
// Prints the numbers that the page then shows, and how it looks at a few of them.
import { look, ownArguments, see } from "./page.mjs";

/** Moves the controls as a user does, one after the other. */
function choose([addressBits, pageBits, entryBytes, levels, use, split]) {
  const input = (id, value) => {
    const control = document.getElementById(id);
    control.value = value;
    control.dispatchEvent(new Event("input", { bubbles: true }));
  };
  input("split", "");
  input("bits", addressBits);
  input("page-bits", pageBits);
  const sizes = document.getElementById("entry");
  for (let place = 0; place <= Number(sizes.max); place += 1) {
    input("entry", place);
    const words = sizes.getAttribute("aria-valuetext");
    if (entryBytes === null ? words.endsWith("(smallest)") : words.split(" ")[0] === String(entryBytes) && place > 0) break;
  }
  input("levels", levels);
  input("use", use);
  input("split", split);
}

/** The numbers that the page shows, all digits of them. */
function numbers() {
  const facts = {};
  for (const value of document.querySelectorAll("[data-fact]")) facts[value.dataset.fact] = value.dataset.exact;
  const rows = [...document.querySelectorAll("#rows tr")].map((row) => ({
    name: row.querySelector("th").textContent,
    bits: row.dataset.bits,
    tables: row.dataset.tables,
    bytes: row.querySelector("[data-exact]").dataset.exact,
    digits: row.querySelector("[data-exact]").textContent,
    size: row.cells[4].textContent,
    isChosen: row.classList.contains("chosen"),
  }));
  const squares = [...document.querySelectorAll(".picture")].map((picture) =>
    [...picture.querySelectorAll(".square")].map((square) => ({
      name: square.querySelector("b").textContent,
      side: square.querySelector("i").getBoundingClientRect().width,
    })),
  );
  const use = document.getElementById("use").getAttribute("aria-valuetext");
  return { facts, rows, squares, use, summary: document.getElementById("summary").textContent };
}

/** What the sliders say after keys that a user presses. */
async function pressKeys(page) {
  const said = {};
  for (const [id, key] of [["bits", "End"], ["page-bits", "Home"], ["entry", "End"], ["levels", "ArrowLeft"], ["use", "ArrowRight"]]) {
    await page.focus(`#${id}`);
    await page.keyboard.press(key);
    said[id] = await page.$eval(`#${id}`, (slider) => slider.getAttribute("aria-valuetext"));
  }
  await page.focus('[data-preset="x86"]');
  await page.keyboard.press("Enter");
  said.preset = await page.$eval('[data-preset="x86"]', (button) => button.getAttribute("aria-pressed"));
  said.address = await page.$eval("#address", (bits) => bits.getAttribute("aria-label"));
  return said;
}

await see(async (page) => {
  const first = await page.evaluate(numbers);
  const complaints = await look(page, "geometry");
  const settings = JSON.parse(ownArguments[0]);
  const shown = [];
  for (const setting of settings) {
    await page.evaluate(choose, setting);
    shown.push(await page.evaluate(numbers));
  }
  complaints.push(...(await look(page, "geometry-last")));
  const keys = await pressKeys(page);
  complaints.push(...(await look(page, "geometry-x86")));
  return { first, shown, keys, complaints };
});
