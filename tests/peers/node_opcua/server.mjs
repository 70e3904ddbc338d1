// An OPC UA server of node-opcua for tests: node server.mjs FOLDER OPTIONS
// FOLDER has node_modules; OPTIONS is JSON, see node_opcua_server.py. Prints "ready". Reads commands, one JSON list a line,
// and says "done" after each; `quit` or the end of standard input ends it.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [folder, text] = process.argv.slice(2);
const options = JSON.parse(text);
const require = createRequire(pathToFileURL(`${folder}/package.json`));
const opcua = await import(pathToFileURL(require.resolve("node-opcua")).href);

const server = new opcua.OPCUAServer({
  port: options.port,
  hostname: "127.0.0.1",
  resourcePath: "/UA/Peer",
  serverInfo: { applicationUri: "urn:aurelian-test:node-opcua" },
  allowAnonymous: options.anonymous,
  securityPolicies: options.policies.map((name) => opcua.SecurityPolicy[name]),
  securityModes: options.modes.map((name) => opcua.MessageSecurityMode[name]),
  serverCertificateManager: new opcua.OPCUACertificateManager({
    rootFolder: options.folder,
    automaticallyAcceptUnknownCertificate: options.accepts_all,
  }),
  userCertificateManager: new opcua.OPCUACertificateManager({
    rootFolder: `${options.folder}-users`,
    automaticallyAcceptUnknownCertificate: true,
  }),
  userManager: { isValidUser: (user, password) => user === "operator" && password === options.password },
  ...(options.certificate ? { certificateFile: options.certificate, privateKeyFile: options.key } : {}),
  ...(options.token_lifetime_ms ? { defaultSecureTokenLifetime: options.token_lifetime_ms } : {}),
  ...(options.transport ? { transportSettings: { adjustTransportLimits: () => options.transport } } : {}),
  serverCapabilities: {
    maxMonitoredItems: options.most_items,
    maxMonitoredItemsPerSubscription: options.items_per_subscription,
    maxSessions: 100,
    maxSubscriptionsPerSession: options.subscriptions,
    operationLimits: { maxMonitoredItemsPerCall: options.items_per_call },
  },
});
await server.initialize();
const all = server.engine.addressSpace;
const further = options.namespaces.map((uri) => all.registerNamespace(uri));
let counting = further.length ? further[further.length - 1] : all.getOwnNamespace();
let nodes = [];

function addNode(space, n, value) {
  return space.addVariable({
    organizedBy: all.rootFolder.objects,
    nodeId: `s=v${n}`,
    browseName: `v${n}`,
    dataType: "Double",
    minimumSamplingInterval: 0,
    value: { dataType: "Double", value },
  });
}

for (const space of further.length ? further : [counting]) {
  for (let n = 0; n < options.nodes; n++) {
    const node = addNode(space, n, space === counting ? 0 : 999999);
    if (space === counting) nodes.push(node);
  }
}
await server.start();
console.log("ready");

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const toTime = (ms) => (ms === null ? null : new Date(ms));

const commands = {
  // Writes a range to every node. With firstMs each value has the time firstMs + its place * pauseMs, else its own.
  async count(first, last, pauseMs, firstMs) {
    for (let value = first; value <= last; value++) {
      const at = firstMs === null ? undefined : new Date(firstMs + (value - first) * pauseMs);
      for (const node of nodes) node.setValueFromSource({ dataType: "Double", value }, undefined, at);
      await pause(pauseMs);
    }
  },
  // One value of one node, with any status and times (milliseconds since 1970), null: without.
  write(n, value, status, sourceMs, serverMs) {
    nodes[n]._internal_set_dataValue(
      new opcua.DataValue({
        value: value === null ? undefined : { dataType: "Double", value },
        statusCode: opcua.coerceStatusCode(status),
        sourceTimestamp: toTime(sourceMs),
        serverTimestamp: toTime(serverMs),
      }),
    );
  },
  // A further namespace whose nodes count from now on, in place of those before.
  add_namespace(uri) {
    counting = all.registerNamespace(uri);
    nodes = Array.from({ length: options.nodes }, (_, n) => addNode(counting, n, 0));
  },
  delete_node(n) {
    all.deleteNode(nodes[n]);
  },
  add_node(n) {
    nodes[n] = addNode(counting, n, 0);
  },
  // As some servers do that lose them without a word: the session stays.
  end_subscriptions() {
    for (const session of Object.values(server.engine._sessions)) {
      for (const each of [...session.publishEngine.subscriptions]) session.deleteSubscription(each.id);
    }
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...rest] = JSON.parse(line);
  if (command === "quit") break;
  await commands[command](...rest);
  console.log("done");
}
await server.shutdown(0);
process.exit(0);
