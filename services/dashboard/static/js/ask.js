// Requests of a page that change something: an answer at once, or line by line. What goes wrong is an Error with `fix`.

/** Ask and wait for the answer; without a body: read. */
export async function ask(path, body) {
  const answer = await sent(path, body);
  return answer.json();
}

/** Ask, and take the answer's lines of JSON as they come. */
export async function* lines(path, body) {
  const answer = await sent(path, body);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    const parts = (rest + (value ?? '')).split('\n');
    rest = done ? '' : parts.pop();
    for (const part of parts.filter(Boolean)) {
      const said = JSON.parse(part);
      if (said.problem) throw failure(said.problem);
      yield said;
    }
    if (done) return;
  }
}

async function sent(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });
  } catch {
    throw failure({ detail: 'The server does not answer.', fix: 'Is the network there? Try again.' });
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw failure({ detail: said.detail ?? `The server answers ${answer.status}.`, fix: said.fix });
}

function failure({ detail, fix }) {
  const text = Array.isArray(detail) ? detail.map((each) => each.msg).join('; ') : String(detail);
  return Object.assign(new Error(text), { fix: fix ?? '' });
}
