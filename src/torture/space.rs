//! Whether a file system has room for the copies of a campaign.

use std::path::Path;

use crate::torture::{Source, TortureError, scratch};

/// So many times as much as the node takes, its copies take when they are most.
const COPIES: u64 = 8;
/// Room that is asked for however small the node is, in bytes: what the rounds append is the same for all.
const BYTES_MIN: u64 = 64 << 20;

/// Fails where the file system of the scratch directory has too little room.
pub(super) fn check(source: &Source, parent: &Path) -> Result<(), TortureError> {
    let node_bytes = match source {
        // What is no directory is refused when it is copied.
        Source::Node(dir) if dir.path().is_dir() => scratch::bytes(dir.path())?,
        Source::Node(_) | Source::Fresh => 0,
    };
    let seen = rustix::fs::statvfs(parent)
        .map_err(|error| TortureError::scratch(parent, "measuring", &error.into()))?;
    suffices(parent, node_bytes, seen.f_bavail.saturating_mul(seen.f_frsize))
}

/// Decides whether so much room is enough for copies of a node of such a size.
fn suffices(parent: &Path, node_bytes: u64, free_bytes: u64) -> Result<(), TortureError> {
    let needed_bytes = node_bytes.saturating_mul(COPIES).max(BYTES_MIN);
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    Err(TortureError::Space { dir: parent.to_owned(), needed_bytes, free_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_need_eight_times_the_node() {
        const GIB: u64 = 1 << 30;
        for (node, free, needed) in [
            (0, BYTES_MIN - 1, Some(BYTES_MIN)),
            (0, BYTES_MIN, None),
            (GIB, 8 * GIB - 1, Some(8 * GIB)),
            (GIB, 8 * GIB, None),
            (u64::MAX / 2, u64::MAX - 1, Some(u64::MAX)),
        ] {
            let found = match suffices(Path::new("scratch"), node, free) {
                Ok(()) => None,
                Err(TortureError::Space { needed_bytes, free_bytes, .. }) => {
                    assert_eq!(free_bytes, free);
                    Some(needed_bytes)
                }
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(found, needed, "{node} bytes of node, {free} free");
        }
    }

    #[test]
    fn a_node_is_measured_where_it_lies() {
        let place = tempfile::tempdir().expect("a scratch directory");
        std::fs::write(place.path().join("log.db"), [1; 100]).expect("a file");
        std::fs::create_dir(place.path().join("bundles")).expect("a directory");
        assert_eq!(scratch::bytes(place.path()).expect("a directory"), 100);
        let nowhere = place.path().join("nowhere");
        let found = check(&Source::Fresh, &nowhere).expect_err("no directory");
        assert!(matches!(found, TortureError::Scratch { operation: "measuring", .. }), "{found:?}");
    }
}
