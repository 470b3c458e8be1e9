//! A minimal HTTP client: sends a request, or many requests over many connections.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use memchr::memmem;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::client;

/// The limit of a request. The server answers a queued one within seconds.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest response; real ones are far shorter.
const MAX_RESPONSE: usize = 64 * 1024;
const CONCURRENCY: usize = 64;

pub(crate) struct Client {
    address: SocketAddr,
    socket: TcpStream,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, String> {
        let socket = client::connect(address).await?;
        Ok(Self { address, socket })
    }

    pub(crate) async fn open_many(address: SocketAddr, count: usize) -> Result<Vec<Self>, String> {
        let opening = stream::iter(0..count).map(|_| Self::open(address));
        opening.buffer_unordered(CONCURRENCY).try_collect().await
    }

    /// Sends `request` and waits for the response. Reopens a connection that the server has closed meanwhile.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<Response, String> {
        let sending = async {
            if let Some(response) = self.try_send(request).await? {
                return Ok(response);
            }
            self.socket = client::connect(self.address).await?;
            let response = self.try_send(request).await?;
            response.ok_or_else(|| "the server closed the connection instead of answering".to_owned())
        };
        let response = timeout(TIMEOUT, sending).await;
        response.map_err(|_| format!("no response to a request in {TIMEOUT:?}"))?
    }

    /// Returns `None` if the connection had ended before.
    async fn try_send(&mut self, request: &[u8]) -> Result<Option<Response>, String> {
        if self.socket.write_all(request).await.is_err() {
            return Ok(None);
        }
        let mut input = Vec::with_capacity(1024);
        loop {
            if let Some(response) = parse(&input)? {
                return Ok(Some(response));
            }
            match self.socket.read_buf(&mut input).await {
                Ok(1..) if input.len() <= MAX_RESPONSE => {}
                Ok(0) | Err(_) if input.is_empty() => return Ok(None),
                _ => return Err("an incomplete response to a request".into()),
            }
        }
    }
}

pub(crate) fn post(address: SocketAddr, path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let len = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {len}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Returns the response once it is complete. No further bytes may follow it.
fn parse(input: &[u8]) -> Result<Option<Response>, String> {
    let Some(end) = memmem::find(input, b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, body) = (String::from_utf8_lossy(&input[..end]), &input[end + 4..]);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.trim().parse().ok());
    let (Some(status), Some(length)) = (status, length) else {
        return Err("a response without a status or a length".into());
    };
    match body.len().cmp(&length) {
        std::cmp::Ordering::Less => Ok(None),
        std::cmp::Ordering::Equal => Ok(Some(Response {
            status,
            body: body.to_vec(),
        })),
        std::cmp::Ordering::Greater => Err("a response is longer than its Content-Length".into()),
    }
}

#[derive(Debug, Default)]
pub(crate) struct Responses {
    /// The time from the first request to the last response.
    pub(crate) took: Duration,
    pub(crate) by_status: BTreeMap<u16, u64>,
}

impl Responses {
    pub(crate) fn count(&self, status: u16) -> u64 {
        self.by_status.get(&status).copied().unwrap_or_default()
    }

    /// Checks that only these statuses occurred.
    pub(crate) fn expect_only(&self, statuses: &[u16]) -> Result<(), String> {
        let mut others = self.by_status.iter();
        let other = others.find(|(status, _)| !statuses.contains(status));
        other.map_or(Ok(()), |(status, count)| {
            Err(format!("{count} requests were answered with {status}"))
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    Requests(u64),
    Time(Duration),
}

/// Sends `requests` in turn, repeatedly. Each client sends its next request after it has received its response.
pub(crate) async fn flood(
    clients: &mut Vec<Client>,
    requests: &Rc<[Vec<u8>]>,
    limit: Limit,
) -> Result<Responses, String> {
    let flood = Rc::new(Flood {
        requests: requests.clone(),
        limit,
        began: Instant::now(),
        sent: Cell::new(0),
        responses: RefCell::default(),
    });
    let mut workers = JoinSet::new();
    for client in clients.drain(..) {
        workers.spawn_local(flood.clone().send_all(client));
    }
    while let Some(ended) = workers.join_next().await {
        clients.push(ended.map_err(|error| error.to_string())??);
    }
    let mut responses = flood.responses.take();
    responses.took = flood.began.elapsed();
    Ok(responses)
}

/// The state that all workers share.
struct Flood {
    requests: Rc<[Vec<u8>]>,
    limit: Limit,
    began: Instant,
    sent: Cell<u64>,
    responses: RefCell<Responses>,
}

impl Flood {
    async fn send_all(self: Rc<Self>, mut client: Client) -> Result<Client, String> {
        while let Some(request) = self.next() {
            let response = client.send(request).await?;
            let by_status = &mut self.responses.borrow_mut().by_status;
            *by_status.entry(response.status).or_default() += 1;
        }
        Ok(client)
    }

    fn next(&self) -> Option<&[u8]> {
        let sent = self.sent.get();
        let is_over = match self.limit {
            Limit::Requests(count) => sent >= count,
            Limit::Time(length) => self.began.elapsed() >= length,
        };
        if is_over {
            return None;
        }
        self.sent.set(sent + 1);
        let nth = usize::try_from(sent).unwrap_or_default() % self.requests.len();
        self.requests.get(nth).map(Vec::as_slice)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::{net::TcpListener, task::LocalSet};

    use super::*;

    #[test]
    fn a_response_is_parsed_only_when_it_is_complete() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nContent-LENGTH: 4\r\n\r\nbusy";
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), Ok(None), "{cut}");
        }
        let response = parse(whole).unwrap().unwrap();
        assert_eq!((response.status, response.body.as_slice()), (503, &b"busy"[..]));
        for wrong in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbusy"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 ok\r\ncontent-length: 0\r\n\r\n",
            b"garbage\r\n\r\n",
        ] {
            assert!(parse(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }

    /// Answers `/a` with 200 and all other requests with 401, twice on each connection.
    async fn serve(listener: TcpListener) {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(async move {
                for _ in 0..2 {
                    let mut request = Vec::new();
                    while !request.ends_with(b"{}") {
                        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let status = if request.starts_with(b"POST /a ") {
                        200
                    } else {
                        401
                    };
                    let response = format!("HTTP/1.1 {status} X\r\nContent-Length: 1\r\n\r\nx");
                    socket.write_all(response.as_bytes()).await.unwrap();
                }
            });
        }
    }

    #[tokio::test]
    async fn a_flood_sends_each_request_in_turn_and_counts_each_response_once() {
        let in_turn = async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::task::spawn_local(serve(listener));
            let mut clients = Client::open_many(address, 3).await.unwrap();
            let body = Value::Object(serde_json::Map::new());
            let requests: Rc<[_]> = ["/a", "/b", "/c"].map(|path| post(address, path, &body)).into();
            let responses = flood(&mut clients, &requests, Limit::Requests(30)).await.unwrap();
            assert_eq!(
                (responses.count(200), responses.count(401), responses.count(503)),
                (10, 20, 0)
            );
            assert!(responses.expect_only(&[200, 401]).is_ok() && responses.expect_only(&[200]).is_err());
            assert_eq!(clients.len(), 3, "the clients can be used again");
            let none = flood(&mut clients, &requests, Limit::Time(Duration::ZERO))
                .await
                .unwrap();
            assert!(none.by_status.is_empty());
        };
        LocalSet::new().run_until(in_turn).await;
    }
}
