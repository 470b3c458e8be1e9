// The broadcast dialect in a browser: an event that is posted to /notify reaches all pages.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBrowser } from './browser.js';
import { Fanfare, waitUntil } from './fanfare.js';

const browser = startBrowser();
const QUIET = { notification_interval: '0s' };

const start = (t, { broadcast = QUIET, ...tables } = {}) =>
  Fanfare.start(t, { listener: [{ dialects: ['broadcast'] }], broadcast, ...tables });

const open = (t, server, name) => browser.tab(t, server.ws('/ws', { query: name ? { client_id: name } : {} }));

const post = (body, headers = {}) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
});

test('the welcome of each tab has its name', async (t) => {
  const server = await start(t, { broadcast: { notification_interval: '7s' } });
  for (const name of ['left', 'right', undefined]) {
    const tab = await open(t, server, name);
    const { client_id, server_time, ...welcome } = await tab.nextJson();
    const expected = { type: 'welcome', message: 'Connected to WebSocket Notification Server', notification_interval: 7 };
    assert.deepEqual(welcome, expected);
    if (name) assert.equal(client_id, name);
    else assert.match(client_id, /^client_./);
    assert.ok(Math.abs(Date.parse(server_time) - Date.now()) < 60_000, server_time);
  }
});

test('test notifications are counted up, the same ones for both tabs', async (t) => {
  const server = await start(t, { broadcast: { notification_interval: '150ms' } });
  const tabs = [await open(t, server, 'left'), await open(t, server, 'right')];
  const left = new Map(), right = [await tabs[1].nextOf('test_notification'), await tabs[1].nextOf('test_notification')];
  while (!left.has(right[1].data.counter)) {
    const arrived = await tabs[0].nextOf('test_notification');
    left.set(arrived.data.counter, arrived);
  }
  assert.equal(right[1].data.counter, right[0].data.counter + 1);
  for (const arrived of right) {
    const { message, counter, active_connections, uptime_seconds, server_time } = arrived.data;
    assert.deepEqual(left.get(counter), arrived);
    assert.deepEqual([message, active_connections], [`Test notification #${counter}`, 2]);
    assert.ok(uptime_seconds > 0 && server_time);
    assert.deepEqual(Object.keys(arrived).sort(), ['data', 'id', 'sender', 'timestamp', 'type']);
    assert.equal(arrived.sender, 'notification_service');
  }
});

test('an event that a page posts to /notify reaches both tabs', async (t) => {
  const server = await start(t);
  const tabs = [await open(t, server, 'left'), await open(t, server, 'right')];
  for (const tab of tabs) await tab.nextOf('welcome');
  const sent = { message: 'Maintenance', type: 'alert', data: { priority: 'high', message: 'not this one' } };

  const { status, body } = await tabs[0].fetch(server.http('/notify'), post(sent));

  assert.equal(status, 200, JSON.stringify(body));
  assert.equal(body.status, 'success');
  assert.equal(body.recipients, 2);
  const frames = [await tabs[0].nextJson(), await tabs[1].nextJson()];
  for (const { id, timestamp, ...frame } of frames) {
    const data = { message: 'Maintenance', priority: 'high' };
    assert.deepEqual(frame, { type: 'alert', data, sender: 'notification_service' });
    assert.ok(id && timestamp);
  }
  assert.deepEqual(frames[0], frames[1]);
});

test('a page reads the error about an invalid post', async (t) => {
  const server = await start(t);
  const tab = await open(t, server, 'left');
  for (const wrong of [{}, { message: 7 }, { message: 'hi', data: [] }]) {
    const { status, body } = await tab.fetch(server.http('/notify'), post(wrong));
    assert.equal(status, 400, JSON.stringify(wrong));
    assert.equal(body.error.category, 'validation');
    assert.deepEqual(Object.keys(body.error).sort(), ['category', 'id', 'message', 'timestamp']);
  }
});

