//! Access tokens: as people paste them, as operators write their hashes and lists of them, and as tickets of WebSockets.

use zerok_sync_relay::access::HashedToken;
use zerok_sync_relay::fuzzing::token_file;
use zerok_sync_shared::crypto::token::{AccessToken, ticket_id};
use zerok_sync_shared::ids::DeviceId;

const DEVICE: DeviceId = DeviceId([7; 32]);

pub fn run(data: &[u8]) {
    if let Ok(tokens) = token_file(data) {
        let list: Vec<String> = tokens.iter().map(HashedToken::to_string).collect();
        assert_eq!(token_file(list.join("\n").as_bytes()), Ok(tokens));
    }
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Ok(hash) = text.parse::<HashedToken>() {
        assert_eq!(hash.to_string().parse(), Ok(hash));
    }
    let _ = ticket_id(text);
    let other = AccessToken::new("another").expect("a token");
    assert!(!other.hash().is_ticket(DEVICE, text), "nobody knows it");
    let Some(token) = AccessToken::new(text) else {
        return;
    };
    assert_eq!(token.expose(), text);
    let ticket = token.hash().ticket(DEVICE);
    assert!(token.hash().is_ticket(DEVICE, &ticket));
    assert!(!token.hash().is_ticket(DeviceId([8; 32]), &ticket));
    assert!(ticket_id(&ticket).is_some());
}

pub fn seeds() -> Vec<Vec<u8>> {
    let token = AccessToken::new("0kt_AAAA").expect("a token");
    vec![
        token.expose().as_bytes().to_vec(),
        token.hash().ticket(DEVICE).into_bytes(),
        HashedToken::of("0kt_AAAA").to_string().into_bytes(),
        b"sha256:00".to_vec(),
        format!(
            "# ours\n\n{} the office # new\r\n",
            HashedToken::of("0kt_AAAA")
        )
        .into_bytes(),
    ]
}
