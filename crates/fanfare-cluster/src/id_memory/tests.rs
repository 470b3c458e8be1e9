#![allow(clippy::unnecessary_wraps)] // so that a table's lines are short

use super::*;

const NEW: Option<Claim> = Some(Claim::New);
const TAKEN: Option<Claim> = Some(Claim::Taken);

fn receipt(queued: u64) -> Receipt {
    Receipt {
        reach: Reach {
            matched: queued + 1,
            queued,
            dropped: 1,
        },
        nodes: 3,
        degraded: true,
        is_duplicate: false,
    }
}

fn published(queued: u64) -> Option<Claim> {
    Some(Claim::Published((queued > 0).then(|| receipt(queued))))
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

#[test]
fn a_claim_depends_on_the_cluster_and_on_this_node() {
    let (ours, elsewhere) = (true, false);
    // 0 stands for an event whose receipt is not stored.
    let taken = |ours| {
        Some(Knowledge {
            ours,
            state: IdState::Taken,
        })
    };
    let done = |ours, queued| {
        let claim = published(queued);
        claim.and_then(IdState::of).map(|state| Knowledge { ours, state })
    };
    let cases = [
        // What the cluster returned and this node knows; the claim, and what this node learns.
        (None, None, NEW, taken(ours)),
        (None, taken(ours), TAKEN, None),
        (None, done(ours, 1), published(1), None),
        (None, taken(elsewhere), TAKEN, None),
        (None, done(elsewhere, 1), published(1), None),
        (NEW, None, NEW, taken(ours)),
        (NEW, taken(ours), TAKEN, None),
        (NEW, done(ours, 1), published(1), None),
        (NEW, taken(elsewhere), NEW, taken(ours)),
        (NEW, done(elsewhere, 1), NEW, taken(ours)),
        (TAKEN, None, TAKEN, taken(elsewhere)),
        (TAKEN, taken(elsewhere), TAKEN, None),
        (TAKEN, done(ours, 1), published(1), None),
        (published(1), None, published(1), done(elsewhere, 1)),
        (published(1), taken(elsewhere), published(1), done(elsewhere, 1)),
        (published(1), taken(ours), published(1), done(ours, 1)),
        (published(1), done(ours, 0), published(1), done(ours, 1)),
        (published(1), done(ours, 2), published(2), None),
        (published(0), None, published(0), done(elsewhere, 0)),
        (published(0), taken(ours), published(0), done(ours, 0)),
        (published(0), done(ours, 2), published(2), None),
    ];
    for (number, (cluster, knows, claim, news)) in cases.into_iter().enumerate() {
        let (found, learned) = decide(cluster, knows);
        assert_eq!((Some(found), learned), (claim, news), "case {number}");
    }
}

#[test]
fn ids_are_forgotten_with_time_and_their_receipts_with_them() {
    let lifetime = Duration::from_millis(50);
    let ids = IdMemory::with_lifetime(10, lifetime);
    let start = Instant::now();
    assert_eq!(ids.claim(id(1)), Claim::New);
    let again = ids.claim(id(1));
    if start.elapsed() < lifetime {
        assert_eq!(again, Claim::Taken);
    }
    std::thread::sleep(Duration::from_millis(30));
    ids.record(id(1), &receipt(1));
    // The receipt has not made it live longer.
    std::thread::sleep(Duration::from_millis(21));
    assert_eq!(ids.claim(id(1)), Claim::New);
}

#[test]
fn what_is_remembered_is_bounded_and_the_newest_stay() {
    let ids = IdMemory::new(1_600);
    for number in 0..100_000 {
        assert_eq!(ids.claim(id(number)), Claim::New);
    }
    let RememberedIds { held, evicted } = ids.count();
    assert!((1_500..=1_600).contains(&held), "{held}");
    assert_eq!(held + evicted, 100_000);
    assert_eq!(ids.claim(id(99_999)), Claim::Taken);
    assert_eq!(ids.claim(id(0)), Claim::New);
    for most in [0, 1, 5] {
        let ids = IdMemory::new(most);
        for number in 0..100 {
            assert_eq!(ids.claim(id(number)), Claim::New);
        }
        assert!(ids.count().held <= most as u64);
    }
}

#[test]
fn expired_ids_are_removed_bit_by_bit() {
    let lifetime = Duration::from_secs(1);
    let ids = IdMemory::with_lifetime(1_000_000, lifetime);
    for number in 0..50_000 {
        ids.claim(id(number));
    }
    std::thread::sleep(lifetime);
    let claimed = (50_000..60_000).map(|number| ids.claim(id(number)));
    assert!(claimed.into_iter().all(|claim| claim == Claim::New));
    let held = ids.count().held;
    assert!(held < 60_000 - 3 * 10_000, "{held}");
    std::thread::sleep(lifetime);
    for _ in 0..10 {
        ids.count();
    }
    assert_eq!(ids.count(), RememberedIds::default());
    let places: usize = ids
        .stripes
        .iter()
        .map(|stripe| stripe.lock().map_or(0, |stripe| stripe.capacity()))
        .sum();
    assert!(places <= STRIPES * KEPT_PLACES, "{places}");
}

#[test]
fn an_entry_is_small() {
    // With the two pointers of a linked map's entry: 64 bytes. The map's table adds 10 to 21 for each.
    assert!(size_of::<(Uuid, Memory)>() <= 48);
}

#[test]
fn receipts_are_kept_as_they_are() {
    let ids = IdMemory::new(10);
    for receipt in [Receipt::default(), receipt(1), receipt(u64::from(u32::MAX) - 1)] {
        ids.release(id(1));
        assert_eq!(ids.claim(id(1)), Claim::New);
        ids.record(id(1), &receipt);
        assert_eq!(ids.claim(id(1)), Claim::Published(Some(receipt)));
    }
    // Counts that no deployment reaches.
    ids.record(id(1), &receipt(u64::MAX - 1));
    let largest = u64::from(u32::MAX);
    let Claim::Published(Some(found)) = ids.claim(id(1)) else {
        panic!("published")
    };
    assert_eq!((found.reach.matched, found.reach.queued), (largest, largest));
}
