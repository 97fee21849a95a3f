//! The power of a simulated disk is lost after every operation of the engine, and again while it recovers from that.
//!
//! `REWAKE_CRASH_SUITE` chooses how much of it is done.
//! A failure names its place; with that in `REWAKE_POWER_LOSS` and the same share, only this place is tried.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rewake::recovery::Label;
use rewake_simdisk::{
    Call, Crash, Disk, Fault, FaultKind, Image, Kind, Lasting, Numbers, Settings, Share, Trace,
    plans,
};

use crate::power_loss_life::{Broken, Extent, Life, Mark, Reference, Story};
use crate::power_loss_stories as stories;
use crate::suite::Suite;

const SEED: u64 = 0x7065_7277_6b65;
const DEPTH_MAX: usize = 3;

/// How much is done.
#[derive(Clone, Copy)]
struct Amount {
    /// Crash points of one run, at most.
    points_max: usize,
    /// Plans at each of them besides none and all, at most.
    plans_max: usize,
    /// One image of so many is crashed again while it recovers.
    again_one_in: usize,
    /// One fault of so many is tried.
    fault_one_in: usize,
    /// At one loss of power of so many, the errors of the recovery are tried.
    refused_one_in: usize,
}

impl Amount {
    const NO_ERRORS: Self = Self {
        points_max: 0,
        plans_max: 0,
        again_one_in: 1,
        fault_one_in: usize::MAX,
        refused_one_in: usize::MAX,
    };

    fn chosen() -> Self {
        let whole = |plans_max, again_one_in, fault_one_in, refused_one_in| Self {
            points_max: usize::MAX,
            plans_max,
            again_one_in,
            fault_one_in,
            refused_one_in,
        };
        match Suite::chosen() {
            Suite::Every => Self {
                points_max: 60,
                plans_max: 6,
                again_one_in: 25,
                fault_one_in: 17,
                refused_one_in: 60,
            },
            Suite::Quick => whole(14, 30, 3, 40),
            Suite::Long => whole(110, 30, 1, 8),
            Suite::Full => whole(400, 40, 1, 1),
        }
    }

    /// Every place that is crashed again while it recovers is looked at less closely.
    const fn below(self) -> Self {
        Self { points_max: 4, plans_max: 2, again_one_in: 6, ..self }
    }
}

/// What was reached.
#[derive(Default)]
struct Tally {
    seen: HashSet<(u64, Mark)>,
    images: u64,
    by_depth: [u64; DEPTH_MAX + 1],
    kinds: BTreeMap<Kind, u64>,
    labels: BTreeMap<Label, u64>,
    /// Faults that fired, by what failed and how.
    faults: BTreeMap<String, u64>,
    violations: Vec<String>,
}

/// A run whose every crash can be looked at.
struct Run {
    base: Image,
    trace: Trace,
    marks: Vec<Mark>,
}

/// A story that is told with losses of power.
struct Teller<'a> {
    story: &'a Story,
    reference: Reference,
    settings: Settings,
    tally: &'a mut Tally,
    /// The only place to be tried, as numbers of operations and plans.
    only: Option<Vec<(usize, usize)>>,
}

impl<'a> Teller<'a> {
    fn new(story: &'a Story, settings: Settings, tally: &'a mut Tally) -> Self {
        let place = std::env::var("REWAKE_POWER_LOSS").ok();
        let only =
            place.and_then(|place| place.strip_prefix(&format!("{}:", story.name)).map(parse));
        Self { story, reference: story.reference(), settings, tally, only }
    }

    /// Lives on an image until something is wrong, and returns the run.
    fn live(&mut self, base: Image, before: Mark, all: bool, extent: Extent) -> (Run, Life) {
        let disk = Disk::new(base.clone(), self.settings);
        let life = self.live_on(&disk, before, all, extent);
        (Run { base, trace: disk.trace(), marks: life.marks.clone() }, life)
    }

