// What the page Connect shows of a ladder, a look, a plan and a dry run. Pure but for the sets that they are given.
import { html, nothing } from 'lit';

const RUNGS = { dns: 'Name', tcp: 'Port', endpoint: 'Server', certificate: 'Certificates', sign_in: 'Sign-in', subscribe: 'Subscription', values: 'Values', clock: 'Clock' };
const MARKS = { passed: ['circle', 'running', 'passed'], warning: ['triangle', 'slow', 'warning'], failed: ['square', 'down', 'failed'], not_needed: ['hatch', 'none', 'not needed'], not_reached: ['hatch', 'none', 'not tried'] };
const SHOWN_ROWS = 200;

const mark = ([shape, tone, word]) => html`<svg class="shape" data-tone=${tone} role="img" aria-label=${word}><use href="#${shape}"></use></svg>`;

/** Steps in order; `wayOut`: what can be done about the failed one. */
export function ladderView(steps, wayOut, busy) {
  if (!steps.length) return nothing;
  return html`<ol class="alarms ladder">${steps.map((step) => html`
    <li data-verdict=${step.verdict}>${mark(MARKS[step.verdict] ?? MARKS.not_reached)}
      <div class="what">
        <p class="message">${RUNGS[step.rung] ?? step.rung}${step.code ? html` <span class="age">${step.code}</span>` : nothing}</p>
        <p class="reason">${step.said}</p>
        ${step.fix ? html`<p class="action"><span class="do">Do:</span> ${step.fix}</p>` : nothing}
        ${prints(step.facts)}
        ${step.verdict === 'failed' && !busy ? html`<div class="ranges">${wayOut(step)}</div>` : nothing}
      </div></li>`)}</ol>`;
}

/** Fingerprints side by side, so that a person can compare them with what the machine shows. */
function prints(facts) {
  const theirs = facts?.server_sha256 ?? facts?.sha256;
  if (!theirs) return nothing;
  return html`<dl class="facts-of">
    ${print(`Its certificate, SHA-256${facts.server_subject ? `: ${facts.server_subject}` : ''}`, theirs)}
    ${print('The same, SHA-1 (thumbprint)', facts.server_sha1)}
    ${print('Ours, which it has to trust, SHA-256', facts.own_sha256)}
    ${print('The same, SHA-1 (thumbprint)', facts.own_sha1)}</dl>`;
}

const print = (name, digits) => digits ? html`<div><dt>${name}</dt><dd><code class="fingerprint">${pairs(digits)}</code></dd></div>` : nothing;

const pairs = (print) => print.replaceAll(':', '').match(/.{1,4}/g)?.join(' ') ?? print;

/** What was found, to be ticked; `states`: answers by row. */
export function rowsView(sources, chosen, states, answers, changed) {
  if (!sources.some((each) => each.rows.length)) return html`<p class="empty">Nothing was found that could be taken.</p>`;
  return sources.map((source) => html`
    ${said(source.said)}
    ${source.known_as ? html`<p class="muted">${source.rows.every((row) => row.known_as) ? 'Nothing is new of it.' : `What is new of it is added to ${source.known_as}.`}</p>` : nothing}
    <div class="scroll"><table class="stacks"><thead><tr><th>Take</th><th>Signal</th><th>Value</th><th>Taken for</th></tr></thead>
    <tbody>${source.rows.slice(0, SHOWN_ROWS).map((row) => rowView(row, chosen, states, answers, changed))}</tbody></table></div>
    ${source.rows.length > SHOWN_ROWS ? html`<p class="muted">and ${source.rows.length - SHOWN_ROWS} more, which are taken too: an address with fewer, or aurelian connect with --choose, takes less.</p>` : nothing}`);
}

/** What a source is, and why it is thought so. */
function said(text) {
  const [name, ...why] = text.split('; ');
  return html`<h3>${name}</h3>${why.length ? html`<p class="muted">${why.join('; ')}</p>` : nothing}`;
}

