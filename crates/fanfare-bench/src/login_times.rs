//! Compares refused logins: neither their time nor their text may show that an account exists.

use std::time::Instant;

use crate::{
    LoginLimits, Options,
    accounts::{self, Accounts, Login},
    figures::{Kind, Workload, median},
    requests::{Client, Response},
    server::Server,
    subscriptions::Subscriptions,
};

/// The number of logins of each kind.
const EACH: usize = 30;
/// The number of the disabled account.
const DISABLED: usize = 1;

/// The logins that are refused, with their figures.
const REFUSED: [(Login, Kind); 4] = [
    (Login::WrongPassword(0), Kind::new("wrong password", "ms")),
    (Login::UnknownAccount(0), Kind::new("no such account", "ms")),
    (
        Login::RightPassword(DISABLED),
        Kind::new("account switched off, right password", "ms"),
    ),
    (
        Login::WrongPassword(DISABLED),
        Kind::new("account switched off, wrong password", "ms"),
    ),
];
/// The figures that compare the other refusals with the first.
const AGAINST_WRONG: [Kind; 3] = [
    Kind::new("no such account / wrong password", ""),
    Kind::new("switched off, right / wrong password", ""),
    Kind::new("switched off, wrong / wrong password", ""),
];

/// Measures one login at a time, of each kind in turn.
pub(crate) async fn run(options: &Options) -> Result<Workload, String> {
    let title = format!("How long a refused login takes, median of {EACH}");
    let mut workload = Workload::new(title);
    for round in 0..options.rounds {
        options.progress("refused logins", round);
        let server = Server::start_with(options.shards, EACH, Subscriptions::Own, LoginLimits::Off).await?;
        let accounts = Accounts::register(&server).await?;
        server.disable(&accounts::email(DISABLED)).await?;
        let medians = measure(&server, &accounts).await?;
        server.stop().await?;
        for ((_, kind), median) in REFUSED.into_iter().zip(medians) {
            workload.record(kind, median);
        }
        let [wrong, others @ ..] = medians;
        for (kind, other) in AGAINST_WRONG.into_iter().zip(others) {
            workload.record(kind, other / wrong);
        }
    }
    Ok(workload)
}

async fn measure(server: &Server, accounts: &Accounts) -> Result<[f64; 4], String> {
    let mut client = Client::open(server.clients).await?;
    let requests = REFUSED.map(|(login, _)| accounts.request(login));
    let first = client.send(&requests[0]).await?; // the first login creates the hash for logins without an account
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..EACH {
        for (request, times) in requests.iter().zip(&mut times) {
            let began = Instant::now();
            let response = client.send(request).await?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            check_refusal(&response, &first)?;
        }
    }
    Ok(times.map(|times| median(&times)))
}

fn check_refusal(response: &Response, first: &Response) -> Result<(), String> {
    match response.status {
        401 if response == first => Ok(()),
        401 => Err("the responses to refused logins differ".into()),
        status => Err(format!("a login that must be refused was answered with {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_must_equal_the_first_one_byte_for_byte() {
        let response = |status, body: &str| Response {
            status,
            body: body.into(),
        };
        let first = response(401, "no");
        assert!(check_refusal(&response(401, "no"), &first).is_ok());
        for other in [response(401, "No"), response(403, "no"), response(200, "yes")] {
            assert!(check_refusal(&other, &first).is_err(), "{other:?}");
        }
    }
}
