//! The kills: seeded moments at which a node under load dies, each with the evidence that it was one.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::load::api;
use crate::load::connection::Connection;
use crate::load::draw::Draw;
use crate::load::shared::Shared;
use crate::load::{LoadError, ManagedNode, NodeFault};

/// One of so many kills is aimed at the recovery after the kill before.
const AIMED_EACH: u64 = 5;
/// Time between two looks for a moment under load.
const LOOK: Duration = Duration::from_micros(200);
/// Phases of a node that recovers.
const RECOVERING: [&str; 3] = ["checking", "rehearsing", "committing"];

/// How often and when a node is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KillPlan {
    /// How often.
    pub kills: u64,
    /// The longest time that a node works before it is killed, in milliseconds; the seed chooses below it.
    pub life_ms_max: u64,
}

/// One kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kill {
    /// What the node was doing as far as it last said; a node under load is ready.
    pub phase: String,
    /// Transactions that this life of the node had acknowledged before.
    pub acknowledged: u64,
    /// Submissions that waited for an answer when the signal was sent.
    pub in_flight: u64,
    /// Submissions that this life left without an answer.
    pub cut_off: u64,
    /// From the start of this life until it was ready; none for the first life, and where it never was.
    pub recovery_ms: Option<u64>,
}

/// All kills of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KillReport {
    /// How many there were.
    pub kills: u64,
    /// Those that hit a node under load.
    pub under_load: u64,
    /// Those that were aimed at a recovery.
    pub aimed_at_recovery: u64,
    /// Those that hit one.
    pub in_recovery: u64,
    /// Of lives that ended under load: the fewest transactions that one had acknowledged.
    pub acknowledged_min: u64,
    /// Of lives that ended under load: the median of what they had acknowledged.
    pub acknowledged_median: u64,
    /// Of kills under load: the fewest submissions in flight.
    pub in_flight_min: u64,
    /// Of kills under load: the fewest submissions that were left without an answer.
    pub cut_off_min: u64,
    /// Times from a restart until the node was ready, in milliseconds: least, median, most.
    pub recovery_ms: Option<[u64; 3]>,
    /// One by one.
    pub each: Vec<Kill>,
}

/// Kills a node as often as the plan says; at the end it runs once more, and is ready.
pub(super) async fn kill_again_and_again(
    shared: &Shared,
    node: &mut ManagedNode,
    plan: KillPlan,
) -> Result<KillReport, LoadError> {
    let draw = Draw::new(shared.options.seed, "kills", 0);
    let life = shared.gate.lives();
    let mut killer = Killer { shared, node, plan, draw, life, restarted: None, last_ms: 0 };
    let (mut each, mut lives, mut aimed) = (Vec::new(), Vec::new(), 0u64);
    for index in 0..plan.kills {
        // The first life recovers nothing.
        let aims = killer.draw.below(AIMED_EACH) == 0 && index > 0;
        aimed = aimed.saturating_add(u64::from(aims));
        let hit = if aims { killer.kill_recovering().await? } else { None };
        let kill = match hit {
            Some(kill) => kill,
            None => killer.kill_under_load().await?,
        };
        each.push(kill);
        lives.push(killer.life);
        killer.restart()?;
    }
    let last_ms = killer.recovered().await?;
    // By now the clients have noticed the kills before: they have connections of a later life, or ask for one.
    let next = lives.iter().skip(1).copied().chain([killer.life]);
    for ((kill, life), next) in each.iter_mut().zip(&lives).zip(next) {
        kill.cut_off = shared.tally.within(*life..next).cut_off;
    }
    Ok(report(each, aimed, last_ms))
}

struct Killer<'a> {
    shared: &'a Shared,
    node: &'a mut ManagedNode,
    plan: KillPlan,
    draw: Draw,
    /// The first number that the gate gives to the node's present life.
    life: usize,
    restarted: Option<Instant>,
    /// How long the last recovery took, in milliseconds.
    last_ms: u64,
}

/// What a node is in the middle of.
#[derive(Clone, Copy)]
struct Moment {
    acknowledged: u64,
    in_flight: u64,
}

