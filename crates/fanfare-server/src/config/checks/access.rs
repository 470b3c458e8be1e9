//! Access rules, and the authorizer's address.

use fanfare_core::{
    Audience,
    policy::{BadRule, Clause, Grant, Rule, RulePattern},
};

use super::Checker;
use crate::config::access::ChannelRule;
use crate::config::kind::{hint, nearest};

pub(super) fn check(checker: &mut Checker<'_>) {
    if checker.are_sound(&["channel"]) {
        rules(checker);
    }
    authorizer(checker);
}

fn rules(checker: &mut Checker<'_>) {
    let mut earlier: Vec<(usize, RulePattern)> = Vec::new();
    for (index, texts) in checker.config.channel.clone().iter().enumerate() {
        let key = format!("channel[{index}]");
        let pattern = pattern(checker, &key, texts);
        let grants = grants(checker, &key, texts);
        let (Some(pattern), Some([subscribe, publish, join])) = (pattern, grants) else {
            continue;
        };
        let rule = Rule {
            pattern,
            subscribe,
            publish,
            join,
        };
        traps(checker, &key, &rule);
        unreached(checker, &key, &rule.pattern, &earlier);
        earlier.push((index, rule.pattern));
    }
}

fn pattern(checker: &mut Checker<'_>, key: &str, texts: &ChannelRule) -> Option<RulePattern> {
    let key = format!("{key}.pattern");
    match RulePattern::new(&texts.pattern) {
        Ok(pattern) => Some(pattern),
        Err(reason) => {
            let text = format!(
                "found {:?}, expected a pattern such as \"reports.{{user}}.**\": {reason}",
                texts.pattern
            );
            checker.wrong(&key, text);
            None
        }
    }
}

/// The grants of subscribe, publish and join; `None` once one of them has been told to be none.
fn grants(checker: &mut Checker<'_>, key: &str, texts: &ChannelRule) -> Option<[Option<Grant>; 3]> {
    let mut sound = true;
    let grants = [
        (Clause::Subscribe, &texts.subscribe),
        (Clause::Publish, &texts.publish),
        (Clause::Join, &texts.join),
    ]
    .map(|(clause, text)| {
        let text = text.as_deref()?;
        text.parse()
            .inspect_err(|reason| {
                sound = false;
                let text = format!("found {text:?}, {reason}{}", hint(better(text)));
                checker.wrong(&format!("{key}.{}", clause.name()), text);
            })
            .ok()
    });
    sound.then_some(grants)
}

/// The grant that a text is most likely a misspelling of.
fn better(text: &str) -> Option<String> {
    let (word, name) = text.split_once(':').unwrap_or((text, ""));
    let near = nearest(word.trim(), Grant::WORDS.into_iter())?;
    let parts: Vec<&str> = name.split('=').map(str::trim).collect();
    let better = match near {
        "role" | "claim" => format!("{near}:{}", parts.join("=")),
        _ => near.to_owned(),
    };
    (better != text && better.parse::<Grant>().is_ok()).then(|| format!("{better:?}"))
}

fn traps(checker: &mut Checker<'_>, key: &str, rule: &Rule) {
    match rule.check() {
        Ok(()) => {}
        Err(reason @ BadRule::Empty) => checker.wrong(key, reason.to_string()),
        Err(reason @ BadRule::NoOwner) => {
            let clauses = [Clause::Subscribe, Clause::Publish, Clause::Join].into_iter();
            for clause in clauses.filter(|clause| rule.grant(*clause) == Some(&Grant::Owner)) {
                let text = format!(
                    "found \"owner\" beside the pattern \"{}\", but {reason}",
                    rule.pattern
                );
                checker.wrong(&format!("{key}.{}", clause.name()), text);
            }
        }
    }
    if let Ok(Audience::User(_)) = Audience::of_channel(rule.pattern.as_str()) {
        let text = format!(
            "found \"{}\", which names personal channels; no rule is asked about those",
            rule.pattern
        );
        checker.doubtful(&format!("{key}.pattern"), text);
    }
}

/// A rule behind one that matches the same is never reached.
fn unreached(checker: &mut Checker<'_>, key: &str, pattern: &RulePattern, earlier: &[(usize, RulePattern)]) {
    if let Some((index, other)) = earlier.iter().find(|(_, other)| other.covers(pattern)) {
        let place = checker
            .merged
            .origins
            .of(&format!("channel[{index}].pattern"))
            .clone();
        let text =
            format!("is never reached: channel[{index}] (\"{other}\", {place}) matches all that it matches");
        checker.doubtful(&format!("{key}.pattern"), text);
    }
}

fn authorizer(checker: &mut Checker<'_>) {
    if let Some(url) = &checker.config.authorizer.url
        && !matches!(url.scheme(), "http" | "https")
    {
        let text = format!(
            "found the scheme \"{}\", expected \"https\" or \"http\"",
            url.scheme()
        );
        checker.wrong("authorizer.url", text);
    }
}
