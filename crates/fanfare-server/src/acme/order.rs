//! Orders a certificate: account, order, challenges, certificate.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus,
    RetryPolicy,
};

use super::{AcmeError, client::AuthorityClient, resolver::Certificates, store::Store};
use crate::config::Acme as Settings;

/// The waits for the authority to validate the names, and to issue the certificate.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

pub(super) struct CertificateOrder<'a> {
    pub(super) settings: &'a Settings,
    pub(super) client: &'a AuthorityClient,
    pub(super) store: &'a Store,
    pub(super) certificates: &'a Certificates,
}

impl CertificateOrder<'_> {
    /// Returns a new certificate chain with its key, as PEM.
    pub(super) async fn run(&self) -> Result<String, AcmeError> {
        self.store.check_writable()?;
        let (account, is_stored) = self.account().await?;
        let domains = &self.settings.domains;
        let name = |name: &String| Identifier::Dns(name.to_lowercase());
        let names: Vec<_> = domains.iter().map(name).collect();
        let order = account.new_order(&NewOrder::new(&names)).await;
        let mut order = match order {
            // The authority has lost its accounts: register again.
            Err(Error::Api(problem)) if is_stored && is_account_unknown(problem.r#type.as_deref()) => {
                self.register().await?.new_order(&NewOrder::new(&names)).await?
            }
            order => order?,
        };
        let fulfilled = self.fulfill(&mut order).await;
        self.certificates.close_challenges();
        fulfilled
    }

    async fn fulfill(&self, order: &mut Order) -> Result<String, AcmeError> {
        self.answer_challenges(order).await?;
        let validated = order.poll_ready(&PATIENCE).await;
        if !matches!(validated, Ok(OrderStatus::Ready)) {
            return Err(match refusal(order).await {
                Some(refusal) => refusal,
                None => validated.map_or_else(AcmeError::from, |status| {
                    AcmeError(format!("the order became {status:?}"))
                }),
            });
        }
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        Ok(format!("{}\n{key}", chain.trim_end()))
    }

    async fn answer_challenges(&self, order: &mut Order) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Pending {
                continue; // it was validated recently, or refused: the order's status shows that
            }
            let domain = authorization.identifier().to_string();
            let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
                let text = format!("the authority does not offer tls-alpn-01 for {domain}");
                return Err(AcmeError(text));
            };
            let proof = challenge.key_authorization().digest();
            self.certificates.open_challenge(&domain, proof.as_ref())?;
            challenge.set_ready().await?;
        }
        Ok(())
    }

    /// Returns the account, and whether it was stored before.
    async fn account(&self) -> Result<(Account, bool), AcmeError> {
        let Some(stored) = self.store.account()? else {
            return Ok((self.register().await?, false));
        };
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        Ok((builder.from_credentials(stored).await?, true))
    }

    async fn register(&self) -> Result<Account, AcmeError> {
        let contact = self.settings.contact.iter();
        let contact: Vec<_> = contact.map(|address| format!("mailto:{address}")).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        let directory = self.settings.directory.clone();
        let (account, credentials) = builder.create(&new, directory, None).await?;
        self.store.save_account(&credentials)?;
        tracing::info!(directory = self.settings.directory, "registered an ACME account");
        Ok(account)
    }
}

fn is_account_unknown(kind: Option<&str>) -> bool {
    kind == Some("urn:ietf:params:acme:error:accountDoesNotExist")
}

/// Returns why the authority did not validate a name, in its own words.
async fn refusal(order: &mut Order) -> Option<AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        authorization.refresh().await.ok()?;
        let challenges = &authorization.challenges;
        if let Some(problem) = challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            let domain = authorization.identifier();
            let text = format!("the authority could not validate {domain}: {problem}");
            return Some(AcmeError(text));
        }
    }
    None
}