impl Killer<'_> {
    /// Waits for a seeded moment at which this life has acknowledged something and owes an answer.
    async fn kill_under_load(&mut self) -> Result<Kill, LoadError> {
        let recovery_ms = self.recovered().await?;
        let pause_us = self.draw.below(self.plan.life_ms_max.saturating_mul(1_000));
        tokio::time::sleep(Duration::from_micros(pause_us)).await;
        let started = Instant::now();
        loop {
            let moment = self.moment();
            if moment.acknowledged > 0 && moment.in_flight > 0 {
                return self.kill("ready".to_owned(), moment, recovery_ms).await;
            }
            self.node.assert_alive()?;
            if started.elapsed() >= self.shared.options.patience {
                let waited_ms = millis(started.elapsed());
                return Err(NodeFault::Idle { waited_ms }.into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills a node that says that it recovers; nothing where it is ready before it could be hit.
    async fn kill_recovering(&mut self) -> Result<Option<Kill>, LoadError> {
        // A node that recovers as fast as last time is hit anywhere in the first half of that.
        let wait = Duration::from_micros(self.draw.below(self.last_ms.saturating_mul(500)));
        let Some(mut connection) = self.reach().await? else { return Ok(None) };
        let mut seen_since = None;
        loop {
            let phase = match api::phase(&mut connection).await {
                Ok(phase) if RECOVERING.contains(&phase.as_str()) => phase,
                Ok(_) => return Ok(None),
                Err(error) if error.is_lost() => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let seen_since: &mut Instant = seen_since.get_or_insert_with(Instant::now);
            if seen_since.elapsed() >= wait {
                // The last answer is as fresh as one can be: the signal follows it at once.
                return self.kill(phase, self.moment(), None).await.map(Some);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Connects to a node that was just started; nothing where it does not listen for too long.
    async fn reach(&mut self) -> Result<Option<Connection>, LoadError> {
        let (options, started) = (&self.shared.options, Instant::now());
        loop {
            self.node.assert_alive()?;
            match Connection::open(&self.shared.target, options.request_limit).await {
                Ok(connection) => return Ok(Some(connection)),
                Err(_) if started.elapsed() >= options.patience => return Ok(None),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn moment(&self) -> Moment {
        let tally = &self.shared.tally;
        let acknowledged = tally.within(self.life..usize::MAX).acknowledged;
        Moment { acknowledged, in_flight: tally.in_flight() }
    }

    async fn kill(
        &mut self,
        phase: String,
        moment: Moment,
        recovery_ms: Option<u64>,
    ) -> Result<Kill, LoadError> {
        self.node.kill(self.shared.options.patience).await?;
        self.shared.gate.restarted();
        let Moment { acknowledged, in_flight } = moment;
        Ok(Kill { phase, acknowledged, in_flight, cut_off: 0, recovery_ms })
    }

    fn restart(&mut self) -> Result<(), LoadError> {
        self.life = self.shared.gate.lives().saturating_add(1);
        self.node.restart()?;
        self.restarted = Some(Instant::now());
        self.shared.gate.restarted();
        Ok(())
    }

    /// Waits until this life is ready, and returns how long that took.
    async fn recovered(&mut self) -> Result<Option<u64>, LoadError> {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                _ = self.shared.gate.ready() => break,
                _ = look.tick() => self.node.assert_alive()?,
            }
        }
        let took = self.restarted.map(|restarted| millis(restarted.elapsed()));
        self.last_ms = took.unwrap_or(self.last_ms);
        Ok(took)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn report(each: Vec<Kill>, aimed: u64, last_ms: Option<u64>) -> KillReport {
    let under_load = || each.iter().filter(|kill| kill.phase == "ready");
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let acknowledged = spread(under_load().map(|kill| kill.acknowledged).collect());
    let recovery = each.iter().filter_map(|kill| kill.recovery_ms).chain(last_ms).collect();
    KillReport {
        kills: count(each.len()),
        under_load: count(under_load().count()),
        aimed_at_recovery: aimed,
        in_recovery: count(each.len().saturating_sub(under_load().count())),
        acknowledged_min: acknowledged.map_or(0, |[min, ..]| min),
        acknowledged_median: acknowledged.map_or(0, |[_, median, _]| median),
        in_flight_min: under_load().map(|kill| kill.in_flight).min().unwrap_or(0),
        cut_off_min: under_load().map(|kill| kill.cut_off).min().unwrap_or(0),
        recovery_ms: spread(recovery),
        each,
    }
}

/// Returns least, median and most.
fn spread(mut numbers: Vec<u64>) -> Option<[u64; 3]> {
    numbers.sort_unstable();
    let median = numbers.get(numbers.len() / 2)?;
    Some([*numbers.first()?, *median, *numbers.last()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_in_recovery_count_apart() {
        let kill = |phase: &str, acknowledged, in_flight, recovery_ms| Kill {
            phase: phase.to_owned(),
            acknowledged,
            in_flight,
            cut_off: in_flight / 2,
            recovery_ms,
        };
        let each = vec![
            kill("ready", 9, 4, None),
            kill("rehearsing", 0, 0, None),
            kill("ready", 5, 8, Some(30)),
            kill("ready", 7, 6, Some(10)),
        ];
        let report = report(each, 2, Some(20));
        assert_eq!((report.kills, report.under_load, report.in_recovery), (4, 3, 1));
        assert_eq!((report.acknowledged_min, report.acknowledged_median), (5, 7));
        assert_eq!((report.in_flight_min, report.cut_off_min, report.aimed_at_recovery), (4, 2, 2));
        assert_eq!(report.recovery_ms, Some([10, 20, 30]));
        assert_eq!(super::report(Vec::new(), 0, None), KillReport::default());
    }
}