    fn live_on(&mut self, disk: &Disk, before: Mark, all: bool, extent: Extent) -> Life {
        let live = || self.story.live(disk, &self.reference, before, all, extent);
        let life = catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|_| Life {
            marks: vec![before],
            labels: Vec::new(),
            end: Err(Broken::Violation("a panic".to_owned())),
        });
        for label in &life.labels {
            *self.tally.labels.entry(*label).or_default() += 1;
        }
        life
    }

    /// Loses power at the operations of a run, and looks at what is left.
    fn crash(&mut self, run: &Run, amount: Amount, depth: usize, path: &str) {
        let mut crash = Crash::new(run.base.clone());
        let points = run.trace.len() + 1;
        let place = path.bytes().fold(SEED, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
        let mut choice = Numbers(place);
        for point in 0..points {
            if point > 0 {
                crash.advance(&run.trace[point - 1]);
            }
            // Drawn for each point, so that a place does not depend on what is tried before it.
            let drawn = choice.below(points) < amount.points_max;
            let wanted = match &self.only {
                Some(only) => only.get(depth - 1).is_some_and(|(number, _)| *number == point),
                None => drawn,
            };
            if wanted {
                self.crash_at(run, &crash, amount, depth, path);
            }
        }
    }

    fn crash_at(&mut self, run: &Run, crash: &Crash, amount: Amount, depth: usize, path: &str) {
        let point = crash.operations();
        let known = run.marks.iter().rev().find(|mark| mark.at <= point);
        let known = Mark { at: 0, ..*known.expect("a mark at the beginning") };
        let sector_bytes = self.settings.sector_bytes;
        let share = Share { plans_max: amount.plans_max, drawn: 32, sector_bytes };
        let mut numbers = Numbers(SEED ^ (point as u64) << 8 ^ depth as u64);
        for (number, plan) in plans(crash.pending(), share, &mut numbers).iter().enumerate() {
            let again = numbers.below(amount.again_one_in) == 0;
            let extent = match numbers.below(8) {
                0 => Extent::End,
                1 => Extent::Twice,
                _ => Extent::Recovered,
            };
            let only = self.only.as_ref().and_then(|only| only.get(depth - 1));
            if only.is_some_and(|only| *only != (point, number)) {
                continue;
            }
            let image = crash.image(plan);
            self.tally.images += 1;
            if !self.tally.seen.insert((image.fingerprint(), known)) && only.is_none() {
                continue;
            }
            *self.tally.kinds.entry(plan.kind).or_default() += 1;
            self.tally.by_depth[depth] += 1;
            let all = plan.kind == Kind::All;
            let place = format!("{path}/{point}.{number}");
            // The block table may go back to its last checkpoint, unless nothing was lost.
            let committed = if all { known.committed } else { known.settled };
            let known = Mark { committed, ..known };
            let (below, life) = self.live(image, known, all, extent);
            if let Err(broken) = life.end {
                let text = format!("{place} {:?} {:?}: {broken:?}", plan.kind, plan.torn);
                self.tally.violations.push(text);
                continue;
            }
            let deeper = self.only.as_ref().map_or(again, |only| only.len() > depth);
            if depth < DEPTH_MAX && deeper {
                self.crash(&below, amount.below(), depth + 1, &place);
            }
        }
    }

    /// Tells the story once and loses power at each operation.
    fn tell(&mut self, base: Image, before: Mark, amount: Amount) {
        let (run, life) = self.live(base, before, true, Extent::End);
        if let Err(broken) = life.end {
            let text = format!("{}: undisturbed: {broken:?}", self.story.name);
            self.tally.violations.push(text);
            return;
        }
        self.crash(&run, amount, 1, &format!("{}:", self.story.name));
    }
}

/// How each call may fail.
const FAULTS: [(Call, FaultKind); 7] = [
    (Call::Write, FaultKind::IoDropping),
    (Call::Write, FaultKind::Full),
    (Call::Sync, FaultKind::IoDropping),
    (Call::Sync, FaultKind::IoKeeping),
    (Call::Truncate, FaultKind::IoDropping),
    (Call::Link, FaultKind::IoDropping),
    (Call::Link, FaultKind::Full),
];

