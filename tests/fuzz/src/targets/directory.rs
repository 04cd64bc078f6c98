//! What something that may not be a relay answers at `/.well-known/iroh`.

pub fn run(data: &[u8]) {
    std::hint::black_box(zerok_sync_client::fuzzing::read_directory(data));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let key = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6";
    let node = format!(
        r#"{{"version":1,"nodes":[{{"endpoint_id":"{key}","relay_url":"https://sync.example.com/","udp_addrs":["127.0.0.1:1"]}}]}}"#
    );
    vec![
        node.into_bytes(),
        br#"{"version":2}"#.to_vec(),
        b"<html>".to_vec(),
    ]
}
