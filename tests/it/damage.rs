//! Every byte of small data directories is damaged, and nothing that is answered afterwards is wrong unnoticed.
//!
//! `REWAKE_CRASH_SUITE` chooses how much of it is done.
//! A violation prints its line; with that in `REWAKE_DAMAGE`, only this damage is done.
//!
//! What becomes of damage:
//!
//! - *refused*: start-up or recovery says what is wrong and names the file; what it refused is as it was.
//! - *repaired*: brought forward from the log again, and everything is as if nothing had been damaged.
//! - *harmless*: the bytes mean nothing, or nothing that is answered.
//! - *on reading*: who asks for what is damaged gets an error; so does the audit.
//! - *found by audit*: start-up does not read it, since its cost must not grow with what is confirmed; the audit names it.
//!   Until then a running node answers nothing from it, or an error.
//! - *an older node*: log and witness went back together, to where the block table agrees with them. Nothing within the
//!   directory can tell this from the node that it once was, and it answers as that did.
//!
//! Anything else is silent, which is a violation.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rewake::audit::{AuditRange, audit};
use rewake::exec::{Recovery, examine};
use rewake::store::{DataDir, Repairs};
use rewake_simdisk::{Disk, Settings};

use crate::damage_answers::{Answers, Said, ask};
use crate::damage_golden::{Files, Golden, all, data_dir, files, image, singly};
use crate::damage_kinds::{Amount, Damage, damages};

/// What became of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Refused,
    Repaired,
    Harmless,
    OnReading,
    FoundByAudit,
    OlderNode,
    Silent,
}

/// A node that is damaged where recovery does not look may refuse to come up later.
const REFUSES: &str = "does not come up";

struct Verdict {
    class: Class,
    /// What a node that runs on it answers otherwise than a sound one.
    served: Vec<&'static str>,
    why: String,
}

impl Verdict {
    fn new(class: Class, why: impl Into<String>) -> Self {
        Self { class, served: Vec::new(), why: why.into() }
    }
}

/// A golden directory with what a sound node does on it.
struct Judge<'a> {
    golden: &'a Golden,
    sound: Said,
    /// Blocks that its recovery commits, and those of them that it need not rehearse.
    blocks: (u64, u64),
}

impl<'a> Judge<'a> {
    fn new(golden: &'a Golden) -> Self {
        let disk = Disk::new(image(&golden.files), Settings::default());
        let node = examine(&data_dir(&disk), &(golden.registry)(), Repairs::default());
        let recovery = Recovery::new(node.expect("a sound node"), singly());
        let report = recovery.run().expect("a recovery").1;
        let sound = ask(data_dir(&disk), (golden.registry)(), &golden.expected);
        let blocks = (report.blocks, report.resumed_blocks);
        Self { golden, sound: sound.expect("a sound node"), blocks }
    }

    fn judge(&self, damage: &Damage) -> Option<Verdict> {
        let damaged = damage.of(self.golden)?;
        let judged = catch_unwind(AssertUnwindSafe(|| self.judge_files(damage, &damaged)));
        Some(judged.unwrap_or_else(|_| Verdict::new(Class::Silent, "a panic")))
    }

    fn judge_files(&self, damage: &Damage, damaged: &Files) -> Verdict {
        let disk = Disk::new(image(damaged), Settings::default());
        let before = files(&disk);
        let node = match examine(&data_dir(&disk), &(self.golden.registry)(), Repairs::default()) {
            Ok(node) => node,
            Err(refusal) => {
                let text = refusal.to_string();
                return if files(&disk) != before {
                    Verdict::new(Class::Silent, format!("changed although refused: {text}"))
                } else if names(&text, damage) {
                    Verdict::new(Class::Refused, text)
                } else {
                    Verdict::new(Class::Silent, format!("the file is not named: {text}"))
                };
            }
        };
        let (node, report) = match Recovery::new(node, singly()).run() {
            Ok(recovered) => recovered,
            Err(error) if names(&error.to_string(), damage) => {
                return Verdict::new(Class::Refused, error.to_string());
            }
            Err(error) => {
                return Verdict::new(Class::Silent, format!("the file is not named: {error}"));
            }
        };
        let found = Answers::read(&node, Some(&self.golden.expected));
        let differing = found.differing(&self.golden.expected);
        let audited = audit(&node.store, &node.machine, AuditRange::default(), &mut |_| {});
        let findings: Vec<_> = match audited {
            Ok(report) => report.findings.iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        };
        let unreadable = found.unreadable();
        if damage.turns_back("WITNESS")
            && findings.is_empty()
            && let older = &self.golden.older_expected
            && Answers::read(&node, Some(older)).differing(older).is_empty()
        {
            return Verdict::new(Class::OlderNode, "it is as it was");
        }
        let why = format!("{differing:?} differ, {unreadable} unreadable, audit: {findings:?}");
        drop(node);
        let is_clean = findings.is_empty();
        match (differing.as_slice(), is_clean) {
            ([], true) if unreadable == 0 && report.halt.is_none() => {
                let blocks = (report.blocks, report.resumed_blocks);
                let is_repaired = blocks != self.blocks;
                Verdict::new(if is_repaired { Class::Repaired } else { Class::Harmless }, why)
            }
            (_, true) => Verdict::new(Class::Silent, why),
            ([], false) if unreadable > 0 => Verdict::new(Class::OnReading, why),
            (_, false) => {
                let served = self.served(data_dir(&disk));
                let answers_wrongly = served.iter().any(|part| *part != REFUSES);
                let class = if answers_wrongly { Class::Silent } else { Class::FoundByAudit };
                Verdict { class, why: format!("{served:?} answered, {why}"), served }
            }
        }
    }