impl Teller<'_> {
    /// Lets calls fail, one after the other, once and for ever.
    fn refuse(&mut self, base: &Image, before: Mark, amount: Amount) {
        let mut numbers = Numbers(SEED);
        for fault in self.faults_of(base, before, Extent::End) {
            // The first of each is always tried, so that none goes without.
            if fault.number == 1 || numbers.below(amount.fault_one_in) == 0 {
                self.refuse_at(base, before, fault);
            }
        }
    }

    /// Loses power at some of the operations, and lets the calls of the recovery fail, one after the other.
    fn refuse_recoveries(&mut self, base: &Image, before: Mark, amount: Amount) {
        let (run, _) = self.live(base.clone(), before, true, Extent::End);
        let mut crash = Crash::new(run.base.clone());
        let mut numbers = Numbers(SEED);
        let share = Share { plans_max: 2, drawn: 8, sector_bytes: self.settings.sector_bytes };
        for point in 0..=run.trace.len() {
            if point > 0 {
                crash.advance(&run.trace[point - 1]);
            }
            let plans = plans(crash.pending(), share, &mut Numbers(SEED ^ point as u64));
            let plan = &plans[numbers.below(plans.len())];
            // The last one is always tried, so that no story goes without.
            if point < run.trace.len() && numbers.below(amount.refused_one_in) > 0 {
                continue;
            }
            let known = run.marks.iter().rev().find(|mark| mark.at <= point);
            let known = *known.unwrap_or(&run.marks[0]);
            let known = Mark { at: 0, committed: known.settled, ..known };
            let image = crash.image(plan);
            let place = format!("{} at {point}, {plan:?}", self.story.name);
            for fault in self.faults_of(&image, known, Extent::Recovered) {
                if numbers.below(amount.fault_one_in) == 0 {
                    self.refuse_recovery(&image, known, fault, &place);
                }
            }
        }
    }

    fn refuse_recovery(&mut self, image: &Image, known: Mark, fault: Fault, place: &str) {
        let disk = Disk::new(image.clone(), self.settings);
        disk.arm(Some(fault));
        let life = self.live_on(&disk, known, false, Extent::Recovered);
        if disk.faults().1 == 0 {
            self.tally.violations.push(format!("{place}, {fault:?}: did not fire"));
        }
        *self.tally.faults.entry("while it recovers".to_owned()).or_default() += 1;
        if !matches!(life.end, Err(Broken::Engine(_))) {
            self.tally.violations.push(format!("{place}, {fault:?}: answered {:?}", life.end));
        }
        let known = *life.marks.last().expect("a mark");
        disk.arm(None);
        let again = self.live_on(&disk, Mark { at: 0, ..known }, false, Extent::Twice);
        if let Err(broken) = again.end {
            self.tally.violations.push(format!("{place}, {fault:?}, started again: {broken:?}"));
        }
    }

    /// Returns every fault that a life can meet.
    fn faults_of(&mut self, base: &Image, before: Mark, extent: Extent) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (call, kind) in FAULTS {
            let counting = Fault { call, number: usize::MAX, kind, lasting: Lasting::Once };
            let disk = Disk::new(base.clone(), self.settings);
            disk.arm(Some(counting));
            self.live_on(&disk, before, false, extent);
            for number in 1..=disk.faults().0 {
                let fault = |lasting| Fault { call, number, kind, lasting };
                faults.extend([Lasting::Once, Lasting::ForEver].map(fault));
            }
        }
        faults
    }

    fn refuse_at(&mut self, base: &Image, before: Mark, fault: Fault) {
        let place = format!("{}: {fault:?}", self.story.name);
        let disk = Disk::new(base.clone(), self.settings);
        disk.arm(Some(fault));
        let life = self.live_on(&disk, before, true, Extent::End);
        let (trace, known) = (disk.trace(), *life.marks.last().expect("a mark"));
        if disk.faults().1 == 0 {
            self.tally.violations.push(format!("{place}: did not fire"));
        }
        let kind = format!("{:?} {:?} {:?}", fault.call, fault.kind, fault.lasting);
        *self.tally.faults.entry(kind).or_default() += 1;
        match life.end {
            Err(Broken::Engine(_)) => {}
            other => self.tally.violations.push(format!("{place}: answered with {other:?}")),
        }
        let run = Run { base: base.clone(), trace, marks: life.marks };
        self.crash_after(&run, run.trace.len(), 1, &format!("{place}, power lost"));
        // The process starts again on the same disk, on which errors end: what failed to be synced is still read.
        disk.arm(None);
        let again = self.live_on(&disk, known, true, Extent::End);
        if let Err(broken) = again.end {
            self.tally.violations.push(format!("{place}, started again: {broken:?}"));
        }
        let since = run.trace.len();
        let run = Run { base: run.base, trace: disk.trace(), marks: again.marks };
        // A sync that lost what it was to write is the worst of them.
        let drops = fault.call == Call::Sync && fault.kind == FaultKind::IoDropping;
        let points = if drops { 24 } else { 3 };
        self.crash_after(&run, since, points, &format!("{place}, started again, power lost"));
    }

    /// Loses power at some of the operations from one on; nothing is taken to survive.
    fn crash_after(&mut self, run: &Run, since: usize, points: usize, place: &str) {
        let mut crash = Crash::new(run.base.clone());
        let stride = ((run.trace.len() - since) / points).max(1);
        for point in 0..=run.trace.len() {
            if point > 0 {
                crash.advance(&run.trace[point - 1]);
            }
            if point < since || !(run.trace.len() - point).is_multiple_of(stride) {
                continue;
            }
            let known = run.marks.iter().rev().find(|mark| mark.at <= point);
            let known = *known.unwrap_or(&run.marks[0]);
            let known = Mark { at: 0, committed: known.settled, ..known };
            let sector_bytes = self.settings.sector_bytes;
            let share = Share { plans_max: 2, drawn: 8, sector_bytes };
            for plan in plans(crash.pending(), share, &mut Numbers(SEED ^ point as u64)) {
                let image = crash.image(&plan);
                self.tally.images += 1;
                if !self.tally.seen.insert((image.fingerprint(), known)) {
                    continue;
                }
                let (_, life) = self.live(image, known, false, Extent::Recovered);
                if let Err(broken) = life.end {
                    let text = format!("{place} at {point}, {plan:?}: {broken:?}");
                    self.tally.violations.push(text);
                }
            }
        }
    }
}

