//! Every refusal from outside: exit code, message and advice, and that nothing on disk is changed by it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rewake::exec::{Intake, NewEvent, Recovery, RecoveryOptions, SystemClock, examine};
use rewake::machine::Registry;
use rewake::machine::ledger::{Account, Header, Transfer};
use rewake::store::{DataDir, Repairs};
use rewake::types::Height;
use rusqlite::Connection;

use crate::cli::{files, generated, rewake};

/// What is done to a sound node, and what every command then says of it.
struct Case {
    name: &'static str,
    tamper: fn(&Path),
    code: i32,
    decision: &'static str,
    error: &'static str,
    advice: &'static str,
}

/// Copies a directory.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new directory");
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).expect("a copied file");
    }
}

/// Returns a second copy of a node beside it.
fn twin(data: &Path) -> PathBuf {
    let twin = data.with_extension("twin");
    copy(data, &twin);
    twin
}

/// Replaces files by those of another node.
fn take(from: &Path, to: &Path, names: &[&str]) {
    for name in names {
        let (from, to) = (from.join(name), to.join(name));
        match fs::read(&from) {
            Ok(bytes) => fs::write(&to, bytes).expect("a replaced file"),
            Err(_) => drop(fs::remove_file(&to)),
        }
    }
}

const MAIN: [&str; 2] = ["main.db", "main.db-wal"];

fn append(data: &Path, events: Vec<NewEvent>) {
    let node = examine(&DataDir::new(data), &Registry::built_in(), Repairs::default());
    let node = node.expect("a sound node");
    Intake::new(&node, Arc::new(SystemClock)).append(events).expect("an append");
}

fn recover(data: &Path) {
    let node = examine(&DataDir::new(data), &Registry::built_in(), Repairs::default());
    Recovery::new(node.expect("a sound node"), RecoveryOptions::default())
        .run()
        .expect("a recovery");
}

fn transfer(nonce: u64) -> NewEvent {
    let transfer = Transfer { from: Account(1), to: Account(2), amount: 1, nonce };
    NewEvent::Tx { id: transfer.id(), payload: transfer.encode().as_slice().into() }
}

/// An empty block after the generated ones.
fn block(time_ms: u64) -> NewEvent {
    let header = Header { time_ms }.encode().into();
    NewEvent::Order { height: Height(16), header, txs: Vec::new() }
}

fn sql(data: &Path, file: &str, statement: &str) {
    recover_quietly(data, file);
    let connection = Connection::open(data.join(file)).expect("a database");
    connection.execute_batch(statement).expect("a statement");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
}

/// Moves a write-ahead log into its database, so that the statement is all that changes.
fn recover_quietly(data: &Path, file: &str) {
    let connection = Connection::open(data.join(file)).expect("a database");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
}

fn overwrite(data: &Path, file: &str) {
    fs::write(data.join(file), b"these bytes are nothing that this program ever wrote")
        .expect("a file");
}

fn truncate(data: &Path, file: &str, length: u64) {
    let file = OpenOptions::new().write(true).open(data.join(file)).expect("the file is there");
    file.set_len(length).expect("a shorter file");
}

fn remove(data: &Path, file: &str) {
    fs::remove_file(data.join(file)).expect("the file is there");
}

