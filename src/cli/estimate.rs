//! What a recovery may cost, as it is told to people.

use crate::cli::App;
use crate::exec::Estimate;

/// Tells what the recovery that begins now may cost, where there is anything to do.
pub(crate) fn announce(estimate: &Estimate, app: &App) {
    if estimate.work.blocks == 0 {
        return;
    }
    app.output.note(sentence(estimate));
    if let Some(warning) = warning(estimate) {
        app.output.error(warning);
    }
}

/// Returns the rows of a table.
pub(crate) fn rows(estimate: &Estimate) -> [(&'static str, String); 4] {
    [
        ("events", size(estimate.event_bytes)),
        ("memory", format!("{} at most", size(estimate.memory_bytes))),
        ("disk", disk(estimate)),
        ("time", time(estimate)),
    ]
}

/// Returns the warning that the disk may be too small, where it may be.
pub(crate) fn warning(estimate: &Estimate) -> Option<String> {
    let missing = size(estimate.disk_missing_bytes()?);
    Some(format!(
        "warning: the disk may be too small by {missing}; a recovery that fills it halts, and goes on once there is room"
    ))
}

fn sentence(estimate: &Estimate) -> String {
    format!(
        "{} blocks with {} transactions are to be recovered, from {} of events; memory: {} at most; disk: {}; time: {}",
        estimate.work.blocks,
        estimate.work.txs,
        size(estimate.event_bytes),
        size(estimate.memory_bytes),
        disk(estimate),
        time(estimate)
    )
}

fn disk(estimate: &Estimate) -> String {
    let free = estimate.disk_free_bytes.map_or_else(|| "an unknown amount".to_owned(), size);
    format!("{} at most, {free} free", size(estimate.disk_bytes))
}

fn time(estimate: &Estimate) -> String {
    match (estimate.pace, estimate.time_ms) {
        (Some(pace), Some(time_ms)) => {
            let seconds = time_ms.div_ceil(1000);
            format!("about {seconds} s at {pace} transactions/s, the best of recent commits")
        }
        _ => "unknown: too few blocks are confirmed".to_owned(),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Work;

    const ESTIMATE: Estimate = Estimate {
        work: Work { blocks: 5, txs: 100 },
        event_bytes: 12_000,
        memory_bytes: 300 << 20,
        disk_bytes: 2 << 20,
        disk_free_bytes: Some(1 << 20),
        pace: Some(40),
        time_ms: Some(2_500),
    };

    #[test]
    fn people_read_one_sentence() {
        assert_eq!(
            sentence(&ESTIMATE),
            "5 blocks with 100 transactions are to be recovered, from 12 KiB of events; memory: 300 MiB at most; disk: \
             2048 KiB at most, 1024 KiB free; time: about 3 s at 40 transactions/s, the best of recent commits"
        );
    }

    #[test]
    fn what_is_unknown_is_said_to_be_so() {
        let unknown = Estimate { disk_free_bytes: None, pace: None, time_ms: None, ..ESTIMATE };
        let [.., (_, disk), (_, time)] = rows(&unknown);
        assert_eq!(disk, "2048 KiB at most, an unknown amount free");
        assert_eq!(time, "unknown: too few blocks are confirmed");
        assert_eq!(warning(&unknown), None);
    }

    #[test]
    fn a_disk_that_is_too_small_is_warned_of() {
        let warning = warning(&ESTIMATE).expect("it is too small");
        assert!(warning.starts_with("warning: the disk may be too small by 1024 KiB"), "{warning}");
    }
}
