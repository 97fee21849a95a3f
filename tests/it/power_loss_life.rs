//! The life of a node on a simulated disk, and what must hold of it after every crash.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex};

use rewake::event::{EventBody, Kind};
use rewake::exec::{
    Examined, Intake, IntakeError, NewEvent, Outcome, Recovery, RecoveryOptions, Refusal, examine,
};
use rewake::machine::{MachineVersion, Registry};
use rewake::recovery::Label;
use rewake::state::{StateDigest, StateRead as _};
use rewake::store::{DataDir, Problem, Repairs, Store, StoreError, StoredEvent};
use rewake::types::{Digest, Height, Seq};
use rewake_simdisk::{Disk, Image, Settings};

use crate::scripted::StillClock;
use crate::simulated::Simulated;

/// What a node does once it is up.
pub enum Step {
    /// Logs a lot.
    Append(Vec<NewEvent>),
    /// Recovers what was ordered.
    Recover,
}

/// A node and what it does in its life.
pub struct Story {
    pub name: &'static str,
    /// Where its directory lies on the disk.
    pub dir: &'static str,
    pub registry: fn() -> Registry,
    pub machine: fn() -> MachineVersion,
    pub options: fn() -> RecoveryOptions,
    pub steps: Vec<Step>,
}

/// What an undisturbed life gives.
#[derive(Default)]
pub struct Reference {
    events: Vec<StoredEvent>,
    /// The head after each step that logs, in order.
    ends: Vec<u64>,
    /// Where a log may end: after a step, after a verdict.
    lots: Vec<u64>,
    /// Height to the digest of the block and of the state after it.
    blocks: BTreeMap<u64, (Digest, Digest)>,
}

/// What somebody outside knows of a node after so many operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark {
    pub at: usize,
    /// Whether its creation was answered.
    pub is_created: bool,
    /// The last event whose append was answered.
    pub acknowledged: u64,
    /// The last event whose append was begun.
    pub submitted: u64,
    /// The height after the last block that was told to be committed.
    pub committed: u64,
    /// The height after the last block that a recovery which ended had committed.
    pub settled: u64,
}

/// Why a life ends early.
#[derive(Debug)]
#[expect(dead_code, reason = "the texts are for whoever reads a failure")]
pub enum Broken {
    /// The engine says that it cannot go on.
    Engine(String),
    /// Something does not hold.
    Violation(String),
}

/// A life as somebody outside saw it.
pub struct Life {
    pub marks: Vec<Mark>,
    pub labels: Vec<Label>,
    pub end: Result<(), Broken>,
}

/// How much of a life is lived.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Until it is recovered.
    Recovered,
    /// Until it is recovered a second time, which must write nothing.
    Twice,
    /// To the end of the story.
    End,
}

fn engine(error: impl Display) -> Broken {
    Broken::Engine(error.to_string())
}

fn violation<R>(text: String) -> Result<R, Broken> {
    Err(Broken::Violation(text))
}

/// A life that is being lived.
struct Living<'a> {
    story: &'a Story,
    disk: &'a Disk,
    registry: Registry,
    reference: Option<&'a Reference>,
    known: Arc<Mutex<Vec<Mark>>>,
    labels: Vec<Label>,
    /// The head after each step that logged.
    ends: Vec<u64>,
    /// Whether what was not synced is there as well, so that nothing goes back at all.
    all_survived: bool,
}

impl Story {
    /// Lives, from what was known before on.
    pub fn live(
        &self,
        disk: &Disk,
        reference: &Reference,
        before: Mark,
        all_survived: bool,
        extent: Extent,
    ) -> Life {
        let mut living = self.living(disk, before, all_survived);
        living.reference = Some(reference);
        let end = living.run(extent);
        let marks = living.marks();
        Life { marks, labels: living.labels, end }
    }

    /// Lives undisturbed, and returns what that gives.
    pub fn reference(&self) -> Reference {
        let disk = Disk::new(Image::default(), Settings::default());
        let mut living = self.living(&disk, Mark::default(), true);
        living.run(Extent::End).expect("an undisturbed life");
        let ends = living.ends;
        let store = self.data_dir(&disk).open().expect("a node");
        let events = store.log().read(Seq::FIRST, usize::MAX).expect("events");
        // A verdict is logged alone.
        let verdicts = events.iter().filter(|event| event.kind == Kind::Verdict);
        let verdicts = verdicts.map(|event| event.seq.get());
        let lots = ends.iter().copied().chain(verdicts).chain([0]).collect();
        let blocks = crate::scripted::blocks(&store).into_iter().map(|row| {
            let state = row.state_digest.expect("a batch for each block");
            (row.order.height.get(), (row.digest(), state))
        });
        Reference { ends, lots, blocks: blocks.collect(), events }
    }