const fn case(
    name: &'static str,
    tamper: fn(&Path),
    code: i32,
    decision: &'static str,
    [error, advice]: [&'static str; 2],
) -> Case {
    Case { name, tamper, code, decision, error, advice }
}

const NOT_OURS: &str = "is not a file of this program";
const MISSING: &str = "is missing although the node was initialised";
const BACKUP: &str = "restore the whole directory from a backup";
const REBUILD: &str = "run `rewake recover --rebuild-main`";
const RESTORE: &str = "restore log.db, log.db-wal and WITNESS together";

fn check(cases: &[Case]) {
    let (scratch, data) = generated();
    for (index, case) in cases.iter().enumerate() {
        let copied = scratch.path().join(format!("case-{index}"));
        copy(&data, &copied);
        (case.tamper)(&copied);
        let before = files(&copied);
        for command in ["status", "plan", "recover", "quarantine list"] {
            let name = format!("{}, {command}", case.name);
            let ran = rewake(&format!("{command} --json"), &copied);
            assert_eq!(ran.code, case.code, "{name}: {ran:#?}");
            let told = ran.json();
            assert_eq!(told["outcome"], "refused", "{name}: {told}");
            assert_eq!(told["decision"], case.decision, "{name}: {told}");
            assert_eq!(told["exit_code"], case.code, "{name}: {told}");
            let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
            assert!(text("error").contains(case.error), "{name}: {told}");
            assert!(text("advice").contains(case.advice), "{name}: {told}");
            assert!(
                ran.err.starts_with("error: ") && ran.err.contains("\nhelp: "),
                "{name}: {ran:#?}"
            );
            assert_eq!(ran.out.lines().count(), 1, "{name}: {ran:#?}");
            assert!(files(&copied) == before, "{name}: something on disk was changed");
        }
    }
}

#[test]
fn files_that_are_missing_or_foreign_or_cut_are_refused() {
    check(&[
        case(
            "empty directory",
            |dir| {
                fs::remove_dir_all(dir).expect("it is there");
                fs::create_dir(dir).expect("it is gone");
            },
            2,
            "unusable",
            ["no node is here", "run `rewake init`"],
        ),
        case(
            "no directory",
            |dir| fs::remove_dir_all(dir).expect("it is there"),
            2,
            "unusable",
            ["no node is here", "name another directory"],
        ),
        case("no log.db", |dir| remove(dir, "log.db"), 4, "unusable", [MISSING, BACKUP]),
        case("no main.db", |dir| remove(dir, "main.db"), 4, "unusable", [MISSING, REBUILD]),
        case("no WITNESS", |dir| remove(dir, "WITNESS"), 4, "unusable", [MISSING, "--accept-log"]),
        case("no LOCK", |dir| remove(dir, "LOCK"), 4, "unusable", [MISSING, "from a backup"]),
        case("foreign log.db", |dir| overwrite(dir, "log.db"), 4, "unusable", [NOT_OURS, BACKUP]),
        case(
            "foreign main.db",
            |dir| overwrite(dir, "main.db"),
            4,
            "unusable",
            [NOT_OURS, REBUILD],
        ),
        case(
            "foreign WITNESS",
            |dir| overwrite(dir, "WITNESS"),
            4,
            "unusable",
            [NOT_OURS, "--accept-log"],
        ),
        case("foreign LOCK", |dir| overwrite(dir, "LOCK"), 4, "unusable", [NOT_OURS, "move"]),
        case(
            "log.db cut",
            |dir| truncate(dir, "log.db", 8192),
            4,
            "unusable",
            ["log.db: is damaged", BACKUP],
        ),
        case(
            "main.db cut",
            |dir| truncate(dir, "main.db", 8192),
            4,
            "unusable",
            ["main.db: is damaged", REBUILD],
        ),
        case("log.db emptied", |dir| truncate(dir, "log.db", 0), 4, "unusable", [NOT_OURS, BACKUP]),
        case(
            "main.db emptied",
            |dir| truncate(dir, "main.db", 0),
            4,
            "unusable",
            [NOT_OURS, REBUILD],
        ),
        case(
            "WITNESS cut",
            |dir| truncate(dir, "WITNESS", 100),
            4,
            "unusable",
            [NOT_OURS, "--accept-log"],
        ),
        case("LOCK cut", |dir| truncate(dir, "LOCK", 3), 4, "unusable", [NOT_OURS, "move"]),
        case(
            "main.db in place of log.db",
            |dir| drop(fs::copy(dir.join("main.db"), dir.join("log.db"))),
            4,
            "unusable",
            ["log.db: is not a file of this program: its application id", BACKUP],
        ),
    ]);
}

#[test]
fn schemas_and_machines_that_do_not_fit_are_refused() {
    check(&[
        case(
            "newer log.db",
            |dir| sql(dir, "log.db", "PRAGMA user_version = 99"),
            4,
            "schema_too_new",
            ["log.db: has schema version 99", "a newer one"],
        ),
        case(
            "newer main.db",
            |dir| sql(dir, "main.db", "PRAGMA user_version = 99"),
            4,
            "schema_too_new",
            ["main.db: has schema version 99", "a newer one"],
        ),
        case(
            "altered main.db",
            |dir| sql(dir, "main.db", "CREATE TABLE mine (a)"),
            4,
            "unusable",
            ["has tables that schema version", "undo the change"],
        ),
        case(
            "machine changed",
            |dir| sql(dir, "main.db", "UPDATE main SET machine_version = 7"),
            6,
            "machine_changed",
            ["ledger version 7", "run the program version"],
        ),
        case(
            "machine unknown",
            |dir| {
                sql(dir, "main.db", "UPDATE main SET machine = 'tally'");
                sql(dir, "log.db", "UPDATE log SET machine = 'tally'");
            },
            6,
            "machine_unknown",
            ["\"tally\" is not built into", "use a program that has this machine"],
        ),
    ]);
}

#[test]
fn histories_that_do_not_fit_together_are_refused() {
    check(&[
        case(
            "log cut",
            |dir| {
                let twin = twin(dir);
                append(&twin, vec![transfer(1 << 40)]);
                take(&twin, dir, &["WITNESS"]);
            },
            4,
            "log_cut",
            ["event 323 was acknowledged, as WITNESS says, but log.db ends at event 322", RESTORE],
        ),
        case(
            "log lost",
            |dir| {
                let twin = twin(dir);
                append(&twin, vec![block(1)]);
                recover(&twin);
                take(&twin, dir, &MAIN);
            },
            4,
            "log_lost",
            ["block 16 rests on event 323, but log.db ends at event 322", RESTORE],
        ),
        case(
            "log replaced",
            |dir| {
                let twin = twin(dir);
                append(&twin, vec![transfer(1 << 40)]);
                append(dir, vec![transfer(1 << 41)]);
                take(&twin, dir, &["WITNESS"]);
            },
            4,
            "log_replaced",
            ["holds another event 323", RESTORE],
        ),
        case(
            "diverged",
            |dir| {
                let twin = twin(dir);
                append(&twin, vec![block(1)]);
                recover(&twin);
                append(dir, vec![block(2)]);
                take(&twin, dir, &MAIN);
            },
            5,
            "diverged",
            ["tell different histories from block 16 on", "--rebuild-main"],
        ),
        case(
            "broken after",
            |dir| sql(dir, "log.db", "UPDATE event SET body = x'00' WHERE seq = 322"),
            4,
            "chain_broken_after",
            ["event 322", "rewake audit"],
        ),
        case(
            "event gone",
            |dir| sql(dir, "log.db", "DELETE FROM event WHERE seq = 300"),
            4,
            "chain_broken_after",
            ["event 300 is missing", "rewake audit"],
        ),
    ]);
}

#[test]
fn damage_at_the_checkpoint_is_refused() {
    let (_scratch, data) = generated();
    let order = "kind = 3 AND seq <= (SELECT max(seq) FROM event WHERE kind = 3) - 21 * 5";
    let at = format!(
        "UPDATE event SET created = created + 1 WHERE seq = (SELECT max(seq) FROM event WHERE {order})"
    );
    sql(&data, "log.db", &at);
    let before = files(&data);
    for command in ["status", "plan", "recover"] {
        let ran = rewake(&format!("{command} --json"), &data).expect(4);
        assert_eq!(ran.json()["decision"], "chain_broken_before", "{ran:#?}");
        assert!(files(&data) == before, "{command} changed something");
    }
}

#[test]
fn a_node_that_another_process_has_open_is_busy() {
    let (_scratch, data) = generated();
    let lock = fs::File::open(data.join("LOCK")).expect("the lock is there");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("the lock is free");
    let before = files(&data);
    for command in ["status", "plan", "recover", "quarantine list", "import jsonl /dev/null"] {
        let ran = rewake(&format!("{command} --json"), &data).expect(7);
        assert_eq!(ran.json()["decision"], "locked", "{command}: {ran:#?}");
        assert!(ran.err.contains("another process has this node open"), "{command}: {ran:#?}");
        assert!(ran.err.contains("help: stop the other process, or wait for it"), "{command}");
    }
    assert!(files(&data) == before, "something on disk was changed");
    drop(lock);
    rewake("status", &data).expect(3);
}

#[test]
fn a_sandbox_that_is_none_stops_recovery_and_may_be_deleted() {
    let (scratch, data) = generated();
    for (index, bytes) in [&b"these bytes are no sandbox"[..], b""].into_iter().enumerate() {
        let copied = scratch.path().join(format!("case-{index}"));
        copy(&data, &copied);
        fs::write(copied.join("sandbox.db"), bytes).expect("a file");
        let before = files(&copied);
        rewake("status", &copied).expect(3);
        let ran = rewake("recover --json", &copied).expect(4);
        assert!(ran.err.contains("sandbox.db: is not a file of this program"), "{ran:#?}");
        assert!(ran.err.contains("help: nothing is lost with it: delete"), "{ran:#?}");
        assert!(files(&copied) == before, "something on disk was changed");
        remove(&copied, "sandbox.db");
        rewake("recover", &copied).expect(0);
    }
}
