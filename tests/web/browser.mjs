// A browser, and a page as its users meet it: widgets are found by role and name in the mirror of the widget tree, and
// clicked where they are on the canvas.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

// Everything, also what takes minutes: `./hive test full`.
export const FULL = process.env.HIVE_FULL === "1";

const PLACES = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

// WebGPU and a canvas on a machine without a GPU.
export const SOFTWARE = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
  "--use-vulkan=swiftshader",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
  "--ignore-gpu-blocklist",
];

const QUIET = [
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// `modules`: the folder with node_modules in it.
export function launcher(modules) {
  const { chromium } = createRequire(join(resolve(modules), "here.js"))("playwright-core");
  const path = process.env.HIVE_CHROMIUM ?? PLACES.find(existsSync);
  if (!path) throw new Error("no Chromium is here; HIVE_CHROMIUM names one");
  const root = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  return (flags = SOFTWARE) => chromium.launch({ executablePath: path, args: [...root, ...QUIET, ...flags] });
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// The page under test. What must never happen is gathered in `problems`.
export class Hive {
  constructor(page, address) {
    this.page = page;
    this.address = address;
    this.problems = [];
    this.allowed = [];
    const origin = () => new URL(this.address).origin;
    page.on("console", (m) => m.type() === "error" && this.problem(`console: ${m.text()}`));
    page.on("pageerror", (e) => this.problem(`uncaught: ${e}`));
    page.on("requestfailed", (r) => this.problem(`failed request: ${r.url()}`));
    page.on("request", (r) => {
      if (!r.url().startsWith(origin()) && !/^(blob|data):/.test(r.url())) this.problem(`request to ${r.url()}`);
    });
  }

  problem(text) {
    if (!this.allowed.some((pattern) => pattern.test(text))) this.problems.push(text);
  }

  // Messages that this test provokes.
  allow(...patterns) {
    this.allowed.push(...patterns);
  }

  async open(hash = "") {
    await this.page.goto(this.address + hash);
  }

  // Until the app has drawn and the mirror has something.
  async started(timeout = 60_000) {
    await this.page.waitForFunction(() => window.hive?.running || !document.getElementById("hive-failure").hidden, null, {
      timeout,
    });
    const failure = await this.failure();
    if (failure) throw new Error(`the page shows: ${failure}`);
    await this.page.locator("#hive-access > *").first().waitFor({ state: "attached", timeout });
  }

  // The sentences of the failure page, empty where none is shown.
  async failure() {
    const place = this.page.locator("#hive-failure");
    return (await place.isVisible()) ? (await place.innerText()).replaceAll(/\s+/g, " ") : "";
  }

  // A widget by role and name (text or pattern).
  widget(role, name) {
    return this.page.locator("#hive-access").getByRole(role, typeof name === "string" ? { name, exact: true } : { name });
  }

  // Text in the page as a pattern finds it: first match, all of it where there is no group.
  async text(pattern) {
    const all = await this.page.locator("#hive-access").evaluate((place) => {
      return [...place.children].map((e) => [e.getAttribute("aria-label"), e.textContent].filter(Boolean).join(" "));
    });
    for (const line of all) {
      const match = pattern.exec(line);
      if (match) return match[1] ?? match[0];
    }
    return undefined;
  }

  // Waits for text.
  async seen(pattern, timeout = 30_000) {
    const end = Date.now() + timeout;
    while (Date.now() < end) {
      const text = await this.text(pattern);
      if (text !== undefined) return text;
      if (await this.failure()) throw new Error(`the page shows: ${await this.failure()}`);
      await sleep(200);
    }
    throw new Error(`no text like ${pattern} after ${timeout / 1000} s`);
  }

  // A real click on the canvas, at the middle of a widget.
  async click(role, name, timeout = 30_000) {
    const widget = this.widget(role, name).first();
    await widget.waitFor({ state: "attached", timeout });
    await this.page.waitForFunction((e) => e.getAttribute("aria-disabled") !== "true", await widget.elementHandle(), {
      timeout,
    });
    // Panels may still be moving: the place counts once it stays.
    let box = await widget.boundingBox();
    for (let i = 0; i < 20; i++) {
      await sleep(250);
      const next = await widget.boundingBox();
      if (JSON.stringify(next) === JSON.stringify(box)) break;
      box = next;
    }
    // Press and release come at once: on a slow machine the next frame may be so late that a click would be a long press.
    await this.page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
  }

  // A click as a screen reader makes it: also on a link in running text, whose middle may lie beside its words.
  async choose(role, name, timeout = 30_000) {
    const widget = this.widget(role, name).first();
    await widget.waitFor({ state: "attached", timeout });
    await widget.evaluate((e) => e.click());
  }

  // Calls one of the functions that src/web.rs exports.
  async call(name, ...args) {
    const text = await this.page.evaluate(([name, args]) => {
      // Bytes travel as base64.
      const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      return wasmBindings[name](...args.map((a) => (a?.base64 === undefined ? a : bytes(a.base64))));
    }, [name, args]);
    return JSON.parse(text);
  }
}
