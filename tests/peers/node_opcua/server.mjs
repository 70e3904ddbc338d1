// An OPC UA server of node-opcua for tests: node server.mjs FOLDER OPTIONS
// FOLDER has node_modules; OPTIONS is JSON, see node_opcua.py. Prints "ready". Reads commands, one JSON list a line:
// ["count", first, last, pauseMs] writes that range to every node; ["structures", n] writes the n-th value to each node of
// a type of types.xml; ["forget"] ends all sessions with their subscriptions; ["quit"]. The end of standard input ends it
// too. "counted" is printed after "count" and "structures", "done" after "forget".
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
  ...(options.types ? { nodeset_filename: [...options.nodesets.map((name) => opcua.nodesets[name]), options.types] } : {}),
  ...(options.certificate ? { certificateFile: options.certificate, privateKeyFile: options.key } : {}),
  serverCapabilities: {
    maxMonitoredItems: options.most_items,
    maxMonitoredItemsPerSubscription: options.items_per_subscription,
    maxSessions: 100,
    maxSubscriptionsPerSession: options.subscriptions,
    operationLimits: {
      maxMonitoredItemsPerCall: options.items_per_call,
      maxNodesPerHistoryReadData: options.history_nodes_per_call,
      ...(options.types ? { maxNodesPerRead: 3, maxNodesPerBrowse: 2 } : {}),
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
const writeStructures = options.types ? structureNodes() : undefined;
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
  if (command === "structures") {
    writeStructures(...given);
    console.log("counted");
  }
  if (command === "forget") {
    for (const session of Object.values(server.engine._sessions)) {
      server.engine.closeSession(session.authenticationToken, true, "Forcing");
    }
    console.log("done");
  }
}
await server.shutdown(0);
process.exit(0);

// Nodes s=part, parts, choice, open (of any structure), mode, grid, unit; a function that writes their n-th values.
function structureNodes() {
  const space = all.getOwnNamespace();
  const types = all.getNamespaceIndex("urn:aurelian-test:types");
  const type = (name) => all.findDataType(name, types);
  const make = (name, fields) => all.constructExtensionObject(type(name), fields);
  const standard = (name, fields) => all.constructExtensionObject(all.findDataType(name, 0), fields);
  const { DataType, VariantArrayType } = opcua;
  const part = (n) =>
    make("Part", {
      serial: [n, 4294967295],
      started: new Date(Date.UTC(2026, 0, 5, 6, 0, n)),
      mode: n % 2 ? 7 : 1,
      ...(n % 2 ? { remark: opcua.coerceLocalizedText(`remark ${n}`) } : { weight: 0.5 }),
      corners: [make("Point", { x: n, y: NaN }), make("Point", { x: 0.25, y: -1 })],
      origin: make("Point", { x: 1, y: 2 }),
      unit: standard("EUInformation", { namespaceUri: "urn:u", unitId: n, displayName: "kN", description: "force" }),
      image: Buffer.from([n, 255]),
    });
  const structure = (value) => ({ dataType: DataType.ExtensionObject, value });
  const values = {
    part: [type("Part"), (n) => structure(part(n))],
    parts: [type("Part"), (n) => ({ ...structure([part(n), part(n + 1)]), arrayType: VariantArrayType.Array })],
    choice: [
      type("Choice"),
      (n) => structure(make("Choice", n % 2 ? { count: n } : { place: make("Point", { x: n, y: 0 }) })),
    ],
    open: ["Structure", (n) => structure(make("NamedPoint", { x: n, y: 0.5, name: `point ${n}` }))],
    unit: ["EUInformation", (n) => structure(standard("EUInformation", { namespaceUri: "urn:u", unitId: n, displayName: "m" }))],
    mode: [type("Mode"), (n) => ({ dataType: DataType.Int32, value: n % 2 ? 7 : 1 })],
    modes: [type("Mode"), (n) => ({ dataType: DataType.Int32, arrayType: VariantArrayType.Array, value: [n % 2, 99] })],
    grid: [
      "Double",
      (n) => ({
        dataType: DataType.Double,
        arrayType: VariantArrayType.Matrix,
        dimensions: [2, 3],
        value: new Float64Array([n, 1, 2, 3, 4, 5]),
      }),
    ],
  };
  const made = Object.entries(values).map(([name, [dataType, value]]) => {
    const first = value(0);
    const valueRank = first.dimensions ? 2 : first.arrayType === VariantArrayType.Array ? 1 : -1;
    const node = space.addVariable({
      organizedBy: all.rootFolder.objects,
      nodeId: `s=${name}`,
      browseName: name,
      dataType: typeof dataType === "string" ? dataType : dataType.nodeId,
      minimumSamplingInterval: 0,
      valueRank,
      arrayDimensions: first.dimensions ?? (valueRank === 1 ? [0] : undefined),
      value: first,
    });
    return [node, value];
  });
  return (n) => made.forEach(([node, value]) => node.setValueFromSource(value(n)));
}
