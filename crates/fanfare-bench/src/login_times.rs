//! Whether the time or the text of a refusal shows that an account exists.

use std::time::Instant;

use crate::{
    LoginLimits, Options,
    figures::{Kind, Workload, median},
    listeners::Listeners,
    members::{self, Members, Who},
    requests::{Answer, Client},
    server::Server,
};

const EACH: usize = 30;
const DISABLED: usize = 1;

/// The logins that are refused, with their figures.
const REFUSED: [(Who, Kind); 4] = [
    (Who::Wrong(0), Kind::new("wrong password", "ms")),
    (Who::Stranger(0), Kind::new("no such account", "ms")),
    (
        Who::Right(DISABLED),
        Kind::new("account switched off, right password", "ms"),
    ),
    (
        Who::Wrong(DISABLED),
        Kind::new("account switched off, wrong password", "ms"),
    ),
];
/// The figures that compare each other refusal with the first.
const AGAINST_WRONG: [Kind; 3] = [
    Kind::new("no such account / wrong password", ""),
    Kind::new("switched off, right / wrong password", ""),
    Kind::new("switched off, wrong / wrong password", ""),
];

/// Measures one login at a time, each kind in turn.
pub(crate) async fn run(options: &Options) -> Result<Workload, String> {
    let title = format!("How long a refused login takes, median of {EACH}");
    let mut workload = Workload::new(title);
    for round in 0..options.rounds {
        options.progress("refused logins", round);
        let server = Server::start_with(options.shards, EACH, Listeners::Own, LoginLimits::Off).await?;
        let members = Members::register(&server).await?;
        server.disable(&members::address(DISABLED)).await?;
        let medians = measure(&server, &members).await?;
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

async fn measure(server: &Server, members: &Members) -> Result<[f64; 4], String> {
    let mut client = Client::open(server.clients).await?;
    let requests = REFUSED.map(|(who, _)| members.login(who));
    let first = client.ask(&requests[0]).await?; // the first login makes the hash that strangers are checked against
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..EACH {
        for (request, times) in requests.iter().zip(&mut times) {
            let began = Instant::now();
            let answer = client.ask(request).await?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            is_refusal(&answer, &first)?;
        }
    }
    Ok(times.map(|times| median(&times)))
}

fn is_refusal(answer: &Answer, first: &Answer) -> Result<(), String> {
    match answer.status {
        401 if answer == first => Ok(()),
        401 => Err("the answers to refused logins differ".into()),
        status => Err(format!("a login that must be refused was answered with {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_must_be_the_same_to_the_last_byte() {
        let answer = |status, body: &str| Answer {
            status,
            body: body.into(),
        };
        let first = answer(401, "no");
        assert!(is_refusal(&answer(401, "no"), &first).is_ok());
        for other in [answer(401, "No"), answer(403, "no"), answer(200, "yes")] {
            assert!(is_refusal(&other, &first).is_err(), "{other:?}");
        }
    }
}
