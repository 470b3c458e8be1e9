// A broadcast server on socket.io:  node socketio.mjs PORT NODE_MODULES
// A client with `id` in its query receives; "all" with a text goes to all of them, and "one" with an id and a text to one.
import { createRequire } from 'node:module';

const [port, modules] = process.argv.slice(2);
const { createServer } = await import('node:http');
const { Server } = createRequire(`${modules}/`)('socket.io');
const http = createServer();
const hour = 3600_000; // the load generator answers no pings
const io = new Server(http, { transports: ['websocket'], perMessageDeflate: false, pingInterval: hour, pingTimeout: hour });
io.on('connection', (socket) => {
  const { id } = socket.handshake.query;
  if (id) socket.join(['receivers', id]);
  socket.on('all', (text) => io.to('receivers').emit('m', text));
  socket.on('one', (to, text) => io.to(to).emit('m', text));
});
http.listen({ host: '127.0.0.1', port: Number(port), backlog: 4096 });
