//! The base fee and the excess blob gas that a block must have.

use alloy_consensus::Header;
use alloy_eips::eip1559::{BaseFeeParams, INITIAL_BASE_FEE};
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_eips::eip7840::BlobParams;
use alloy_primitives::U256;
use revm::context_interface::block::BlobExcessGasAndPrice;

/// Returns the base fee of a block after `parent` (EIP-1559), the initial one where the parent has none.
#[must_use]
pub fn next_base_fee(parent: &Header) -> u64 {
    parent.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or(INITIAL_BASE_FEE)
}

/// Returns the excess blob gas of a block after `parent` under the block's own parameters (EIP-4844, EIP-7918).
#[must_use]
pub fn next_excess_blob_gas(parent: &Header, blobs: &BlobParams) -> u64 {
    let (excess, used) =
        (parent.excess_blob_gas.unwrap_or_default(), parent.blob_gas_used.unwrap_or_default());
    let total = excess.saturating_add(used);
    let target = blobs.target_blob_gas_per_block();
    if total < target {
        return 0;
    }
    let execution = U256::from(blobs.blob_base_cost)
        .saturating_mul(U256::from(parent.base_fee_per_gas.unwrap_or_default()));
    let price = blob_price(excess, blobs).map_or(u128::MAX, |price| price.blob_gasprice);
    let blob = U256::from(DATA_GAS_PER_BLOB).saturating_mul(U256::from(price));
    if execution > blob {
        let above = blobs.max_blob_count.saturating_sub(blobs.target_blob_count);
        let scaled = u128::from(used) * u128::from(above) / u128::from(blobs.max_blob_count.max(1));
        return excess.saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX));
    }
    total.saturating_sub(target)
}

/// Returns the price of blob gas; `None` where the excess is beyond what any chain can reach and 128 bits can hold.
pub(super) fn blob_price(excess: u64, blobs: &BlobParams) -> Option<BlobExcessGasAndPrice> {
    let fraction = u64::try_from(blobs.update_fraction).ok()?;
    // e^40 wei a unit of gas is more than all ether for one blob.
    (excess <= fraction.saturating_mul(40)).then(|| BlobExcessGasAndPrice::new(excess, fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(gas_used: u64, base_fee: Option<u64>) -> Header {
        Header { gas_limit: 20_000_000, gas_used, base_fee_per_gas: base_fee, ..Header::default() }
    }

    #[test]
    fn the_base_fee_follows_the_gas_used() {
        assert_eq!(next_base_fee(&parent(0, None)), 1_000_000_000);
        assert_eq!(next_base_fee(&parent(10_000_000, Some(1_000_000_000))), 1_000_000_000);
        assert_eq!(next_base_fee(&parent(20_000_000, Some(1_000_000_000))), 1_125_000_000);
        assert_eq!(next_base_fee(&parent(0, Some(1_000_000_000))), 875_000_000);
        assert_eq!(next_base_fee(&parent(10_000_001, Some(7))), 8);
    }

    #[test]
    fn the_excess_follows_the_blobs() {
        let gas = DATA_GAS_PER_BLOB;
        let parent = |excess, used, base_fee| Header {
            excess_blob_gas: Some(excess * gas),
            blob_gas_used: Some(used * gas),
            base_fee_per_gas: Some(base_fee),
            ..Header::default()
        };
        assert_eq!(next_excess_blob_gas(&parent(0, 3, 7), &BlobParams::cancun()), 0);
        assert_eq!(next_excess_blob_gas(&parent(1, 6, 7), &BlobParams::cancun()), 4 * gas);
        assert_eq!(next_excess_blob_gas(&parent(1, 6, 7), &BlobParams::prague()), gas);
        // EIP-7918: a base fee that makes execution dearer than blobs slows the fall of the price.
        let slow = next_excess_blob_gas(&parent(6, 6, 1_000_000_000), &BlobParams::osaka());
        assert_eq!(slow, 6 * gas + 6 * gas * 3 / 9);
        assert_eq!(next_excess_blob_gas(&parent(6, 6, 1), &BlobParams::osaka()), 6 * gas);
        assert_eq!(blob_price(u64::MAX, &BlobParams::cancun()), None);
    }
}
