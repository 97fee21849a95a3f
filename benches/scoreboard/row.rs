//! Rows of the scoreboard: two sides, their ratio and what it is to be.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

/// One line of the table.
#[derive(Serialize)]
pub(crate) struct Row {
    name: String,
    ours: f64,
    theirs: f64,
    unit: &'static str,
    ratio: f64,
    goal: Option<f64>,
    met: Option<bool>,
    #[serde(skip)]
    limit: Option<Goal>,
}

/// What a ratio is to be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(goal) => ratio >= goal,
            Self::AtMost(goal) => ratio <= goal,
        }
    }

    const fn value(self) -> f64 {
        match self {
            Self::AtLeast(goal) | Self::AtMost(goal) => goal,
        }
    }
}

impl Row {
    /// Makes a row of two figures; the ratio is ours by theirs.
    pub(crate) fn new(
        name: impl Into<String>,
        ours: f64,
        theirs: f64,
        unit: &'static str,
        limit: Option<Goal>,
    ) -> Self {
        let ratio = ours / theirs;
        let met = limit.map(|limit| limit.is_met(ratio));
        let goal = limit.map(Goal::value);
        Self { name: name.into(), ours, theirs, unit, ratio, goal, met, limit }
    }

    /// Makes a row of what two sides take, in seconds; the ratio is how many times faster ours is.
    pub(crate) fn faster(
        name: impl Into<String>,
        ours: f64,
        theirs: f64,
        limit: Option<Goal>,
    ) -> Self {
        Self::new(name, 1.0 / ours, 1.0 / theirs, "times a second", limit)
    }

    /// Prints the head of the table.
    pub(crate) fn print_head() {
        println!(
            "{:<78} {:>12} {:>12} {:>14} {:>7}  goal",
            "what", "ours", "theirs", "unit", "ratio"
        );
    }

    /// Prints the row; figures below ten with two places.
    pub(crate) fn print(&self) {
        let figure = |value: f64| match value {
            value if value < 10.0 => format!("{value:.2}"),
            value => format!("{value:.0}"),
        };
        let Self { name, unit, ratio, .. } = self;
        let (ours, theirs) = (figure(self.ours), figure(self.theirs));
        println!("{name:<78} {ours:>12} {theirs:>12} {unit:>14} {ratio:>7.2}  {}", self.verdict());
    }

    fn verdict(&self) -> String {
        let Some(limit) = self.limit else { return String::new() };
        let sign = match limit {
            Goal::AtLeast(goal) => format!("≥ {goal}"),
            Goal::AtMost(goal) => format!("≤ {goal}"),
        };
        let met = if limit.is_met(self.ratio) { "met" } else { "not met" };
        format!("{sign}, {met}")
    }
}

/// Returns the median of some figures.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns how many items a second the median of some times is.
pub(crate) fn rate(items: u64, times: &[Duration]) -> f64 {
    items as f64 / median(times.iter().map(Duration::as_secs_f64))
}

/// A side that is measured: what one run of it takes.
pub(crate) type Side<'a> = &'a mut dyn FnMut() -> Result<Duration>;

/// Measures sides in turn, so that a machine whose speed drifts does not favour one of them; returns their items a second.
pub(crate) fn in_turn<const N: usize>(
    items: u64,
    repetitions: usize,
    mut sides: [Side<'_>; N],
) -> Result<[f64; N]> {
    let mut times = [(); N].map(|()| Vec::new());
    for _ in 0..repetitions {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            times.push(side()?);
        }
    }
    Ok(times.map(|times| rate(items, &times)))
}
