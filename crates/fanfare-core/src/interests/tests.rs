use super::*;

#[test]
fn the_first_and_the_last_connection_call_back() {
    let interests = Interests::new(2);
    let alice = UserId::new("alice").expect("a name");
    let acquire = |place, word| interests.acquire_user(&alice, place, 0, || word);
    assert_eq!(acquire((0, 0), "first"), Ok("first"));
    assert_eq!(acquire((3, 1), "second"), Ok("first"));
    assert_eq!(acquire((3, 1), "third"), Ok("first"));
    let shards = interests.shards_of_user("alice");
    assert_eq!(
        (
            shards.len(),
            shards.contains(0),
            shards.contains(1),
            shards.contains(3)
        ),
        (2, true, false, true)
    );
    assert_eq!((interests.users_in(0), interests.users_in(1)), (1, 1));
    assert_eq!(interests.connections_of_user("alice"), 3);

    let mut released = 0;
    for (place, expected) in [((3, 1), 0), ((0, 0), 0), ((0, 0), 0), ((3, 1), 1)] {
        interests.release_user(&alice, place, || released += 1);
        assert_eq!(released, expected);
    }
    assert!(interests.shards_of_user("alice").is_empty() && interests.users().is_empty());
    assert_eq!((interests.users_in(0), interests.users_in(1)), (0, 0));
}

#[test]
fn a_watched_user_has_no_connection_more() {
    let interests = Interests::new(1);
    let alice = UserId::new("alice").expect("a name");
    let watched = Interest::User(alice.clone());
    assert_eq!(interests.watch(&watched, || "asked"), "asked");
    assert_eq!(interests.acquire_user(&alice, (0, 0), 1, || "again"), Ok("asked"));
    assert_eq!(
        (interests.connections_of_user("alice"), interests.users().len()),
        (1, 1)
    );
    let mut released = 0;
    interests.release_user(&alice, (0, 0), || released += 1);
    assert_eq!(
        (released, interests.connections_of_user("alice")),
        (0, 0),
        "it is watched"
    );
    assert!(interests.users().is_empty());
    interests.unwatch(&watched, || released += 1);
    interests.unwatch(&watched, || released += 1);
    assert_eq!(released, 1);
}

#[test]
fn the_connections_of_a_user_are_limited_by_dialect() {
    let interests = Interests::new(2);
    let bob = UserId::new("bob").expect("a name");
    for (place, expected) in [
        ((0, 0), Ok(())),
        ((1, 0), Ok(())),
        ((1, 0), Err(UserAtCapacity)),
        ((1, 1), Ok(())),
    ] {
        assert_eq!(interests.acquire_user(&bob, place, 2, || ()), expected);
    }
    interests.release_user(&bob, (0, 0), || ());
    assert_eq!(interests.acquire_user(&bob, (1, 0), 2, || ()), Ok(()));
}

fn channel(name: &str) -> Channel {
    Channel::new(name).expect("a name")
}

fn shards<T: Clone>(interests: &Interests<T>, channel: &str) -> Vec<usize> {
    let shards = interests.shards_of_channel(channel);
    (0..64).filter(|shard| shards.contains(*shard)).collect()
}

#[test]
fn a_channel_is_requested_once() {
    let (general, news) = (channel("chat.general"), channel("news"));
    let interests = Interests::new(1);
    for (channel, shard, word, expected) in [
        (&general, 0, "first", "first"),
        (&general, 3, "second", "first"),
        (&general, 3, "third", "first"),
        (&news, 1, "other", "other"),
    ] {
        assert_eq!(interests.acquire_channel(channel, shard, || word), expected);
    }
    assert_eq!(shards(&interests, "chat.general"), [0, 3]);
    assert_eq!(shards(&interests, "news"), [1]);
    assert!(interests.shards_of_channel("chat:general").is_empty());
    assert_eq!(
        (interests.channels_held(), interests.channel_subscriptions()),
        (2, 4)
    );
    let mut listed = interests.channels();
    listed.sort_unstable();
    assert_eq!(listed, [(general.clone(), 3), (news.clone(), 1)]);
    assert_eq!(interests.connections_of_channel("chat.general"), 3);

    let mut released = 0;
    for (channel, shard, expected) in [
        (&general, 3, 0),
        (&general, 1, 0), // never was
        (&general, 0, 0),
        (&general, 3, 1),
        (&general, 3, 1), // no more
        (&news, 1, 2),
    ] {
        interests.release_channel(channel, shard, || released += 1);
        assert_eq!(released, expected, "{channel} {shard}");
    }
    assert_eq!(
        (interests.channels_held(), interests.channel_subscriptions()),
        (0, 0)
    );
}

#[test]
fn a_watched_channel_has_no_subscription_more() {
    let (interests, news) = (Interests::new(1), channel("news"));
    let watched = Interest::Channel(news.clone());
    assert_eq!(interests.watch(&watched, || "asked"), "asked");
    assert_eq!(
        interests.watch(&Interest::AllChannels, || "asked for all"),
        "asked for all"
    );
    assert_eq!(
        (
            interests.channels(),
            interests.channel_subscriptions(),
            interests.pattern_subscriptions()
        ),
        (Vec::new(), 0, 0)
    );
    assert_eq!(interests.acquire_channel(&news, 1, || "again"), "asked");
    let all = Pattern::new("**").expect("a pattern");
    assert_eq!(interests.acquire_pattern(&all, 1, || "again"), "asked for all");
    let mut released = 0;
    interests.release_channel(&news, 1, || released += 1);
    interests.release_pattern(&all, 1, || released += 1);
    assert_eq!((released, interests.patterns_held()), (0, 0), "both are watched");
    interests.unwatch(&watched, || released += 1);
    interests.unwatch(&Interest::AllChannels, || released += 1);
    interests.unwatch(&Interest::AllChannels, || released += 1);
    assert_eq!((released, interests.channels_held()), (2, 0));
    assert!(interests.shards_of_channel("news").is_empty());
}

#[test]
fn a_shard_with_patterns_gets_the_events_of_all_channels() {
    let interests = Interests::new(1);
    interests.acquire_channel(&channel("news"), 2, || "news");
    let [one, other] = ["a.*", "b.**"].map(|text| Pattern::new(text).expect("a pattern"));
    assert_eq!(interests.acquire_pattern(&one, 0, || "first"), "first");
    assert_eq!(interests.acquire_pattern(&one, 5, || "second"), "first");
    assert_eq!(interests.acquire_pattern(&other, 5, || "third"), "first");
    assert_eq!(interests.patterns_held(), 2);
    assert_eq!(shards(&interests, "news"), [0, 2, 5]);
    assert_eq!(shards(&interests, "unheard.of"), [0, 5]);
    assert_eq!(interests.pattern_subscriptions(), 3);

    let mut released = 0;
    for (pattern, shard, expected, left, different) in [
        (&one, 5, 0, vec![0, 2, 5], 2),
        (&one, 1, 0, vec![0, 2, 5], 2), // never was
        (&one, 0, 0, vec![2, 5], 1),
        (&other, 5, 1, vec![2], 0),
        (&other, 5, 1, vec![2], 0), // no more
    ] {
        interests.release_pattern(pattern, shard, || released += 1);
        assert_eq!(
            (released, interests.patterns_held()),
            (expected, different),
            "{shard}"
        );
        assert_eq!(shards(&interests, "news"), left);
    }
    assert_eq!(interests.pattern_subscriptions(), 0);
    assert_eq!(interests.acquire_pattern(&one, 1, || "anew"), "anew");
}
