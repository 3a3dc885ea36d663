// Clicks through the page of a walk. The arguments are a name for screenshots, or nothing if the page is not looked at,
// and flips: selectors of what is clicked at the end of the walk, each in the case as it was. Tells every step, and what
// became of each flip.
import { look as lookAt, ownArguments, see } from "./page.mjs";

const [name, ...flips] = ownArguments;
const look = (page, moment) => (name === "" ? [] : lookAt(page, `${name}-${moment}`));

/** What the page says: the sentence of the step, its number, and the outcomes. */
const shown = (page) => page.evaluate(() => {
  const text = (selector) => document.querySelector(selector).textContent;
  return {
    sentence: text("#sentence"),
    count: text("#count"),
    lit: document.querySelectorAll("#entries .entry.read:not(.end-of-walk)").length,
    drawn: document.querySelectorAll("#stage .part:not(.unlit)").length,
    outcomes: [...document.querySelectorAll("#outcomes .end")].map((line) => line.textContent),
    refused: text("#refused"),
    was: text("#was"),
    changes: [...document.querySelectorAll("#changes li")].map((line) => line.textContent),
    command: text("#command"),
    beside: [...document.querySelectorAll("#beside li")].map((line) => line.textContent),
    changed: [...document.querySelectorAll(".changed")].map((bit) => bit.dataset.id),
    focus: document.activeElement?.dataset?.id ?? document.activeElement?.id ?? "",
  };
});

const click = async (page, selector) => {
  await page.waitForSelector(selector);
  await page.evaluate((chosen) => document.querySelector(chosen).click(), selector);
  await page.evaluate(() => working);
};

await see(async (page) => {
  const complaints = await look(page, "first");

  // Every step by the keyboard, to the end and back to the start.
  const steps = [await shown(page)];
  for (;;) {
    await page.keyboard.press("ArrowRight");
    const next = await shown(page);
    if (next.count === steps.at(-1).count) break;
    steps.push(next);
  }
  complaints.push(...(await look(page, "last")));
  await page.keyboard.press("Home");
  const home = await shown(page);

  const flipped = [];
  for (const flip of flips) {
    await page.keyboard.press("End");
    await click(page, flip);
    const after = await shown(page);
    flipped.push({ ...after, explained: await page.evaluate(() => current().explained) });
    await click(page, "#reset");
  }
  const reset = await shown(page);

  // A bit by the keyboard alone: the arrows go to it, Enter flips it, and it keeps the focus.
  await page.evaluate(() => document.querySelector("#address .bit").focus());
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  await page.evaluate(() => working);
  const byKeyboard = await shown(page);
  complaints.push(...(await look(page, "flipped")));
  await click(page, "#undo");

  return { complaints, steps, home, flipped, reset, byKeyboard, undone: await shown(page) };
});
