// Accepted handshakes, and the answers to refused ones.

import assert from 'node:assert/strict';
import { request } from 'node:http';
import { test } from 'node:test';
import { Fanfare, message, token, waitUntil } from './fanfare.js';

const MISSING = '{"error":"missing token parameter"}';
const INVALID = '{"error":"invalid or expired token"}';

async function refusal(server, query, options) {
  const { status, headers, body } = await server.dial(query, options).refused;
  return { status, type: headers['content-type'], body: body.trim() };
}

test('no token is 401 with the documented body', async (t) => {
  const server = await Fanfare.start(t);
  const expected = { status: 401, type: 'application/json', body: MISSING };
  for (const query of ['', '?', '?other=1', '?token', '?token=']) {
    assert.deepEqual(await refusal(server, query), expected, query);
  }
});

test('an invalid token is 401 with the documented body', async (t) => {
  const server = await Fanfare.start(t);
  const good = token('user123');
  const [header, claims, signature] = good.split('.');
  const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url');
  const bad = {
    'not a token': 'garbage',
    'two dots and nothing': '..',
    'another secret': token('user123', { secret: 'another-secret-of-a-fitting-length-for-hs256' }),
    'expired': token('user123', { ttl: -10 }),
    'no expiry': token('user123', { exp: undefined }),
    'expiry that is no number': token('user123', { exp: 'tomorrow' }),
    'no user': token(undefined),
    'empty user': token(''),
    'algorithm none, unsigned': `${none}.${claims}.`,
    'algorithm none, signed': `${none}.${claims}.${signature}`,
    'algorithm not the configured one': token('user123', { algorithm: 'sha512', header: { alg: 'HS512' } }),
    'changed claims': `${header}.${Buffer.from('{"sub":"admin","exp":9999999999}').toString('base64url')}.${signature}`,
    'cut signature': good.slice(0, -4),
    'not valid yet': token('user123', { nbf: Math.floor(Date.now() / 1000) + 3600 }),
  };
  for (const [what, offered] of Object.entries(bad)) {
    const expected = { status: 401, type: 'application/json', body: INVALID };
    assert.deepEqual(await refusal(server, `?token=${offered}`), expected, what);
  }
});

test('a token needs no more than a user and an expiry', async (t) => {
  const server = await Fanfare.start(t);
  await server.client('user123', { claims: { iat: undefined } });
});

test('tokens, payloads and passwords are in no log line', async (t) => {
  const server = await Fanfare.start(t, { resp: { password: 'door-password-8341' } });
  const good = token('user123');
  const client = server.dial(`?token=${good}`);
  await client.opened;
  await refusal(server, '?token=secret-looking-garbage');
  await server.redis().publish('user_noti:user123', message({ text: 'payload-canary-5530' }));
  await client.next();
  await server.redis().publish('user_noti:user123', 'broken-canary-1187');
  await waitUntil(async () => (await server.metrics()).messages.failed === 1, 'one failed message');
  const log = server.log();
  for (const secret of [good.split('.')[2], 'secret-looking', 'payload-canary', 'broken-canary', 'door-password']) {
    assert.ok(!log.includes(secret), secret);
  }
});

test('at capacity the response is 503 with an empty body, and a freed connection can be used', async (t) => {
  const server = await Fanfare.start(t, { notify: { max_connections: 2 } });
  const [first] = [await server.client('ann'), await server.client('bob')];
  const { status, body } = await refusal(server, `?token=${token('cat')}`);
  assert.deepEqual({ status, body }, { status: 503, body: '' });
  assert.equal((await refusal(server, '?token=bad')).status, 401);

  const health = await server.fetch('/health');
  assert.equal(health.status, 503);
  assert.deepEqual(pick(await health.json(), 'status', 'reason'), { status: 'unhealthy', reason: 'At capacity' });

  first.socket.close();
  await first.closed;
  // The client may see the end before its place is free: another thread answers the next client.
  await waitUntil(async () => (await server.connections()) === 1, 'a free place');
  await server.client('cat');
});

test('limits per user and per address are also 503', async (t) => {
  const perUser = await Fanfare.start(t, { notify: { max_connections_per_user: 1 } });
  await perUser.client('ann');
  await perUser.client('bob');
  assert.equal((await refusal(perUser, `?token=${token('ann')}`)).status, 503);

  const perAddress = await Fanfare.start(t, { notify: { max_connections_per_ip: 2 } });
  await perAddress.client('ann');
  await perAddress.client('bob');
  assert.equal((await refusal(perAddress, `?token=${token('cat')}`)).status, 503);
});

test('an Origin that is not on the list is 403', async (t) => {
  const server = await Fanfare.start(t, { auth: { allowed_origins: ['https://app.example'] } });
  for (const origin of ['https://evil.example', 'https://app.example.evil.example', 'http://app.example', 'null']) {
    assert.equal((await refusal(server, `?token=${token('ann')}`, { origin })).status, 403, origin);
  }
  await server.client('ann', { origin: 'https://app.example' });
  await server.client('ann'); // not a browser: it sends no Origin
});

test('by default any Origin may connect', async (t) => {
  const server = await Fanfare.start(t);
  await server.client('ann', { origin: 'https://anywhere.example' });
});

test('compression is negotiated when on, and messages survive it', async (t) => {
  const server = await Fanfare.start(t, { notify: { compression: true } });
  const compressing = await server.client('ann', { perMessageDeflate: true });
  const plain = await server.client('ann');
  assert.match(compressing.socket.extensions, /permessage-deflate/);
  assert.equal(plain.socket.extensions, '');
  for (const text of ['short', 'repetition '.repeat(10_000)]) {
    assert.equal(await server.redis().publish('user_noti:ann', message(text)), 2);
    for (const client of [compressing, plain]) assert.equal((await client.nextJson()).payload, text);
  }
});

test('compression is not negotiated when off', async (t) => {
  const server = await Fanfare.start(t, { notify: { compression: false } });
  const client = await server.client('ann', { perMessageDeflate: true });
  assert.equal(client.socket.extensions, '');
});

test('an incomplete handshake is refused, and the server continues', async (t) => {
  const server = await Fanfare.start(t);
  const proper = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  };
  const cases = {
    'no upgrade': [{}, 'GET'],
    'no key': [{ ...proper, 'sec-websocket-key': undefined }, 'GET'],
    'a key that is not 16 bytes': [{ ...proper, 'sec-websocket-key': 'c2hvcnQ=' }, 'GET'],
    'version 8': [{ ...proper, 'sec-websocket-version': '8' }, 'GET'],
    'POST': [proper, 'POST'],
  };
  for (const [what, [headers, method]] of Object.entries(cases)) {
    const status = await statusOf(server, method, headers);
    assert.ok(status >= 400 && status < 500, `${what}: ${status}`);
  }
  await server.client('ann');
});

function statusOf(server, method, headers) {
  const defined = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined));
  return new Promise((resolve, reject) => {
    const call = request({ host: '127.0.0.1', port: server.port, path: `/ws?token=${token('ann')}`, method, headers: defined });
    call.on('response', (response) => (response.destroy(), resolve(response.statusCode)));
    call.on('upgrade', (_response, socket) => (socket.destroy(), resolve(101)));
    call.on('error', reject);
    call.end();
  });
}

const pick = (object, ...names) => Object.fromEntries(names.map((name) => [name, object[name]]));
