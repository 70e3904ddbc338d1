// Parts that the server draws and the page fetches again when something happens: alarms, timeline, stops; and the page.
import { applySnapshot, lastId } from '/static/js/store.js';

const PAUSE = 1000; // between two fetches of one part, however much happens
const loadedAt = new Map();

/** `data-src`: what to fetch; `data-on`: kinds of events; `data-every`: seconds; `data-page`: the whole page instead. */
class LivePart extends HTMLElement {
  connectedCallback() {
    this.kinds = [...this.dataset.on.split(' '), 'reset'].map((kind) => `aurelian:${kind}`);
    this.due = () => this.schedule();
    for (const kind of this.kinds) addEventListener(kind, this.due);
    if (this.dataset.every) this.timer = setInterval(this.due, Number(this.dataset.every) * 1000);
  }

  disconnectedCallback() {
    for (const kind of this.kinds) removeEventListener(kind, this.due);
    clearInterval(this.timer);
    clearTimeout(this.waiting);
  }

  schedule() {
    this.waiting ??= setTimeout(() => {
      this.waiting = undefined;
      this.load();
    }, performance.now() - (loadedAt.get(this.dataset.src) ?? -PAUSE) < PAUSE ? PAUSE : 50);
  }

  async load() {
    try {
      const answer = await fetch(this.dataset.src ?? location.href);
      if (!answer.ok) return;
      const text = await answer.text();
      loadedAt.set(this.dataset.src, performance.now());
      if ('page' in this.dataset) replacePage(text);
      else this.replacePart(text);
    } catch {
      return; // the banner says that the server is away; the part comes with the next event
    }
  }

  replacePart(text) {
    const open = [...this.querySelectorAll('details')].map((details) => details.open);
    const focused = this.contains(document.activeElement);
    const template = document.createElement('template');
    template.innerHTML = text;
    if (template.innerHTML === this.shown || focused) return; // nothing new, or under somebody's finger
    this.shown = template.innerHTML;
    this.replaceChildren(template.content);
    this.querySelectorAll('details').forEach((details, place) => (details.open = open[place] ?? false));
  }
}

function replacePage(text) {
  const page = new DOMParser().parseFromString(text, 'text/html');
  const fresh = page.getElementById('main');
  const boot = page.getElementById('boot');
  if (!fresh || !boot) return;
  const snap = JSON.parse(boot.textContent);
  document.getElementById('boot').textContent = boot.textContent;
  if (snap.id >= lastId) applySnapshot(snap);
  document.querySelector('plant-clock').dataset.zone = page.querySelector('plant-clock').dataset.zone;
  document.getElementById('main').replaceChildren(...fresh.childNodes);
}

customElements.define('live-part', LivePart);
