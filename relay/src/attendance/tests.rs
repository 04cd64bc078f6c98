//! Who is there, on one node and on two.

use std::time::Duration;

use super::*;

const GROUP: GroupId = GroupId([7; 32]);
const A: DeviceId = DeviceId([1; 32]);
const B: DeviceId = DeviceId([2; 32]);
const C: DeviceId = DeviceId([3; 32]);
const HERE: RelayId = DeviceId([8; 32]);
const THERE: RelayId = DeviceId([9; 32]);

fn node() -> Arc<Attendance> {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Clock::open(folder.path(), None));
    Arc::new(Attendance::new(clock, Arc::default()))
}

/// What a session was told, without waiting: who came and who went, and what was said.
fn told(attending: &Attending) -> Vec<(DeviceId, String)> {
    let queue = attending.queue.as_ref().unwrap();
    let mut told = Vec::new();
    while let Some(live) = queue.take() {
        told.push(match live {
            Live::Presence(presence) if presence.online => (presence.device, "came".to_owned()),
            Live::Presence(presence) => (presence.device, "went".to_owned()),
            Live::Said(said) => (
                said.sender,
                String::from_utf8(said.payload.to_vec()).unwrap(),
            ),
            Live::Again => (attending.device, "again".to_owned()),
        });
    }
    told
}

fn came(device: DeviceId) -> (DeviceId, String) {
    (device, "came".to_owned())
}

fn went(device: DeviceId) -> (DeviceId, String) {
    (device, "went".to_owned())
}

fn listening(node: &Arc<Attendance>, device: DeviceId) -> Attending {
    let mut attending = node.enter(GROUP, device);
    attending.listen();
    attending
}

fn said(sender: DeviceId, text: &str) -> Ephemeral {
    Ephemeral {
        sender,
        epoch: 0,
        payload: text.to_owned().into(),
    }
}

fn later() -> Instant {
    Instant::now() + limits::PRESENCE_GRACE + Duration::from_millis(1)
}

/// Lets one node hear what another has to say.
async fn carry(from: (&Arc<Attendance>, RelayId), to: (&Arc<Attendance>, RelayId)) {
    let take = from.0.outbox.take(from.1, from.0);
    for notice in take.await {
        assert!(notice.len() <= limits::NOTICE);
        from.0.notice(from.1, &notice);
        to.0.notice(to.1, &notice);
    }
}

#[tokio::test]
async fn a_device_is_there_while_it_has_a_session_and_a_moment_longer() {
    let node = node();
    let first = listening(&node, A);
    let (one, two) = (node.enter(GROUP, B), node.enter(GROUP, B));
    assert_eq!(told(&first), [came(B)], "of itself it is not told");
    drop(one);
    node.tell_gone(later());
    assert_eq!(told(&first), []);
    drop(two);
    node.tell_gone(Instant::now());
    let back = node.enter(GROUP, B);
    node.tell_gone(later());
    assert_eq!(told(&first), [], "it was back in time");
    drop(back);
    node.tell_gone(later());
    assert_eq!(told(&first), [went(B)]);
    let listed = first.complete(Vec::new());
    assert_eq!(listed.len(), 1);
    assert!(listed[0].device == A && listed[0].online);
    drop(first);
    node.tell_gone(later());
    assert!(node.lock().groups.is_empty() && node.lock().leaving.is_empty());
}

#[tokio::test]
async fn those_who_are_there_come_first_in_the_list_and_are_never_cut_off() {
    let node = node();
    let first = listening(&node, A);
    let stored = |n: usize| ListedDevice {
        device: DeviceId([(n % 256) as u8; 32]),
        last_seen: Timestamp(5),
        acked: 4,
        online: false,
    };
    let mut many: Vec<_> = (0..MAX_LISTED_DEVICES).map(|_| stored(200)).collect();
    many[17] = stored(1);
    let _second = node.enter(GROUP, B);
    let listed = first.complete(many);
    assert_eq!(listed.len(), MAX_LISTED_DEVICES);
    let online = |device| listed[..2].iter().find(|l| l.device == device).copied();
    assert!(online(A).is_some_and(|l| l.online && l.acked == 4 && l.last_seen.0 > 5));
    assert!(online(B).is_some_and(|l| l.online && l.acked == 0));
    assert!(listed[2..].iter().all(|l| !l.online));
}

