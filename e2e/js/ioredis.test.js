// The RESP door, as ioredis sees it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fanfare, message } from './fanfare.js';

test('the right password publishes', async (t) => {
  const server = await Fanfare.start(t, { resp: { password: 'open sesame' } });
  const client = await server.client('ann');
  const redis = server.redis();
  assert.equal(await redis.ping(), 'PONG');
  assert.equal(await redis.publish('user_noti:ann', message({ n: 1 })), 1);
  assert.deepEqual((await client.nextJson()).payload, { n: 1 });
  assert.equal(await redis.quit(), 'OK');
});

test('without the right password no event is published', async (t) => {
  const server = await Fanfare.start(t, { resp: { password: 'open sesame' } });
  const options = { retryStrategy: null, enableReadyCheck: false, lazyConnect: true };
  const wrong = server.redis({ ...options, password: 'guess' });
  const none = server.redis({ ...options, password: undefined });
  for (const redis of [wrong, none]) {
    redis.on('error', () => {});
    await assert.rejects(redis.publish('user_noti:ann', message({})), /WRONGPASS|NOAUTH|closed/);
  }
});

test('without a configured password any is accepted', async (t) => {
  const server = await Fanfare.start(t);
  const redis = server.redis({ username: 'default', password: 'whatever' });
  assert.equal(await redis.publish('user_noti:ann', message({})), 0);
});

test("the commands of a client's start are answered", async (t) => {
  const server = await Fanfare.start(t);
  const redis = server.redis({ db: 0, connectionName: 'backend', enableReadyCheck: true });
  assert.equal(await redis.ping('hello'), 'hello');
  assert.equal(await redis.client('GETNAME'), 'backend');
  assert.match(await redis.info(), /redis_version:/);
  assert.equal(await redis.select(0), 'OK');
});

test('an unknown command is an error, and the connection stays open', async (t) => {
  const server = await Fanfare.start(t);
  const redis = server.redis();
  await assert.rejects(redis.get('key'), /ERR/);
  await assert.rejects(redis.set('key', 'value'), /ERR/);
  assert.equal(await redis.ping(), 'PONG');
});

test('PUBSUB counts the receivers', async (t) => {
  const server = await Fanfare.start(t);
  const redis = server.redis();
  await server.client('ann');
  await server.client('ann');
  await server.client('bob');
  assert.deepEqual((await redis.pubsub('CHANNELS', 'user_noti:*')).sort(), ['user_noti:ann', 'user_noti:bob']);
  assert.deepEqual(await redis.pubsub('CHANNELS', 'user_noti:b*'), ['user_noti:bob']);
  const [name, count, ...rest] = await redis.pubsub('NUMSUB', 'user_noti:ann', 'user_noti:nobody');
  assert.equal(name, 'user_noti:ann');
  assert.ok(count > 0);
  assert.deepEqual(rest, ['user_noti:nobody', 0]);
  assert.deepEqual(await redis.pubsub('NUMSUB', 'fanfare:everyone'), ['fanfare:everyone', 3]);
  assert.equal(await redis.pubsub('NUMPAT'), 0);
});
