// Tests of the page in a real browser:  node tests/web/run.mjs [--dist DIR] [--hive PROGRAM] [--modules DIR] [--models DIR]
//                                                              [--shots DIR] [--jobs N] [--only TEXT] [--list] [--look]
// One line per test; exit code 1 if one fails. N tests run at the same time, each in a browser of its own: much of their time
// they wait. Those that measure time run alone. --look keeps pictures of the way through a test, too.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { TESTS as app } from "./app.mjs";
import { Hive, launcher } from "./browser.mjs";
import { TESTS as model } from "./model.mjs";
import { TESTS as fetched } from "./fetch.mjs";
import { TESTS as lesson } from "./lesson.mjs";
import { TESTS as numbers } from "./numbers.mjs";
import { TESTS as page } from "./page.mjs";
import { serve } from "./server.mjs";
import { TESTS as session } from "./session.mjs";
import { TESTS as visits } from "./visits.mjs";

const { values: options } = parseArgs({
  options: {
    dist: { type: "string", default: "dist" },
    hive: { type: "string", default: "target/release/hive" },
    modules: { type: "string", default: "target/tools" },
    models: { type: "string", default: "target/models" },
    shots: { type: "string", default: "target/shots" },
    jobs: { type: "string", default: "2" },
    only: { type: "string", default: "" },
    list: { type: "boolean", default: false },
    look: { type: "boolean", default: false },
  },
});

const tests = [...page, ...visits, ...numbers, ...session, ...fetched, ...lesson, ...app, ...model].filter((t) => t.name.includes(options.only));
if (options.list) {
  tests.forEach((t) => console.log(t.name));
  process.exit(0);
}
mkdirSync(options.shots, { recursive: true });
const launch = launcher(options.modules);
const server = await serve(options.dist);

const picture = (name) => join(options.shots, `${name.replaceAll(/[^a-z0-9]+/gi, "-")}.png`);

async function run(test) {
  const browser = await launch(test.flags);
  let hive;
  const clock = new Promise((_, fail) => {
    const say = () => fail(new Error(`not done after ${test.timeout} s`));
    setTimeout(say, test.timeout * 1000).unref();
  });
  try {
    // A test can do without workers, as some browsers do.
    const serviceWorkers = test.workers === false ? "block" : "allow";
    const viewport = { width: 1280, height: 800 };
    const context = await browser.newContext({ viewport, acceptDownloads: true, serviceWorkers });
    hive = new Hive(await context.newPage(), server.address);
    // Pictures on the way, for people: where they look, machines do not.
    const shot = (what) => options.look && hive.page.screenshot({ path: picture(`${test.name} ${what}`) });
    const result = await Promise.race([test.run(hive, { options, browser, context, shot }), clock]);
    if (hive.problems.length) throw new Error(hive.problems.join("; "));
    return { result };
  } catch (error) {
    return { error };
  } finally {
    // A page that hangs gives no picture; the error says enough.
    await hive?.page.screenshot({ path: picture(test.name), timeout: 10_000 }).catch(() => {});
    await browser.close();
  }
}

let failed = 0;
async function report(test) {
  const start = Date.now();
  const { result, error } = await run(test);
  const secs = ((Date.now() - start) / 1000).toFixed(1);
  console.log(`${error ? "FAIL" : "ok  "} ${test.name} (${secs} s)${result ? `: ${result}` : ""}`);
  if (error) {
    failed += 1;
    console.log(`     ${String(error.message ?? error).replaceAll("\n", "\n     ")}`);
  }
}

async function work(queue) {
  while (queue.length) await report(queue.shift());
}

const together = tests.filter((t) => !t.alone);
await Promise.all(Array.from({ length: Number(options.jobs) }, () => work(together)));
await work(tests.filter((t) => t.alone));
server.close();
console.log(`${tests.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