/** Rows that are taken where nobody says otherwise: those of machines that no plant file has. */
export function freshRows(sources) {
  return sources.flatMap((source) => {
    const known = new Set(source.rows.filter((row) => row.known_as).map((row) => row.unit));
    return source.rows.filter((row) => !known.has(row.unit)).map((row) => row.id);
  });
}

function rowView(row, chosen, states, answers, changed) {
  const asked = row.question && !row.states;
  const value = row.value === null || row.value === undefined ? 'no value' : String(row.value).slice(0, 40);
  return html`<tr>
    <td data-label="Take"><label class="tick"><input type="checkbox" .checked=${chosen.has(row.id)} ?disabled=${Boolean(row.known_as)} aria-label=${`Take ${row.path}`}
      @change=${(event) => { event.target.checked ? chosen.add(row.id) : chosen.delete(row.id); changed(); }}></label></td>
    <td data-label="Signal" class="path">${row.path}</td>
    <td data-label="Value">${value} <span class="muted">${row.unit_of_measure}</span>${row.quality === 'good' ? nothing : html` <span class="muted">${row.quality}</span>`}</td>
    <td data-label="Taken for" class="told">${row.known_as ? html`<span>connected already as ${row.known_as}</span> ` : html`<span>${row.role === 'other' ? 'a value' : `${row.role.replaceAll('_', ' ')}${row.sureness === 'a guess' && !asked ? ', a guess, so not written' : ''}`}${row.why.length ? ':' : nothing}</span>`}
      ${row.why.length ? html` <span class="muted">${row.why.join('; ')}</span>` : nothing}
      ${asked ? html`<label class="asked">${row.question.text}
        <select @change=${(event) => { states[row.id] = event.target.value; changed(); }}>
          <option value="">I do not know</option>
          ${answers.map((each) => html`<option value=${each.state} ?selected=${states[row.id] === each.state}>${each.text}</option>`)}
        </select></label>` : nothing}</td></tr>`;
}

/** Site, area, line; what a new site needs. `zones`: of the sites that are known, by name. */
export function placeView(place, zones, company, next, waits, changed) {
  const known = zones[place.site];
  const field = (name, word, hint = '') => html`<label>${word} <input .value=${place[name]} placeholder=${hint} required pattern="[A-Za-z0-9][A-Za-z0-9_.\\-]{0,63}"
    @input=${(event) => { place[name] = event.target.value.trim(); changed(); }} list=${name === 'site' ? 'sites' : nothing}></label>`;
  return html`<form class="address" @submit=${(event) => { event.preventDefault(); next(); }}>
    <datalist id="sites">${Object.keys(zones).map((each) => html`<option value=${each}></option>`)}</datalist>
    <p class="muted">Company ${company}</p>
    ${field('site', 'Site', 'works')}${field('area', 'Area')}${field('line', 'Line')}
    ${known ? html`<p class="muted">Time zone of ${place.site}: ${known}</p>` : html`
    <label>Time zone of a new site <input .value=${place.time_zone} required @input=${(event) => { place.time_zone = event.target.value.trim(); changed(); }}></label>`}
    <button ?disabled=${waits}>Show what changes</button></form>`;
}

/** What the plant file will say. */
export function changeView(plan) {
  return html`<ul class="change">${plan.lines.map((each) => html`<li>${each}</li>`)}</ul>
    <details><summary>${plan.file}</summary><pre class="scroll">${plan.after}</pre></details>`;
}

/** What would have been stored. */
export function runView(run) {
  if (!run) return nothing;
  const signals = Object.entries(run.signals ?? {});
  return html`<p>${run.samples} values in ${Math.round(run.seconds)} s; nothing was stored.</p>
    <div class="scroll"><table class="stacks"><thead><tr><th>Signal</th><th class="n">Values</th><th>Last</th><th>In the way</th></tr></thead>
    <tbody>${signals.map(([path, each]) => html`<tr><td data-label="Signal" class="path">${path}</td><td data-label="Values" class="n">${each.samples}</td>
      <td data-label="Last">${each.value ?? '–'}</td><td data-label="In the way">${each.refused || Object.keys(each.rejects ?? {}).join(', ')}</td></tr>`)}</tbody></table></div>`;
}
