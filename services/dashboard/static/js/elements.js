// The small live parts that templates are made of. Each draws what its macro in templates/ wrote, from the store.
import { html, nothing } from 'lit';
import { TABLES } from '/display-tables.js';
import { LiveElement, LiveFrame } from '/static/js/live.js';
import { cell, freshness, link, machines, now, problem, sourceFreshness, sourceHeard } from '/static/js/store.js';
import { retry } from '/static/js/stream.js';
import * as format from '/static/js/format.js';
import { ALARM_LOOKS, ageText, alarmsOf, silenceText, isOld, lineMark, look, unitMark } from '/static/js/marks.js';

const shape = (shown) =>
  html`<svg class="shape" data-tone=${shown.tone} aria-hidden="true"><use href="#${shown.shape}"></use></svg>`;

/** Shape, word and time of a line (`data-line`) or machine (`data-asset`, `data-signal`). */
class StateMark extends LiveElement {
  render() {
    const { line, asset, signal, states } = this.dataset;
    const mark = line ? lineMark(line) : unitMark(asset, signal, states);
    return html`${shape(mark.look)}<span class="word">${mark.word}</span> <span class="since">${mark.text}</span>`;
  }
}

/** Tile or head of a line: freshness and tone as attributes. */
class LineFrame extends LiveFrame {
  mirror() {
    this.dataset.freshness = freshness(this.dataset.line);
    this.dataset.tone = lineMark(this.dataset.line).look.tone;
  }
}

class MachineFrame extends LiveFrame {
  mirror() {
    this.dataset.freshness = freshness(this.dataset.asset);
    this.dataset.tone = unitMark(this.dataset.asset, this.dataset.signal, this.dataset.states).look.tone;
  }
}

class SignalFrame extends LiveFrame {
  mirror() {
    this.dataset.freshness = freshness(this.dataset.asset, this.dataset.source);
  }
}

class AgeLabel extends LiveElement {
  render() {
    const { asset, source } = this.dataset;
    this.dataset.freshness = freshness(asset, source);
    this.title = silenceText(asset, source);
    return html`${ageText(asset, source)}`;
  }
}

class SourceAge extends LiveElement {
  render() {
    const { source } = this.dataset;
    const at = sourceHeard(source);
    const state = sourceFreshness(source);
    this.dataset.freshness = state;
    return html`<span class="word">${state}</span> ${at ? `${format.duration((now.value - at) / 1000)} ago` : 'never'}`;
  }
}

class LiveValue extends LiveElement {
  render() {
    const found = cell(`value:${this.dataset.signal}`).value;
    const frame = this.closest('[data-asset]');
    if (frame) this.dataset.freshness = freshness(frame.dataset.asset, frame.dataset.source ?? '');
    const quality = found ? format.quality(found.q) : 'No value yet';
    this.dataset.quality = quality;
    const status = found ? format.statusText(found.q, TABLES.status) : '';
    return html`<span class="number">${found ? format.value(found.v) : '–'}</span>
      <span class="unit">${this.dataset.unit}</span>${
        quality === 'Good' ? nothing : html` <span class="quality">${quality}${status ? `: ${status}` : ''}</span>`
      }`;
  }
}

class SignalFacts extends LiveElement {
  render() {
    const found = cell(`value:${this.dataset.signal}`).value;
    const status = found ? format.statusText(found.q, TABLES.status) : '';
    return html`<dl>
      <div><dt>Quality</dt><dd>${found ? format.quality(found.q) : 'No value yet'}${status ? `: ${status}` : ''}</dd></div>
      <div><dt>Measured at</dt><dd>${found ? format.when(found.t, now.value, this.dataset.zone) : '–'}</dd></div>
    </dl>`;
  }
}

const SAME_MS = 1000;
const NOTE_LOOK = { shape: 'triangle', tone: 'slow' };

/** A line's figures, without those that its plant model cannot give, and the names of these. */
function figures({ line, unknown }) {
  const names = new Set((unknown ?? '').split(' ').filter(Boolean));
  const kpi = cell(`kpi:${line}`).value;
  return [kpi && { ...kpi, ...Object.fromEntries([...names].map((name) => [name, null])) }, names];
}

function sinceText(kpi, zone) {
  const since = kpi?.counts_from;
  if (!since || since < kpi.shift_start + SAME_MS) return '';
  return `Counted since ${format.when(since, now.value, zone)}, not from the start of the shift`;
}

function noteText(kpi) {
  if (kpi?.note) return kpi.note;
  const over = Math.max(kpi?.oee ?? 0, kpi?.effectiveness ?? 0) > 1;
  return over ? 'More than 100 %: the ideal cycle in the plant file is too slow' : '';
}

function bridgedText(kpi) {
  const count = Math.round(kpi?.bridged ?? 0);
  return count ? `${format.number(count)} of the pieces were made while no data came` : '';
}

