// An OPC UA server of node-opcua for tests: node server.mjs FOLDER OPTIONS
// FOLDER has node_modules; OPTIONS is JSON, see node_opcua.py. Prints "ready". Reads commands, one JSON list a line:
// ["count", first, last, pauseMs] writes that range to every node; ["forget"] ends all sessions with their subscriptions;
// ["quit"]. The end of standard input ends it too. "counted" is printed after "count", "done" after "forget".
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
    automaticallyAcceptUnknownCertificate: options.accepts_users,
  }),
  userManager: { isValidUser: (user, password) => user === "operator" && password === options.password },
  ...(options.certificate ? { certificateFile: options.certificate, privateKeyFile: options.key } : {}),
  serverCapabilities: {
    maxMonitoredItems: options.most_items,
    maxMonitoredItemsPerSubscription: options.items_per_subscription,
    maxSessions: 100,
    maxSubscriptionsPerSession: options.subscriptions,
    operationLimits: {
      maxMonitoredItemsPerCall: options.items_per_call,
      maxNodesPerHistoryReadData: options.history_nodes_per_call,
    },
  },
});
await server.initialize();
const all = server.engine.addressSpace;
const further = options.namespaces.map((uri) => all.registerNamespace(uri));
const counting = further.length ? further[further.length - 1] : all.getOwnNamespace();
const nodes = [];
for (const space of further.length ? further : [counting]) {
  for (let n = 0; n < options.nodes; n++) {
    const node = space.addVariable({
      organizedBy: all.rootFolder.objects,
      nodeId: `s=v${n}`,
      browseName: `v${n}`,
      dataType: "Double",
      minimumSamplingInterval: 0,
      value: { dataType: "Double", value: space === counting ? 0 : 999999 },
    });
    if (space !== counting) continue;
    nodes.push(node);
    if (n < options.historized) all.installHistoricalDataNode(node, { maxOnlineValues: 1_000_000 });
    // Says that it has a history, and refuses to give it.
    else if (n < options.historized + options.refused) node.accessLevel |= opcua.AccessLevelFlag.HistoryRead;
  }
}
await server.start();
console.log("ready");

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const count = async (first, last, pauseMs) => {
  for (let value = first; value <= last; value++) {
    for (const node of nodes) node.setValueFromSource({ dataType: "Double", value });
    await pause(pauseMs);
  }
  console.log("counted");
};
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...given] = JSON.parse(line);
  if (command === "quit") break;
  if (command === "count") void count(...given);
  if (command === "forget") {
    for (const session of Object.values(server.engine._sessions)) {
      server.engine.closeSession(session.authenticationToken, true, "Forcing");
    }
    console.log("done");
  }
}
await server.shutdown(0);
process.exit(0);
