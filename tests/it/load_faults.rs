//! Where the load driver comes to no verdict it says what kept it from one.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rewake::load::{AcknowledgedError, ClientError, Driver, LoadError, LoadOptions};

use crate::cli::{program, run};
use crate::load::{block_on, drive, options};
use crate::load_node::{ACCOUNTS, Fault, PaperNode};

/// Options with hardly any patience.
fn impatient() -> LoadOptions {
    let (patience, request_limit) = (Duration::from_millis(150), Duration::from_millis(150));
    LoadOptions { patience, request_limit, ..options() }
}

/// Returns an address at which nobody listens.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

#[test]
fn a_node_that_does_not_do_its_part_is_named_with_what_it_does() {
    type Expected = fn(&LoadError) -> bool;
    let cases: [(Fault, Expected); 14] = [
        (Fault::Refuses, |it| matches!(it, LoadError::Refused { status: 422, .. })),
        (Fault::NeverAcknowledges, |it| matches!(it, LoadError::NotAcknowledged { .. })),
        (Fault::IsAlwaysFull, |it| matches!(it, LoadError::NotAcknowledged { .. })),
        (Fault::NeverSettles, |it| matches!(it, LoadError::Unsettled { pending_blocks: 1, .. })),
        (Fault::HasNoGenesis, |it| matches!(it, LoadError::NoGenesis)),
        (Fault::HasPatches, |it| matches!(it, LoadError::Unmodelled { height: 1, .. })),
        (Fault::AnswersNonsense, |it| {
            matches!(it, LoadError::Client(ClientError::Unreadable { .. }))
        }),
        (Fault::StatesNonsense, |it| {
            matches!(it, LoadError::Client(ClientError::Unreadable { .. }))
        }),
        (Fault::AnswersTooFew, |it| {
            matches!(it, LoadError::Client(ClientError::Unreadable { .. }))
        }),
        (Fault::AnswersTooMuch, |it| matches!(it, LoadError::Client(ClientError::TooLarge { .. }))),
        (Fault::HidesAccounts, |it| {
            matches!(it, LoadError::Client(ClientError::Status { status: 500, .. }))
        }),
        (Fault::BreaksReads, |it| matches!(it, LoadError::Client(ClientError::Broken { .. }))),
        (Fault::StallsReads, |it| {
            matches!(it, LoadError::Client(ClientError::TimedOut { limit_ms: 150, .. }))
        }),
        (Fault::None, |it| matches!(it, LoadError::TooFewAccounts { .. })),
    ];
    for (fault, expected) in cases {
        let clients = if fault == Fault::None {
            usize::try_from(ACCOUNTS).expect("it is small") + 1
        } else {
            2
        };
        let patience = match fault {
            // Ten attempts take longer than that.
            Fault::BreaksReads | Fault::StallsReads => Duration::from_mins(1),
            _ => impatient().patience,
        };
        let options = LoadOptions { clients, patience, ..impatient() };
        let error = drive(fault, options).expect_err("no verdict");
        assert!(expected(&error), "{fault:?}: {error:?}");
    }
}

#[test]
fn nobody_there_is_told_within_a_bounded_time() {
    let driver = Driver::new(nobody().into(), impatient()).expect("a driver");
    let error = block_on(driver.run()).expect_err("no verdict");
    let LoadError::Unreachable { last, .. } = &error else { panic!("{error:?}") };
    assert!(last.contains("no connection to http://127.0.0.1:"), "{last}");
    let url = format!("http://{}", nobody());
    let ran = run(program().args(["load", "--url", &url, "--patience", "0"])).expect(1);
    assert!(ran.err.contains(&url) && ran.err.contains("help: start a node"), "{ran:#?}");
}

#[test]
fn a_list_that_cannot_be_kept_is_told_before_anything_is_asked() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let path = Some(scratch.path().to_owned());
    let options = LoadOptions { acknowledged: path, ..impatient() };
    let error = Driver::new(nobody().into(), options).err().expect("no driver");
    assert!(matches!(error, LoadError::Acknowledged(AcknowledgedError::Io { .. })), "{error:?}");
}

/// Returns how many events a node says it has.
fn log_head(address: SocketAddr) -> Option<u64> {
    let mut stream = TcpStream::connect(address).expect("a node");
    let request = b"GET /v1/status HTTP/1.1\r\n\r\n";
    stream.write_all(request).expect("a node");
    stream.shutdown(std::net::Shutdown::Write).expect("a node");
    let text = std::io::read_to_string(stream).expect("an answer");
    let (_, body) = text.split_once("\r\n\r\n")?;
    serde_json::from_str::<serde_json::Value>(body).ok()?["log_head_seq"].as_u64()
}

#[test]
fn a_signal_ends_the_load_with_an_error() {
    let address = PaperNode::start(Fault::None);
    let url = format!("http://{address}");
    let mut command = program();
    command.args(["load", "--clients", "2", "--seconds", "600", "--url", &url]);
    let child = command.stderr(std::process::Stdio::piped()).spawn().expect("the program");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while log_head(address).is_none_or(|seq| seq < 10) {
        assert!(std::time::Instant::now() < deadline, "no load within 20 s");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("asked to stop"), "{output:?}");
}

#[test]
fn a_command_line_that_contradicts_itself_is_not_followed() {
    for words in [
        "load",
        "load --url nonsense",
        "load --url http://a:1 --data b",
        "load --url http://a:1 --kills 1",
        "load --data b --kills 1 --transfers 5",
        "load --url http://a:1 --batch 1001",
        "load --url http://a:1 --clients 0",
    ] {
        run(program().args(words.split_whitespace())).expect(2);
    }
}
