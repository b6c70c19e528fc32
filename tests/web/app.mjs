// The app as its users meet it: clicks on the canvas, keys, files.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { FULL, sleep } from "./browser.mjs";
import { watchDevices } from "./page.mjs";

// The line over the curves.
const SUMMARY = /((?:loss [\d.]+ · )?step \d+ of \d+.*)/;
const STEP = /step (\d+) of \d+/;
const SCORES = /held-out accuracy ([\d.]+) \(swapped ([\d.]+)\)/;
// A word of an answer with its probability.
const WORD = /^(\S+) [01]\.\d\d$/;

export async function open(hive, hash) {
  await hive.open(hash);
  await hive.started();
  // It is disabled until the model is there.
  const ready = "[aria-label^='Start stage']:not([aria-disabled])";
  await hive.page.locator(`#hive-access ${ready}`).waitFor({ state: "attached", timeout: 60_000 });
}

export async function step(hive, atLeast, timeout = 120_000) {
  const end = Date.now() + timeout;
  for (;;) {
    const now = Number((await hive.text(STEP)) ?? -1);
    if (now >= atLeast) return now;
    if (Date.now() > end) throw new Error(`step ${now} after ${timeout / 1000} s, ${atLeast} was expected`);
    await sleep(200);
  }
}

// Has the stage that is chosen make so many steps, by its recipe.
export async function shorten(hive, stage, count) {
  const steps = hive.widget("textbox", "Steps");
  await hive.click("button", "Recipe");
  await hive.click("textbox", "Steps");
  await hive.page.keyboard.press("Control+A");
  await hive.page.keyboard.type(String(count));
  await hive.click("button", "Apply");
  await hive.seen(new RegExp(`^Stage ${stage}, .*, ${count} updates$`));
  await hive.click("button", "Recipe");
  await steps.waitFor({ state: "detached" });
}

async function texts(hive, selector) {
  return hive.page.locator(`#hive-access ${selector}`).evaluateAll((all) => {
    return all.map((e) => e.getAttribute("aria-label") ?? e.textContent);
  });
}

// Browsers without a window never hide a page, so this does to it what they do: no frames, timers of a second.
function hideable() {
  let hidden = false;
  let waiting = [];
  const { requestAnimationFrame: frame, setTimeout: timer } = window;
  Object.defineProperty(Document.prototype, "hidden", { get: () => hidden });
  Object.defineProperty(Document.prototype, "visibilityState", { get: () => (hidden ? "hidden" : "visible") });
  window.requestAnimationFrame = (f) => (hidden ? waiting.push(f) : frame.call(window, f));
  window.setTimeout = (f, ms, ...args) => timer.call(window, f, hidden ? Math.max(ms ?? 0, 1000) : ms, ...args);
  const { submit } = GPUQueue.prototype;
  window.submissions = 0;
  GPUQueue.prototype.submit = function (...buffers) {
    window.submissions += 1;
    return submit.apply(this, buffers);
  };
  window.hide = (value) => {
    hidden = value;
    document.dispatchEvent(new Event("visibilitychange"));
    if (!hidden) waiting.splice(0).forEach((f) => window.requestAnimationFrame(f));
  };
}

// Waits until the GPU has had nothing to do for ten seconds, as a hidden page draws nothing that would tell.
async function idle(hive, timeout = 200_000) {
  const end = Date.now() + timeout;
  let before = -1;
  for (let quiet = 0; quiet < 10 && Date.now() < end; quiet++) {
    const now = await hive.page.evaluate(() => window.submissions);
    if (now !== before) quiet = -1;
    before = now;
    await sleep(1000);
  }
}