/** Since when the figures count, and why one cannot be as it is; with `data-all` also what was bridged. */
class ScoreNotes extends LiveElement {
  render() {
    const { zone, all } = this.dataset;
    const [kpi] = figures(this.dataset);
    const [since, note, bridged] = [sinceText(kpi, zone), noteText(kpi), all ? bridgedText(kpi) : ''];
    if (!since && !note && !bridged) return nothing;
    return html`${note ? html`<p class="note-of">${shape(NOTE_LOOK)} ${note}</p>` : nothing}${
      since ? html`<p class="since-of">${since}</p>` : nothing
    }${bridged ? html`<p class="bridged-of">${bridged}</p>` : nothing}`;
  }
}

/** Target, actual, how far off, OEE of the running shift. */
class ScoreBoard extends LiveElement {
  render() {
    this.dataset.freshness = freshness(this.dataset.line);
    const [kpi, unknown] = figures(this.dataset);
    const good = kpi?.good ?? 0, target = kpi?.target ?? 0;
    const counted = !unknown.has('good') && !unknown.has('target');
    const [off, word] = !kpi ? ['no figures yet', ''] : counted ? format.delta(good, target) : ['–', ''];
    const tone = !kpi || !counted ? 'none' : Math.round(good) < Math.round(target) ? 'behind' : 'ahead';
    return html`<dl>
      <div><dt>Target</dt><dd>${kpi && !unknown.has('target') ? format.number(Math.round(target)) : '–'}</dd></div>
      <div><dt>Actual</dt><dd>${kpi && !unknown.has('good') ? format.number(Math.round(good)) : '–'}</dd></div>
      <div class="delta" data-tone=${tone}><dt>Shift ${kpi?.shift ?? ''}</dt><dd>${off}${word ? html` <span class="word">${word}</span>` : nothing}</dd></div>
      <div class="oee"><dt>OEE</dt><dd>${format.percent(kpi?.oee)}${noteText(kpi) ? html` ${shape(NOTE_LOOK)}` : nothing}</dd></div>
    </dl>
    <svg class="bar" viewBox="0 0 120 8" preserveAspectRatio="none" aria-hidden="true">
      <rect class="track" width="120" height="8"></rect>
      <rect class="fill" data-tone=${target && good < 0.95 * target ? 'slow' : 'running'} width=${target && counted ? Math.min(120, (good / target) * 100) : 0} height="8"></rect>
      <path class="tick" d="M100 0v8"></path>
    </svg>`;
  }
}

class ScoreMore extends LiveElement {
  render() {
    this.dataset.freshness = freshness(this.dataset.line);
    const [kpi, unknown] = figures(this.dataset);
    const lost = kpi ? Math.max(0, (kpi.planned_busy_s ?? 0) - (kpi.production_s ?? 0) - (kpi.no_data_s ?? 0)) : 0;
    return html`<dl>
      <div><dt>Availability</dt><dd>${format.percent(kpi?.availability)}</dd></div>
      <div><dt>Effectiveness</dt><dd>${format.percent(kpi?.effectiveness)}</dd></div>
      <div><dt>Quality</dt><dd>${format.percent(kpi?.quality)}</dd></div>
      <div><dt>Scrap</dt><dd>${kpi ? format.number(Math.round(kpi.scrap ?? 0)) : '–'}</dd></div>
      <div><dt>Time lost</dt><dd>${kpi && !unknown.has('production_s') ? format.duration(lost) : '–'}</dd></div>
    </dl>`;
  }
}

class TopAlarm extends LiveElement {
  render() {
    const found = alarmsOf(this.dataset.line);
    if (!found.length) return html`<span class="muted">No limit alarms</span>`;
    return html`${shape(ALARM_LOOKS[found[0].priority] ?? ALARM_LOOKS.low)}<span class="message">${found[0].message}</span>${
      found.length > 1 ? html`<span class="more">+${found.length - 1}</span>` : nothing
    }`;
  }
}

class CapacityChip extends LiveElement {
  render() {
    const weeks = cell(`capacity:${this.dataset.line}`).value ?? {};
    const week = weeks[format.monday(now.value, this.dataset.zone)];
    const amount = (value) => format.number(Math.round(value));
    return html`<span class="muted">Capacity</span>
      <span class="number">${week ? `${amount(week.available)} of ${amount(week.total)}` : '–'}</span>
      <span class="muted">${week ? `${format.percent(week.total ? week.available / week.total : null)} free this week` : 'no estimate yet'}</span>`;
  }
}

