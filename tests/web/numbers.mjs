// The numbers of the page: every case of every operation, parity fixtures, and the same losses as the native program.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { promisify } from "node:util";

import { FULL } from "./browser.mjs";

const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";
const STEPS = FULL ? 100 : 10;
const execute = promisify(execFile);

export const TESTS = [
  ...[false, true].map((hardware) => ({
    name: `every case of every operation is right, by the kernels for ${hardware ? "graphics processors" : "this adapter"}`,
    timeout: 420,
    async run(hive) {
      await hive.open("#preset=tiny");
      await hive.started();
      const answer = await hive.call("hive_verify", "", hardware);
      assert.deepEqual(answer.wrong, []);
      assert.ok(answer.cases > 80, `${answer.cases} cases`);
      return `${answer.cases} cases on ${answer.adapter || "an adapter without a name"}, ${answer.secs.toFixed(0)} s`;
    },
  })),
  ...["fixtures/hive", "fixtures/cascade", "fixtures-vlm/smolvlm2", "fixtures-vlm/llava-onevision"].map((name) => ({
    name: `the fixture ${name.split("/")[1]} is met`,
    timeout: 180,
    async run(hive) {
      await hive.open("#preset=tiny");
      await hive.started();
      const files = readdirSync(`tests/${name}`);
      const contents = files.map((file) => readFileSync(`tests/${name}/${file}`));
      const bytes = { base64: Buffer.concat(contents).toString("base64") };
      const answer = await hive.call("hive_parity", files, contents.map((c) => c.length), bytes);
      const wrong = answer.groups.filter((g) => !g.passed);
      assert.deepEqual(wrong, []);
      assert.ok(answer.passed && answer.groups.length > 1);
      return answer.groups.map((g) => `${g.group} ${g.worst.toExponential(1)}`).join(", ");
    },
  })),
  {
    name: "training has the losses of the native program",
    timeout: 420,
    async run(hive, { options }) {
      await hive.open("#preset=tiny");
      await hive.started();
      const here = await hive.call("hive_losses", "tiny", 2, STEPS, undefined);
      // The same driver, so that only the browser differs.
      const driver = existsSync(SWIFTSHADER) ? { VK_DRIVER_FILES: SWIFTSHADER, VK_ICD_FILENAMES: SWIFTSHADER } : {};
      const command = ["bench", "losses", "--preset", "tiny", "--stage", "2", "--steps", String(STEPS), "--json"];
      const there = JSON.parse((await execute(options.hive, command, { env: { ...process.env, ...driver } })).stdout);
      assert.equal(here.losses.length, STEPS);
      assert.equal(there.losses.length, STEPS);
      assert.ok(new Set(here.losses).size > STEPS / 2, "these are no losses of a training");
      const worst = Math.max(...here.losses.map((loss, i) => Math.abs(loss - there.losses[i])));
      assert.ok(worst < 1e-3, `the losses differ by ${worst}`);
      const ms = (1000 * here.secs) / STEPS;
      return `they differ by at most ${worst.toExponential(1)}; a step takes ${ms.toFixed(0)} ms here, ${(1000 * there.secs / STEPS).toFixed(0)} ms there`;
    },
  },
];
