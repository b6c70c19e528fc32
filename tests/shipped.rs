//! Weights that stand beside the page, from servers of our own: compared with what the build knows of them, fetched once, and
//! told when they do not come. Natively the program carries them; the page asks by the same code.

use hive::engine::shipped::{Shipped, ShippedError};
use hive::platform::block_on;

use crate::common::hub::sha256;
use crate::common::server::{Reply, Server, plain};

const BYTES: &[u8] = &[7; 100_000];

fn shipped() -> Shipped {
    Shipped::new("some", BYTES.len(), sha256(BYTES).leak(), None)
}

#[test]
fn weights_beside_the_page_are_fetched_once_and_told_piece_by_piece() {
    let server = Server::start(|asked| match asked.before {
        0 => Reply::status(503),
        1 => Reply { cut: Some(40_000), ..plain(BYTES) },
        _ => plain(BYTES),
    });
    let shipped = shipped();
    let mut told = Vec::new();
    let bytes = block_on(shipped.fetched_from(&server.address, |done, of| told.push((done, of)))).unwrap();
    assert_eq!(bytes, BYTES);
    assert!(told.iter().filter(|t| **t == (0, 100_000)).count() == 3, "each try begins anew: {told:?}");
    assert_eq!(told.last(), Some(&(100_000, 100_000)));
    let asked = server.take();
    let address = format!("/some.safetensors?v={}", &sha256(BYTES)[..16]);
    assert!(asked.len() == 3 && asked.iter().all(|line| line.asked.path == address), "{asked:?}");

    assert_eq!(block_on(shipped.fetched_from(&server.address, |_, _| panic!("it is fetched again"))).unwrap(), BYTES);
    assert!(server.take().is_empty());
}

#[test]
fn damaged_weights_are_fetched_anew() {
    let server = Server::start(|asked| if asked.before == 0 { plain(&[8; 100_000]) } else { plain(BYTES) });
    assert_eq!(block_on(shipped().fetched_from(&server.address, |_, _| ())).unwrap(), BYTES);
    assert_eq!(server.take().len(), 2);
}

#[test]
fn missing_weights_and_those_of_another_version_are_told() {
    let server = Server::start(|_| Reply::status(404));
    let error = block_on(shipped().fetched_from(&server.address, |_, _| ())).unwrap_err();
    assert_eq!(error.to_string(), "the weights some cannot be fetched: the server answers with status 404");
    assert!(error.remedy().contains("try again") && error.remedy().contains("folder models"));
    assert_eq!(server.take().len(), 1);

    for other in [vec![8; 100_000], vec![7; 99_999], vec![7; 300_000]] {
        let server = Server::start(move |_| plain(&other));
        let error = block_on(shipped().fetched_from(&server.address, |_, _| ())).unwrap_err();
        assert!(matches!(error, ShippedError::Other { name: "some" }), "{error}");
        assert!(error.remedy().contains("Reload the page"));
    }
}
