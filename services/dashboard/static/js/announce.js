// What a screen reader announces: a line's new state politely, a high alarm at once; values never.
import { lineMark } from '/static/js/marks.js';

const SHOWN = 2000; // then the text is taken away: it is of that moment only

export function start() {
  addEventListener('aurelian:state', ({ detail }) => {
    const name = document.querySelector(`line-frame[data-line="${CSS.escape(detail.line)}"] .name`);
    if (name) announce('announce-polite', `${name.textContent}: ${lineMark(detail.line).word}`);
  });
  addEventListener('aurelian:alarm', ({ detail }) => {
    if (detail.op === 'raised' && detail.priority === 'high') announce('announce-now', detail.message);
  });
}

function announce(where, text) {
  const place = document.getElementById(where);
  place.textContent = text;
  setTimeout(() => place.textContent === text && (place.textContent = ''), SHOWN);
}
