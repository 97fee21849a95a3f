//! Hard forks by name and by place in a chain.
//!
//! The schedule is only consulted when a block is imported: the fork goes into the header bytes of the order, so that
//! a replay is driven by the log alone and cannot change with a later schedule.

use alloy_eips::eip7840::BlobParams;
use alloy_primitives::U256;
use revm::primitives::hardfork::SpecId;

use super::header::DaoRule;

/// A hard fork of Ethereum, named as in `ethereum/tests` where that has a name.
///
/// The numbers are stored in headers and never change. Constantinople is missing on purpose: its SSTORE metering
/// (EIP-1283) never ran on mainnet and `revm` does not implement it; `ConstantinopleFix` is Petersburg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// Block 1 of mainnet.
    Frontier = 0,
    /// EIP-2, EIP-7, EIP-8.
    Homestead = 1,
    /// EIP-150, Tangerine Whistle.
    Eip150 = 2,
    /// EIP-155, EIP-158, EIP-160, EIP-161, EIP-170: Spurious Dragon.
    Eip158 = 3,
    /// EIP-649, EIP-658 and others.
    Byzantium = 4,
    /// Constantinople without EIP-1283: Petersburg.
    ConstantinopleFix = 5,
    /// EIP-1679.
    Istanbul = 6,
    /// EIP-2384: only the difficulty bomb.
    MuirGlacier = 7,
    /// EIP-2929, EIP-2930 and others.
    Berlin = 8,
    /// EIP-1559 and others.
    London = 9,
    /// EIP-4345: only the difficulty bomb.
    ArrowGlacier = 10,
    /// EIP-5133: only the difficulty bomb.
    GrayGlacier = 11,
    /// EIP-3675, EIP-4399: the merge.
    Paris = 12,
    /// EIP-4895 and others.
    Shanghai = 13,
    /// EIP-4788, EIP-4844 and others.
    Cancun = 14,
    /// EIP-2935, EIP-7685, EIP-7702 and others.
    Prague = 15,
    /// EIP-7825, EIP-7918, EIP-7934 and others.
    Osaka = 16,
    /// EIP-7892: only blob parameters.
    Bpo1 = 17,
    /// EIP-7892: only blob parameters.
    Bpo2 = 18,
}

/// Every fork, ascending.
pub const FORKS: [Fork; 19] = [
    Fork::Frontier,
    Fork::Homestead,
    Fork::Eip150,
    Fork::Eip158,
    Fork::Byzantium,
    Fork::ConstantinopleFix,
    Fork::Istanbul,
    Fork::MuirGlacier,
    Fork::Berlin,
    Fork::London,
    Fork::ArrowGlacier,
    Fork::GrayGlacier,
    Fork::Paris,
    Fork::Shanghai,
    Fork::Cancun,
    Fork::Prague,
    Fork::Osaka,
    Fork::Bpo1,
    Fork::Bpo2,
];

/// A fork or network name that stands for no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// Nothing bears the name.
    #[error(
        "fork {name:?} is unknown; give `mainnet` or a network name of ethereum/tests, such as `Cancun` or `BerlinToLondonAt5`"
    )]
    Unknown {
        /// The name that was given.
        name: String,
    },
    /// The name is known, its rules are not implemented.
    #[error("fork {name:?} is not supported: {reason}")]
    Unsupported {
        /// The name that was given.
        name: String,
        /// Why.
        reason: &'static str,
    },
}

