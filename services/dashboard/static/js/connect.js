// The page Connect: from an address to a live machine, over the gateways' control APIs (connect.py passes on).
import { LitElement, html, nothing } from 'lit';
import { ask, lines } from '/static/js/ask.js';
import { changeView, freshRows, ladderView, placeView, rowsView, runView } from '/static/js/connect-views.js';

const { answers, sites, company } = JSON.parse(document.getElementById('connect-setup').textContent);
const names = Object.keys(sites);
const zones = new Set(Object.values(sites));
const LIVE_WITHIN = 90_000;
const SECURED_ONLY = 'E1308';
const UNKNOWN_CERTIFICATE = new Set(['E1401', 'E1402', 'E1451', 'E1452']);
const OTHER_NAME = new Set(['E1404', 'E1455']);
const REFUSES_OURS = new Set(['E1411', 'E1412']);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

class ConnectMachine extends LitElement {
  constructor() {
    super();
    this.source = { kind: 'opcua', url: '' };
    this.place = { site: names.length === 1 ? names[0] : '', time_zone: (zones.size === 1 && [...zones][0]) || Intl.DateTimeFormat().resolvedOptions().timeZone, area: 'hall', line: 'line-1' };
    this.start();
  }

  createRenderRoot() {
    return this;
  }

  /** Forget all that was found; what was typed stays. */
  start() {
    this.steps = [];
    this.problem = this.look = this.plan = this.run = this.live = undefined;
    this.chosen = new Set();
    this.states = {};
    this.progress = this.heard = '';
  }

  /** One thing at a time; whatever goes wrong is shown with what to do about it. */
  async doing(what, work) {
    if (this.busy) return;
    this.busy = what;
    this.problem = undefined;
    this.requestUpdate();
    try {
      await work();
    } catch (error) {
      this.problem = { detail: error.message, fix: error.fix ?? '' };
    }
    this.busy = undefined;
    this.requestUpdate();
  }

  connect() {
    this.start();
    return this.doing('Going up to it …', async () => {
      this.steps = [];
      for await (const said of lines('/connect/ladder', { source: this.source })) {
        if (said.step) this.steps = [...this.steps, said.step];
        if (said.end) this.climbed = said.end === 'climbed';
        this.requestUpdate();
      }
      const last = this.steps.at(-1);
      if (last?.verdict === 'failed') this.climbed = false;
      if (this.climbed) await this.lookAround();
    });
  }

  async lookAround() {
    for await (const said of lines('/connect/looks', { source: this.source, seconds: 6 })) {
      if (said.progress) this.progress = said.progress;
      if (said.look) this.look = said;
      this.requestUpdate();
    }
    this.heard = this.progress;
    this.progress = '';
    this.chosen = new Set(freshRows(this.look?.sources ?? []));
  }

  /** Mend what is in the way, and go up again. */
  mend(change) {
    this.source = { ...this.source, ...change };
    this.connect();
  }

  trust(step) {
    const sha256 = (step.facts.server_sha256 ?? step.facts.sha256 ?? '').replaceAll(':', '');
    return this.doing('Noting that it is trusted …', async () => {
      const kind = this.source.kind;
      const said = await ask('/connect/trust', { kind, sha256, ...(step.facts.pem ? { pem: step.facts.pem, id: this.source.id ?? 'broker' } : {}) });
      if (said.file) this.source = { ...this.source, tls: { ...this.source.tls, ca_file: said.file } };
    }).then(() => this.problem || this.connect());
  }

