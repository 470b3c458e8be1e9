// The service API: the credential, requests, and the types of the replies that this page reads.

import { useEffect, useRef, useState } from 'preact/hooks';

// --- the credential ---

interface Credential {
  bearer: string;
  // Of a session; an API key has none.
  refresh?: string;
}

// Stored for this tab only, and never in an address.
const KEPT = 'fanfare-credential';
let credential: Credential | null = kept();
let onSignedOut = (_: string): void => {};

function kept(): Credential | null {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT) ?? 'null') as Credential | null;
  } catch {
    return null;
  }
}

function keep(given: Credential | null): void {
  credential = given;
  try {
    if (given) sessionStorage.setItem(KEPT, JSON.stringify(given));
    else sessionStorage.removeItem(KEPT);
  } catch {
    // The browser stores nothing: the credential is lost with the page.
  }
}

export const hasCredential = (): boolean => credential !== null;
export const signInWithKey = (key: string): void => keep({ bearer: key.trim() });
export const signOut = (): void => {
  if (credential?.refresh) void sent('POST', 'api/auth/logout', undefined, credential).catch(() => {});
  keep(null);
  onSignedOut('');
};
export const whenSignedOut = (then: (why: string) => void): void => void (onSignedOut = then);

interface Login {
  data: { accessToken: string; refreshToken: string };
}

export async function signInWithAccount(email: string, password: string): Promise<void> {
  const { data } = await sent<Login>('POST', 'api/auth/login', { email, password }, null);
  keep({ bearer: data.accessToken, refresh: data.refreshToken });
}

// --- requests ---

export class Failure extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

// Keeps a number of an event's data unchanged if JavaScript would round it. Browsers without `rawJSON` round it.
const { rawJSON } = JSON as { rawJSON?: (text: string) => unknown };
const exact = (_: string, value: unknown, context?: { source?: string }): unknown =>
  typeof value === 'number' && rawJSON && context?.source && context.source !== String(value) ? rawJSON(context.source) : value;