impl Fork {
    /// Returns the number that is stored.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Finds the fork of a stored number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        FORKS.get(usize::from(code)).copied()
    }

    /// Returns the name that `ethereum/tests` uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frontier => "Frontier",
            Self::Homestead => "Homestead",
            Self::Eip150 => "EIP150",
            Self::Eip158 => "EIP158",
            Self::Byzantium => "Byzantium",
            Self::ConstantinopleFix => "ConstantinopleFix",
            Self::Istanbul => "Istanbul",
            Self::MuirGlacier => "MuirGlacier",
            Self::Berlin => "Berlin",
            Self::London => "London",
            Self::ArrowGlacier => "ArrowGlacier",
            Self::GrayGlacier => "GrayGlacier",
            Self::Paris => "Paris",
            Self::Shanghai => "Shanghai",
            Self::Cancun => "Cancun",
            Self::Prague => "Prague",
            Self::Osaka => "Osaka",
            Self::Bpo1 => "BPO1",
            Self::Bpo2 => "BPO2",
        }
    }

    /// Finds a fork by its name.
    ///
    /// # Errors
    /// [`ForkError`] for a name that no supported fork bears.
    pub fn named(name: &str) -> Result<Self, ForkError> {
        let owned = || name.to_owned();
        match name {
            "Merge" => Ok(Self::Paris),
            "TangerineWhistle" => Ok(Self::Eip150),
            "SpuriousDragon" => Ok(Self::Eip158),
            "Petersburg" => Ok(Self::ConstantinopleFix),
            "Constantinople" => Err(ForkError::Unsupported {
                name: owned(),
                reason: "its SSTORE metering (EIP-1283) never ran on mainnet; `ConstantinopleFix` did",
            }),
            "Amsterdam" => {
                Err(ForkError::Unsupported { name: owned(), reason: "its rules are not final" })
            }
            _ => FORKS
                .into_iter()
                .find(|fork| fork.name() == name)
                .ok_or_else(|| ForkError::Unknown { name: owned() }),
        }
    }

    /// Returns the rules of the virtual machine.
    pub(super) const fn spec(self) -> SpecId {
        match self {
            Self::Frontier => SpecId::FRONTIER,
            Self::Homestead => SpecId::HOMESTEAD,
            Self::Eip150 => SpecId::TANGERINE,
            Self::Eip158 => SpecId::SPURIOUS_DRAGON,
            Self::Byzantium => SpecId::BYZANTIUM,
            Self::ConstantinopleFix => SpecId::PETERSBURG,
            Self::Istanbul | Self::MuirGlacier => SpecId::ISTANBUL,
            Self::Berlin => SpecId::BERLIN,
            Self::London | Self::ArrowGlacier | Self::GrayGlacier => SpecId::LONDON,
            Self::Paris => SpecId::MERGE,
            Self::Shanghai => SpecId::SHANGHAI,
            Self::Cancun => SpecId::CANCUN,
            Self::Prague => SpecId::PRAGUE,
            Self::Osaka | Self::Bpo1 | Self::Bpo2 => SpecId::OSAKA,
        }
    }

    /// Returns the blob parameters, from Cancun on.
    pub(super) const fn blobs(self) -> Option<BlobParams> {
        match self {
            Self::Cancun => Some(BlobParams::cancun()),
            Self::Prague => Some(BlobParams::prague()),
            Self::Osaka => Some(BlobParams::osaka()),
            Self::Bpo1 => Some(BlobParams::bpo1()),
            Self::Bpo2 => Some(BlobParams::bpo2()),
            _ => None,
        }
    }
}

/// When a fork begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activation {
    /// From this block number on.
    Number(u64),
    /// From this timestamp on.
    Timestamp(u64),
    /// From the first block whose parent's total difficulty reaches this.
    TotalDifficulty(U256),
}

/// Which fork governs which block of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkSchedule {
    chain_id: u64,
    steps: Vec<(Activation, Fork)>,
    dao: Option<u64>,
}

/// What a schedule is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockPlace {
    /// Block number.
    pub number: u64,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// Total difficulty up to the parent, where it is known; only chains that merge by it need it.
    pub parent_total_difficulty: Option<U256>,
}