fn parse(place: &str) -> Vec<(usize, usize)> {
    let parts = place.split('/').filter(|part| !part.is_empty());
    let numbers = |part: &str| {
        let (point, plan) = part.split_once('.')?;
        Some((point.parse().ok()?, plan.parse().ok()?))
    };
    parts.map(|part| numbers(part).expect("POINT.PLAN")).collect()
}

/// Says on the terminal what was done, which the harness would keep to itself.
fn say(line: &str) {
    // Nothing depends on whether anybody reads it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Tally {
    fn say(&self, name: &str, started: std::time::Instant) {
        let violations = self.violations.len();
        say(&format!(
            "power loss, {name}: seed {SEED:#x}, {} images, {} distinct, faults {:?}, by depth {:?}, {:?}, {:?}, \
             {violations} violations, {:?}",
            self.images,
            self.seen.len(),
            self.faults,
            &self.by_depth[1..],
            self.kinds,
            self.labels,
            started.elapsed(),
        ));
    }

    fn assert_clean(&self) {
        let some: Vec<_> = self.violations.iter().take(12).map(String::as_str).collect();
        assert!(some.is_empty(), "{} violations:\n{}", self.violations.len(), some.join("\n"));
    }
}

#[test]
fn a_story_survives_every_error_of_the_disk() {
    let started = std::time::Instant::now();
    let amount = Amount::chosen();
    let mut tally = Tally::default();
    let creation = stories::creation();
    let (none, before) = (Image::default(), Mark::default());
    let mut teller = Teller::new(&creation, Settings::default(), &mut tally);
    teller.refuse(&none, before, amount);
    teller.refuse_recoveries(&none, before, amount);
    let others = [
        (stories::appends(), 0),
        (stories::mixed(), 0),
        (stories::verdict(), 1),
        (stories::beside(), 1),
    ];
    for (story, steps) in others {
        let (base, before) = story.prepare(steps);
        let mut teller = Teller::new(&story, Settings::default(), &mut tally);
        teller.refuse(&base, before, amount);
        teller.refuse_recoveries(&base, before, amount);
    }
    let story = stories::brought_forward();
    let (base, before) = story.prepare_older();
    let mut teller = Teller::new(&story, Settings::default(), &mut tally);
    teller.refuse(&base, before, amount);
    teller.refuse_recoveries(&base, before, amount);
    tally.say("errors", started);
    tally.assert_clean();
    for (call, kind) in FAULTS {
        for lasting in [Lasting::Once, Lasting::ForEver] {
            let kind = format!("{call:?} {kind:?} {lasting:?}");
            assert!(tally.faults.contains_key(&kind), "{kind} never fired");
        }
    }
}

