//! `rewake node` where it does not come to serve anything.

use std::net::TcpListener;

use crate::cli::{generated, rewake};

#[test]
fn a_node_that_is_not_there_is_not_made_unasked() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    let ran = rewake("node --listen 127.0.0.1:0 --json", &data).expect(2);
    assert!(ran.err.contains("no node is here") && !data.exists(), "{ran:?}");
    assert!(!ran.err.contains("listening on"), "{ran:?}");
    assert_eq!((&ran.json()["outcome"], &ran.json()["exit_code"]), (&"refused".into(), &2.into()));
}

#[test]
fn accounts_are_opened_by_a_ledger_that_is_made() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    let ran = rewake("node --listen 127.0.0.1:0 --accounts 3", &data).expect(2);
    assert!(ran.err.contains("add --create"), "{ran:?}");
    let ran = rewake("node --create --machine none", &data).expect(6);
    assert!(ran.err.contains("\"none\" is not built into this program"), "{ran:?}");
    #[cfg(feature = "evm")]
    {
        let ran = rewake("node --create --machine evm --accounts 3", &data).expect(2);
        assert!(ran.err.contains("evm has no accounts"), "{ran:?}");
    }
    assert!(!data.exists());
}

#[test]
fn a_node_that_another_process_has_open_is_refused_at_once() {
    let (_scratch, data) = generated();
    let held = rewake::store::DataDir::new(&data).open().expect("a node");
    let ran = rewake("node --listen 127.0.0.1:0 --json", &data).expect(7);
    assert!(!ran.err.contains("listening on"), "{ran:?}");
    assert_eq!(ran.json()["decision"], "locked");
    drop(held);
}

#[test]
fn an_address_that_is_taken_is_told() {
    let (_scratch, data) = generated();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    for option in ["--listen", "--listen 127.0.0.1:0 --probe-listen"] {
        let ran = rewake(&format!("node {option} {address}"), &data).expect(1);
        let told = format!("error: cannot listen on {address}: ");
        assert!(ran.err.contains(&told) && ran.err.contains("name another address"), "{ran:?}");
    }
}

#[test]
fn an_option_that_cannot_be_followed_is_usage() {
    let (_scratch, data) = generated();
    for option in [
        "--listen nowhere",
        "--probe-listen 1",
        "--block-ms 0",
        "--block-txs 0",
        "--body-bytes-max 0",
        "--submission-txs-max 0",
        "--connections-max 0",
        "--header-seconds 0",
        "--idle-seconds 0",
        "--request-seconds 0",
        "--drain-seconds 3601",
    ] {
        rewake(&format!("node {option}"), &data).expect(2);
    }
}
