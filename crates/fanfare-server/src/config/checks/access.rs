//! Access rules, and the authorizer's address.

use fanfare_core::{
    Audience, GuardedUrl,
    policy::{BadPattern, BadRule, Clause, Grant, Rule, RulePattern},
};

use super::Checker;
use crate::config::access::ChannelRule;
use crate::config::history::ChannelHistory;
use crate::config::kind::{hint, nearest};

pub(super) fn check(checker: &mut Checker<'_>) {
    if checker.are_sound(&["channel"]) {
        rules(checker);
    }
    authorizer(checker);
}

fn rules(checker: &mut Checker<'_>) {
    let mut earlier: Vec<(usize, Rule)> = Vec::new();
    for (index, texts) in checker.config.channel.iter().enumerate() {
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
            history: texts.history.as_ref().map(ChannelHistory::retention),
        };
        traps(checker, &key, &rule);
        unreached(checker, &key, &rule, &earlier);
        earlier.push((index, rule));
    }
    // An authorizer decides the actions that the rules leave out.
    if checker.config.authorizer.url.is_none() {
        for (at, (index, rule)) in earlier.iter().enumerate() {
            let is_reached = covering(&earlier[..at], rule).is_none();
            if is_reached && !is_personal(&rule.pattern) {
                left_out(checker, *index, rule, &earlier[at + 1..]);
            }
        }
    }
}

/// Returns the first of `rules` after which `later` never decides anything. History and access are decided separately.
fn covering<'a>(rules: &'a [(usize, Rule)], later: &Rule) -> Option<&'a (usize, Rule)> {
    let covers = |rule: &Rule| {
        (rule.decides_access() || !later.decides_access())
            && (rule.history.is_some() || later.history.is_none())
            && rule.pattern.covers(&later.pattern)
    };
    rules.iter().find(|(_, rule)| covers(rule))
}

/// Returns the first of `rules` that decides about access on all channels of `pattern`.
fn deciding<'a>(rules: &'a [(usize, Rule)], pattern: &RulePattern) -> Option<&'a (usize, Rule)> {
    let mut rules = rules.iter().filter(|(_, rule)| rule.decides_access());
    rules.find(|(_, rule)| rule.pattern.covers(pattern))
}

fn pattern(checker: &mut Checker<'_>, key: &str, texts: &ChannelRule) -> Option<RulePattern> {
    let found = &texts.pattern;
    let refuse = |reason: &BadPattern| {
        let text = format!("found {found:?}, expected a pattern such as \"reports.{{user}}.**\": {reason}");
        checker.wrong(&format!("{key}.pattern"), text);
    };
    RulePattern::new(found).inspect_err(refuse).ok()
}

/// Returns the grants of subscribe, publish and join; `None` if one of them is not a grant, which is then reported.
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
                checker.wrong(&format!("{key}.{}", clause.label()), text);
            })
            .ok()
    });
    sound.then_some(grants)
}

/// Returns the grant that a text most likely misspells.
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
            let clauses = Clause::ALL.iter().copied();
            for clause in clauses.filter(|clause| rule.grant(*clause) == Some(&Grant::Owner)) {
                let text = format!(
                    "found \"owner\" beside the pattern \"{}\", but {reason}",
                    rule.pattern
                );
                checker.wrong(&format!("{key}.{}", clause.label()), text);
            }
        }
    }
    if is_personal(&rule.pattern) {
        let text = format!(
            "found \"{}\", which names personal channels; no rule is asked about those",
            rule.pattern
        );
        checker.doubtful(&format!("{key}.pattern"), text);
    }
}

fn is_personal(pattern: &RulePattern) -> bool {
    matches!(Audience::of_channel(pattern.as_str()), Ok(Audience::User(_)))
}

/// `{user}` does not match an id with separators in it. If no later rule matches the channels of such ids, the defaults
/// apply, which may admit more users than the rule with `{user}`.
fn left_out(checker: &mut Checker<'_>, index: usize, rule: &Rule, later: &[(usize, Rule)]) {
    let Some(any) = rule.pattern.with_any_id() else {
        return;
    };
    let catching = deciding(later, &any).map(|(_, other)| other);
    let named = |clause: &Clause| match (catching, clause) {
        (None, _) => false,
        (Some(other), Clause::Join) => other.join.is_some() || other.subscribe.is_some(),
        (Some(other), clause) => other.grant(*clause).is_some(),
    };
    let clauses = Clause::ALL.iter().copied();
    let open = clauses.filter(|clause| rule.grant(*clause).is_some() && !named(clause));
    let open: Vec<_> = open.map(Clause::label).collect();
    if !open.is_empty() {
        let text = format!(
            "leaves out ids with a . or a : in them, and no later rule for \"{any}\" names {}: \
             the defaults hold there",
            open.join(", ")
        );
        checker.doubtful(&format!("channel[{index}].pattern"), text);
    }
}

/// A rule after one that matches the same channels is never reached.
fn unreached(checker: &mut Checker<'_>, key: &str, rule: &Rule, earlier: &[(usize, Rule)]) {
    if let Some((index, Rule { pattern: other, .. })) = covering(earlier, rule) {
        let place = checker.origin(&format!("channel[{index}].pattern"));
        let text =
            format!("is never reached: channel[{index}] (\"{other}\", {place}) matches all that it matches");
        checker.doubtful(&format!("{key}.pattern"), text);
    }
}

fn authorizer(checker: &mut Checker<'_>) {
    let url = checker.config.authorizer.url.as_ref();
    if let Some(scheme) = url.map(GuardedUrl::scheme)
        && !matches!(scheme, "http" | "https")
    {
        let text = format!("found the scheme \"{scheme}\", expected \"https\" or \"http\"");
        checker.wrong("authorizer.url", text);
    }
}
