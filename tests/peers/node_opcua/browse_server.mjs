// An OPC UA server of node-opcua whose address space is to be browsed: node browse_server.mjs FOLDER OPTIONS
// FOLDER has node_modules; OPTIONS is JSON, see node_opcua_browse.py. Prints "ready". The end of standard input ends it.
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
  nodeset_filename: [opcua.nodesets.standard, ...options.nodesets.map((name) => opcua.nodesets[name])],
  ...(options.advertised ? { advertisedEndpoints: [options.advertised] } : {}),
  securityPolicies: [opcua.SecurityPolicy.None],
  securityModes: [opcua.MessageSecurityMode.None],
  serverCertificateManager: new opcua.OPCUACertificateManager({ rootFolder: options.folder, automaticallyAcceptUnknownCertificate: true }),
  userCertificateManager: new opcua.OPCUACertificateManager({ rootFolder: `${options.folder}-users`, automaticallyAcceptUnknownCertificate: true }),
  serverCapabilities: {
    maxBrowseContinuationPoints: options.continuation_points,
    operationLimits: { maxNodesPerBrowse: options.per_browse, maxNodesPerRead: options.per_read },
  },
});
await server.initialize();
const all = server.engine.addressSpace;
const own = all.getOwnNamespace();
const objects = all.rootFolder.objects;

const number = (parent, nodeId, browseName, more = {}) =>
  own.addVariable({ componentOf: parent, nodeId, browseName, dataType: "Double", value: { dataType: "Double", value: 1.5 }, ...more });

// Machines in lines of 50.
let line;
for (let m = 0; m < options.machines; m++) {
  if (m % 50 === 0) line = own.addFolder(objects, { browseName: `Line ${m / 50}`, nodeId: `s=line${m / 50}` });
  const machine = own.addObject({ organizedBy: line, browseName: `Machine ${m}`, nodeId: `s=m${m}` });
  for (let v = 0; v < options.variables; v++) number(machine, `s=m${m}.v${v}`, `v${v}`);
}

if (options.wide) {
  const wide = own.addFolder(objects, { browseName: "Wide", nodeId: "s=wide" });
  for (let v = 0; v < options.wide; v++) number(wide, `s=wide${v}`, `w${v}`);
  const other = own.addFolder(objects, { browseName: "Other", nodeId: "s=other" });
  for (let v = 0; v < options.wide; v++) number(other, `s=other${v}`, `o${v}`);
}

if (options.press) {
  const press = own.addObject({ organizedBy: objects, browseName: "Press", nodeId: "s=press" });
  own.addAnalogDataItem({
    componentOf: press, nodeId: "s=press.temperature", browseName: "Temperature", dataType: "Double",
    description: "of the tool", engineeringUnitsRange: { low: 0, high: 250 },
    engineeringUnits: opcua.standardUnits.degree_celsius, value: { dataType: "Double", value: 81.5 },
  });
  const int32 = { dataType: "Int32", value: { dataType: "Int32", value: 7 } };
  number(press, "i=1234", "Count", int32);
  number(press, "g=72962b91-fa75-4ae6-8d28-b404dc7daf63", "Guid", int32);
  number(press, "b=M/RbKBsRVkePCePcx24oRA==", "Opaque", int32);
  number(press, "s=a;b=c", "Semi;colon=1", int32);
  number(press, "s=${HOME} #1", "Drücken °C/min", int32);
  number(press, "s=twice1", "twice one", int32);
  number(press, "s=twice2", "twice-one", int32);
  number(press, "s=twice3", "twice/one", int32);
  number(press, "s=quote\"'\\", "quote\"'\\", int32);
  number(press, "s=control\u0085", "control", int32);
  number(press, "s=long", "x".repeat(300), int32);
  number(press, "s=text", "Text", { dataType: "String", value: { dataType: "String", value: "hello" } });
  number(press, "s=array", "Array", { dataType: "Float", valueRank: 1, arrayDimensions: [0], value: { dataType: "Float", arrayType: opcua.VariantArrayType.Array, value: [1, 2] } });
  number(press, "s=duration", "Duration", { dataType: "Duration", value: { dataType: "Double", value: 12 } });
  number(press, "s=big", "Big", { dataType: "UInt64", value: { dataType: "UInt64", value: 5 } });
  number(press, "s=closed", "Closed", { userAccessLevel: "", accessLevel: "CurrentRead" });
  number(press, "s=hidden", "Hidden", { rolePermissions: [] });
  const inner = own.addObject({ componentOf: press, browseName: "Inner", nodeId: "s=inner" });
  number(inner, "s=inner.v", "v");
  // Round and round.
  inner.addReference({ referenceType: "Organizes", nodeId: press });
  press.addReference({ referenceType: "Organizes", nodeId: press });
  const again = own.addFolder(objects, { browseName: "Again", nodeId: "s=again" });
  again.addReference({ referenceType: "Organizes", nodeId: press });
}

const type = (space, name) => all.findObjectType(name, all.getNamespaceIndex(`http://opcfoundation.org/UA/${space}/`));
const setState = (machine, name) => opcua.promoteToStateMachine(machine).setState(name);
if (options.nodesets.includes("machinery") && options.companions) {
  const space = all.getNamespaceIndex("http://opcfoundation.org/UA/Machinery/");
  const machines = all.findNode(`ns=${space};i=1001`);
  // A maker's own type, and names that say nothing.
  const made = own.addObjectType({ browseName: "MakersType", subtypeOf: "BaseObjectType" });
  const item = made.instantiate({ organizedBy: machines, browseName: "Alpha", nodeId: "s=alpha" });
  const blocks = own.addObject({ componentOf: item, browseName: "Blocks", nodeId: "s=alpha.blocks" });
  const state = type("Machinery", "MachineryItemState_StateMachineType").instantiate({ componentOf: blocks, browseName: "Zustand", nodeId: "s=alpha.state" });
  setState(state, "Executing");
  number(item, "s=alpha.force", "Force");
}
if (options.nodesets.includes("machineTool") && options.companions) {
  const space = all.getNamespaceIndex("http://opcfoundation.org/UA/Machinery/");
  const tool = type("MachineTool", "MachineToolType").instantiate({ organizedBy: all.findNode(`ns=${space};i=1001`), browseName: "Beta", nodeId: "s=beta" });
  setState(tool.getComponentByName("Production").getComponentByName("ActiveProgram").getComponentByName("State"), "Running");
}
if (options.nodesets.includes("packML") && options.companions) {
  const own_type = own.addObjectType({ browseName: "MakersPackMl", subtypeOf: type("PackML", "PackMLBaseObjectType") });
  const filler = own_type.instantiate({ organizedBy: objects, browseName: "Gamma", nodeId: "s=gamma" });
  const execute = filler.getComponentByName("BaseStateMachine").getComponentByName("MachineState")?.getComponentByName("ExecuteState");
  if (execute) setState(execute, "Execute");
}
if (options.nodesets.includes("isa95JobControl") && options.companions) {
  type("ISA95-JOBCONTROL_V2", "ISA95JobOrderReceiverObjectType").instantiate({ organizedBy: objects, browseName: "Delta", nodeId: "s=delta" });
}

await server.start();
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) if (line === "quit") break;
await server.shutdown(0);
process.exit(0);