    /// Makes a node that has logged the first steps and nothing else, all of it durable.
    pub fn prepare(&self, steps: usize) -> (Image, Mark) {
        let disk = Disk::new(Image::default(), Settings::default());
        let mut living = self.living(&disk, Mark::default(), true);
        let mut node = living.open().expect("a new node");
        for step in self.steps.iter().take(steps) {
            let Step::Append(lot) = step else { panic!("{}: not an append", self.name) };
            living.append(&mut node, lot.clone(), None).expect("an append");
        }
        let head = node.log_head.seq;
        let mark =
            Mark { is_created: true, acknowledged: head, submitted: head, ..Mark::default() };
        (disk.live(), mark)
    }

    /// Makes a node that has lived to the end of the story's first recovery, as a program of the first schema version
    /// left it: all of it durable, with the lots after that logged.
    pub fn prepare_older(&self) -> (Image, Mark) {
        let disk = Disk::new(Image::default(), Settings::default());
        let mut living = self.living(&disk, Mark::default(), true);
        let mut node = living.open().expect("a new node");
        let (mut settled, mut recovered) = (0, false);
        for step in &self.steps {
            match step {
                Step::Append(lot) => {
                    living.append(&mut node, lot.clone(), None).expect("an append");
                }
                Step::Recover if recovered => break,
                Step::Recover => {
                    recovered = true;
                    node = living.recover(node).expect("a recovery");
                    node.store.settle().expect("a settled node");
                    let head = node.checkpoint.as_ref().expect("blocks").order.height;
                    settled = head.get() + 1;
                }
            }
        }
        let head = node.log_head.seq;
        drop(node);
        let mut files = crate::damage_golden::files(&disk);
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let main = scratch.path().join("main.db");
        std::fs::write(&main, &files["main.db"]).expect("a copy");
        crate::older::bring_back(&main);
        files.insert("main.db".to_owned(), std::fs::read(&main).expect("a copy"));
        files.remove("main.db-wal");
        let mark = Mark { acknowledged: head, submitted: head, ..Mark::default() };
        let mark = Mark { is_created: true, committed: settled, settled, ..mark };
        (crate::damage_golden::image(&files), mark)
    }

    fn data_dir(&self, disk: &Disk) -> DataDir {
        DataDir::on(&Simulated, disk.path().join(self.dir))
    }

    fn living<'a>(&'a self, disk: &'a Disk, before: Mark, all_survived: bool) -> Living<'a> {
        let known = Arc::new(Mutex::new(vec![Mark { at: disk.operations(), ..before }]));
        let registry = (self.registry)();
        let (labels, ends) = (Vec::new(), Vec::new());
        Living { story: self, disk, registry, reference: None, known, labels, ends, all_survived }
    }
}

