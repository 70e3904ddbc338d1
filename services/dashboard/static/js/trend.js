// A signal's trend: history by buckets from the history API, then the live values; gaps hatched; the same as a table.
import { effect } from '@preact/signals-core';
import { html, render } from 'lit';
import uPlot from 'uplot';
import { cell, serverNow } from '/static/js/store.js';
import * as format from '/static/js/format.js';

const RANGES = [
  { label: '1 hour', hours: 1 },
  { label: '8 hours', hours: 8 },
  { label: '24 hours', hours: 24 },
];
const POINTS = 600;
const TABLE_ROWS = 60;
const EMPTY = 'No values in this time.';

class SignalTrend extends HTMLElement {
  async connectedCallback() {
    this.range = RANGES.find((range) => location.hash === `#${range.hours}h`) ?? RANGES[0];
    this.rows = [];
    this.gaps = [];
    this.note = 'Loading…';
    this.replaceChildren();
    this.draw();
    this.chart = this.querySelector('.chart');
    this.observer = new ResizeObserver(() => this.plot?.setSize(this.size()));
    this.observer.observe(this.chart);
    this.theme = matchMedia('(prefers-color-scheme: dark)');
    this.theme.onchange = () => this.build();
    this.stop = effect(() => this.append(cell(`value:${this.dataset.signal}`).value));
    await this.load();
    this.timer = setInterval(() => this.slide(), 1000);
  }

  disconnectedCallback() {
    this.stop?.();
    this.observer?.disconnect();
    clearInterval(this.timer);
    this.plot?.destroy();
  }

  async load() {
    const range = this.range;
    const to = serverNow();
    const from = to - range.hours * 3600000;
    const iso = (ms) => encodeURIComponent(new Date(ms).toISOString());
    const asked = `/history/v1/samples?signal=${encodeURIComponent(this.dataset.signal)}&from=${iso(from)}&to=${iso(to)}&points=${POINTS}`;
    try {
      const [samples, gaps] = await Promise.all([
        fetch(asked, { headers: { accept: 'application/json' } }),
        fetch(`/history/v1/gaps?source=${encodeURIComponent(this.dataset.source)}&from=${iso(from)}&to=${iso(to)}`, { headers: { accept: 'application/json' } }),
      ]);
      if (range !== this.range) return;
      if (!samples.ok) throw new Error((await samples.json()).title);
      this.rows = readRows(await samples.json()).filter((row) => row.time >= from);
      this.gaps = gaps.ok ? readGaps(await gaps.json()) : [];
      const drawn = this.rows.some((row) => row.mean !== null);
      this.note = drawn ? '' : this.rows.length ? 'Values are text: the table below has them.' : EMPTY;
    } catch (error) {
      this.rows = [];
      this.note = `History is not there: ${error.message}. Live values go on below.`;
    }
    this.bucket = medianStep(this.rows);
    this.append(cell(`value:${this.dataset.signal}`).value);
    this.build();
  }

  append(found) {
    if (!found || found.q >>> 30 === 2) return;
    const mean = numeric(found.v);
    const text = typeof found.v === 'string' ? found.v : null;
    const last = this.rows.at(-1);
    if ((mean === null && text === null) || (last && found.t <= last.time)) return;
    this.rows.push({ time: found.t, mean, min: mean, max: mean, text });
    if (this.note === EMPTY) this.note = '';
  }

  slide() {
    const from = serverNow() - this.range.hours * 3600000;
    while (this.rows.length && this.rows[0].time < from) this.rows.shift();
    if (document.hidden) return;
    if (this.querySelector('details')?.open) this.draw();
    if (!this.plot) return this.note === '' && this.build();
    this.plot.setData(this.columns(), false);
    this.plot.setScale('x', { min: from / 1000, max: serverNow() / 1000 });
  }