#[tokio::test]
async fn a_session_that_does_not_listen_or_is_slow_costs_little() {
    let node = node();
    let (mut first, second) = (node.enter(GROUP, A), listening(&node, B));
    first.say(&said(A, "early"));
    assert_eq!(told(&second), [(A, "early".to_owned())]);
    second.say(&said(B, "unheard"));
    first.listen();
    assert_eq!(told(&first), []);
    for n in 0..limits::MAX_SAID + 3 {
        second.say(&said(B, &n.to_string()));
    }
    let heard = told(&first);
    assert_eq!(heard.len(), limits::MAX_SAID);
    assert_eq!(heard[0], (B, "3".to_owned()), "the oldest goes");
    assert_eq!(told(&second), [], "nobody hears itself");
    let many: Vec<_> = (0..=limits::MAX_CHANGES)
        .map(|n| {
            node.enter(
                GROUP,
                DeviceId(
                    [100 + (n / 256) as u8, n as u8]
                        .repeat(16)
                        .try_into()
                        .unwrap(),
                ),
            )
        })
        .collect();
    let told = told(&first);
    assert_eq!(told, [(A, "again".to_owned())]);
    drop(many);
}

#[tokio::test]
async fn nodes_tell_each_other_who_is_there_and_what_is_said() {
    let (here, there) = (node(), node());
    let first = listening(&here, A);
    // Nobody to tell yet.
    assert!(
        tokio::time::timeout(Duration::ZERO, here.outbox.take(HERE, &here))
            .await
            .is_err()
    );
    here.outbox.open(true);
    there.outbox.open(true);
    carry((&here, HERE), (&there, THERE)).await;
    let second = listening(&there, B);
    carry((&there, THERE), (&here, HERE)).await;
    assert_eq!(told(&first), [came(B)]);
    // It was asked.
    carry((&here, HERE), (&there, THERE)).await;
    assert_eq!(told(&second), [came(A)]);
    assert_eq!(second.complete(Vec::new()).len(), 2);

    second.say(&said(B, "hello"));
    carry((&there, THERE), (&here, HERE)).await;
    assert_eq!(told(&first), [(B, "hello".to_owned())]);

    // A device that moves to the other node was never gone.
    let moved = here.enter(GROUP, B);
    drop(second);
    carry((&here, HERE), (&there, THERE)).await;
    carry((&there, THERE), (&here, HERE)).await;
    here.tell_gone(later());
    assert_eq!(told(&first), []);
    drop(moved);
    here.tell_gone(later());
    assert_eq!(told(&first), [went(B)]);
}

#[tokio::test]
async fn a_node_that_dies_or_starts_again_takes_its_devices_with_it() {
    let (here, there) = (node(), node());
    here.outbox.open(true);
    there.outbox.open(true);
    let first = listening(&here, A);
    let (second, third) = (there.enter(GROUP, B), there.enter(GROUP, C));
    carry((&there, THERE), (&here, HERE)).await;
    assert_eq!(told(&first), [came(B), came(C)]);
    here.living(&[THERE]);
    here.tell_gone(later());
    assert_eq!(told(&first), []);
    here.living(&[]);
    here.tell_gone(later());
    assert_eq!(told(&first), [went(B), went(C)]);

    // What it tells when it is found again.
    there.outbox.everything();
    carry((&there, THERE), (&here, HERE)).await;
    assert_eq!(told(&first), [came(B), came(C)]);
    drop(third);
    there.outbox.everything();
    carry((&there, THERE), (&here, HERE)).await;
    here.tell_gone(later());
    assert_eq!(
        told(&first),
        [went(C)],
        "those that are listed again were never gone"
    );
    for notice in nodes::farewell(THERE) {
        here.notice(HERE, &notice);
    }
    here.tell_gone(later());
    assert_eq!(told(&first), [went(B)]);
    drop(second);
}

#[tokio::test]
async fn a_list_that_is_longer_than_a_notice_goes_in_several() {
    let (here, there) = (node(), node());
    there.outbox.open(true);
    let first = listening(&here, A);
    let device = |n: u16| {
        let mut id = [5; 32];
        id[..2].copy_from_slice(&n.to_le_bytes());
        DeviceId(id)
    };
    let many: Vec<_> = (0..400).map(|n| there.enter(GROUP, device(n))).collect();
    carry((&there, THERE), (&here, HERE)).await;
    assert_eq!(first.complete(Vec::new()).len(), 401);
    drop(many);
}

#[tokio::test]
async fn the_longest_message_fits_a_notice_and_what_is_not_understood_is_passed_over() {
    let (here, there) = (node(), node());
    let first = listening(&here, A);
    let second = listening(&there, B);
    here.outbox.open(true);
    there.outbox.open(true);
    carry((&here, HERE), (&there, THERE)).await;
    let longest = "x".repeat(zerok_sync_shared::limits::MAX_EPHEMERAL_PAYLOAD);
    second.say(&said(B, &longest));
    carry((&there, THERE), (&here, HERE)).await;
    assert_eq!(told(&first), [came(B), (B, longest)]);
    let node = data_encoding::BASE64URL_NOPAD.encode(&THERE.0);
    for text in [
        "",
        "x",
        "x x",
        &node,
        &format!("{node} q:1 e:x f:y:z w: x:1 e:::: f"),
    ] {
        here.notice(HERE, text);
    }
    here.tell_gone(later());
    assert_eq!(told(&first), []);
}
