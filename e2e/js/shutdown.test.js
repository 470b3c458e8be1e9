// SIGTERM, SIGINT, and a second signal.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fanfare, token, waitUntil } from './fanfare.js';

const SLOW_DRAIN = { shutdown: { timeout: '60s', drain_window: '20s' } };

async function clients(server, count) {
  return Promise.all(Array.from({ length: count }, (_, n) => server.client(`user${n}`)));
}

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`${signal} closes every connection with 1001 and ends with 0`, async (t) => {
    const server = await Fanfare.start(t);
    const open = await clients(server, 10);
    server.process.kill(signal);
    for (const client of open) {
      assert.deepEqual(await client.closed, { code: 1001, reason: 'Server shutting down' });
    }
    assert.equal(await server.exited, 0);
  });
}

test('without a connected client the process ends at once', async (t) => {
  const server = await Fanfare.start(t, SLOW_DRAIN);
  const start = Date.now();
  server.process.kill('SIGTERM');
  assert.equal(await server.exited, 0);
  assert.ok(Date.now() - start < 10_000);
});

test('a second signal ends at once with 1', async (t) => {
  const server = await Fanfare.start(t, SLOW_DRAIN);
  await clients(server, 20);
  server.process.kill('SIGTERM');
  await waitUntil(async () => (await server.fetch('/readyz')).status === 503, 'a server that drains');
  const start = Date.now();
  server.process.kill('SIGTERM');
  assert.equal(await server.exited, 1);
  assert.ok(Date.now() - start < 5_000);
});

test('while it drains, upgrades are refused and the probes answer', async (t) => {
  const server = await Fanfare.start(t, SLOW_DRAIN);
  await clients(server, 20);
  server.process.kill('SIGTERM');
  await waitUntil(async () => (await server.fetch('/readyz')).status === 503, 'a server that drains');

  assert.equal((await server.dial(`?token=${token('late')}`).refused).status, 503);
  assert.equal((await server.fetch('/livez')).status, 200);
  assert.equal((await server.fetch('/metrics')).status, 200);
  const health = await server.fetch('/health');
  assert.equal(health.status, 503);
  const { status, reason } = await health.json();
  assert.deepEqual({ status, reason }, { status: 'unhealthy', reason: 'Server shutting down' });

  server.process.kill('SIGTERM');
  assert.equal(await server.exited, 1);
});

test('the closes are spread over the drain window', async (t) => {
  const server = await Fanfare.start(t, { shutdown: { timeout: '30s', drain_window: '3s' } });
  const open = await clients(server, 30);
  server.process.kill('SIGTERM');
  const times = await Promise.all(open.map((client) => client.closed.then(() => Date.now())));
  const spread = Math.max(...times) - Math.min(...times);
  assert.ok(spread > 1000 && spread < 10_000, `${spread} ms`);
  assert.equal(await server.exited, 0);
});

test('a client that does not answer the close does not hold the server past its timeout', async (t) => {
  const server = await Fanfare.start(t, { shutdown: { timeout: '2s', drain_window: '100ms' } });
  const mute = await server.client('mute');
  mute.socket.pause();
  const start = Date.now();
  server.process.kill('SIGTERM');
  assert.equal(await server.exited, 0);
  assert.ok(Date.now() - start < 15_000);
});
