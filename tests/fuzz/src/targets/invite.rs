//! Text that a person pastes as an invite, or types as a short code.

use zerok_sync_shared::crypto::invite::{InviteCode, InviteKey};

pub fn run(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Ok((key, url)) = InviteKey::parse(text) {
        let link = key.link("https://app.example/", &url);
        assert_eq!(InviteKey::parse(&link), Ok((key, url)));
    }
    if let Ok(code) = InviteCode::parse(text) {
        assert_eq!(InviteCode::parse(&code.to_string()), Ok(code));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let key = InviteKey::random(&mut |bytes: &mut [u8]| bytes.fill(7));
    let link = key.link("https://app.example/", "https://sync.example.com");
    let code = "abcd-ef01 2345\u{2013}oIlZ";
    vec![
        link.into_bytes(),
        b"#0k=2.AAAA".to_vec(),
        b"0k=1.".to_vec(),
        code.as_bytes().to_vec(),
    ]
}