#[test]
fn a_protocol_that_is_broken_on_purpose_is_found_out() {
    let ignoring = |files| Settings { ignored_syncs: files, ..Settings::default() };
    let powersafe = Settings { claims_powersafe: true, ..Settings::default() };
    for (what, settings, story, steps) in [
        // What `synchronous=NORMAL` does.
        (
            "the log's commits are not synced",
            ignoring(&["log.db-wal"]),
            stories::appends(),
            Some(0),
        ),
        (
            "the log's checkpoints are not synced",
            ignoring(&["log.db"]),
            stories::appends(),
            Some(0),
        ),
        ("sectors are taken to be safe", powersafe, stories::appends(), Some(0)),
        ("the witness is never synced", ignoring(&["WITNESS"]), stories::creation(), None),
        ("the block table is never synced", ignoring(&["main.db"]), stories::creation(), None),
    ] {
        let mut tally = Tally::default();
        let (base, before) = steps.map_or_else(Default::default, |steps| story.prepare(steps));
        let amount =
            Amount { points_max: usize::MAX, plans_max: 8, again_one_in: 9, ..Amount::NO_ERRORS };
        Teller::new(&story, settings, &mut tally).tell(base, before, amount);
        tally.say(what, std::time::Instant::now());
        assert!(!tally.violations.is_empty(), "nobody noticed that {what}");
    }
}

#[test]
fn a_disk_that_lies_is_counted_apart() {
    // Nothing can be promised on such a disk; what is asked for is that loss is seen here and not passed over.
    let settings = Settings { ignored_syncs: &[""], ..Settings::default() };
    let mut tally = Tally::default();
    let story = stories::mixed();
    let (base, before) = story.prepare(0);
    let amount = Amount { points_max: 60, plans_max: 4, again_one_in: 20, ..Amount::NO_ERRORS };
    Teller::new(&story, settings, &mut tally).tell(base, before, amount);
    tally.say("a disk that lies", std::time::Instant::now());
    assert!(!tally.violations.is_empty(), "a disk that lies loses nothing");
}

#[test]
fn a_story_survives_every_loss_of_power() {
    let started = std::time::Instant::now();
    let amount = Amount::chosen();
    let mut tally = Tally::default();
    let creation = stories::creation();
    Teller::new(&creation, Settings::default(), &mut tally).tell(
        Image::default(),
        Mark::default(),
        amount,
    );
    let prepared = [(stories::appends(), 0), (stories::mixed(), 0), (stories::verdict(), 1)];
    let prepared = prepared.into_iter().chain(stories::recoveries().into_iter().map(|it| (it, 1)));
    for (story, steps) in prepared.chain([(stories::ledger(), 1)]) {
        let (base, before) = story.prepare(steps);
        Teller::new(&story, Settings::default(), &mut tally).tell(base, before, amount);
        tally.say(story.name, started);
    }
    let story = stories::brought_forward();
    let (base, before) = story.prepare_older();
    Teller::new(&story, Settings::default(), &mut tally).tell(base, before, amount);
    tally.say(story.name, started);
    tally.say("all", started);
    tally.assert_clean();
    for kind in Kind::ALL {
        assert!(tally.kinds.contains_key(&kind), "{kind:?} was never tried");
    }
    for label in [Label::InSync, Label::Behind, Label::NeverCommitted] {
        assert!(tally.labels.contains_key(&label), "{label:?} was never met");
    }
    assert!(tally.by_depth[1..].iter().all(|count| *count > 0), "{:?}", tally.by_depth);
}
