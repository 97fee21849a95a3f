//! Bloom filters of logs; what many logs of a block have in common is hashed once.

use std::collections::HashMap;

use alloy_primitives::{Bloom, keccak256};

use super::output::LogBytes;

/// Addresses and topics whose bits are remembered; about 3 MB.
const KNOWN_MAX: usize = 1 << 16;

/// The three bits of each address and topic that were met so far.
#[derive(Debug, Default)]
pub(super) struct BloomBits<'a>(HashMap<&'a [u8], [u16; 3], foldhash::fast::RandomState>);

impl<'a> BloomBits<'a> {
    /// Returns the bloom filter of logs.
    pub(super) fn bloom(&mut self, logs: &[LogBytes<'a>]) -> Bloom {
        let mut bloom = Bloom::ZERO;
        for log in logs {
            for item in std::iter::once(log.address).chain(log.topics.chunks_exact(32)) {
                for bit in self.bits(item) {
                    // Bit 0 is the lowest one of the last byte.
                    let byte = bloom.0.iter_mut().rev().nth(usize::from(bit / 8));
                    if let Some(byte) = byte {
                        *byte |= 1 << (bit % 8);
                    }
                }
            }
        }
        bloom
    }

    fn bits(&mut self, item: &'a [u8]) -> [u16; 3] {
        if let Some(bits) = self.0.get(item) {
            return *bits;
        }
        let hash = keccak256(item);
        let mut bits = [0; 3];
        for (bit, pair) in bits.iter_mut().zip(hash.as_chunks().0) {
            *bit = u16::from_be_bytes(*pair) & 0x7ff;
        }
        if self.0.len() < KNOWN_MAX {
            self.0.insert(item, bits);
        }
        bits
    }
}
