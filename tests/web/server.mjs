// A static server without any special header: the page must run from a plain web server, in any folder.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

// Serves `folder` below /some/folder/; returns the address of its index and a function that ends it.
export async function serve(folder) {
  const prefix = "/some/folder/";
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    const name = path.startsWith(prefix) ? normalize(path.slice(prefix.length) || "index.html") : "..";
    const file = join(folder, name);
    const found = name.startsWith("..") ? undefined : await stat(file).catch(() => undefined);
    if (!found?.isFile()) {
      response.writeHead(404).end();
      return;
    }
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { "content-type": type, "content-length": found.size });
    createReadStream(file).pipe(response);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const address = `http://127.0.0.1:${server.address().port}${prefix}`;
  return { address, close: () => server.close() };
}