  /** What a person can do about a failed step here, or nothing. */
  wayOut(step) {
    if (UNKNOWN_CERTIFICATE.has(step.code)) return html`<button @click=${() => this.trust(step)}>I compared it: trust it</button>`;
    if (step.code === SECURED_ONLY) return html`<button @click=${() => this.mend({ security: { policy: 'best' } })}>Use the best security that it offers</button>`;
    if (OTHER_NAME.has(step.code)) {
      const part = step.code === 'E1404' ? 'security' : 'tls';
      return html`<button @click=${() => this.mend({ [part]: { ...this.source[part], waive: ['host_name'] } })}>I compared its certificate: take it under this address too</button>`;
    }
    if (step.facts.url && step.facts.url !== this.source.url) return html`<button @click=${() => this.mend({ url: step.facts.url })}>Take ${step.facts.url}</button>`;
    if (step.rung === 'sign_in') return this.signIn(step);
    if (REFUSES_OURS.has(step.code)) return html`<button @click=${() => this.connect()}>It is trusted there now: again</button>`;
    return html`<button @click=${() => this.connect()}>Again</button>`;
  }

  signIn() {
    return html`<form class="row" @submit=${(event) => {
      event.preventDefault();
      const given = new FormData(event.target);
      this.mend({ user: given.get('user'), password: given.get('password') });
    }}>
      <label>User <input name="user" .value=${this.source.user ?? ''} autocomplete="off" required></label>
      <label>Password <input name="password" type="password" autocomplete="off"></label>
      <button>Sign in</button>
    </form>`;
  }

  choice() {
    const all = this.look.sources.flatMap((each) => each.rows.map((row) => row.id));
    const states = Object.fromEntries(Object.entries(this.states).filter(([id, each]) => each && this.chosen.has(id)).map(([id, each]) => [id, { [this.keyOf(id)]: each }]));
    return { rows: all.filter((id) => this.chosen.has(id)), states, ...this.place };
  }

  keyOf(id) {
    const row = this.look.sources.flatMap((each) => each.rows).find((each) => each.id === id);
    return String(row.question.key ?? row.question.value);
  }

  /** What was planned is of another choice by now. */
  unplan() {
    this.plan = this.run = this.live = undefined;
    this.requestUpdate();
  }

  makePlan() {
    return this.doing('Working out what changes …', async () => {
      this.live = this.run = undefined;
      this.plan = await ask(`/connect/looks/${this.look.look}/plan`, this.choice());
    });
  }

  tryOut() {
    return this.doing('Trying it for 20 s; nothing is stored …', async () => {
      for await (const said of lines(`/connect/looks/${this.look.look}/dry-run`, { ...this.choice(), seconds: 20 })) {
        this.run = said;
        this.requestUpdate();
      }
    });
  }

  write() {
    return this.doing('Writing the plant file …', async () => {
      const written = await ask(`/connect/looks/${this.look.look}/write`, { ...this.choice(), before: this.plan.before });
      this.source = { ...this.source, password: '' };
      this.live = { keys: written.keys, said: 'written; the gateway takes it up …' };
      this.requestUpdate();
      await this.awaitLive();
    });
  }

  async awaitLive() {
    const until = performance.now() + LIVE_WITHIN;
    while (performance.now() < until) {
      const { sources } = await ask('/connect/sources');
      const found = sources.filter((each) => this.live.keys.includes(each.source));
      const waiting = found.find((each) => !(['LIVE', 'BACKFILL'].includes(each.state) && each.data));
      if (found.length === this.live.keys.length && !waiting) {
        this.live = { ...this.live, done: true, said: `${this.live.keys.join(', ')}: live.` };
        return;
      }
      if (waiting) this.live = { ...this.live, said: `${waiting.source} is ${waiting.state}${waiting.reason ? `: ${waiting.reason}` : ''}` };
      this.requestUpdate();
      await pause(1000);
    }
    const error = new Error(`${this.live.keys.join(', ')} is not live after 90 s: ${this.live.said}`);
    error.fix = 'The file is written; Connections says how the source is.';
    throw error;
  }

