//! A campaign: round after round, each of the kind whose turn it is, until its extent is reached.

use std::path::Path;
use std::time::Instant;

use crate::machine::Registry;
use crate::torture::bench::Bench;
use crate::torture::finding::Finding;
use crate::torture::hand::Hand;
use crate::torture::round::{Failure, Round};
use crate::torture::{
    Extent, Kind, KindReport, Outcome, Tally, TortureError, TortureOptions, TortureReport, Verdict,
    Violation, scratch,
};

/// Violations after which a campaign ends.
const VIOLATIONS_MAX: usize = 10;

/// Told of every round.
pub type Watcher<'a> = dyn FnMut(&Tally) + 'a;

/// A prepared campaign.
pub struct Torture {
    bench: Bench,
    options: TortureOptions,
    tally: Tally,
    violations: Vec<Violation>,
    repeated: Option<String>,
}

impl Torture {
    /// Copies the node and runs what is to be tortured undisturbed, which the rounds are held against.
    ///
    /// # Errors
    /// [`TortureError`] where the node is refused or does not recover by itself.
    pub fn prepare(options: TortureOptions, registry: Registry) -> Result<Self, TortureError> {
        let bench = Bench::prepare(&options, registry)?;
        let tally = Tally::of(&bench.kinds);
        Ok(Self { bench, options, tally, violations: Vec::new(), repeated: None })
    }

    /// Runs the rounds. The scratch directory is deleted at the end unless a violation was found.
    ///
    /// # Errors
    /// [`TortureError`] where no verdict can be come to; a stop that was requested is none.
    pub fn run(mut self, watcher: &mut Watcher<'_>) -> Result<TortureReport, TortureError> {
        let started = Instant::now();
        let mut number = match self.options.extent {
            Extent::Only(round) => round,
            Extent::Elapsed(_) | Extent::Rounds(_) => 1,
        };
        let mut is_stopped = false;
        while self.goes_on(number, started) {
            match self.round(number) {
                Err(TortureError::Stopped) => {
                    is_stopped = true;
                    break;
                }
                // What was found before is worth more than what kept the rest from being looked at.
                Err(_) if !self.violations.is_empty() => break,
                done => done?,
            }
            watcher(&self.tally);
            number = number.saturating_add(1);
        }
        self.report(started, is_stopped)
    }

    fn goes_on(&self, number: u64, started: Instant) -> bool {
        let is_due = match self.options.extent {
            Extent::Elapsed(time) => started.elapsed() < time,
            Extent::Rounds(rounds) => number <= rounds,
            Extent::Only(_) => self.tally.rounds() == 0,
        };
        is_due && self.violations.len() < VIOLATIONS_MAX
    }

    fn round(&mut self, number: u64) -> Result<(), TortureError> {
        if self.options.stop.is_requested() {
            return Err(TortureError::Stopped);
        }
        let Some(kind) = self.kind(number) else { return Err(TortureError::Stopped) };
        let mut round = Round {
            bench: &self.bench,
            kind,
            hand: Hand::of_round(self.options.seed, number),
            seed: number,
            dir: self.bench.scratch.path("round"),
            detail: Vec::new(),
            kills: 0,
        };
        let result = round.run();
        let (dir, detail, kills) = (round.dir, round.detail.join("; "), round.kills);
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(Failure::Broken(error)) => return Err(error),
            Err(Failure::Wrong(finding)) => {
                self.violate(number, kind, detail.clone(), finding, &dir)?;
                Some(Outcome::Violated)
            }
        };
        if matches!(self.options.extent, Extent::Only(_)) {
            self.repeated = Some(format!("{kind}: {detail}"));
        }
        self.tally.count(kind, outcome, kills);
        Ok(())
    }

    /// Returns the kind whose turn it is.
    fn kind(&self, number: u64) -> Option<Kind> {
        let kinds = &self.bench.kinds;
        let turn = number.saturating_sub(1).checked_rem(crate::codec::count(kinds.len()))?;
        kinds.get(usize::try_from(turn).ok()?).copied()
    }

    fn violate(
        &mut self,
        round: u64,
        kind: Kind,
        fault_detail: String,
        Finding(what): Finding,
        dir: &Path,
    ) -> Result<(), TortureError> {
        let kept = self.bench.scratch.path(&format!("violation-{round}"));
        // From here on nothing deletes it, a second signal included.
        self.options.leavings.keep();
        let renamed = std::fs::rename(dir, &kept);
        renamed.map_err(|error| TortureError::scratch(dir, "keeping", &error))?;
        let seed = self.options.seed;
        let reproduce = format!("{} --seed {seed} --round {round}", self.options.command);
        self.violations.push(Violation { round, kind, fault_detail, what, reproduce, kept });
        Ok(())
    }

    fn report(self, started: Instant, is_stopped: bool) -> Result<TortureReport, TortureError> {
        let never_reached = self.tally.never_reached();
        let is_one = matches!(self.options.extent, Extent::Only(_));
        let outcome = match (self.violations.is_empty(), is_stopped, never_reached.is_empty()) {
            (false, ..) => Verdict::Violated,
            (true, true, _) => Verdict::Stopped,
            (true, false, _) if is_one => Verdict::Repeated,
            (true, false, true) => Verdict::Survived,
            (true, false, false) => Verdict::Incomplete,
        };
        let scratch = if outcome == Verdict::Violated {
            // What rounds start from can be made again; only what they left is worth its room.
            for name in ["rebuild", "resume", "older", "append"] {
                scratch::delete(&self.bench.scratch.path(name))?;
            }
            Some(self.bench.scratch.keep())
        } else {
            self.bench.scratch.delete()?;
            None
        };
        Ok(TortureReport {
            outcome,
            seed: self.options.seed,
            rounds: self.tally.rounds(),
            kills: self.tally.kills,
            wall_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            kinds: KindReport::all(&self.tally),
            never_reached: if is_one { Vec::new() } else { never_reached },
            violations: self.violations,
            repeated: self.repeated,
            scratch,
        })
    }
}
