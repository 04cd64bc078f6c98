//! Text that a person pastes as an invite.

use zerok_sync_shared::crypto::invite::InviteKey;

pub fn run(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Ok((key, url)) = InviteKey::parse(text) {
        let link = key.link("https://app.example/", &url);
        assert_eq!(InviteKey::parse(&link), Ok((key, url)));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let key = InviteKey::random(&mut |bytes: &mut [u8]| bytes.fill(7));
    let link = key.link("https://app.example/", "https://sync.example.com");
    vec![link.into_bytes(), b"#0k=2.AAAA".to_vec(), b"0k=1.".to_vec()]
}
