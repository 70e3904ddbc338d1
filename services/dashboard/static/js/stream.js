// One stream for all tabs of a browser. The tab that holds the lock keeps it and passes events to the others over a channel;
// a browser allows six connections to one server, so a stream per tab would lock out the seventh.
import { applyEvent, applySnapshot, build, lastId, limits, link, now, owner, serverNow } from '/static/js/store.js';

const KINDS = ['snap', 'v', 'state', 'stop', 'alarm', 'kpi', 'capacity', 'health', 'evidence', 'source', 'connection', 'machine_alarms', 'plant', 'hb', 'reset'];
const LOCK = `aurelian-stream-${owner}`; // a tab of another company has a stream of its own
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 30000;

const channel = 'BroadcastChannel' in window ? new BroadcastChannel(LOCK) : null;
let source = null;
let leads = false;
let heardAt = performance.now(); // of the server, directly or through the leading tab
let tabHeardAt = performance.now();
let wait = FIRST_WAIT;
let timer = 0;

/** Follow the server until the page goes away. */
export function start() {
  if (channel && navigator.locks) {
    channel.onmessage = ({ data }) => fromTab(data);
    lead();
  } else {
    leads = true;
    open();
  }
  setInterval(watch, 1000);
  addEventListener('pageshow', (event) => event.persisted && location.reload());
}

/** Ask for the stream again now; for the button of the banner. */
export function retry() {
  wait = FIRST_WAIT;
  if (leads) open();
  else channel?.postMessage({ retry: true });
}

function lead(options = {}) {
  navigator.locks
    .request(LOCK, options, () => {
      leads = true;
      open();
      return new Promise(() => {}); // held until this tab closes or another steals it
    })
    .catch(() => {
      leads = false;
      source?.close();
      lead();
    });
}

function open() {
  clearTimeout(timer);
  source?.close();
  source = new EventSource(`/stream?last=${lastId}&owner=${encodeURIComponent(owner)}`);
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => take(Number(event.lastEventId), kind, JSON.parse(event.data)));
  }
  source.onopen = hear;
  source.onerror = () => {
    // Left alone, the browser gives up for ever on an answer that is no stream.
    source.close();
    link.value = { ...link.value, tries: link.value.tries + 1 };
    if (link.value.tries % 3 === 0) askWhose();
    timer = setTimeout(open, wait * (0.5 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  };
}

/** The key of this page may have ended, or another company's be in its place: then the page is to be opened anew. */
async function askWhose() {
  try {
    const answer = await fetch('/snapshot');
    if (answer.status === 401 || (answer.ok && (await answer.json()).owner !== owner)) location.reload();
  } catch {
    // no server: the next try will tell
  }
}

function take(id, kind, body) {
  hear();
  applyEvent(id, kind, body);
  channel?.postMessage({ id, kind, body });
  if (kind === 'hb' || kind === 'snap') newBuild(body.build);
}

function hear() {
  heardAt = performance.now();
  wait = FIRST_WAIT;
  if (link.value.state !== 'live') link.value = { state: 'live', since: serverNow(), tries: 0 };
}

function fromTab(data) {
  tabHeardAt = performance.now();
  if (data.retry) return leads && open();
  if (leads || !data.kind) return;
  hear();
  if (data.kind !== 'snap' && data.id > lastId + 5000) return catchUp();
  applyEvent(data.id, data.kind, data.body);
  if (data.kind === 'hb') newBuild(data.body.build);
}

async function catchUp() {
  const answer = await fetch('/snapshot');
  if (answer.ok) applySnapshot(await answer.json());
}

function watch() {
  const silent = performance.now() - heardAt;
  if (silent > limits.offline) {
    if (link.value.state !== 'offline') {
      link.value = { state: 'offline', since: serverNow() - Math.round(silent), tries: link.value.tries };
    }
    if (leads && source?.readyState === EventSource.OPEN) open(); // open, but nothing comes
    if (!leads && performance.now() - tabHeardAt > limits.offline + 5000) {
      tabHeardAt = performance.now();
      lead({ steal: true }); // the leading tab is frozen
    }
  }
  if (leads) channel?.postMessage({ alive: true });
  now.value = serverNow();
}

// A new build of the pages: load it, at most once in five minutes, not all screens at the same moment.
function newBuild(running) {
  if (!running || running === build) return;
  const last = Number(sessionStorage.getItem('aurelian-reloaded') ?? 0);
  if (Date.now() - last < 300000) return;
  sessionStorage.setItem('aurelian-reloaded', String(Date.now()));
  setTimeout(() => location.reload(), Math.random() * 5000);
}
