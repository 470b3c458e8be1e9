//! Accounts on the server under test, and login requests.

use std::{net::SocketAddr, rc::Rc};

use serde_json::json;

use crate::{
    requests::{Client, post},
    server::Server,
};

const COUNT: usize = 8;
const PASSWORD: &str = "correct horse battery";
const LOGIN: &str = "/api/auth/login";

pub(crate) struct Accounts {
    address: SocketAddr,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Login {
    RightPassword(usize),
    WrongPassword(usize),
    UnknownAccount(usize),
    /// An address that is refused before any password check.
    InvalidAddress,
}

impl Accounts {
    pub(crate) async fn register(server: &Server) -> Result<Self, String> {
        let mut client = Client::open(server.clients).await?;
        for number in 0..COUNT {
            let body = json!({ "email": email(number), "password": PASSWORD });
            let request = post(server.clients, "/api/auth/register", &body);
            let response = client.send(&request).await?;
            if response.status != 201 {
                return Err(format!("registering was answered with {}", response.status));
            }
        }
        let address = server.clients;
        Ok(Self { address })
    }

    /// Returns logins of which a quarter succeeds, half has a wrong password, and a quarter has no account.
    pub(crate) fn mixed_logins(&self) -> Rc<[Vec<u8>]> {
        let four = |n| {
            [
                Login::RightPassword(n),
                Login::WrongPassword(n),
                Login::UnknownAccount(n),
                Login::WrongPassword(n),
            ]
        };
        (0..COUNT)
            .flat_map(four)
            .map(|login| self.request(login))
            .collect()
    }

    /// Returns login requests without a password check.
    pub(crate) fn unhashed_logins(&self) -> Rc<[Vec<u8>]> {
        [self.request(Login::InvalidAddress)].into()
    }

    pub(crate) fn request(&self, login: Login) -> Vec<u8> {
        let (email, password) = match login {
            Login::RightPassword(number) => (email(number), PASSWORD),
            Login::WrongPassword(number) => (email(number), "correct horse battle!"),
            Login::UnknownAccount(number) => (email(COUNT + number), PASSWORD),
            Login::InvalidAddress => ("member".to_owned(), PASSWORD),
        };
        let body = json!({ "email": email, "password": password });
        post(self.address, LOGIN, &body)
    }
}

pub(crate) fn email(number: usize) -> String {
    format!("member{number}@bench.example")
}
