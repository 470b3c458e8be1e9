// HTTP callers and clients of Node's own libraries: `fetch` with a refused body, and a client that reconnects
// at once under the same name.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { Fanfare } from './fanfare.js';

const BODY = 'x'.repeat(20 << 20);

test('fetch reads the response to a refused body', async (t) => {
  const server = await Fanfare.start(t, { listener: [{ dialects: ['broadcast'] }] });
  const cases = [
    ['/api/v1/events', 'POST', {}, 413],
    ['/notify', 'POST', {}, 413],
    ['/notify', 'POST', { authorization: 'Bearer stale' }, 401],
    ['/api/v1/events', 'POST', { authorization: 'Bearer stale' }, 401],
    ['/api/v1/events', 'PUT', {}, 405],
    ['/nothing', 'POST', {}, 404],
  ];
  for (const [path, method, headers, expected] of cases) {
    for (let n = 0; n < 3; n++) {
      const answer = await fetch(server.http(path), { method, headers, body: BODY });
      assert.equal(answer.status, expected, `${method} ${path}`);
      await answer.text();
    }
  }
});

test('a client that closes and reconnects at once keeps its name', async (t) => {
  const server = await Fanfare.start(t, { listener: [{ dialects: ['broadcast'] }], broadcast: { notification_interval: '0s' } });
  const address = `${server.http('/ws').replace('http', 'ws')}?client_id=same`;
  const dial = () => {
    const socket = new WebSocket(address);
    socket.first = once(socket, 'message').then(([data]) => JSON.parse(data).type);
    socket.ended = once(socket, 'close').then(([code, reason]) => `${code} ${reason}`);
    return socket;
  };
  let socket = dial();
  for (let n = 0; n < 200; n++) {
    assert.equal(await Promise.race([socket.first, socket.ended]), 'welcome', `connection ${n}`);
    socket.close();
    socket = dial();
  }
  assert.equal(await Promise.race([socket.first, socket.ended]), 'welcome');
  const second = dial();
  assert.match(await Promise.race([second.first, second.ended]), /^1008 /, 'a name that stays taken is refused');
  socket.terminate();
});

test('a client whose socket is lost reconnects at once with its name', async (t) => {
  const server = await Fanfare.start(t, { listener: [{ dialects: ['broadcast'] }], broadcast: { notification_interval: '0s' } });
  const { port } = new URL(server.http('/'));
  const request = [
    'GET /ws?client_id=same HTTP/1.1', 'Host: localhost', 'Upgrade: websocket', 'Connection: Upgrade',
    'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', '', '',
  ].join('\r\n');
  // The text until the first message is complete.
  const dial = async () => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.on('error', () => {});
    socket.write(request);
    let text = '';
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
      text += chunk.toString('latin1');
      if (/"welcome"|already|\x03\xf0/.test(text)) break;
    }
    return [socket, text];
  };
  for (let n = 0; n < 60; n++) {
    const [socket, text] = await dial();
    assert.match(text, /"welcome"/, `connection ${n}`);
    if (n % 2) socket.destroy();
    else socket.resetAndDestroy();
  }
});
