// A broadcast server on `ws`:  node ws.mjs PORT NODE_MODULES
// "/?id=00042" receives; on any connection "*text" goes to all who receive, and "@00042text" to one of them.
import { createRequire } from 'node:module';

const [port, modules] = process.argv.slice(2);
const { WebSocketServer } = createRequire(`${modules}/`)('ws');
const receivers = new Map();
const server = new WebSocketServer({ host: '127.0.0.1', port: Number(port), perMessageDeflate: false, backlog: 4096 });
server.on('connection', (socket, request) => {
  const id = new URL(request.url, 'ws://localhost').searchParams.get('id');
  if (id) {
    receivers.set(id, socket);
    socket.on('close', () => receivers.delete(id));
  }
  socket.on('error', () => {});
  socket.on('message', (data) => {
    const text = data.toString();
    if (text[0] === '*') {
      const message = text.slice(1);
      for (const receiver of receivers.values()) receiver.send(message);
    } else {
      receivers.get(text.slice(1, 6))?.send(text.slice(6));
    }
  });
});
