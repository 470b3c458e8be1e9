// Components of pages, and the format of figures and times.

import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

// --- figures and times ---

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export const count = (value: number): string => (value < 100_000 ? whole.format(value) : short.format(value));
export const rate = (value: number): string => (value < 10 ? value.toFixed(1) : count(value));
export const bytes = (value: number): string =>
  value < 1024 ? `${value} B` : value < 1 << 20 ? `${(value / 1024).toFixed(1)} KiB` : `${(value / (1 << 20)).toFixed(1)} MiB`;

export function seconds(value: number): string {
  if (value < 0.001) return `${whole.format(value * 1_000_000)} µs`;
  if (value < 1) return `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
  if (value < 90) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  if (value < 5400) return `${whole.format(value / 60)} min`;
  return value < 172_800 ? `${whole.format(value / 3600)} h` : `${whole.format(value / 86_400)} d`;
}

export const ago = (time: string): string => seconds(Math.max(0, (Date.now() - Date.parse(time)) / 1000));
// Ids begin with the time, so two of them differ at the end.
export const brief = (id: string): string => id.slice(-8);

// The beginning of an event's data, for a table.
const SHOWN = 2000;
export function Data({ of }: { of: unknown }) {
  const text = JSON.stringify(of);
  return <code class="name">{text.slice(0, SHOWN)}{text.length > SHOWN && <span class="muted">… ({count(text.length)} characters)</span>}</code>;
}

// --- components ---

export function Note({ kind = 'info', children }: { kind?: 'info' | 'warning' | 'error'; children: ComponentChildren }) {
  return <p class={`note ${kind}`} role={kind === 'error' ? 'alert' : 'status'}>{children}</p>;
}

export const Degraded = ({ of }: { of?: { degraded?: true } | null }) =>
  of?.degraded ? <Note kind="warning">A node did not answer: its part is missing here.</Note> : null;

export const Trouble = ({ error }: { error: string }) => (error ? <Note kind="error">{error}</Note> : null);

export function Figure({ name, value, more, alarm = false, line }: { name: string; value: string; more?: string; alarm?: boolean; line?: number[] }) {
  return (
    <div class={alarm ? 'figure alarm' : 'figure'}>
      <dt>{name}</dt>
      <dd><strong>{value}</strong>{more && <span class="muted">{more}</span>}</dd>
      {line && line.length > 1 && <Sparkline values={line} />}
    </div>
  );
}

function Sparkline({ values }: { values: number[] }) {
  const most = Math.max(...values, 1e-9);
  const at = (value: number, index: number): string =>
    `${((index / (values.length - 1)) * 100).toFixed(1)},${(23 - (value / most) * 22).toFixed(1)}`;
  return (
    <svg class="sparkline" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={values.map(at).join(' ')} />
    </svg>
  );
}

export interface Column<T> {
  name: string;
  cell: (row: T) => ComponentChildren;
  // Figures are aligned to the right.
  number?: boolean;
}

export function Table<T>({ rows, columns, id, caption, empty }: {
  rows: T[]; columns: Column<T>[]; id: (row: T) => string; caption: string; empty: string;
}) {
  if (rows.length === 0) return <p class="muted empty">{empty}</p>;
  return (
    <div class="table">
      <table>
        <caption>{caption}</caption>
        <thead><tr>{columns.map(({ name, number }) => <th scope="col" class={number ? 'number' : ''}>{name}</th>)}</tr></thead>
        <tbody>
          {rows.map((row) => (
            <tr key={id(row)}>
              {columns.map(({ name, cell, number }) => <td data-name={name} class={number ? 'number' : ''}><span>{cell(row)}</span></td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Field({ label, ...rest }: { label: string } & JSX.InputHTMLAttributes<HTMLInputElement>) {
  return <label class="field"><span>{label}</span><input {...rest} /></label>;
}

// A `select` has no default value: the first chosen option is marked itself.
export function Choice({ label, options, defaultValue, ...rest }: { label: string; options: [string, string][] } & JSX.SelectHTMLAttributes<HTMLSelectElement>) {
  return (
    <label class="field">
      <span>{label}</span>
      <select {...rest}>{options.map(([value, text]) => <option value={value} selected={defaultValue === undefined ? undefined : value === defaultValue}>{text}</option>)}</select>
    </label>
  );
}

// The values of a form, by the names of its fields.
export const fields = (event: Event): Record<string, string> => {
  event.preventDefault();
  const form = new FormData(event.currentTarget as HTMLFormElement);
  return Object.fromEntries([...form].map(([name, value]) => [name, String(value)]));
};

export function Form({ children, send, button }: { children: ComponentChildren; send: (values: Record<string, string>) => Promise<string>; button: string }) {
  const [said, setSaid] = useState<{ good: boolean; text: string } | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event): Promise<void> => {
    const values = fields(event);
    setBusy(true);
    try {
      setSaid({ good: true, text: await send(values) });
    } catch (failure) {
      setSaid({ good: false, text: (failure as Error).message });
    } finally {
      setBusy(false);
    }
  };
  return (
    <form onSubmit={(event) => void submit(event)}>
      {children}
      <button disabled={busy}>{button}</button>
      {said?.text && <Note kind={said.good ? 'info' : 'error'}>{said.text}</Note>}
    </form>
  );
}

export function Dialog({ title, close, children }: { title: string; close: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} onClose={close} aria-label={title}>
      <header><h2>{title}</h2><button class="quiet" onClick={() => dialog.current?.close()} aria-label="Close">✕</button></header>
      {children}
    </dialog>
  );
}
