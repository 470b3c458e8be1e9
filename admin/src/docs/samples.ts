// Samples of a request for a dozen tools. Texts are quoted for each language; a sample never contains a key.

export interface Request { method: string; url: string; headers: [string, string][]; body?: string }

const shell = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
const single = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
const double = (text: string): string => JSON.stringify(text);
const power = (text: string): string => `'${text.replaceAll("'", "''")}'`;
const raw = (text: string): string => `r###"${text}"###`;
const lines = (...all: (string | false | undefined)[]): string => all.filter((line) => typeof line === 'string').join('\n');
const title = (method: string): string => method.charAt(0) + method.slice(1).toLowerCase();

export const SAMPLES: Record<string, (request: Request) => string> = {
  curl: ({ method, url, headers, body }) =>
    [`curl ${method === 'GET' ? '' : `-X ${method} `}${shell(url)}`, ...headers.map(([name, value]) => `-H ${shell(`${name}: ${value}`)}`),
      ...(body === undefined ? [] : [`--data ${shell(body)}`])].join(' \\\n  '),
  HTTPie: ({ method, url, headers, body }) =>
    [`${body === undefined ? '' : `printf %s ${shell(body)} | `}http ${method} ${shell(url)}`,
      ...headers.map(([name, value]) => shell(`${name}:${value}`))].join(' \\\n  '),
  wget: ({ method, url, headers, body }) =>
    [`wget -qO- --method=${method}`, ...headers.map(([name, value]) => `--header=${shell(`${name}: ${value}`)}`),
      ...(body === undefined ? [] : [`--body-data=${shell(body)}`]), shell(url)].join(' \\\n  '),
  JavaScript: ({ method, url, headers, body }) => lines(
    `const response = await fetch(${double(url)}, {`,
    `  method: ${double(method)},`,
    headers.length > 0 && `  headers: ${JSON.stringify(Object.fromEntries(headers))},`,
    body !== undefined && `  body: ${double(body)},`,
    '});',
    'console.log(response.status, await response.text());'),
  Python: ({ method, url, headers, body }) => lines(
    'import requests', '',
    `response = requests.request(${double(method)}, ${double(url)},`,
    `    headers={${headers.map(([name, value]) => `${double(name)}: ${double(value)}`).join(', ')}},`,
    body !== undefined && `    data=${double(body)}.encode(),`,
    ')', 'print(response.status_code, response.text)'),
  PHP: ({ method, url, headers, body }) => lines(
    `$request = curl_init(${single(url)});`,
    'curl_setopt_array($request, [',
    `    CURLOPT_CUSTOMREQUEST => ${single(method)},`,
    `    CURLOPT_HTTPHEADER => [${headers.map(([name, value]) => single(`${name}: ${value}`)).join(', ')}],`,
    body !== undefined && `    CURLOPT_POSTFIELDS => ${single(body)},`,
    '    CURLOPT_RETURNTRANSFER => true,', ']);', 'echo curl_exec($request);'),
  Ruby: ({ method, url, headers, body }) => lines(
    "require 'net/http'", '',
    `uri = URI(${single(url)})`,
    `request = Net::HTTP::${title(method)}.new(uri)`,
    ...headers.map(([name, value]) => `request[${single(name)}] = ${single(value)}`),
    body !== undefined && `request.body = ${single(body)}`,
    "response = Net::HTTP.start(uri.host, uri.port, use_ssl: uri.scheme == 'https') { |http| http.request(request) }",
    'puts response.code, response.body'),
  Go: ({ method, url, headers, body }) => lines(
    `request, _ := http.NewRequest(${double(method)}, ${double(url)}, ${body === undefined ? 'nil' : `strings.NewReader(${double(body)})`})`,
    ...headers.map(([name, value]) => `request.Header.Set(${double(name)}, ${double(value)})`),
    'response, err := http.DefaultClient.Do(request)'),
  Java: ({ method, url, headers, body }) => lines(
    `var request = HttpRequest.newBuilder(URI.create(${double(url)}))`,
    ...headers.map(([name, value]) => `    .header(${double(name)}, ${double(value)})`),
    `    .method(${double(method)}, BodyPublishers.${body === undefined ? 'noBody()' : `ofString(${double(body)})`}).build();`,
    'var response = HttpClient.newHttpClient().send(request, BodyHandlers.ofString());'),
  'C#': ({ method, url, headers, body }) => lines(
    `var request = new HttpRequestMessage(new HttpMethod(${double(method)}), ${double(url)});`,
    ...headers.filter(([name]) => name !== 'Content-Type').map(([name, value]) => `request.Headers.Add(${double(name)}, ${double(value)});`),
    body !== undefined && `request.Content = new StringContent(${double(body)}, Encoding.UTF8, "application/json");`,
    'var response = await new HttpClient().SendAsync(request);'),
  Rust: ({ method, url, headers, body }) => lines(
    'let response = reqwest::Client::new()',
    `    .request(reqwest::Method::${method}, ${raw(url)})`,
    ...headers.map(([name, value]) => `    .header(${raw(name)}, ${raw(value)})`),
    body !== undefined && `    .body(${raw(body)})`,
    '    .send().await?;'),
  PowerShell: ({ method, url, headers, body }) => [
    `Invoke-RestMethod -Method ${method} -Uri ${power(url)}`,
    ...(headers.length > 0 ? [`-Headers @{ ${headers.map(([name, value]) => `${power(name)} = ${power(value)}`).join('; ')} }`] : []),
    ...(body === undefined ? [] : [`-Body ${power(body)}`]),
  ].join(' `\n  '),
};
