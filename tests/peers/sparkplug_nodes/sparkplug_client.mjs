// An edge node with the npm package sparkplug-client. Commands are lines of JSON on standard input, answers are lines of JSON.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

// The packages lie elsewhere: `node_modules` of the folder that the first argument names.
const [packages, url, group, node] = process.argv.slice(2);
const client = createRequire(packages + "/")("sparkplug-client").newClient({
  serverUrl: url, username: "", password: "", groupId: group, edgeNode: node, clientId: `npm-${node}`, publishDeath: true,
});
const say = (said) => process.stdout.write(JSON.stringify(said) + "\n");
const compress = process.argv.includes("compressed") ? { compress: true, algorithm: "GZIP" } : undefined;
let force = 1.5, drive = -7;

const typed = (value) => ({ type: "Double", value });
const births = () => {
  const timestamp = Date.now();
  client.publishNodeBirth({
    timestamp,
    metrics: [
      { name: "Node Control/Rebirth", type: "Boolean", value: false },
      { name: "Uptime", type: "UInt64", value: 9 },
      { name: "Motor", type: "Template", value: { isDefinition: true, metrics: [
        { name: "rpm", type: "Int32", value: 0 }, { name: "maker", type: "String", value: "?" }] } },
    ],
  }, compress);
  client.publishDeviceBirth("press", {
    timestamp,
    metrics: [
      { name: "Force", alias: 2, ...typed(force), properties: { engUnit: { type: "String", value: "kN" } } },
      { name: "Small", type: "Int8", value: -5 },
      { name: "Large", type: "UInt32", value: 4000000000 },
      { name: "Huge", type: "Int64", value: -4611686018427388 },
      { name: "On", type: "Boolean", value: true },
      { name: "Text", type: "String", value: "läuft" },
      { name: "When", type: "DateTime", value: 1500 },
      { name: "Rows", type: "DataSet", value: { numOfColumns: 2, types: ["Int32", "String"], columns: ["n", "t"], rows: [[-1, "a"], [2, "b"]] } },
      { name: "Drive", type: "Template", value: { isDefinition: false, templateRef: "Motor", metrics: [{ name: "rpm", type: "Int32", value: drive }] } },
    ],
  }, compress);
};

client.on("birth", () => { births(); say("born"); });
client.on("ncmd", (payload) => {
  if (payload.metrics.some((each) => each.name === "Node Control/Rebirth" && each.value === true)) {
    say("asked for a rebirth");
    births();
  }
});
client.on("error", (error) => say(`error: ${error}`));

createInterface({ input: process.stdin }).on("line", (line) => {
  const [what, value] = JSON.parse(line);
  const timestamp = Date.now();
  if (what === "data") {
    force = value;
    client.publishDeviceData("press", { timestamp, metrics: [{ alias: 2, timestamp, ...typed(value) }] }, compress);
  } else if (what === "old data") {
    client.publishDeviceData("press", { timestamp, metrics: [{ alias: 2, timestamp: timestamp - 60000, isHistorical: true, ...typed(value) }] });
  } else if (what === "part") {
    drive = value;
    client.publishDeviceData("press", { timestamp, metrics: [{ name: "Drive", timestamp, type: "Template", value: {
      isDefinition: false, templateRef: "Motor", metrics: [{ name: "rpm", type: "Int32", value }] } }] });
  } else if (what === "lose a number") {
    client.incrementSeqNum();
  } else if (what === "device dies") {
    client.publishDeviceDeath("press", { timestamp, metrics: [] });
  } else if (what === "stop") {
    client.stop();
  }
});
