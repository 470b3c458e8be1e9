// The life of an open connection: permitted messages, and the reasons of its end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fanfare, message, sleep, token } from './fanfare.js';

test('text frames are ignored', async (t) => {
  const server = await Fanfare.start(t);
  const client = await server.client('ann');
  for (const text of ['hello', '{"type":"Subscribe"', '', 'x'.repeat(512)]) client.socket.send(text);
  await pong(client);
  assert.equal(await server.redis().publish('user_noti:ann', message({ n: 1 })), 1);
  assert.deepEqual((await client.nextJson()).payload, { n: 1 });
  assert.equal(client.unread, 0);
});

test('a text frame over the limit closes with 1009', async (t) => {
  const server = await Fanfare.start(t);
  const client = await server.client('ann');
  client.socket.send('x'.repeat(513));
  assert.equal((await client.closed).code, 1009);
});

test("the limit counts the sum of a message's fragments", async (t) => {
  const server = await Fanfare.start(t);
  const client = await server.client('ann');
  for (let i = 0; i < 3; i++) client.socket.send('x'.repeat(200), { fin: i === 2 });
  assert.equal((await client.closed).code, 1009);
});

test('the limit counts bytes after decompression', async (t) => {
  const server = await Fanfare.start(t, { notify: { compression: true } });
  const client = await server.client('ann', { perMessageDeflate: { threshold: 0 } });
  client.socket.send('x'.repeat(100_000));
  assert.equal((await client.closed).code, 1009);
});

test('the limit of messages is a setting', async (t) => {
  const server = await Fanfare.start(t, { notify: { max_message_size: 2000 } });
  const client = await server.client('ann');
  client.socket.send('x'.repeat(2000));
  await pong(client);
  client.socket.send('x'.repeat(2001));
  assert.equal((await client.closed).code, 1009);
});

test('a binary frame closes with 1003', async (t) => {
  const server = await Fanfare.start(t);
  const client = await server.client('ann');
  client.socket.send(Buffer.from([1, 2, 3]));
  assert.equal((await client.closed).code, 1003);
});

test('a ping is answered with its own payload', async (t) => {
  const server = await Fanfare.start(t);
  const client = await server.client('ann');
  client.socket.ping('are you there');
  const [data] = await once(client.socket, 'pong');
  assert.equal(data.toString(), 'are you there');
});

test('a close is answered with the same code', async (t) => {
  const server = await Fanfare.start(t);
  for (const code of [1000, 3000, 4999]) {
    const client = await server.client('ann');
    client.socket.close(code, 'bye');
    assert.equal((await client.closed).code, code);
  }
});

test('the expiry of the token closes with 1008', async (t) => {
  const server = await Fanfare.start(t);
  const exp = Math.floor(Date.now() / 1000) + 4;
  const client = await server.client('ann', { claims: { exp } });
  const other = await server.client('bob');
  assert.deepEqual(await client.closed, { code: 1008, reason: 'token expired' });
  const late = Date.now() - exp * 1000;
  assert.ok(late > -100 && late < 10_000, `${late} ms after the expiry`);
  assert.equal(await server.redis().publish('user_noti:bob', message({})), 1);
  assert.equal((await other.nextJson()).type, 'notification');
});

test('the server pings, and silence closes with 1008', async (t) => {
  const server = await Fanfare.start(t, { notify: { ping_interval: '300ms', ping_timeout: '1s' } });
  const silent = await server.client('ann', { autoPong: false });
  const answering = await server.client('bob');
  await once(answering.socket, 'ping');
  assert.deepEqual(await silent.closed, { code: 1008, reason: 'ping timeout' });
  await sleep(1500);
  assert.equal(await server.redis().publish('user_noti:bob', message({})), 1);
});

test('a client that does not read is closed with 1008, and others do not wait for it', async (t) => {
  const server = await Fanfare.start(t, { notify: { send_queue: 4 } });
  const slow = await server.client('slow');
  const healthy = await server.client('healthy');
  const redis = server.redis();
  slow.socket.pause();

  // Far more than the kernel's buffers of both ends hold.
  const bulk = message('x'.repeat(256 * 1024));
  let refused = false;
  for (let n = 0; n < 400 && !refused; n++) {
    refused = (await redis.publish('user_noti:slow', bulk)) === 0;
    if (n % 10 === 0) {
      assert.equal(await redis.publish('user_noti:healthy', message(n)), 1);
      assert.equal((await healthy.nextJson()).payload, n);
    }
  }
  assert.ok(refused, 'the slow client was still served after 100 MB');
  slow.socket.resume();
  assert.deepEqual(await slow.closed, { code: 1008, reason: 'slow consumer' });
});

test('a client that catches up in time keeps its connection', async (t) => {
  const server = await Fanfare.start(t);
  const client = await server.client('ann');
  const redis = server.redis();
  client.socket.pause();
  for (let n = 0; n < 200; n++) await redis.publish('user_noti:ann', message({ n, text: 'x'.repeat(1000) }));
  client.socket.resume();
  for (let n = 0; n < 200; n++) assert.equal((await client.nextJson()).payload.n, n);
});

test('on reconnect an expired token is refused at once, and a new one is accepted', async (t) => {
  const server = await Fanfare.start(t);
  const short = token('ann', { ttl: 1 });
  await sleep(2100);
  assert.equal((await server.dial(`?token=${short}`).refused).status, 401);
  await server.client('ann');
});

function once(emitter, name, timeout = 10_000) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${name} within ${timeout} ms`)), timeout);
    emitter.once(name, (...values) => (clearTimeout(timer), resolve(values)));
  });
}

// The server has processed all earlier messages when the pong arrives.
async function pong(client) {
  client.socket.ping();
  await once(client.socket, 'pong');
}
