// What visits load: the first one little, later ones nothing but the index, and without a network all is still there. What
// a server does not send is told.
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { open, step } from "./app.mjs";
import { serve } from "./server.mjs";

// Bytes of all that a first visit loads, compressed.
const MOST = 5_500_000;
// What is asked for anew at every visit.
const ALWAYS = ["index.html", "worker.js"];

// A server for this test alone.
async function own(hive, options) {
  const server = await serve(options.dist);
  hive.address = server.address;
  return server;
}

// Copies the page with other names of its program's files, as another version has them; returns the folder and the names.
function another(options) {
  const folder = join(options.shots, "another-version");
  mkdirSync(join(folder, "models"), { recursive: true });
  const inside = (name) => readdirSync(join(options.dist, name)).map((file) => join(name, file));
  const renamed = (text) => text.replaceAll(/hive-[0-9a-f]{16}/g, "hive-0123456789abcdef");
  const files = [...inside("models"), ...inside(".").filter((name) => name !== "models")];
  for (const name of files) {
    // Names also occur in the module; they are as long as before.
    const bytes = readFileSync(join(options.dist, name), "latin1");
    writeFileSync(join(folder, renamed(name)), renamed(bytes), "latin1");
  }
  return { folder, names: files.map(renamed).filter((name) => name.startsWith("hive-")).sort() };
}

// Waits until the page keeps the program's files of these names and of no others.
const keeps = (hive, names) => hive.page.waitForFunction(async (names) => {
  const files = [];
  for (const cache of await caches.keys()) {
    for (const { url } of await (await caches.open(cache)).keys()) files.push(url.split("/").at(-1));
  }
  return files.filter((file) => file.startsWith("hive-")).sort().join() === names.join();
}, names);

// What was asked since the last call.
const taken = (server) => server.asked.splice(0).filter((name) => !ALWAYS.includes(name)).sort();
const weights = (name) => `models/${name}.safetensors`;

export const TESTS = [
  {
    name: "a first visit loads little, later ones the index alone, and no network is needed",
    timeout: 240,
    async run(hive, { options, context }) {
      const server = await own(hive, options);
      await open(hive, "#hide=tour");
      const size = (name) => gzipSync(readFileSync(join(options.dist, name)), { level: 9 }).length;
      const loaded = server.asked.reduce((sum, name) => sum + size(name), 0);
      assert.ok(loaded < MOST, `${loaded} bytes compressed: ${server.asked.join(", ")}`);
      const first = taken(server);
      assert.ok(first.length === 3 && first[1].endsWith(".wasm") && first[2] === weights("grounds-start"), `${first}`);
      const version = await hive.page.evaluate(() => window.hive.version);
      assert.match(version, /^\d+\.\d+\.\d+ \(\w{8}\)$/);
      assert.ok(first[0].includes(/\w{8}/.exec(version)[0]));
      assert.equal(await hive.text(/^version (.*)$/), version);

      await hive.page.goto("about:blank");
      await open(hive, "#preset=tiny&hide=tour");
      assert.deepEqual(taken(server), [weights("shapes-start")]);

      // Another version takes the place of the first; of weights nothing is new.
      const { folder, names } = another(options);
      server.folder = folder;
      await hive.page.reload();
      await open(hive, "#preset=tiny&hide=tour");
      assert.deepEqual(taken(server), names);
      await keeps(hive, names);

      await context.setOffline(true);
      server.close();
      await hive.page.reload();
      await open(hive, "#preset=tiny&hide=tour");
      await hive.click("button", "Step");
      await step(hive, 1);
      assert.deepEqual(taken(server), []);
      return `${(loaded / 1e6).toFixed(2)} MB compressed`;
    },
  },
  {
    name: "weights that do not come are told, and another preset ends the wait for them",
    timeout: 240,
    async run(hive, { options }) {
      const server = await own(hive, options);
      const shapes = weights("shapes-start");
      const isOpen = (title) => hive.page.waitForFunction((text) => {
        const all = [...document.querySelectorAll("#hive-access [aria-pressed=true]")];
        return all.some((e) => (e.getAttribute("aria-label") ?? e.textContent) === text);
      }, title);
      hive.allow(/Failed to load resource/, /failed request: .*shapes-start/);
      await open(hive, "#preset=pictures&hide=tour");
      server.missing.add(shapes);
      await hive.click("button", "Shapes");
      const told = await hive.seen(/^The weights shapes-start cannot be fetched.*/);
      assert.match(told, /status 404/);
      // What was open stays so.
      await hive.click("button", "Step");
      await step(hive, 1);

      server.missing.clear();
      server.held.add(shapes);
      await hive.click("button", "Try again");
      await hive.seen(/^Fetching the weights shapes-start, 0\.[1-9] of 0\.9 MB/);
      await hive.click("button", "Open pictures trained");
      await hive.seen(/^Stage 3, .*, done/, 60_000);
      assert.equal(await hive.text(/^Fetching the weights/), undefined);

      server.held.clear();
      await hive.click("button", "Shapes");
      await isOpen("Shapes");
      assert.equal(await hive.text(/^Fetching the weights|cannot be fetched/), undefined);
      server.close();
      return told;
    },
  },
];
