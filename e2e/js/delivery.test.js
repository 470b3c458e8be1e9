// The events that a browser receives when a backend publishes for its user.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fanfare, message, waitUntil } from './fanfare.js';

const RFC3339_MILLIS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

test('a published message arrives as type, payload and timestamp', async (t) => {
  const server = await Fanfare.start(t);
  const client = await server.client('user123');
  const sent = { title: 'New Order', message: 'You have a new order', link: '/orders/12345' };
  const before = Date.now();

  await server.redis().publish('user_noti:user123', message(sent));

  const got = await client.nextJson();
  assert.deepEqual(Object.keys(got), ['type', 'payload', 'timestamp']);
  assert.equal(got.type, 'notification');
  assert.deepEqual(got.payload, sent);
  assert.match(got.timestamp, RFC3339_MILLIS);
  assert.ok(Math.abs(Date.parse(got.timestamp) - before) < 60_000, got.timestamp);
});

// Details that parsing and printing again would change: order, numbers, escapes, spaces, duplicates.
const PAYLOADS = {
  'key order': '{"z":1,"a":2,"m":3}',
  'big integers': '{"id":12345678901234567890,"neg":-98765432109876543210}',
  'number spelling': '[1.0,1e2,1E+2,-0,0.10,1e400]',
  'escapes as they were written': String.raw`{"s":"\u00e9\u0041\/\ud83d\ude00\n"}`,
  'raw Unicode': '{"s":"é😀\u2028"}',
  'spaces inside': '{ "a" : [ 1 ,\t2 ] }',
  'a key twice': '{"a":1,"a":2}',
  'depth': '['.repeat(100) + ']'.repeat(100),
  'a string': '"text"',
  'a number': '42',
  'true': 'true',
  'null': 'null',
  'empty object': '{}',
  'empty array': '[]',
};

test('a payload arrives byte for byte as it was published', async (t) => {
  const server = await Fanfare.start(t);
  const client = await server.client('user123');
  const redis = server.redis();
  for (const [what, payload] of Object.entries(PAYLOADS)) {
    await redis.publish('user_noti:user123', `{"type":"t","payload":${payload}}`);
    const frame = await client.next();
    assert.equal(frame.slice(0, frame.lastIndexOf(',"timestamp":"')), `{"type":"t","payload":${payload}`, what);
  }
});

test('members may be in any order and with spaces around them', async (t) => {
  const server = await Fanfare.start(t);
  const client = await server.client('user123');
  await server.redis().publish('user_noti:user123', ' { "payload" : {"n": 1} , "type" : "caf\\u00e9" } ');
  const frame = await client.next();
  assert.ok(frame.includes('"payload":{"n": 1}'), frame);
  assert.equal(JSON.parse(frame).type, 'café');
});

test('PUBLISH returns the number of connections that a frame was queued to', async (t) => {
  const server = await Fanfare.start(t);
  const redis = server.redis();
  const tabs = [await server.client('ann'), await server.client('ann')];
  const other = await server.client('bob');

  assert.equal(await redis.publish('user_noti:ann', message({ n: 1 })), 2);
  assert.equal(await redis.publish('user_noti:nobody', message({ n: 2 })), 0);
  assert.equal(await redis.publish('user_noti:bob', message({ n: 3 })), 1);

  for (const tab of tabs) assert.deepEqual((await tab.nextJson()).payload, { n: 1 });
  // Bob's first event is his own, so none of Ann's arrived before.
  assert.deepEqual((await other.nextJson()).payload, { n: 3 });
});

test('a closed tab is no longer counted', async (t) => {
  const server = await Fanfare.start(t);
  const redis = server.redis();
  const [stays, goes] = [await server.client('ann'), await server.client('ann')];
  goes.socket.close(1000);
  assert.equal((await goes.closed).code, 1000);
  await waitUntil(async () => (await redis.publish('user_noti:ann', message({}))) === 1, 'one tab left');
  assert.equal((await stays.nextJson()).type, 'notification');
});

test('messages of one publisher arrive in order', async (t) => {
  const server = await Fanfare.start(t);
  const client = await server.client('user123');
  const pipeline = server.redis().pipeline();
  for (let n = 0; n < 200; n++) pipeline.publish('user_noti:user123', message(n));
  const answers = await pipeline.exec();
  assert.ok(answers.every(([error, count]) => error === null && count === 1));
  for (let n = 0; n < 200; n++) assert.equal((await client.nextJson()).payload, n);
});

test('a user id is everything after the first colon', async (t) => {
  const server = await Fanfare.start(t);
  const redis = server.redis();
  for (const user of ['a:b', 'with space', 'é😀', 'user_noti:x', 'x'.repeat(200)]) {
    const client = await server.client(user);
    assert.equal(await redis.publish(`user_noti:${user}`, message({ user })), 1, user);
    assert.deepEqual((await client.nextJson()).payload, { user });
  }
});

test('user ids differ by upper and lower case', async (t) => {
  const server = await Fanfare.start(t);
  await server.client('Ann');
  assert.equal(await server.redis().publish('user_noti:ann', message({})), 0);
});

test('a large message reaches the client whole', async (t) => {
  const server = await Fanfare.start(t);
  const client = await server.client('user123');
  const text = 'x'.repeat(1 << 20);
  assert.equal(await server.redis().publish('user_noti:user123', message(text)), 1);
  assert.equal((await client.nextJson()).payload, text);
});
