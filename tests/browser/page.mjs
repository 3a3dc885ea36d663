// A page in headless Chromium, for the scripts beside this file. Each opens one page, clicks through it, and prints
// what it saw as one JSON value, which the test in Rust compares.
//
// The test gives the packages' directory in CROSSWALK_BROWSER_PACKAGES, the browser in CROSSWALK_BROWSER, and the
// page, then the script's own arguments, on the command line.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const packages = process.env.CROSSWALK_BROWSER_PACKAGES;
const require = createRequire(join(packages, "x.js"));
const puppeteer = require("puppeteer-core");
const axeSource = readFileSync(join(packages, "axe-core/axe.min.js"), "utf8");

export const [file, ...ownArguments] = process.argv.slice(2);

/** Widths at which pages are looked at, in CSS pixels. */
export const widths = [1280, 500];
export const schemes = ["light", "dark"];

/**
 * Opens the page, gives it to `visit`, and prints what that returns with what went wrong beside: `errors` of scripts,
 * and `requests` for anything but the page itself. No request leaves the browser.
 */
export async function see(visit) {
  const browser = await puppeteer.launch({
    executablePath: process.env.CROSSWALK_BROWSER,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
    protocolTimeout: 120_000,
  });
  try {
    const errors = [];
    const requests = [];
    const page = await browser.newPage();
    page.setDefaultTimeout(60_000);
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") errors.push(message.text());
    });

    const address = pathToFileURL(file).href;
    await page.setRequestInterception(true);
    page.on("request", (request) => {
      const url = request.url();
      if (url.split("#")[0] === address || url.startsWith("data:") || url.startsWith("blob:")) {
        request.continue();
      } else {
        requests.push(url);
        request.abort();
      }
    });

    await page.setViewport({ width: widths[0], height: 900 });
    await page.goto(address);
    const saw = await visit(page);
    console.log(JSON.stringify({ errors, requests, saw }));
  } finally {
    await browser.close();
  }
}

/** Shows the page at a width and in a colour scheme. */
export async function show(page, width, scheme) {
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: scheme },
    { name: "prefers-reduced-motion", value: "reduce" },
  ]);
}

/** What axe-core objects to, as sentences: the rule, and the element. */
export async function violations(page) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ target }) => `${id}: ${help}: ${target.join(" ")}`),
  );
}

/**
 * What is wrong with the page at each width and in each scheme: axe-core's violations, and whether the page has to be
 * scrolled sideways. A screenshot of each goes to CROSSWALK_SCREENSHOTS, if that is set, under the name given.
 */
export async function look(page, name) {
  const complaints = [];
  for (const width of widths) {
    for (const scheme of schemes) {
      await show(page, width, scheme);
      const where = `${name} at ${width} in ${scheme}`;
      complaints.push(...(await violations(page)).map((violation) => `${where}: ${violation}`));
      const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (excess > 0) complaints.push(`${where}: ${excess} pixels too wide`);

      const directory = process.env.CROSSWALK_SCREENSHOTS;
      if (directory) {
        const path = join(directory, `${name}-${width}-${scheme}.png`);
        await page.screenshot({ path, fullPage: true });
      }
    }
  }
  await show(page, widths[0], schemes[0]);
  return complaints;
}
