// What the page knows, as signals: filled by stream.js from snapshots and events, read by the elements.
// Times are the server's milliseconds since 1970; the browser's own clock is only used to measure time that passed.
import { batch, computed, signal } from '@preact/signals-core';
import { freshnessOf } from '/static/js/freshness.js';

const boot = JSON.parse(document.getElementById('boot').textContent);

export const limits = boot.limits;

/** The server's time, once a second. */
export const now = signal(boot.now);

/** `live` (maybe still connecting), or `offline`: the server has not been heard for limits.offline. */
export const link = signal({ state: 'live', since: boot.now, tries: 0 });

/** What the server itself waits for, in words; null: nothing. */
export const problem = signal(boot.problem);

export const alarms = signal(new Map());

/** Ids of all machines of the plant. */
export const machines = signal([]);
export const build = boot.build;
export const owner = boot.owner;

/** Number of the last event that is in the picture. */
export let lastId = boot.id;

const cells = new Map();
let names = [];
let units = {};
let constraints = {};
let stateless = new Set();
let clock = { server: boot.now, own: performance.now() };

/** One signal of the store, made on first use. Keys: `state:<line>`, `value:<signal>`, `heard:<source or asset>` … */
export function cell(key) {
  let found = cells.get(key);
  if (!found) cells.set(key, (found = signal(undefined)));
  return found;
}

/** A computed value that all elements share. */
export function shared(key, compute) {
  let found = cells.get(key);
  if (!found) cells.set(key, (found = computed(compute)));
  return found;
}

/** The server's time at this moment. */
export function serverNow() {
  return Math.round(clock.server + performance.now() - clock.own);
}

export function setClock(server) {
  clock = { server, own: performance.now() };
}

/** The asset whose freshness is this one's: of a line its constraint machine, else itself. */
const constraintOf = (asset) => constraints[asset] ?? asset;

/** Freshness of all that an asset reports: live, late, stale or offline. Shared, so it is computed once a second. */
export function freshness(asset, source = '') {
  return shared(`fresh:${asset}:${source}`, () =>
    link.value.state === 'offline'
      ? 'offline'
      : freshnessOf(heard(asset, source), silence(asset, source), now.value, limits),
  ).value;
}

export function heard(asset, source = '') {
  const reporter = constraintOf(asset);
  return Math.max(cell(`heard:${reporter}`).value ?? 0, cell(`heard:${source || units[reporter] || ''}`).value ?? 0);
}

/** What keeps a machine's state from being known: `{ended, ended_at, note, last}`; of a line its constraint machine's. */
export const evidence = (asset) => cell(`evidence:${constraintOf(asset)}`).value;

/** Whether a machine, or a line's constraint machine, has no state signal. */
export const hasNoState = (asset) => stateless.has(constraintOf(asset));

/** Why an asset that is stale is not heard, where something says so. */
export function silenceReason(asset, source = '') {
  const known = evidence(asset);
  const reporter = constraintOf(asset);
  // The source is away: its latest attempt says more than how the connection ended.
  const away = cell(`dead:${reporter}`).value == null && cell(`connection:${source || units[reporter] || ''}`).value?.away;
  const silent = silence(asset, source);
  if (silent) return away || silent;
  return known?.ended || known?.note || '';
}

/** Why an asset is declared silent; null: it is not. */
export function silence(asset, source = '') {
  const reporter = constraintOf(asset);
  return cell(`dead:${reporter}`).value ?? cell(`dead:${source || units[reporter] || ''}`).value ?? null;
}

/** When anything at all was heard of a source; single machines of it may be silent all the same. */
export const sourceHeard = (source) => cell(`heard:~${source}`).value ?? 0;

export function sourceFreshness(source) {
  if (link.value.state === 'offline') return 'offline';
  return freshnessOf(sourceHeard(source), cell(`dead:${source}`).value ?? null, now.value, limits);
}

/** Replace everything by what the server has. */
export function applySnapshot(snap) {
  batch(() => {
    lastId = snap.id;
    setClock(snap.now);
    names = []; // of the signals that this page shows; others are passed over
    for (const [id, , , , index] of snap.signals) names[index] = id;
    units = snap.units;
    constraints = snap.constraints;
    stateless = new Set(snap.stateless);
    machines.value = Object.keys(units);
    problem.value = snap.problem;
    for (const [key, found] of cells) if (/^(dead|evidence|before|connection|machine_alarms):/.test(key)) found.value = undefined;
    for (const body of snap.evidence) cell(`evidence:${body.asset}`).value = body;
    for (const body of snap.before) cell(`before:${body.line}`).value = body;
    for (const [key, reason] of Object.entries(snap.dead)) cell(`dead:${key}`).value = reason;
    for (const body of snap.connections) cell(`connection:${body.source}`).value = body;
    for (const body of snap.machine_alarms) cell(`machine_alarms:${body.line}`).value = body;
    for (const body of snap.states) cell(`state:${body.line}`).value = body;
    for (const body of snap.kpis) cell(`kpi:${body.line}`).value = body;
    for (const body of snap.health) cell(`health:${body.asset}`).value = body;
    for (const body of snap.capacity) addWeek(body);
    alarms.value = new Map(snap.alarms.map((alarm) => [alarm.id, alarm]));
    applyFrame(snap.values);
    now.value = serverNow();
  });
}

/** Take one event of the stream. Parts that the server draws follow the window events `aurelian:<kind>`. */
export function applyEvent(id, kind, body) {
  if (kind === 'snap') return applySnapshot(body);
  if (id <= lastId && kind !== 'reset') return;
  batch(() => {
    lastId = Math.max(lastId, id);
    switch (kind) {
      case 'v': applyFrame(body); setClock(body.now); break;
      case 'hb': setClock(body.now); problem.value = body.problem; break;
      case 'state': takeState(body); break;
      case 'evidence': cell(`evidence:${body.asset}`).value = body; break;
      case 'kpi': cell(`kpi:${body.line}`).value = body; break;
      case 'capacity': addWeek(body); break;
      case 'health': cell(`health:${body.asset}`).value = body; break;
      case 'source':
        cell(`dead:${body.key}`).value = body.dead ?? undefined;
        cell(`heard:${body.key}`).value = body.heard;
        break;
      case 'connection': cell(`connection:${body.source}`).value = body; break;
      case 'machine_alarms': cell(`machine_alarms:${body.line}`).value = body; break;
      case 'alarm': {
        const changed = new Map(alarms.value);
        if (body.op === 'raised') changed.set(body.id, body);
        else changed.delete(body.id);
        alarms.value = changed;
        break;
      }
      case 'plant': if (body.signal) names[body.index] = body.signal; break;
    }
  });
  window.dispatchEvent(new CustomEvent(`aurelian:${kind}`, { detail: body }));
}

function applyFrame(frame) {
  frame.i.forEach((index, place) => {
    if (names[index]) cell(`value:${names[index]}`).value = { v: frame.v[place], q: frame.q[place], t: frame.t[place] };
  });
  for (const [key, at] of Object.entries(frame.h)) cell(`heard:${key}`).value = at;
}

/** Keep the last known state while there is none. */
function takeState(body) {
  const known = cell(`state:${body.line}`);
  const before = cell(`before:${body.line}`);
  if (body.state !== 'no_data') before.value = undefined;
  else if (known.value && known.value.state !== 'no_data') before.value = known.value;
  known.value = body;
}

function addWeek(body) {
  const weeks = cell(`capacity:${body.line}`);
  weeks.value = { ...weeks.value, [body.week_start]: body };
}

applySnapshot(boot);
