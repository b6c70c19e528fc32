// A published model in the page: its folder is dropped, it is loaded and talks, and the program's memory stays small.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

import { FULL, SOFTWARE } from "./browser.mjs";

const NAME = "smollm2-135m-instruct";
const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";
// Packing in int8 takes a processor a minute.
const FORMAT = FULL ? "int8" : "f16";
// Bytes of WebAssembly memory that the page may have at most; the weights are on the GPU.
const MOST_MEMORY = 512 * 2 ** 20;

// The model's folder; none, and a loud line, where it is not there and need not be.
function folder(models, name, file, maker) {
  const path = join(models, name);
  if (existsSync(join(path, file))) return path;
  const missing = `${path} is not there; ${maker} makes it`;
  if (process.env.HIVE_MODELS === "required") throw new Error(missing);
  console.log(`*** SKIPPED: ${missing} ***`);
  return undefined;
}

// Drops files, or a folder, on the middle of the page, as the system's file manager would.
async function drop(hive, context, paths) {
  const devtools = await context.newCDPSession(hive.page);
  const data = { items: [], files: paths.map((path) => resolve(path)), dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"]) {
    await devtools.send("Input.dispatchDragEvent", { type, x: 640, y: 400, data });
  }
  await devtools.detach();
}

const memory = (hive) => hive.page.evaluate(() => wasmBindings.hive_memory());

// SmolVLM-256M as published, with a tower of random weights: what it says has no sense, how long it takes has.
const REAL = {
  name: "a published vision-language model of real size looks at a photo",
  timeout: 1200,
  alone: true,
  async run(hive, { options, context, shot }) {
    const maker = "cargo test --test real_size -- --ignored the_page";
    const path = folder(options.models, "smolvlm-256m", "model.safetensors.index.json", maker);
    if (!path) return "SKIPPED";
    await hive.open("#preset=tiny&hide=tour&panels=ask");
    await hive.started();
    await drop(hive, context, [path]);
    await hive.click("radio", "f16", 120_000);
    const start = Date.now();
    await hive.click("button", "Load in f16");
    await hive.seen(/^f16, room for \d+ tokens, loaded in/, 600_000);
    const loaded = (Date.now() - start) / 1000;
    await drop(hive, context, ["tests/web/dog.png"]);
    await hive.click("checkbox", "One square a picture", 60_000);
    const cost = await hive.seen(/^dog.png becomes 1 square and 64 tokens: .*/, 60_000);
    await shot("one square");
    await hive.click("textbox", "Message");
    await hive.page.keyboard.type("What is in this picture?");
    await hive.page.keyboard.press("Enter");
    const figures = await hive.seen(/^\d+ tokens.*; first after .*/, 600_000);
    const bytes = await memory(hive);
    assert.ok(bytes < MOST_MEMORY, `${bytes} bytes of WebAssembly memory`);
    return `${cost}; loaded in ${loaded.toFixed(1)} s; ${figures}; ${(bytes / 2 ** 20).toFixed(0)} MiB`;
  },
};

