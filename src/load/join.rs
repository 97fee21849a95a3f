//! Joins tasks: all of them, or the first error.

use tokio::task::JoinSet;

use crate::load::LoadError;

/// Waits for every task; at the first error the others are given up.
pub(super) async fn all<T: 'static>(
    mut tasks: JoinSet<Result<T, LoadError>>,
) -> Result<Vec<T>, LoadError> {
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(result) => done.push(result?),
            // Nobody cancels these tasks: one that did not end has panicked.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(done)
}