impl Living<'_> {
    fn run(&mut self, extent: Extent) -> Result<(), Broken> {
        let node = self.open()?;
        let node = self.recover(node)?;
        self.all_survived = true;
        match extent {
            Extent::Recovered => Ok(()),
            Extent::Twice => {
                drop(node);
                self.recover_again()
            }
            Extent::End => self.go_on(node),
        }
    }

    fn marks(&self) -> Vec<Mark> {
        self.known.lock().expect("no holder panics").clone()
    }

    fn last(&self) -> Mark {
        *self.known.lock().expect("no holder panics").last().expect("one at least")
    }

    fn mark(&self, change: impl FnOnce(&mut Mark)) {
        note(&self.known, self.disk.operations(), change);
    }

    /// Opens the node and looks at it; makes it where it may be missing.
    fn open(&mut self) -> Result<Examined, Broken> {
        let dir = self.story.data_dir(self.disk);
        let look = || examine(&dir, &self.registry, Repairs::default());
        let problem =
            |refusal: &Refusal| refusal.source.as_ref().map(|error| error.problem.clone());
        let node = match look() {
            Err(refusal) if problem(&refusal) == Some(Problem::NotInitialized) => {
                if self.last().is_created {
                    return violation("the node is gone".to_owned());
                }
                dir.create(&(self.story.machine)()).map_err(engine)?;
                self.mark(|mark| mark.is_created = true);
                look().map_err(engine)?
            }
            looked => looked.map_err(engine)?,
        };
        self.labels.push(node.label);
        self.check_log(&node)?;
        self.check_main(&node.store)?;
        Ok(node)
    }

    fn recover(&mut self, node: Examined) -> Result<Examined, Broken> {
        let mut options = (self.story.options)();
        if self.reference.is_none() {
            // A batch for each block, so that each has a state digest.
            options.batch.txs_max = 0;
        }
        let (known, inner) = (Arc::clone(&self.known), self.disk.counter());
        options.committed.subscribe(move |block| {
            let committed = block.height.get() + 1;
            note(&known, inner.operations(), |mark| mark.committed = mark.committed.max(committed));
        });
        // A verdict of it may be logged.
        if let Some(reference) = self.reference {
            let mut head = node.log_head.seq;
            while let Some(next) = reference.events.get(usize::try_from(head).expect("few"))
                && next.kind == Kind::Verdict
            {
                head += 1;
            }
            self.mark(|mark| mark.submitted = mark.submitted.max(head));
        }
        let (node, report) = Recovery::new(node, options).run().map_err(engine)?;
        if report.outcome == Outcome::Halted {
            return violation(format!("recovery halted: {:?}", report.halt));
        }
        let settled = node.checkpoint.as_ref().map_or(0, |row| row.order.height.get() + 1);
        self.mark(|mark| mark.settled = mark.settled.max(settled));
        self.check_recovered(&node, report.state_digest)?;
        Ok(node)
    }

    /// Recovers a recovered node, which must leave every byte as it is.
    fn recover_again(&mut self) -> Result<(), Broken> {
        let before = self.disk.live().files();
        let node = self.open()?;
        if node.label != Label::InSync {
            return violation(format!("a recovered node is {:?}", node.label));
        }
        drop(self.recover(node)?);
        let after = self.disk.live().files();
        match before.iter().find(|(name, bytes)| after.get(*name) != Some(bytes)) {
            Some((name, _)) => violation(format!("a second recovery changed {name}")),
            None if after.len() > before.len() => {
                violation("a second recovery made a file".to_owned())
            }
            None => Ok(()),
        }
    }

    /// Goes on with the story where the log ends.
    fn go_on(&mut self, node: Examined) -> Result<(), Broken> {
        let mut node = node;
        let mut has_logged = false;
        let mut ends = self.reference.map(|reference| reference.ends.iter());
        for step in &self.story.steps {
            match step {
                Step::Append(lot) => {
                    let end = ends.as_mut().and_then(Iterator::next).copied();
                    if end.is_some_and(|end| node.log_head.seq >= end) {
                        continue;
                    }
                    self.append(&mut node, lot.clone(), end)?;
                    has_logged = true;
                }
                Step::Recover if has_logged => node = self.recover(node)?,
                Step::Recover => {}
            }
        }
        if let Some(reference) = self.reference {
            self.check_log(&node)?;
            if node.log_head.seq < u64::try_from(reference.events.len()).expect("a few") {
                return violation(format!("the story ends at event {}", node.log_head.seq));
            }
        }
        self.check_recovered(&node, Self::lanes(&node.store)?.digest())
    }

    fn append(
        &mut self,
        node: &mut Examined,
        lot: Vec<NewEvent>,
        end: Option<u64>,
    ) -> Result<(), Broken> {
        self.mark(|mark| mark.submitted = mark.submitted.max(end.unwrap_or(0)));
        let mut intake = Intake::new(node, Arc::new(StillClock::default()));
        if let Err(error) = intake.append(lot.clone()) {
            let is_unknown = matches!(
                &error,
                IntakeError::Store(StoreError { problem: Problem::OutcomeUnknown(_), .. })
            );
            // Only the next opening can tell what holds.
            if is_unknown && intake.append(lot).is_ok() {
                return violation("an append after one of unknown outcome".to_owned());
            }
            return Err(engine(error));
        }
        let head = intake.head().seq;
        self.mark(|mark| mark.acknowledged = head);
        self.ends.push(head);
        node.catch_up().map_err(engine)
    }

    /// What was acknowledged is there, nothing is there that was not submitted, and all of it is what it was.
    fn check_log(&self, node: &Examined) -> Result<(), Broken> {
        let Some(reference) = self.reference else { return Ok(()) };
        let (known, head) = (self.last(), node.log_head.seq);
        if head < known.acknowledged {
            return violation(format!(
                "event {} was acknowledged, the log ends at {head}",
                known.acknowledged
            ));
        }
        if head > known.submitted {
            return violation(format!("event {head} was never submitted: {known:?}"));
        }
        if !reference.lots.contains(&head) {
            return violation(format!("the log ends at {head}, in the middle of a lot"));
        }
        let found = node.store.log().read(Seq::FIRST, usize::MAX).map_err(engine)?;
        let expected = reference.events.iter().take(found.len());
        if found.len() != usize::try_from(head).expect("a few") || !found.iter().eq(expected) {
            return violation("an event is another one than that submitted".to_owned());
        }
        Ok(())
    }

    /// The block table is a beginning of the true one, and its state is the one after its last block.
    fn check_main(&self, store: &Store) -> Result<(), Broken> {
        let Some(reference) = self.reference else { return Ok(()) };
        let known = self.last();
        let main = store.main();
        let mut next = Height::GENESIS;
        let mut expected = reference.blocks.iter();
        let mut state = StateDigest::default().digest();
        while let Some(row) = main.block_from(next).map_err(engine)? {
            let height = row.order.height.get();
            let Some((at, (digest, state_digest))) = expected.next() else {
                return violation(format!("block {height} was never ordered"));
            };
            if *at != height || row.digest() != *digest {
                return violation(format!("block {height} is another one"));
            }
            if row.state_digest.is_some_and(|found| found != *state_digest) {
                return violation(format!("block {height} has another state digest"));
            }
            main.body(row.order.height).map_err(engine)?;
            state = *state_digest;
            next = Height(height + 1);
        }
        drop(main);
        let floor = if self.all_survived { known.committed } else { known.settled };
        if next.get() < floor {
            return violation(format!("block {} was committed and is gone", floor - 1));
        }
        let lanes = Self::lanes(store)?.digest();
        let mut scanned = StateDigest::default();
        let scan = store.main().scan(&[], &mut |key, value| scanned.add(key, value));
        scan.map_err(engine)?;
        if lanes != state || scanned.digest() != state {
            return violation(format!("the state at height {} is another one", next.get()));
        }
        Ok(())
    }

    fn lanes(store: &Store) -> Result<StateDigest, Broken> {
        store.main().lanes().map_err(engine)
    }

    /// All that is ordered is confirmed, and what waits is exactly what was received and is in no block.
    fn check_recovered(&self, node: &Examined, state: Digest) -> Result<(), Broken> {
        let Some(reference) = self.reference else { return Ok(()) };
        self.check_log(node)?;
        self.check_main(&node.store)?;
        let mut waiting = std::collections::BTreeSet::new();
        let mut last = None;
        for event in node.store.log().read(Seq::FIRST, usize::MAX).map_err(engine)? {
            match event.decode().map_err(engine)? {
                EventBody::Tx(_) => drop(waiting.insert(event.seq)),
                EventBody::Order(order) => {
                    last = Some(order.height.get());
                    waiting.retain(|seq| !order.txs.contains(seq));
                }
                EventBody::Patch(_) | EventBody::Verdict(_) => {}
            }
        }
        let head = node.checkpoint.as_ref().map(|row| row.order.height.get());
        let pending = node.label != Label::InSync;
        if head != last && !pending {
            return violation(format!("block {last:?} was ordered, {head:?} is confirmed"));
        }
        if !node.backlog.mempool.iter().eq(waiting.iter().copied()) {
            return violation(format!("{waiting:?} should wait"));
        }
        let expected = head.map(|height| reference.blocks[&height].1);
        if expected.unwrap_or(StateDigest::default().digest()) != state {
            return violation(format!("the state after block {head:?} is another one"));
        }
        Ok(())
    }
}

fn note(known: &Mutex<Vec<Mark>>, at: usize, change: impl FnOnce(&mut Mark)) {
    let mut known = known.lock().expect("no holder panics");
    let mut mark = *known.last().expect("one at least");
    mark.at = at;
    change(&mut mark);
    known.push(mark);
}
