// Starts the real binary with the test's own configuration, and WebSocket clients that store the received frames.

import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { WebSocket } from 'ws';

export { sleep };
export const SECRET = 'a-secret-for-tests-that-is-long-enough-for-hs256';
const START_TIMEOUT = 20_000;
const ANSWER_TIMEOUT = 30_000;
const END_TIMEOUT = 60_000;
const ANY_PORT = '127.0.0.1:0';

// The program under test: FANFARE_BIN, or else the binary that cargo built last.
function binary() {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const built = ['debug', 'release'].map((profile) => join(root, 'target', profile, 'fanfare')).filter(existsSync);
  built.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  // Servers run in their own folders, so a relative path would be wrong.
  const found = process.env.FANFARE_BIN ? resolve(process.env.FANFARE_BIN) : built[0];
  if (!found) throw new Error('no fanfare binary: build one, or set FANFARE_BIN');
  return found;
}

// Calls `condition` until it returns a true value, and returns that.
export async function waitUntil(condition, what, timeout = ANSWER_TIMEOUT) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`${what} did not come true within ${timeout} ms`);
    await sleep(20);
  }
}

// Resolves as `promise` does, or fails after a time: an endless wait would not show the cause.
function within(timeout, promise, what) {
  const late = sleep(timeout, undefined, { ref: false }).then(() => {
    throw new Error(`no ${what} within ${timeout} ms`);
  });
  return Promise.race([promise, late]);
}

const base64 = (text) => Buffer.from(text).toString('base64url');

// A signed HS256 token; a claim given as undefined is left out.
export function token(user, { ttl = 3600, secret = SECRET, algorithm = 'sha256', header = {}, ...claims } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const signed = [{ alg: 'HS256', typ: 'JWT', ...header }, { sub: user, iat: now, exp: now + ttl, ...claims }]
    .map((part) => base64(JSON.stringify(part)))
    .join('.');
  return `${signed}.${createHmac(algorithm, secret).update(signed).digest('base64url')}`;
}

// An object of tables as TOML; an array of objects becomes an array of tables.
function toml(config) {
  const isTable = (value) => value && typeof value === 'object' && !Array.isArray(value);
  const pairs = (entries) => Object.entries(entries).map(([k, v]) => `${k} = ${isTable(v) ? `{ ${pairs(v).join(', ')} }` : JSON.stringify(v)}`);
  const table = (head, entries) => [head, ...pairs(entries), ''];
  const isTables = (value) => Array.isArray(value) && typeof value[0] === 'object';
  const top = Object.entries(config).filter(([, v]) => typeof v !== 'object');
  const rest = Object.entries(config).filter(([, v]) => typeof v === 'object');
  return [
    ...table('', Object.fromEntries(top)),
    ...rest.flatMap(([name, v]) => (isTables(v) ? v.flatMap((t) => table(`[[${name}]]`, t)) : table(`[${name}]`, v))),
  ].join('\n');
}

// One running server: notify on a free port, the RESP door on another, both on loopback.
export class Fanfare {
  #cleanups = [];
  #exited;

  // start(t) or start(t, {notify: {...}, resp: {...}}): runs until the test `t` ends. A listener without a port gets one
  // from the system.
  static async start(t, { listener = [{ dialects: ['notify'] }], ...tables } = {}) {
    const hasDoor = (tables.broker?.kind ?? 'memory') === 'memory';
    const server = new Fanfare(t, listener.map(({ prefix = '' }) => prefix), listener.length + Number(hasDoor));
    server.password = tables.resp?.password;
    const config = {
      data_dir: join(server.folder, 'data'),
      listener: listener.map((table) => ({ bind: ANY_PORT, ...table })),
      ...tables,
      auth: { jwt_secret: SECRET, ...tables.auth },
      ...(hasDoor && { resp: { bind: ANY_PORT, ...tables.resp } }),
      shutdown: { timeout: '10s', drain_window: '200ms', ...tables.shutdown },
    };
    writeFileSync(join(server.folder, 'fanfare.toml'), toml(config));
    return server.#run(['--config', join(server.folder, 'fanfare.toml')]);
  }

  // Runs `fanfare serve` with these arguments and no file: it chooses the ports itself, `listeners` of them.
  static async startBare(t, listeners, ...args) {
    return new Fanfare(t, [], listeners).#run(args, { JWT_SECRET_KEY: SECRET });
  }

