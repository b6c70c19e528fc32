// A lesson in the page, as a class takes it: its links in their order, by the names that stand in its text. And what lessons
// do to links: wires that are moved, and links that are cut.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { open, shorten } from "./app.mjs";
import { FULL, sleep } from "./browser.mjs";

// Optimiser steps of stage 1 where time is short: three whole stages take half an hour.
const STEPS = 2;
// Milliseconds until a stage is done, and until an answer is there, on two cores without a graphics card.
const STAGE = FULL ? 3_000_000 : 240_000;
const ANSWER = 200_000;
// The line above the curves, once there are scores.
const SCORES = /^loss [\d.]+ · step .* · held-out accuracy ([\d.]+) \(swapped ([\d.]+)\)$/;
// The curves' tabs: their names by those in links.
const TABS = { accuracy: "accuracy", norms: "gradient norm", depths: "depths" };

// A lesson's title and sections, as its file has them: links with what they ask for, and paths of figures.
function lesson(name) {
  const [head, ...parts] = readFileSync(`assets/lessons/${name}.md`, "utf8").split("\n## ");
  const sections = parts.map((part) => {
    const [shown, saw = ""] = part.split("### What we saw");
    const links = [...shown.matchAll(/\[([^\]]+)\]\(hive:([^)]*)\)/g)];
    return {
      heading: part.split("\n", 1)[0],
      links: links.map(([, label, query]) => ({ label, asks: Object.fromEntries(new URLSearchParams(query)) })),
      figures: [...saw.matchAll(/\{([^}>]+)\}/g)].map((match) => match[1]),
    };
  });
  return { title: head.split("\n", 1)[0].replace("# ", ""), sections };
}

// The measured value that a lesson quotes by this path.
const FIGURES = JSON.parse(readFileSync("assets/lessons/figures.json", "utf8"));
const measured = (path) => path.split("/").reduce((at, step) => at[step], FIGURES);

// Elements of the mirror in reading order: role, name, and value or text.
async function mirror(hive) {
  return hive.page.locator("#hive-access").evaluate((place) => {
    return [...place.children].map((e) => [e.getAttribute("role"), e.getAttribute("aria-label"), e.textContent]);
  });
}

async function until(what, holds, timeout = 30_000) {
  const end = Date.now() + timeout;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`${what}: not so after ${timeout / 1000} s`);
    await sleep(200);
  }
}

// What a section shows on demand, in one line.
async function whatWeSaw(hive) {
  await hive.click("button", "What we saw");
  let text = "";
  await until("what we saw is shown", async () => {
    const all = await mirror(hive);
    const from = all.findIndex(([role, name]) => role === "button" && name === "What we saw") + 1;
    const to = all.findIndex(([role], i) => i >= from && role === "separator");
    text = all.slice(from, to).map((e) => e[2]).join("");
    return text;
  });
  return text;
}

// Every figure that the section quotes is there as a number, and none is said to be missing.
function quotes(text, { heading, figures }) {
  const numbers = text.match(/\d+(\.\d+)?/g)?.map(Number) ?? [];
  for (const path of figures) {
    const value = measured(path);
    assert.ok(numbers.some((n) => Math.abs(n - value) < 0.00501), `${heading}: ${path} is ${value}, not in "${text}"`);
  }
  assert.ok(!/[{}]|nothing was measured|does not hold/.test(text), `${heading}: "${text}"`);
}

// Asks the question in the field and waits for the answer and the last of the changed pictures.
async function ask(hive, question) {
  await hive.click("button", "Ask");
  // The mirror shows a frame as a whole: with the question above it, the answer below is its own.
  const asked = async () => (await mirror(hive)).some(([role, , text]) => !role && text === question);
  await until(`"${question}" is asked`, asked);
  await hive.seen(/probability of the whole answer/, ANSWER);
  await hive.seen(/^another picture/, ANSWER);
  assert.equal(await hive.widget("textbox", "Question").textContent(), question, "the field has another question now");
  const all = await mirror(hive);
  return all.slice(all.findIndex(([role, , text]) => !role && text === question)).find(([, , t]) => /^\S+ [01]\.\d\d$/.test(t))[2];
}

// Follows a link and waits for what it asks for.
async function follow(hive, { label, asks }) {
  if (asks.run && asks.stage === "1" && !FULL) await shorten(hive, 1, STEPS);
  await hive.choose("link", label);
  if (asks.question) {
    const field = hive.widget("textbox", "Question");
    await until(`"${asks.question}" is in the field`, async () => (await field.textContent()) === asks.question);
    await hive.seen(new RegExp(`^held-out ${asks.example}$`));
  }
  if (asks.tab) {
    const tab = hive.widget("button", TABS[asks.tab]);
    await until(`${label}: the tab is shown`, async () => (await tab.getAttribute("aria-pressed")) === "true");
  }
}

// Waits for a stage, which says that it runs, until it is done, or pauses it after its first step. Then the scores.
async function stage(hive, number) {
  await hive.widget("button", "Pause").waitFor({ state: "attached" });
  await hive.seen(/^(starting|about \d+ (s|min) left)$/);
  const whole = FULL || number === "1";
  await hive.seen(new RegExp(`^Stage ${number}, .*, ${whole ? "done" : "[1-9]\\d* of"}`), STAGE);
  if (!whole) await pause(hive);
  const figure = hive.widget("group", /^plot of accuracy over optimiser steps, ([3-9]) lines$/);
  await figure.waitFor({ state: "attached" });
  await hive.seen(SCORES);
  const [, own, swapped] = (await mirror(hive)).map((e) => SCORES.exec(e[2])).find(Boolean).map(Number);
  return { own, swapped };
}

