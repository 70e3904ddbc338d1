// What may be said of a line or machine now. The same rules as marks.py: what is stale is never running.
import { TABLES } from '/display-tables.js';
import { alarms, cell, evidence, freshness, hasNoState, heard, link, now, silence, silenceReason } from '/static/js/store.js';
import { duration, when } from '/static/js/format.js';

const NONE = TABLES.looks.no_data;
const REPORTING = { look: { shape: 'ring', tone: 'running' }, word: 'Reporting' };
export const look = (state) => TABLES.looks[state] ?? NONE;

export const isOld = (state) => state === 'stale' || state === 'offline';

/** Zone of the page's clock: the plant's. It changes when the first machine appears. */
const zone = () => document.querySelector('plant-clock').dataset.zone;

/** A line's state, `{look, word, text}`; without evidence of now only what is known: the last state, since when there is none, why. */
export function lineMark(line) {
  const state = cell(`state:${line}`).value;
  const known = cell(`before:${line}`).value ?? state;
  const word = known ? look(known.state).word : '';
  if (isOld(freshness(line))) return stale(line, word);
  const found = evidence(line);
  if (found?.ended) return noData(word, found.ended_at, found.ended);
  if ((!state || state.state === 'no_data') && hasNoState(line)) return { ...REPORTING, text: 'no state signal' };
  if (!state) return { look: NONE, word: NONE.word, text: 'waiting for the first state' };
  if (state.state === 'no_data') return noData(word, state.since, state.reason);
  const shown = look(state.state);
  return { look: shown, word: shown.word, text: joined(`for ${duration((now.value - state.since) / 1000)}`, state.reason) };
}

/** A machine's own state, from its state signal and the vocabulary of its values: a name, or JSON. */
export function unitMark(asset, signal, states) {
  const value = signal ? cell(`value:${signal}`).value : undefined;
  const found = evidence(asset);
  const last = () => (signal ? table(states)[stateKey(found?.ended ? found.last : value?.v)]?.[1] ?? '' : '');
  if (isOld(freshness(asset))) return stale(asset, last());
  if (!signal) return { ...REPORTING, text: '' };
  if (found?.ended) return noData(last(), found.ended_at, found.ended);
  if (!value || value.q >>> 30 === 2 || value.v === null) return { look: NONE, word: NONE.word, text: '' };
  const known = table(states)[stateKey(value.v)];
  if (!known) return { look: NONE, word: NONE.word, text: `unknown state ${String(value.v).slice(0, 40)}` };
  return { look: look(known[0]), word: known[1], text: '' };
}

const table = (states) => (states.startsWith('{') ? JSON.parse(states) : TABLES.states[states]) ?? {};

/** How a value is looked up: as `state_key` of aurelian.model.machine_states. */
function stateKey(value) {
  if (typeof value !== 'string') return String(value);
  const text = value.trim();
  return /^-?\d+$/.test(text) ? String(Number(text)) : text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');
}

const stale = (asset, word) => noData(word, heard(asset), link.value.state === 'offline' ? '' : silenceReason(asset));

/** `No data` with `last Running 14:02:11`, else `since 14:02:11` or `never heard`; and why. */
function noData(word, at, reason) {
  const known = word && word !== NONE.word;
  const text = at ? `${known ? `last ${word}` : 'since'} ${when(at, now.value, zone())}` : 'never heard';
  return { look: NONE, word: NONE.word, text: joined(text, reason) };
}

const joined = (text, reason) => (reason ? `${text}: ${reason}` : text);

/** `live`, `12 s old`, `last 14:02:11`. */
export function ageText(asset, source) {
  const at = heard(asset, source);
  switch (freshness(asset, source)) {
    case 'live': return 'live';
    case 'late': return `${Math.floor((now.value - at) / 1000)} s old`;
    default: return at ? `last ${when(at, now.value, zone())}` : 'never heard';
  }
}

/** Why it is silent, where that was declared. */
export const silenceText = (asset, source) => (link.value.state === 'offline' ? '' : silence(asset, source) ?? '');

const RANK = { high: 0, medium: 1, low: 2 };

/** Active alarms of a line: high before low, then the newest first. */
export function alarmsOf(line) {
  return [...alarms.value.values()]
    .filter((alarm) => alarm.line_id === line)
    .sort((a, b) => (RANK[a.priority] ?? 3) - (RANK[b.priority] ?? 3) || b.raised_at - a.raised_at);
}

export const ALARM_LOOKS = {
  high: { shape: 'square', tone: 'down' },
  medium: { shape: 'triangle', tone: 'slow' },
  low: { shape: 'diamond', tone: 'planned' },
};