impl ForkSchedule {
    /// Returns the schedule of Ethereum mainnet.
    #[must_use]
    pub fn mainnet() -> Self {
        use Activation::{Number, Timestamp};
        let steps = vec![
            (Number(0), Fork::Frontier),
            (Number(1_150_000), Fork::Homestead),
            (Number(2_463_000), Fork::Eip150),
            (Number(2_675_000), Fork::Eip158),
            (Number(4_370_000), Fork::Byzantium),
            (Number(7_280_000), Fork::ConstantinopleFix),
            (Number(9_069_000), Fork::Istanbul),
            (Number(9_200_000), Fork::MuirGlacier),
            (Number(12_244_000), Fork::Berlin),
            (Number(12_965_000), Fork::London),
            (Number(13_773_000), Fork::ArrowGlacier),
            (Number(15_050_000), Fork::GrayGlacier),
            (Number(15_537_394), Fork::Paris),
            (Timestamp(1_681_338_455), Fork::Shanghai),
            (Timestamp(1_710_338_135), Fork::Cancun),
            (Timestamp(1_746_612_311), Fork::Prague),
            (Timestamp(1_764_798_551), Fork::Osaka),
            (Timestamp(1_765_290_071), Fork::Bpo1),
            (Timestamp(1_767_747_671), Fork::Bpo2),
        ];
        Self { chain_id: 1, steps, dao: Some(1_920_000) }
    }

    /// Finds a schedule: `mainnet`, a fork that governs a whole chain, or `AToBAt5`, `AToBAtTime15k`, `AToBAtDiffC0000`.
    ///
    /// # Errors
    /// [`ForkError`] for a name that stands for no schedule.
    pub fn named(name: &str) -> Result<Self, ForkError> {
        if name == "mainnet" {
            return Ok(Self::mainnet());
        }
        let unknown = || ForkError::Unknown { name: name.to_owned() };
        let whole =
            |fork| Self { chain_id: 1, steps: vec![(Activation::Number(0), fork)], dao: None };
        let Some((from, rest)) = name.split_once("To") else {
            return Fork::named(name).map(whole);
        };
        let (to, at) = rest.rsplit_once("At").ok_or_else(unknown)?;
        let mut schedule = whole(Fork::named(from)?);
        let activation = activation(at).ok_or_else(unknown)?;
        match (to, activation) {
            ("Dao", Activation::Number(number)) => schedule.dao = Some(number),
            _ => schedule.steps.push((activation, Fork::named(to)?)),
        }
        Ok(schedule)
    }

    /// Returns the chain's number (EIP-155).
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Returns the fork that governs a block.
    #[must_use]
    pub fn fork_at(&self, place: BlockPlace) -> Fork {
        let reached = |activation: &Activation| match activation {
            Activation::Number(number) => place.number >= *number,
            Activation::Timestamp(timestamp) => place.timestamp >= *timestamp,
            Activation::TotalDifficulty(total) => {
                place.parent_total_difficulty.is_some_and(|parent| parent >= *total)
            }
        };
        let steps = self.steps.iter().take_while(|(activation, _)| reached(activation));
        steps.last().map_or(Fork::Frontier, |(_, fork)| *fork)
    }

    /// Returns what the DAO fork asks of a block (EIP-779): the fork block and the nine after it bear its mark.
    #[must_use]
    pub fn dao_at(&self, number: u64) -> DaoRule {
        match self.dao.and_then(|fork| number.checked_sub(fork)) {
            Some(0) => DaoRule::Transition,
            Some(1..10) => DaoRule::ExtraData,
            _ => DaoRule::None,
        }
    }
}