  constructor(t, prefixes, expected) {
    this.prefixes = prefixes;
    this.expected = expected;
    this.folder = mkdtempSync(join(tmpdir(), 'fanfare-'));
    t.after(() => this.#end());
  }

  async #run(args, variables = {}) {
    // Not the developer's environment: the server would use a JWT_SECRET_KEY or REDIS_URL there.
    const env = Object.fromEntries(['PATH', 'HOME', 'TMPDIR', 'LANG'].map((name) => [name, process.env[name] ?? '']));
    const log = openSync(join(this.folder, 'log'), 'w');
    this.process = spawn(binary(), ['serve', ...args], {
      cwd: this.folder,
      env: { ...env, ...variables },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.#exited = new Promise((resolve) => this.process.on('exit', (code, signal) => resolve(code ?? signal)));
    await waitUntil(() => this.#isUp(), 'a server that answers /livez', START_TIMEOUT);
    return this;
  }

  async #isUp() {
    if (this.process.exitCode !== null) throw new Error(`fanfare ended with ${this.process.exitCode}:\n${this.log()}`);
    if (this.addresses.length < this.expected) return false;
    return (await this.fetch('/livez').catch(() => undefined))?.status === 200;
  }

  // The exit code, or the signal that ended the process.
  get exited() {
    return within(END_TIMEOUT, this.#exited, 'end of the process');
  }

  // The log's lines about each listener, in order, and then about the RESP door: {port, serves}.
  get addresses() {
    const lines = this.log().split('\n').slice(0, -1).filter((line) => line.includes('"message":"listening"'));
    return lines.map((line) => JSON.parse(line)).map(({ address, serves }) => ({ port: Number(address.split(':').at(-1)), serves }));
  }

  // The port of the first listener.
  get port() {
    return this.addresses[0].port;
  }

  get respPort() {
    return this.addresses.find(({ serves }) => serves.startsWith('Redis'))?.port;
  }

  // Every test ends with a clean drain, unless it stopped the server itself.
  async #end() {
    for (const cleanup of this.#cleanups) await cleanup();
    let code = 0;
    if (this.process?.exitCode === null && this.process.signalCode === null) {
      this.process.kill('SIGTERM');
      code = await Promise.race([this.#exited, sleep(15_000, 'no end', { ref: false })]);
      this.process.kill('SIGKILL');
    }
    const log = this.folder ? this.log() : '';
    if (this.folder) rmSync(this.folder, { recursive: true, force: true });
    if (code !== 0) throw new Error(`fanfare ended with ${code}:\n${log}`);
  }

  log() {
    return readFileSync(join(this.folder, 'log'), 'utf8');
  }

  fetch(path, options) {
    return fetch(this.http(path), { headers: { connection: 'close' }, ...options });
  }

  // The connections of all dialects.
  async connections() {
    const text = await (await this.fetch('/metrics/prometheus')).text();
    const counts = text.matchAll(/^fanfare_connections\{[^}]*\} (\d+)$/gm);
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  // The address of a path on the listener with this number, below its prefix.
  http(path, listener = 0) {
    return `http://127.0.0.1:${this.addresses[listener].port}${this.prefixes[listener] ?? ''}${path}`;
  }

  // The same for a WebSocket, with a token of `user` if one is given.
  ws(path = '/ws', { user, claims, query = {}, listener } = {}) {
    const search = new URLSearchParams({ ...(user === undefined ? {} : { token: token(user, claims) }), ...query });
    return `ws${this.http(path, listener).slice('http'.length)}${`${search}` && `?${search}`}`;
  }

  async metrics() {
    return (await this.fetch('/metrics')).json();
  }

  // The WebSocket address with any query.
  url(query = '') {
    return `${this.ws()}${query}`;
  }

  // An open client of `user`.
  async client(user, options) {
    const client = this.dial(`?token=${token(user, options?.claims)}`, options);
    await client.opened;
    return client;
  }

  dial(query, options) {
    return this.connect(this.url(query), options);
  }

  // A client of any address of this server; await `opened` or `refused`.
  connect(url, options) {
    const client = new Client(url, options);
    this.#cleanups.push(() => client.socket.terminate());
    return client;
  }

  // An ioredis connection to the RESP door.
  redis(options) {
    const redis = new Redis({ port: this.respPort, host: '127.0.0.1', password: this.password, ...options });
    this.#cleanups.push(() => redis.disconnect());
    return redis;
  }
}

// A `ws` client that stores every frame as text, in order.
export class Client {
  #frames = [];
  #waiting = [];
  #closed;
  #opened;
  #refused;

  constructor(url, { perMessageDeflate = false, protocols = [], ...options } = {}) {
    this.socket = new WebSocket(url, protocols, { perMessageDeflate, ...options });
    this.socket.on('message', (data, isBinary) => this.#arrived(isBinary ? data : data.toString()));
    this.socket.on('error', () => {});
    this.#closed = new Promise((resolve) =>
      this.socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })),
    );
    this.#opened = new Promise((resolve, reject) => {
      this.socket.on('open', resolve);
      this.socket.on('error', reject);
    });
    this.#opened.catch(() => {});
    this.#refused = new Promise((resolve, reject) => {
      this.socket.on('open', () => reject(new Error('the handshake was not refused')));
      this.socket.on('error', reject);
      this.socket.on('unexpected-response', async (_request, response) => {
        let body = '';
        for await (const chunk of response) body += chunk;
        resolve({ status: response.statusCode, headers: response.headers, body });
        this.socket.terminate();
      });
    });
    this.#refused.catch(() => {});
  }

  get opened() {
    return within(ANSWER_TIMEOUT, this.#opened, 'handshake');
  }

  // A handshake that was refused: {status, headers, body}.
  get refused() {
    return within(ANSWER_TIMEOUT, this.#refused, 'refusal');
  }

  // The end of the connection: {code, reason}.
  get closed() {
    return within(END_TIMEOUT, this.#closed, 'end of the connection');
  }

  #arrived(frame) {
    const waiter = this.#waiting.shift();
    if (waiter) waiter(frame);
    else this.#frames.push(frame);
  }

  // The next frame, unchanged.
  async next(timeout = ANSWER_TIMEOUT) {
    if (this.#frames.length) return this.#frames.shift();
    let waiter;
    const frame = new Promise((resolve) => this.#waiting.push((waiter = resolve)));
    try {
      return await within(timeout, frame, 'frame');
    } finally {
      this.#waiting = this.#waiting.filter((other) => other !== waiter);
    }
  }

  async nextJson() {
    return JSON.parse(await this.next());
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
  }

  // Frames that arrived and were not read yet.
  get unread() {
    return this.#frames.length;
  }
}

// An event for a user, as a publisher sends it.
export const message = (payload, type = 'notification') => JSON.stringify({ type, payload });
