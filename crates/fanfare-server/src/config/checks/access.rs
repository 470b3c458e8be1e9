//! Access rules, and the authorizer's address.

use fanfare_core::{
    Audience, GuardedUrl,
    policy::{BadRule, Clause, Grant, Rule, RulePattern},
};

use super::Checker;

pub(super) fn check(checker: &mut Checker<'_>) {
    if checker.are_sound(&["channel"]) {
        rules(checker);
    }
    authorizer(checker);
}

fn rules(checker: &mut Checker<'_>) {
    let rules = &checker.config.channel;
    let has_authorizer = checker.config.authorizer.url.is_some();
    for (index, rule) in rules.iter().enumerate() {
        let (earlier, later) = (&rules[..index], &rules[index + 1..]);
        check_rule(checker, index, rule);
        unreachable_rule(checker, index, rule, earlier);
        // An authorizer decides the actions that the rules leave out.
        if !has_authorizer && covering(earlier, rule).is_none() && !is_personal(&rule.pattern) {
            uncovered_ids(checker, index, rule, later);
        }
    }
}

/// Returns the first of `rules` after which `later` never decides anything. History and access are decided separately.
fn covering(rules: &[Rule], later: &Rule) -> Option<usize> {
    rules.iter().position(|rule| {
        (rule.decides_access() || !later.decides_access())
            && (rule.history.is_some() || later.history.is_none())
            && rule.pattern.covers(&later.pattern)
    })
}

/// Returns the first of `rules` that decides about access on all channels of `pattern`.
fn deciding<'a>(rules: &'a [Rule], pattern: &RulePattern) -> Option<&'a Rule> {
    let mut rules = rules.iter().filter(|rule| rule.decides_access());
    rules.find(|rule| rule.pattern.covers(pattern))
}

fn check_rule(checker: &mut Checker<'_>, index: usize, rule: &Rule) {
    let key = format!("channel[{index}]");
    match rule.check() {
        Ok(()) => {}
        Err(reason @ BadRule::Empty) => checker.error(&key, reason.to_string()),
        Err(reason @ BadRule::NoOwner) => {
            let clauses = Clause::ALL.iter().copied();
            for clause in clauses.filter(|clause| rule.grant(*clause) == Some(&Grant::Owner)) {
                let text = format!(
                    "found \"owner\" beside the pattern \"{}\", but {reason}",
                    rule.pattern
                );
                checker.error(&format!("{key}.{}", clause.label()), text);
            }
        }
    }
    if is_personal(&rule.pattern) {
        let text = format!(
            "found \"{}\", which names personal channels; no rule is asked about those",
            rule.pattern
        );
        checker.warning(&format!("{key}.pattern"), text);
    }
}

fn is_personal(pattern: &RulePattern) -> bool {
    matches!(Audience::of_channel(pattern.as_str()), Ok(Audience::User(_)))
}

/// Warns of ids with separators in them, which `{user}` does not match. If no later rule matches the channels of such ids,
/// the defaults apply, which may admit more users than the rule with `{user}`.
fn uncovered_ids(checker: &mut Checker<'_>, index: usize, rule: &Rule, later: &[Rule]) {
    let Some(any) = rule.pattern.with_any_id() else {
        return;
    };
    let catching = deciding(later, &any);
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
        checker.warning(&format!("channel[{index}].pattern"), text);
    }
}

/// Warns of a rule that is never reached, because an earlier one matches all its channels.
fn unreachable_rule(checker: &mut Checker<'_>, index: usize, rule: &Rule, earlier: &[Rule]) {
    if let Some(first) = covering(earlier, rule) {
        let (other, origin) = (
            &earlier[first].pattern,
            checker.origin(&format!("channel[{first}].pattern")),
        );
        let text =
            format!("is never reached: channel[{first}] (\"{other}\", {origin}) matches all that it matches");
        checker.warning(&format!("channel[{index}].pattern"), text);
    }
}

fn authorizer(checker: &mut Checker<'_>) {
    let url = checker.config.authorizer.url.as_ref();
    if let Some(scheme) = url.map(GuardedUrl::scheme)
        && !matches!(scheme, "http" | "https")
    {
        let text = format!("found the scheme \"{scheme}\", expected \"https\" or \"http\"");
        checker.error("authorizer.url", text);
    }
}