/** Health index of a machine as a bar with a tick at half; or that a maintenance case is open. */
class HealthBar extends LiveElement {
  render() {
    const health = cell(`health:${this.dataset.asset}`).value;
    const index = health?.index ?? null;
    const tone = health?.case ? (health.case.severity === 'high' ? 'down' : 'slow') : 'running';
    this.title = (health?.drivers ?? []).map((driver) => driver.path ?? driver.signal).join(', ');
    const mark = look(health?.case?.severity === 'high' ? 'down' : 'slow');
    return html`${health?.case ? html`<span class="case">${shape(mark)} Case open</span>` : html`<span class="muted">Health</span>`}
      <span class="number">${format.percent(index)}</span>
      <svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
        <rect class="track" width="100" height="8"></rect>
        <rect class="fill" data-tone=${tone} width=${Math.max(0, Math.min(100, (index ?? 0) * 100))} height="8"></rect>
        <path class="tick" d="M50 0v8"></path>
      </svg>`;
  }
}

/** How many alarms of their own a line's machines have. */
class MachineAlarms extends LiveElement {
  render() {
    const { line } = this.dataset;
    const { standing, severity } = cell(`machine_alarms:${line}`).value ?? { standing: 0 };
    if (!standing) return nothing;
    const text = `${standing} machine alarm${standing === 1 ? '' : 's'}`;
    if (isOld(freshness(line))) return html`<span>${shape(look('no_data'))} ${text} when last heard</span>`;
    const priority = severity >= 667 ? 'high' : severity >= 334 ? 'medium' : 'low';
    return html`<span>${shape(ALARM_LOOKS[priority])} ${text}</span>`;
  }
}

const RANKS = { down: 0, slow: 1 };

/** The worst that is to be said of a line's sources (`data-sources`: their keys). */
class SourceTrouble extends LiveElement {
  render() {
    const found = JSON.parse(this.dataset.sources)
      .map((source) => cell(`connection:${source}`).value)
      .filter((body) => body?.trouble)
      .sort((a, b) => RANKS[a.tone] - RANKS[b.tone]);
    if (!found.length) return nothing;
    const more = found.length > 1 ? ` +${found.length - 1}` : '';
    return html`<a href="/connections">${shape(found[0])} ${found[0].trouble}${more}</a>`;
  }
}

/** Open maintenance cases of a line's machines (`data-machines`: ids and titles). */
class CaseChip extends LiveElement {
  render() {
    const open = JSON.parse(this.dataset.machines)
      .map(([id, title]) => [title, cell(`health:${id}`).value?.case])
      .filter(([, found]) => found);
    if (!open.length) return nothing;
    const mark = look(open.some(([, found]) => found.severity === 'high') ? 'down' : 'slow');
    return html`<span class="case">${shape(mark)} Case open: ${open.map(([title]) => title).join(', ')}</span>`;
  }
}

/** How many of the plant's machines are live, late, stale. */
class DataHealth extends LiveElement {
  render() {
    const counts = { live: 0, late: 0, stale: 0, offline: 0 };
    for (const asset of machines.value) counts[freshness(asset)] += 1;
    const stale = counts.stale + counts.offline;
    this.dataset.stale = String(stale);
    return html`<span>${counts.live} live</span><span>${counts.late} late</span><span>${stale} stale</span>`;
  }
}

class PlantClock extends LiveElement {
  render() {
    return html`${format.when(now.value, now.value, this.dataset.zone)}`;
  }
}

/** The bar that says that what you see is old, and why. */
class StreamBanner extends LiveElement {
  render() {
    const { state, since, tries } = link.value;
    this.dataset.state = state === 'offline' ? 'offline' : problem.value ? 'problem' : '';
    if (state === 'offline') {
      return html`<p><b>No connection to the server since ${format.when(since, now.value, document.querySelector('plant-clock').dataset.zone)}.</b>
          All values on this page are old.<span class="muted"> ${tries ? `Tried ${tries} times.` : ''}</span></p>
        <button type="button" @click=${retry}>Retry now</button>`;
    }
    return problem.value ? html`<p><b>${problem.value}.</b> What you see is old; it goes on by itself.</p>` : nothing;
  }
}

for (const [name, element] of Object.entries({
  'state-mark': StateMark, 'line-frame': LineFrame, 'machine-frame': MachineFrame, 'signal-frame': SignalFrame,
  'age-label': AgeLabel, 'source-age': SourceAge, 'live-value': LiveValue,
  'signal-facts': SignalFacts, 'score-board': ScoreBoard, 'score-more': ScoreMore, 'score-notes': ScoreNotes, 'top-alarm': TopAlarm,
  'capacity-chip': CapacityChip, 'health-bar': HealthBar, 'case-chip': CaseChip, 'machine-alarms': MachineAlarms, 'source-trouble': SourceTrouble, 'data-health': DataHealth, 'plant-clock': PlantClock,
  'stream-banner': StreamBanner,
})) customElements.define(name, element);