    /// Asks a node that runs on it for everything.
    fn served(&self, dir: DataDir) -> Vec<&'static str> {
        match ask(dir, (self.golden.registry)(), &self.golden.expected) {
            Ok(said) => said.differing(&self.sound),
            Err(_) => vec![REFUSES],
        }
    }
}

/// Says whether a text names the damaged file, or the database whose write-ahead log it is.
fn names(text: &str, damage: &Damage) -> bool {
    let file = damage.file();
    text.contains(file.strip_suffix("-wal").unwrap_or(file))
}

#[derive(Default)]
struct Tally {
    flipped: u64,
    /// File, kind and class to how often.
    counts: BTreeMap<(String, &'static str, Class), u64>,
    /// What is answered otherwise, of what the audit finds.
    served: BTreeMap<(String, &'static str), (u64, String)>,
    silent: Vec<String>,
}

impl Tally {
    fn add(&mut self, golden: &Golden, damage: &Damage, verdict: Verdict) {
        self.flipped += u64::from(matches!(damage, Damage::Flip { .. }));
        let file = damage.file().to_owned();
        *self.counts.entry((file.clone(), damage.kind(), verdict.class)).or_default() += 1;
        let line = format!("REWAKE_DAMAGE='{}: {damage}' # {}", golden.name, verdict.why);
        for part in verdict.served {
            let served = self.served.entry((file.clone(), part));
            served.or_insert_with(|| (0, line.clone())).0 += 1;
        }
        if verdict.class == Class::Silent {
            self.silent.push(line);
        }
    }

    fn say(&self, started: Instant) {
        for ((file, kind, class), count) in &self.counts {
            say(&format!("damage: {file:16} {kind:8} {class:?}: {count}"));
        }
        for ((file, part), (count, line)) in &self.served {
            say(&format!("damage: {file:16} {part} is answered otherwise: {count}, as in {line}"));
        }
        let silent = self.silent.len();
        let (flipped, all) = (self.flipped, self.counts.values().sum::<u64>());
        say(&format!(
            "damage: {flipped} bytes, {all} changes, {silent} silent, {:?}",
            started.elapsed()
        ));
    }
}

/// Says on the terminal what was done, which the harness would keep to itself.
fn say(line: &str) {
    use std::io::Write as _;
    // Nothing depends on whether anybody reads it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[test]
fn damage_that_only_an_index_has_is_found_by_the_audit() {
    let golden = all().swap_remove(1);
    let main = &golden.files["main.db"];
    let scratch = tempfile::NamedTempFile::new().expect("a scratch file");
    std::fs::write(scratch.path(), main).expect("a copy");
    let page: usize = rusqlite::Connection::open(scratch.path())
        .and_then(|sql| {
            let page = "SELECT rootpage FROM sqlite_schema WHERE name = 'quarantine_held'";
            sql.query_row(page, [], |row| row.get(0))
        })
        .expect("an index");
    let judge = Judge::new(&golden);
    let mut found = 0;
    for (at, byte) in main.iter().enumerate().skip((page - 1) * 4096).take(4096) {
        if *byte != 0 {
            let damage = Damage::Flip { file: "main.db".to_owned(), at, mask: 0xff };
            let verdict = judge.judge(&damage).expect("a change");
            assert!(verdict.class != Class::Silent, "{damage}: {}", verdict.why);
            found += u64::from(verdict.class == Class::FoundByAudit);
        }
    }
    assert!(found > 0, "the index means nothing");
}

#[test]
fn a_block_table_that_was_destroyed_is_rebuilt_from_the_log() {
    for golden in all() {
        for keeps_wal in [false, true] {
            let mut destroyed = golden.files.clone();
            destroyed.remove("main.db");
            if !keeps_wal {
                destroyed.remove("main.db-wal");
            }
            let disk = Disk::new(image(&destroyed), Settings::default());
            let repairs = Repairs { rebuild_main: true, ..Repairs::default() };
            let node = examine(&data_dir(&disk), &(golden.registry)(), repairs);
            let recovery = Recovery::new(node.expect("a new block table"), singly());
            let (node, report) = recovery.run().expect("a recovery");
            let found = Answers::read(&node, Some(&golden.expected));
            assert_eq!((found.unreadable(), found.differing(&golden.expected)), (0, vec![]));
            assert_eq!(Ok(report.state_digest), found.lanes, "{}", golden.name);
        }
    }
}

#[test]
fn no_damage_is_answered_from_unnoticed() {
    let started = Instant::now();
    let only = std::env::var("REWAKE_DAMAGE").ok();
    let amount = if only.is_some() { Amount::FULL } else { Amount::chosen() };
    let tally = Mutex::new(Tally::default());
    for golden in all() {
        let judge = Judge::new(&golden);
        let mut list = damages(&golden, amount);
        if let Some(only) = &only {
            list.retain(|damage| *only == format!("{}: {damage}", golden.name));
        }
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(damage) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(verdict) = judge.judge(damage) {
                    if only.is_some() {
                        say(&format!("{damage}: {:?}, {}", verdict.class, verdict.why));
                    }
                    tally.lock().expect("no holder panics").add(&golden, damage, verdict);
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(work);
            work();
        });
    }
    let tally = tally.into_inner().expect("no holder panics");
    tally.say(started);
    let some: Vec<_> = tally.silent.iter().take(40).map(String::as_str).collect();
    assert!(some.is_empty(), "{} silent:\n{}", tally.silent.len(), some.join("\n"));
    if only.is_none() {
        for class in [
            Class::Refused,
            Class::Repaired,
            Class::Harmless,
            Class::OnReading,
            Class::FoundByAudit,
            Class::OlderNode,
        ] {
            let is_met = tally.counts.keys().any(|(.., met)| *met == class);
            assert!(is_met, "{class:?} was never met");
        }
    }
}