export const TESTS = [
  {
    name: "a published model is dropped, loaded and talks",
    timeout: 900,
    async run(hive, { options, context }) {
      const path = folder(options.models, NAME, "model.safetensors", "tests/models/get.sh");
      if (!path) return "SKIPPED";
      await hive.open("#preset=tiny&hide=tour&panels=ask");
      await hive.started();
      await drop(hive, context, [path]);
      await hive.seen(/^On disk 257 MiB/, 120_000);
      await hive.click("radio", FORMAT);
      const start = Date.now();
      await hive.click("button", `Load in ${FORMAT}`);
      await hive.seen(/^Loading \d+ of \d+ MB/, 60_000);
      await hive.seen(new RegExp(`^${FORMAT}, room for 1024 tokens, loaded in`), 400_000);
      const loaded = (Date.now() - start) / 1000;

      await hive.click("textbox", "Message");
      await hive.page.keyboard.type("What is the capital of France?");
      // All texts of the page as they come.
      await hive.page.evaluate(() => {
        window.texts = new Set();
        const place = document.getElementById("hive-access");
        const look = () => place.querySelectorAll("p").forEach((p) => window.texts.add(p.textContent));
        const what = { subtree: true, childList: true, characterData: true };
        new MutationObserver(look).observe(place, what);
      });
      await hive.page.keyboard.press("Enter");
      const figures = await hive.seen(/^\d+ tokens; first after .*/, 400_000);
      const whole = await hive.text(/^.*Paris.*$/);
      assert.ok(whole, "Paris is not in the answer");
      const texts = await hive.page.evaluate(() => [...window.texts]);
      const parts = texts.filter((text) => text && whole.startsWith(text)).sort((a, b) => a.length - b.length);
      assert.ok(parts.length >= 3, `the answer came at once: ${JSON.stringify(parts)}`);

      const bytes = await memory(hive);
      assert.ok(bytes > 10 * 2 ** 20, `${bytes} bytes of memory: that is not the program's`);
      // It never shrinks: this is the most there ever was.
      assert.ok(bytes < MOST_MEMORY, `${bytes} bytes of WebAssembly memory`);
      return `"${whole}" in ${parts.length} parts; ${figures}; loaded in ${loaded.toFixed(1)} s; ${(bytes / 2 ** 20).toFixed(0)} MiB`;
    },
  },
  {
    name: "a conversation about two photos, one of a later turn, is that of the native program",
    timeout: 300,
    // Beside a model that keeps both processors busy it takes five times as long.
    alone: true,
    async run(hive, { options, context, shot }) {
      const fixture = "tests/fixtures-vlm/smolvlm";
      const files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.json"];
      const manners = ["generation_config.json", "preprocessor_config.json", "processor_config.json"];
      await hive.open("#preset=tiny&hide=tour&panels=ask");
      await hive.started();
      await drop(hive, context, [...files, ...manners].map((file) => join(fixture, file)));
      await hive.click("radio", "f32", 60_000);
      await hive.click("button", "Load in f32");
      await hive.seen(/^f32, room for \d+ tokens, loaded in/, 60_000);
      // What no screen shows of the words of random weights is left out.
      const plain = (text) => text.replaceAll(/[^!-~]/g, "");
      const texts = () => hive.page.locator("#hive-access > *").evaluateAll((all) => all.map((e) => e.textContent));
      const figures = async () => (await texts()).filter((text) => /^\d+ tokens.*; first after /.test(text)).join(" ");
      const ask = async (picture, question) => {
        await drop(hive, context, [join(fixture, picture)]);
        // What it costs is said before anything runs.
        const cost = await hive.seen(new RegExp(`^${picture} becomes \\d+ squares and \\d+ tokens: .*`));
        await shot(picture);
        const before = await figures();
        await hive.click("textbox", "Message");
        await hive.page.keyboard.type(question);
        await hive.page.keyboard.press("Enter");
        // An earlier answer may be out of sight by then.
        let now = before;
        const end = Date.now() + 120_000;
        while (now === before || now === "") {
          if (Date.now() > end) throw new Error(`no answer to "${question}" after 120 s: ${JSON.stringify(await texts())}`);
          await new Promise((done) => setTimeout(done, 200));
          now = await figures();
        }
        return [cost, (await texts()).map(plain).filter((text) => text.length > 10)];
      };
      const turns = [["wide.png", "What is in this picture?"], ["small.png", "And what is here?"]];
      const [first, second] = [await ask(...turns[0]), await ask(...turns[1])];
      await hive.choose("button", "What the model sees of it");
      await hive.seen(/\d+ squares of small\.png/);
      await shot("squares");

      const driver = existsSync(SWIFTSHADER) ? { VK_DRIVER_FILES: SWIFTSHADER, VK_ICD_FILENAMES: SWIFTSHADER } : {};
      const lines = turns.map(([picture, question]) => `/image ${join(fixture, picture)}\n${question}\n`).join("");
      const native = spawnSync(options.hive, ["chat", "--model", fixture, "--weights", "f32"], {
        input: lines,
        env: { ...process.env, ...driver },
      });
      const want = plain(native.stdout.toString());
      assert.ok(want.length > 40, `the native program said ${native.stdout} ${native.stderr}`);
      const whole = first[1].filter((text) => want.startsWith(text)).some((text) => second[1].includes(want.slice(text.length)));
      assert.ok(whole, `"${want}" is not said in the page, but ${JSON.stringify([first[1], second[1]])}`);
      return `${first[0]}; ${second[0]}`;
    },
  },
  // Minutes on a processor.
  ...(FULL ? [REAL] : []),
  {
    name: "a photo by the camera is a picture of the conversation",
    timeout: 120,
    flags: [...SOFTWARE, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
    async run(hive, { context, shot }) {
      const fixture = "tests/fixtures-vlm/smolvlm-whole";
      const files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.json"];
      await context.grantPermissions(["camera"], { origin: new URL(hive.address).origin });
      await hive.open("#preset=tiny&hide=tour&panels=ask");
      await hive.started();
      await drop(hive, context, [...files, "preprocessor_config.json", "processor_config.json"].map((file) => join(fixture, file)));
      await hive.click("radio", "f32", 60_000);
      await hive.click("button", "Load in f32");
      await hive.seen(/^f32, room for \d+ tokens, loaded in/, 60_000);
      await hive.choose("button", "Take a photo…");
      const take = hive.page.getByRole("button", { name: "Take the photo" });
      const there = () => !document.getElementById("hive-camera").hidden && !document.getElementById("hive-camera-take").disabled;
      await hive.page.waitForFunction(there, null, { timeout: 20_000 });
      await shot("camera");
      await take.click();
      const cost = await hive.seen(/^photo \d\d\.\d\d\.\d\d\.png becomes 1 square and 4 tokens: .*/);
      assert.ok(await hive.page.locator("#hive-camera").isHidden());
      const tracks = await hive.page.evaluate(() => document.querySelector("#hive-camera video").srcObject);
      assert.equal(tracks, null, "the camera is still on");
      // Again and again: answers come one after the other, each about a new picture.
      await hive.page.evaluate(() => {
        window.figures = new Set();
        const place = document.getElementById("hive-access");
        const look = () => place.querySelectorAll("p").forEach((p) => /^\d+ tokens.*; first after /.test(p.textContent) && window.figures.add(p.textContent));
        new MutationObserver(look).observe(place, { subtree: true, childList: true, characterData: true });
      });
      await hive.choose("checkbox", "Live from the camera");
      await hive.page.waitForFunction(() => window.figures.size >= 3, null, { timeout: 60_000 });
      await shot("live");
      await hive.choose("checkbox", "Live from the camera");
      await hive.page.waitForFunction(() => document.querySelector("#hive-camera video").srcObject === null, null, { timeout: 10_000 });
      return cost;
    },
  },
  {
    name: "files that are no model are refused with a sentence",
    timeout: 120,
    async run(hive, { context }) {
      await hive.open("#preset=tiny&hide=tour&panels=ask");
      await hive.started();
      const fixture = "tests/fixtures/llama";
      await drop(hive, context, [join(fixture, "config.json"), join(fixture, "model.safetensors")]);
      return await hive.seen(/.*tokenizer\.json.*/);
    },
  },
];
