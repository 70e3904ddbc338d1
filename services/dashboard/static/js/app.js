// What every page runs.
import '/static/js/elements.js';
import '/static/js/parts.js';
import { start as follow } from '/static/js/stream.js';
import { start as announce } from '/static/js/announce.js';

follow();
announce();
if (document.querySelector('signal-trend')) import('/static/js/trend.js');
if (document.querySelector('connect-machine')) import('/static/js/connect.js');
