//! The rest after a load: every ordered block is confirmed, and what is in no block stays there.

use std::time::Instant;

use crate::load::api::{self, Reader};
use crate::load::{LoadError, LoadOptions};

/// Where a node rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) log_head_seq: u64,
    pub(super) block_height: Option<u64>,
    pub(super) mempool: u64,
}

/// Waits until the mempool is empty and nothing is pending, or until nothing moves any more.
pub(super) async fn settle(reader: &mut Reader, options: &LoadOptions) -> Result<Rest, LoadError> {
    let started = Instant::now();
    let (mut last, mut since, mut looks) = (None, started, 0u32);
    loop {
        let (rest, pending_blocks) = look(reader).await?;
        if pending_blocks == 0 && rest.mempool == 0 {
            return Ok(rest);
        }
        if last != Some((rest, pending_blocks)) {
            (last, since) = (Some((rest, pending_blocks)), Instant::now());
        }
        if pending_blocks == 0 && since.elapsed() >= options.still {
            return Ok(rest);
        }
        if started.elapsed() >= options.patience {
            let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            return Err(LoadError::Unsettled { pending_blocks, mempool: rest.mempool, waited_ms });
        }
        tokio::time::sleep(api::pause(looks.min(4))).await;
        looks = looks.saturating_add(1);
    }
}

/// Returns where the node is, and how many blocks are not confirmed.
async fn look(reader: &mut Reader) -> Result<(Rest, u64), LoadError> {
    let mempool = reader.mempool(None, 1).await?.transactions;
    let status = reader.status().await?;
    let (log_head_seq, block_height) = (status.log_head_seq, status.block_height);
    Ok((Rest { log_head_seq, block_height, mempool }, status.pending_blocks))
}

/// Says whether a node is still where it rested.
pub(super) async fn rests(reader: &mut Reader, rest: Rest) -> Result<bool, LoadError> {
    Ok(look(reader).await? == (rest, 0))
}