fn activation(at: &str) -> Option<Activation> {
    if let Some(thousands) = at.strip_prefix("Time").and_then(|time| time.strip_suffix('k')) {
        let seconds = thousands.parse::<u64>().ok()?.checked_mul(1000)?;
        return Some(Activation::Timestamp(seconds));
    }
    match at.strip_prefix("Diff") {
        Some(total) => U256::from_str_radix(total, 16).ok().map(Activation::TotalDifficulty),
        None => at.parse().ok().map(Activation::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mainnet(number: u64, timestamp: u64) -> Fork {
        ForkSchedule::mainnet().fork_at(BlockPlace { number, timestamp, ..BlockPlace::default() })
    }

    #[test]
    fn mainnet_forks_at_its_numbers_and_times() {
        assert_eq!(mainnet(1_149_999, 0), Fork::Frontier);
        assert_eq!(mainnet(1_150_000, 0), Fork::Homestead);
        assert_eq!(mainnet(15_537_393, 1_663_224_162), Fork::GrayGlacier);
        assert_eq!(mainnet(15_537_394, 1_663_224_179), Fork::Paris);
        assert_eq!(mainnet(19_426_586, 1_710_338_134), Fork::Shanghai);
        assert_eq!(mainnet(19_426_587, 1_710_338_135), Fork::Cancun);
        assert_eq!(mainnet(30_000_000, u64::MAX), Fork::Bpo2);
        let dao = |number| ForkSchedule::mainnet().dao_at(number);
        assert_eq!(dao(1_919_999), DaoRule::None);
        assert_eq!(dao(1_920_000), DaoRule::Transition);
        assert_eq!(dao(1_920_009), DaoRule::ExtraData);
        assert_eq!(dao(1_920_010), DaoRule::None);
    }

    #[test]
    fn every_fork_is_found_by_its_name_and_number() {
        for fork in FORKS {
            assert_eq!(Fork::named(fork.name()), Ok(fork));
            assert_eq!(Fork::from_code(fork.code()), Some(fork));
        }
        assert_eq!(Fork::from_code(19), None);
    }

    #[test]
    fn networks_of_the_suites_are_found() {
        let cases = [
            ("FrontierToHomesteadAt5", 4, 0, Fork::Frontier),
            ("FrontierToHomesteadAt5", 5, 0, Fork::Homestead),
            ("HomesteadToEIP150At5", 5, 0, Fork::Eip150),
            ("HomesteadToDaoAt5", 5, 0, Fork::Homestead),
            ("EIP158ToByzantiumAt5", 5, 0, Fork::Byzantium),
            ("ByzantiumToConstantinopleFixAt5", 5, 0, Fork::ConstantinopleFix),
            ("BerlinToLondonAt5", 5, 0, Fork::London),
            ("MergeToShanghaiAtTime15k", 9, 14_999, Fork::Paris),
            ("ParisToShanghaiAtTime15k", 1, 15_000, Fork::Shanghai),
            ("ShanghaiToCancunAtTime15k", 1, 15_000, Fork::Cancun),
            ("CancunToPragueAtTime15k", 1, 15_000, Fork::Prague),
            ("PragueToOsakaAtTime15k", 1, 15_000, Fork::Osaka),
            ("OsakaToBPO1AtTime15k", 1, 15_000, Fork::Bpo1),
        ];
        for (name, number, timestamp, fork) in cases {
            let schedule = ForkSchedule::named(name).expect(name);
            let place = BlockPlace { number, timestamp, ..BlockPlace::default() };
            assert_eq!(schedule.fork_at(place), fork, "{name}");
        }
        let merge = ForkSchedule::named("ArrowGlacierToParisAtDiffC0000").expect("a known name");
        let at = |total: u64| {
            let parent_total_difficulty = Some(U256::from(total));
            merge.fork_at(BlockPlace { parent_total_difficulty, ..BlockPlace::default() })
        };
        assert_eq!((at(0xbffff), at(0xc0000)), (Fork::ArrowGlacier, Fork::Paris));
        let dao = ForkSchedule::named("HomesteadToDaoAt5").expect("a known name");
        assert_eq!((dao.dao_at(5), dao.dao_at(14)), (DaoRule::Transition, DaoRule::ExtraData));
    }

    #[test]
    fn an_unknown_fork_is_an_error_that_names_it() {
        for name in ["Metropolis", "BerlinToLondon", "BerlinToLondonAtNoon", "mainnetAt5"] {
            let refused = ForkSchedule::named(name);
            assert!(matches!(&refused, Err(ForkError::Unknown { .. })), "{name}: {refused:?}");
        }
        let refused = ForkSchedule::named("ByzantiumToConstantinopleAt5");
        assert!(matches!(&refused, Err(ForkError::Unsupported { .. })), "{refused:?}");
    }
}