export const TESTS = [
  {
    name: FULL ? "the first lesson from start to end: every stage learns" : "the first lesson from start to end",
    timeout: FULL ? 10_000 : 600,
    async run(hive, { shot }) {
      const { title, sections } = lesson("stages");
      await hive.open("#hide=tour");
      await hive.started();
      await hive.click("button", "Lessons");
      await hive.click("button", title);
      const scores = [];
      const answers = [];
      for (const [at, section] of sections.entries()) {
        await hive.seen(new RegExp(`^${section.heading}$`));
        await shot(`section ${at + 1}`);
        for (const link of section.links.filter((link) => !link.asks.lesson)) {
          await follow(hive, link);
          if (link.asks.question) answers.push(await ask(hive, link.asks.question));
          if (link.asks.run) scores.push(await stage(hive, link.asks.stage));
          if (link.asks.beside) await besideIt(hive);
          await shot(`section ${at + 1}, ${link.label}`);
        }
        if (section.figures.length) quotes(await whatWeSaw(hive), section);
        await shot(`section ${at + 1}, what we saw`);
        if (at + 1 < sections.length) await hive.click("button", "Next section");
      }
      assert.equal(answers.length, 2, `asked before any training: ${answers}`);
      assert.equal(scores.length, 3, "a stage was not run");
      const gaps = scores.map(({ own, swapped }) => own - swapped);
      assert.ok(!FULL || (gaps[1] > 0.2 && scores[0].own > 0.4), `it has not learned: ${JSON.stringify(scores)}`);
      // The lesson ends with a way to the next one.
      const next = sections.at(-1).links[0];
      await hive.choose("link", next.label);
      await hive.seen(new RegExp(`^${lesson(next.asks.lesson).title}$`));
      return `${answers.join(", ")}; own and swapped ${scores.map((s) => `${s.own} ${s.swapped}`).join(", ")}`;
    },
  },
  {
    name: "wires are moved and links are cut",
    timeout: 480,
    async run(hive, { shot }) {
      await open(hive, "#preset=grounds&hide=tour,curves");
      await hive.click("button", "Open grounds trained");
      await hive.seen(/^Stage 3, .*, done/, 60_000);
      // The lesson's own question about its own example.
      const { sections } = lesson("depths");
      const link = sections.flatMap((s) => s.links).find((l) => l.asks.trained);
      await hive.click("button", "Lessons");
      await hive.click("button", lesson("depths").title);
      for (let at = 0; !sections[at].links.includes(link); at++) await hive.click("button", "Next section");
      await follow(hive, link);
      const answer = await ask(hive, link.asks.question);
      assert.match(answer, /^cat /);
      // Below the heat map: out of sight in a window of this height.
      await hive.choose("button", "Cut each link");
      await hive.seen(/^(The answer leans most on|No single link is needed).*/, ANSWER);
      const rows = (await mirror(hive)).map((e) => e[2]);
      const cut = (name) => rows.slice(rows.indexOf(name) + 1).find((text) => /^[01]\.\d\d/.test(text));
      for (const [layer, depth] of [4, 3, 2, 1].entries()) assert.ok(cut(`layer ${layer + 1}, depth ${depth}`));
      const [, before, after] = /^([\d.]+) → ([\d.]+)$/.exec(cut("every link"));
      assert.ok(before > 0.9 && after < 0.5, `without any link the cat is still seen: ${before} → ${after}`);
      await shot("links cut");

      const depths = async () => {
        const lists = await mirror(hive);
        return lists.filter(([role, name]) => role === "combobox" && /^Depth for layer/.test(name)).map((e) => e[2]).join(" ");
      };
      assert.equal(await depths(), "4 3 2 1");
      await hive.click("combobox", "Order of the links");
      await hive.click("button", "last (4 4 4 4)");
      await until("the order is chosen", async () => (await depths()) === "4 4 4 4");
      await hive.click("combobox", "Depth for layer 2");
      await hive.click("button", "depth 0");
      await until("a depth is chosen", async () => (await depths()) === "4 0 4 4");
      assert.ok(await hive.text(/^Stage 3, .*, done/), "nothing is lost before a click");
      await shot("wires moved");
      await hive.click("button", "Start with these links");
      await hive.widget("button", "Start stage 1").waitFor({ state: "attached" });
      await until("the links are in use", async () => (await hive.widget("button", "Start with these links").count()) === 0);
      assert.equal(await depths(), "4 0 4 4");
      return `cat ${before}, without links ${after}`;
    },
  },
];

// A second model stands beside the first and is drawn; where there is time both train, and the page says what one is ahead.
async function besideIt(hive) {
  const box = hive.widget("checkbox", "Train more of stage 2 beside it");
  await until("the other model is there", async () => (await box.getAttribute("aria-checked")) === "true");
  await hive.click("button", "more of stage 2");
  // Before its first step the session asks five times fifty questions.
  if (!FULL) return;
  await hive.click("button", "Run all stages");
  await hive.seen(/^more of stage 2, loss [\d.]+ · held-out accuracy/, 200_000);
  await hive.seen(/minus more of stage 2: [+-]0\.\d\d of the answers, uncertain by/);
  await pause(hive);
}

async function pause(hive) {
  await hive.click("button", "Pause");
  await hive.widget("button", "Run").waitFor({ state: "attached" });
}