test('a page needs a key to post if one exists, or if the page is of another site', async (t) => {
  const key = 'a-key-for-backends-0123456789';
  const bearer = { authorization: `Bearer ${key}` };
  const cases = [
    { keys: [], from: browser.foreign, headers: {}, status: 401 },
    { keys: [], from: browser.origin, headers: {}, status: 200 },
    { keys: [key], from: browser.origin, headers: {}, status: 401 },
    { keys: [key], from: browser.origin, headers: bearer, status: 200 },
    { keys: [key], from: browser.foreign, headers: bearer, status: 200 },
  ];
  for (const { keys, from, headers, status } of cases) {
    const server = await start(t, { api: { keys } });
    const tab = await browser.tab(t, undefined, { from });
    const answer = await tab.fetch(server.http('/notify'), post({ message: 'hi' }, headers));
    assert.equal(answer.status, status, JSON.stringify({ keys, from, headers, answer }));
  }
});

test('a second tab with a name is closed with 1008, and the name is free when the first closes', async (t) => {
  const server = await start(t);
  const first = await open(t, server, 'mine');
  await first.nextOf('welcome');
  const second = await open(t, server, 'mine');
  assert.equal(second.opened, true);
  assert.deepEqual(await second.closed(), { code: 1008, reason: 'Client mine is already connected', wasClean: true });
  assert.equal((await first.ask({ type: 'ping' })).type, 'pong');
  await first.close();
  await waitUntil(async () => (await server.connections()) === 0, 'the first gone');
  assert.equal((await (await open(t, server, 'mine')).nextJson()).client_id, 'mine');
});

test('a connection over the limit is closed with 1008', async (t) => {
  const server = await start(t, { broadcast: { ...QUIET, max_connections: 1 } });
  await (await open(t, server, 'left')).nextOf('welcome');
  const second = await open(t, server, 'right');
  assert.equal(second.opened, true);
  assert.deepEqual(await second.closed(), { code: 1008, reason: 'Connection limit exceeded: 1/1', wasClean: true });
});

test('a page pings, requests the status, and receives an error for a bad message', async (t) => {
  const server = await start(t);
  const tab = await open(t, server, 'left');
  await open(t, server, 'right');
  await tab.nextOf('welcome');
  assert.deepEqual(Object.keys(await tab.ask({ type: 'ping' })).sort(), ['timestamp', 'type']);
  const { type, data } = await tab.ask({ type: 'status_request' });
  assert.equal(type, 'status_response');
  assert.deepEqual([data.active_connections, data.total_connections], [2, 2]);
  for (const [wrong, words] of [['{"type":', 'Invalid JSON format'], ['{"type":"shout"}', 'Unknown message type: shout']]) {
    const { error_id, timestamp, ...error } = await tab.ask(wrong);
    assert.deepEqual(error, { type: 'error', message: words, code: 1008 });
    assert.ok(error_id && timestamp);
  }
});

test('an answer to the JSON ping keeps the connection, and silence ends it', async (t) => {
  const server = await start(t, { broadcast: { ...QUIET, ping_interval: '200ms', ping_timeout: '700ms' } });
  const url = (name) => server.ws('/ws', { query: { client_id: name } });
  const page = await browser.tab(t, url('page'));
  const answering = server.connect(url('answering'), { autoPong: false });
  answering.socket.on('message', (text) => JSON.parse(text).type === 'ping' && answering.send({ type: 'pong' }));
  const silent = server.connect(url('silent'), { autoPong: false });
  assert.deepEqual(await silent.closed, { code: 1008, reason: 'ping timeout' });
  assert.equal(answering.socket.readyState, 1);
  await page.nextOf('ping');
  await page.send({ type: 'status_request' });
  assert.equal((await page.nextOf('status_response')).data.active_connections, 2);
});

test('a page receives a message about the drain before it is closed', async (t) => {
  const server = await start(t);
  const tab = await open(t, server, 'left');
  await tab.nextOf('welcome');
  server.process.kill('SIGTERM');
  const { data, sender } = await tab.nextOf('system');
  assert.deepEqual([data.priority, sender], ['high', 'system']);
  assert.equal((await tab.nextJson()).type, 'shutdown');
  assert.deepEqual(await tab.closed(), { code: 1001, reason: 'Server shutting down', wasClean: true });
  assert.equal(await server.exited, 0);
});
