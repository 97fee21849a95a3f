//! What the machine does besides this process, from the counters of Linux; nothing where there are none.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::pace::HostLoad;

/// Counters that only grow; a load is what two readings differ by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counters {
    at: Instant,
    /// Ticks of all processors, and those of them in which they worked.
    ticks: u64,
    busy: u64,
    /// Those that this process took.
    own: u64,
    /// Microseconds in which some task waited.
    cpu_waits: u64,
    memory_waits: u64,
}

impl Counters {
    /// Reads the counters of this machine.
    fn read() -> Option<Self> {
        Self::read_below(Path::new("/proc"))
    }

    fn read_below(proc: &Path) -> Option<Self> {
        let text = |name: &str| fs::read_to_string(proc.join(name)).ok();
        let (ticks, busy) = ticks(&text("stat")?)?;
        let own = own_ticks(&text("self/stat")?)?;
        // Kernels without pressure stall information do not tell who waits.
        let waits = |name: &str| text(name).and_then(|text| waits(&text)).unwrap_or(0);
        let (cpu_waits, memory_waits) = (waits("pressure/cpu"), waits("pressure/memory"));
        Some(Self { at: Instant::now(), ticks, busy, own, cpu_waits, memory_waits })
    }

    /// Returns the load since an earlier reading.
    fn since(&self, earlier: &Self) -> HostLoad {
        let others = self.busy.saturating_sub(earlier.busy);
        let others = others.saturating_sub(self.own.saturating_sub(earlier.own));
        let micros = self.at.saturating_duration_since(earlier.at).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        HostLoad {
            others: hundredths(others, self.ticks.saturating_sub(earlier.ticks)),
            cpu_waits: hundredths(self.cpu_waits.saturating_sub(earlier.cpu_waits), micros),
            memory_waits: hundredths(
                self.memory_waits.saturating_sub(earlier.memory_waits),
                micros,
            ),
        }
    }
}

/// What the machine did besides between one look and the next.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    last: Option<Counters>,
}

impl Meter {
    /// Returns the load since the last look; `None` at the first, and where there are no counters.
    pub(crate) fn look(&mut self) -> Option<HostLoad> {
        let now = Counters::read();
        let load = now.zip(self.last).map(|(now, last)| now.since(&last));
        self.last = now;
        load
    }

    #[cfg(test)]
    pub(crate) const fn has_looked(&self) -> bool {
        self.last.is_some()
    }
}

fn hundredths(part: u64, whole: u64) -> u32 {
    let share = part.saturating_mul(100).checked_div(whole).unwrap_or(0);
    u32::try_from(share).unwrap_or(100).min(100)
}

/// Reads the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
fn ticks(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = line.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
    let [.., idle, waiting, _, _, _] = *numbers else { return None };
    let all = numbers.iter().sum::<u64>();
    Some((all, all.saturating_sub(idle).saturating_sub(waiting)))
}

/// Reads `utime` and `stime` of `/proc/self/stat`; the name before them may hold anything.
fn own_ticks(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (times.next()?.parse().ok()?, times.next()?.parse().ok()?);
    user.checked_add(system)
}

/// Reads the total of the line `some` of a file below `/proc/pressure`.
fn waits(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split("total=").nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 10 50 800 40 1 2 7 0 0\ncpu0 1 2 3\n";
    const OWN: &str = "12 (a (name) b) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0";
    const PRESSURE: &str =
        "some avg10=1.00 avg60=0.50 avg300=0.10 total=1500000\nfull avg10=0.00 total=7\n";

    #[test]
    fn counters_are_read() {
        assert_eq!(ticks(STAT), Some((1_010, 170)));
        assert_eq!(own_ticks(OWN), Some(42));
        assert_eq!(waits(PRESSURE), Some(1_500_000));
        assert_eq!(
            (ticks("cpu 1 2 3"), own_ticks("12 (a) S 1"), waits("full total=1")),
            (None, None, None)
        );
    }

    #[test]
    fn a_load_is_what_two_readings_differ_by() {
        let at = Instant::now();
        let first =
            Counters { at, ticks: 1_000, busy: 200, own: 50, cpu_waits: 10, memory_waits: 0 };
        let second = Counters {
            at: at + std::time::Duration::from_secs(2),
            ticks: 1_400,
            busy: 500,
            own: 150,
            cpu_waits: 1_000_010,
            memory_waits: 100_000,
        };
        let load = HostLoad { others: 50, cpu_waits: 50, memory_waits: 5 };
        assert_eq!(second.since(&first), load);
        assert_eq!(first.since(&first), HostLoad::default());
    }

    #[test]
    fn a_meter_tells_nothing_before_it_has_looked_twice() {
        let mut meter = Meter::default();
        assert_eq!(meter.look(), None);
        assert!(meter.look().is_some());
    }

    #[test]
    fn a_machine_without_pressure_information_is_read_all_the_same() {
        let proc = tempfile::tempdir().expect("a scratch directory");
        assert_eq!(Counters::read_below(proc.path()), None);
        fs::create_dir(proc.path().join("self")).expect("a directory");
        fs::write(proc.path().join("stat"), STAT).expect("a file");
        fs::write(proc.path().join("self/stat"), OWN).expect("a file");
        let found = Counters::read_below(proc.path()).expect("counters");
        assert_eq!((found.busy, found.own, found.cpu_waits), (170, 42, 0));
        fs::create_dir(proc.path().join("pressure")).expect("a directory");
        fs::write(proc.path().join("pressure/cpu"), PRESSURE).expect("a file");
        let found = Counters::read_below(proc.path()).expect("counters");
        assert_eq!((found.cpu_waits, found.memory_waits), (1_500_000, 0));
        assert!(Counters::read().is_some(), "this machine has counters");
    }
}