  /** Columns for uPlot; a row of nulls where the line must break. */
  columns() {
    const out = [[], [], [], []];
    const most = Math.max(this.bucket * 4, 30000);
    const holds = this.dataset.steps === '1';
    let before = null;
    for (const row of this.rows) {
      const silent = this.gaps.some((gap) => before !== null && gap.from < row.time && gap.to > before);
      if (before !== null && (silent || (!holds && row.time - before > most))) {
        out[0].push((before + row.time) / 2000);
        for (const column of out.slice(1)) column.push(null);
      }
      out[0].push(row.time / 1000);
      out[1].push(row.max);
      out[2].push(row.min);
      out[3].push(row.mean);
      before = row.time;
    }
    return out;
  }

  /** Times without a value, [from, to] in seconds: what is hatched. */
  holes() {
    const known = this.gaps.map((gap) => [gap.from / 1000, gap.to / 1000]);
    if (this.dataset.steps === '1') return known;
    const most = Math.max(this.bucket * 4, 30000);
    for (let place = 1; place < this.rows.length; place += 1) {
      const [a, b] = [this.rows[place - 1].time, this.rows[place].time];
      if (b - a > most) known.push([a / 1000, b / 1000]);
    }
    return known;
  }

  build() {
    this.plot?.destroy();
    this.plot = null;
    this.draw();
    if (!this.rows.some((row) => row.mean !== null)) return;
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour('muted'), grid: { stroke: colour('track'), width: 1 }, ticks: { stroke: colour('track') }, font: '14px system-ui, sans-serif' };
    const paths = this.dataset.steps === '1' ? uPlot.paths.stepped({ align: 1 }) : uPlot.paths.linear();
    const zone = this.dataset.zone;
    this.plot = new uPlot(
      {
        ...this.size(),
        legend: { show: false },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone),
        scales: { x: { time: true } },
        cursor: { y: false, drag: { x: false, y: false } },
        axes: [
          { ...axis, values: [[3600 * 24, '{YYYY}-{MM}-{DD}'], [3600, '{HH}:{mm}'], [60, '{HH}:{mm}'], [1, '{HH}:{mm}:{ss}']].map(([step, text]) => [step, text, null, null, null, null, null, null, 1]) },
          { ...axis, size: 76, values: (plot, ticks, axis, space, step) => ticks.map((tick) => format.number(tick, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)))) },
        ],
        series: [
          {},
          { stroke: 'transparent', paths, points: { show: false } },
          { stroke: 'transparent', paths, points: { show: false } },
          { stroke: colour('ink'), width: 2, paths, points: { show: false } },
        ],
        bands: [{ series: [1, 2], fill: colour('track') }],
        hooks: {
          drawClear: [(plot) => hatch(plot, this.holes(), colour('hatch'))],
          draw: [(plot) => limits(plot, [this.dataset.low, this.dataset.high], colour('slow'), colour('ink'))],
          setCursor: [(plot) => this.say(plot.cursor.idx)],
        },
      },
      this.columns(),
      this.chart,
    );
    this.slide();
  }

  size() {
    return { width: Math.max(200, this.chart.clientWidth - 12), height: this.chart.clientHeight - 20 };
  }

  say(place) {
    const words = this.querySelector('.cursor-words');
    const at = place === null || place === undefined ? null : this.plot.data[0][place];
    const value = at === null ? null : this.plot.data[3][place];
    words.textContent = at === null ? '' : `${format.when(at * 1000, serverNow(), this.dataset.zone)}: ${value === null ? 'no value' : `${format.value(value)} ${this.dataset.unit}`}`;
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !this.plot) return;
    event.preventDefault();
    const all = this.plot.data[0].length;
    const place = Math.min(all - 1, Math.max(0, (this.plot.cursor.idx ?? all - 1) + by * (event.shiftKey ? 10 : 1)));
    this.plot.setCursor({ left: this.plot.valToPos(this.plot.data[0][place], 'x'), top: 10 });
  }

  choose(range) {
    this.range = range;
    history.replaceState(null, '', `#${range.hours}h`);
    this.note = 'Loading…';
    this.draw();
    this.load();
  }

  draw() {
    const { label, unit, zone } = this.dataset;
    const newest = this.rows.slice(-TABLE_ROWS).reverse();
    render(
      html`<div class="ranges" role="group" aria-label="Time shown">
          ${RANGES.map((range) => html`<button type="button" aria-pressed=${range === this.range} @click=${() => this.choose(range)}>${range.label}</button>`)}
          <a class="button" href=${`/history/v1/samples?signal=${encodeURIComponent(this.dataset.signal)}&from=${new Date(serverNow() - this.range.hours * 3600000).toISOString()}&format=csv`}>CSV</a>
        </div>
        <div class="chart" tabindex="0" role="img" aria-label=${`Trend of ${label}${unit ? ` in ${unit}` : ''}; arrow keys move along it; the table below says the same`} @keydown=${(event) => this.step(event)}>
          <p class="note">${this.note}</p>
        </div>
        <p class="cursor-words" role="status"></p>
        <details>
          <summary>As a table, the newest first</summary>
          <div class="scroll" tabindex="0" role="region" aria-label="Values as a table">
            <table>
              <thead><tr><th>Time</th><th class="n">Mean${unit ? `, ${unit}` : ''}</th><th class="n">Lowest</th><th class="n">Highest</th></tr></thead>
              <tbody>${newest.map((row) => html`<tr><td>${format.when(row.time, serverNow(), zone)}</td><td class="n">${format.value(row.text ?? row.mean)}</td><td class="n">${format.value(row.min)}</td><td class="n">${format.value(row.max)}</td></tr>`)}</tbody>
            </table>
          </div>
        </details>`,
      this,
    );
  }
}

