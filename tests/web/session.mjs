// Whom the page asks: through a whole session its own server and nobody else, and then the one that its user names.
import assert from "node:assert/strict";

import { open, step } from "./app.mjs";
import { fetching, models, small } from "./fetch.mjs";

export const TESTS = [
  {
    name: "a whole session asks the page's own server alone, then the one that is named",
    timeout: 300,
    async run(hive, { context }) {
      const origins = new Map();
      const asked = (url) => {
        const { protocol, origin } = new URL(url);
        // What the page has made itself is asked of nobody.
        if (protocol !== "data:" && protocol !== "blob:") origins.set(origin, (origins.get(origin) ?? 0) + 1);
      };
      context.on("request", (request) => asked(request.url()));
      hive.page.on("websocket", (socket) => asked(socket.url()));
      const own = new URL(hive.address).origin;

      await open(hive, "#preset=tiny&hide=tour");
      await hive.click("button", "Step");
      await step(hive, 1);
      await hive.click("button", "Ask");
      await hive.seen(/probability of the whole answer/, 100_000);
      await hive.click("button", "Lessons");
      await hive.click("button", "Lessons");
      await hive.click("button", "Files");
      await Promise.all([hive.page.waitForEvent("download"), hive.click("button", "Save run…")]);
      await hive.page.reload();
      await hive.started();
      assert.deepEqual([...origins.keys()], [own], "others were asked");
      const before = origins.get(own);
      assert.ok(before >= 4, `only ${before} requests were seen: this test sees too little`);

      hive.allow(/request to http:\/\/127\.0\.0\.1/, /failed request/, /Failed to load resource/);
      const server = await models(small());
      await fetching(hive, server.address);
      server.close();
      assert.deepEqual([...origins.keys()], [own, new URL(server.address).origin], "others were asked");
      return `${before} requests of the page, ${origins.get(new URL(server.address).origin)} of the named server`;
    },
  },
];
