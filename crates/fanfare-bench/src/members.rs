//! Users with accounts on the server under test, and their login requests.

use std::{net::SocketAddr, rc::Rc};

use serde_json::json;

use crate::{
    requests::{Client, post},
    server::Server,
};

const COUNT: usize = 8;
const PASSWORD: &str = "correct horse battery";
const LOGIN: &str = "/api/auth/login";

pub(crate) struct Members {
    address: SocketAddr,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Who {
    Right(usize),
    Wrong(usize),
    Stranger(usize),
    /// A text that is not an address, which is refused before any password check.
    Nobody,
}

impl Members {
    pub(crate) async fn register(server: &Server) -> Result<Self, String> {
        let mut client = Client::open(server.clients).await?;
        for number in 0..COUNT {
            let body = json!({ "email": address(number), "password": PASSWORD });
            let request = post(server.clients, "/api/auth/register", &body);
            let answer = client.ask(&request).await?;
            if answer.status != 201 {
                return Err(format!("registering was answered with {}", answer.status));
            }
        }
        let address = server.clients;
        Ok(Self { address })
    }

    /// Returns the logins of a burst: of four, one is right, two are wrong, one is a stranger's.
    pub(crate) fn crowd(&self) -> Rc<[Vec<u8>]> {
        let four = |n| [Who::Right(n), Who::Wrong(n), Who::Stranger(n), Who::Wrong(n)];
        (0..COUNT).flat_map(four).map(|who| self.login(who)).collect()
    }

    /// Returns requests that check no password, to the same route.
    pub(crate) fn idlers(&self) -> Rc<[Vec<u8>]> {
        [self.login(Who::Nobody)].into()
    }

    pub(crate) fn login(&self, who: Who) -> Vec<u8> {
        let (email, password) = match who {
            Who::Right(number) => (address(number), PASSWORD),
            Who::Wrong(number) => (address(number), "correct horse battle!"),
            Who::Stranger(number) => (address(COUNT + number), PASSWORD),
            Who::Nobody => ("member".to_owned(), PASSWORD),
        };
        let body = json!({ "email": email, "password": password });
        post(self.address, LOGIN, &body)
    }
}

pub(crate) fn address(number: usize) -> String {
    format!("member{number}@bench.example")
}
