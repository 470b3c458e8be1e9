//! Users with accounts in the server under test, and what they say to log in.

use std::{net::SocketAddr, rc::Rc};

use serde_json::json;

use crate::{
    requests::{Client, post},
    server::Server,
};

/// How many there are.
const COUNT: usize = 8;
const PASSWORD: &str = "correct horse battery";
const LOGIN: &str = "/api/auth/login";

/// They can log in.
pub(crate) struct Members {
    address: SocketAddr,
}

/// Who logs in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Who {
    /// A member, with the right password.
    Right(usize),
    /// A member, with a wrong one.
    Wrong(usize),
    /// Somebody who has no account.
    Stranger(usize),
    /// Somebody who does not even have an address, which is seen before a password is looked at.
    Nobody,
}

impl Members {
    /// Makes their accounts, as users would.
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

    /// What they do when all come at once: of four logins, one is right, two are wrong, one is a stranger's.
    pub(crate) fn crowd(&self) -> Rc<[Vec<u8>]> {
        let four = |n| [Who::Right(n), Who::Wrong(n), Who::Stranger(n), Who::Wrong(n)];
        (0..COUNT).flat_map(four).map(|who| self.login(who)).collect()
    }

    /// As many requests on the same way that check no password.
    pub(crate) fn idlers(&self) -> Rc<[Vec<u8>]> {
        [self.login(Who::Nobody)].into()
    }

    /// The request to log in.
    pub(crate) fn login(&self, who: Who) -> Vec<u8> {
        let (email, password) = match who {
            Who::Right(number) => (address(number), PASSWORD),
            Who::Wrong(number) => (address(number), "correct horse battle!"),
            Who::Stranger(number) => (address(COUNT + number), PASSWORD),
            Who::Nobody => ("member".to_owned(), PASSWORD),
        };
        post(
            self.address,
            LOGIN,
            &json!({ "email": email, "password": password }),
        )
    }
}

/// The e-mail address of a member.
pub(crate) fn address(number: usize) -> String {
    format!("member{number}@bench.example")
}
