// An OPC UA server of node-opcua for tests: node server.mjs FOLDER OPTIONS
// FOLDER has node_modules; OPTIONS is JSON, see node_opcua_server.py. Prints "ready". Reads commands, a JSON list
// [number, command, ...] a line, and says "done NUMBER" after each; `quit` or the end of standard input ends it.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [folder, text] = process.argv.slice(2);
const options = JSON.parse(text);
const require = createRequire(pathToFileURL(`${folder}/package.json`));
if (options.clock_ahead_ms) shiftClock(options.clock_ahead_ms);
const opcua = await import(pathToFileURL(require.resolve("node-opcua")).href);

const server = new opcua.OPCUAServer({
  port: options.port,
  hostname: options.host,
  resourcePath: "/UA/Peer",
  serverInfo: { applicationUri: options.uri },
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
  ...(options.token_lifetime_ms ? { defaultSecureTokenLifetime: options.token_lifetime_ms } : {}),
  ...(options.transport ? { transportSettings: { adjustTransportLimits: () => options.transport } } : {}),
  maxConnectionsPerEndpoint: 400,
  serverCapabilities: {
    maxMonitoredItems: options.most_items,
    maxMonitoredItemsPerSubscription: options.items_per_subscription,
    maxSessions: 400,
    maxSubscriptions: 400,
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
let counting = further.length ? further[further.length - 1] : all.getOwnNamespace();
let nodes = [];

function addNode(space, n, value) {
  if (n < options.analog) {
    return space.addAnalogDataItem({
      organizedBy: all.rootFolder.objects,
      nodeId: `s=v${n}`,
      browseName: `v${n}`,
      dataType: "Double",
      engineeringUnitsRange: { low: 0, high: 200 },
      engineeringUnits: opcua.standardUnits.degree_celsius,
      minimumSamplingInterval: 0,
      value: { dataType: "Double", value },
    });
  }
  return space.addVariable({
    organizedBy: all.rootFolder.objects,
    nodeId: `s=v${n}`,
    browseName: `v${n}`,
    dataType: "Double",
    minimumSamplingInterval: 0,
    value: { dataType: "Double", value },
  });
}

function keepHistory(node) {
  all.installHistoricalDataNode(node, { maxOnlineValues: 1_000_000 });
}

for (const space of further.length ? further : [counting]) {
  for (let n = 0; n < options.nodes; n++) {
    const node = addNode(space, n, space === counting ? 0 : 999999);
    if (space !== counting) continue;
    nodes.push(node);
    if (n < options.historized) keepHistory(node);
    // Says that it has a history, and refuses to give it.
    else if (n < options.historized + options.refused) node.accessLevel |= opcua.AccessLevelFlag.HistoryRead;
  }
}
const alarms = options.alarms ? alarmNodes(options.alarms) : undefined;
// What it says of redundancy: ServiceLevel, and, where it has others, RedundancySupport, ServerUriArray and FindServers.
let level = 255;
const levelNode = all.findNode("i=2267");
levelNode.bindVariable({ get: () => new opcua.Variant({ dataType: "Byte", value: level }) }, true);
if (options.redundancy) nameOthers(options.redundancy, options.redundant);
const flags = Array.from({ length: options.bools }, (_, n) =>
  counting.addVariable({
    organizedBy: all.rootFolder.objects,
    nodeId: `s=b${n}`,
    browseName: `b${n}`,
    dataType: "Boolean",
    minimumSamplingInterval: 0,
    value: { dataType: "Boolean", value: false },
  }),
);
const writeStructures = options.types ? structureNodes() : undefined;
await server.start();
console.log("ready");

// A process that stood still has a pause and a sampling end at once: what is sampled is read in the turns after.
const pause = async (ms) => {
  await new Promise((resolve) => setTimeout(resolve, ms));
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
};
const toTime = (ms) => (ms === null ? null : new Date(ms));

const commands = {
  // Writes a range to every node. With firstMs each value has the time firstMs + its place * pauseMs, else its own.
  async count(first, last, pauseMs, firstMs) {
    for (let value = first; value <= last; value++) {
      const at = firstMs == null ? undefined : new Date(firstMs + (value - first) * pauseMs);
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
  // Writes a Boolean variable.
  write_bool(n, value) {
    flags[n].setValueFromSource({ dataType: "Boolean", value });
  },
  // Writes the EURange of an analog variable; the server then sets SemanticsChanged itself.
  range(n, low, high) {
    const node = nodes[n].getPropertyByName("EURange");
    node.setValueFromSource({ dataType: "ExtensionObject", value: new opcua.Range({ low, high }) });
  },
  // A further namespace whose nodes count from now on, in place of those before; the first `historized` of them have
  // a history. And s=mode of an enumeration of the standard, 4 (Shutdown).
  add_namespace(uri) {
    counting = all.registerNamespace(uri);
    nodes = Array.from({ length: options.nodes }, (_, n) => addNode(counting, n, 0));
    nodes.slice(0, options.historized).forEach(keepHistory);
    counting.addVariable({
      organizedBy: all.rootFolder.objects,
      nodeId: "s=mode",
      browseName: "mode",
      dataType: "ServerState",
      minimumSamplingInterval: 0,
      value: { dataType: "Int32", value: 4 },
    });
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
  // The n-th value to each node of a type of types.xml.
  structures(n) {
    writeStructures(n);
  },
  // The state that the server says it is in, until when (seconds) and why.
  state(number, seconds, reason) {
    server.engine.setShutdownTime(new Date(Date.now() + seconds * 1000));
    server.engine.setShutdownReason(reason);
    server.engine.setServerState(number);
  },
  // An event of an alarm, number n: {active, message, severity, retain, acked, confirmed}, each may be left out.
  alarm(n, change) {
    alarms.change(n, change);
  },
  // The value of the variable that has limits.
  limit(value) {
    alarms.temperature.setValueFromSource({ dataType: "Double", value });
  },
  // A branch of alarm n: its state before, that nobody acknowledged; with `end` the last one ends.
  branch(n, end) {
    const alarm = alarms.all[n];
    const branch = end ? alarm.getBranches().at(-1) : alarm.createBranch();
    branch.setRetain(!end);
    branch.setMessage(end ? "branch ended" : "branch of before");
    alarm.raiseNewBranchState(branch);
  },
  // An event that is no condition.
  event(type, message, severity) {
    all.rootFolder.objects.server.raiseEvent(type, {
      message: { dataType: "LocalizedText", value: { text: message } },
      severity: { dataType: "UInt16", value: severity },
    });
  },
  // The ServiceLevel from now on.
  level(number) {
    level = number;
    levelNode.touchValue();
  },
  // How many subscriptions a session may have from now on; those that are there stay.
  subscriptions(most) {
    server.engine.serverCapabilities.maxSubscriptionsPerSession = most;
  },
  // A variable s=mute whose device never answers, so that it has no value.
  add_mute() {
    all.getOwnNamespace().addVariable({
      organizedBy: all.rootFolder.objects,
      nodeId: "s=mute",
      browseName: "mute",
      dataType: "Double",
      minimumSamplingInterval: 0,
      value: { refreshFunc: () => {} },
    });
  },
  // Whether a variable may be read from now on.
  readable(id, may) {
    all.findNode(id).accessLevel = may ? opcua.makeAccessLevelFlag("CurrentRead") : 0;
  },
  // How many sessions there may be from now on; those that are there stay.
  sessions(most) {
    server.engine.serverCapabilities.maxSessions = most;
  },
  // Ends all sessions with their subscriptions.
  forget() {
    for (const session of Object.values(server.engine._sessions)) {
      server.engine.closeSession(session.authenticationToken, true, "Forcing");
    }
  },
};

const run = async (number, command, given) => {
  await commands[command](...given);
  console.log(`done ${number}`);
};

for await (const line of createInterface({ input: process.stdin })) {
  const [number, command, ...given] = JSON.parse(line);
  if (command === "quit") break;
  void run(number, command, given);
}
await server.shutdown(0);
process.exit(0);

function nameOthers(support, others) {
  const redundancy = all.findNode("i=2296");
  all.findNode("i=3709").setValueFromSource({ dataType: "Int32", value: support });
  const uris = { dataType: "String", arrayType: opcua.VariantArrayType.Array, value: others.map(([uri]) => uri) };
  const known = all.findNode("i=11314");
  if (known) known.setValueFromSource(uris);
  else
    all.getNamespace(0).addVariable({
      propertyOf: redundancy,
      nodeId: "i=11314",
      browseName: { namespaceIndex: 0, name: "ServerUriArray" },
      dataType: "String",
      valueRank: 1,
      value: uris,
    });
  const own = server.getServers.bind(server);
  server.getServers = (channel) => [
    ...own(channel),
    ...others.map(
      ([uri, url]) =>
        new opcua.ApplicationDescription({ applicationUri: uri, applicationName: uri, applicationType: 0, discoveryUrls: [url] }),
    ),
  ];
}

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

// The clock of this process, for all that is loaded after.
function shiftClock(ms) {
  const Real = Date;
  globalThis.Date = class extends Real {
    constructor(...given) {
      super(...(given.length ? given : [Real.now() + ms]));
    }
    static now() {
      return Real.now() + ms;
    }
  };
}

// An object s=press with events of alarms alarm0 and so on, of a maker's own type with a property Channel, and of the
// variable s=press.temperature with the limits 10, 20, 80, 90.
function alarmNodes(count) {
  all.installAlarmsAndConditionsService();
  const space = all.getOwnNamespace();
  const notifier = all.rootFolder.objects.server;
  const press = space.addObject({ organizedBy: all.rootFolder.objects, nodeId: "s=press", browseName: "Press", eventSourceOf: notifier });
  const type = space.addObjectType({ browseName: "MakersAlarmType", subtypeOf: "AlarmConditionType" });
  space.addVariable({ propertyOf: type, browseName: "Channel", dataType: "UInt16", modellingRule: "Mandatory" });
  const made = Array.from({ length: count }, (_, n) => {
    const alarm = space.instantiateAlarmCondition(
      type,
      { browseName: `alarm${n}`, nodeId: `s=alarm${n}`, conditionName: `alarm ${n}`, conditionSource: press, componentOf: press, inputNode: opcua.NodeId.nullNodeId, optionals: ["ConfirmedState", "Confirm", "SuppressedState"] },
      { Channel: { dataType: "UInt16", value: 100 + n } },
    );
    alarm.setEnabledState(true);
    return alarm;
  });
  const temperature = space.addVariable({ componentOf: press, nodeId: "s=press.temperature", browseName: "Temperature", dataType: "Double", value: { dataType: "Double", value: 50 } });
  const limit = space.instantiateExclusiveLimitAlarm("ExclusiveLimitAlarmType", {
    browseName: "limit", nodeId: "s=limit", conditionName: "temperature", componentOf: press, conditionSource: press, inputNode: temperature,
    lowLowLimit: 10, lowLimit: 20, highLimit: 80, highHighLimit: 90,
  });
  limit.setEnabledState(true);
  const change = (n, { active, acked, confirmed, ...info }) => {
    const alarm = made[n], branch = alarm.currentBranch();
    if (active !== undefined) branch.setActiveState(active);
    if (acked !== undefined) branch.setAckedState(acked);
    if (confirmed !== undefined) branch.setConfirmedState(confirmed);
    alarm.raiseNewCondition({ quality: opcua.StatusCodes.Good, ...info });
  };
  return { all: made, temperature, change };
}