async function sent<T>(method: string, path: string, body: unknown, who: Credential | null): Promise<T> {
  const headers: Record<string, string> = {};
  if (who) headers.authorization = `Bearer ${who.bearer}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  let answer: Response;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? null : JSON.stringify(body) });
  } catch {
    throw new Failure(0, 'The server cannot be reached.');
  }
  const text = await answer.text();
  let said: unknown = null;
  try {
    said = text ? JSON.parse(text, path.startsWith('api/v1/history') ? exact : undefined) : null;
  } catch {
    throw new Failure(answer.status, `The server answered ${answer.status} with something that is not JSON.`);
  }
  if (answer.ok) return said as T;
  const { error } = (said ?? {}) as { error?: string | { message?: string } };
  throw new Failure(answer.status, (typeof error === 'string' ? error : error?.message) ?? `The server answered ${answer.status}.`);
}

let refreshing: Promise<void> | null = null;

async function refreshed(from: Credential): Promise<void> {
  const { data } = await sent<Login>('POST', 'api/auth/refresh', { refreshToken: from.refresh }, null);
  keep({ bearer: data.accessToken, refresh: data.refreshToken });
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const used = credential;
  try {
    return await sent<T>(method, `api/v1/${path}`, body, used);
  } catch (failure) {
    if (!(failure instanceof Failure) || failure.status !== 401) throw failure;
    if (used?.refresh) {
      try {
        if (credential === used) await (refreshing ??= refreshed(used).finally(() => void (refreshing = null)));
        return await sent<T>(method, `api/v1/${path}`, body, credential);
      } catch (second) {
        // Sign out only if the session has ended or lost its role.
        if (!(second instanceof Failure) || ![400, 401, 403].includes(second.status)) throw second;
        if (second.status !== 401 && credential !== used) throw second;
      }
    }
    keep(null);
    onSignedOut(used ? 'This credential is not valid (any more).' : '');
    throw failure;
  }
}

// Reads lines of JSON from `path` until they end or `stopped`, and calls `take` with each.
export async function stream<T>(path: string, take: (line: T) => void, stopped: AbortSignal): Promise<void> {
  await call('GET', 'overview'); // refreshes a token that has expired, or signs out
  const headers: Record<string, string> = credential ? { authorization: `Bearer ${credential.bearer}` } : {};
  const answer = await fetch(`api/v1/${path}`, { headers, signal: stopped });
  if (!answer.ok || !answer.body) {
    const said = (await answer.json().catch(() => null)) as { error?: { message?: string } } | null;
    throw new Failure(answer.status, said?.error?.message ?? `The server answered ${answer.status}.`);
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line) take(JSON.parse(line, exact) as T);
  }
}

export const query = (values: Record<string, string | number | undefined | null>): string => {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : '';
};

export interface Asked<T> {
  value: T | null;
  error: string;
  again: () => void;
}

// Requests `path` now, and every `every` milliseconds while the tab is visible; an empty path requests nothing.
export function useAsked<T>(path: string, every = 0): Asked<T> {
  const [state, setState] = useState<{ path: string; value: T | null; error: string }>({ path, value: null, error: '' });
  const [round, setRound] = useState(0);
  const busy = useRef(false);
  useEffect(() => {
    let live = true;
    const ask = async (): Promise<void> => {
      if (!path || busy.current || (document.hidden && every)) return;
      busy.current = true;
      try {
        const value = await call<T>('GET', path);
        if (live) setState({ path, value, error: '' });
      } catch (failure) {
        if (live) setState((old) => ({ path, value: old.path === path ? old.value : null, error: (failure as Error).message }));
      } finally {
        busy.current = false;
        if (!live) setRound((round) => round + 1);
      }
    };
    void ask();
    const timer = every ? setInterval(() => void ask(), every) : 0;
    return () => {
      live = false;
      clearInterval(timer);
    };
  }, [path, every, round]);
  return { value: state.path === path ? state.value : null, error: state.error, again: () => setRound((round) => round + 1) };
}

// --- replies ---

export interface Dialect {
  name: string;
  connections: number;
  max_connections: number;
  users: number;
  subscriptions: number;
  opened: number;
  sent: number;
  dropped: number;
  received: number;
  // By reason.
  ended: Record<string, number>;
  refused: Record<string, number>;
}

export interface NodeFigures {
  id: string;
  host: string | null;
  version: string;
  uptime_seconds: number;
  time_ms: number;
  shards: number;
  draining: boolean;
  connections: number;
  dialects: Dialect[];
  events: number;
  publications: number;
  channels: number;
  channel_subscriptions: number;
  pattern_subscriptions: number;
  rooms: number;
  delivery: { count: number; sum_seconds: number; buckets: { le: number; count: number }[] };
  broker: { status: string; round_trip_ms: number | null; error: string | null; reconnects: number; peers: Record<string, number> };
  database: { status: string; error: string | null };
  // The end of each TLS listener's certificate in seconds of Unix time; null while it has none.
  certificates: Record<string, number | null>;
  reload_refused: boolean;
  order_failed: boolean;
  problems: Record<string, { total: number; recent: number }>;
}

export interface Overview {
  nodes: NodeFigures[];
  answered_by: string;
  degraded?: true;
}

export interface Connection {
  id: string;
  dialect: string;
  user: string | null;
  name: string | null;
  address: string;
  connected_at: string;
  subscriptions: string[];
  // Present because this page asks with `details=true`.
  details: Details;
}

export interface Details {
  node: string;
  queued: number;
  queued_bytes: number;
  subscription_count: number;
  user_agent: string | null;
  silent_seconds: number;
  expires_at: string | null;
  paused: boolean;
  gets_user: boolean;
  gets_everyone: boolean;
  compressed: boolean;
}

export interface Page {
  next_cursor: string | null;
  degraded?: true;
}

export interface Problem {
  name: string;
  severity: 'error' | 'warning' | 'info';
  current: boolean;
  title: string;
  advice: string;
  total: number;
  recent: number;
  nodes: Record<string, number>;
  detail: string | null;
}

export interface Decision {
  action: string;
  verdict: string;
  decided_by: string;
  reason: string;
  rule: number | null;
  pattern: string | null;
}

export interface Explained {
  user: string | null;
  channel: string;
  room: boolean;
  decisions: Decision[];
  history: { size: number; ttl: string; rule: number | null; pattern: string | null } | null;
  receiving: Connection[];
  not_receiving: (Connection & { reason: 'not_subscribed' | 'refused' | 'expired' })[];
  degraded?: true;
}

export interface Setting {
  key: string;
  value: string;
  default: string | null;
  changed: boolean;
  origin: string;
  doc: string;
}

export interface NodeConfiguration {
  node: string;
  host: string | null;
  profile: string;
  file: string | null;
  warnings: string[];
  settings: Setting[];
}

export interface Account {
  id: string;
  email: string;
  name: string | null;
  roles: string[];
  created_at: string;
  last_login_at: string | null;
  disabled_at: string | null;
}

export interface Key {
  id: string;
  name: string;
  scopes: string[];
  created_at: string;
  last_used_at: string | null;
  revoked_at: string | null;
}

export interface TracedEvent {
  id: string;
  type: string | null;
  user: string | null;
  channel: string | null;
  published_at: string;
  sender: string | null;
  sending_connection: string | null;
  data_bytes: number;
  private_to: number | null;
  except: string | null;
}

export interface TracedEvents {
  events: TracedEvent[];
  degraded?: true;
}

export interface Rule {
  number: number;
  pattern: string;
}

export interface TracedConnection {
  id: string;
  dialect: string;
  user: string | null;
  outcome: string;
  reason: string;
  rule: Rule | null;
  frames_ahead: number;
  bytes_ahead: number;
  frame_bytes: number;
  queued_ms: number | null;
  written_ms: number | null;
  acknowledged_ms: number | null;
}

export interface TraceEntry {
  node: string;
  door: string;
  dialect: string | null;
  at: string;
  allowed_by: string | null;
  rule: Rule | null;
}

export interface Delivery {
  node: string;
  at: string;
  shards: number;
  finished_shards: number;
  matched: number;
  queued: number;
  dropped: number;
  filtered: number;
  connections: TracedConnection[];
  left_out: number;
}

export interface About {
  user: string;
  verdict: string;
  reason: string;
  connections_now: number;
}

export interface Trace {
  event: TracedEvent;
  entry: TraceEntry | null;
  deliveries: Delivery[];
  nodes: number;
  about: About | null;
  degraded?: true;
}

export interface TailEvent extends Omit<TracedEvent, 'sending_connection' | 'except'> {
  data?: unknown;
  metadata?: unknown;
}

export interface TailLine {
  open?: { node: string };
  event?: TailEvent;
  lost?: number;
  end?: { code: string; message: string };
}
