//! Looks at the pages and indexes of both databases: damage that tables need not show, and that a later read may meet.

use crate::audit::finding::{Finding, Findings, What};
use crate::store::{Store, StoreError};

/// Takes up what is wrong with the log, whatever was found before: a damaged entry must not hide a damaged page.
pub(super) fn check_log(store: &Store, findings: &mut Findings) {
    add(store.log().flaws(), "log.db", findings);
}

/// Takes up what is wrong with the block table and the state, as [`check_log`] does.
pub(super) fn check_main(store: &Store, findings: &mut Findings) {
    add(store.main().flaws(), "main.db", findings);
}

fn add(flaws: Result<Vec<String>, StoreError>, file: &str, findings: &mut Findings) {
    let expected = || format!("{file} without a flaw");
    match flaws {
        Ok(flaws) => {
            findings.extend(
                flaws.into_iter().map(|flaw| Finding::new(What::Structure, expected(), flaw)),
            );
        }
        Err(error) => findings.add(Finding::new(What::Structure, expected(), error.to_string())),
    }
}