export const TESTS = [
  {
    name: FULL
      ? "three stages by clicks and keys: it learns to look at the picture"
      : "three stages by clicks and keys",
    timeout: 900,
    async run(hive) {
      await open(hive, "#preset=quick&hide=tour");
      await hive.click("button", "Start stage 1");
      const first = Number(await hive.seen(/loss ([\d.]+)/, 120_000));
      await hive.seen(/^Stage 1, .*, done/, 300_000);

      // The space bar runs and pauses, as the canvas has the keyboard.
      await hive.widget("button", "Start stage 2").waitFor({ state: "attached" });
      await hive.page.keyboard.press("Space");
      await hive.widget("button", "Pause").waitFor({ state: "attached" });
      let gap = 0;
      for (let i = 0; FULL && i < 600 && gap < 0.1; i++) {
        await sleep(1000);
        if ((await hive.text(/step (\d+) of 240/)) === undefined) continue;
        const [, own, swapped] = SCORES.exec((await hive.text(SUMMARY)) ?? "") ?? [];
        gap = own - swapped || 0;
        if (await hive.text(/^Stage 2, .*, done/)) break;
      }
      assert.ok(gap >= 0.1 || !FULL, `held-out accuracy is only ${gap.toFixed(2)} above that with swapped pictures`);
      const second = Number(await hive.seen(/step ([3-9]|\d\d+) of 240/, 200_000));
      if (second < 240) {
        await hive.page.keyboard.press("Space");
        await hive.widget("button", "Run").waitFor({ state: "attached" });
      }

      await hive.click("button", /^Stage 3, /);
      await hive.click("button", "Start stage 3");
      await hive.seen(/^Stage 3, .*, done/, 300_000);
      const last = Number(await hive.text(/loss ([\d.]+)/));
      assert.ok(last < 0.8 * first, `the loss went from ${first} to ${last}`);
      await hive.click("button", "accuracy");
      const learnt = FULL ? `; accuracy ${gap.toFixed(2)} above swapped after ${second} steps of stage 2` : "";
      return `loss ${first} to ${last}${learnt}`;
    },
  },
  {
    name: "an answer comes word by word, and the heat map follows the token",
    timeout: 480,
    async run(hive) {
      await open(hive, "#preset=shapes&hide=tour,examples,draw,curves");
      await hive.click("button", "Open shapes trained");
      await hive.seen(/^Stage 3, .*, done/, 60_000);
      await hive.click("button", "what do you see ?");
      // All states of the answer as they come.
      await hive.page.evaluate((pattern) => {
        window.answers = [""];
        const look = () => {
          const words = [...document.querySelectorAll("#hive-access > p")].map((p) => p.textContent);
          const answer = words.filter((w) => new RegExp(pattern).test(w)).map((w) => w.split(" ")[0]).join(" ");
          if (answer !== window.answers.at(-1)) window.answers.push(answer);
        };
        new MutationObserver(look).observe(document.getElementById("hive-access"), { subtree: true, childList: true });
      }, WORD.source);
      // Each word waits a little, so that it can be seen to come by itself on a fast machine, too.
      await hive.page.evaluate(() => {
        const map = GPUBuffer.prototype.mapAsync;
        GPUBuffer.prototype.mapAsync = async function (...args) {
          await new Promise((done) => setTimeout(done, 500));
          return map.apply(this, args);
        };
      });
      await hive.click("button", "Ask");
      await hive.seen(/probability of the whole answer/, 400_000);
      const answers = await hive.page.evaluate(() => window.answers);
      const whole = answers.at(-1);
      assert.ok(whole.split(" ").length >= 3, `a short caption: "${whole}"`);
      assert.ok(answers.length >= 3, `the answer came at once: ${JSON.stringify(answers)}`);
      answers.forEach((part) => assert.ok(whole.startsWith(part), `"${part}" is no beginning of "${whole}"`));

      const map = async () => (await texts(hive, "[aria-label^='patch row']")).join();
      const tokens = (await texts(hive, "[aria-label^='token ']")).filter((t) => !t.startsWith("token embeddings"));
      assert.ok(tokens.length > whole.split(" ").length);
      await hive.click("button", tokens[0]);
      await sleep(1000);
      const first = await map();
      assert.ok(first.length > 100, "there is no heat map");
      await hive.click("button", tokens.at(-1));
      // The changed pictures may still be asked about, and the page draw late.
      const end = Date.now() + 60_000;
      while ((await map()) === first && Date.now() < end) await sleep(300);
      assert.notEqual(await map(), first, "the map does not change with the token");
      await hive.seen(/^another picture/, 60_000);
      return `"${whole}" in ${answers.length - 1} parts`;
    },
  },
  {
    name: "a picture of one's own is asked about",
    timeout: 240,
    async run(hive) {
      await open(hive, "#hide=tour");
      await hive.click("button", "Open pictures trained");
      await hive.seen(/^Stage 3, .*, done/, 60_000);
      const choose = hive.click("button", "Choose a picture…");
      const [chooser] = await Promise.all([hive.page.waitForEvent("filechooser"), choose]);
      await chooser.setFiles("tests/web/dog.png");
      await hive.seen(/^dog\.png$/);
      await hive.click("button", "what is it ?");
      await hive.click("button", "Ask");
      await hive.seen(/probability of the whole answer/, 200_000);
      const answer = await hive.text(WORD);
      assert.equal(answer, "dog");
      return answer;
    },
  },
  {
    name: "a run that is saved and loaded goes on with its curve",
    timeout: 300,
    async run(hive, { options }) {
      await open(hive, "#preset=quick&hide=tour");
      await hive.click("button", "Step");
      await step(hive, 1);
      await hive.click("button", "Step");
      await step(hive, 2);
      const before = await hive.seen(SUMMARY);
      assert.match(before, /loss .*held-out accuracy/);
      await hive.click("button", "Files");
      const [download] = await Promise.all([hive.page.waitForEvent("download"), hive.click("button", "Save run…")]);
      const path = join(options.shots, download.suggestedFilename());
      assert.match(path, /quick-stage1-2\.hiverun$/);
      await download.saveAs(path);

      await hive.page.reload();
      await open(hive, "#preset=tiny&hide=tour");
      await hive.click("button", "Files");
      const [chooser] = await Promise.all([hive.page.waitForEvent("filechooser"), hive.click("button", "Load run…")]);
      await chooser.setFiles(path);
      await hive.seen(/step 2 of 20/, 60_000);
      assert.equal(await hive.text(SUMMARY), before);
      await hive.page.keyboard.press("Escape");
      await hive.click("button", "Step");
      await step(hive, 3);
      return `${before}; ${(readFileSync(path).length / 1e6).toFixed(1)} MB`;
    },
  },
  {
    name: "a file that is no run is refused with a sentence",
    timeout: 120,
    async run(hive, { options }) {
      await open(hive, "#preset=tiny&hide=tour");
      const path = join(options.shots, "broken.hiverun");
      writeFileSync(path, "no run at all");
      await hive.click("button", "Files");
      const [chooser] = await Promise.all([hive.page.waitForEvent("filechooser"), hive.click("button", "Load run…")]);
      await chooser.setFiles(path);
      return await hive.seen(/broken\.hiverun cannot be opened.*/);
    },
  },
  {
    name: "a teacher's link hides what it names",
    timeout: 120,
    async run(hive) {
      await open(hive, "#preset=tiny&hide=tour");
      const names = ["Recipe", "Reset", "Ask"];
      for (const name of names) await hive.widget("button", name).waitFor({ state: "attached" });
      await hive.page.goto("about:blank");
      await open(hive, "#preset=tiny&hide=tour,recipe,reset,ask");
      for (const name of names) assert.equal(await hive.widget("button", name).count(), 0, `${name} is still there`);
    },
  },
  {
    name: "the tour shows once",
    timeout: 120,
    async run(hive) {
      await open(hive, "#preset=tiny");
      await hive.click("button", "Skip tour");
      await hive.widget("button", "Skip tour").waitFor({ state: "detached" });
      // What was chosen is kept at the latest when the page is left.
      await hive.page.locator("#hive-canvas").blur();
      await sleep(1000);
      await hive.page.reload();
      await hive.started();
      await sleep(2000);
      assert.equal(await hive.widget("button", "Skip tour").count(), 0);
    },
  },
  {
    name: "a screen reader's click is a click",
    timeout: 120,
    async run(hive) {
      await open(hive, "#preset=tiny&hide=tour");
      const tab = hive.widget("button", "gradient norm");
      assert.equal(await tab.getAttribute("aria-pressed"), "false");
      await tab.evaluate((e) => e.click());
      await hive.page.waitForFunction((e) => e.getAttribute("aria-pressed") === "true", await tab.elementHandle());
      const said = await hive.page.locator("#hive-live").innerText();
      assert.ok(said.length > 3, "nothing is announced");
    },
  },
  {
    name: "training survives the loss of its device",
    timeout: 300,
    async run(hive) {
      hive.allow(/lost|destroyed/i);
      await hive.page.addInitScript(watchDevices);
      await open(hive, "#preset=quick&hide=tour");
      await hive.click("button", "Start stage 1");
      await step(hive, 2);
      await hive.page.evaluate(() => devices.filter((d) => d.label === "hive").forEach((d) => d.destroy()));
      const lost = await hive.seen(/The graphics device was lost.*|The GPU was lost.*/, 60_000);
      const resumed = await step(hive, 0);
      await step(hive, resumed + 2);
      assert.equal(await hive.failure(), "");
      return lost;
    },
  },
  {
    name: "training goes on in a hidden tab",
    timeout: 300,
    alone: true,
    async run(hive) {
      await hive.page.addInitScript(hideable);
      await open(hive, "#preset=quick&hide=tour");
      await hive.click("button", "Start stage 1");
      await step(hive, 1);
      await hive.page.evaluate(() => hide(true));
      await sleep(2000);
      const before = Number(await hive.text(STEP));
      await sleep(20_000);
      assert.equal(Number(await hive.text(STEP)), before, "the page is not hidden: it shows new steps");
      await hive.page.evaluate(() => hide(false));
      const after = await step(hive, before + 1, 5_000);
      assert.ok(after > before + 3, `step ${before} before, ${after} after 20 s`);
      return `${after - before} steps in 20 s`;
    },
  },
  {
    name: "all stages run one after the other in a hidden tab",
    timeout: 300,
    async run(hive) {
      await hive.page.addInitScript(hideable);
      await open(hive, "#preset=tiny&hide=tour");
      await hive.click("button", "Run all stages");
      await hive.widget("button", "Pause").waitFor({ state: "attached" });
      await hive.page.evaluate(() => hide(true));
      assert.equal(await hive.text(/^Stage 1, .*, done/), undefined, "stage 1 was done before the page was hidden");
      await idle(hive);
      assert.equal(await hive.text(/^Stage 1, .*, done/), undefined, "the page is not hidden: it shows a stage's end");
      await hive.page.evaluate(() => hide(false));
      await hive.seen(/^Stage 1, .*, done/, 10_000);
      assert.ok(await hive.text(/^Stage 3, .*, done/), "the stages waited for a frame");
    },
  },
];