  form() {
    return html`<form class="address" @submit=${(event) => {
      event.preventDefault();
      const given = new FormData(event.target);
      const topics = String(given.get('topics') ?? '').split(/[\s,]+/).filter(Boolean).map((topic) => ({ topic }));
      const { kind } = this.source;
      this.source = {
        ...(this.source.url === given.get('url') ? this.source : {}),
        kind, url: withScheme(kind, String(given.get('url')).trim()), id: String(given.get('id')).trim() || undefined,
        ...(given.get('user') ? { user: given.get('user'), password: given.get('password') } : {}),
        ...(kind === 'mqtt' && topics.length ? { topics } : {}),
      };
      this.connect();
    }}>
      <fieldset class="ranges"><legend class="quiet">What it speaks</legend>
        ${[['opcua', 'OPC UA'], ['mqtt', 'MQTT'], ['sparkplug', 'Sparkplug']].map(([kind, word]) => html`
          <button type="button" aria-pressed=${this.source.kind === kind} @click=${() => { this.source = { ...this.source, kind }; this.requestUpdate(); }}>${word}</button>`)}
      </fieldset>
      <label>Address <input name="url" required .value=${this.source.url} placeholder=${this.source.kind === 'opcua' ? '192.168.0.10:4840' : '192.168.0.10:1883'} autocapitalize="off" spellcheck="false"></label>
      <details><summary>${this.source.kind === 'mqtt' ? 'Name, user, topics' : 'Name, user'}</summary>
        <label>Name of the source <input name="id" .value=${this.source.id ?? ''} placeholder="its address" pattern="[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}"></label>
        <label>User <input name="user" .value=${this.source.user ?? ''} autocomplete="off"></label>
        <label>Password <input name="password" type="password" autocomplete="off"></label>
        ${this.source.kind === 'mqtt' ? html`<label>Topics, all where empty <input name="topics" placeholder="works/#"></label>` : nothing}
      </details>
      <button ?disabled=${Boolean(this.busy)}>Connect</button>
    </form>`;
  }

  render() {
    return html`
      <section aria-labelledby="step-1"><h2 id="step-1">1 Is it reached?</h2>${this.form()}${ladderView(this.steps, (step) => this.wayOut(step), Boolean(this.busy))}</section>
      ${this.look ? html`<section aria-labelledby="step-2"><h2 id="step-2">2 What does it have?</h2>
        ${this.heard ? html`<p class="muted">${this.heard}</p>` : nothing}
        ${rowsView(this.look.sources, this.chosen, this.states, answers, () => this.unplan())}</section>
      <section aria-labelledby="step-3"><h2 id="step-3">3 Where does it stand?</h2>
        ${placeView(this.place, sites, company, () => this.makePlan(), !this.chosen.size || Boolean(this.busy), () => this.unplan())}</section>` : nothing}
      ${this.plan ? html`<section aria-labelledby="step-4"><h2 id="step-4">4 Go live</h2>
        ${changeView(this.plan)}
        <p class="ranges"><button class="first" ?disabled=${Boolean(this.busy || this.live)} @click=${() => this.write()}>Write it and go live</button>
          <button ?disabled=${Boolean(this.busy || this.live)} @click=${() => this.tryOut()}>Try it for 20 s first</button></p>
        ${runView(this.run)}</section>` : nothing}
      <div role="status">
        ${this.busy ? html`<p class="doing">${this.progress || this.busy}</p>` : nothing}
        ${this.live ? html`<p class="outcome">${this.live.said} ${this.live.done ? html`<a class="button" href="/">See it on the plant page</a>` : nothing}</p>` : nothing}
      </div>
      ${this.problem ? html`<div class="problem" role="alert"><p class="message">${this.problem.detail}</p>${this.problem.fix ? html`<p class="action"><span class="do">Do:</span> ${this.problem.fix}</p>` : nothing}</div>` : nothing}`;
  }
}

function withScheme(kind, url) {
  if (!url || url.includes('://')) return url;
  return kind === 'opcua' ? `opc.tcp://${url}` : `${url.endsWith(':8883') ? 'mqtts' : 'mqtt'}://${url}`;
}

customElements.define('connect-machine', ConnectMachine);
