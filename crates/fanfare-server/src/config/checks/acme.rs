//! Certificates by ACME: names, addresses, and the listeners that show them.

use reqwest::Url;
use rustls::pki_types::DnsName;

use super::Checker;

const DOMAINS: &str = "acme.domains";

pub(super) fn check(checker: &mut Checker<'_>) {
    if !checker.are_sound(&["acme", "listener"]) {
        return;
    }
    let (acme, listeners) = (&checker.config.acme, &checker.config.listener);
    for (index, listener) in listeners.iter().enumerate().filter(|(_, listener)| listener.acme) {
        if listener.tls.is_some() {
            let text = "found true beside tls, expected one of the two";
            checker.error(&format!("listener[{index}].acme"), text);
        }
        if acme.domains.is_empty() {
            let text = format!("found none, expected a name for the certificate of listener[{index}]");
            checker.error(DOMAINS, text);
        }
    }
    if !acme.domains.is_empty() && !listeners.iter().any(|listener| listener.acme) {
        checker.warning(DOMAINS, "is not used, as no listener has acme = true");
    }
    for domain in acme.domains.iter().filter(|domain| !is_name(domain)) {
        let text = format!(
            "found {domain:?}, expected a host name such as \"push.example.com\", without a wildcard and in ASCII"
        );
        checker.error(DOMAINS, text);
    }
    for address in acme.contact.iter().filter(|address| !is_mail_address(address)) {
        let text = format!("found {address:?}, expected a mail address such as \"ops@example.com\"");
        checker.error("acme.contact", text);
    }
    let is_directory = |url: Url| url.scheme() == "https" && url.has_host();
    if !Url::parse(&acme.directory).is_ok_and(is_directory) {
        let text = format!("found {:?}, expected an https URL", acme.directory);
        checker.error("acme.directory", text);
    }
}

fn is_name(domain: &str) -> bool {
    DnsName::try_from(domain).is_ok() && !domain.ends_with('.')
}

fn is_mail_address(text: &str) -> bool {
    let parts = text.split_once('@');
    let is_part =
        |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || ",?@".contains(c));
    parts.is_some_and(|(user, host)| is_part(user) && is_part(host))
}