/** A value as a number; integers beyond 2^53 come as text. Null: it is none. */
function numeric(given, type = '') {
  if (typeof given === 'boolean') return Number(given);
  if (typeof given === 'string' && type.endsWith('int64')) return Number(given);
  return typeof given === 'number' ? given : null;
}

/** Rows `{time, mean, min, max, text}` of the history API's answer, raw or by bucket. */
function readRows(answer) {
  return (answer.buckets ?? answer.samples ?? [])
    .filter((row) => row.quality !== 'bad' && (row.count ?? 1) > 0)
    .map((row) => {
      const mean = numeric(row.mean ?? row.value, row.type);
      const text = mean === null ? row.value : null;
      return { time: Date.parse(row.time), mean, min: row.min ?? mean, max: row.max ?? mean, text };
    })
    .filter((row) => row.mean !== null || typeof row.text === 'string')
    .sort((a, b) => a.time - b.time);
}

function readGaps(answer) {
  return answer.gaps.filter((gap) => !gap.recovered).map((gap) => ({ from: Date.parse(gap.from), to: Date.parse(gap.to) }));
}

function medianStep(rows) {
  const steps = rows.slice(1).map((row, place) => row.time - rows[place].time).sort((a, b) => a - b);
  return steps.length ? steps[steps.length >> 1] : 1000;
}

function hatch(plot, holes, colour) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  for (const [from, to] of holes) {
    const left = Math.max(bbox.left, plot.valToPos(from, 'x', true));
    const right = Math.min(bbox.left + bbox.width, plot.valToPos(to, 'x', true));
    if (right > left) ctx.rect(left, bbox.top, right - left, bbox.height);
  }
  ctx.clip();
  ctx.strokeStyle = colour;
  ctx.lineWidth = 2 * devicePixelRatio;
  ctx.beginPath();
  for (let x = bbox.left - bbox.height; x < bbox.left + bbox.width; x += 12 * devicePixelRatio) {
    ctx.moveTo(x, bbox.top + bbox.height);
    ctx.lineTo(x + bbox.height, bbox.top);
  }
  ctx.stroke();
  ctx.restore();
}

function limits(plot, values, colour, ink) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.fillStyle = ink;
  ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.lineWidth = 2 * devicePixelRatio;
  ctx.setLineDash([8 * devicePixelRatio, 6 * devicePixelRatio]);
  values.forEach((limit, place) => {
    const y = limit === '' ? NaN : plot.valToPos(Number(limit), 'y', true);
    if (!(y >= bbox.top && y <= bbox.top + bbox.height)) return;
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.fillText(place ? 'high limit' : 'low limit', bbox.left + 6 * devicePixelRatio, y - 5 * devicePixelRatio);
  });
  ctx.restore();
}

customElements.define('signal-trend', SignalTrend);
