// A page in a real browser with the browser's EventSource: it reconnects by itself, and misses no event.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { Redis } from 'ioredis';
import { startBrowser } from './browser.js';
import { Fanfare, token, waitUntil } from './fanfare.js';

const browser = startBrowser();
const history = { size: 100, ttl: '5m' };

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

// A Redis that can be killed and started again. It stores nothing on disk: after a restart its journal is a new one.
class Broker {
  async start() {
    this.port ??= await freePort();
    const options = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
    this.process = spawn('redis-server', options, { stdio: 'ignore' });
    const client = new Redis({ host: '127.0.0.1', port: this.port, lazyConnect: true, retryStrategy: () => 50, maxRetriesPerRequest: null });
    client.on('error', () => {});
    await client.ping();
    client.disconnect();
    return this;
  }

  async kill() {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill('SIGKILL');
    await once(this.process, 'exit');
  }
}

async function deployment(t) {
  const broker = await new Broker().start();
  t.after(() => broker.kill());
  const port = await freePort();
  const tables = {
    broker: { kind: 'redis', url: `redis://127.0.0.1:${broker.port}` },
    channel: [{ pattern: 'chat.**', subscribe: 'anyone', history }],
    history: { users: history, everyone: history },
  };
  const start = (bind) => Fanfare.start(t, { listener: [{ dialects: ['topics'], ...(bind && { bind }) }], ...tables });
  return { broker, first: await start(`127.0.0.1:${port}`), other: await start(), restart: () => start(`127.0.0.1:${port}`) };
}

// Opens an EventSource in the page, which stores the received events.
async function openSource(tab, url) {
  await tab.evaluate((url) => {
    Object.assign(window, { source: new EventSource(url), events: [], resumes: [], ends: [] });
    window.source.addEventListener('note', ({ data }) => window.events.push(JSON.parse(data).data));
    window.source.addEventListener('resume', ({ data }) => window.resumes.push(JSON.parse(data)));
    window.source.addEventListener('stream.end', ({ data }) => window.ends.push(JSON.parse(data).reason));
  }, url);
  return {
    events: () => tab.evaluate(() => window.events),
    resumes: () => tab.evaluate(() => window.resumes),
    ends: () => tab.evaluate(() => window.ends),
    state: () => tab.evaluate(() => window.source.readyState),
    close: () => tab.evaluate(() => window.source.close()),
  };
}

async function publish(server, ...values) {
  for (const data of values) {
    const answer = await server.fetch('/api/v1/events', {
      method: 'POST',
      body: JSON.stringify({ to: { channel: 'chat.a' }, type: 'note', data }),
    });
    assert.equal(answer.status, 200, await answer.text());
  }
}

// The page has received 1 to `count`, in order and each once.
async function hasAll(page, count) {
  const expected = Array.from({ length: count }, (_, at) => at + 1);
  await waitUntil(async () => (await page.events()).length >= count, `${count} events`, 60_000).catch(() => {});
  assert.deepEqual(await page.events(), expected);
}

test('an EventSource resumes after the server and after Redis was restarted', async (t) => {
  const nodes = await deployment(t);
  const tab = await browser.tab(t);
  const page = await openSource(tab, nodes.first.http('/api/v1/stream?channel=chat.*'));
  await waitUntil(async () => (await page.resumes()).length === 1, 'a stream');
  await publish(nodes.other, 1, 2);
  await hasAll(page, 2);

  // The server stops cleanly, and an event is published before it runs again.
  nodes.first.process.kill('SIGTERM');
  assert.equal(await nodes.first.exited, 0);
  await publish(nodes.other, 3, 4, 5);
  let server = await nodes.restart();
  await hasAll(page, 5);
  assert.deepEqual(await page.ends(), ['shutting_down']);
  assert.ok((await page.resumes()).every(({ recovered }) => recovered));

  // The server dies.
  server.process.kill('SIGKILL');
  await server.exited;
  await publish(nodes.other, 6);
  server = await nodes.restart();
  await publish(nodes.other, 7);
  await hasAll(page, 7);

  // Redis dies and returns without its data. An event at the page's node meanwhile reaches the page.
  await nodes.broker.kill();
  await publish(server, 8);
  await nodes.broker.start();
  const brokers = [server, nodes.other].map((node) => waitUntil(
    async () => (await node.fetch('/readyz')).status === 200,
    'a node with its broker',
  ));
  await Promise.all(brokers);
  await waitUntil(async () => {
    const answer = await (await nodes.other.fetch('/api/v1/events', { method: 'POST', body: '{"to":{"channel":"probe"},"data":0}' })).json();
    return !answer.receipts[0].degraded;
  }, 'receipts of all nodes');
  await publish(nodes.other, 9);
  await hasAll(page, 9);

  // The new journal also resumes.
  server.process.kill('SIGTERM');
  await server.exited;
  await publish(nodes.other, 10);
  await nodes.restart();
  await publish(nodes.other, 11);
  await hasAll(page, 11);
  await page.close();
});

test('a page receives events with a token in the URL, and sees the reason if it receives none', async (t) => {
  const server = await Fanfare.start(t, { listener: [{ dialects: ['topics'] }] });
  const tab = await browser.tab(t);
  const query = new URLSearchParams([['channel', 'notifications.user.ann'], ['token', token('ann')]]);
  const page = await openSource(tab, server.http(`/api/v1/stream?${query}`));
  await waitUntil(async () => (await page.resumes()).length === 1, 'a stream');
  const answer = await server.fetch('/api/v1/events', { method: 'POST', body: '{"to":{"user":"ann"},"type":"note","data":1}' });
  assert.equal((await answer.json()).recipients, 1);
  await hasAll(page, 1);
  await page.close();
  const refused = await openSource(tab, server.http('/api/v1/stream?channel=notifications.user.ann'));
  await waitUntil(async () => (await refused.state()) === 2, 'an EventSource that has given up');
});
